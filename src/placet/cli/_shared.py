"""What several commands share: reading files with clear errors, settings, trust, the time."""

from __future__ import annotations

import argparse
import os
import time

from placet.adapters.paths import config_dir, snapshot_path
from placet.cli import UserError, describe_difference
from placet.core.encoding import Digest, is_hex
from placet.core.errors import IndeterminateError, MalformedError, PlacetError, Reason, visible
from placet.core.gates import Gate
from placet.core.trust import MAX_SNAPSHOT_BYTES, Trust, parse_trust

_SETTINGS = frozenset(
    {
        *("gate", "ledger", "relay", "relay_ca_file", "relay_token_file", "store", "trust", "trust_source"),
        *("log", "log_ca_file", "use_key", "verdict_key"),
    }
)

# What a file is that is not the approval bundle which was asked for, and what to do with it.
_WRONG_FILE = (Reason.NOT_JSON, Reason.NOT_UTF8, Reason.UNSUPPORTED_TYPE)
_KINDS = {
    "application/vnd.placet.request.v1+json": (
        "a request",
        "Have it approved first: `placet request wait ID`, or carry it to a terminal.",
    ),
    "application/vnd.placet.answer.v1+json": (
        "one person's answer",
        "`placet request wait ID` makes the bundle of all answers.",
    ),
    "application/vnd.placet.trust-snapshot.v1+json": ("a trust snapshot", "Name it with --trust."),
}

# What to do about refusals of the core that say only what is wrong.
_NEXT = {
    Reason.ARTIFACT_MISMATCH: "Bring the files that were approved, or request the approval of these.",
    Reason.UNKNOWN_KEY: "The key was never enrolled here, or was revoked since: `placet trust show` "
    "lists the keys that count, an administrator's `placet trust history` says why one went. "
    "Have somebody who is enrolled approve, or enrol the key and refresh trust.",
}

# Flags of `placet verify` that only --require-slsa gives a meaning.
SLSA_DETAILS = ("builder", "source", "any_source", "ref", "commit", "build_type")
_REQUIRED = ("require_slsa", "require_evidence", *SLSA_DETAILS)
_HEX = frozenset("0123456789abcdef")
_DURATIONS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def now() -> int:
    """Returns Unix seconds."""
    return int(time.time())


def read_file(path: str | os.PathLike[str], what: str, max_bytes: int) -> bytes:
    """Reads a file of bounded size.

    Raises:
        UserError: it cannot be read, or is larger than any file of its kind.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as e:
        raise UserError(f"The {what} {path} cannot be read: {e.strerror}.") from e
    if len(data) > max_bytes:
        raise UserError(f"The {what} {path} is larger than {max_bytes} bytes; this is not one.")
    return data


def load_trust(path: str | os.PathLike[str] | None, *, option: str = "--trust") -> Trust:
    """Loads the verified trust snapshot, by default the one that `placet trust refresh` leaves.

    `option` is what the command calls it.

    Raises:
        IndeterminateError: TRUST_UNAVAILABLE where there is none.
        MalformedError: it is not a snapshot; the sentence names the file.
    """
    chosen = path or snapshot_path()
    try:
        data = read_file(chosen, "trust snapshot", MAX_SNAPSHOT_BYTES)
    except UserError as e:
        raise IndeterminateError(
            Reason.TRUST_UNAVAILABLE,
            str(e),
            hint="On a new machine: placet trust refresh --from WHERE --root-sha256 HEX "
            f"(an administrator tells you both). Or name a snapshot with {option}.",
        ) from e
    try:
        return parse_trust(data)
    except MalformedError as e:
        raise MalformedError(e.reason, f"{os.fspath(chosen)}: {e.message}", path=e.path, hint=e.hint) from e


def name_file(error: PlacetError, path: str | os.PathLike[str]) -> PlacetError:
    """Returns the error for what was given as an approval bundle, with the file's name and what it is."""
    if not isinstance(error, MalformedError) or error.reason not in _WRONG_FILE:
        return error
    message, hint = error.message, error.hint
    if isinstance(error.actual, str) and error.actual in _KINDS:
        found, hint = _KINDS[error.actual]
        message = f"This is {found}, not an approval bundle."
    return MalformedError(error.reason, f"{os.fspath(path)}: {message}", path=error.path, hint=hint)


def setting(value: str | None, name: str) -> str | None:
    """Returns a setting: flag over environment (``PLACET_<NAME>``) over configuration file.

    Raises:
        UserError: the configuration file is malformed.
    """
    return _find_setting(value, name)[0]


def _find_setting(value: str | None, name: str) -> tuple[str | None, str]:
    """Returns a setting, and where it came from."""
    if value is not None:
        return value, f"--{name.replace('_', '-')}"
    variable = f"PLACET_{name.upper()}"
    if from_environment := os.environ.get(variable):
        return from_environment, variable
    path = config_dir() / "config.toml"
    if not path.exists():
        return None, ""
    import tomllib

    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as e:  # bad TOML or UTF-8, an endless number, or depth
        raise UserError(f"The configuration file {path} cannot be used: {e}.") from e
    if unknown := sorted(values.keys() - _SETTINGS):
        raise UserError(f"In {path}, {unknown[0]} is no setting. There are: {', '.join(sorted(_SETTINGS))}.")
    found = values.get(name)
    if found is not None and not isinstance(found, str):
        raise UserError(f"In {path}, {name} must be a string.")
    return found, str(path)


def choose_gate(trust: Trust, name: str | None) -> Gate:
    """Returns the gate of that name, or the only one there is.

    Raises:
        UserError: none was named and there are several, or none of that name.
    """
    chosen, origin = _find_setting(name, "gate")
    known = ", ".join(sorted(trust.gates)) or "none"
    if chosen is None:
        if len(trust.gates) == 1:
            return next(iter(trust.gates.values()))
        raise UserError(f"Which gate is this? The trust root knows: {known}.", "Name it with --gate.")
    if chosen not in trust.gates:
        raise UserError(f"The trust root knows no gate {chosen!r}, which {origin} names. It knows: {known}.")
    return trust.gates[chosen]


def parse_duration(text: str) -> int:
    """Reads ``90s``, ``15m``, ``1h`` or ``1d``; returns seconds.

    Raises:
        UserError: another spelling.
    """
    if text and text[-1] in _DURATIONS and text[:-1].isdigit() and int(text[:-1]) > 0:
        return int(text[:-1]) * _DURATIONS[text[-1]]
    raise UserError(f"{text!r} is not a duration.", 'Write it like "90s", "15m", "1h" or "1d".')


def root_digest(text: str) -> Digest:
    """Reads a root's SHA-256 from the command line, in whatever groups and case a person wrote it down.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    digest = "".join(text.split()).lower()
    if not is_hex(digest, 64):
        what = f"and this has {len(digest)}" if set(digest) <= _HEX else f"not {text[:80]!r}"
        raise argparse.ArgumentTypeError(
            f"a SHA-256 is 64 hexadecimal characters, {what}; `placet trust publish` prints the root's. "
            "Groups with spaces between them stand in quotes."
        )
    return Digest(digest)


def action_uri(name: str) -> str:
    """Returns the type URI of a shipped action's short name, and any URI as it is."""
    return name if "/" in name else f"https://placet.dev/actions/{name}/v1"


def describe_migration(place: str, before: int, after: int) -> str:
    """Returns what to say of tables that were made or upgraded."""
    if before == after:
        return f"{place} has the tables of this version already (schema {after})."
    if before == 0:
        return f"{place}: the tables were made (schema {after})."
    return f"{place}: the tables were upgraded from schema {before} to {after}."


def describe_refusal(refusal: PlacetError) -> list[str]:
    """Returns what stands below a refusal's first line: reason, difference, ignored signatures, next step."""
    lines = [f"Reason    {refusal.reason}", *describe_difference(refusal)]
    lines += [f"Ignored   {cause} ({cause.reason})" for cause in refusal.causes]
    hints = [hint for e in (refusal, *refusal.causes) if (hint := e.hint or _NEXT.get(e.reason, ""))]
    if hints:
        lines.append(f"Next      {hints[0]}")
    return [visible(line) for line in lines]


def add_verdict_options(parser: argparse.ArgumentParser, *, denials: bool) -> None:
    """Declares the options of commands that write verdicts."""
    group = parser.add_argument_group("a verdict for other engines (docs/how-to-use-verdicts.md)")
    group.add_argument("--verdict", metavar="FILE", help="write a signed VSA or SVR if this is allowed")
    group.add_argument("--verdict-type", choices=["vsa", "svr"], help="which (default: vsa)")
    group.add_argument(
        "--verdict-key", metavar="FILE", help="the gate's key, as `placet verdict init` makes it"
    )
    group.add_argument(
        "--verdict-format", choices=["dsse", "bundle"], help="bare envelope, or Sigstore bundle"
    )
    group.add_argument("--verdict-life", metavar="TIME", help="how long it is good (default: 10m)")
    group.add_argument(
        "--verdict-sign-with",
        choices=["key", "sigstore"],
        help="the gate's key (default), or an identity of the gate's at Sigstore, by the options that follow",
    )
    add_identity_options(group)
    if denials:
        group.add_argument(
            "--verdict-on-denial",
            action="store_true",
            help="where this is denied, write a VSA that says FAILED",
        )


def add_identity_options(group: argparse._ArgumentGroup) -> None:
    """Declares who signs with Sigstore, and at which one."""
    group.add_argument(
        "--sign-in",
        choices=("browser", "device", "ambient"),
        help="in a browser here (default), on another device, or as this machine",
    )
    group.add_argument("--identity-token-file", metavar="FILE", help="an OIDC token, read when it is needed")
    group.add_argument("--oidc-issuer", metavar="URL", help="sign in there (default: the instance's own)")
    group.add_argument(
        "--sigstore-config",
        metavar="FILE",
        help="a ClientTrustConfig: your own Sigstore (default: the public one)",
    )
    group.add_argument(
        "--signing-config",
        metavar="FILE",
        help="a signing config, to go with the trust root's sigstore/trusted_root.json",
    )


def add_required_options(parser: argparse.ArgumentParser) -> None:
    """Declares what a caller of `placet verify` can require beyond the rules."""
    group = parser.add_argument_group("evidence that you require, beside what the rules do")
    group.add_argument(
        "--require-slsa",
        type=int,
        choices=[1, 2, 3],
        metavar="LEVEL",
        help="SLSA provenance of this Build level",
    )
    group.add_argument(
        "--builder",
        action="append",
        default=[],
        metavar="ID",
        help="a builder that you trust with that level",
    )
    group.add_argument("--source", metavar="URI", help="built from this repository")
    group.add_argument("--any-source", action="store_true", help="built from whatever repository")
    group.add_argument("--ref", metavar="PATTERN", help="built from this branch or tag")
    group.add_argument("--commit", metavar="SHA", help="built from this commit")
    group.add_argument(
        "--build-type",
        action="append",
        default=[],
        metavar="URI",
        help="built in this way; repeat for several",
    )
    group.add_argument(
        "--require-evidence",
        action="append",
        default=[],
        metavar="KIND[,OPTION=VALUE…]",
        help="any other evidence; values may be JSON; repeat for several",
    )


def asks_evidence(args: argparse.Namespace) -> bool:
    """Tells whether the caller requires evidence."""
    return any(getattr(args, name) for name in _REQUIRED)

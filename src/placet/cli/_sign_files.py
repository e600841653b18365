"""``placet sign --intent BUNDLE FILE…``: here, or by asking a signing service."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from placet.adapters.private_file import write_atomically
from placet.cli import EXIT_ALLOW, EXIT_DENY, UndecidedError, UserError
from placet.cli._request_actions import hash_file
from placet.cli._shared import name_file, read_file
from placet.cli._sign_gate import Bundle, load_machine, read_bundle, rehearse, sign_here
from placet.cli.verify import GREEN, print_json, print_refusal, verdict_line
from placet.core.bundle import MAX_BUNDLE_BYTES
from placet.core.encoding import Digest, b64decode_strict, b64encode, encode_canonical, parse_json
from placet.core.errors import PlacetError, PolicyError, Reason, visible
from placet.core.statement import parse_statement
from placet.documents.signing import MAX_STATEMENT_BYTES, build_statement, name_signatures
from placet.gates.signing import SignedPiece
from placet.gates.signing_plan import SigningPlan, plan_signing
from placet.ports.artifact_signer import SignerIdentity, SigningError, SigningUnfinishedError

_MAX_ANSWER_BYTES = 16 * 1024 * 1024
_SERVICE_SECONDS = 180.0
_UNKNOWN = "Whether it signed is not known; ask again with the same --event-id, if you gave one."


class Outputs(NamedTuple):
    """Where the two bundles of a signature go."""

    bundle: Path
    reference: Path


def sign_files(args: argparse.Namespace, files: Sequence[Path]) -> int:
    """Runs the command; returns its exit code."""
    container = read_file(args.intent, "bundle", MAX_BUNDLE_BYTES)
    try:
        outcome = _sign_remotely(args, files, container) if args.service else _sign(args, files, container)
    except SigningError as trouble:
        return print_refusal(trouble, as_json=args.json)
    except PlacetError as refusal:
        return print_refusal(name_file(refusal, args.intent), as_json=args.json)
    return _print_outcome(args, outcome)


class _Outcome(NamedTuple):
    text: str
    signer: SignerIdentity | None
    written: tuple[Path, ...]
    note: str = ""


def _sign(args: argparse.Namespace, files: Sequence[Path], container: bytes) -> _Outcome:
    machine = load_machine(args)
    bundle = read_bundle(container, machine, args.intent_url)
    digests = _hash(files)
    statement = _read_statement(args, bundle.plan)
    outputs = choose_outputs(bundle.plan, digests, args.output)
    if args.dry_run:
        approval = rehearse(args, machine, bundle, frozenset(digests), statement)
        return _Outcome(approval.text, None, (), "dry run: nothing was used, nothing was signed")
    writer = Writer(bundle, outputs)
    try:
        result = sign_here(
            args,
            machine,
            bundle,
            frozenset(digests),
            statement,
            keep=writer.keep,
            event_id=args.event_id,
        )
    finally:
        # Whatever was signed before something failed is named all the same.
        note = writer.name_in(args.intent)
    if result.repeated and not result.signed:
        raise PolicyError(
            Reason.ALREADY_USED,
            "This event was answered before; nothing was signed again.",
            hint="The signatures lie where the first call wrote them. Otherwise request a new approval.",
        )
    if result.unrecorded is not None:
        note = f"the outcome could not be recorded ({result.unrecorded}); it will be shown as unknown"
    return _Outcome(result.approval.text, result.signer, tuple(writer.written), note)


def _hash(files: Sequence[Path]) -> dict[Digest, Path]:
    digests = {Digest(hash_file(file)): file for file in files}
    if len(digests) != len(files):
        raise UserError("Two of the files are the same, byte for byte.", "Name each artifact once.")
    return digests


def _read_statement(args: argparse.Namespace, plan: SigningPlan) -> bytes | None:
    if args.statement is not None and args.predicate is not None:
        raise UserError("--statement holds its predicate already.", "Name one of them.")
    if args.statement is not None:
        return read_file(args.statement, "statement", MAX_STATEMENT_BYTES)
    if args.predicate is not None:
        predicate = read_file(args.predicate, "predicate", MAX_STATEMENT_BYTES)
        return build_statement(plan.artifacts, plan.statement_type, predicate)
    return None


def choose_outputs(
    plan: SigningPlan, digests: dict[Digest, Path], folder: Path | None
) -> dict[Digest, Outputs]:
    """Returns where signatures go, and checks it now: afterwards the approval is used up.

    Raises:
        UserError: a file is there already, or cannot be written, or two signatures would go to one.
    """
    outputs: dict[Digest, Outputs] = {}
    taken: set[Path] = set()
    for digest, file in digests.items():
        base = (folder or file.parent) / file.name
        outputs[digest] = Outputs(
            base.with_name(f"{base.name}.sigstore.json"),
            base.with_name(f"{base.name}.reference.sigstore.json"),
        )
        for path in outputs[digest]:
            # `a/app` and `b/app` in one folder, or `app` and `app.reference` anywhere: the second would
            # overwrite the first, when the uses of both are consumed.
            if path.resolve() in taken:
                raise UserError(
                    f"Two signatures would be written to {path}.", "Sign these files one after the other."
                )
            taken.add(path.resolve())
            if path.exists():
                raise UserError(
                    f"{path} is there already.", "Move it away, or choose another folder with --output."
                )
            try:
                write_atomically(path, b"")
                path.unlink()
            except OSError as e:
                there = "" if path.parent.is_dir() else f"Make the folder first (mkdir -p {path.parent}), or "
                hint = f"{there}choose another folder with --output."
                raise UserError(f"{path} cannot be written: {e.strerror}.", hint[0].upper() + hint[1:]) from e
    return outputs


class Writer:
    """Writes signatures as they are made, and names them in the intent bundle at the end."""

    def __init__(self, bundle: Bundle | None, outputs: dict[Digest, Outputs], container: bytes = b"") -> None:
        self._container = container if bundle is None else bundle.data
        self._outputs = outputs
        self._signed: list[bytes] = []
        self.written: list[Path] = []

    def keep(self, piece: SignedPiece) -> None:
        """Writes the bundles of one piece; a statement about several files lies beside the first.

        Raises:
            SigningUnfinishedError: they cannot be written.
        """
        paths = self._outputs[piece.piece.artifacts[0].digest]
        try:
            self.write(paths, piece.bundle, piece.reference)
        except OSError as e:
            raise SigningUnfinishedError(
                f"The signature was made, and {paths.bundle} cannot be written: {e.strerror}.",
                "The use is consumed. The transparency log has the signature; for a bundle, ask anew.",
            ) from e

    def write(self, paths: Outputs, bundle: bytes, reference: bytes) -> None:
        """Writes one signature and its reference."""
        for path, data in zip(paths, (bundle, reference), strict=True):
            write_atomically(path, data, mode=0o644)
            self.written.append(path)
            self._signed.append(data)

    def name_in(self, path: Path) -> str:
        """Names them in the intent bundle; returns why that could not be, or "".

        The signatures hold without it, so it must not hide them.
        """
        if not self._signed:
            return ""
        try:
            named = name_signatures(self._container, self._signed)
            write_atomically(path, named, mode=path.stat().st_mode & 0o777)
        except (OSError, PlacetError) as e:
            return f"{path} does not name the signatures: {e}"
        return ""


def _sign_remotely(args: argparse.Namespace, files: Sequence[Path], container: bytes) -> _Outcome:
    from placet.core.bundle import parse_bundle

    said = parse_statement(parse_bundle(container).envelope.payload)
    plan = plan_signing(said)
    digests = _hash(files)
    outputs = choose_outputs(plan, digests, args.output)
    statement = _read_statement(args, plan)
    asked: dict[str, Any] = {
        "intent": b64encode(container),
        "artifacts": sorted(f"sha256:{digest}" for digest in digests),
    }
    if statement is not None:
        asked["statement"] = b64encode(statement)
    if args.event_id is not None:
        asked["event"] = args.event_id
    answer = _post(args, asked)
    try:
        signed = _read_signatures(answer, frozenset(digests))
        signer = answer["signer"]
        who = None if signer is None else SignerIdentity(str(signer["identity"]), str(signer["issuer"]))
    except (AttributeError, KeyError, TypeError, ValueError) as e:
        raise UndecidedError(f"{args.service} did not sign what it was asked to.", _UNKNOWN) from e
    writer = Writer(None, outputs, container)
    for first, bundle, reference in signed:
        writer.write(outputs[first], bundle, reference)
    note = writer.name_in(args.intent)
    # What was approved is said in our own words, not in the service's.
    return _Outcome(said.text, who, tuple(writer.written), note)


def _read_signatures(answer: dict[str, Any], digests: frozenset[Digest]) -> list[tuple[Digest, bytes, bytes]]:
    """Returns one artifact of each signature, with its two bundles; together they are about all artifacts.

    Whether they hold is for whoever relies on them, and `placet sign check`; a service that answers with
    fewer, or with those of other files, must not make us say that these were signed.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: it is no such answer.
    """
    found: list[tuple[Digest, bytes, bytes]] = []
    left = set(digests)
    for item in answer["signatures"]:
        about = {digest for digest in left if f"sha256:{digest}" in list(item["artifacts"])}
        if len(about) != len(item["artifacts"]) or not about:
            raise ValueError("a signature is about something else, or stands there twice")
        left -= about
        first = next(digest for digest in digests if f"sha256:{digest}" == item["artifacts"][0])
        found.append((first, item["bundle"].encode(), item["reference"].encode()))
    if left:
        raise ValueError("a signature is missing")
    return found


def _post(args: argparse.Namespace, asked: dict[str, Any]) -> dict[str, Any]:
    from placet.adapters.bounded_http import BoundedHttp, HttpError

    url = f"{args.service.rstrip('/')}/v1/sign"
    try:
        with BoundedHttp(seconds=_SERVICE_SECONDS, ca_file=args.ca_file) as http:
            reply = http.send(
                "POST",
                url,
                max_bytes=_MAX_ANSWER_BYTES,
                headers={"Content-Type": "application/json"},
                content=encode_canonical(asked),
            )
        answer = parse_json(reply.body, max_bytes=_MAX_ANSWER_BYTES, what="answer")
        if reply.status == 200 and answer["verdict"] == "allowed":
            # The service answers with an intent bundle, too; ours is named here, so it could swap nothing.
            b64decode_strict(answer["intent"], "/intent")
            found: dict[str, Any] = answer
            return found
        text, reason = str(answer["message"])[:300], str(answer["reason"])[:60]
    except HttpError as e:
        raise UndecidedError(str(e), f"{e.hint} {_UNKNOWN}".strip()) from e
    except (PlacetError, KeyError, TypeError) as e:
        raise UndecidedError(f"{url} does not answer as a signing service.", _UNKNOWN) from e
    said = f'The signing service says "{visible(text)}" [{visible(reason)}]'
    if answer["verdict"] == "denied":
        raise _DeniedError(said, "Nothing was signed.")
    raise UndecidedError(said, _UNKNOWN)


class _DeniedError(UserError):
    exit_code = EXIT_DENY


def _print_outcome(args: argparse.Namespace, outcome: _Outcome) -> int:
    if args.json:
        signer = outcome.signer
        print_json(
            {
                "verdict": "allowed",
                "text": outcome.text,
                "signer": None if signer is None else {"identity": signer.identity, "issuer": signer.issuer},
                "written": [str(path) for path in outcome.written],
                "note": outcome.note,
            }
        )
        return EXIT_ALLOW
    word = "ALLOWED" if args.dry_run else "SIGNED"
    print(verdict_line(word, GREEN, outcome.text))
    if outcome.signer is not None:
        print(visible(f"  Signed by {outcome.signer.identity} ({outcome.signer.issuer})"))
    for path in outcome.written:
        print(visible(f"  Written   {path}"))
    if outcome.note:
        print(visible(f"  Note      {outcome.note}"), file=sys.stderr)
    return EXIT_ALLOW

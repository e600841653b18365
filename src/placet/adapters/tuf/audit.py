"""The trust of another day: published files of the trust root that travel inside a bundle, for audits.

A gate never reads them (BND-08).  An auditor verifies them as a gate would have done on that day: TUF's whole
client workflow from a root that the auditor knows, with one difference, which is the clock: expiry is judged
at the time of the decision (spec/14-verify.md).  That the time is true is not said here; a log proves it, or
the auditor says it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import quote, unquote

from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import Metadata, Root  # type: ignore[attr-defined]
from tuf.ngclient.fetcher import FetcherInterface

from placet.adapters.securesystemslib import register
from placet.adapters.tuf.online import ISSUED_AT
from placet.adapters.tuf.refresh import Followed, first_root_of, follow, open_source
from placet.adapters.tuf.trust import (
    ROOT,
    SIGNED_ONLINE,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    named_errors,
    parse_metadata,
)
from placet.core.bundle import MAX_BUNDLE_BYTES, parse_bundle
from placet.core.decode import read_map, read_string, read_time
from placet.core.encoding import (
    b64decode_strict,
    b64encode,
    encode_canonical,
    format_time,
    parse_canonical_json,
    sha256_hex,
)
from placet.core.errors import IndeterminateError, MalformedError, PlacetError, Reason, VerificationError
from placet.core.report import parse_report
from placet.core.statement import parse_statement
from placet.core.trust import Trust, compile_trust, parse_trust

_SCHEME = "bundle:///"
_MAX_FILES = 10_000
_HINT = (
    "Ask whoever keeps the approval for the trust that was published then: `placet trust attach` brings it "
    "along."
)


class CarriedTrust(NamedTuple):
    """Metadata files by the name under which they are published, and targets by their own name."""

    metadata: dict[str, bytes]
    targets: dict[str, bytes]


class AuditedTrust(NamedTuple):
    """The trust of a time in the past; `notes` say which scopes were closed then."""

    trust: Trust
    notes: tuple[str, ...]


def read_carried_trust(bundle: bytes) -> CarriedTrust | None:
    """Reads the files of the trust root that a bundle carries; None where it carries none.

    Raises:
        MalformedError: the bundle, or what it carries, is malformed.
        VerificationError: EVIDENCE_MISMATCH.
    """
    parse_bundle(bundle)
    trust = parse_canonical_json(bundle, max_bytes=MAX_BUNDLE_BYTES, what="bundle")["trust"]
    if len(trust) == 1:
        return None
    return CarriedTrust(*(_read_files(trust.get(part), f"/trust/{part}") for part in CarriedTrust._fields))


def _read_files(value: Any, path: str) -> dict[str, bytes]:
    return {
        name: b64decode_strict(read_string(text, path, max_length=MAX_BUNDLE_BYTES, min_length=0), path)
        for name, text in read_map(value, path, max_items=_MAX_FILES).items()
    }


def audit_trust(bundle: bytes, *, root_sha256: str, at: int) -> AuditedTrust:
    """Verifies the trust that a bundle carries, as it was at a time in the past.

    Args:
        bundle: the ``*.intent.json`` file's bytes.
        root_sha256: the digest of a root that the auditor knows; those before it are not looked at.
        at: when the approval is judged, in Unix seconds.

    Raises:
        IndeterminateError: TRUST_UNAVAILABLE where the bundle does not carry it; TRUST_EXPIRED where it was
            no longer, or not yet, valid at that time.
        VerificationError: BAD_TRUST: it was not signed by a quorum that comes from that root, or is not what
            the approvers decided under.
        MalformedError: the bundle or the trust is malformed.
    """
    carried = read_carried_trust(bundle)
    if carried is None:
        raise IndeterminateError(
            Reason.TRUST_UNAVAILABLE, "The bundle does not carry the trust of its time.", hint=_HINT
        )
    followed, metadata = _follow(carried, root_sha256, at)
    _check_versions(parse_bundle(bundle).trust_versions, followed.versions)
    _check_begun(metadata, at)
    compiled = compile_trust(files=followed.files, versions=followed.versions, expires_at=followed.expires_at)
    return AuditedTrust(parse_trust(compiled), followed.notes)


def read_followed_roots(snapshot: Path) -> dict[int, bytes]:
    """Returns the roots that this machine's client has followed, by version."""
    folder = snapshot.with_suffix(".tuf") / "metadata" / "root_history"
    found = {path.name.removesuffix(".root.json"): path for path in folder.glob("*.root.json")}
    return {int(name): path.read_bytes() for name, path in found.items() if name.isdecimal()}


def check_same_roots(carried: CarriedTrust, followed: Mapping[int, bytes]) -> None:
    """Refuses roots that part from those followed here: stolen keys can sign a chain of their own.

    Raises:
        VerificationError: BAD_TRUST.
    """
    for version, known in followed.items():
        data = carried.metadata.get(f"{version}.root.json")
        if data is not None and _signed(data) != _signed(known):
            raise VerificationError(
                Reason.BAD_TRUST,
                f"Root {version} in the bundle is not the root {version} that this machine followed.",
                expected=sha256_hex(known),
                actual=sha256_hex(data),
                hint="Both begin alike, so somebody holds keys of an earlier root. Tell the administrators.",
            )


def keeps_keys(then: bytes | None, now: bytes | None) -> bool:
    """Tells whether every key that counted under one root still counts under a later one.

    A higher threshold counts as keys given up, too: fewer stolen ones were enough before.  False where a
    root is not known here.
    """
    if then is None or now is None:
        return False
    old, new = (cast(Root, parse_metadata(data, ROOT).signed).roles for data in (then, now))
    return all(
        set(role.keyids) <= set(new[name].keyids) and new[name].threshold <= role.threshold
        for name, role in old.items()
    )


def _signed(root: bytes) -> object:
    return cast(Root, parse_metadata(root, ROOT).signed)


def _follow(carried: CarriedTrust, root_sha256: str, at: int) -> tuple[Followed, dict[str, Metadata[Any]]]:
    register()
    wanted = root_sha256.lower()
    bootstrap = next((data for data in carried.metadata.values() if sha256_hex(data) == wanted), None)
    if bootstrap is None:
        raise VerificationError(
            Reason.BAD_TRUST,
            "None of the roots in the bundle is the one whose SHA-256 was given.",
            expected=wanted,
            hint="Compare the digest with an administrator. If it is right, this trust is somebody else's.",
        )
    with tempfile.TemporaryDirectory(prefix="placet-audit-") as folder:
        kept = Path(folder)
        (kept / "targets").mkdir()
        try:
            with named_errors("the bundle"):
                followed = follow(kept, _SCHEME, _CarriedFetcher(carried), bootstrap, at=at)
                online = {role: (kept / "metadata" / f"{role}.json").read_bytes() for role in SIGNED_ONLINE}
                return followed, {role: Metadata.from_bytes(data) for role, data in online.items()}
        except PlacetError as e:
            if e.reason is Reason.TRUST_EXPIRED:
                e.message = f"At {format_time(at)}, this was no longer valid: {e.message}"
            e.hint = _HINT  # those of a refresh are for gates
            raise


class _CarriedFetcher(FetcherInterface):
    """Serves what a bundle carries as if it were published; nothing else can be asked for."""

    def __init__(self, carried: CarriedTrust) -> None:
        self._carried = carried

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = unquote(url.removeprefix(_SCHEME))
        kind, _, name = path.partition("/")
        if kind == "targets":  # published as <folder>/<digest>.<name>
            folder, slash, base = name.rpartition("/")
            name = f"{folder}{slash}{base.partition('.')[2]}"
        data = (self._carried.targets if kind == "targets" else self._carried.metadata).get(name)
        if data is None:
            raise DownloadHTTPError(f"the bundle does not carry {path}", 404)
        return iter([data])


def _check_versions(named: dict[str, int], found: dict[str, int]) -> None:
    """Refuses other trust than the approvers decided under: a later list would rewrite what was allowed."""
    for role, version in sorted(named.items(), key=lambda item: item[0] in SIGNED_ONLINE):
        fits = found.get(role, 0) >= version if role in SIGNED_ONLINE else found.get(role) == version
        if not fits:
            raise VerificationError(
                Reason.BAD_TRUST,
                f"The approvers decided under {role} version {version}; the bundle carries another.",
                path="/trust/metadata",
                expected=version,
                actual=found.get(role, 0),
                hint=_HINT,
            )


def _check_begun(online: dict[str, Metadata[Any]], at: int) -> None:
    """Refuses trust that was published after the time, where its publisher said when that was."""
    for role, metadata in online.items():
        issued = metadata.signed.unrecognized_fields.get(ISSUED_AT)
        if issued is not None and read_time(issued, f"/{ISSUED_AT}") > at:
            raise IndeterminateError(
                Reason.TRUST_EXPIRED,
                f"At {format_time(at)}, this was not valid yet: its {role} was published at {issued}.",
                hint=_HINT,
            )


# -- bringing it along


def attach_trust(bundle: bytes, *, snapshot: Path, source: str | None, root_sha256: str | None) -> bytes:
    """Returns the bundle with the trust that its approvers decided under.

    Args:
        bundle: the ``*.intent.json`` file's bytes.
        snapshot: this machine's snapshot; the client's record beside it is used where it fits.
        source: where else the trust root is published, with its history.
        root_sha256: the digest of the first root; None takes the one that this machine started from.

    Raises:
        PlacetError: it is not to be had, or an auditor would refuse it; with the reason.
    """
    parsed = parse_bundle(bundle)
    reports = [parse_report(report.payload) for report in parsed.reports]
    decided_at = [report.decided_at for report in reports] or [
        parse_statement(parsed.envelope.payload).issued_at
    ]
    kept = snapshot.with_suffix(".tuf")
    register()
    carried = _read_record(kept, parsed.trust_versions)
    if carried is None:
        if source is None:
            raise IndeterminateError(
                Reason.TRUST_UNAVAILABLE,
                "This machine does not have the trust under which the approvers decided.",
                hint="Name where the trust root is published, with --from DIR or URL.",
            )
        carried = _fetch_published(source, parsed.trust_versions, kept)
    value = parse_canonical_json(bundle, max_bytes=MAX_BUNDLE_BYTES, what="bundle")
    for part, files in carried._asdict().items():
        value["trust"][part] = {name: b64encode(data) for name, data in files.items()}
    attached = encode_canonical(value)
    if len(attached) > MAX_BUNDLE_BYTES:
        raise MalformedError(
            Reason.TOO_LARGE,
            f"With the trust of its time, the bundle would have {len(attached)} bytes.",
            expected=MAX_BUNDLE_BYTES,
            hint="Archive the published folder beside the bundle instead.",
        )
    # What an auditor would refuse is refused now, while it can still be mended.
    audit_trust(attached, root_sha256=root_sha256 or sha256_hex(first_root_of(kept)), at=max(decided_at))
    return attached


def _read_record(kept: Path, named: dict[str, int]) -> CarriedTrust | None:
    """Returns what this machine's client accepted last, where the approvers decided under the same."""
    metadata, targets = {}, {}
    try:
        for path in (kept / "metadata" / "root_history").glob("*.root.json"):
            if int(path.name.partition(".")[0]) <= named.get(ROOT, 2**63):
                metadata[path.name] = path.read_bytes()
        for role in (TIMESTAMP, SNAPSHOT, TARGETS, *(role for role in named if role.startswith("scope-"))):
            data = (kept / "metadata" / f"{quote(role, '')}.json").read_bytes()
            signed = Metadata.from_bytes(data).signed
            if role not in SIGNED_ONLINE and signed.version != named.get(role, signed.version):
                return None
            metadata["timestamp.json" if role == TIMESTAMP else f"{signed.version}.{role}.json"] = data
            for name in getattr(signed, "targets", {}):
                targets[name] = (kept / "targets" / quote(name, "")).read_bytes()
    except (OSError, ValueError, PlacetError):
        return None
    return CarriedTrust(metadata, targets)


def _fetch_published(source: str, named: dict[str, int], kept: Path) -> CarriedTrust:
    """Fetches, by the versions that the approvers' reports name, what was published then."""
    missing = {ROOT, TIMESTAMP, SNAPSHOT, TARGETS} - named.keys()
    if missing:
        raise IndeterminateError(
            Reason.TRUST_UNAVAILABLE,
            f"No report says under which {min(missing)} the approvers decided.",
            hint="Attach the trust on a machine that has it, right after the decision.",
        )
    metadata, targets = {}, {}
    with named_errors(source):
        address, fetcher = open_source(source, kept / "git")
        names = {f"{number}.root.json": ROOT for number in range(1, named[ROOT] + 1)}
        names |= {f"{named[role]}.{role}.json": role for role in named if role != ROOT}
        for name, role in names.items():
            data = fetcher.download_bytes(f"{address}metadata/{quote(name)}", MAX_BUNDLE_BYTES)
            metadata["timestamp.json" if role == TIMESTAMP else name] = data
            for path, info in getattr(Metadata.from_bytes(data).signed, "targets", {}).items():
                folder, slash, base = path.rpartition("/")
                published = quote(f"{folder}{slash}{info.hashes.get('sha256', '')}.{base}")
                targets[path] = fetcher.download_bytes(f"{address}targets/{published}", MAX_BUNDLE_BYTES)
    return CarriedTrust(metadata, targets)

"""Files of the trust root that stand in a log: which role and version each is, and whether it was signed.

A log holds metadata files and none of the files that they name, so this says who changed what kind of trust
and when; what the change was is in the trust root's own history.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from tuf.api.metadata import Metadata, Root, Targets  # type: ignore[attr-defined]  # re-exported

from placet.adapters.securesystemslib import register
from placet.adapters.tuf.audit import read_followed_roots
from placet.adapters.tuf.trust import ROOT, TARGETS, named_errors
from placet.core.encoding import sha256_hex
from placet.core.errors import MalformedError, Reason

UNVERIFIED_TARGETS = "targets or a scope"


class LoggedMetadata(NamedTuple):
    """A metadata file.  `role` is a guess by the file's type where it is not `verified`.

    `judged` is False where this machine knows no root that could say whether it is signed.
    """

    role: str
    version: int
    verified: bool
    judged: bool


class KnownMetadata(NamedTuple):
    """What files are held against: roots by version, and targets, both verified."""

    roots: Mapping[int, bytes]
    targets: tuple[bytes, ...]


class FollowedFile(NamedTuple):
    """A metadata file that this machine's own client accepted."""

    role: str
    version: int
    digest: str


def verify_logged(data: bytes, known: KnownMetadata) -> LoggedMetadata:
    """Says which role a metadata file is of, and whether that role's keys signed it.

    Raises:
        MalformedError: it is no root or targets metadata.
    """
    register()
    with named_errors("the log's trust record"):
        metadata: Metadata[Any] = Metadata.from_bytes(data)
        # What has no canonical form was signed by nobody; some of it is found out only here.
        _ = metadata.signed_bytes
    signed = metadata.signed
    if isinstance(signed, Root):
        verified, judged = _verify_root(data, metadata, known.roots)
        return LoggedMetadata(ROOT, signed.version, verified, judged)
    if not isinstance(signed, Targets):
        raise MalformedError(Reason.BAD_TRUST, "Logs take root and targets metadata.", actual=signed.type)
    for delegator in (
        *_parse(known.roots[v] for v in sorted(known.roots, reverse=True)),
        *_parse(known.targets),
    ):
        for role in _roles_of(delegator):
            if _is_signed(delegator, role, metadata):
                return LoggedMetadata(role, signed.version, True, True)
    return LoggedMetadata(UNVERIFIED_TARGETS, signed.version, False, bool(known.roots))


def _verify_root(data: bytes, metadata: Metadata[Root], roots: Mapping[int, bytes]) -> tuple[bool, bool]:
    """Tells whether a root is signed as its predecessor asks, and whether that can be told."""
    version = metadata.signed.version
    if data in roots.values():
        return True, True
    before = roots.get(version - 1)
    if before is not None:
        delegators = (Metadata.from_bytes(before).signed, metadata.signed)
        return all(_is_signed(d, ROOT, metadata) for d in delegators), True
    # Another file of a version that is known is judged by its own keys: both signed is what a split is.
    if version in roots:
        return _is_signed(Metadata.from_bytes(roots[version]).signed, ROOT, metadata), True
    return False, False


def _parse(files: Iterable[bytes]) -> list[Any]:
    return [Metadata.from_bytes(data).signed for data in files]


def _roles_of(delegator: Root | Targets) -> tuple[str, ...]:
    if isinstance(delegator, Root):
        return (TARGETS,)
    delegations = delegator.delegations
    return tuple(delegations.roles) if delegations is not None and delegations.roles else ()


def _is_signed(delegator: Root | Targets, role: str, metadata: Metadata[Any]) -> bool:
    return bool(delegator.get_verification_result(role, metadata.signed_bytes, metadata.signatures).verified)


def read_known(snapshot: Path) -> KnownMetadata:
    """Returns the roots and targets that this machine's client accepted."""
    folder = snapshot.with_suffix(".tuf") / "metadata"
    found = [folder / "targets.json"]
    targets = tuple(path.read_bytes() for path in found if path.is_file())
    return KnownMetadata(read_followed_roots(snapshot), targets)


def read_followed(snapshot: Path) -> tuple[FollowedFile, ...]:
    """Returns the newest root and targets files, those of scopes included, that this machine follows."""
    register()  # a run that reads no new trust record comes here first
    roots = read_followed_roots(snapshot)
    files = {ROOT: roots[max(roots)]} if roots else {}
    for path in sorted((snapshot.with_suffix(".tuf") / "metadata").glob("*.json")):
        role = unquote(path.name.removesuffix(".json"))
        if role == TARGETS or role.startswith("scope-"):
            files[role] = path.read_bytes()
    return tuple(
        FollowedFile(role, Metadata.from_bytes(data).signed.version, sha256_hex(data))
        for role, data in files.items()
    )

"""Reading the scopes that owners govern, each so that it can harm nothing but itself.

Owners sign more often than administrators and are fewer, so one of them will forget, and one may be hostile.
What is wrong with a scope's own rules (expired, not signed by enough owners, malformed, reaching beyond the
one file) closes that scope: gates refuse everything in it, also what rules of other scopes would allow, since
the missing rules might have asked for more.  All other scopes go on.

What the source is to blame for, such as a file that is missing or is not the one that the snapshot names,
fails the whole refresh as ever: the gate keeps the snapshot it has.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, NoReturn
from urllib.parse import quote

from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.metadata import Snapshot, TargetFile, Targets  # type: ignore[attr-defined]  # re-exported
from tuf.ngclient import Updater  # type: ignore[attr-defined]
from tuf.ngclient.fetcher import FetcherInterface

from placet.adapters.tuf.delegations import (
    ScopeOwners,
    check_scope_policy,
    check_scope_targets,
    is_readable_version,
    read_delegations,
    scope_of,
)
from placet.adapters.tuf.trust import SCOPE_LEAST_LEFT_SECONDS, SNAPSHOT, parse_metadata
from placet.core.encoding import parse_json, sha256_hex
from placet.core.errors import (
    IndeterminateError,
    MalformedError,
    PlacetError,
    PolicyError,
    Reason,
    VerificationError,
)
from placet.core.policy import MAX_POLICY_BYTES
from placet.core.trust import MAX_FILE_BYTES


class ReadScopes(NamedTuple):
    """The rules of all delegated scopes, by file; what is closed has rules that nobody can satisfy.

    `versions` are those that the snapshot names, of scopes that were taken back too; `notes` say in sentences
    which scopes are closed and why.
    """

    files: dict[str, bytes]
    versions: dict[str, int]
    expires_at: list[int]
    notes: tuple[str, ...]


def read_scopes(
    updater: Updater,
    metadata: Path,
    targets: Targets,
    files: Mapping[str, bytes],
    fetcher: FetcherInterface,
    address: str,
    *,
    at: int,
) -> ReadScopes:
    """Fetches and judges the rules of every delegated scope.

    Args:
        updater: the client, refreshed.
        metadata: the folder in which it keeps what it verified.
        targets: the verified targets.
        files: the files of `targets`.
        fetcher: what the client fetches with.
        address: where the trust root is published.
        at: the time by which expiry is judged, in Unix seconds.

    Raises:
        PolicyError, MalformedError: administrators signed a delegation that is none of one scope.
        VerificationError: an owners' role is wrong, and the snapshot does not vouch for the very bytes.
        RepositoryError, DownloadError: the source does not serve what the snapshot names.
    """
    snapshot: Snapshot = parse_metadata(_kept_file(metadata, SNAPSHOT), SNAPSHOT).signed
    versions = {name.removesuffix(".json"): meta.version for name, meta in snapshot.meta.items()}
    found, expires_at, notes = {}, [], []
    for owners in read_delegations(targets).values():
        try:
            info, expires = _judge_owners(updater, metadata, snapshot, owners, at)
            try:
                found[owners.file] = _fetch_policy(updater, info, owners.scope, files)
            except (LengthOrHashMismatchError, DownloadLengthMismatchError) as e:
                _blame_for_length(info, owners.scope, fetcher, address, e)
            expires_at.append(expires)
        except _Closed as e:
            found[owners.file] = closed_policy(owners.scope, e.why, files)
            notes.append(_say_closed(owners, e))
    return ReadScopes(
        files=found,
        # A snapshot could not hold what is no version; the owners who signed it closed their own scope.
        versions={r: v for r, v in versions.items() if scope_of(r) is not None and is_readable_version(v)},
        expires_at=expires_at,
        notes=tuple(notes),
    )


class _Closed(Exception):
    """The owners are to blame; `why` is the end of a sentence."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def _say_closed(owners: ScopeOwners, closed: _Closed) -> str:
    people = ", ".join(person for person, _ in owners.owners)
    cause = f" {closed.__cause__}" if isinstance(closed.__cause__, PlacetError) else ""
    return (
        f"The scope {owners.scope} is closed, since {closed.why}: gates refuse everything in it.{cause} "
        f"It opens when its owners ({people}) have signed and that is published."
    )


def closed_policy(scope: str, why: str, files: Mapping[str, bytes]) -> bytes:
    """Returns rules under which nothing in the scope is allowed: each asks for one who is no person.

    A person's ID has no space, so nobody can ever be enrolled under this name; it is shown to those who ask
    what is missing.
    """
    nobody = json.dumps(f"person:(the owners of the scope {scope}, since {why})")
    written = [f"# Written by `placet trust refresh`, since {why}."]
    for name in sorted(name for name in files if name.startswith("actions/")):
        action = parse_json(files[name], max_bytes=MAX_FILE_BYTES, what=name).get("type")
        written += [
            "[[rule]]",
            f"action = {json.dumps(action)}",
            'target = "**"',
            "level = 1",
            f"quorum = {{ threshold = 1, of = [{nobody}] }}",
            "exclude_requester = false",
            'max_window = "9999d"',
        ]
    return "\n".join([*written, "" if len(written) > 1 else "rule = []"]).encode()


def _judge_owners(
    updater: Updater, metadata: Path, snapshot: Snapshot, owners: ScopeOwners, at: int
) -> tuple[TargetFile, int]:
    """Returns the file that the owners signed, and when their signatures end."""
    meta = snapshot.meta.get(f"{owners.role}.json")
    if meta is None:
        raise _Closed("its owners have not signed any rules yet")
    if not meta.hashes:
        # Then a courier could have the client refuse the role, and close the scope, with bytes of its own.
        raise VerificationError(
            Reason.BAD_TRUST,
            f"The snapshot does not name the rules of the scope {owners.scope} by digest.",
            hint="Publish with `placet trust publish`, which does.",
        )
    try:
        info = updater.get_targetinfo(owners.file)
    except (LengthOrHashMismatchError, BadVersionNumberError):
        raise
    except ExpiredMetadataError as e:
        raise _Closed("its owners' signatures have expired") from e
    except UnsignedMetadataError as e:
        raise _Closed("too few of its owners have signed its rules") from e
    except RepositoryError as e:
        raise _Closed("what its owners signed is malformed") from e
    signed: Targets = parse_metadata(_kept_file(metadata, owners.role), owners.role).signed
    expires = int(signed.expires.timestamp())
    if expires - at < SCOPE_LEAST_LEFT_SECONDS:
        raise _Closed("its owners' signatures expire within two days")
    try:
        check_scope_targets(owners.role, signed)
    except PolicyError as e:
        raise _Closed("its owners signed something else than its rules") from e
    if info is None or info.length > MAX_POLICY_BYTES:
        raise _Closed("its rules are too large")
    return info, expires


def _fetch_policy(updater: Updater, info: TargetFile, scope: str, files: Mapping[str, bytes]) -> bytes:
    path = Path(updater.find_cached_target(info) or updater.download_target(info))
    data = path.read_bytes()
    info.verify_length_and_hashes(data)
    try:
        check_scope_policy(scope, data, files)
    except (MalformedError, IndeterminateError) as e:
        raise _Closed("its rules are malformed") from e
    return data


def _blame_for_length(
    info: TargetFile, scope: str, fetcher: FetcherInterface, address: str, error: Exception
) -> NoReturn:
    """Tells who is to blame for a file that does not fit: the source, or owners who signed a wrong length."""
    digest = info.hashes["sha256"]
    url = f"{address}targets/policy/{digest}.{scope}.toml"
    if sha256_hex(fetcher.download_bytes(url, MAX_POLICY_BYTES)) != digest:
        raise error
    raise _Closed("its owners signed another length than its rules have") from error


def _kept_file(metadata: Path, role: str) -> bytes:
    # The client stores a role only after it verified it.
    return (metadata / f"{quote(role, '')}.json").read_bytes()

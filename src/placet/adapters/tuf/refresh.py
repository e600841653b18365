"""The gate's side: refresh the verified trust snapshot with python-tuf's own client.

The first root is taken by its SHA-256, which a person typed or pinned; every later one must be signed by the
quorum of the one before.  The client refuses rollback, freeze and mix-and-match; what it verified is
compiled to one snapshot and replaces the old one in a single rename.  A refresh that fails, for whatever
reason, leaves the old snapshot as it was.

What administrators delegate is one scope's rules to the role of that scope (`tuf_scope_refresh`); any other
delegation is refused.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import Root, TargetFile, Targets  # type: ignore[attr-defined]
from tuf.ngclient import Updater, UpdaterConfig  # type: ignore[attr-defined]
from tuf.ngclient.fetcher import FetcherInterface

from placet.adapters.git.courier import is_git_address
from placet.adapters.private_file import write_atomically
from placet.adapters.securesystemslib import register
from placet.adapters.trust_files import drop_files, keep_files
from placet.adapters.tuf.fetch import FOLDER_SCHEME, MAX_SECONDS, FolderFetcher, HttpFetcher
from placet.adapters.tuf.git import open_git
from placet.adapters.tuf.scope_refresh import read_scopes
from placet.adapters.tuf.trust import (
    ROOT,
    SIGNED_ONLINE,
    SNAPSHOT,
    TARGETS,
    TIMESTAMP,
    check_people_hold_one_key,
    named_errors,
    parse_metadata,
    utc,
)
from placet.core.encoding import Digest, format_time, sha256_hex
from placet.core.errors import (
    IndeterminateError,
    MalformedError,
    PlacetError,
    PolicyError,
    Reason,
    VerificationError,
    visible,
)
from placet.core.trust import MAX_FILE_BYTES, MAX_SNAPSHOT_BYTES, Trust, compile_trust, parse_trust
from placet.documents.issuers import ISSUERS_FILE

_MAX_ROOT_BYTES = UpdaterConfig.root_max_length
# Far more roots than yearly rotation ever makes; bounds the search for the one that was pinned.
_MAX_ROOTS = 256
# No snapshot holds more; bounds what the signed metadata of one careless scope owner makes a gate fetch.
_MAX_FILES = 10_000
_FIRST_ROOT = "first.root.json"
# When trust was last refreshed here, by this machine's clock, which must not go back behind it (A18).
_FLOOR = "refreshed-at"
_CLOCK_STEP_SECONDS = 3600


class Refreshed(NamedTuple):
    """What a refresh left behind.  Times are Unix seconds; `expires_at` is the earliest of all roles.

    `notes` are sentences about what could not be brought along; the snapshot is whole without it.
    """

    trust: Trust
    versions: dict[str, int]
    expires_at: int
    changed: bool
    notes: tuple[str, ...] = ()


class Followed(NamedTuple):
    """What the published metadata says, verified from the first root on.

    `expires_at` is the earliest of all roles that count; `notes` say which scopes are closed, and why.
    """

    files: dict[str, bytes]
    versions: dict[str, int]
    expires_at: int
    notes: tuple[str, ...]


def refresh(
    source: str,
    snapshot: Path,
    *,
    root: bytes | None = None,
    root_sha256: str | None = None,
    now: int | None = None,
    max_seconds: float = MAX_SECONDS,
) -> Refreshed:
    """Fetches, verifies and compiles the published trust root, and replaces the snapshot.

    Args:
        source: the folder, http(s) or git address (`git+https://…`) that `placet trust publish` filled.
        snapshot: where the gate's snapshot lies; the client keeps what it accepted beside it.
        root: the first root's file, where it was brought along; otherwise it is looked for in `source`.
        root_sha256: the digest of the first root, by hand.  Needed once; later it must still fit.
        now: Unix seconds; this machine's clock if left out.
        max_seconds: how long everything together may take over HTTP, or git's fetch.

    Raises:
        PlacetError: with the reason; the old snapshot is untouched.
    """
    register()
    now = int(time.time()) if now is None else now
    kept = snapshot.with_suffix(".tuf")
    try:
        address, fetcher = open_source(source, kept / "git", max_seconds)
        (kept / "targets").mkdir(parents=True, exist_ok=True, mode=0o700)
        with _lock(kept / "lock"), named_errors(source):
            _check_clock(kept / _FLOOR, now)
            bootstrap = _first_root(kept, address, fetcher, root, root_sha256)
            followed = follow(kept, address, fetcher, bootstrap, at=now)
            compiled = compile_trust(
                files=followed.files, versions=followed.versions, expires_at=followed.expires_at
            )
            old = _read_old(snapshot)
            _check_not_older(old, followed.versions, kept / "metadata")
            named = keep_files(snapshot, followed.files)
            notes = followed.notes + _refresh_issuers(snapshot, followed.files.get(ISSUERS_FILE), now)
            write_atomically(snapshot, compiled)
            drop_files(snapshot, named)
            write_atomically(kept / _FLOOR, str(now).encode())
    except OSError as e:
        raise IndeterminateError(
            Reason.TRUST_UNAVAILABLE, f"The trust snapshot cannot be kept in {snapshot.parent}: {e}."
        ) from e
    changed = old is None or old.versions != followed.versions
    return Refreshed(parse_trust(compiled), followed.versions, followed.expires_at, changed, notes)


def follow(kept: Path, address: str, fetcher: FetcherInterface, bootstrap: bytes, *, at: int) -> Followed:
    """Runs TUF's client workflow from a trusted root on, and downloads every target.

    Args:
        kept: the client's folder, with what it accepted before.
        bootstrap: the first root, which the caller trusts.
        at: the time by which expiry is judged, in Unix seconds.

    Raises:
        PlacetError, OSError, or an error of python-tuf, which `named_errors` names.
    """
    updater = Updater(
        str(kept / "metadata"),
        f"{address}metadata/",
        str(kept / "targets"),
        f"{address}targets/",
        fetcher=fetcher,
        config=UpdaterConfig(max_root_rotations=_MAX_ROOTS, app_user_agent="placet"),
        bootstrap=bootstrap,
    )
    # The one thing that python-tuf does not offer: to be told the time.  Were it renamed, expiry would be
    # judged by the machine's clock, which refuses more and never less; the tests of audits would show it.
    updater._trusted_set.reference_time = utc(at)
    updater.refresh()
    if not (kept / _FIRST_ROOT).exists():
        write_atomically(kept / _FIRST_ROOT, bootstrap)
    targets: Targets = parse_metadata(_kept_file(kept / "metadata", TARGETS), TARGETS).signed
    files = _download_targets(updater, targets)
    versions, expires_at = _judge_roles(kept / "metadata")
    scopes = read_scopes(updater, kept / "metadata", targets, files, fetcher, address, at=at)
    if versions[ROOT] >= parse_metadata(bootstrap, ROOT).signed.version + _MAX_ROOTS:
        # python-tuf stops looking there and takes that root for the newest.
        raise PolicyError(
            Reason.TOO_MANY,
            f"{_MAX_ROOTS} roots follow the one that this gate was started from, and perhaps more.",
            hint=f"Have an administrator tell you the newest root's SHA-256, remove {kept}, refresh again.",
        )
    return Followed(
        files=files | scopes.files,
        versions=versions | scopes.versions,
        expires_at=min([expires_at, *scopes.expires_at]),
        notes=scopes.notes,
    )


def _refresh_issuers(snapshot: Path, issuers_file: bytes | None, now: int) -> tuple[str, ...]:
    """Brings the keys of OIDC issuers along.  Without them tokens are undecided; all else goes on."""
    if issuers_file is None:
        return ()
    from placet.adapters.oidc.keys import refresh_issuers

    try:
        return refresh_issuers(snapshot, issuers_file, now=now)
    except PlacetError as e:
        return (f"The OIDC issuers cannot be used: {e}",)


def open_source(
    source: str, git_cache: Path, max_seconds: float = MAX_SECONDS
) -> tuple[str, FetcherInterface]:
    """Returns the address below which files are asked for, and what fetches them.

    Raises:
        IndeterminateError: TRUST_UNAVAILABLE.
    """
    if is_git_address(source):
        return open_git(source, git_cache, seconds=int(max_seconds))
    if source.startswith(("http://", "https://")):
        return source.rstrip("/") + "/", HttpFetcher(max_seconds)
    folder = Path(source)
    # An administrator's own working repository is the natural thing to name, too.
    if (folder / "repository.json").is_file():
        folder /= "published"
    if not (folder / "metadata").is_dir():
        raise IndeterminateError(
            Reason.TRUST_UNAVAILABLE,
            f"There is no published trust root in {source}.",
            hint="Name the folder or address that `placet trust publish` filled.",
        )
    return FOLDER_SCHEME, FolderFetcher(folder)


def _check_clock(path: Path, now: int) -> None:
    """Refuses a clock that was set back: expired metadata would be fresh again (A18)."""
    try:
        floor = int(path.read_bytes())
    except (OSError, ValueError):
        return  # the first refresh; whoever can write here can write the snapshot as well
    if now < floor - _CLOCK_STEP_SECONDS:
        raise IndeterminateError(
            Reason.TIME_UNPROVEN,
            f"This machine's clock says {format_time(now)}, but trust was refreshed here at "
            f"{format_time(floor)} already.",
            hint=f"Correct the clock; if the later time was the wrong one, remove {path} and refresh again.",
        )


def first_root_of(kept: Path) -> bytes:
    """Returns the root from which this machine's client started.

    Raises:
        IndeterminateError: TRUST_UNAVAILABLE where it has not started yet.
    """
    try:
        return (kept / _FIRST_ROOT).read_bytes()
    except OSError as e:
        raise IndeterminateError(
            Reason.TRUST_UNAVAILABLE,
            "This machine follows no trust root yet, so it knows no root to begin from.",
            hint="Give the SHA-256 of a root that an administrator told you, as --root-sha256.",
        ) from e


def _first_root(
    kept: Path, address: str, fetcher: FetcherInterface, root: bytes | None, root_sha256: str | None
) -> bytes:
    """Returns the root from which trust starts: pinned by hand the first time, kept afterwards."""
    path = kept / _FIRST_ROOT
    known = path.read_bytes() if path.exists() else None
    if known is not None and root_sha256 in (None, sha256_hex(known)) and root in (None, known):
        return known
    if known is not None:
        raise PolicyError(
            Reason.BAD_TRUST,
            "This snapshot was started from another first root than the one that is given now.",
            expected=sha256_hex(known),
            actual=root_sha256,
            hint=f"If the trust root was founded anew, remove {kept} and the snapshot, and refresh again.",
        )
    if root_sha256 is None:
        raise IndeterminateError(
            Reason.TRUST_UNAVAILABLE,
            "The first refresh needs the SHA-256 of the root, told by an administrator.",
            hint="`placet trust publish` prints it; give it as --root-sha256. Never take it from the relay.",
        )
    if root is not None:
        _check_root_digest(root, root_sha256)
        return root
    return _find_root(address, fetcher, Digest(root_sha256.lower()))


def _find_root(address: str, fetcher: FetcherInterface, wanted: Digest) -> bytes:
    data = b""
    for version in range(1, _MAX_ROOTS + 1):
        try:
            data = fetcher.download_bytes(f"{address}metadata/{version}.root.json", _MAX_ROOT_BYTES)
        except DownloadHTTPError as e:
            if version == 1 or e.status_code not in {403, 404}:
                raise
            break
        if sha256_hex(data) == wanted:
            return data
    _check_root_digest(data, wanted)
    return data


def _check_root_digest(root: bytes, wanted: str) -> None:
    if sha256_hex(root) != wanted.lower():
        raise VerificationError(
            Reason.BAD_TRUST,
            "The root is not the one whose SHA-256 was given.",
            expected=wanted,
            actual=sha256_hex(root),
            hint="Perhaps it is the draft's digest; `placet trust publish` prints the published root's. "
            "Compare it with an administrator by voice: if it is right, the source is false.",
        )


def _download_targets(updater: Updater, targets: Targets) -> dict[str, bytes]:
    """Downloads every file that administrators signed."""
    if len(targets.targets) > _MAX_FILES:
        raise MalformedError(Reason.TOO_MANY, f"A trust root has at most {_MAX_FILES} files.")
    return {name: _download(updater, info) for name, info in targets.targets.items()}


def _download(updater: Updater, info: TargetFile) -> bytes:
    if info.length > MAX_FILE_BYTES:
        raise MalformedError(
            Reason.TOO_LARGE,
            f"{visible(info.path[:200])} would have {info.length} bytes; a file of a trust root has at most "
            f"{MAX_FILE_BYTES}.",
        )
    path = Path(updater.find_cached_target(info) or updater.download_target(info))
    data = path.read_bytes()
    info.verify_length_and_hashes(data)
    return data


def _kept_file(metadata: Path, role: str) -> bytes:
    # The client stores a role only after it verified it.
    return (metadata / f"{quote(role, '')}.json").read_bytes()


def _judge_roles(metadata: Path) -> tuple[dict[str, int], int]:
    """Returns the version of each role and the earliest expiry, and checks that people hold one key each."""
    roles = (ROOT, TIMESTAMP, SNAPSHOT, TARGETS)
    signed = {role: parse_metadata(_kept_file(metadata, role), role).signed for role in roles}
    for path in sorted((metadata / "root_history").glob("*.root.json")):
        # Every root on the way decided who signs the next; two keys of one person would be two voices there.
        check_people_hold_one_key(parse_metadata(path.read_bytes(), ROOT).signed)
    versions = {role: item.version for role, item in signed.items()}
    return versions, min(int(item.expires.timestamp()) for item in signed.values())


def _read_old(snapshot: Path) -> Trust | None:
    try:
        data = snapshot.read_bytes()
        return parse_trust(data) if len(data) <= MAX_SNAPSHOT_BYTES else None
    except (OSError, PlacetError):
        return None  # none yet, or damaged: the client's own record still stops a rollback


def _check_not_older(old: Trust | None, versions: dict[str, int], metadata: Path) -> None:
    """Refuses a rollback also where somebody removed the client's record beside the snapshot."""
    if old is None:
        return
    rotated = _rotated(metadata, old.versions.get(ROOT, 0))
    for role, version in old.versions.items():
        # The way back from a stolen online key that counted versions up: administrators give out new keys,
        # and the versions that the old ones vouched for are forgotten, as TUF's client workflow has it.
        vouched_by = TIMESTAMP if role in SIGNED_ONLINE else SNAPSHOT
        forgotten = role != ROOT and vouched_by in rotated
        if versions.get(role, version) < version and not forgotten:
            raise VerificationError(
                Reason.BAD_TRUST,
                f"The published {role} is version {versions[role]}; this snapshot has {version} already.",
                hint="Somebody may want to bring back a revoked approver. Refresh from the real repository.",
            )


def _rotated(metadata: Path, old_root: int) -> frozenset[str]:
    """Returns the online roles that could no longer be signed with the keys they had in an earlier root."""
    try:
        before: Root = parse_metadata(
            (metadata / "root_history" / f"{old_root}.root.json").read_bytes(), ROOT
        ).signed
    except (OSError, PlacetError):
        return frozenset()
    now: Root = parse_metadata(_kept_file(metadata, ROOT), ROOT).signed
    return frozenset(
        role
        for role in SIGNED_ONLINE
        if len(set(before.roles[role].keyids) & set(now.roles[role].keyids)) < now.roles[role].threshold
    )


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    # python-tuf's client must be alone in its folder.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)

"""The administrators' working repository: a draft, collected signatures, and what is published.

    repository.json      the format of this folder
    objects/<sha256>     contents of target files, by digest
    draft/root.json      the exact bytes that administrators sign, while a new root is prepared
    draft/targets.json   the same for targets; it names every target file by digest
    draft/<role>.json    the same for a delegated role, which names the files of its scope
    draft/<role>.signatures/<key ID>.sshsig
    keys/                online keys of snapshot and timestamp, readable by their owner alone, never published
    published/           what gates read: metadata/ and targets/, as any web server can serve it

The draft *is* the metadata to be signed, and target files are found by the digests inside it: what is shown
to an administrator, what is signed and what is published cannot differ.  Every write is atomic, and contents
are written before what names them, so that a crash at any moment leaves a readable repository.  Signatures
are verified whenever they are read, so a signature over an earlier draft never counts.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]
from tuf.api.metadata import (  # type: ignore[attr-defined]  # re-exported without saying so
    Root,
    TargetFile,
    Targets,
)

from placet.adapters.private_file import write_atomically
from placet.adapters.securesystemslib import register
from placet.adapters.tuf.delegations import is_safe_name
from placet.adapters.tuf.online_keys import OnlineKeys
from placet.adapters.tuf.published import (
    PublishedTrust,
    delegated_paths,
    role_file_name,
)
from placet.adapters.tuf.trust import (
    ROOT,
    SCOPE_VALIDITY_SECONDS,
    SIGNED_BY_PEOPLE,
    SIGNED_ONLINE,
    TARGETS,
    VALIDITY_SECONDS,
    Administrator,
    build_root,
    encode_signed,
    parse_signed,
    role_keys,
    utc,
)
from placet.core.encoding import sha256_hex
from placet.core.errors import IndeterminateError, MalformedError, PolicyError, Reason
from placet.core.trust import compile_trust

FORMAT = "placet-trust-repository 1"


class TrustRepository(PublishedTrust):
    """One working repository.  Methods that change it take its lock; two administrators may work at once."""

    def __init__(self, path: Path) -> None:
        """Opens the repository at `path`.

        Raises:
            IndeterminateError: TRUST_UNAVAILABLE where there is none.
        """
        register()
        self.path = path
        try:
            found = json.loads((path / "repository.json").read_bytes())
        except (OSError, ValueError, RecursionError) as e:
            raise IndeterminateError(
                Reason.TRUST_UNAVAILABLE,
                f"There is no trust repository in {path}.",
                hint="Make one with `placet trust init`, or name it with --repository DIR.",
            ) from e
        if found != {"format": FORMAT}:
            raise IndeterminateError(
                Reason.TRUST_UNAVAILABLE, f"The trust repository in {path} is of another version of placet."
            )

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        files: Mapping[str, bytes],
        administrators: Sequence[Administrator],
        threshold: int,
        now: int,
    ) -> TrustRepository:
        """Makes a repository with an unsigned first root and targets.

        Raises:
            PolicyError: BAD_TRUST: `path` is taken, the threshold cannot be met, or a person has two keys.
            MalformedError: the files are no trust root.
            OSError: the folder cannot be written.
        """
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise PolicyError(
                Reason.BAD_TRUST,
                f"{path} is already there.",
                hint="Use it with --repository, or choose another folder; a trust root is never overwritten.",
            )
        signers = {role: CryptoSigner.generate_ed25519() for role in SIGNED_ONLINE}
        root = build_root(
            administrators,
            threshold=threshold,
            online_keys={role: signer.public_key for role, signer in signers.items()},
            version=1,
            expires_at=now + VALIDITY_SECONDS[ROOT],
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        # Built beside its place and moved there whole: an interrupted `init` leaves nothing in the way.
        building = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        try:
            for name in ("objects", "draft", "published/metadata", "published/targets"):
                (building / name).mkdir(parents=True)
            for role, signer in signers.items():
                OnlineKeys(building / "keys").add(role, signer, first=True)
            write_atomically(building / "repository.json", json.dumps({"format": FORMAT}).encode())
            repository = cls(building)
            repository.write_draft(ROOT, root)
            repository.stage(files, now=now)
            building.rename(path)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
        return cls(path)

    # -- the draft

    def draft_roles(self) -> tuple[str, ...]:
        """Returns the prepared roles that are not yet published: root, targets, delegated ones by name."""
        delegated = sorted(delegated_paths(self.current_targets()))
        roles = (*SIGNED_BY_PEOPLE, *delegated)
        return tuple(role for role in roles if self.draft_bytes(role) is not None)

    def draft_bytes(self, role: str) -> bytes | None:
        """Returns the exact bytes of a prepared role, while it is not yet published."""
        path = self._draft_path(role)
        if not path.exists():
            return None
        message = path.read_bytes()
        published: Root | Targets | None = (
            self.published_root() if role == ROOT else self.published_targets(role)
        )
        # A crash after publishing and before clearing leaves a draft that is already out.
        if published is not None and parse_signed(message, role).version <= published.version:
            return None
        return message

    def draft_root(self) -> Root | None:
        """Returns the prepared root, while it is not yet published."""
        message = self.draft_bytes(ROOT)
        return None if message is None else cast(Root, parse_signed(message, ROOT))

    def current_root(self) -> Root:
        """Returns the root as it will be: the drafted one, or else the published one.

        Raises:
            IndeterminateError: there is neither.
        """
        root = self.draft_root() or self.published_root()
        if root is None:
            raise IndeterminateError(Reason.TRUST_UNAVAILABLE, f"The repository in {self.path} has no root.")
        return root

    def current_targets(self, role: str = TARGETS) -> Targets | None:
        """Returns the targets, or a delegated role, as they will be: drafted, or else published."""
        message = self.draft_bytes(role)
        if message is None:
            return self.published_targets(role)
        return cast(Targets, parse_signed(message, role))

    def draft_files(self) -> dict[str, bytes]:
        """Returns the target files as they will be published, each checked against its digest."""
        targets = self.current_targets()
        files = {} if targets is None else self.read_files(targets)
        for role, paths in delegated_paths(targets).items():
            if (delegated := self.current_targets(role)) is not None:
                files |= self.read_files(delegated, only=paths)
        return files

    def files_named_by(self, targets_message: bytes) -> dict[str, bytes]:
        """Returns the files that prepared targets name by digest."""
        return self.read_files(cast(Targets, parse_signed(targets_message, TARGETS)))

    def stage(self, changes: Mapping[str, bytes], *, now: int, removals: Collection[str] = ()) -> bool:
        """Puts files into the draft and takes others out; each role that names one of them is prepared anew.

        Signatures on the earlier draft of such a role are void.

        Returns:
            Whether anything changed.

        Raises:
            MalformedError: with these files it would be no trust root; nothing was changed.
            PolicyError: BAD_TRUST for a published action definition, which never changes.
        """
        with self.lock():
            before = self.draft_files()
            self._check_changes(changes, removals)
            files = {name: data for name, data in (before | dict(changes)).items() if name not in removals}
            if files == before:
                return False
            compile_trust(files=files, versions={ROOT: 1}, expires_at=now)
            paths = delegated_paths(self.current_targets())
            for role in (*paths, TARGETS):
                mine = {name for name in files if _role_of(name, paths) == role}
                was = {name for name in before if _role_of(name, paths) == role}
                if {name: files[name] for name in mine} != {name: before[name] for name in was}:
                    self.prepare_targets({name: files[name] for name in mine}, now=now, role=role)
            return True

    def renew(self, *, now: int) -> None:
        """Prepares new expiry dates, and nothing else changed, for root and targets.

        Where one of them has less than half of its time left and the other has not, for that one alone.
        """
        with self.lock():
            root, targets = self.published_root(), self.published_targets()
            due = {
                role
                for role, signed in ((ROOT, root), (TARGETS, targets))
                if signed is None or signed.expires.timestamp() - now < VALIDITY_SECONDS[role] / 2
            }
            if root is not None and self.draft_root() is None and due != {TARGETS}:
                root.version += 1
                root.expires = utc(now + VALIDITY_SECONDS[ROOT])
                self.write_draft(ROOT, root)
            if due != {ROOT}:
                current = self.current_targets()
                self.prepare_targets({} if current is None else self.read_files(current), now=now)

    def prepare_targets(
        self,
        files: Mapping[str, bytes],
        *,
        now: int,
        role: str = TARGETS,
        validity: int | None = None,
    ) -> None:
        """Drafts the next version of targets, or of a delegated role, with these files; needs the lock.

        Delegations stay as they are drafted, or else published.
        """
        published, current = self.published_targets(role), self.current_targets(role)
        self.keep_objects(files)
        self.write_draft(
            role,
            Targets(
                version=1 if published is None else published.version + 1,
                expires=utc(now + (validity or VALIDITY_SECONDS.get(role, SCOPE_VALIDITY_SECONDS))),
                targets={name: TargetFile.from_data(name, data, ["sha256"]) for name, data in files.items()},
                delegations=None if current is None else current.delegations,
            ),
        )

    def keep_objects(self, files: Mapping[str, bytes]) -> None:
        """Keeps contents by digest, before anything names them; needs the lock."""
        (self.path / "objects").mkdir(exist_ok=True)
        for data in files.values():
            path = self.path / "objects" / sha256_hex(data)
            if not path.exists():
                write_atomically(path, data)

    def write_draft(self, role: str, signed: Root | Targets) -> None:
        """Writes a prepared role, which voids the signatures on its earlier draft; needs the lock."""
        write_atomically(self._draft_path(role), encode_signed(signed))
        # Signatures over the earlier draft no longer verify; removing them is tidiness, not a check.
        shutil.rmtree(self.signatures_folder(role), ignore_errors=True)

    def clear_drafts(self, roles: Collection[str] | None = None, *, keep: Collection[str] = ()) -> None:
        """Removes drafts with their signatures, by default all but those to be kept; needs the lock."""
        kept = {self._draft_path(role) for role in keep}
        found = [path for path in sorted((self.path / "draft").glob("[!.]*.json")) if path not in kept]
        for path in found if roles is None else map(self._draft_path, roles):
            path.unlink(missing_ok=True)
            shutil.rmtree(path.with_suffix(".signatures"), ignore_errors=True)
        self.forget_unused_online_keys()

    def delegators(self, role: str) -> tuple[Root | Targets, ...]:
        """Returns the metadata whose quorums must *all* sign a prepared role, the newest first.

        A new root is signed by the old quorum and by its own.  Where a drafted root changes who signs
        targets, so are the new targets: gates that have the old root and those that have the new one accept
        them, so that no moment of publishing, and no crash in it, leaves something that some refuse.

        Raises:
            IndeterminateError: there is no root.
        """
        if role not in SIGNED_BY_PEOPLE:
            targets = self.current_targets()
            return () if targets is None else (targets,)
        current, published = self.current_root(), self.published_root()
        if published is None or published.version == current.version:
            return (current,)
        if role == TARGETS and _signers(current, role) == _signers(published, role):
            return (current,)
        return current, published

    # -- the folder

    def keep_enrolment(self, keyid: str, data: bytes) -> None:
        """Keeps the proof of an enrolled key for the administrators who sign; it is never published.

        Raises:
            OSError: it cannot be written.
        """
        folder = self.path / "enrolments"
        folder.mkdir(exist_ok=True, mode=0o700)
        write_atomically(folder / f"{keyid}.enrolment.json", data)

    def enrolments(self) -> dict[str, bytes]:
        """Returns the proofs of enrolled keys that are kept here: key ID → file."""
        folder = self.path / "enrolments"
        found = sorted(folder.glob("*.enrolment.json")) if folder.is_dir() else []
        return {path.name.removesuffix(".enrolment.json"): path.read_bytes() for path in found}

    def signatures_folder(self, role: str) -> Path:
        """Where signatures over a prepared role are collected."""
        return self._draft_path(role).with_suffix(".signatures")

    def _draft_path(self, role: str) -> Path:
        return self.path / "draft" / f"{role_file_name(role)}.json"

    @property
    def online_keys(self) -> OnlineKeys:
        """The keys of `snapshot` and `timestamp` that are here."""
        return OnlineKeys(self.path / "keys")

    def online_signers(self, role: str) -> tuple[CryptoSigner, ...]:
        """Returns the keys that sign `snapshot` or `timestamp` now.

        Raises:
            IndeterminateError: as `OnlineKeys.signers`, or there is no root.
        """
        return self.online_keys.signers(role, self.current_root(), self.published_root())

    def forget_unused_online_keys(self) -> None:
        """Removes online keys that neither the published nor the drafted root names; needs the lock."""
        roots = [root for root in (self.draft_root(), self.published_root()) if root is not None]
        self.online_keys.forget_all_but(roots)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps other processes from changing the repository meanwhile."""
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _check_changes(self, changes: Mapping[str, bytes], removals: Collection[str]) -> None:
        published = self.published_files()
        for name in (*changes, *removals):
            if not is_safe_name(name):
                raise MalformedError(Reason.BAD_VALUE, f"{name!r} cannot be the name of a target file.")
            # Approvals name an action's definition by digest; changing one would change what was approved.
            after = None if name in removals else changes[name]
            if name.startswith("actions/") and published.get(name, after) != after:
                raise PolicyError(
                    Reason.BAD_TRUST,
                    f"{name} is published and never changes.",
                    hint="Put the changed definition beside it, under the next version number.",
                )


def _role_of(name: str, delegated: Mapping[str, Collection[str]]) -> str:
    """Returns the role that signs a target file."""
    return next((role for role, paths in delegated.items() if name in paths), TARGETS)


def _signers(root: Root, role: str) -> tuple[int, dict[str, dict[str, object]]]:
    # A root that names a key which it does not hold is somebody else's work, and a named refusal.
    return root.roles[role].threshold, {k: key.to_dict() for k, key in role_keys(root, role).items()}

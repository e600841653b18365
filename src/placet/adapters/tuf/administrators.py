"""A new root: other administrators, another threshold, other online keys.

Root N+1 is drafted from the published root N, or from the draft that there is, and is signed by the quorum of
N and by its own.  Where the published targets would not be signed by enough of the new administrators, they
are prepared again, with the same files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Root  # type: ignore[attr-defined]  # re-exported without saying so

from placet.adapters.securesystemslib import SkKey
from placet.adapters.tuf.repository import TrustRepository
from placet.adapters.tuf.trust import (
    ROOT,
    SIGNED_ONLINE,
    TARGETS,
    VALIDITY_SECONDS,
    Administrator,
    encode_signed,
    parse_metadata,
    person_of,
    role_keys,
    set_administrators,
    utc,
)
from placet.core.errors import PolicyError, Reason


class RootChange(NamedTuple):
    """What a change of the root came to.  `targets_again`: the targets must be signed again, too."""

    version: int
    changed: bool
    targets_again: bool


def current_administrators(repository: TrustRepository) -> tuple[tuple[Administrator, ...], int]:
    """Returns the administrators as they are drafted, or else published, and how many must sign.

    Raises:
        IndeterminateError: there is no root.
    """
    root = repository.current_root()
    people = tuple(
        Administrator(person_of(key), key) for key in role_keys(root, ROOT).values() if isinstance(key, SkKey)
    )
    return people, root.roles[ROOT].threshold


def stage_administrators(
    repository: TrustRepository, administrators: Sequence[Administrator], *, threshold: int, now: int
) -> RootChange:
    """Drafts a root in which `threshold` of these administrators sign.

    Raises:
        PolicyError: BAD_TRUST: the threshold cannot be met, a person has two keys, or nothing is published.
    """
    return _stage_root(
        repository, lambda root: set_administrators(root, administrators, threshold=threshold), now
    )


def rotate_online_keys(
    repository: TrustRepository, *, now: int, roles: Sequence[str] = SIGNED_ONLINE
) -> RootChange:
    """Makes new online keys for these roles, and drafts a root that names them.

    The old keys stay until the new root is published: what is published then is signed by both.

    Raises:
        PolicyError: BAD_TRUST where nothing is published.
        OSError: the keys cannot be written.
    """

    def exchange(root: Root) -> None:
        for role in roles:
            signer = CryptoSigner.generate_ed25519()
            # The key before the root that names it: a crash leaves a key too many, never one too few.
            repository.online_keys.add(role, signer)
            for old in list(root.roles[role].keyids):
                root.revoke_key(old, role)
            root.add_key(signer.public_key, role)

    return _stage_root(repository, exchange, now)


def _stage_root(repository: TrustRepository, change: Callable[[Root], None], now: int) -> RootChange:
    with repository.lock():
        published = repository.published_root()
        if published is None:
            raise PolicyError(
                Reason.BAD_TRUST,
                "Nothing is published yet, and the first people enrolled for the draft root as it is.",
                hint="Publish it first and change it then; or start again: `placet trust init` in another "
                "folder (--repository).",
            )
        root = repository.current_root()
        before = encode_signed(root)
        change(root)
        if encode_signed(root) == before:
            return RootChange(root.version, changed=False, targets_again=False)
        root.version = published.version + 1
        root.expires = utc(now + VALIDITY_SECONDS[ROOT])
        again = _needs_targets_again(repository, root)
        # Targets first: if a crash leaves them alone, they are a renewal that harms nobody.
        if again and repository.draft_bytes(TARGETS) is None:
            targets = repository.published_targets()
            repository.prepare_targets({} if targets is None else repository.read_files(targets), now=now)
        repository.write_draft(ROOT, root)
        repository.forget_unused_online_keys()  # those of an earlier draft
    return RootChange(root.version, changed=True, targets_again=again)


def _needs_targets_again(repository: TrustRepository, root: Root) -> bool:
    data = repository.published_targets_bytes()
    if data is None:
        return True
    metadata = parse_metadata(data, TARGETS)
    try:
        root.verify_delegate(TARGETS, metadata.signed_bytes, metadata.signatures)
    except UnsignedMetadataError:
        return True
    return False

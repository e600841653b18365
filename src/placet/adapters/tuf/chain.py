"""From what this machine holds on to, to what somebody says was published.

Every root is verified by the one before, from the one that a person told, and the targets by the last of
them; versions never go back.  Expiry is not judged: what has expired is renewed by signing.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, cast

from tuf.api.metadata import Metadata, Root, Targets  # type: ignore[attr-defined]  # re-exported

from placet.adapters.tuf.anchor import Anchor, Seen
from placet.adapters.tuf.delegations import check_scope_targets, read_delegations, scope_of
from placet.adapters.tuf.published import delegated_paths
from placet.adapters.tuf.repository import TrustRepository
from placet.adapters.tuf.trust import (
    ROOT,
    TARGETS,
    check_people_hold_one_key,
    encode_signed,
    named_errors,
    parse_metadata,
)
from placet.core.encoding import Digest, sha256_hex
from placet.core.errors import PolicyError, Reason, VerificationError


class PublishedScope(NamedTuple):
    """What is said to be published of a scope that has owners: their metadata, and the file it names."""

    metadata: bytes
    rules: dict[str, bytes]


class PublishedSide(NamedTuple):
    """What somebody says was published: files as they are, nothing verified.  Roots are oldest first.

    `files` are those of targets; `scopes` is role → what its owners signed.
    """

    roots: tuple[bytes, ...]
    targets: bytes | None
    files: dict[str, bytes]
    scopes: Mapping[str, PublishedScope] = MappingProxyType({})


class VerifiedSide(NamedTuple):
    """The published side after verification; `told` are all digests by which its roots may be named.

    `scopes` is role → what enough of its owners signed; a scope that gates hold closed is not among them.
    """

    root: Root
    root_sha256: Digest
    targets: Targets | None
    told: frozenset[Digest]
    scopes: dict[str, Targets]


def published_side(repository: TrustRepository) -> PublishedSide:
    """Returns what a repository says was published."""
    targets = repository.published_targets_bytes()
    files: dict[str, bytes] = {}
    scopes = {}
    if targets is not None:
        signed: Targets = parse_metadata(targets, TARGETS).signed
        files = repository.read_files(signed)
        for role, paths in delegated_paths(signed).items():
            metadata = repository.published_targets_bytes(role)
            if metadata is not None:
                rules = repository.read_files(parse_metadata(metadata, role).signed, only=paths)
                scopes[role] = PublishedScope(metadata, rules)
    return PublishedSide(repository.published_root_files(), targets, files, scopes)


def verify_published(side: PublishedSide, anchor: Anchor) -> VerifiedSide | None:
    """Verifies the published roots from the anchor on, and the targets by the last of them.

    Returns:
        What was verified; None where nothing is published.

    Raises:
        VerificationError: it is not signed, is not what was told, or is older than what was seen here.
        PolicyError: a person holds two keys.
        MalformedError: it is no TUF metadata.
    """
    if not side.roots:
        if side.targets is not None:
            raise no_continuation("Something is published here without a root.")
        return None
    with named_errors("the published side"):
        chain = _verify_roots(side.roots, anchor.root_sha256)
        root: Root = chain[-1].signed
        targets = None
        if side.targets is not None:
            metadata = parse_metadata(side.targets, TARGETS)
            root.verify_delegate(TARGETS, metadata.signed_bytes, metadata.signatures)
            targets = cast(Targets, metadata.signed)
    names = {} if targets is None else file_digests(targets)
    if {name: sha256_hex(data) for name, data in side.files.items()} != names:
        raise no_continuation("The published files are not those that administrators signed.")
    files = side.roots[-len(chain) :]
    told = frozenset(digest for data, item in zip(files, chain, strict=True) for digest in _names(data, item))
    scopes = _verify_scopes(side, targets)
    published = VerifiedSide(root, sha256_hex(side.roots[-1]), targets, told, scopes)
    continued(anchor, published)
    return published


def _verify_scopes(side: PublishedSide, targets: Targets | None) -> dict[str, Targets]:
    """Returns what enough of each scope's owners signed.

    Raises:
        VerificationError: a file is not the one that they signed.
    """
    found = {}
    for role in read_delegations(targets):
        scope = side.scopes.get(role)
        if scope is None or targets is None:
            continue
        metadata = parse_metadata(scope.metadata, role)
        if not _counts(role, metadata, targets):
            continue  # gates hold the scope closed, and neither is it shown as published
        if {name: sha256_hex(data) for name, data in scope.rules.items()} != file_digests(metadata.signed):
            raise no_continuation("The published rules of a scope are not those that its owners signed.")
        found[role] = metadata.signed
    return found


def _counts(role: str, metadata: Metadata[Targets], targets: Targets) -> bool:
    """Tells whether a scope's owners of today signed this; whatever else is there must stop nobody else."""
    try:
        check_scope_targets(role, metadata.signed)
    except PolicyError:
        return False
    result = targets.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
    return bool(result.verified)


def _verify_roots(roots: tuple[bytes, ...], first: Digest) -> list[Metadata[Any]]:
    chain: list[Metadata[Any]] = []
    for data in roots:
        metadata = parse_metadata(data, ROOT)
        if not chain and first not in _names(data, metadata):
            continue
        if chain and metadata.signed.version != chain[-1].signed.version + 1:
            raise no_continuation("The published roots are not numbered one after the other.")
        check_people_hold_one_key(metadata.signed)
        for verifier in (*chain[-1:], metadata):
            verifier.signed.verify_delegate(ROOT, metadata.signed_bytes, metadata.signatures)
        chain.append(metadata)
    if not chain:
        raise no_continuation(
            "The published root does not come from the root that this machine was told.", expected=first
        )
    return chain


def _names(data: bytes, root: Metadata[Any]) -> tuple[Digest, Digest]:
    return sha256_hex(data), sha256_hex(root.signed_bytes)


def continued(anchor: Anchor, published: VerifiedSide) -> dict[str, Seen]:
    """Returns what is published now, for the record.

    Raises:
        VerificationError: a version went back, or says something else than when it was seen before.
    """
    now = {ROOT: seen_of(published.root)}
    if published.targets is not None:
        now[TARGETS] = seen_of(published.targets)
    now |= {role: seen_of(signed) for role, signed in published.scopes.items()}
    for role, before in anchor.published.items():
        if scope_of(role) is not None and role not in now:
            now[role] = before  # taken back by administrators, or closed; its versions are not forgotten
        version = now[role].version if role in now else 0
        if version < before.version:
            raise no_continuation(
                f"This repository shows {f'{role} {version}' if version else f'no {role}'} as published; "
                f"this machine has seen {role} {before.version} already."
            )
        if version == before.version and now[role].sha256 != before.sha256:
            raise no_continuation(f"This machine has seen another {role} {version} as published.")
    return now


def seen_of(signed: Any) -> Seen:
    """Returns a role's version for the record."""
    files = file_digests(signed) if isinstance(signed, Targets) else {}
    return Seen(signed.version, sha256_hex(encode_signed(signed)), files)


def file_digests(targets: Targets) -> dict[str, Digest]:
    """Returns the SHA-256 of each file that targets name."""
    return {name: Digest(info.hashes.get("sha256", "")) for name, info in targets.targets.items()}


def check_told(told: Digest | None, published: VerifiedSide) -> None:
    """Refuses a root other than the one that a person told now, where they told one.

    Raises:
        VerificationError: BAD_TRUST.
    """
    if told is not None and told not in published.told:
        raise not_as_told("The root is not the one whose SHA-256 you gave.", told, published.root_sha256)


def not_as_told(sentence: str, told: Digest, actual: Digest) -> VerificationError:
    """Returns the refusal of a root whose digest a person gave otherwise."""
    return VerificationError(
        Reason.BAD_TRUST,
        sentence,
        expected=told,
        actual=actual,
        hint=f"Compare again, by voice: here it is {actual}. One mistyped digit is enough. Sign nothing here "
        "while they differ: somebody may be showing you a repository of their own, or an old copy.",
    )


def no_continuation(
    sentence: str, *, expected: str | None = None, actual: str | None = None, forget: str = ""
) -> VerificationError:
    """Returns the refusal of a repository that does not continue what this machine knows."""
    return VerificationError(
        Reason.BAD_TRUST,
        sentence,
        expected=expected,
        actual=actual,
        hint="Sign nothing here. Somebody may be showing you a repository of their own, or an old copy: ask "
        f"the other administrators by voice.{forget}",
    )

"""What goes out at the next publication: of the drafts, those that are complete.

Administrators' root and targets go out together.  A scope's rules go out when its own owners have signed
them, whether or not administrators have something else in the draft.  A scope whose owners' signatures do not
count (never signed, or owners changed) is closed: gates refuse everything in it, so it is published that way
only where somebody says so.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple, cast

from tuf.api.metadata import Metadata, Root, Targets  # type: ignore[attr-defined]  # re-exported

from placet.adapters.tuf.delegations import (
    ScopeOwners,
    check_files_fetchable,
    check_scope_policy,
    check_scope_targets,
    read_delegations,
    scope_role,
)
from placet.adapters.tuf.repository import TrustRepository
from placet.adapters.tuf.signing import PendingRole, check_complete, pending_roles, signatures
from placet.adapters.tuf.trust import (
    ROOT,
    SCOPE_LEAST_LEFT_SECONDS,
    SIGNED_BY_PEOPLE,
    TARGETS,
    assemble,
    check_people_hold_one_key,
    named_errors,
    parse_metadata,
    parse_signed,
)
from placet.core.errors import IndeterminateError, MalformedError, PlacetError, PolicyError, Reason
from placet.core.trust import compile_trust


class Release(NamedTuple):
    """Everything that is about to be public, verified.

    `role_files` are the metadata files of targets and of the scopes whose rules count, `roles` what they
    say, `files` the target files.  Drafts of `going` go out, those in `waiting` stay behind.  `closed` is
    scope → why gates refuse all in it.
    """

    root: Root
    root_file: bytes
    role_files: dict[str, bytes]
    roles: dict[str, Targets]
    files: dict[str, bytes]
    going: tuple[str, ...]
    waiting: tuple[PendingRole, ...]
    closed: dict[str, str]


def choose_release(repository: TrustRepository, *, closing: Collection[str], now: int) -> Release:
    """Chooses what goes out, and verifies it as a gate will.

    Args:
        repository: the working repository, whose lock the caller holds.
        closing: scopes that may go out without rules that count.
        now: Unix seconds.

    Raises:
        PolicyError: QUORUM_NOT_MET where administrators' drafts are not complete and nothing else is, or
            where a scope would be closed.
        IndeterminateError: what goes out has expired and must be renewed first.
        MalformedError: no gate could use this trust root.
    """
    drafts = {item.role: item for item in pending_roles(repository)}
    theirs = [role for role in SIGNED_BY_PEOPLE if role in drafts]
    if any(drafts[role].missing for role in theirs):
        theirs = []
    root_file = _file_of(repository, ROOT, theirs)
    targets_file = _file_of(repository, TARGETS, theirs)
    root, targets = _verify_administrators(root_file, targets_file, now)
    check_files_fetchable(targets, repository.read_files(targets))
    release = Release(
        root,
        root_file,
        {TARGETS: targets_file},
        {TARGETS: targets},
        repository.read_files(targets),
        (),
        (),
        {},
    )
    going = set(theirs)
    for role, owners in read_delegations(targets).items():
        draft = drafts.get(role)
        file = None if draft is None else _signed_draft(repository, draft, targets, now)
        if file is not None:
            going.add(role)
            _add_scope(repository, release, owners, parse_metadata(file, role), file)
        else:
            _add_published_scope(repository, release, owners, now)
    waiting = tuple(item for role, item in drafts.items() if role not in going)
    if not going and any(item.role in SIGNED_BY_PEOPLE for item in waiting):
        check_complete(repository)  # owners who have not signed yet keep nobody from renewing the timestamp
    _check_closed(repository, release, drafts, closing, now)
    compile_trust(files=release.files, versions={ROOT: root.version}, expires_at=now)
    return release._replace(going=tuple(role for role in drafts if role in going), waiting=waiting)


def _file_of(repository: TrustRepository, role: str, drafted: Collection[str]) -> bytes:
    """Returns the metadata file of root or targets as it will be public."""
    message = repository.draft_bytes(role) if role in drafted else None
    if message is not None:
        return assemble(parse_signed(message, role), signatures(repository, role))
    published = (
        repository.published_root_bytes() if role == ROOT else repository.published_targets_bytes(role)
    )
    if published is None:
        check_complete(repository)
        raise IndeterminateError(
            Reason.TRUST_UNAVAILABLE,
            f"The repository has no {role}.",
            hint="Make it with `placet trust init`.",
        )
    return published


def _verify_administrators(root_file: bytes, targets_file: bytes, now: int) -> tuple[Root, Targets]:
    root = cast(Root, parse_metadata(root_file, ROOT).signed)
    check_people_hold_one_key(root)
    metadata = parse_metadata(targets_file, TARGETS)
    with named_errors("the draft"):
        root.verify_delegate(TARGETS, metadata.signed_bytes, metadata.signatures)
    targets = cast(Targets, metadata.signed)
    for role, signed in ((ROOT, root), (TARGETS, targets)):
        if signed.expires.timestamp() <= now:
            raise IndeterminateError(
                Reason.TRUST_EXPIRED,
                f"{role} version {signed.version} has expired; gates would refuse it.",
                hint="Run `placet trust sign --renew`, have the administrators sign, and publish again.",
            )
    return root, targets


def _signed_draft(
    repository: TrustRepository, draft: PendingRole, targets: Targets, now: int
) -> bytes | None:
    """Returns the metadata file of a scope's drafted rules, None where these targets' owners did not sign it.

    Raises:
        IndeterminateError: TRUST_EXPIRED: it was signed, and lay around for too long.
    """
    file = assemble(parse_signed(draft.message, draft.role), signatures(repository, draft.role))
    if not _is_verified(targets, draft.role, parse_metadata(file, draft.role)):
        return None  # by too few, or by owners whom administrators have not signed yet
    if draft.expires_at <= now:
        raise IndeterminateError(
            Reason.TRUST_EXPIRED,
            f"{draft.role} version {draft.version} expired before it was published.",
            hint="Prepare it again with `placet trust renew-scope`, and have its owners sign.",
        )
    return file


def _add_published_scope(
    repository: TrustRepository, release: Release, owners: ScopeOwners, now: int
) -> None:
    """Keeps what is published of a scope, where its owners' signatures still count; closes it otherwise."""
    file = repository.published_targets_bytes(owners.role)
    if file is None:
        release.closed[owners.scope] = "its owners have not signed any rules yet"
        return
    metadata = parse_metadata(file, owners.role)
    if not _is_verified(release.roles[TARGETS], owners.role, metadata):
        release.closed[owners.scope] = "its rules are not signed by enough of its owners of today"
    elif _ends_too_soon(metadata, now):
        release.closed[owners.scope] = "its owners' signatures have expired, or will within two days"
    else:
        try:
            _add_scope(repository, release, owners, metadata, file)
        except (MalformedError, PolicyError):
            release.closed[owners.scope] = "its owners signed what no gate can use"


def _add_scope(
    repository: TrustRepository,
    release: Release,
    owners: ScopeOwners,
    metadata: Metadata[Targets],
    file: bytes,
) -> None:
    check_scope_targets(owners.role, metadata.signed)
    rules = repository.read_files(metadata.signed)
    check_files_fetchable(metadata.signed, rules)
    for policy in rules.values():
        check_scope_policy(owners.scope, policy, release.files)
    release.role_files[owners.role] = file
    release.roles[owners.role] = metadata.signed
    release.files.update(rules)


def _check_closed(
    repository: TrustRepository,
    release: Release,
    drafts: Mapping[str, PendingRole],
    closing: Collection[str],
    now: int,
) -> None:
    """Refuses to close a scope that is open, unless somebody says so.

    One that is closed already, such as by owners who forgot to sign, keeps nobody from publishing.
    """
    for scope, why in release.closed.items():
        if scope in closing or not _would_close(repository, scope, release, now):
            continue
        draft = next((item for item in drafts.values() if item.role == scope_role(scope)), None)
        who = "" if draft is None else f" {draft.missing} more needed of {', '.join(draft.unsigned)}."
        raise PolicyError(
            Reason.QUORUM_NOT_MET,
            f"Gates would refuse everything in the scope {scope}: {why}.{who}",
            hint="Have its owners sign with `placet trust sign --as ID --key FILE`. If the scope is to be "
            f"closed until they have, publish with --closing {scope}.",
        )


def _would_close(repository: TrustRepository, scope: str, release: Release, now: int) -> bool:
    """Tells whether gates can use a scope's rules by what is public now, or the scope had no owners yet."""
    published, role = repository.published_targets(), scope_role(scope)
    if published is None or published.version == release.roles[TARGETS].version:
        return published is None
    try:
        if role not in read_delegations(published):
            return True
        data = repository.published_targets_bytes(role)
        metadata = None if data is None else parse_metadata(data, role)
        return (
            metadata is not None
            and _is_verified(published, role, metadata)
            and not _ends_too_soon(metadata, now)
        )
    except PlacetError:
        return False


def _ends_too_soon(metadata: Metadata[Targets], now: int) -> bool:
    return metadata.signed.expires.timestamp() - now < SCOPE_LEAST_LEFT_SECONDS


def _is_verified(targets: Targets, role: str, metadata: Metadata[Targets]) -> bool:
    result = targets.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
    return bool(result.verified)

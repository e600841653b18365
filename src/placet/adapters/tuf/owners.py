"""Giving a scope to owners, changing them, and taking it back: edits of the working repository's draft.

Who owns a scope is said in `targets`, which administrators sign.  What the rules of that scope are is said in
the role of its owners, which they sign.  So each of these edits may prepare two roles, with a quorum each.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

from tuf.api.metadata import TargetFile, Targets  # type: ignore[attr-defined]  # re-exported

from placet.adapters.tuf.delegations import (
    NO_RULES,
    ScopeOwners,
    read_delegations,
    remove_owners,
    scope_role,
    set_owners,
)
from placet.adapters.tuf.repository import TrustRepository
from placet.adapters.tuf.trust import ROOT, TARGETS, VALIDITY_SECONDS, parse_metadata, utc
from placet.core.errors import IndeterminateError, PolicyError, Reason
from placet.core.trust import compile_trust


class Prepared(NamedTuple):
    """What an edit left behind: whether anything changed, and whether the owners have rules to sign."""

    changed: bool
    to_sign: bool


def scope_owners(repository: TrustRepository) -> dict[str, ScopeOwners]:
    """Returns who will own which scope, by scope: as drafted, or else as published.

    Raises:
        PolicyError, MalformedError: as `read_delegations`.
    """
    found = read_delegations(repository.current_targets())
    return {owners.scope: owners for owners in found.values()}


def delegate(repository: TrustRepository, owners: ScopeOwners, *, now: int) -> Prepared:
    """Prepares that these owners say the rules of their scope, and the rules for them to sign.

    Where the owners change, the rules that are published stay as they are if enough of those who signed them
    remain owners; otherwise they are prepared anew, to be signed by the new ones.

    Raises:
        PolicyError: BAD_TRUST: a threshold that cannot be met, or a person with two keys.
        MalformedError: with this change it would be no trust root; nothing was changed.
    """
    with repository.lock():
        before, targets = repository.draft_files(), _next_targets(repository, now)
        owned = owners.role in read_delegations(targets)
        old = copy.deepcopy(targets)
        set_owners(targets, owners)
        if targets.delegations == old.delegations:
            return Prepared(False, _needs_signing(repository, owners.role, targets))
        compile_trust(files=before, versions={ROOT: 1}, expires_at=now)
        rules = {owners.file: before.get(owners.file, NO_RULES)}
        if not owned or not (
            repository.draft_bytes(owners.role) or is_signed(repository, owners.role, targets)
        ):
            # Before the targets, so that a crash in between leaves a draft that nothing names.
            repository.prepare_targets(rules, now=now, role=owners.role)
        repository.write_draft(TARGETS, targets)
        return Prepared(True, _needs_signing(repository, owners.role, targets))


def undelegate(repository: TrustRepository, scope: str, *, keep_rules: bool, now: int) -> None:
    """Prepares that administrators say the rules of a scope again: those in force, or none at all.

    Raises:
        PolicyError: BAD_TRUST: the scope has no owners.
        MalformedError: with this change it would be no trust root; nothing was changed.
    """
    with repository.lock():
        targets = _next_targets(repository, now)
        owners = read_delegations(targets).get(scope_role(scope))
        if owners is None:
            raise _no_owners(repository, scope)
        rules = _rules_in_force(repository, owners) if keep_rules else {}
        remove_owners(targets, scope)
        for name, data in rules.items():
            targets.targets[name] = TargetFile.from_data(name, data, ["sha256"])
        compile_trust(files=repository.read_files(targets), versions={ROOT: 1}, expires_at=now)
        repository.write_draft(TARGETS, targets)
        repository.clear_drafts([owners.role])


def renew_scope(repository: TrustRepository, scope: str, *, now: int) -> None:
    """Prepares a scope's rules with a new expiry date and nothing else changed, for its owners to sign.

    Raises:
        PolicyError: BAD_TRUST: the scope has no owners.
    """
    with repository.lock():
        owners = scope_owners(repository).get(scope)
        if owners is None:
            raise _no_owners(repository, scope)
        files = repository.draft_files()
        rules = {owners.file: files.get(owners.file, NO_RULES)}
        repository.prepare_targets(rules, now=now, role=owners.role)


def is_signed(repository: TrustRepository, role: str, targets: Targets) -> bool:
    """Tells whether what is published of a scope's rules satisfies the owners whom these targets name."""
    data = repository.published_targets_bytes(role)
    if data is None:
        return False
    metadata = parse_metadata(data, role)
    result = targets.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
    return bool(result.verified)


def _needs_signing(repository: TrustRepository, role: str, targets: Targets) -> bool:
    return repository.draft_bytes(role) is not None or not is_signed(repository, role, targets)


def _next_targets(repository: TrustRepository, now: int) -> Targets:
    """Returns the targets as they will be, under the next version and with a new date."""
    targets, published = repository.current_targets(), repository.published_targets()
    if targets is None:
        raise IndeterminateError(
            Reason.TRUST_UNAVAILABLE, f"The repository in {repository.path} has no targets."
        )
    targets.version = 1 if published is None else published.version + 1
    targets.expires = utc(now + VALIDITY_SECONDS[TARGETS])
    return targets


def _rules_in_force(repository: TrustRepository, owners: ScopeOwners) -> dict[str, bytes]:
    """Returns what the owners last published; what they only drafted is theirs, and goes with them."""
    published = repository.published_targets()
    if published is not None and owners.role in read_delegations(published):
        role = repository.published_targets(owners.role)
        return {} if role is None else repository.read_files(role, only=[owners.file])
    # Delegated in this same draft, so that nobody else has signed anything yet.
    files = repository.draft_files()
    return {owners.file: files[owners.file]} if owners.file in files else {}


def _no_owners(repository: TrustRepository, scope: str) -> PolicyError:
    known = ", ".join(sorted(scope_owners(repository))) or "none"
    return PolicyError(
        Reason.BAD_TRUST,
        f"The scope {scope} has no owners; administrators say its rules. Scopes with owners: {known}.",
        hint=f"Give it to a group of people with: placet trust delegate {scope} --to ID=PUBKEYFILE",
    )

"""Delegations per scope: what TUF metadata may say about a scope's owners, and what owners may say.

Administrators delegate `policy/<scope>.toml` to the role `scope-<scope>`: that exact file to that role, with
keys and a threshold of its own, and nothing else to anybody.  Everything beyond this shape is refused when it
is drafted, shown, signed, published and refreshed.  The owners' role names that one file, or none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from tuf.api.metadata import (  # type: ignore[attr-defined]  # re-exported without saying so
    DelegatedRole,
    Delegations,
    Root,
    Targets,
)

from placet.adapters.securesystemslib import SkKey
from placet.adapters.tuf.trust import (
    TARGETS,
    Administrator,
    Signed,
    check_one_key_each,
    check_people_hold_one_key,
    person_of,
    role_keys,
)
from placet.core.decode import read_name
from placet.core.encoding import MAX_INTEGER, encode_canonical, is_hex
from placet.core.errors import MalformedError, PlacetError, PolicyError, Reason, visible
from placet.core.trust import (
    DEPLOYMENT_FILE,
    GATES_FILE,
    PEOPLE_FILE,
    SCOPES_FILE,
    TERMINALS_FILE,
    compile_trust,
)

_ROLE_PREFIX = "scope-"
# scopes.json holds no more.
_MAX_DELEGATIONS = 256
# Names become paths and addresses on every kind of server.
_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,200}")


# What the owners of a new scope begin with.
NO_RULES = b"rule = []\n"


class ScopeOwners(NamedTuple):
    """Who signs the rules of a scope: `threshold` of the owners, each with one key."""

    scope: str
    threshold: int
    owners: tuple[Administrator, ...]

    @property
    def role(self) -> str:
        """The TUF role."""
        return scope_role(self.scope)

    @property
    def file(self) -> str:
        """The one file that the role signs."""
        return scope_file(self.scope)


def scope_role(scope: str) -> str:
    """Returns the name of the TUF role of a scope's owners."""
    return _ROLE_PREFIX + scope


def scope_file(scope: str) -> str:
    """Returns the name of the file that holds a scope's rules."""
    return f"policy/{scope}.toml"


def scope_of(role: str) -> str | None:
    """Returns the scope whose owners a role is; None for any other role."""
    scope = role.removeprefix(_ROLE_PREFIX)
    try:
        return read_name(scope, "") if scope != role else None
    except MalformedError:
        return None


def read_delegations(targets: Targets | None) -> dict[str, ScopeOwners]:
    """Reads who owns which scope, by role.

    Raises:
        PolicyError: BAD_TRUST for a delegation of anything but one scope's policy to one role, for one that
            can never be signed, or for two keys of one person.
        MalformedError: BAD_TRUST where a role names a key that is not there.
    """
    if targets is None or targets.delegations is None:
        return {}
    delegations = targets.delegations
    if delegations.roles is None or delegations.unrecognized_fields:
        raise _refusal("The trust root delegates otherwise than by naming roles and files.")
    if len(delegations.roles) > _MAX_DELEGATIONS:
        raise _refusal(f"The trust root has more than {_MAX_DELEGATIONS} delegations.")
    found = {}
    for name, role in delegations.roles.items():
        found[name] = _read_role(name, role, targets)
    named = {owner.key.keyid for item in found.values() for owner in item.owners}
    if delegations.keys.keys() != named:
        raise _refusal("The trust root holds keys of owners who own nothing.")
    return found


def _read_role(name: str, role: DelegatedRole, targets: Targets) -> ScopeOwners:
    scope, shown = scope_of(name), visible(name[:80])
    if not role.paths or any(set(path) & set("*?[") for path in role.paths):
        raise _refusal(f"The delegation to {shown} does not name exact files, as it must.")
    if scope is None or role.paths != [scope_file(scope)]:
        files = visible(", ".join(role.paths)[:200])
        raise _refusal(
            f"The delegation to {shown} is of {files}; only the policy of a scope can be delegated, to the "
            "role of its name."
        )
    if scope_file(scope) in targets.targets:
        raise _refusal(f"Two roles of the trust root may sign {scope_file(scope)}.")
    keys = role_keys(targets, name)
    check_one_key_each(f"the rules of {scope}", list(keys.values()))
    if not 1 <= role.threshold <= len(keys) or not role.terminating or role.unrecognized_fields:
        raise _refusal(f"The delegation to {shown} can never be signed, or says more than it may.")
    owners = tuple(Administrator(person_of(key), key) for key in keys.values() if isinstance(key, SkKey))
    return ScopeOwners(scope, role.threshold, owners)


def check_scope_targets(role: str, targets: Targets) -> None:
    """Refuses owners' metadata that is not about their one file: delegations, others, members nobody reads.

    It names that file always, so that what somebody signs for one scope never passes for another's, nor for
    the targets of administrators: TUF metadata does not say which role it is.

    Raises:
        PolicyError: BAD_TRUST.
    """
    scope = scope_of(role)
    if scope is None:
        raise _refusal(f"The role {visible(role[:80])} is no scope's.")
    if targets.delegations is not None:
        raise _refusal(f"The owners of the scope {scope} delegate further, which they may not.")
    others = sorted(name for name in targets.targets if name != scope_file(scope))
    if others:
        raise _refusal(
            f"The owners of the scope {scope} want to say what is in {visible(', '.join(others)[:200])}; "
            f"they may write {scope_file(scope)} and nothing else."
        )
    if not targets.targets:
        raise _refusal(f"The owners of the scope {scope} sign no rules; for none, they sign an empty list.")
    extra = [targets.unrecognized_fields, *(info.unrecognized_fields for info in targets.targets.values())]
    if any(extra):
        raise _refusal(f"What the owners of the scope {scope} sign says more than can be shown.")
    check_files_fetchable(targets)


def is_safe_name(name: str) -> bool:
    """Tells whether a target file may have this name."""
    return _SAFE_NAME.fullmatch(name) is not None and ".." not in name


def is_readable_version(version: object) -> bool:
    """Tells whether a gate's snapshot can hold this version of a role."""
    return type(version) is int and 1 <= version <= MAX_INTEGER


def check_files_fetchable(targets: Targets, files: Mapping[str, bytes] | None = None) -> None:
    """Refuses targets that are signed rightly and stop every gate that follows them.

    A gate asks for a file by the first of its digests, and refuses it where the length differs.

    Args:
        targets: what is to be signed, or was.
        files: the contents, where they are here, found by their SHA-256.

    Raises:
        PolicyError: BAD_TRUST.
    """
    if not is_readable_version(targets.version):
        raise _refusal("The prepared version is no number that gates can keep.")
    for name, info in targets.targets.items():
        if not is_safe_name(name):
            raise _refusal(f"{visible(name[:200])} cannot be the name of a target file.")
        if info.hashes.keys() != {"sha256"} or not is_hex(info.hashes["sha256"], 64):
            raise _refusal(f"{name} is named by something else than its SHA-256 alone.")
        if files is not None and len(files.get(name, b"")) != info.length:
            raise _refusal(f"{name} is said to have {info.length} bytes, and has another number of them.")


def check_nothing_hidden(role: str, signed: Signed) -> None:
    """Refuses prepared metadata that says more than is shown: that would be signed unseen.

    Raises:
        MalformedError: BAD_TRUST.
        PolicyError: BAD_TRUST for owners' metadata that is not about their own file alone.
    """
    if isinstance(signed, Root):
        _check_root(signed)
    if not isinstance(signed, Targets):
        return
    if role != TARGETS:
        check_scope_targets(role, signed)
        return
    extra = [signed.unrecognized_fields, *(info.unrecognized_fields for info in signed.targets.values())]
    try:
        read_delegations(signed)
        if any(extra):
            raise _refusal("Targets have members beside names and digests.")
        check_files_fetchable(signed)
    except PlacetError as e:
        raise MalformedError(
            Reason.BAD_TRUST,
            f"The prepared targets hold delegations or members that this version cannot show. {e.message}",
            hint="Nobody signs what is not shown. Make the draft anew with this version's commands.",
        ) from e


def _check_root(root: Root) -> None:
    """Refuses a root that no gate would take, or that says more of a role than is shown."""
    check_people_hold_one_key(root)
    for name, role in root.roles.items():
        if role.unrecognized_fields or not 1 <= role.threshold <= len(role.keyids):
            raise _refusal(f"The role {name} of the root can never be signed, or says more than is shown.")


def set_owners(targets: Targets, owners: ScopeOwners) -> None:
    """Delegates a scope in prepared targets, or replaces its owners; the file itself leaves `targets`.

    Raises:
        PolicyError: BAD_TRUST: a threshold that cannot be met, a person with two keys, or a key that is
            somebody else's in another scope.
    """
    if not 1 <= owners.threshold <= len(owners.owners):
        raise PolicyError(
            Reason.BAD_TRUST,
            f"{owners.threshold} of {len(owners.owners)} cannot be: so many owners can never sign.",
            hint="Choose a threshold from 1 to the number of owners; 2 of 3 survives one lost key.",
        )
    if len({owner.key.keyid for owner in owners.owners}) != len(owners.owners):
        raise PolicyError(Reason.BAD_TRUST, f"Two owners of the scope {owners.scope} have the same key.")
    remove_owners(targets, owners.scope)
    delegations = targets.delegations or Delegations({}, {})
    others, roles = delegations.keys, delegations.roles or {}
    for person, key in owners.owners:
        if key.keyid in others and person_of(others[key.keyid]) != person:
            raise PolicyError(
                Reason.BAD_TRUST,
                f"The key {key.keyid[:16]} is that of {person_of(others[key.keyid])} in another scope.",
                hint="One key belongs to one person, under one name.",
            )
    roles[owners.role] = DelegatedRole(owners.role, [], owners.threshold, True, paths=[owners.file])
    targets.delegations = Delegations(others, dict(sorted(roles.items())))
    for _, key in owners.owners:
        targets.add_key(key, owners.role)
    targets.targets.pop(owners.file, None)
    read_delegations(targets)


def remove_owners(targets: Targets, scope: str) -> None:
    """Takes a scope's delegation out of prepared targets, with the keys that nothing else needs."""
    if targets.delegations is None or not targets.delegations.roles:
        return
    roles, keys = targets.delegations.roles, targets.delegations.keys
    roles.pop(scope_role(scope), None)
    needed = {keyid for role in roles.values() for keyid in role.keyids}
    for keyid in [keyid for keyid in keys if keyid not in needed]:
        del keys[keyid]
    if not roles:
        targets.delegations = None


def _refusal(sentence: str) -> PolicyError:
    return PolicyError(
        Reason.BAD_TRUST,
        sentence,
        hint="Sign and publish nothing of it: `placet trust delegate` and `undelegate` say who owns a scope.",
    )


def check_scope_policy(scope: str, policy: bytes, files: Mapping[str, bytes]) -> None:
    """Refuses rules of a scope that no gate could read, each scope's on its own.

    One scope's owners must not be able to make the whole trust root unreadable, so their rules are tried
    before they are put together with the rest.

    Raises:
        MalformedError: as `compile_trust`.
    """
    alone = {
        DEPLOYMENT_FILE: files[DEPLOYMENT_FILE],
        PEOPLE_FILE: b'{"people":[]}',
        TERMINALS_FILE: b'{"terminals":[]}',
        GATES_FILE: b'{"gates":[]}',
        SCOPES_FILE: encode_canonical({"scopes": {scope: ["**"]}}),
        scope_file(scope): policy,
    }
    compile_trust(files=alone, versions={TARGETS: 1}, expires_at=0)

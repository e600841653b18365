"""Scopes: which rules stay inside one, and who says what its rules are.

A rule matches only inside its own scope, whoever signed it: the gate sees to that (POL-04).  What is checked
here is for people: a rule that reaches outside is refused while it is written, since part of it would never
apply, and a delegation is shown by what it means, from the very bytes that are signed.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from placet.ceremony.trust_change import (
    Change,
    describe_signing_key,
    group_digits,
    semantic_diff,
    visible,
)
from placet.core.encoding import encode_canonical, parse_json
from placet.core.errors import MalformedError, Reason
from placet.core.people import Deployment
from placet.core.policy import Rule, parse_policy, parse_scopes
from placet.core.trust import DEPLOYMENT_FILE, MAX_FILE_BYTES, SCOPES_FILE

# Bounds the search for a target outside; far more than patterns that people write ever need.
_MAX_WORK = 300_000
_WITHIN_PART, _ANYTHING = "*", "**"
_ALL_LETTERS = "".join(map(chr, range(0x21, 0x180)))


def policy_file(scope: str) -> str:
    """Returns the name of the file that holds a scope's rules."""
    return f"policy/{scope}.toml"


def find_outside(pattern: str, scope_patterns: Sequence[str]) -> str | None:
    """Looks for a target that fits `pattern` and none of the scope's patterns.

    Returns:
        Such a target, None where there is none.  Where the search would take too long, `pattern`
        itself: what cannot be told to be inside is not inside.
    """
    if pattern in scope_patterns:
        return None
    wanted, allowed = _tokens(pattern), tuple(map(_tokens, scope_patterns))
    letters = _letters([wanted, *allowed])
    # Every place in the pattern, with all the places in the scope's patterns where one could be by then.
    start = (0, _rest(allowed, {(i, 0) for i in range(len(allowed))}))
    seen, queue, work = {start}, deque([(start, "")]), 0
    while queue:
        (at, places), text = queue.popleft()
        if not places:  # whatever follows
            return text + "".join(token for token in wanted[at:] if token not in (_WITHIN_PART, _ANYTHING))
        if at == len(wanted) and not any(place == len(allowed[i]) for i, place in places):
            return text
        for following, letter in _steps(wanted, at, letters):
            work += len(places)
            if work > _MAX_WORK:
                return pattern
            state = (following, places if letter == "" else _advance(allowed, places, letter))
            if state not in seen:
                seen.add(state)
                queue.append((state, text + letter))
    return None


def _tokens(pattern: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\*\*|.", pattern, re.DOTALL))


def _letters(patterns: Iterable[tuple[str, ...]]) -> str:
    """Returns every character that makes a difference, and one that stands for all others."""
    used = {token for tokens in patterns for token in tokens if token not in (_WITHIN_PART, _ANYTHING)}
    other = next(c for c in "xyzabcdefghijklmnopqrstuvw" + _ALL_LETTERS if c not in used)
    return other + "".join(sorted(used | {"/"}))


def _steps(tokens: tuple[str, ...], at: int, letters: str) -> Iterable[tuple[int, str]]:
    """Yields where one letter, or none at the end of a wildcard, leads from a place in a pattern."""
    if at == len(tokens):
        return
    token = tokens[at]
    if token in (_WITHIN_PART, _ANYTHING):
        yield at + 1, ""
        yield from ((at, letter) for letter in letters if token == _ANYTHING or letter != "/")
    else:
        yield at + 1, token


def _advance(
    patterns: tuple[tuple[str, ...], ...], places: frozenset[tuple[int, int]], letter: str
) -> frozenset[tuple[int, int]]:
    after = set()
    for i, place in places:
        token = patterns[i][place] if place < len(patterns[i]) else ""
        if token == _ANYTHING or (token == _WITHIN_PART and letter != "/"):
            after.add((i, place))
        elif token == letter:
            after.add((i, place + 1))
    return _rest(patterns, after)


def _rest(patterns: tuple[tuple[str, ...], ...], places: set[tuple[int, int]]) -> frozenset[tuple[int, int]]:
    """Adds the places that a wildcard which stands for nothing leads to."""
    found, left = set(places), list(places)
    while left:
        i, place = left.pop()
        tokens = patterns[i]
        if place < len(tokens) and tokens[place] in (_WITHIN_PART, _ANYTHING) and (i, place + 1) not in found:
            found.add((i, place + 1))
            left.append((i, place + 1))
    return frozenset(found)


def check_rules_inside(rules: Sequence[Rule], scope: str, patterns: Sequence[str]) -> None:
    """Refuses a rule that would match a target outside of its scope, if it could.

    Raises:
        MalformedError: BAD_POLICY, with the rule's place in the file.
    """
    for i, rule in enumerate(rules):
        outside = find_outside(rule.target, patterns)
        if outside is not None:
            raise MalformedError(
                Reason.BAD_POLICY,
                f"the target {rule.target} reaches out of the scope {scope}, which governs "
                f"{', '.join(patterns)}.",
                path=f"/rule/{i}/target",
                actual=f"{outside} would match" if outside != rule.target else None,
                hint=f"A rule matches only inside its own scope. Narrow the rule's target, or have the "
                f"administrators widen the scope: placet trust set-scope {scope} --targets PATTERN ...",
            )


def say_rules_outside(files: Mapping[str, bytes], scope: str) -> tuple[str, ...]:
    """Returns, as sentences, which rules of a scope do not apply in part or at all, after it was narrowed."""
    name = policy_file(scope)
    patterns = read_scopes(files).get(scope, ())
    if name not in files:
        return ()
    rules = parse_policy(files[name], scope=scope, file=name)
    return tuple(
        f"The rule of {scope} for {rule.action} on {rule.target} reaches out of the scope, and applies only "
        "inside it from now on."
        for rule in rules
        if find_outside(rule.target, patterns) is not None
    )


def read_scopes(files: Mapping[str, bytes]) -> dict[str, tuple[str, ...]]:
    """Returns scope → target patterns.

    Raises:
        MalformedError: ``scopes.json`` is missing or malformed.
    """
    if SCOPES_FILE not in files:
        raise MalformedError(Reason.BAD_TRUST, f"The trust root has no {SCOPES_FILE}.")
    return parse_scopes(parse_json(files[SCOPES_FILE], max_bytes=MAX_FILE_BYTES, what=SCOPES_FILE))


# -- delegations, as they are shown to who signs them


def delegation_diff(old_targets: bytes | None, new_targets: bytes) -> tuple[Change, ...]:
    """Returns who says the rules of which scope from now on: owners, thresholds, keys.

    Args:
        old_targets: the signed part of the published targets, None before the first publication.
        new_targets: the exact bytes that are to be signed.

    Raises:
        MalformedError: they are not targets metadata, or say something that is not shown here.
    """
    old = {} if old_targets is None else _describe_delegations(old_targets)
    new = _describe_delegations(new_targets)
    names = list(new) + [name for name in old if name not in new]
    return tuple(
        Change(*key, old.get(key, ""), new.get(key, "")) for key in names if old.get(key) != new.get(key)
    )


def scope_diff(
    deployment: Deployment, old: Mapping[str, bytes], new: Mapping[str, bytes]
) -> tuple[Change, ...]:
    """Returns what changes in the rules of one scope, which its owners sign.

    Args:
        deployment: the deployment, which they do not change.
        old: what the owners signed before, nothing where they sign for the first time.
        new: what they are to sign.

    Raises:
        MalformedError: the rules are malformed; they must not be signed.
    """
    base = {DEPLOYMENT_FILE: encode_canonical({"name": deployment.name, "rpId": deployment.rp_id})}
    return semantic_diff(base | dict(old), base | dict(new))


def _describe_delegations(targets: bytes) -> dict[tuple[str, str], str]:
    value: Any = parse_json(targets, max_bytes=MAX_FILE_BYTES, what="targets metadata")
    entries: dict[tuple[str, str], str] = {}
    try:
        delegations = value.get("delegations")
        if delegations is None:
            return entries
        if delegations.keys() != {"keys", "roles"}:
            raise MalformedError(Reason.BAD_TRUST, "The delegations say something that cannot be shown.")
        for role in delegations["roles"]:
            entries.update(_describe_role(role, delegations["keys"]))
    except (KeyError, TypeError, AttributeError) as e:
        raise MalformedError(Reason.BAD_TRUST, "This is no targets metadata.") from e
    return entries


def _describe_role(role: Mapping[str, Any], keys: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    name, paths = visible(role["name"]), ", ".join(map(visible, role["paths"]))
    owners = len(role["keyids"])
    entries = {
        ("delegation", name): f"{role['threshold']} of {owners} {'owners' if owners > 1 else 'owner'} sign "
        f"{paths} from then on, without the administrators; and nothing else"
    }
    for keyid in role["keyids"]:
        key = keys[keyid]
        owner = visible(f"{name}: {key.get('person', 'NOBODY')} {group_digits(keyid)}")
        entries["owner of", owner] = visible(describe_signing_key(key))
    return entries

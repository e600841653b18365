"""What a change of the trust root's files brings about, in sentences that are said before it is staged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from placet.ceremony.trust_edit import all_rules, decode_file, read_deployment
from placet.core.gates import parse_gates
from placet.core.people import Person, parse_people, parse_terminals
from placet.core.policy import Quorum, Rule
from placet.core.quorum import evaluate_quorum
from placet.core.trust import GATES_FILE, PEOPLE_FILE, SCOPES_FILE, TERMINALS_FILE

Files = Mapping[str, bytes]


def find_consequences(before: Files, after: Files, *, now: int) -> tuple[str, ...]:
    """Returns what stops working with a change, most important first; nothing for what only adds."""
    old, new = _people(before), _people(after)
    return (
        *_find_rules_out_of_reach(after, old, new, now),
        *_find_rules_gone(before, after),
        *_find_open_requests(before, after, old, new),
    )


def _people(files: Files) -> tuple[Person, ...]:
    return parse_people(decode_file(files, PEOPLE_FILE), read_deployment(files))


def _find_rules_out_of_reach(
    files: Files, old: Sequence[Person], new: Sequence[Person], now: int
) -> list[str]:
    """Finds rules that could be satisfied, and no longer can be."""
    found = []
    for rule in all_rules(files):
        could, can = _able(old, rule, now), _able(new, rule, now)
        if not evaluate_quorum(rule.quorum, could).met:
            continue  # already so, and said when it came about
        if not evaluate_quorum(rule.quorum, can).met:
            found.append(f"{_name(rule)} needs {_describe(rule.quorum)}; {_count(rule.quorum, can)} left.")
        elif rule.exclude_requester and len(could) > len(can) and _depends_on_each(rule, can):
            found.append(
                f"{_name(rule)} needs {_describe(rule.quorum)}; {_count(rule.quorum, can)} left, so none of "
                "them can ask and have it approved."
            )
    return found


def _able(people: Sequence[Person], rule: Rule, now: int) -> dict[str, tuple[str, ...]]:
    """Returns who could approve under a rule: person → groups.  Software never exceeds level 1."""
    return {
        person.id: person.groups
        for person in people
        if any(
            credential.not_before <= now < credential.not_after
            and (rule.level == 1 or credential.assurance != "software")
            for credential in person.credentials
        )
    }


def _depends_on_each(rule: Rule, able: dict[str, tuple[str, ...]]) -> bool:
    """Tells whether nobody of those who are left can be missed."""
    named = evaluate_quorum(rule.quorum, able).present
    return all(
        not evaluate_quorum(rule.quorum, {p: g for p, g in able.items() if p != person}).met
        for person in named
    )


def _count(quorum: Quorum, able: dict[str, tuple[str, ...]]) -> str:
    count = len(evaluate_quorum(quorum, able).present)
    return f"only {count} {'person' if count == 1 else 'people'} with a key {'is' if count == 1 else 'are'}"


def _name(rule: Rule) -> str:
    return f"The rule in {rule.file} for {rule.action} on {rule.target}"


def _describe(quorum: Quorum) -> str:
    of = (m if isinstance(m, str) else f"({_describe(m)})" for m in quorum.of)
    return f"{quorum.threshold} of {', '.join(of)}"


def _find_rules_gone(before: Files, after: Files) -> list[str]:
    names = [name for name in sorted(before) if name.startswith("policy/") and name not in after]
    scopes = decode_file(before, SCOPES_FILE)["scopes"]
    left = {rule.action for rule in all_rules(after)}
    found = []
    for name in names:
        scope = name.removeprefix("policy/").removesuffix(".toml")
        found.append(f"The scope {scope} ({', '.join(scopes.get(scope, ()))}) has no rules any more.")
        gone = {rule.action for rule in all_rules(before) if rule.file == name} - left
        found += [
            f"No rule is left for {action}; without a rule, nothing is allowed." for action in sorted(gone)
        ]
    return found


def _find_open_requests(
    before: Files, after: Files, old: Sequence[Person], new: Sequence[Person]
) -> list[str]:
    found = []
    if _keys(old) - _keys(new):
        found.append(
            "Approvals by a key that goes, and that are not used yet, do not count at gates that have "
            "refreshed."
        )
    for terminal in sorted(_terminals(before) - _terminals(after)):
        found.append(
            f"What was approved on the terminal {terminal} and is not used yet may no longer count at gates "
            "that have refreshed; have open requests approved on another terminal."
        )
    gates, left = _gates(before), _gates(after)
    for gate in sorted(gates.keys() - left.keys()):
        found.append(
            f"Requests for the gate {gate} can no longer be approved or used. Its ledger stays where it is."
        )
    for gate in sorted(gate for gate in gates.keys() & left.keys() if gates[gate] != left[gate]):
        found.append(
            f"The gate {gate} goes on with the ledger {left[gate]}. Requests that name its earlier one, "
            f"{gates[gate]}, must be made again."
        )
    return found


def _keys(people: Sequence[Person]) -> set[str]:
    return {credential.keyid for person in people for credential in person.credentials}


def _terminals(files: Files) -> set[str]:
    return {t.id for t in parse_terminals(decode_file(files, TERMINALS_FILE), read_deployment(files))}


def _gates(files: Files) -> dict[str, str]:
    return {gate.id: gate.ledger for gate in parse_gates(decode_file(files, GATES_FILE))}

"""The rules: who must approve what (spec/09-policy.md).

Rules are written in TOML, one file per scope, signed in the trust root, and compiled when
trust is refreshed.  The gate selects them from action type and target alone; every
matching rule applies; none means deny.  A rule matches only inside its own scope, whoever
signed it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from placet.core.actions import is_relative_path
from placet.core.decode import (
    Object,
    read_ascii,
    read_bool,
    read_choice,
    read_list,
    read_map,
    read_name,
    read_object,
)
from placet.core.errors import MalformedError, Reason
from placet.core.patterns import matches, read_pattern

MAX_POLICY_BYTES = 256 * 1024
MAX_RULES = 1_000
# Who counts for which nested quorum is searched for; these bound the search (`placet.core.quorum`).
MAX_QUORUM_DEPTH = 5
MAX_QUORUM_NESTED = 8
MAX_QUORUM_MEMBERS = 64
# What a rule grants where it does not say: a working day is too long for one approval.
DEFAULT_WINDOW = "8h"
# The option of every kind: each artifact may have its own piece of evidence.
EACH = "each"
_USES = ("logged", "queued")  # POL-13
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Quorum(NamedTuple):
    """`threshold` of the members; a member is ``group:…``, ``person:…`` or another quorum."""

    threshold: int
    of: tuple[Quorum | str, ...]

    @property
    def nested_count(self) -> int:
        """How many quorums are nested in this one, at any depth."""
        return sum(1 + member.nested_count for member in self.of if isinstance(member, Quorum))


class EvidenceRule(NamedTuple):
    """Evidence that must be verified, by kind; `options` belong to the verifier of that kind."""

    kind: str
    options: Object


class Rule(NamedTuple):
    """One compiled rule.  `max_window` is in seconds.

    `layout` names an in-toto layout in the trust root: whoever approves also signs its link of the step
    ``approve``; "" where no layout asks for that.  `uses` says what a gate does with a use that no log
    takes: "logged" refuses it, "queued" acts and hands it in later (spec/15-use.md).
    """

    scope: str
    file: str
    action: str
    target: str
    level: int
    quorum: Quorum
    exclude_requester: bool
    distinct_terminals: bool
    max_window: int
    evidence: tuple[EvidenceRule, ...]
    layout: str = ""
    uses: str = "logged"


def parse_policy(toml: bytes, *, scope: str, file: str) -> tuple[Rule, ...]:
    """Parses the policy file of a scope; `file` is its name, such as ``policy/production.toml``.

    Raises:
        MalformedError: BAD_POLICY for text that is not TOML, or the reason of a wrong member (POL-01).
    """
    import tomllib  # a gate never gets here: its snapshot holds compiled rules

    if len(toml) > MAX_POLICY_BYTES:
        raise MalformedError(Reason.TOO_LARGE, f"The policy {file} is too large.", expected=MAX_POLICY_BYTES)
    try:
        value = tomllib.loads(toml.decode("utf-8"))
    except (ValueError, RecursionError) as e:  # a ValueError is bad TOML, bad UTF-8, or an endless integer
        raise MalformedError(
            Reason.BAD_POLICY, f"The policy {file} is not TOML: {e}.", hint="Correct that line and try again."
        ) from e
    items = read_list(read_object(value, "", required=["rule"])["rule"], "/rule", max_items=MAX_RULES)
    return tuple(_read_rule(item, f"/rule/{i}", scope, file) for i, item in enumerate(items))


def _read_rule(value: Any, path: str, scope: str, file: str) -> Rule:
    optional = ["exclude_requester", "distinct_terminals", "max_window", "evidence", "layout", "uses"]
    members = read_object(value, path, required=["action", "target", "level", "quorum"], optional=optional)
    return Rule(
        scope=scope,
        file=file,
        action=read_ascii(members["action"], f"{path}/action"),
        target=read_pattern(members["target"], f"{path}/target"),
        level=read_int(members["level"], f"{path}/level", 1, 4),
        quorum=_read_quorum(members["quorum"], f"{path}/quorum", 1),
        # Excluding the requester is the default: who asks should not also answer.
        exclude_requester=read_bool(members.get("exclude_requester", True), f"{path}/exclude_requester"),
        distinct_terminals=read_bool(members.get("distinct_terminals", False), f"{path}/distinct_terminals"),
        max_window=read_duration(members.get("max_window", DEFAULT_WINDOW), f"{path}/max_window"),
        evidence=_read_evidence_rules(members.get("evidence", []), f"{path}/evidence"),
        layout=_read_layout(members, path),
        uses=read_choice(members.get("uses", _USES[0]), f"{path}/uses", _USES),
    )


def _read_layout(members: Object, path: str) -> str:
    return read_pinned_file(members["layout"], f"{path}/layout", "layouts/") if "layout" in members else ""


def read_int(value: Any, path: str, minimum: int, maximum: int) -> int:
    """Reads a whole number of a policy.

    Raises:
        MalformedError: BAD_VALUE.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
        raise MalformedError(
            Reason.BAD_VALUE, f"A whole number from {minimum} to {maximum} was expected.", path=path
        )
    return value


def read_duration(value: Any, path: str) -> int:
    """Reads a duration such as ``"90s"`` or ``"1h"``; returns seconds.

    Raises:
        MalformedError: WRONG_TYPE, BAD_VALUE.
    """
    text = read_ascii(value, path, max_length=8)
    if text[-1] in _UNITS and text[:-1].isdigit() and int(text[:-1]) > 0:
        return int(text[:-1]) * _UNITS[text[-1]]
    raise MalformedError(
        Reason.BAD_VALUE, 'A duration is spelled like "90s", "15m", "1h" or "1d".', path=path
    )


def _read_quorum(value: Any, path: str, depth: int) -> Quorum:
    if depth > MAX_QUORUM_DEPTH:
        raise MalformedError(Reason.TOO_DEEP, "The quorum is nested too deeply.", path=path)
    members = read_object(value, path, required=["threshold", "of"])
    items = read_list(members["of"], f"{path}/of", max_items=MAX_QUORUM_MEMBERS, min_items=1)
    of: list[Quorum | str] = []
    for i, item in enumerate(items):
        at = f"{path}/of/{i}"
        if isinstance(item, str):
            prefix, _, name = read_ascii(item, at).partition(":")
            if prefix not in ("group", "person") or not name:
                raise MalformedError(Reason.BAD_VALUE, "A quorum names group:… or person:…", path=at)
            of.append(item)
        else:
            of.append(_read_quorum(item, at, depth + 1))
    threshold = read_int(members["threshold"], f"{path}/threshold", 1, 64)
    groups = any(isinstance(member, str) and member.startswith("group:") for member in of)
    if threshold > len(of) and not groups:
        raise MalformedError(Reason.BAD_VALUE, "This threshold can never be met.", path=f"{path}/threshold")
    quorum = Quorum(threshold, tuple(of))
    if quorum.nested_count > MAX_QUORUM_NESTED:
        raise MalformedError(Reason.TOO_MANY, "At most eight quorums may be nested.", path=f"{path}/of")
    return quorum


def read_pinned_file(value: Any, path: str, folder: str) -> str:
    """Reads the name of a file of the trust root that lies in one of its folders, such as ``layouts/``.

    Raises:
        MalformedError: WRONG_TYPE, BAD_VALUE.
    """
    name = read_ascii(value, path, max_length=200)
    if not name.startswith(folder) or not is_relative_path(name):
        raise MalformedError(
            Reason.BAD_VALUE, f"A file of the trust root under {folder} belongs here.", path=path
        )
    return name


def _read_evidence_rules(value: Any, path: str) -> tuple[EvidenceRule, ...]:
    from placet.core.evidence.expectations import (
        check_options,  # needed where policy is compiled, not at gates
    )

    rules = []
    for i, item in enumerate(read_list(value, path, max_items=16)):
        members = dict(read_map(item, f"{path}/{i}", max_items=16))
        kind = read_ascii(members.pop("kind", None), f"{path}/{i}/kind", max_length=80)
        read_bool(members.get(EACH, False), f"{path}/{i}/{EACH}")
        check_options(kind, {name: o for name, o in members.items() if name != EACH}, f"{path}/{i}")
        rules.append(EvidenceRule(kind, members))
    return tuple(rules)


def rule_to_object(rule: Rule) -> Object:
    """Returns the compiled rule as JSON for the gate's snapshot."""
    layout = {"layout": rule.layout} if rule.layout else {}
    uses = {"uses": rule.uses} if rule.uses != "logged" else {}
    return (
        layout
        | uses
        | {
            "action": rule.action,
            "distinctTerminals": rule.distinct_terminals,
            "evidence": [{"kind": e.kind, "options": e.options} for e in rule.evidence],
            "excludeRequester": rule.exclude_requester,
            "file": rule.file,
            "level": rule.level,
            "maxWindow": rule.max_window,
            "quorum": _quorum_to_object(rule.quorum),
            "scope": rule.scope,
            "target": rule.target,
        }
    )


def _quorum_to_object(quorum: Quorum) -> Object:
    of = [member if isinstance(member, str) else _quorum_to_object(member) for member in quorum.of]
    return {"of": of, "threshold": quorum.threshold}


def rule_from_object(value: Any, path: str) -> Rule:
    """Reads a compiled rule back from the snapshot.

    Raises:
        MalformedError: a member is missing or wrong.
    """
    names = ["action", "distinctTerminals", "evidence", "excludeRequester", "file", "level", "maxWindow"]
    names += ["quorum", "scope", "target"]
    members = read_object(value, path, required=names, optional=["layout", "uses"])
    return Rule(
        scope=read_ascii(members["scope"], f"{path}/scope"),
        file=read_ascii(members["file"], f"{path}/file"),
        action=read_ascii(members["action"], f"{path}/action"),
        target=read_pattern(members["target"], f"{path}/target"),
        level=read_int(members["level"], f"{path}/level", 1, 4),
        quorum=_read_quorum(members["quorum"], f"{path}/quorum", 1),
        exclude_requester=read_bool(members["excludeRequester"], f"{path}/excludeRequester"),
        distinct_terminals=read_bool(members["distinctTerminals"], f"{path}/distinctTerminals"),
        max_window=read_int(members["maxWindow"], f"{path}/maxWindow", 1, 10**9),
        evidence=tuple(
            _read_compiled_evidence(item, f"{path}/evidence/{i}")
            for i, item in enumerate(read_list(members["evidence"], f"{path}/evidence", max_items=16))
        ),
        layout=_read_layout(members, path),
        uses=read_choice(members.get("uses", _USES[0]), f"{path}/uses", _USES),
    )


def _read_compiled_evidence(value: Any, path: str) -> EvidenceRule:
    members = read_object(value, path, required=["kind", "options"])
    return EvidenceRule(
        read_ascii(members["kind"], f"{path}/kind", max_length=80),
        read_map(members["options"], f"{path}/options", max_items=16),
    )


def parse_scopes(value: Any) -> dict[str, tuple[str, ...]]:
    """Reads the decoded ``scopes.json``: scope → target patterns.

    Raises:
        MalformedError: a member is missing or wrong.
    """
    scopes = read_map(read_object(value, "", required=["scopes"])["scopes"], "/scopes", max_items=256)
    result = {}
    for name, patterns in scopes.items():
        at = f"/scopes/{name}"
        read_name(name, at)
        items = read_list(patterns, at, max_items=64, min_items=1)
        result[name] = tuple(read_pattern(item, f"{at}/{i}") for i, item in enumerate(items))
    return result


def select_rules(
    rules: Iterable[Rule], scopes: dict[str, tuple[str, ...]], *, action: str, target: str
) -> tuple[Rule, ...]:
    """Returns every rule for this action and target, each only inside its own scope (POL-03, POL-04)."""
    return tuple(
        rule
        for rule in rules
        if rule.action == action
        and matches(rule.target, target)
        and any(matches(pattern, target) for pattern in scopes.get(rule.scope, ()))
    )

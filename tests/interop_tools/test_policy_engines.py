"""OPA and CEL decide over our verdicts with the policies in examples/policies, and see what a gate sees."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cel
import pytest
from other_tools import OtherTools
from verdict_people import AT, approved_verdict, refused_verdict

from placet.core.encoding import format_time
from placet.core.verdict.statements import EXPIRES_AT, INPUT_ATTESTATIONS
from placet.testing.world import RELEASE_TARGET

POLICIES = Path(__file__).parents[2] / "examples" / "policies"
ARTIFACT = b"an application\n"
WANTED: dict[str, Any] = {
    "verifier": approved_verdict("vsa", ARTIFACT)["predicate"]["verifier"]["id"],
    "target": RELEASE_TARGET,
    "sha256": hashlib.sha256(ARTIFACT).hexdigest(),
    "now": format_time(AT + 5),
    "intentLevel": 1,
    "buildLevel": 3,
}
ENGINES = ["opa", "cel-vsa", "cel-svr"]


def decide(tools: OtherTools, engine: str, statement: Any, wanted: dict[str, Any]) -> bool:
    """Returns what the engine says; an error is a no, as it is in an admission controller."""
    asked = {"statement": statement, "wanted": wanted}
    if engine == "opa":
        return ask_opa(tools, "placet.verdict.allow", asked) is True
    expression = (POLICIES / f"{engine.replace('cel', 'verdict')}.cel").read_text()
    try:
        return cel.evaluate(expression, asked) is True
    except (KeyError, RuntimeError, TypeError, ValueError):
        return False


def ask_opa(tools: OtherTools, document: str, asked: dict[str, Any]) -> Any:
    # In a process of its own: OPA brings a Go runtime with it, and the wheel is outside of the environment.
    script = Path(__file__).parent / "evaluate_rego.py"
    answer = tools.run(
        *(Path(sys.executable), script, POLICIES / "verdict.rego", document),
        stdin=json.dumps(asked),
        PYTHONPATH=str(tools.cache / "python"),
    )
    assert answer.accepted, answer.said
    return json.loads(answer.output)


def verdict(engine: str, *, build_level: int = 3) -> Any:
    return approved_verdict(
        engine.removeprefix("cel-").replace("opa", "vsa"), ARTIFACT, build_level=build_level
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_engine_allows_what_the_gate_allowed(tools: OtherTools, engine: str) -> None:
    assert decide(tools, engine, verdict(engine), WANTED)


@pytest.mark.parametrize("engine", ENGINES)
def test_engine_needs_no_provenance_where_none_is_asked(tools: OtherTools, engine: str) -> None:
    assert decide(tools, engine, verdict(engine, build_level=0), WANTED | {"buildLevel": 0})


OTHER_WISHES = {
    "another gate": {"verifier": "https://example.com/gates/staging"},
    "another target": {"target": "pkg:pypi/other"},
    "another artifact": {"sha256": "0" * 64},
    "a higher intent level": {"intentLevel": 3},
    "a higher build level": {"buildLevel": 4},
    "later": {"now": format_time(AT + 601)},
    "earlier": {"now": format_time(AT - 1)},
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("wish", OTHER_WISHES)
def test_engine_refuses_a_verdict_about_something_else(tools: OtherTools, engine: str, wish: str) -> None:
    assert not decide(tools, engine, verdict(engine), WANTED | OTHER_WISHES[wish])


@pytest.mark.parametrize("engine", ENGINES)
def test_engine_refuses_provenance_that_was_asked_and_is_not_there(tools: OtherTools, engine: str) -> None:
    assert not decide(tools, engine, verdict(engine, build_level=0), WANTED | {"buildLevel": 1})


@pytest.mark.parametrize("engine", ["opa", "cel-vsa"])
def test_engine_refuses_what_the_gate_refused(tools: OtherTools, engine: str) -> None:
    assert not decide(tools, engine, refused_verdict(ARTIFACT), WANTED | {"buildLevel": 0})


def without(*path: str) -> Callable[[Any], None]:
    def remove(statement: Any) -> None:
        place = statement
        for name in path[:-1]:
            place = place[name]
        del place[path[-1]]

    return remove


MEMBERS = [
    ("_type",),
    ("predicateType",),
    ("subject",),
    ("predicate",),
    ("predicate", "verifier"),
    ("predicate", EXPIRES_AT),
]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("path", MEMBERS, ids="/".join)
def test_engine_refuses_a_statement_that_lacks_a_member(
    tools: OtherTools, engine: str, path: tuple[str, ...]
) -> None:
    statement = verdict(engine)
    without(*path)(statement)
    assert not decide(tools, engine, statement, WANTED)


def lives_for_a_week(statement: Any) -> None:
    statement["predicate"][EXPIRES_AT] = format_time(AT + 7 * 86_400)


def names_no_intent(statement: Any) -> None:
    predicate = statement["predicate"]
    inputs = "inputAttestations" if "inputAttestations" in predicate else INPUT_ATTESTATIONS
    predicate[inputs] = [item for item in predicate[inputs] if item["name"] != "intent"]


def is_of_another_type(statement: Any) -> None:
    statement["predicateType"] = "https://example.com/verdict/v1"


def is_no_statement_v1(statement: Any) -> None:
    statement["_type"] = "https://in-toto.io/Statement/v2"


def says_failed(statement: Any) -> None:
    # In an SVR the properties say it.
    predicate = statement["predicate"]
    predicate |= {"verificationResult": "FAILED"} if "verifiedLevels" in predicate else {"properties": []}


CHANGES = [lives_for_a_week, names_no_intent, is_of_another_type, is_no_statement_v1, says_failed]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("change", CHANGES)
def test_engine_refuses_what_no_gate_would_sign(
    tools: OtherTools, engine: str, change: Callable[[Any], None]
) -> None:
    statement = verdict(engine)
    change(statement)
    assert not decide(tools, engine, statement, WANTED)


def test_opa_says_in_words_what_is_missing(tools: OtherTools) -> None:
    asked = {"statement": verdict("opa"), "wanted": WANTED | {"target": "pkg:pypi/other", "buildLevel": 4}}
    missing = ask_opa(tools, "placet.verdict.missing", asked)
    assert sorted(missing) == ["it is about another target", "the build level is too low"]

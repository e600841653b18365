"""Runs the vectors of verdicts: made of an approval, made of a refusal, and relied on by a consumer."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from placet.core.bundle import parse_bundle
from placet.core.encoding import encode_canonical, parse_time
from placet.core.errors import PlacetError
from placet.core.evidence.facts import EvidenceFact, MetEvidence
from placet.core.expected import Expected
from placet.core.trust import Trust, parse_trust
from placet.core.verdict.check import ExpectedVerdict, verify_verdict
from placet.core.verdict.keys import parse_gate_key
from placet.core.verdict.statements import Judgement, build_failed_vsa, build_svr, build_vsa
from placet.core.verify import verify_for_use

_BUILDERS = {"vsa": build_vsa, "svr": build_svr}
_VECTORS = Path(__file__).resolve().parents[2] / "vectors"

Facts = dict[str, Any]


def _b64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _trust(name: str) -> Trust:
    return parse_trust(encode_canonical(json.loads((_VECTORS / "trust" / f"{name}.json").read_text())))


def _expected(said: Any) -> Expected:
    return Expected(said["target"], frozenset(said["subjects"]), said["actionType"], said["parameters"])


def _judgement(inputs: Any, now: int) -> Judgement:
    trust = _trust(inputs["trust"])
    return Judgement(trust, inputs["gate"], inputs["version"], now, inputs["life"], inputs["used"])


def _met(said: Any) -> MetEvidence:
    """Returns evidence as the decision hands it over: verified, required and met."""
    fact = EvidenceFact(
        said["kind"],
        said["digest"],
        frozenset(said["subjects"]),
        predicate_type=said["predicateType"],
        predicate=said["predicate"],
    )
    return MetEvidence(fact, said["mediaType"], said["level"])


def make(inputs: Any, now: int) -> Facts:
    """Makes the statement of an approval that is verified first."""
    bundle = _b64(inputs["bundle"])
    judgement = _judgement(inputs, now)
    approval = verify_for_use(
        bundle, trust=judgement.trust, gate=judgement.gate, expected=_expected(inputs["expected"]), now=now
    )
    approval = approval._replace(evidence=tuple(_met(item) for item in inputs["evidence"]))
    about = parse_bundle(_b64(inputs.get("about", inputs["bundle"])))
    return {"statement": _BUILDERS[inputs["type"]](approval, about, judgement)}


def make_failed(inputs: Any, now: int) -> Facts:
    """Makes the statement of whatever refusal the decision gives."""
    judgement, expected = _judgement(inputs, now), _expected(inputs["expected"])
    try:
        verify_for_use(
            _b64(inputs["bundle"]), trust=judgement.trust, gate=judgement.gate, expected=expected, now=now
        )
    except PlacetError as refusal:
        return {"statement": build_failed_vsa(refusal, expected, judgement)}
    raise AssertionError("this was allowed")


def check(inputs: Any, now: int) -> Facts:
    """Checks a verdict as a consumer does."""
    expected = ExpectedVerdict(
        inputs["verifier"], inputs["target"], frozenset(inputs["subjects"]), tuple(inputs["levels"])
    )
    verdict = verify_verdict(
        _b64(inputs["verdict"]), key=parse_gate_key(_b64(inputs["key"])), expected=expected, now=now
    )
    assert verdict.verified_at < verdict.expires_at > parse_time("2026-01-01T00:00:00Z")
    return {"levels": list(verdict.levels), "target": verdict.target}


KINDS: dict[str, Callable[[Any, int], Facts]] = {
    "verdict": make,
    "verdict-of-refusal": make_failed,
    "verdict-check": check,
}

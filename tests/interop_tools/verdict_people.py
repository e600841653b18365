"""Verdicts made as a gate makes them: an approval is verified, and the statement is about it."""

from __future__ import annotations

from functools import cache
from typing import Any

from placet.core.bundle import parse_bundle
from placet.core.decode import Object
from placet.core.verdict.statements import SVR_TYPE, VSA_TYPE, Judgement, build_svr, build_vsa
from placet.core.verify import verify_for_use
from placet.testing.world import ALICE, BOB, GATE, NOW, World, expected_of

KINDS = {"vsa": VSA_TYPE, "svr": SVR_TYPE}
GATE_SERVICE = "https://gates.example.com/prod-eu"
_BUILDERS = {"vsa": build_vsa, "svr": build_svr}
_AT = NOW + 120


@cache
def _approved(artifact: bytes) -> tuple[World, Any, bytes]:
    world = World(seed=b"verdict of others")
    request = world.request_release({"app.bin": artifact})
    return world, request, world.bundle(request, ALICE, BOB)


def approved_verdict(kind: str, artifact: bytes) -> Object:
    """Returns the VSA or SVR of a release that two people approved."""
    world, request, bundle = _approved(artifact)
    trust = world.trust()
    approval = verify_for_use(bundle, trust=trust, gate=GATE, expected=expected_of(request), now=_AT)
    judgement = Judgement(trust=trust, gate=GATE, version="0.1.0", at=_AT, used=True)
    return _BUILDERS[kind](approval, parse_bundle(bundle), judgement)

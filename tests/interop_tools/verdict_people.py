"""Verdicts made as a gate makes them: an approval is verified, and the statement is about it."""

from __future__ import annotations

from functools import cache
from typing import Any

from placet.core.bundle import parse_bundle
from placet.core.decode import Object
from placet.core.encoding import sha256_hex
from placet.core.errors import PolicyError, Reason
from placet.core.evidence.facts import PROVENANCE, SIGSTORE_MEDIA_TYPE, EvidenceFact, MetEvidence
from placet.core.verdict.statements import (
    SVR_TYPE,
    VSA_TYPE,
    Judgement,
    build_failed_vsa,
    build_svr,
    build_vsa,
)
from placet.core.verify import verify_for_use
from placet.testing.world import ALICE, BOB, GATE, NOW, World, expected_of

KINDS = {"vsa": VSA_TYPE, "svr": SVR_TYPE}
GATE_SERVICE = "https://gates.example.com/prod-eu"
AT = NOW + 120
_BUILDERS = {"vsa": build_vsa, "svr": build_svr}


@cache
def _approved(artifact: bytes) -> tuple[World, Any, bytes]:
    world = World(seed=b"verdict of others")
    request = world.request_release({"app.bin": artifact})
    return world, request, world.bundle(request, ALICE, BOB)


def approved_verdict(kind: str, artifact: bytes, *, build_level: int = 0) -> Object:
    """Returns the VSA or SVR of a release that two people approved.

    Args:
        build_level: what provenance proved beside the approval; 0 for none.
    """
    world, request, bundle = _approved(artifact)
    trust = world.trust()
    expected = expected_of(request)
    approval = verify_for_use(bundle, trust=trust, gate=GATE, expected=expected, now=AT)
    if build_level:
        fact = EvidenceFact(PROVENANCE, sha256_hex(b"provenance"), expected.subjects)
        approval = approval._replace(evidence=(MetEvidence(fact, SIGSTORE_MEDIA_TYPE, build_level),))
    return _BUILDERS[kind](approval, parse_bundle(bundle), _judgement(world))


def refused_verdict(artifact: bytes) -> Object:
    """Returns the VSA in which a gate says that it refused."""
    world, request, _ = _approved(artifact)
    refusal = PolicyError(Reason.QUORUM_NOT_MET, "Too few approvals.")
    return build_failed_vsa(refusal, expected_of(request), _judgement(world))


def _judgement(world: World) -> Judgement:
    return Judgement(trust=world.trust(), gate=GATE, version="0.1.0", at=AT, used=True)

"""An approval with evidence, the verdicts of it, and a key that signs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from placet.adapters.verdict_key import VerdictKey
from placet.core.bundle import IntentBundle, parse_bundle
from placet.core.decode import Object
from placet.core.encoding import Digest, b64encode, encode_canonical, sha256_hex
from placet.core.evidence.facts import PROVENANCE, SIGSTORE_MEDIA_TYPE, EvidenceFact, MetEvidence
from placet.core.verdict.check import ExpectedVerdict
from placet.core.verdict.statements import Judgement, build_svr, build_vsa
from placet.core.verify import VerifiedApproval, verify_for_use
from placet.testing.world import ALICE, BOB, GATE, NOW, World, expected_of

AT = NOW + 120
VERIFIER = f"https://demo.placet.localhost/gates/{GATE}"
BUILDERS = {"vsa": build_vsa, "svr": build_svr}


class Case(NamedTuple):
    """One approval, verified, as a gate has it in hand."""

    world: World
    key: VerdictKey
    bundle: bytes
    parsed: IntentBundle
    approval: VerifiedApproval
    judgement: Judgement

    @property
    def digests(self) -> frozenset[str]:
        return frozenset(subject.digest for subject in self.approval.statement.subjects)

    @property
    def target(self) -> str:
        return self.approval.statement.target

    def statement(self, kind: str = "vsa", **changes: Any) -> Object:
        return BUILDERS[kind](self.approval, self.parsed, self.judgement._replace(**changes))

    def sign(self, kind: str = "vsa", *, as_bundle: bool = False, **changes: Any) -> bytes:
        return self.key.sign(self.statement(kind, **changes), as_bundle=as_bundle)

    def expected(self, **changes: Any) -> ExpectedVerdict:
        return ExpectedVerdict(VERIFIER, self.target, self.digests)._replace(**changes)


def provenance(*subjects: str, level: int | None = 3, kind: str = PROVENANCE) -> MetEvidence:
    """Returns provenance as the decision hands it over."""
    digest = Digest(sha256_hex(json.dumps([*subjects, level, kind]).encode()))
    fact = EvidenceFact(kind, digest, frozenset(subjects), predicate_type="https://slsa.dev/provenance/v1")
    return MetEvidence(fact, SIGSTORE_MEDIA_TYPE, level)


def case(folder: Path, *, artifacts: int = 1, level: int | None = 3) -> Case:
    """Returns a deployment or release that two people approved, with provenance of that level."""
    key = VerdictKey.create(folder / "verdict.pem")
    world = World(seed=b"verdict")
    gates = [
        {"id": gate, "ledger": gate, "verdictKeys": [b64encode(key.public.der)]} for gate in world.gates[:1]
    ]
    world.more_files["gates.json"] = encode_canonical({"gates": gates})
    if artifacts == 1:
        request = world.request_deploy()
    else:
        request = world.request_release({f"{n}.whl": bytes([n]) for n in range(artifacts)})
    bundle, trust = world.bundle(request, ALICE, BOB), world.trust()
    approval = verify_for_use(bundle, trust=trust, gate=GATE, expected=expected_of(request), now=AT)
    digests = sorted(subject.digest for subject in approval.statement.subjects)
    if level is not None:
        approval = approval._replace(evidence=(provenance(*digests, level=level),))
    return Case(world, key, bundle, parse_bundle(bundle), approval, Judgement(trust, GATE, "1.2.3", AT))

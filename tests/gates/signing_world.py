"""A deployment in which people approve signatures, and a private Sigstore that would make them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from use_log_world import FileLog, FixedClock, use_log_of

from placet.adapters.sigstore.signing import SigstoreSigner, load_instance
from placet.adapters.sqlite.ledger import SqliteLedger, declare_new_birth
from placet.ceremony.request import build_request
from placet.core.bundle import IntentRequest, parse_bundle
from placet.core.decode import Object
from placet.core.dsse import envelope_digest
from placet.core.encoding import Digest, encode_canonical, sha256_hex
from placet.core.statement import parse_statement
from placet.core.verdict.statements import verifier_id
from placet.core.verify import Expected, VerifiedApproval, verify_for_use
from placet.documents.signing import IntentReference
from placet.gates.signing import SignedPiece, SigningGate, SigningResult, Step, sign_approved
from placet.gates.signing_plan import SIGN_ACTION, plan_signing
from placet.ports.artifact_signer import ArtifactSigner
from placet.testing import world as worlds
from placet.testing.private_sigstore import PrivateSigstoreServer
from placet.testing.world import ALICE, BOB, World, artifact

TARGET = "pkg:pypi/placet"
SERVICE = "https://signer.example.com/release"
POLICY = f"""
[[rule]]
action = "{SIGN_ACTION}"
target = "pkg:**"
level = 1
quorum = {{ threshold = 2, of = ["group:release"] }}
exclude_requester = false
max_window = "1h"
"""
WHEEL, SDIST = b"a wheel", b"a source archive"
ARTIFACTS = {"app.whl": WHEEL, "app.tar.gz": SDIST}


def signing_world() -> World:
    return World(seed=b"signing", policy=POLICY)


def request_signature(
    world: World,
    artifacts: dict[str, bytes],
    *,
    statement: tuple[str, bytes] | None = None,
    signer: tuple[str, str] | None = None,
    **more: Any,
) -> IntentRequest:
    """Requests a signature; `statement` is a predicate type and a statement's bytes."""
    parameters: Object = {"form": "artifact"}
    if statement is not None:
        digest = {"sha256": sha256_hex(statement[1])}
        parameters = {"form": "statement", "statement": {"predicateType": statement[0], "digest": digest}}
    if signer is not None:
        parameters["signer"] = {"identity": signer[0], "issuer": signer[1]}
    subjects = [artifact(name, data) for name, data in artifacts.items()]
    ask = world.ask(SIGN_ACTION, more.pop("target", TARGET), parameters, subjects, **more)
    return build_request(ask, trust=world.trust())


def digests_of(*artifacts: bytes) -> frozenset[Digest]:
    return frozenset(sha256_hex(data) for data in artifacts)


class Gate:
    """A signing gate with a ledger in a folder."""

    def __init__(self, world: World, folder: Path, server: PrivateSigstoreServer) -> None:
        self.world, self.folder, self.server = world, folder, server
        self.clock = FixedClock(worlds.NOW + 120)
        self.path = folder / "ledger.sqlite3"
        declare_new_birth(self.path, now=worlds.NOW - 100)
        self.kept: list[SignedPiece] = []
        self.sign_ins = 0
        self.log: FileLog | None = None

    def open_signer(self, who: str | dict[str, Any] = SERVICE) -> ArtifactSigner:
        self.sign_ins += 1
        sigstore = self.server.sigstore
        instance = load_instance(encode_canonical(sigstore.client_trust_config()))
        return SigstoreSigner(instance, sigstore.token(who))

    def sign(
        self,
        bundle: bytes,
        digests: frozenset[Digest],
        *,
        statement: bytes | None = None,
        signer: Callable[[], ArtifactSigner] | None = None,
        observe: Callable[[Step], None] = lambda step: None,
        keep: Callable[[SignedPiece], None] | None = None,
        event_id: str | None = None,
    ) -> SigningResult:
        envelope = parse_bundle(bundle).envelope
        plan = plan_signing(parse_statement(envelope.payload))
        trust = self.world.trust()

        def verify(subjects: frozenset[str], now: int) -> VerifiedApproval:
            expected = Expected(TARGET, subjects, SIGN_ACTION)
            return verify_for_use(bundle, trust=trust, gate=worlds.GATE, expected=expected, now=now)

        with SqliteLedger(self.path) as ledger:
            gate = SigningGate(
                verify=verify,
                open_signer=signer or self.open_signer,
                ledger=ledger,
                log=use_log_of(self.world, self.log, bundle),
                clock=self.clock,
                reference=IntentReference(
                    sha256_hex(envelope.payload), envelope_digest(envelope), "https://example.com/intent.json"
                ),
                attester=verifier_id(trust, worlds.GATE),
                keep=keep or self.kept.append,
                observe=observe,
            )
            return sign_approved(plan, gate, digests=digests, statement=statement, event_id=event_id)

    def outcomes(self, bundle: bytes) -> list[int | None]:
        """Returns the recorded outcome of each use of an approval."""
        with SqliteLedger(self.path) as ledger:
            return [use.exit_code for use in ledger.uses(sha256_hex(parse_bundle(bundle).envelope.payload))]


def approved(world: World, request: IntentRequest, people: Sequence[str] = (ALICE, BOB)) -> bytes:
    return world.bundle(request, *people)

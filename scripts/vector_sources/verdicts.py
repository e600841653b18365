"""Verdicts: what a gate says of an approval, and what a consumer makes of it."""

# ruff: noqa: E501, PLR0915 -- one vector a line reads as the table it is
# fmt: off
from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from placet.core.bundle import IntentBundle, IntentRequest, encode_bundle, parse_bundle
from placet.core.dsse import PAYLOAD_TYPE, pae
from placet.core.encoding import b64encode, encode_canonical, format_time
from placet.core.errors import PolicyError, Reason
from placet.core.evidence.vsa_input import EXPIRES_AT
from placet.core.expected import Expected
from placet.core.verdict.envelope import encode_verdict, encode_verdict_bundle, verdict_message
from placet.core.verdict.keys import GatePublicKey
from placet.core.verdict.statements import (
    INPUT_ATTESTATIONS,
    RESOURCE_URI,
    Judgement,
    build_failed_vsa,
    build_svr,
    build_vsa,
    verifier_id,
)
from placet.core.verify import VerifiedApproval, verify_for_use
from placet.testing.world import ALICE, BOB, GATE, NOW, World, expected_of
from vector_sources.book import AT, REMOVED, Book, altered, b64, bundle_of, run_request, use_inputs, world

_VSA, _SVR = "https://slsa.dev/verification_summary/v1", "https://in-toto.io/attestation/svr/v0.2"
_LIFE = 600


class Key:
    """A verdict key that follows from a number; its signatures, too."""

    def __init__(self, number: int) -> None:
        self._key = ec.derive_private_key(number, ec.SECP256R1())
        public = self._key.public_key()
        self.der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))

    def envelope(self, statement: Any) -> bytes:
        payload, message = verdict_message(statement)
        return encode_verdict(payload, self.sign(message))


def _evidence(subject: str, kind: str = "slsa-provenance", level: int | None = 3, **more: Any) -> dict[str, Any]:
    types = {"slsa-provenance": "https://slsa.dev/provenance/v1", "slsa-vsa": _VSA, "slsa-source": "https://github.com/slsa-framework/slsa-source-poc/source-provenance/v1-draft"}
    digest = hashlib.sha256(f"{kind}{level}".encode()).hexdigest()
    return {"kind": kind, "digest": digest, "level": level, "subjects": [subject], "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "predicateType": types.get(kind, ""), "predicate": {}} | more


def verdicts() -> Book:
    """What a gate says, and who may rely on it."""
    book = Book("verdict")
    honest = world()
    image = honest.request_deploy()
    bundle = bundle_of(honest, image, ALICE, BOB)
    good = use_inputs(bundle) | {"type": "vsa", "version": "1.2.3", "life": _LIFE, "used": False, "evidence": []}
    subject = good["expected"]["subjects"][0]
    _levels(book, good, subject)
    _statements(book, good, subject)
    _refusals(book, good)
    _consumers(book, good)
    _gates(book)
    return book


def _levels(book: Book, good: dict[str, Any], subject: str) -> None:
    def yes(name: str, description: str, evidence: list[Any], slsa: list[str], kind: str = "vsa", ids: str = "VSA-05") -> None:
        member = "verifiedLevels" if kind == "vsa" else "properties"
        book.accept("verdict", name, ids, description, good | {"evidence": evidence, "type": kind}, statement={"predicate": {member: ["INTENT_LEVEL_1", *slsa]}})

    other = "sha256:" + "ab" * 32
    commit = "gitCommit:" + "ab" * 20
    build = "SLSA_BUILD_LEVEL_3"
    yes("no-evidence", "Nothing was required of the build, so nothing is said of it.", [], [])
    yes("build-level", "In a VSA the highest level of a SLSA track stands alone, as SLSA says.", [_evidence(subject)], [build])
    yes("build-level-svr", "In an SVR every level stands that is reached.", [_evidence(subject)], ["SLSA_BUILD_LEVEL_1", "SLSA_BUILD_LEVEL_2", build], "svr")
    yes("highest-of-two", "Two pieces about one artifact: the better one counts.", [_evidence(subject, level=2), _evidence(subject)], [build])
    yes("not-of-another-artifact", "Evidence about something else lifts nothing.", [_evidence(other)], [])
    yes("no-level", "An SBOM has no level.", [_evidence(subject, "sbom", None)], [])
    yes("source-level", "Evidence about the commit, tied to the artifact when it was met.", [_evidence(commit, "slsa-source", 2), _evidence(subject)], [build, "SLSA_SOURCE_LEVEL_2"])
    yes("source-summary", "A summary about the commit is of the source track.", [_evidence(commit, "slsa-vsa", 3, predicate={"verifiedLevels": ["SLSA_SOURCE_LEVEL_3"]})], ["SLSA_SOURCE_LEVEL_3"])
    stated = {"verifiedLevels": ["SLSA_BUILD_LEVEL_3", "SLSA_SOURCE_LEVEL_4", "ACME_REVIEWED"]}
    yes("another-verifiers-summary", "No more of another verifier's summary is passed on than was met.", [_evidence(subject, "slsa-vsa", predicate=stated)], [build], ids="VSA-05 VSA-06")
    odd = good | {"evidence": [_evidence(subject, "slsa-vsa", predicate={"verifiedLevels": ["SLSA_BUILD_LEVEL_3", "SLSA_SOURCE_TWO_PARTY_REVIEWED"]})]}
    book.refuse("verdict", "odd-slsa-level", "VSA-06", "A SLSA_ value that slsa-verifier would trip over.", odd, "bad-value", category="malformed", path="/predicate/verifiedLevels")


def _statements(book: Book, good: dict[str, Any], subject: str) -> None:
    parsed = parse_bundle(base64.b64decode(good["bundle"]))
    statement = json.loads(parsed.envelope.payload)
    approval, _, judgement = _made(good)
    full = build_vsa(approval, parsed, judgement)
    assert [item["name"] for item in full["predicate"]["inputAttestations"]] == ["intent", "terminal-report", "terminal-report"]
    every = "VSA-01 VSA-02 VSA-04 VSA-07 VSA-08 VSA-10"
    fixed = {"verifier": {"id": "https://demo.placet.localhost/gates/prod-eu", "version": {"placet": "1.2.3"}}, "resourceUri": statement["predicate"]["action"]["target"]["uri"], "verificationResult": "PASSED", "timeVerified": format_time(AT), "slsaVersion": "1.2", EXPIRES_AT: format_time(AT + _LIFE)}
    book.accept("verdict", "vsa", every, "A whole VSA.", good, statement={"_type": "https://in-toto.io/Statement/v1", "predicateType": _VSA, "subject": statement["subject"], "predicate": fixed | {"inputAttestations": full["predicate"]["inputAttestations"]}})
    svr = build_svr(approval, parsed, judgement)
    book.accept("verdict", "svr", every, "A whole SVR, which names resource, inputs and expiry in members of ours.", good | {"type": "svr"}, statement=svr)
    evidenced = good | {"evidence": [_evidence(subject)]}
    listed = [*full["predicate"]["inputAttestations"], {"name": "slsa-provenance", "mediaType": evidenced["evidence"][0]["mediaType"], "digest": {"sha256": evidenced["evidence"][0]["digest"]}}]
    book.accept("verdict", "evidence-is-an-input", "VSA-04", "Evidence that was met is named, too.", evidenced, statement={"predicate": {"inputAttestations": listed}})
    other = bundle_of(world(), run_request(world()), ALICE, BOB)
    book.refuse("verdict", "of-another-bundle", "VSA-04", "The inputs of another approval.", good | {"about": b64(encode_bundle(other))}, "subject-mismatch", category="verification")
    book.accept("verdict", "used", "VSA-07", "The use was consumed.", good | {"used": True}, statement={"predicate": {"https://placet.dev/verdict/singleUse": "consumed"}})
    book.accept("verdict", "ends-with-the-approval", "VSA-07", "The approval ends before the verdict would.", good | {"life": 86_400}, statement={"predicate": {EXPIRES_AT: format_time(NOW + 3600)}})
    for name, life in (("no-life", 0), ("long-life", 86_401)):
        book.refuse("verdict", name, "VSA-07", "A verdict says what is so now.", good | {"life": life}, "bad-value", category="policy")
    several = world()
    release = several.request_release({"a.whl": b"a", "b.whl": b"b"})
    part = use_inputs(bundle_of(several, release, ALICE, BOB))
    first = json.loads(release.payload)["subject"][0]
    one = good | part | {"expected": part["expected"] | {"subjects": [f"sha256:{first['digest']['sha256']}"]}}
    book.accept("verdict", "part-of-a-release", "VSA-01", "Where each artifact is a use of its own, the verdict is about those that are used.", one, statement={"subject": [first]})


def _made(inputs: dict[str, Any]) -> tuple[VerifiedApproval, IntentBundle, Judgement]:
    trust, data = world().trust(), base64.b64decode(inputs["bundle"])
    bundle = parse_bundle(data)
    expected = expected_of(IntentRequest(bundle.envelope.payload, ()))
    approval = verify_for_use(data, trust=trust, gate=GATE, expected=expected, now=AT)
    return approval, bundle, Judgement(trust, GATE, "1.2.3", AT, _LIFE)


def _refusals(book: Book, good: dict[str, Any]) -> None:
    denied = good | {"expected": good["expected"] | {"subjects": ["sha256:" + "ab" * 32]}}
    failed = {"verificationResult": "FAILED", "verifiedLevels": ["FAILED"], "https://placet.dev/verdict/reason": "artifact-mismatch"}
    book.accept("verdict-of-refusal", "denied", "VSA-08", "What was about to be used was never approved.", denied, statement={"predicate": failed, "subject": [{"name": "sha256:" + "ab" * 32, "digest": {"sha256": "ab" * 32}}]})
    book.refuse("verdict-of-refusal", "undecided", "VSA-08 INV-8", "Undecided is not denied: no verdict.", denied, "trust-expired", category="indeterminate", now=world().expires_at)
    nothing = good | {"expected": good["expected"] | {"subjects": []}}
    book.refuse("verdict-of-refusal", "nothing-to-be-about", "VSA-08", "No artifact that it could be about.", nothing, "bad-value", category="policy")


def _consumers(book: Book, good: dict[str, Any]) -> None:
    key, approval, bundle, judgement = Key(7), *_made(good)
    vsa, svr = build_vsa(approval, bundle, judgement), build_svr(approval, bundle, judgement)
    trust = judgement.trust
    base = {"key": b64(key.der), "verifier": verifier_id(trust, GATE), "target": approval.statement.target, "subjects": good["expected"]["subjects"], "levels": ["INTENT_LEVEL_1"]}
    every = "VSA-01 VSA-02 VSA-03 VSA-04 VSA-07 VSA-08 VSA-10"

    def given(data: bytes, **changes: Any) -> dict[str, Any]:
        return base | {"verdict": b64(data)} | changes

    def no(name: str, ids: str, description: str, reason: str, category: str, data: bytes | None = None, *, now: int = AT, path: str | None = None, **changes: Any) -> None:
        more = {} if path is None else {"path": path}
        book.refuse("verdict-check", name, ids, description, given(key.envelope(vsa) if data is None else data, **changes), reason, category=category, now=now, **more)

    def signed(statement: Any, changes: dict[str, Any]) -> bytes:
        return key.envelope(json.loads(altered(statement, changes)))

    book.accept("verdict-check", "vsa", every, "A VSA as the gate made it.", given(key.envelope(vsa)), levels=["INTENT_LEVEL_1"])
    book.accept("verdict-check", "svr", every, "An SVR as the gate made it.", given(key.envelope(svr)), levels=["INTENT_LEVEL_1"])
    payload, message = verdict_message(vsa)
    hint = b64encode(bytes.fromhex(GatePublicKey(key.der).digest))
    book.accept("verdict-check", "sigstore-bundle", "VSA-03", "The same in a Sigstore bundle.", given(encode_verdict_bundle(payload, key.sign(message), key_hint=hint)), target=base["target"])
    reached = signed(vsa, {"/predicate/verifiedLevels/-": "SLSA_BUILD_LEVEL_3"})
    book.accept("verdict-check", "higher-slsa-level", "VSA-05 VSA-06", "A higher level of a SLSA track holds for a lower one.", given(reached, levels=["SLSA_BUILD_LEVEL_2", "INTENT_LEVEL_1"]))
    book.accept("verdict-check", "last-second", "VSA-07", "The last second.", given(key.envelope(vsa)), now=AT + _LIFE - 1)

    no("another-key", "VSA-09 VSA-03", "Signed by another key.", "signature-invalid", "verification", key=b64(Key(8).der))
    one = json.loads(key.envelope(vsa))
    two = one | {"signatures": one["signatures"] * 2}
    no("two-signatures", "VSA-03", "Two signatures.", "too-many", "malformed", encode_canonical(two), path="/signatures")
    no("no-signature", "VSA-03", "No signature.", "bad-value", "malformed", encode_canonical(one | {"signatures": []}), path="/signatures")
    named = one | {"signatures": [one["signatures"][0] | {"keyid": "gate"}]}
    no("key-id", "VSA-03", "A key ID, by which go-securesystemslib would skip the signature.", "bad-value", "malformed", encode_canonical(named), path="/signatures/0/keyid")
    no("another-payload-type", "VSA-03", "Another payload type.", "unsupported-type", "malformed", encode_canonical(one | {"payloadType": "text/plain"}), path="/payloadType")
    people = {"payload": b64(bundle.envelope.payload), "payloadType": PAYLOAD_TYPE, "signatures": [{"keyid": "", "sig": b64(key.sign(pae(PAYLOAD_TYPE, bundle.envelope.payload)))}]}
    no("intent-signed-by-the-service", "VSA-11 VSA-08", "The request itself, signed by the service without an approval (A20).", "unsupported-type", "malformed", encode_canonical(people), path="/predicateType")
    co_signed = json.loads(base64.b64decode(good["bundle"]))
    co_signed["envelope"]["signatures"].append(people["signatures"][0])
    book.refuse("verify-for-use", "co-signed-by-the-service", "VSA-11", "A gate's signature among those of people.", {n: good[n] for n in ("trust", "gate", "expected")} | {"bundle": b64(encode_canonical(co_signed))}, "bad-digest", category="malformed", path="/envelope/signatures/2/keyid")
    book.accept("verify-for-use", "signed-by-people-alone", "VSA-11", "The same without it.", {n: good[n] for n in ("trust", "gate", "expected", "bundle")}, people=[ALICE, BOB])
    no("another-gate", "VSA-02 VSA-09", "A key of this gate, in the name of another.", "evidence-signer", "policy", signed(vsa, {"/predicate/verifier/id": verifier_id(trust, "prod-us")}))
    no("another-resource", "VSA-10", "A verdict about another target (A20).", "evidence-resource", "policy", target="k8s://prod-us/ns/shop/deploy/app")
    no("another-resource-svr", "VSA-10", "The same for an SVR.", "evidence-resource", "policy", key.envelope(svr), target="k8s://prod-us/ns/shop/deploy/app")
    no("svr-without-resource", "VSA-10", "An SVR that names no target holds for none.", "wrong-type", "malformed", signed(svr, {f"/predicate/{RESOURCE_URI.replace('/', '~1')}": REMOVED}))
    no("another-artifact", "VSA-01", "Something else is about to be used.", "evidence-subject", "policy", subjects=["sha256:" + "ab" * 32])
    no("nothing-asked", "VSA-01", "A consumer that names no artifact learns nothing.", "evidence-subject", "policy", subjects=[])
    other = Expected(base["target"], frozenset({"sha256:" + "ab" * 32}), approval.statement.action_type)
    failed = build_failed_vsa(PolicyError(Reason.ARTIFACT_MISMATCH, "Not what was approved."), other, judgement)
    no("failed", "VSA-08", "The gate refused.", "evidence-level", "policy", key.envelope(failed), subjects=sorted(other.subjects), levels=[])
    no("odd-result", "VSA-08", "Neither passed nor failed.", "bad-value", "malformed", signed(vsa, {"/predicate/verificationResult": "passed"}))
    no("level-too-low", "VSA-05", "The build level is too low.", "evidence-level", "policy", reached, levels=["SLSA_BUILD_LEVEL_4"])
    no("level-of-no-track", "VSA-05", "Nothing was said of the build.", "evidence-level", "policy", levels=["SLSA_BUILD_LEVEL_1"])
    no("intent-level-missing", "VSA-05", "The intent level is too low.", "evidence-level", "policy", levels=["INTENT_LEVEL_2"])
    no("odd-slsa-level", "VSA-06", "A SLSA_ value without a number.", "bad-value", "malformed", signed(vsa, {"/predicate/verifiedLevels/-": "SLSA_BUILD_LEVEL_UNEVALUATED"}), path="/predicate/verifiedLevels")
    no("stale", "VSA-07", "The first second after (A20).", "evidence-stale", "policy", now=AT + _LIFE)
    no("future", "VSA-07", "Made after now.", "evidence-stale", "policy", now=AT - 1)
    expiry = f"/predicate/{EXPIRES_AT.replace('/', '~1')}"
    no("no-expiry", "VSA-07", "A verdict without an end.", "wrong-type", "malformed", signed(vsa, {expiry: REMOVED}))
    no("endless", "VSA-07", "A verdict that would be good for a year.", "evidence-stale", "policy", signed(vsa, {expiry: format_time(AT + 365 * 86_400)}))
    for name, statement, member in (("vsa", vsa, "inputAttestations"), ("svr", svr, INPUT_ATTESTATIONS.replace("/", "~1"))):
        no(f"without-inputs-{name}", "VSA-04", "Made of no approval (A20).", "wrong-type", "malformed", signed(statement, {f"/predicate/{member}": REMOVED}))
        no(f"without-intent-{name}", "VSA-04", "Made of evidence alone (A20).", "missing-member", "malformed", signed(statement, {f"/predicate/{member}/0": REMOVED}))


def _gates(book: Book) -> None:
    """Verdict keys in the trust root."""
    source = world()

    def inputs(*gates: tuple[str, list[str]]) -> dict[str, Any]:
        listed = [{"id": name, "ledger": name, "verdictKeys": keys} for name, keys in gates]
        files = {name: data.decode() for name, data in source.files().items()}
        files["gates.json"] = json.dumps({"gates": listed}, sort_keys=True)
        return {"files": files, "versions": source.versions, "expiresAt": format_time(source.expires_at)}

    one, two = b64(Key(7).der), b64(Key(8).der)
    book.accept("trust", "verdict-keys", "VSA-09", "A gate with two keys, one with none.", inputs(("prod-eu", [one, two]), ("prod-us", [])), people=3)

    def no(name: str, description: str, reason: str, path: str, *gates: tuple[str, list[str]]) -> None:
        book.refuse("trust", name, "VSA-09", description, inputs(*gates), reason, path=path)

    no("verdict-key-of-two-gates", "One key for two gates.", "duplicate-value", "/gates", ("prod-eu", [one]), ("prod-us", [one]))
    no("verdict-key-twice", "One key twice.", "duplicate-value", "/gates/0/verdictKeys", ("prod-eu", [one, one]))
    p384 = ec.derive_private_key(7, ec.SECP384R1()).public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    no("verdict-key-p384", "A key on another curve.", "bad-key", "/gates/0/verdictKeys/0", ("prod-eu", [b64(p384)]))
    no("verdict-key-no-point", "No point of the curve.", "bad-key", "/gates/0/verdictKeys/0", ("prod-eu", [b64(Key(7).der[:-1] + b"\0")]))
    no("verdict-keys-many", "More keys than anybody needs.", "too-many", "/gates/0/verdictKeys", ("prod-eu", [b64(Key(n).der) for n in range(2, 11)]))
    _use_keys(book, source)


def _use_keys(book: Book, source: World) -> None:
    """Use keys in the trust root: the same form, and never the same key."""
    one, two = b64(Key(7).der), b64(Key(8).der)

    def inputs(*gates: dict[str, list[str]]) -> dict[str, Any]:
        listed = [{"id": f"gate-{i}", "ledger": f"gate-{i}"} | keys for i, keys in enumerate(gates)]
        files = {name: data.decode() for name, data in source.files().items()}
        files["gates.json"] = json.dumps({"gates": listed}, sort_keys=True)
        return {"files": files, "versions": source.versions, "expiresAt": format_time(source.expires_at)}

    def no(name: str, description: str, reason: str, path: str, *gates: dict[str, list[str]]) -> None:
        book.refuse("trust", name, "PPL-07", description, inputs(*gates), reason, path=path)

    book.accept("trust", "use-keys", "PPL-07", "A gate with a key for each purpose, one with two for uses.", inputs({"verdictKeys": [one], "useKeys": [two]}, {"useKeys": [b64(Key(9).der), b64(Key(10).der)]}), people=3)
    no("use-key-of-two-gates", "One key for two gates.", "duplicate-value", "/gates", {"useKeys": [one]}, {"useKeys": [one]})
    no("use-key-for-verdicts", "A key that also signs verdicts.", "duplicate-value", "/gates", {"useKeys": [one], "verdictKeys": [one]})
    no("use-key-for-verdicts-elsewhere", "A key that signs another gate's verdicts.", "duplicate-value", "/gates", {"useKeys": [one]}, {"verdictKeys": [one]})
    no("use-key-bad", "No key.", "bad-key", "/gates/0/useKeys/0", {"useKeys": ["AAAA"]})
    no("use-keys-many", "More keys than anybody needs.", "too-many", "/gates/0/useKeys", {"useKeys": [b64(Key(n).der) for n in range(2, 11)]})

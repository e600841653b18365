"""The containers, the reports and the requester's proof."""

# ruff: noqa: E501 -- one vector a line reads as the table it is
# fmt: off
from __future__ import annotations

from typing import Any

from placet.ceremony.request import attach_proof, attach_token, bind_nonce, requester_message, token_audience
from placet.core.bundle import (
    Answer,
    IntentRequest,
    SignatureRef,
    encode_answer,
    encode_bundle,
    encode_request,
    parse_answer,
    parse_bundle,
)
from placet.core.dsse import Signature, envelope_to_object
from placet.core.encoding import format_time, sha256_hex
from placet.core.report import parse_report
from placet.core.sshsig import NAMESPACE_INTENT, NAMESPACE_REQUEST
from placet.testing.authenticator import UV, SoftTerminalKey, SoftWebAuthn
from placet.testing.world import ALICE, BOB, CAROL, NOW, evidence
from vector_sources.book import (
    AT,
    REMOVED,
    Book,
    Voice,
    altered,
    b64,
    bundle_of,
    report_envelope,
    run_request,
    sign,
    world,
)
from vector_sources.worlds import ISSUER


def containers() -> Book:
    """Request, answer and bundle."""
    book = Book("containers")
    honest = world()
    request = run_request(honest, evidence=[("note", evidence(b"x"))])
    data = encode_request(request)
    bundle = encode_bundle(bundle_of(world(), request, ALICE, BOB))
    signature, report = sign(world(), request.payload, Voice(ALICE))
    assert report is not None
    whole = bundle_of(world(), request, ALICE, BOB)
    one = whole.envelope._replace(signatures=(signature,))
    answer = encode_answer(Answer(one, report))
    other = evidence(b"y")

    def no(kind: str, name: str, ids: str, description: str, document: bytes, changes: Any, reason: str, path: str = "", **more: Any) -> None:
        book.refuse(kind, name, ids, description, {"container": b64(altered(document, changes))}, reason, path=path, **more)

    book.accept("request", "whole", "BND-01 BND-04", "A request with evidence.", {"container": b64(data)}, id=sha256_hex(request.payload))
    book.accept("answer", "whole", "BND-02", "One person's answer.", {"container": b64(answer)})
    book.accept("bundle", "whole", "BND-03 BND-04 BND-05 INV-7", "Two people's answers.", {"container": b64(bundle)}, signatures=2)
    no("request", "other-type", "BND-01", "A bundle is no request.", bundle, {}, "unsupported-type", "/mediaType")
    no("request", "unknown-member", "BND-01", "A member that nobody reads.", data, {"/note": "x"}, "unknown-member")
    no("request", "payload-type", "BND-01", "Another payload type.", data, {"/payloadType": "application/json"}, "unsupported-type", "/payloadType")
    no("request", "no-object", "BND-01", "A list.", b"[]", {}, "unsupported-type", "/mediaType")
    no("request", "evidence-digest", "BND-04 INV-1", "Evidence under another's digest.", data, {"/evidence/0/digest/sha256": "0" * 64}, "evidence-mismatch", "/evidence/0")
    no("request", "evidence-twice", "BND-04", "The same evidence twice.", data, {"/evidence/-": {"digest": {"sha256": request.evidence[0].digest}, "mediaType": "text/plain", "content": b64(b"x")}}, "duplicate-value", "/evidence")
    many = [{"digest": {"sha256": sha256_hex(bytes([i]))}, "mediaType": "text/plain", "content": b64(bytes([i]))} for i in range(33)]
    no("request", "evidence-many", "BND-01", "33 documents.", data, {"/evidence": many}, "too-many", "/evidence")
    no("answer", "two-signatures", "BND-02", "Two people in one answer.", answer, {"/envelope/signatures/-": {"keyid": "0" * 64, "sig": "YQ=="}}, "too-many", "/envelope/signatures")
    no("answer", "no-signature", "BND-02", "Nobody's answer.", answer, {"/envelope/signatures": []}, "bad-value", "/envelope")
    no("answer", "report-unsigned", "BND-02", "A report that nobody signed.", answer, {"/report/signatures": []}, "bad-value", "/report")
    no("answer", "no-report", "BND-02", "No report.", answer, {"/report": REMOVED}, "missing-member")
    no("bundle", "other-type", "BND-03", "A request is no bundle.", data, {}, "unsupported-type", "/mediaType")
    no("bundle", "unknown-member", "BND-03", "A member that nobody reads.", bundle, {"/note": "x"}, "unknown-member")
    no("bundle", "too-many-reports", "BND-03", "17 reports.", bundle, {"/reports": [envelope_to_object(report)] * 17}, "too-many", "/reports")
    book.refuse("bundle", "pretty", "BND-03 ADM-09", "A bundle that was reformatted.", {"container": b64(bundle.replace(b":", b": ", 1))}, "not-canonical")
    no("bundle", "evidence-digest", "BND-04", "Evidence under another's digest.", bundle, {"/evidence/0/content": b64(other.content)}, "evidence-mismatch", "/evidence/0")
    no("bundle", "log", "BND-05", "A log member without proofs.", bundle, {"/log": {}}, "missing-member", "/log")
    answered = parse_answer(answer)
    linked = encode_answer(answered._replace(link=answered.report))
    book.accept("answer", "link", "BND-09", "An answer with the in-toto link of the same key.", {"container": b64(linked)})
    no("answer", "link-unsigned", "BND-09 BND-02", "A link that nobody signed.", linked, {"/link/signatures": []}, "bad-value", "/link")
    along = encode_bundle(parse_bundle(bundle)._replace(links=(answered.report,), signatures=(SignatureRef("ab" * 32, "application/vnd.dev.sigstore.bundle.v0.3+json"),)))
    book.accept("bundle", "links-and-signatures", "BND-09", "Links, and a signature made after the approval.", {"container": b64(along)}, signatures=2)
    no("bundle", "too-many-links", "BND-09", "17 links.", bundle, {"/links": [envelope_to_object(report)] * 17}, "too-many", "/links")
    no("bundle", "signature-without-type", "BND-09", "A signature named by its digest alone.", along, {"/signatures/0/mediaType": REMOVED}, "missing-member", "/signatures/0")
    no("bundle", "versions-zero", "TRU-03", "A version 0.", bundle, {"/trust/versions/root": 0}, "bad-value", "/trust/versions/root")
    return book


def reports() -> Book:
    """Terminal reports."""
    book = Book("report")
    source = world()
    request = run_request(source)
    _, envelope = sign(source, request.payload, Voice(ALICE))
    assert envelope is not None
    digest = sha256_hex(request.payload)
    report = parse_report(envelope.payload)

    def inputs(made: Any) -> dict[str, Any]:
        return {"envelope": envelope_to_object(made), "trust": "default", "payloadDigest": digest}

    def no(name: str, ids: str, description: str, made: Any, reason: str, category: str, **more: Any) -> None:
        book.refuse("report", name, ids, description, inputs(made), reason, category=category, **more)

    book.accept("report", "whole", "RPT-01 RPT-02 RPT-03 RPT-04", "A terminal's report.", inputs(envelope), terminal="t1", decidedAt=format_time(NOW + 60))
    for name, changes, reason, path in (
        ("unknown-member", {"/predicate/mood": "good"}, "unknown-member", "/predicate"),
        ("statement-type", {"/_type": "https://in-toto.io/Statement/v0.1"}, "bad-value", "/_type"),
        ("type", {"/predicateType": "https://placet.dev/intent/v1"}, "bad-value", "/predicateType"),
        ("subject", {"/subject/0/name": "something"}, "bad-value", "/subject/0/name"),
        ("two-subjects", {"/subject/-": {}}, "too-many", "/subject"),
        ("seconds", {"/predicate/secondsOnScreen": "-1"}, "bad-value", "/predicate/secondsOnScreen"),
        ("result", {"/predicate/evidence": [{"digest": {"sha256": "0" * 64}, "result": "fine"}]}, "bad-value", "/predicate/evidence/0/result"),
        ("hidden", {"/predicate/changes": "nothing\u200b"}, "text-not-allowed", "/predicate/changes"),
    ):
        said = altered(envelope.payload, changes)
        no(f"form-{name}", "RPT-01", "A report in another form.", envelope._replace(payload=said), reason, "malformed", path=path)
    said = envelope._replace(payload=altered(envelope.payload, {"/predicate/changes": "something else"}))
    no("altered", "RPT-02", "A report that was altered.", said, "signature-invalid", "verification")
    no("purpose", "RPT-02", "The terminal's key, for another purpose.", report_envelope(source, report, "t1", namespace=NAMESPACE_INTENT), "namespace-mismatch", "verification")
    t1 = source.terminals["t1"]
    mixed = envelope._replace(signatures=(Signature(t1.keyid, report_envelope(source, report, "t2").signatures[0].sig),))
    no("other-key", "RPT-02", "Another terminal's signature under this terminal's name.", mixed, "key-mismatch", "verification")
    hardware = SoftWebAuthn(seed=b"x").sign("report-v1@placet.dev", b"x")
    no("kind", "RPT-02", "A signature of another kind.", envelope._replace(signatures=(Signature(t1.keyid, hardware),)), "key-mismatch", "verification")
    no("other-terminal", "RPT-03", "A terminal that reports for another.", report_envelope(source, report, "t2"), "terminal-unknown", "policy")
    stranger = SoftTerminalKey(seed=b"stranger")
    unknown = envelope._replace(signatures=(Signature(stranger.keyid, envelope.signatures[0].sig),))
    no("unknown-terminal", "RPT-03", "A key that is no terminal's.", unknown, "terminal-unknown", "policy")
    no("unsigned", "RPT-02", "Nobody's report.", envelope._replace(signatures=()), "report-invalid", "verification")
    about = report_envelope(source, report._replace(payload_digest=sha256_hex(b"other")), "t1")
    no("other-intent", "RPT-04 INV-1", "A report about another statement.", about, "report-invalid", "verification")
    return book


def requesters() -> Book:
    """The requester's proof."""
    book = Book("requester")
    bare = run_request(world())

    def proven(person: str = CAROL, **knobs: Any) -> IntentRequest:
        key = world().keys[person]
        blob = key.sign(knobs.pop("namespace", NAMESPACE_REQUEST), knobs.pop("message", requester_message(bare)), **knobs)
        return attach_proof(bare, keyid=key.keyid, sshsig=blob)

    def inputs(request: IntentRequest, **more: Any) -> dict[str, Any]:
        return {"request": b64(encode_request(request)), "trust": "default"} | more

    def no(name: str, ids: str, description: str, request: IntentRequest, **more: Any) -> None:
        now = more.pop("now", AT)
        book.refuse("requester", name, ids, description, inputs(request, **more), "request-proof-invalid", category="verification", now=now)

    good = proven()
    proof = good.evidence[0]
    book.accept("requester", "proven", "REQ-01 REQ-02 REQ-03", "Carol asks.", inputs(good), requester=CAROL)
    book.accept("requester", "claimed", "REQ-02", "Somebody asks; nothing proves who.", inputs(bare), requester=None)
    no("missing", "REQ-02", "A proof that is named, but not here.", good._replace(evidence=()))
    second = attach_proof(good, keyid=world().keys[BOB].keyid, sshsig=world().keys[BOB].sign(NAMESPACE_REQUEST, requester_message(bare)))
    no("two", "REQ-03", "Two people ask.", second)
    renamed = IntentRequest(altered(good.payload, {"/predicate/evidence/0/name": "slsa-provenance"}), good.evidence)
    no("renamed", "REQ-03", "A proof under another name.", renamed)
    moved = IntentRequest(altered(good.payload, {"/predicate/request/requestedBy": "https://ci.example/run/1"}), good.evidence)
    no("other-request", "REQ-01 INV-1", "A proof taken from another request.", moved)
    no("whole-statement", "REQ-01", "A proof over other bytes.", proven(message=b"x"))
    no("approval-as-proof", "REQ-01 SIG-08", "An approval is no proof of who asks.", proven(namespace=NAMESPACE_INTENT))
    no("no-touch", "REQ-02 INV-3", "A proof without touch.", proven(flags=UV))
    stranger = SoftWebAuthn(seed=b"mallory")
    alien = attach_proof(bare, keyid=stranger.keyid, sshsig=stranger.sign(NAMESPACE_REQUEST, requester_message(bare)))
    no("stranger", "REQ-02", "A key that belongs to nobody.", alien)
    no("expired-key", "REQ-02", "A key after its time.", proven(BOB), trust="expired-key")
    content = proof.content + b"\n"
    changed = evidence(content, proof.media_type)
    spelled = IntentRequest(altered(good.payload, {"/predicate/evidence/0/digest/sha256": changed.digest}), (changed,))
    no("spelling", "REQ-02", "A proof that an editor touched.", spelled)
    _tokens(book, bare)
    return book


def _tokens(book: Book, bare: IntentRequest) -> None:
    """Tokens as proofs; the runner is told what their issuers say."""
    salt = bytes(range(32))
    bound = bind_nonce(bare, salt=salt)
    good = attach_token(bound, salt=salt, token="header.claims.signature")
    audience = token_audience(bound)

    def inputs(request: IntentRequest, said: dict[str, str] | None, trust: str = "accounts") -> dict[str, Any]:
        told = [] if said is None else [{"kind": "requester-token", "digest": request.evidence[0].digest, "subjects": [], "identity": said}]
        return {"request": b64(encode_request(request)), "trust": trust, "evidence": told}

    def no(name: str, ids: str, description: str, *given: Any) -> None:
        book.refuse("requester", name, ids, description, inputs(*given), "request-proof-invalid", category="verification", now=AT)

    carol = {"issuer": ISSUER, "subject": "4711", "audience": audience}
    book.accept("requester", "token", "REQ-03 REQ-04 REQ-05 REQ-06", "An issuer says that Carol asks.", inputs(good, carol), requester=CAROL)
    moved = IntentRequest(altered(good.payload, {"/predicate/request/requestedBy": "https://ci.example/run/1"}), good.evidence)
    no("token-of-another-request", "REQ-04 INV-1", "A token and its nonce, on other words.", moved, carol)
    short = attach_token(bind_nonce(bare, salt=salt[:16]), salt=salt[:16], token="header.claims.signature")
    no("token-short-salt", "REQ-04", "A salt that could be searched.", short, carol)
    no("token-for-another-audience", "REQ-05", "A token for another service.", good, carol | {"audience": "https://registry.example"})
    no("token-of-nobody", "REQ-06", "An account that no person has.", good, carol | {"subject": "4712"})
    no("token-of-another-issuer", "REQ-06", "The same subject at another issuer.", good, carol | {"issuer": "https://evil.example"})
    book.refuse("requester", "token-unverified", "REQ-05", "A token that nothing here verified.", inputs(good, None), "evidence-not-verified", category="indeterminate", now=AT)
    renamed = IntentRequest(altered(good.payload, {"/predicate/evidence/0/name": "requester-proof"}), good.evidence)
    no("token-renamed", "REQ-03", "A token under the name of a proof.", renamed, carol)

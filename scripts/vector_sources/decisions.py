"""The decision."""

# ruff: noqa: E501 -- one vector a line reads as the table it is
# fmt: off
from __future__ import annotations

from typing import Any

from placet.ceremony.request import attach_proof, requester_message
from placet.core.bundle import IntentRequest, encode_bundle
from placet.core.encoding import format_time, sha256_hex
from placet.core.sshsig import NAMESPACE_REQUEST
from placet.testing.authenticator import BE, BS, UP, UV, SoftWebAuthn
from placet.testing.world import ALICE, BOB, CAROL, NOW, World, evidence, expected_of
from vector_sources.book import (
    AT,
    Book,
    Voice,
    altered,
    b64,
    bundle_of,
    run_request,
    use_inputs,
    world,
)
from vector_sources.forms import action_subject_of
from vector_sources.worlds import HARDWARE, ONE_HOUR, SIGNATURE_RULE, SIGNER_KEY, UV_OPTIONAL, policy


def decisions() -> Book:
    """May this happen, here, now?"""
    book = Book("verify")
    honest = world()
    request = run_request(honest)
    bundle = bundle_of(honest, request, ALICE, BOB)
    good = use_inputs(bundle)
    every = "VER-01 VER-02 VER-03 VER-04 VER-05 VER-06 VER-07 VER-08 DSP-05 POL-03 POL-04 POL-08 POL-09 POL-10 BND-06 RPT-07 APR-01 APR-02 APR-03 LVL-01 LVL-05 INV-1 INV-3 INV-4 INV-5 INV-6 INV-7 INV-8"
    book.accept("verify-for-use", "two-of-three", every, "Two people approved exactly this.", good, people=[ALICE, BOB], level=1, missing=2, ignored=[], useUnits=["action"])

    def no(name: str, ids: str, description: str, reason: str, category: str, inputs: Any = None, *, now: int = AT, **more: Any) -> None:
        book.refuse("verify-for-use", name, ids, description, inputs or good, reason, category=category, now=now, **more)

    _time_and_trust(book, no, good)
    _expected(book, no, good)
    _people(book, no)
    _rules(book, no, request)
    _reports(book, no, request)
    _excluded(book)
    audit = {"bundle": good["bundle"], "trust": "default"}
    book.accept("verify-for-audit", "logged", "VER-09", "Judged at the logged time.", audit | {"loggedAt": format_time(AT)}, now=NOW + 10**7, people=[ALICE, BOB])
    book.refuse("verify-for-audit", "unproven", "VER-09 INV-8", "Nothing proves the time.", audit | {"loggedAt": None}, "time-unproven", category="indeterminate")
    text = "Deny: Run for host://build-1.example: /usr/bin/true"
    denial = IntentRequest(altered(request.payload, {"/predicate/decision": "deny", "/predicate/display/text": text}), ())
    denied = {"bundle": b64(encode_bundle(bundle_of(world(), denial, ALICE, BOB))), "trust": "default", "loggedAt": format_time(AT)}
    book.refuse("verify-for-audit", "denial", "VER-04 VER-09", "A denial is no approval of the past either.", denied, "decision-is-deny", category="policy")
    book.refuse("verify-for-audit", "logged-late", "VER-09 VER-06", "Logged after the window.", audit | {"loggedAt": format_time(NOW + ONE_HOUR)}, "expired", category="policy")
    return book


def _time_and_trust(book: Book, no: Any, good: Any) -> None:
    expiry = world().expires_at
    no("trust-expired", "VER-01 INV-6 INV-8", "The gate's trust has expired (attack A12).", "trust-expired", "indeterminate", now=expiry)
    source = world(versions={"root": 1, "targets": 2, "snapshot": 1, "timestamp": 1})
    ahead = bundle_of(source, run_request(source), ALICE, BOB)
    no("trust-newer", "VER-02 INV-6", "The approvers saw newer trust than the gate.", "trust-newer", "indeterminate", use_inputs(ahead))
    newer = use_inputs(bundle_of(world(), run_request(world()), ALICE, BOB), trust="newer")
    book.accept("verify-for-use", "trust-older", "VER-02", "The gate's trust is newer, the rules are the same.", newer, level=1)
    online = world(versions={"root": 1, "targets": 1, "snapshot": 8, "timestamp": 8})
    later = use_inputs(bundle_of(online, run_request(online), ALICE, BOB))
    book.accept("verify-for-use", "online-roles-newer", "VER-02", "Newer snapshot and timestamp say nothing about people.", later, level=1)
    no("issued-in-future", "VER-06", "The gate's clock is behind the request.", "issued-in-future", "policy", now=NOW - 1)
    no("expired", "VER-06 INV-4", "A second after the window.", "expired", "policy", now=NOW + ONE_HOUR)
    late = altered(run_request(world()).payload, {"/predicate/request/notBefore": format_time(NOW + 300)})
    waiting = bundle_of(world(), IntentRequest(late, ()), Voice(ALICE, report={"decided_at": NOW + 310}), Voice(BOB, report={"decided_at": NOW + 320}))
    no("not-yet-valid", "VER-06 INV-4", "Before the window.", "not-yet-valid", "policy", use_inputs(waiting), now=NOW + 299)
    first = use_inputs(bundle_of(world(), run_request(world()), Voice(ALICE, report=None), Voice(BOB, report=None)))
    book.accept("verify-for-use", "first-second", "VER-06", "The second of the request itself.", first, now=NOW, level=1)
    book.accept("verify-for-use", "window-begins", "VER-06", "The first second of the window.", use_inputs(waiting._replace(reports=(), trust_versions={})), now=NOW + 300, level=1)
    book.accept("verify-for-use", "last-second", "VER-06", "The last second of the window.", good, now=NOW + ONE_HOUR - 1, level=1)


def _expected(book: Book, no: Any, good: Any) -> None:
    source = world()
    def with_expected(**changes: Any) -> Any:
        return good | {"expected": good["expected"] | changes}

    no("other-gate", "VER-05 INV-4", "Replayed at another gate (attack A8).", "wrong-audience", "policy", good | {"gate": "prod-us"})
    no("unknown-gate", "VER-08", "A gate that trust does not know.", "unknown-gate", "policy", good | {"trust": "without-gate"})
    no("other-action", "VER-07", "Another kind of action.", "action-mismatch", "policy", with_expected(actionType="https://placet.dev/actions/deploy/v1"))
    no("other-target", "VER-07", "Another target.", "target-mismatch", "policy", with_expected(target="host://build-2.example"))
    no("other-parameters", "VER-07 USE-09", "Another argument (attack A5).", "parameters-mismatch", "policy", with_expected(parameters={**good["expected"]["parameters"], "argv": ["/usr/bin/false"]}))
    no("artifact-where-none", "VER-07", "A file that nobody approved.", "artifact-mismatch", "policy", with_expected(subjects=["sha256:" + "0" * 64]))
    deploy = use_inputs(bundle_of(source, source.request_deploy(), ALICE, BOB))
    book.accept("verify-for-use", "deploy", "VER-07", "The very image.", deploy, useUnits=["action"])
    swapped = deploy | {"expected": deploy["expected"] | {"subjects": ["sha256:" + sha256_hex(b"other")]}}
    no("other-artifact", "VER-07 INV-1", "Another image (attack A5).", "artifact-mismatch", "policy", swapped)
    none = deploy | {"expected": deploy["expected"] | {"subjects": []}}
    no("no-artifact", "VER-07", "No image at all.", "artifact-mismatch", "policy", none)
    many = world()
    release = use_inputs(bundle_of(many, many.request_release({"a.whl": b"a", "b.whl": b"b"}), ALICE, BOB))
    digest = "sha256:" + sha256_hex(b"a")
    part = release | {"expected": release["expected"] | {"subjects": [digest]}}
    book.accept("verify-for-use", "release-one-of-two", "VER-07", "One of two artifacts, each a use of its own.", part, useUnits=[digest])
    more = release | {"expected": release["expected"] | {"subjects": [digest, "sha256:" + "0" * 64]}}
    no("release-more", "VER-07", "One artifact more than was approved.", "artifact-mismatch", "policy", more)
    payload = run_request(world()).payload
    strange = altered(payload, {"/predicate/action/type": "https://evil.example/actions/run/v1"})
    strange = altered(strange, {"/subject": [action_subject_of(strange)]})
    asked = IntentRequest(strange, ())
    no("unknown-action", "VER-03", "An action that trust does not define.", "unknown-action", "policy", use_inputs(bundle_of(world(), asked, ALICE, BOB)))
    for name, changes in (("digest", {"/predicate/display/template/digest/sha256": "0" * 64}), ("file", {"/predicate/display/template/uri": "actions/run/v0.json"})):
        stale = IntentRequest(altered(payload, changes), ())
        no(f"template-{name}", "DSP-05 INV-2", "Shown with another template.", "template-stale", "policy", use_inputs(bundle_of(world(), stale, ALICE, BOB)))
    source = world()
    forced = IntentRequest(altered(source.request_deploy().payload, {"/predicate/action/parameters/force": "true"}), ())
    no("action-schema", "ACT-02 INV-2", "A parameter that the action does not have.", "action-schema", "malformed", use_inputs(bundle_of(source, forced, ALICE, BOB)))
    said = IntentRequest(altered(payload, {"/predicate/display/text": "Run nothing"}), ())
    no("summary", "DSP-03 INV-2", "A summary that says something else (attack A6).", "display-mismatch", "verification", use_inputs(bundle_of(world(), said, ALICE, BOB)))
    text = "Deny: Run for host://build-1.example: /usr/bin/true"
    denial = IntentRequest(altered(payload, {"/predicate/decision": "deny", "/predicate/display/text": text}), ())
    no("denial", "VER-04 INV-8", "Two denials are no approval.", "decision-is-deny", "policy", use_inputs(bundle_of(world(), denial, ALICE, BOB)))


def _people(book: Book, no: Any) -> None:
    few, policy_error = "quorum-not-met", "policy"

    def ask(*voices: Voice | str, trust: str = "default", source: World | None = None, **more: Any) -> Any:
        made = source or world()
        return use_inputs(bundle_of(made, run_request(made, **more), *voices), trust=trust)

    no("one-of-two", "INV-5 LVL-01", "One person where two are needed.", few, policy_error, ask(ALICE), causes=[])
    stranger = world()
    stranger.keys["mallory@example.com"] = SoftWebAuthn(seed=b"mallory")
    no("unknown-key", "APR-02 SIG-02 INV-3 LVL-01", "A key that belongs to nobody.", few, policy_error, ask(ALICE, "mallory@example.com", source=stranger), causes=["unknown-key"])
    book.accept("verify-for-use", "unknown-key-beside", "APR-01 APR-02", "A stranger's signature beside enough good ones.", ask(ALICE, BOB, Voice("mallory@example.com", report=None), source=_with_mallory()), people=[ALICE, BOB], ignored=["unknown-key"])
    for name, flags, ids, cause in (
        ("no-touch", UV, "WAN-01 INV-3 APR-01", "user-presence-missing"),
        ("no-verification", UP, "WAN-02 INV-3", "user-verification-missing"),
        ("synced", UP | UV | BE | BS, "WAN-04 INV-3", "backup-not-allowed"),
    ):
        no(name, ids, "A signature that does not count (attack A10).", few, policy_error, ask(ALICE, Voice(BOB, knobs={"flags": flags})), causes=[cause])
    origin = Voice(BOB, "t2", {"web_origin": "http://evil.demo.placet.localhost:8470"})
    no("origin", "WAN-05 INV-3", "Made on a page that is no terminal (attack A9).", few, policy_error, ask(ALICE, origin), causes=["origin-not-allowed"])
    no("other-statement", "INV-1", "A signature over another statement (attack A6).", few, policy_error, ask(ALICE, Voice(BOB, message=b"something else")), causes=["challenge-mismatch"])
    no("other-meaning", "SIG-08", "A signature for another purpose.", few, policy_error, ask(ALICE, Voice(BOB, namespace=NAMESPACE_REQUEST)), causes=["namespace-mismatch"])
    no("expired-key", "APR-03", "A key after its time.", few, policy_error, ask(ALICE, BOB, trust="expired-key"), causes=["credential-not-valid"])
    no("future-key", "APR-03", "A key before its time.", few, policy_error, ask(ALICE, BOB, trust="future-key"), causes=["credential-not-valid"])
    carried = {"/trust/metadata": {"1.targets.json": b64(b"{}")}, "/trust/targets": {"people.json": b64(world().files()["people.json"])}}
    loaded = {"bundle": b64(altered(encode_bundle(bundle_of(world(), run_request(world()), ALICE, BOB)), carried))}
    book.accept("verify-for-use", "carried-trust", "BND-08 INV-6", "Trust for auditors rides along, and decides nothing.", ask(ALICE, BOB) | loaded, people=[ALICE, BOB])
    no("carried-trust-revoked", "BND-08 APR-02 INV-6", "An old list of people cannot bring back who was revoked (attack A12).", few, policy_error, ask(ALICE, BOB, trust="without-bob") | loaded, causes=["unknown-key"])
    no("report-origin", "RPT-07", "A page's signature under another terminal's report.", few, policy_error, ask(ALICE, Voice(BOB, "t2", {"web_origin": world().origin("t1")})), causes=["origin-not-allowed"])
    hardware, weak = world(policy=policy(level=2), assurance=HARDWARE), world(policy=policy(), assurance=HARDWARE, credential_members=UV_OPTIONAL)
    book.accept("verify-for-use", "level-2", "LVL-01 LVL-02 LVL-04 LVL-05 INV-3", "Hardware, touched and unlocked.", ask(ALICE, BOB, trust="hardware", source=hardware), level=2)
    no("level-2-software", "LVL-02 LVL-04 INV-3", "A software key where hardware is needed.", "level-too-low", policy_error, ask(ALICE, CAROL, trust="hardware", source=hardware))
    no("level-2-many-uses", "LVL-02 INV-4", "More than one use.", "level-too-low", policy_error, ask(ALICE, BOB, trust="hardware", source=hardware, max_uses=2))
    unlocked = ask(ALICE, Voice(BOB, knobs={"flags": UP}), trust="hardware-uv-optional", source=weak)
    book.accept("verify-for-use", "unverified-is-level-1", "LVL-02 LVL-05", "A signature without verification, where that may be.", unlocked, level=1)
    apart = world(policy=policy(distinct="true"))
    book.accept("verify-for-use", "terminals-apart", "POL-12", "Each on a terminal of their own.", ask(ALICE, BOB, trust="distinct-terminals", source=apart), level=1)
    no("one-terminal", "POL-12 INV-5", "Both at one terminal.", "terminals-not-distinct", policy_error, ask(ALICE, Voice(BOB, "t1"), trust="distinct-terminals", source=apart))


def _with_mallory() -> World:
    made = world()
    made.keys["mallory@example.com"] = SoftWebAuthn(seed=b"mallory")
    return made


def _rules(book: Book, no: Any, request: IntentRequest) -> None:
    honest = use_inputs(bundle_of(world(), request, ALICE, BOB))
    no("no-rule", "POL-03 POL-08 INV-8", "No rule for this action.", "no-matching-rule", "policy", honest | {"trust": "other-scope"})
    no("out-of-scope", "POL-04", "A rule outside its scope.", "no-matching-rule", "policy", honest | {"trust": "narrow-scope"})
    no("policy-changed", "POL-09 INV-6", "The rules have changed since.", "policy-stale", "policy", honest | {"trust": "other-policy"})
    named = IntentRequest(altered(request.payload, {"/predicate/policy/uri": "people.json", "/predicate/policy/digest/sha256": sha256_hex(world().files()["people.json"])}), ())
    no("policy-of-another-scope", "POL-09", "A file that holds no matching rule.", "policy-stale", "policy", use_inputs(bundle_of(world(), named, ALICE, BOB)))
    long = altered(request.payload, {"/predicate/request/expiresAt": format_time(NOW + ONE_HOUR + 1)})
    no("window", "POL-10 INV-4", "A second more than the rule grants.", "window-too-long", "policy", use_inputs(bundle_of(world(), IntentRequest(long, ()), ALICE, BOB)))
    both = world(policy=policy() + policy(threshold=3))
    asked = run_request(both)
    book.accept("verify-for-use", "two-rules", "POL-03", "Both rules are met.", use_inputs(bundle_of(both, asked, ALICE, BOB, CAROL), trust="two-rules"), level=1)
    no("two-rules-one-met", "POL-03", "Every matching rule applies.", "quorum-not-met", "policy", use_inputs(bundle_of(both, asked, ALICE, BOB), trust="two-rules"))
    _evidence(book, no)


def _evidence(book: Book, no: Any) -> None:
    source = world(policy=policy("deploy", more=SIGNATURE_RULE))
    proof = evidence(b"signature", "application/json")
    asked = source.request_deploy(evidence=[("signature", proof)])
    inputs = use_inputs(bundle_of(source, asked, ALICE, BOB), trust="signature")
    digests = sorted(expected_of(asked).subjects)
    fact = {"kind": "signature", "digest": proof.digest, "subjects": digests, "signer": {"kind": "key", "keyDigest": SIGNER_KEY}}
    book.accept("verify-for-use", "evidence", "POL-11 BND-04 BND-07", "The gate verified what the rule requires.", inputs | {"evidence": [fact]}, level=1)
    no("evidence-unverified", "POL-11 INV-8", "The gate verified nothing.", "evidence-not-verified", "indeterminate", inputs)
    no("evidence-other-subject", "POL-11", "Evidence about something else.", "evidence-subject", "policy", inputs | {"evidence": [fact | {"subjects": ["sha256:" + "0" * 64]}]})
    no("evidence-other-digest", "POL-11", "Evidence that the statement does not name.", "evidence-not-verified", "indeterminate", inputs | {"evidence": [fact | {"digest": "0" * 64}]})
    no("evidence-other-kind", "POL-11", "Evidence of another kind.", "evidence-not-verified", "indeterminate", inputs | {"evidence": [fact | {"kind": "layout"}]})
    bare = source.request_deploy()
    no("evidence-missing", "POL-11", "The statement names none.", "evidence-required", "policy", use_inputs(bundle_of(source, bare, ALICE, BOB), trust="signature"))
    smuggled = bundle_of(world(), run_request(world()), ALICE, BOB)._replace(evidence=(proof,))
    no("evidence-smuggled", "BND-07 INV-1", "Evidence that nobody signed.", "evidence-mismatch", "verification", use_inputs(smuggled))
    plain = world()
    typed = run_request(plain, evidence=[("note", evidence(b"x"))])
    changed = bundle_of(plain, typed, ALICE, BOB)._replace(evidence=(evidence(b"x", "text/html"),))
    no("evidence-other-type", "BND-07", "Evidence of another media type.", "evidence-mismatch", "verification", use_inputs(changed))


def _reports(book: Book, no: Any, request: IntentRequest) -> None:
    def ask(*voices: Voice | str, trust: str = "default", **more: Any) -> Any:
        return use_inputs(bundle_of(world(), request, *voices, **more), trust=trust)

    book.accept("verify-for-use", "without-reports", "RPT-05", "Level 1 needs no report.", ask(Voice(ALICE, report=None), Voice(BOB, report=None)), level=1)
    no("report-of-nothing", "RPT-05", "A report about a signature that is not here.", "report-orphan", "verification", ask(ALICE, Voice(BOB, report={"signature_digest": "0" * 64})))
    no("report-of-another-key", "RPT-05", "A report that names another key.", "report-orphan", "verification", ask(ALICE, Voice(BOB, report={"signature_keyid": "0" * 64})))
    twice = bundle_of(world(), request, ALICE, BOB)
    twice = twice._replace(reports=(*twice.reports, twice.reports[0]))
    no("report-twice", "RPT-05", "The same report twice.", "report-orphan", "verification", use_inputs(twice))
    for name, at in (("early", NOW - 1), ("late", NOW + ONE_HOUR), ("future", AT + 1)):
        no(f"decided-{name}", "RPT-06 INV-4", "A decision outside the window, or in the future.", "decided-outside-window", "policy", ask(ALICE, Voice(BOB, report={"decided_at": at})))
    book.accept("verify-for-use", "decided-now", "RPT-06", "Decided in this very second.", ask(ALICE, Voice(BOB, "t2", report={"decided_at": AT})), level=1)
    no("terminal-removed", "RPT-03 INV-6", "A terminal that is no longer enrolled.", "terminal-unknown", "policy", ask(ALICE, BOB, trust="without-t2"))
    for name, versions in (("invented", {"root": 1, "targets": 1, "snapshot": 1, "timestamp": 1, "x": 1}), ("dropped", {}), ("raised", {"root": 1, "targets": 1, "snapshot": 1, "timestamp": 2})):
        no(f"versions-{name}", "BND-06", "Versions that no report names.", "trust-newer" if name == "invented" else "report-invalid", "indeterminate" if name == "invented" else "verification", ask(ALICE, BOB, versions=versions))



def _excluded(book: Book) -> None:
    source = world(policy=policy(exclude="true"))
    bare = run_request(source)
    key = source.keys[CAROL]
    asked = attach_proof(bare, keyid=key.keyid, sshsig=key.sign(NAMESPACE_REQUEST, requester_message(bare)))
    two, own = bundle_of(source, asked, ALICE, BOB), bundle_of(source, asked, ALICE, CAROL)
    name = "exclude-requester"
    book.accept("verify-for-use", "requester-apart", "POL-06 REQ-01 INV-5", "Two others than the verified requester.", use_inputs(two, trust=name), requester=CAROL)
    book.refuse("verify-for-use", "requester-own", "POL-06 INV-5", "The verified requester is one of the two (attack A11).", use_inputs(own, trust=name), "quorum-not-met", category="policy")
    anonymous = bundle_of(source, bare, ALICE, BOB)
    book.refuse("verify-for-use", "requester-unverified", "POL-07 INV-5", "The requester could be one of the two.", use_inputs(anonymous, trust=name), "quorum-not-met", category="policy")
    three = bundle_of(source, bare, ALICE, BOB, CAROL)
    book.accept("verify-for-use", "requester-unverified-three", "POL-07", "One person more.", use_inputs(three, trust=name), requester=None)
    broken = two._replace(evidence=())
    inputs = use_inputs(two, trust=name) | {"bundle": b64(encode_bundle(broken))}
    book.refuse("verify-for-use", "requester-proof-dropped", "REQ-02", "The courier dropped the proof.", inputs, "request-proof-invalid", category="verification")

"""What is fuzzed, the good input it starts from, and the property that must hold.

On every input a parser either accepts, and then encoding gives the same bytes again, or raises a
`PlacetError`.  A bundle with exactly the quorum is accepted with every signed part unchanged, or not at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from placet.ceremony.request import attach_proof, requester_message
from placet.core.actions import parse_action
from placet.core.admission import admit
from placet.core.bundle import (
    encode_answer,
    encode_bundle,
    encode_request,
    parse_answer,
    parse_bundle,
    parse_request,
)
from placet.core.display import render_view
from placet.core.dsse import PAYLOAD_TYPE, encode_envelope, pae, parse_envelope
from placet.core.encoding import (
    b64decode_strict,
    b64encode,
    encode_canonical,
    format_time,
    parse_canonical_json,
    parse_json,
    parse_time,
    sha256_hex,
)
from placet.core.evidence.requester import verify_requester
from placet.core.patterns import matches
from placet.core.policy import parse_policy, rule_from_object, rule_to_object
from placet.core.report import encode_report, parse_report
from placet.core.signature import verify_sshsig
from placet.core.sshsig import (
    NAMESPACE_INTENT,
    NAMESPACE_REQUEST,
    dearmor,
    encode_sshsig,
    parse_public_key,
    parse_sshsig,
    signed_data,
)
from placet.core.sshsig import armor as armor_sshsig
from placet.core.statement import check_action, parse_statement
from placet.core.tlog.checkpoint import encode_checkpoint, parse_checkpoint
from placet.core.tlog.leaf import decision_leaf, encode_leaf, parse_leaf
from placet.core.tlog.log_policy import encode_log_policy, parse_log_policy
from placet.core.tlog.merkle import hash_leaf
from placet.core.tlog.note import encode_note, parse_note, parse_signer_key, parse_verifier_key
from placet.core.tlog.note import encode_signer_key as encode_note_key
from placet.core.tlog.proof import encode_proof, parse_proof, verify_proof
from placet.core.tlog.records import encode_trust_record, leaf_of_record
from placet.core.tlog.tiles import encode_entries, parse_entries, parse_tile_path
from placet.core.trust import compile_trust, parse_trust
from placet.core.verify import verify_for_audit, verify_for_use
from placet.core.webauthn import check_client_data
from placet.documents.opentimestamps import parse_proof as parse_ots
from placet.testing.authenticator import SoftSk, encode_client_data
from placet.testing.small_log import SmallLog
from placet.testing.world import ALICE, BOB, CAROL, GATE, NOW, World, artifact, expected_of

MAX_BYTES = 1 << 20
SEED = b"fuzz"

_WORLD = World(seed=SEED)
_TRUST = _WORLD.trust()
_PLAIN = _WORLD.request_run(
    argv=["/usr/bin/true", "é", "a b"], executable=b"x", inputs=[artifact("in/a", b"a")], reason="why"
)
_CAROL = _WORLD.keys[CAROL]
_REQUEST = attach_proof(
    _PLAIN, keyid=_CAROL.keyid, sshsig=_CAROL.sign(NAMESPACE_REQUEST, requester_message(_PLAIN))
)
_EXPECTED = expected_of(_REQUEST)
_BUNDLE = _WORLD.bundle(_REQUEST, ALICE, BOB)
_PARSED = parse_bundle(_BUNDLE)
_MESSAGE = pae(PAYLOAD_TYPE, _REQUEST.payload)
_KEY = _TRUST.credentials[_PARSED.envelope.signatures[0].keyid][1].public_key
_SK = SoftSk("ed25519", seed=SEED)
_CHALLENGE = signed_data(NAMESPACE_INTENT, _MESSAGE)
_ORIGIN = _WORLD.origin("t1")

# A file's digest; one branch is pending at a calendar, the other is in a block.
_OTS_START = (
    b"\x00OpenTimestamps\x00\x00Proof\x00" + bytes.fromhex("bf89e2e884e8929401") + b"\x08" + bytes(32)
)
_OTS_PENDING = bytes.fromhex("f004aabbccdd080083dfe30d2ef90c8e0e0d") + b"https://a.org"
_OTS_BLOCK = bytes.fromhex("f1010102030800 0588960d73d7190103f7ef15")
_OTS_PROOFS = (_OTS_START + _OTS_PENDING, _OTS_START + b"\xff" + _OTS_PENDING + b"\x08" + _OTS_BLOCK)


class Target(NamedTuple):
    """A function that must keep its property on every input, and its seeds."""

    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]


def _same(again: bytes, data: bytes) -> None:
    if again != data:
        raise AssertionError("what was accepted is encoded differently")


def _accepts(value: object) -> None:
    """Takes whatever a parser accepted: the property is that nothing but a `PlacetError` escapes."""


def _json(data: bytes) -> None:
    value = parse_json(data, max_bytes=MAX_BYTES, what="input")
    try:
        form = encode_canonical(value)
    except UnicodeEncodeError:
        return  # lone surrogates are refused by whoever needs the canonical form
    _same(encode_canonical(parse_canonical_json(form, max_bytes=MAX_BYTES, what="input")), form)


def _statement(data: bytes) -> None:
    statement = parse_statement(data)
    _same(encode_canonical(statement.value), data)
    definition = _TRUST.actions.get(statement.action_type)
    if definition is not None:
        check_action(statement, definition)
        view = render_view(statement, definition)
        if not all(row.value.isascii() and row.value.isprintable() for row in view.rows):
            raise AssertionError("something is shown as it is not")


def _verify(data: bytes) -> None:
    verify_for_use(data, trust=_TRUST, gate=GATE, expected=_EXPECTED, now=NOW + 120)
    found = parse_bundle(data)
    # Order is free, and level 1 needs no report; anything else must be as it was signed.
    if not (
        found.envelope.payload == _PARSED.envelope.payload
        and set(found.envelope.signatures) >= set(_PARSED.envelope.signatures)
        and set(found.reports) <= set(_PARSED.reports)
        and set(found.evidence) == set(_PARSED.evidence)
    ):
        raise AssertionError("a changed bundle is accepted")


def _requester(data: bytes) -> None:
    request = parse_request(data)
    verify_requester(parse_statement(request.payload), request.evidence, trust=_TRUST, at=NOW)


def _sshsig(data: bytes) -> None:
    _same(encode_sshsig(parse_sshsig(data)), data)
    verify_sshsig(
        data, message=_MESSAGE, namespace=NAMESPACE_INTENT, key=_KEY, kind="webauthn", origins=[_ORIGIN]
    )
    if data not in _SSHSIGS:
        raise AssertionError("a changed signature verifies")


def _policy(data: bytes) -> None:
    for rule in parse_policy(data, scope="default", file="policy/default.toml"):
        if rule.evidence == ():
            form = rule_to_object(rule)
            if rule_from_object(form, "") != rule:
                raise AssertionError("a compiled rule reads differently")


def _trust(data: bytes) -> None:
    trust = parse_trust(data)
    _same(encode_canonical(parse_canonical_json(data, max_bytes=MAX_BYTES, what="input")), data)
    for rule in trust.rules:
        matches(rule.target, "k8s://prod-eu/ns/shop/deploy/app")


def _compile(name: str) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        compile_trust(files=_WORLD.files() | {name: data}, versions={"root": 1}, expires_at=NOW)

    return run


def _log_policy(data: bytes) -> None:
    policy = parse_log_policy(data)
    if parse_log_policy(encode_log_policy(policy)) != policy:
        raise AssertionError("a policy that was written out reads differently")
    times = {witness.name: i for i, witness in enumerate(policy.witnesses)}
    if policy.quorum in times and policy.seen_by(times) != policy.not_before(times):
        raise AssertionError("one witness vouches for two times")


def _log_proof(data: bytes) -> None:
    proof = parse_proof(data)
    _same(encode_proof(proof).encode(), data)
    found = verify_proof(proof, hash_leaf(_LEAF), _LOG_POLICY)
    # Cosignatures may be lost on the way, and strangers' added; nothing that is proven may differ.
    if (found.leaf_index, found.tree_size, proof.hashes) != (_LEAF_INDEX, 6, _LOG_PROOF.hashes):
        raise AssertionError("a changed proof holds")
    if not found.witness_times.items() <= {"w1": 100, "w2": 200}.items():
        raise AssertionError("a witness vouches for a time that it did not sign")


def _record(data: bytes) -> None:
    leaf = leaf_of_record(data)
    if parse_leaf(encode_leaf(leaf)) != leaf:
        raise AssertionError("a leaf that was written out reads differently")


def _time(data: bytes) -> None:
    text = data.decode("latin-1")
    _same(format_time(parse_time(text)).encode(), data)


def _base64(data: bytes) -> None:
    _same(b64encode(b64decode_strict(data.decode("latin-1"))).encode("latin-1"), data)


_SSHSIGS = tuple(s.sig for s in _PARSED.envelope.signatures)
_FILES = _WORLD.files()
_LEAF = encode_leaf(
    decision_leaf(
        "approved", sha256_hex(_REQUEST.payload), _PARSED.envelope.signatures[0], _PARSED.reports[0]
    )
)
_LOG = SmallLog(seed=SEED)
_LOG_POLICY = parse_log_policy(_LOG.policy())
_LEAF_INDEX = _LOG.append(_LEAF)
_LOG_PROOF = parse_proof(_LOG.proof(_LEAF_INDEX, times={"w1": 100, "w2": 200}))
_METADATA = b'{"signatures":[{"keyid":"%s","sig":"00"}],"signed":{}}' % (b"ab" * 32)
TARGETS: dict[str, Target] = {
    "json": Target(_json, (_BUNDLE, _REQUEST.payload, b'{"a":[1,true,null,"x\\u00e9"]}')),
    "admit": Target(lambda d: _same(encode_canonical(admit(d)), d), (_REQUEST.payload,)),
    "statement": Target(_statement, (_REQUEST.payload, _WORLD.request_deploy().payload)),
    "request": Target(lambda d: _same(encode_request(parse_request(d)), d), (encode_request(_REQUEST),)),
    "requester": Target(_requester, (encode_request(_REQUEST),)),
    "answer": Target(
        lambda d: _same(encode_answer(parse_answer(d)), d),
        (encode_answer(_WORLD.approve(_REQUEST, ALICE)),),
    ),
    "bundle": Target(lambda d: _same(encode_bundle(parse_bundle(d)), d), (_BUNDLE,)),
    "envelope": Target(
        lambda d: _same(
            encode_envelope(parse_envelope(parse_canonical_json(d, max_bytes=MAX_BYTES, what="x"))), d
        ),
        (encode_envelope(_PARSED.envelope),),
    ),
    "report": Target(
        lambda d: _same(encode_report(parse_report(d)), d), tuple(r.payload for r in _PARSED.reports)
    ),
    "sshsig": Target(_sshsig, (*_SSHSIGS, _SK.sign(NAMESPACE_INTENT, _MESSAGE))),
    "armor": Target(lambda d: _accepts(dearmor(d.decode("latin-1"))), (armor_sshsig(_SSHSIGS[0]).encode(),)),
    "public-key": Target(lambda d: _same(parse_public_key(d).wire, d), (_KEY.wire, _SK.wire)),
    "client-data": Target(
        lambda d: check_client_data(d, challenge=_CHALLENGE, web_origin=_ORIGIN),
        (encode_client_data(_CHALLENGE, _ORIGIN),),
    ),
    "action": Target(
        lambda d: _accepts(parse_action(d, file="actions/x/v1.json")),
        tuple(data for name, data in _FILES.items() if name.startswith("actions/")),
    ),
    "policy": Target(_policy, (_WORLD.policy.encode(),)),
    "snapshot": Target(_trust, (_WORLD.snapshot(),)),
    "verify": Target(_verify, (_BUNDLE,)),
    "audit": Target(lambda d: _accepts(verify_for_audit(d, trust=_TRUST, logged_at=NOW + 60)), (_BUNDLE,)),
    "log note": Target(lambda d: _same(encode_note(parse_note(d)), d), (_LOG_PROOF.checkpoint,)),
    "log key": Target(
        lambda d: _same(str(parse_verifier_key(d.decode("latin-1"))).encode("latin-1"), d),
        (str(_LOG.signer.verifier_key).encode(),),
    ),
    "log private key": Target(
        lambda d: _accepts(parse_signer_key(d.decode("latin-1"))), (encode_note_key(_LOG.signer).encode(),)
    ),
    "log checkpoint": Target(
        lambda d: _same(encode_checkpoint(parse_checkpoint(d)), d), (parse_note(_LOG_PROOF.checkpoint).text,)
    ),
    "log policy": Target(_log_policy, (_LOG.policy(),)),
    "log proof": Target(_log_proof, (encode_proof(_LOG_PROOF).encode(),)),
    "log leaf": Target(lambda d: _same(encode_leaf(parse_leaf(d)), d), (_LEAF,)),
    "log record": Target(
        _record, (encode_answer(_WORLD.approve(_REQUEST, ALICE)), encode_trust_record(_METADATA))
    ),
    "log tile path": Target(
        lambda d: _same(str(parse_tile_path(d.decode("latin-1"))).encode("latin-1"), d),
        (b"tile/0/x001/x234/067", b"tile/entries/000.p/8"),
    ),
    "log entries": Target(
        lambda d: _same(encode_entries(parse_entries(d)), d), (encode_entries([b"", _LEAF]),)
    ),
    "opentimestamps": Target(lambda d: _accepts(parse_ots(d)), _OTS_PROOFS),
    "time": Target(_time, (b"2026-11-23T10:00:00Z", b"1970-01-01T00:00:00Z", b"2028-02-29T23:59:59Z")),
    "base64": Target(_base64, (b"aGVsbG8=", b"aGVsbG8h", b"YQ==", b"")),
    **{f"compile {name}": Target(_compile(name), (data,)) for name, data in _FILES.items()},
}

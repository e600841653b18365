"""Uses in the log: who can have made a record, what it names, and when a gate may act."""

# ruff: noqa: E501 -- one vector a line reads as the table it is
# fmt: off
from __future__ import annotations

from typing import Any

from placet.core.bundle import parse_bundle
from placet.core.dsse import PAYLOAD_TYPE, Envelope, Signature
from placet.core.encoding import Digest, KeyId, b64decode_strict, format_time, sha256_hex
from placet.core.tlog.leaf import decision_leaf, leaf_hash
from placet.core.tlog.note import encode_signer_key
from placet.core.tlog.records import Use, encode_use_record, use_message
from placet.core.tlog.uses import make_use_record
from placet.core.verdict.keys import GatePublicKey
from placet.testing.small_log import SmallLog
from placet.testing.world import ALICE, BOB, NOW
from vector_sources.book import SEED, Book, Voice, altered, b64, bundle_of, run_request, use_inputs
from vector_sources.verdicts import Key
from vector_sources.worlds import GATE_KEY, LOG_URL, VERDICT_KEY, uses_world

_LEAF = Digest("1" * 64)
_USE = Use(Digest("a" * 64), (_LEAF,), "prod-eu", bytes(range(16)), "action", NOW + 60)


def record_by(number: int, use: Use = _USE) -> bytes:
    """Returns a record signed by the key of that number."""
    key = Key(number)
    return make_use_record(use, GatePublicKey(key.der), key.sign)


def add_logged_uses(book: Book) -> None:
    """Adds them all."""
    _records(book)
    _leaves(book)
    _gates(book)


def _records(book: Book) -> None:
    def no(name: str, ids: str, description: str, record: bytes, reason: str, category: str) -> None:
        book.refuse("use-record", name, ids, description, {"trust": "uses-logged", "record": b64(record)}, reason, category=category)

    genuine = record_by(GATE_KEY)
    book.accept("use-record", "genuine", "USE-13 USE-14 PPL-07", "By the gate that it names.", {"trust": "uses-logged", "record": b64(genuine)}, gate="prod-eu", unit="action", usedAt=format_time(NOW + 60), approvals=[_LEAF])
    no("another-gates-key", "USE-13", "A gate speaks of another's uses (attack A14).", record_by(GATE_KEY + 1), "unknown-key", "verification")
    no("verdict-key", "USE-13 PPL-07", "The gate's key for verdicts.", record_by(VERDICT_KEY), "unknown-key", "verification")
    no("unknown-gate", "USE-13", "A gate that the trust root does not know.", record_by(GATE_KEY, _USE._replace(gate="prod-asia")), "unknown-gate", "policy")
    no("other-approvals", "USE-14", "Another approval put in its place.", _reworded(genuine, approvals=("2" * 64,)), "signature-invalid", "verification")
    no("short-id", "USE-14", "An ID that two uses could share.", _reworded(genuine, id=b64(bytes(15))), "bad-value", "malformed")


def _reworded(record: bytes, **changes: Any) -> bytes:
    """Returns a record whose statement was changed after it was signed."""
    payload, _ = use_message(_USE)
    said = altered(payload, {f"/predicate/{name}": list(value) if isinstance(value, tuple) else value for name, value in changes.items()})
    key = Key(GATE_KEY)
    _, message = use_message(_USE)
    signature = Signature(KeyId(GatePublicKey(key.der).digest), key.sign(message))
    return encode_use_record(Envelope(said, PAYLOAD_TYPE, (signature,)))


def _leaves(book: Book) -> None:
    source = uses_world("logged")
    bundle = bundle_of(source, run_request(source), ALICE, Voice(BOB, "t2", report=None))
    inputs = use_inputs(bundle)
    parsed = parse_bundle(b64decode_strict(inputs["bundle"]))
    first, _ = parsed.envelope.signatures
    digest = sha256_hex(parsed.envelope.payload)
    named = leaf_hash(decision_leaf("approved", digest, first, parsed.reports[0])).hex()
    book.accept("use-leaves", "reported", "USE-14", "Decisions that count are named; one that no terminal reports has no leaf.", {"bundle": inputs["bundle"], "keyids": [source.keys[ALICE].keyid, source.keys[BOB].keyid]}, approvals=[named])
    book.accept("use-leaves", "counted", "USE-14", "A decision that did not count is not named.", {"bundle": inputs["bundle"], "keyids": [source.keys[BOB].keyid]}, approvals=[])


def _gates(book: Book) -> None:
    """A gate acts, or does not, with a log that fails at a step."""
    log_key = encode_signer_key(SmallLog(seed=SEED, url=LOG_URL, quorum=0).signer)

    def inputs(rules: str, fails: str, left: dict[str, Any], key: int = GATE_KEY) -> dict[str, Any]:
        source = uses_world(rules)
        asked = use_inputs(bundle_of(source, run_request(source), ALICE, BOB), trust=f"uses-{rules}")
        return asked | {"useKey": str(key), "log": {"key": log_key, "fails": fails}, "left": left}

    def ok(name: str, ids: str, description: str, rules: str, fails: str, **left: Any) -> None:
        book.accept("logged-use", name, ids, description, inputs(rules, fails, left), acted=True)

    def no(name: str, ids: str, description: str, rules: str, fails: str, **left: Any) -> None:
        book.refuse("logged-use", name, ids, description, inputs(rules, fails, left), "log-unavailable", category="indeterminate")

    held = {"consumed": 1, "unlogged": 0, "leaves": 1}
    waiting = {"consumed": 1, "unlogged": 1, "notExecuted": True}
    ok("logged", "USE-11 USE-12", "The log holds the use, then the gate acts.", "logged", "", **held)
    no("down-before", "USE-12", "The log is down: nothing is used.", "logged", "checkpoint", consumed=0, unlogged=0, leaves=0)
    no("an-impostor", "USE-12", "What answers at the log's address does not sign as the log (attack A14).", "logged", "checkpoint-key", consumed=0, unlogged=0, leaves=0)
    no("down-after", "USE-11 USE-12", "The log dies after the use was consumed.", "logged", "append", leaves=0, **waiting)
    no("unanswered", "USE-11 USE-12", "The log holds the leaf and dies before it says so.", "logged", "appended", leaves=1, **waiting)
    no("unproven", "USE-12", "The log says that it holds the leaf, and proves nothing.", "logged", "proof", leaves=1, **waiting)
    no("proven-by-another", "USE-12", "Another log's key on the proof (attack A14).", "logged", "proof-key", leaves=1, **waiting)
    ok("queued", "USE-12", "The log is up, and the rule does not need it before the act.", "queued", "", **held)
    ok("queued-down", "USE-11 USE-12", "The log is down: the gate acts, and the record waits.", "queued", "checkpoint", consumed=1, unlogged=1, leaves=0)
    no("strictest", "USE-12", "One of two rules wants uses logged.", "both", "checkpoint", consumed=0, unlogged=0, leaves=0)
    nothing = {"consumed": 0, "unlogged": 0, "leaves": 0}
    book.refuse("logged-use", "key-not-named", "USE-11", "A use key that the trust root does not name.", inputs("logged", "", nothing, key=GATE_KEY + 5), "trust-unavailable", category="indeterminate")

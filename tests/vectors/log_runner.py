"""Runs the vectors of the log: trees, notes, checkpoints, proofs, policies, leaves and records."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from placet.core.tlog.checkpoint import encode_checkpoint, parse_checkpoint, verify_checkpoint
from placet.core.tlog.cosignature import verify_cosignature
from placet.core.tlog.leaf import encode_leaf, leaf_hash, parse_leaf
from placet.core.tlog.log_policy import check_quorum, encode_log_policy, parse_log_policy
from placet.core.tlog.merkle import CompactRange, extend, hash_leaf, verify_consistency, verify_inclusion
from placet.core.tlog.note import encode_note, parse_note, parse_verifier_key, verify_note
from placet.core.tlog.proof import encode_proof, parse_proof, verify_proof
from placet.core.tlog.records import leaf_of_record, parse_use_record, verify_use
from placet.core.tlog.tiles import encode_entries, parse_entries, parse_tile, parse_tile_path
from placet.core.verdict.keys import parse_gate_key

Facts = dict[str, Any]


def _b64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _all(texts: list[str]) -> list[bytes]:
    return [_b64(text) for text in texts]


def root(inputs: Any, now: int) -> Facts:
    """Grows a tree by batches of entries."""
    compact = CompactRange()
    for batch in inputs["batches"]:
        compact, _ = extend(compact, [hash_leaf(entry) for entry in _all(batch)])
    return {"treeSize": str(compact.size), "rootHash": compact.root().hex()}


def inclusion(inputs: Any, now: int) -> Facts:
    """Verifies an inclusion proof of an entry."""
    verify_inclusion(
        hash_leaf(_b64(inputs["entry"])),
        int(inputs["leafIndex"]),
        int(inputs["treeSize"]),
        _all(inputs["hashes"]),
        bytes.fromhex(inputs["rootHash"]),
    )
    return {}


def consistency(inputs: Any, now: int) -> Facts:
    """Verifies a consistency proof."""
    verify_consistency(
        int(inputs["oldSize"]),
        bytes.fromhex(inputs["oldRoot"]),
        int(inputs["newSize"]),
        bytes.fromhex(inputs["newRoot"]),
        _all(inputs["hashes"]),
    )
    return {}


def key(inputs: Any, now: int) -> Facts:
    """Parses a public key."""
    parsed = parse_verifier_key(inputs["key"])
    assert str(parsed) == inputs["key"]
    return {"keyName": parsed.name, "algorithm": parsed.algorithm, "keyId": parsed.key_id.hex()}


def note(inputs: Any, now: int) -> Facts:
    """Parses a note, and verifies the signature by a key where one is given."""
    data = _b64(inputs["note"])
    parsed = parse_note(data)
    assert encode_note(parsed) == data
    if "key" in inputs:
        verify_note(parsed, parse_verifier_key(inputs["key"]))
    return {"text": parsed.text.decode(), "signers": [signature.name for signature in parsed.signatures]}


def checkpoint(inputs: Any, now: int) -> Facts:
    """Parses the text of a checkpoint, or verifies its note."""
    if "text" in inputs:
        text = _b64(inputs["text"])
        found = parse_checkpoint(text)
        assert encode_checkpoint(found) == text
    else:
        found = verify_checkpoint(_b64(inputs["note"]), parse_verifier_key(inputs["key"]))
    return {
        "origin": found.log_origin,
        "treeSize": str(found.tree_size),
        "rootHash": found.root_hash.hex(),
        "extensions": list(found.extensions),
    }


def cosignature(inputs: Any, now: int) -> Facts:
    """Verifies a cosignature."""
    time = verify_cosignature(parse_note(_b64(inputs["note"])), parse_verifier_key(inputs["key"]))
    return {"time": str(time)}


def tile_path(inputs: Any, now: int) -> Facts:
    """Parses the path of a tile."""
    found = parse_tile_path(inputs["path"])
    assert str(found) == inputs["path"]
    return {"level": found.level, "tileIndex": str(found.tile_index), "width": found.width}


def tile(inputs: Any, now: int) -> Facts:
    """Parses a tile of hashes, or a bundle of entries."""
    if "tile" in inputs:
        return {"hashes": len(parse_tile(_b64(inputs["tile"]), inputs["width"]))}
    data = _b64(inputs["entries"])
    entries = parse_entries(data)
    assert encode_entries(entries) == data
    return {"entries": len(entries)}


def proof(inputs: Any, now: int) -> Facts:
    """Verifies a proof of a leaf under a policy, and its quorum where that is asked for."""
    policy = parse_log_policy(_b64(inputs["policy"]))
    parsed = parse_proof(inputs["proof"])
    assert encode_proof(parsed) == inputs["proof"]
    found = verify_proof(parsed, bytes.fromhex(inputs["leafHash"]), policy)
    if inputs.get("quorum"):
        check_quorum(policy, found.witness_times)
    return {
        "origin": found.log_origin,
        "leafIndex": str(found.leaf_index),
        "treeSize": str(found.tree_size),
        "witnessTimes": {name: str(time) for name, time in found.witness_times.items()},
    }


def policy(inputs: Any, now: int) -> Facts:
    """Parses a policy, and asks it about witnesses and their times."""
    parsed = parse_log_policy(_b64(inputs["policy"]))
    plain = encode_log_policy(parsed)
    assert encode_log_policy(parse_log_policy(plain)) == plain
    times = {name: int(time) for name, time in inputs.get("times", {}).items()}
    if inputs.get("quorum"):
        check_quorum(parsed, times)
    return {
        "plain": plain.decode(),
        "isQuorum": parsed.is_quorum(times),
        "seenBy": _text(parsed.seen_by(times)),
        "notBefore": _text(parsed.not_before(times)),
    }


def _text(time: int | None) -> str | None:
    return None if time is None else str(time)


def leaf(inputs: Any, now: int) -> Facts:
    """Parses a leaf."""
    data = _b64(inputs["leaf"])
    parsed = parse_leaf(data)
    assert encode_leaf(parsed) == data
    return {"leafHash": leaf_hash(parsed).hex()}


def record(inputs: Any, now: int) -> Facts:
    """Returns the leaf of a record."""
    return {"leaf": encode_leaf(leaf_of_record(_b64(inputs["record"]))).decode()}


def use(inputs: Any, now: int) -> Facts:
    """Verifies a use record by a gate's keys."""
    keys = [parse_gate_key(der) for der in _all(inputs["keys"])]
    found = verify_use(parse_use_record(_b64(inputs["record"])), keys)
    return {"gate": found.gate, "unit": found.unit, "approvals": list(found.approvals)}


KINDS: dict[str, Callable[[Any, int], Facts]] = {
    "log-root": root,
    "log-inclusion": inclusion,
    "log-consistency": consistency,
    "log-key": key,
    "log-note": note,
    "log-checkpoint": checkpoint,
    "log-cosignature": cosignature,
    "log-tile-path": tile_path,
    "log-tile": tile,
    "log-proof": proof,
    "log-policy": policy,
    "log-leaf": leaf,
    "log-record": record,
    "log-use": use,
}

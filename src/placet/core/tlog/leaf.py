"""What stands in our log: one leaf for each decision, use and trust change (LOG-14, LOG-15).

Canonical JSON of digests, key IDs and a kind: no name, no content.  The nonce in the payload keeps anybody
from guessing the statement behind its digest.  Key IDs are pseudonyms that can be linked.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from placet.core.decode import (
    Object,
    read_choice,
    read_hex_digest,
    read_key_id,
    read_list,
    read_map,
    read_object,
    read_sha256,
)
from placet.core.dsse import MAX_SIGNATURES, Envelope, Signature, envelope_digest
from placet.core.encoding import Digest, KeyId, encode_canonical, parse_canonical_json, sha256_hex
from placet.core.errors import MalformedError, Reason
from placet.core.tlog.merkle import hash_leaf

APPROVED, DENIED, USED, TRUST = "approved", "denied", "used", "trust"
# Key IDs of more administrators than one file has signatures of.
MAX_LEAF_BYTES = 16 * 1024
MAX_KEYIDS = 128

_DECISION = frozenset({"keyid", "kind", "payload", "report", "signature"})
_USE = frozenset({"approvals", "keyid", "kind", "payload", "record", "signature"})
_TRUST = frozenset({"keyids", "kind", "payload"})


class DecisionLeaf(NamedTuple):
    """One person approved or denied a statement.  `kind` is ``approved`` or ``denied``."""

    kind: str
    keyid: KeyId
    payload_digest: Digest
    signature_digest: Digest
    report_digest: Digest


class UseLeaf(NamedTuple):
    """A gate used approvals, which it names by their leaf hashes, sorted."""

    approvals: tuple[Digest, ...]
    keyid: KeyId
    payload_digest: Digest
    record_digest: Digest
    signature_digest: Digest


class TrustLeaf(NamedTuple):
    """Administrators, by their key IDs, sorted, signed a version of a file of the trust root."""

    keyids: tuple[KeyId, ...]
    payload_digest: Digest


Leaf = DecisionLeaf | UseLeaf | TrustLeaf


def decision_leaf(kind: str, payload_digest: Digest, signature: Signature, report: Envelope) -> DecisionLeaf:
    """Returns the leaf of one signature and the terminal's report on it.

    Args:
        kind: ``approved`` or ``denied``.
    """
    return DecisionLeaf(
        kind, signature.keyid, payload_digest, sha256_hex(signature.sig), envelope_digest(report)
    )


def encode_leaf(leaf: Leaf) -> bytes:
    """Encodes a leaf as canonical JSON: the log's entry."""
    match leaf:
        case DecisionLeaf(kind, keyid, payload, signature, report):
            value: Object = {
                "keyid": keyid,
                "kind": kind,
                "report": _digest(report),
                "signature": _digest(signature),
            }
        case UseLeaf(approvals, keyid, payload, record, signature):
            value = {
                "approvals": list(approvals),
                "keyid": keyid,
                "kind": USED,
                "record": _digest(record),
                "signature": _digest(signature),
            }
        case TrustLeaf(keyids, payload):
            value = {"keyids": list(keyids), "kind": TRUST}
    return encode_canonical(value | {"payload": _digest(payload)})


def _digest(digest: Digest) -> Object:
    return {"sha256": digest}


def leaf_hash(leaf: Leaf) -> bytes:
    """Returns the hash of a leaf in the tree."""
    return hash_leaf(encode_leaf(leaf))


def parse_leaf(data: bytes) -> Leaf:
    """Parses a leaf.

    Raises:
        MalformedError: wrong shape, size or spelling.
    """
    value = read_map(parse_canonical_json(data, max_bytes=MAX_LEAF_BYTES, what="leaf"), "", max_items=8)
    kind = read_choice(value.get("kind"), "/kind", (APPROVED, DENIED, USED, TRUST))  # LOG-14
    if kind == TRUST:
        read_object(value, "", _TRUST)
        keyids = read_sorted_digests(value["keyids"], "/keyids", max_items=MAX_KEYIDS, min_items=1)
        return TrustLeaf(tuple(map(KeyId, keyids)), read_sha256(value["payload"], "/payload"))
    read_object(value, "", _USE if kind == USED else _DECISION)
    keyid = read_key_id(value["keyid"], "/keyid")
    payload = read_sha256(value["payload"], "/payload")
    signature = read_sha256(value["signature"], "/signature")
    if kind == USED:
        approvals = read_sorted_digests(value["approvals"], "/approvals", max_items=MAX_SIGNATURES)
        return UseLeaf(approvals, keyid, payload, read_sha256(value["record"], "/record"), signature)
    return DecisionLeaf(kind, keyid, payload, signature, read_sha256(value["report"], "/report"))


def read_sorted_digests(value: Any, path: str, *, max_items: int, min_items: int = 0) -> tuple[Digest, ...]:
    """Reads digests that stand in order, each once.

    Raises:
        MalformedError: WRONG_TYPE, TOO_MANY, BAD_VALUE, BAD_DIGEST, NOT_CANONICAL.
    """
    items = read_list(value, path, max_items=max_items, min_items=min_items)
    digests = tuple(read_hex_digest(item, f"{path}/{i}") for i, item in enumerate(items))
    if list(digests) != sorted(set(digests)):  # LOG-15
        raise MalformedError(Reason.NOT_CANONICAL, "Digests stand in order, each once.", path=path)
    return digests

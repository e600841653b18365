"""What a leaf is made from: decisions, uses and trust changes (LOG-16, LOG-17, LOG-18).

A record is what is handed to a log, which keeps it for those who may see it.  Its leaf is a function of the
record's bytes alone, so whoever has the record can hold the log against it.

Leaves out: whether a record's signatures hold, except for uses; logs and monitors ask that with a trust root.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from placet.core.admission import admit
from placet.core.bundle import ANSWER_MEDIA_TYPE, parse_answer
from placet.core.decode import (
    Object,
    read_ascii,
    read_choice,
    read_digest_set,
    read_key_id,
    read_list,
    read_map,
    read_object,
    read_sha256,
    read_string,
    read_time,
)
from placet.core.dsse import MAX_SIGNATURES, PAYLOAD_TYPE, Envelope, envelope_to_object, pae, parse_envelope
from placet.core.encoding import (
    Digest,
    KeyId,
    b64decode_strict,
    b64encode,
    encode_canonical,
    format_time,
    parse_canonical_json,
    parse_json,
    sha256_hex,
)
from placet.core.errors import MalformedError, Reason, VerificationError
from placet.core.sshsig import parse_sshsig
from placet.core.statement import STATEMENT_TYPE, parse_statement
from placet.core.tlog.leaf import (
    APPROVED,
    DENIED,
    MAX_KEYIDS,
    Leaf,
    TrustLeaf,
    UseLeaf,
    decision_leaf,
    read_sorted_digests,
)
from placet.core.verdict.keys import GatePublicKey

USE_MEDIA_TYPE = "application/vnd.placet.use.v1+json"
TRUST_MEDIA_TYPE = "application/vnd.placet.trust-change.v1+json"
USE_PREDICATE_TYPE = "https://placet.dev/use/v1"
ACTION_UNIT = "action"

# A root or targets file with the signatures and delegations of a large deployment.
MAX_METADATA_BYTES = 1024 * 1024
_MAX_METADATA_TEXT = (MAX_METADATA_BYTES + 2) // 3 * 4  # in base64
MAX_RECORD_BYTES = 2 * MAX_METADATA_BYTES
USE_ID_BYTES = 16

# SEC 2, 2.4.2.
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

_STATEMENT = frozenset({"_type", "subject", "predicateType", "predicate"})
_SUBJECT = frozenset({"name", "digest"})
_PREDICATE = frozenset({"approvals", "gate", "id", "unit", "usedAt"})


class Use(NamedTuple):
    """What a gate says when it uses an approval.

    Args:
        payload_digest: SHA-256 of the intent's payload.
        approvals: hexadecimal leaf hashes of the approvals that count, sorted.
        gate: the gate's ID.
        id: 16 random bytes; the same use handed in twice is one leaf.
        unit: ``action``, or the digest that was used of an approval whose artifacts are each a use.
        used_at: Unix seconds.
    """

    payload_digest: Digest
    approvals: tuple[Digest, ...]
    gate: str
    id: bytes
    unit: str
    used_at: int


class UseRecord(NamedTuple):
    """A parsed use record: the envelope and what it says."""

    envelope: Envelope
    use: Use


def use_message(use: Use) -> tuple[bytes, bytes]:
    """Returns the payload of a use's statement, and what the gate signs of it."""
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": "intent", "digest": {"sha256": use.payload_digest}}],
        "predicateType": USE_PREDICATE_TYPE,
        "predicate": {
            "approvals": list(use.approvals),
            "gate": use.gate,
            "id": b64encode(use.id),
            "unit": use.unit,
            "usedAt": format_time(use.used_at),
        },
    }
    payload = encode_canonical(statement)
    return payload, pae(PAYLOAD_TYPE, payload)


def encode_use_record(envelope: Envelope) -> bytes:
    """Encodes a use record around the DSSE envelope that the gate signed."""
    return encode_canonical({"mediaType": USE_MEDIA_TYPE, "envelope": envelope_to_object(envelope)})


def parse_use_record(record: bytes) -> UseRecord:
    """Parses a use record; `verify_use` verifies it.

    Raises:
        MalformedError: wrong shape, size or spelling, or not exactly one signature.
    """
    return _read_use(_read_record(record, USE_MEDIA_TYPE))


def verify_use(record: UseRecord, keys: Collection[GatePublicKey]) -> Use:
    """Verifies that one of a gate's use keys signed the record (LOG-17).

    Args:
        keys: ``useKeys`` of the gate that the record names.

    Raises:
        VerificationError: UNKNOWN_KEY, SIGNATURE_INVALID.
    """
    (signature,) = record.envelope.signatures
    for key in keys:
        if KeyId(key.digest) == signature.keyid:
            key.verify(signature.sig, pae(PAYLOAD_TYPE, record.envelope.payload), what="use")
            _check_spelling(signature.sig)
            return record.use
    raise VerificationError(
        Reason.UNKNOWN_KEY,
        "The use is signed by no use key of this gate.",
        actual=signature.keyid,
        hint="Name the gate's key among its useKeys in gates.json.",
    )


def _check_spelling(signature: bytes) -> None:
    # LOG-17: from each ECDSA signature anybody can compute a second; with both, one use would be two leaves.
    if signature != in_lower_half(signature):
        raise VerificationError(
            Reason.SIGNATURE_INVALID,
            "The use's signature is not in the spelling that gates write: it was altered.",
            path="/envelope/signatures/0/sig",
            hint="Hand in the record as the gate's ledger holds it: `placet ledger flush`.",
        )


def in_lower_half(signature: bytes) -> bytes:
    """Returns the one of the two ECDSA signatures (r, s) and (r, n - s) whose s is in the lower half."""
    r, s = decode_dss_signature(signature)
    return encode_dss_signature(r, min(s, _P256_ORDER - s))


def encode_trust_record(metadata: bytes) -> bytes:
    """Encodes the record of a new version of a TUF metadata file."""
    return encode_canonical({"mediaType": TRUST_MEDIA_TYPE, "metadata": b64encode(metadata)})


def parse_trust_record(record: bytes) -> bytes:
    """Parses the record of a trust change; returns the TUF metadata file.

    Raises:
        MalformedError: wrong shape, size or spelling.
    """
    return _read_metadata(_read_record(record, TRUST_MEDIA_TYPE))


def leaf_of_record(record: bytes) -> Leaf:
    """Returns the leaf of a record (LOG-16).

    Raises:
        MalformedError: the bytes are no record.
        VerificationError: KEY_MISMATCH where a decision names another key than its signature does.
    """
    value = parse_canonical_json(record, max_bytes=MAX_RECORD_BYTES, what="record")
    members = read_map(value, "", max_items=8)
    kind = members.get("mediaType")
    if kind == ANSWER_MEDIA_TYPE:
        return _leaf_of_answer(record)
    if kind == USE_MEDIA_TYPE:
        return _leaf_of_use(_read_use(members))
    read_choice(kind, "/mediaType", (ANSWER_MEDIA_TYPE, USE_MEDIA_TYPE, TRUST_MEDIA_TYPE))
    return _leaf_of_metadata(_read_metadata(members))


def _leaf_of_answer(record: bytes) -> Leaf:
    answer = parse_answer(record)
    statement = parse_statement(answer.envelope.payload)
    (signature,) = answer.envelope.signatures
    # LOG-16: DSSE's key ID is a hint that nobody signs; the one in the signature is what is verified.
    if KeyId(sha256_hex(parse_sshsig(signature.sig).public_key)) != signature.keyid:
        raise VerificationError(Reason.KEY_MISMATCH, "The answer names another key than its signature does.")
    kind = APPROVED if statement.decision == "approve" else DENIED
    return decision_leaf(kind, statement.payload_digest, signature, answer.report)


def _leaf_of_use(record: UseRecord) -> Leaf:
    (signature,) = record.envelope.signatures
    return UseLeaf(
        record.use.approvals,
        signature.keyid,
        record.use.payload_digest,
        sha256_hex(record.envelope.payload),
        sha256_hex(signature.sig),
    )


def _leaf_of_metadata(metadata: bytes) -> Leaf:
    value = read_map(
        parse_json(metadata, max_bytes=MAX_METADATA_BYTES, what="TUF metadata"), "/metadata", max_items=8
    )
    at = "/metadata/signatures"
    items = read_list(value.get("signatures"), at, max_items=MAX_KEYIDS, min_items=1)
    keyids = sorted(
        read_key_id(read_map(item, f"{at}/{i}", max_items=8).get("keyid"), f"{at}/{i}/keyid")
        for i, item in enumerate(items)
    )
    if len(set(keyids)) != len(keyids):  # LOG-18
        raise MalformedError(Reason.DUPLICATE_VALUE, "One key has signed the file twice.", path=at)
    return TrustLeaf(tuple(keyids), sha256_hex(metadata))


def _read_record(record: bytes, media_type: str) -> Object:
    value = parse_canonical_json(record, max_bytes=MAX_RECORD_BYTES, what="record")
    members = read_map(value, "", max_items=8)
    read_choice(members.get("mediaType"), "/mediaType", (media_type,))
    return members


def _read_metadata(members: Object) -> bytes:
    text = read_object(members, "", ("mediaType", "metadata"))["metadata"]
    return b64decode_strict(read_string(text, "/metadata", max_length=_MAX_METADATA_TEXT), "/metadata")


def _read_use(members: Object) -> UseRecord:
    read_object(members, "", ("mediaType", "envelope"))
    envelope = parse_envelope(members["envelope"], "/envelope", max_signatures=1)
    if len(envelope.signatures) != 1:  # LOG-17
        raise MalformedError(Reason.BAD_VALUE, "A use has exactly one signature.", path="/envelope")
    top = read_object(admit(envelope.payload, what="use"), "", _STATEMENT)
    read_choice(top["_type"], "/_type", (STATEMENT_TYPE,))
    read_choice(top["predicateType"], "/predicateType", (USE_PREDICATE_TYPE,))
    (subject,) = read_list(top["subject"], "/subject", max_items=1, min_items=1)
    subject = read_object(subject, "/subject/0", _SUBJECT)
    read_choice(subject["name"], "/subject/0/name", ("intent",))
    predicate = read_object(top["predicate"], "/predicate", _PREDICATE)
    at = "/predicate/id"
    use_id = b64decode_strict(read_string(predicate["id"], at), at)
    if len(use_id) != USE_ID_BYTES:
        raise MalformedError(Reason.BAD_VALUE, "A use's ID has 16 bytes.", path=at)
    return UseRecord(
        envelope,
        Use(
            read_sha256(subject["digest"], "/subject/0/digest"),
            read_sorted_digests(predicate["approvals"], "/predicate/approvals", max_items=MAX_SIGNATURES),
            read_ascii(predicate["gate"], "/predicate/gate", max_length=190),
            use_id,
            _read_unit(predicate["unit"]),
            read_time(predicate["usedAt"], "/predicate/usedAt"),
        ),
    )


def _read_unit(value: Any) -> str:
    at = "/predicate/unit"
    unit = read_ascii(value, at, max_length=200)
    if unit != ACTION_UNIT:
        algorithm, _, digest = unit.partition(":")
        read_digest_set({algorithm: digest}, at)
    return unit

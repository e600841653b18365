"""Rekor v1 and v2: entries in the form that each logs, and the answers that each gives.

Like the real ones, they log nothing whose signature does not hold.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from hashlib import sha256, sha384
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from placet.core.dsse import pae
from placet.core.encoding import encode_canonical
from placet.testing.private_sigstore.fulcio import Refused
from placet.testing.private_sigstore.keys import b64, hash_of, sign
from placet.testing.private_sigstore.merkle import Inclusion, TransparencyLog, leaf_hash

# Go verifiers expect "host - number" as the origin of Rekor v1; the number also begins each entry's ID.
TREE_ID = 1193050959916656506
_TREE = f"{TREE_ID:016x}"


class RekorV1:
    """Entries of kind hashedrekord 0.0.1, dsse 0.0.1 and intoto 0.0.2, with signed entry timestamps."""

    def __init__(self, log: TransparencyLog, clock: Callable[[], float]) -> None:
        self.log = log
        self._clock = clock
        self._times: dict[int, int] = {}

    def add(self, proposed: dict[str, Any]) -> dict[str, Any]:
        """Answers POST /api/v1/log/entries: {entry ID: entry}.

        Raises:
            Refused: the entry is not one that is logged here, or its signature is false.
        """
        try:
            body = encode_canonical(_CANONICAL[proposed["kind"]](proposed))
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise Refused(f"no entry can be read: {type(error).__name__}: {error}") from error
        inclusion = self.log.append(body)
        self._times[inclusion.leaf_index] = int(self._clock())
        return self._entry(inclusion)

    def find(self, *, leaf_index: int | None = None, entry_id: str | None = None) -> dict[str, Any] | None:
        """Answers GET /api/v1/log/entries by index or by ID; None where there is none."""
        for index in self._times:
            if index == leaf_index or (entry_id or "-").endswith(leaf_hash(self.log.bodies[index]).hex()):
                return self._entry(self.log.prove(index))
        return None

    def search(self, text: str) -> list[str]:
        """Answers POST /api/v1/index/retrieve: the IDs of the entries that hold a hash."""
        digest = text.removeprefix("sha256:").encode()
        return [_entry_id(body) for body in self.log.bodies[1:] if digest in body]

    def info(self) -> dict[str, Any]:
        """Answers GET /api/v1/log."""
        inclusion = self.log.prove(0)
        return {
            "rootHash": inclusion.root_hash.hex(),
            "treeSize": inclusion.tree_size,
            "signedTreeHead": inclusion.checkpoint,
            "treeID": str(TREE_ID),
            "inactiveShards": [],
        }

    def _entry(self, inclusion: Inclusion) -> dict[str, Any]:
        body = self.log.bodies[inclusion.leaf_index]
        promised = {
            "body": b64(body),
            "integratedTime": self._times[inclusion.leaf_index],
            "logID": self.log.id.hex(),
            "logIndex": inclusion.leaf_index,
        }
        proof = {
            "logIndex": inclusion.leaf_index,
            "treeSize": inclusion.tree_size,
            "rootHash": inclusion.root_hash.hex(),
            "hashes": [node.hex() for node in inclusion.hashes],
            "checkpoint": inclusion.checkpoint,
        }
        promise = b64(sign(self.log.key, encode_canonical(promised)))
        verification = {"signedEntryTimestamp": promise, "inclusionProof": proof}
        return {_entry_id(body): {**promised, "verification": verification}}


def _entry_id(body: bytes) -> str:
    return _TREE + leaf_hash(body).hex()


def _canonical_hashedrekord(proposed: dict[str, Any]) -> dict[str, Any]:
    spec = proposed["spec"]
    digest, signature = spec["data"]["hash"], spec["signature"]
    key = _key_from_pem(base64.b64decode(signature["publicKey"]["content"]))
    _check_digest(key, base64.b64decode(signature["content"]), bytes.fromhex(digest["value"]))
    return {
        "apiVersion": "0.0.1",
        "kind": "hashedrekord",
        "spec": {
            "data": {"hash": {"algorithm": digest["algorithm"], "value": digest["value"]}},
            "signature": {
                "content": signature["content"],
                "publicKey": {"content": signature["publicKey"]["content"]},
            },
        },
    }


def _canonical_dsse(proposed: dict[str, Any]) -> dict[str, Any]:
    content = proposed["spec"]["proposedContent"]
    envelope = json.loads(content["envelope"])
    payload = base64.b64decode(envelope["payload"])
    signatures = []
    for signature, verifier in zip(envelope["signatures"], content["verifiers"], strict=True):
        key = _key_from_pem(base64.b64decode(verifier))
        _check(key, base64.b64decode(signature["sig"]), pae(envelope["payloadType"], payload))
        signatures.append({"signature": signature["sig"], "verifier": verifier})
    return {
        "apiVersion": "0.0.1",
        "kind": "dsse",
        "spec": {
            "envelopeHash": _hash(content["envelope"].encode()),
            "payloadHash": _hash(payload),
            "signatures": signatures,
        },
    }


def _canonical_intoto(proposed: dict[str, Any]) -> dict[str, Any]:
    """The kind that older clients used; what stands in base64 stands in base64 once more."""
    envelope = proposed["spec"]["content"]["envelope"]
    payload = base64.b64decode(base64.b64decode(envelope["payload"]))
    bare: dict[str, Any] = {
        "payloadType": envelope["payloadType"],
        "payload": b64(payload),
        "signatures": [],
    }
    for signature in envelope["signatures"]:
        key = _key_from_pem(base64.b64decode(signature["publicKey"]))
        sig = base64.b64decode(signature["sig"])
        _check(key, base64.b64decode(sig), pae(envelope["payloadType"], payload))
        bare["signatures"].append({"sig": sig.decode()})
    logged = {
        "payloadType": envelope["payloadType"],
        "signatures": [{"publicKey": s["publicKey"], "sig": s["sig"]} for s in envelope["signatures"]],
    }
    content = {"envelope": logged, "hash": _hash(encode_canonical(bare)), "payloadHash": _hash(payload)}
    return {"apiVersion": "0.0.2", "kind": "intoto", "spec": {"content": content}}


_CANONICAL: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "hashedrekord": _canonical_hashedrekord,
    "dsse": _canonical_dsse,
    "intoto": _canonical_intoto,
}


class RekorV2:
    """Entries of kind hashedrekord 0.0.2, the only one that the real Rekor v2 takes."""

    def __init__(self, log: TransparencyLog) -> None:
        self.log = log

    def add(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answers POST /api/v2/log/entries with a TransparencyLogEntry.

        Raises:
            Refused: it is no hashedrekord, or its signature is false.
        """
        if "hashedRekordRequestV002" not in request:
            raise Refused("invalid type, must be hashedrekord")
        try:
            asked = request["hashedRekordRequestV002"]
            verifier = asked["signature"]["verifier"]
            key = _key_from_verifier(verifier)
            digest = base64.b64decode(asked["digest"])
            _check_digest(key, base64.b64decode(asked["signature"]["content"]), digest)
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise Refused(f"no entry can be read: {type(error).__name__}: {error}") from error
        algorithm = "SHA2_384" if len(digest) == sha384().digest_size else "SHA2_256"
        record = {
            "data": {"algorithm": algorithm, "digest": asked["digest"]},
            "signature": {"content": asked["signature"]["content"], "verifier": verifier},
        }
        entry = {"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": {"hashedRekordV002": record}}
        body = encode_canonical(entry)
        return self._describe(self.log.append(body), body)

    def _describe(self, inclusion: Inclusion, body: bytes) -> dict[str, Any]:
        return {
            "logIndex": str(inclusion.leaf_index),
            "logId": {"keyId": b64(self.log.id)},
            "kindVersion": {"kind": "hashedrekord", "version": "0.0.2"},
            "inclusionProof": {
                "logIndex": str(inclusion.leaf_index),
                "rootHash": b64(inclusion.root_hash),
                "treeSize": str(inclusion.tree_size),
                "hashes": [b64(node) for node in inclusion.hashes],
                "checkpoint": {"envelope": inclusion.checkpoint},
            },
            "canonicalizedBody": b64(body),
        }


def as_bundle_entry(answer: dict[str, Any]) -> dict[str, Any]:
    """Turns Rekor v1's answer into the TransparencyLogEntry that stands in a bundle."""
    (entry,) = answer.values()
    body = json.loads(base64.b64decode(entry["body"]))
    proof = entry["verification"]["inclusionProof"]
    return {
        "logIndex": str(entry["logIndex"]),
        "logId": {"keyId": b64(bytes.fromhex(entry["logID"]))},
        "kindVersion": {"kind": body["kind"], "version": body["apiVersion"]},
        "integratedTime": str(entry["integratedTime"]),
        "inclusionPromise": {"signedEntryTimestamp": entry["verification"]["signedEntryTimestamp"]},
        "inclusionProof": {
            "logIndex": str(proof["logIndex"]),
            "rootHash": b64(bytes.fromhex(proof["rootHash"])),
            "treeSize": str(proof["treeSize"]),
            "hashes": [b64(bytes.fromhex(node)) for node in proof["hashes"]],
            "checkpoint": {"envelope": proof["checkpoint"]},
        },
        "canonicalizedBody": entry["body"],
    }


def _hash(data: bytes) -> dict[str, str]:
    return {"algorithm": "sha256", "value": sha256(data).hexdigest()}


def _key_from_pem(pem: bytes) -> ec.EllipticCurvePublicKey:
    if b"CERTIFICATE" in pem:
        return _as_curve_key(x509.load_pem_x509_certificate(pem).public_key())
    return _as_curve_key(serialization.load_pem_public_key(pem))


def _key_from_verifier(verifier: dict[str, Any]) -> ec.EllipticCurvePublicKey:
    if "x509Certificate" in verifier:
        der = base64.b64decode(verifier["x509Certificate"]["rawBytes"])
        return _as_curve_key(x509.load_der_x509_certificate(der).public_key())
    der = base64.b64decode(verifier["publicKey"]["rawBytes"])
    return _as_curve_key(serialization.load_der_public_key(der))


def _as_curve_key(key: object) -> ec.EllipticCurvePublicKey:
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise Refused("only keys on elliptic curves are logged")
    return key


def _check(key: ec.EllipticCurvePublicKey, signature: bytes, data: bytes) -> None:
    try:
        key.verify(signature, data, ec.ECDSA(hash_of(key)))
    except InvalidSignature:
        raise Refused("the signature does not hold") from None


def _check_digest(key: ec.EllipticCurvePublicKey, signature: bytes, digest: bytes) -> None:
    try:
        key.verify(signature, digest, ec.ECDSA(utils.Prehashed(hash_of(key))))
    except InvalidSignature:
        raise Refused("the signature does not hold") from None

"""Log entries for the lean verifier: the proof, the checkpoint, the promise, and what the entry is about.

Hashes are RFC 6962's, checkpoints those of https://c2sp.org/tlog-checkpoint; Rekor v1's promise is a
signature over the entry's canonical JSON.

Leaves out: when a log counted.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import Certificate

from placet.adapters.sigstore.lean_roots import LogKey
from placet.adapters.sigstore.lean_shapes import just, number, positive, raw, read, require, sha256, text
from placet.core.decode import Object
from placet.core.encoding import b64encode, parse_json

_MAX_BODY = 64 * 1024
_MAX_CHECKPOINT = 64 * 1024
_HASH_SIZE = 32


def _checkpoint_text(value: Any) -> str:
    require(type(value) is str and len(value) <= _MAX_CHECKPOINT)
    return str(value)


_PROOF = {
    "logIndex": number,
    "rootHash": raw,
    "treeSize": number,
    "hashes": [raw],
    "checkpoint": {"envelope": _checkpoint_text},
}
_ENTRY = {"logIndex": number, "logId": {"keyId": raw}, "inclusionProof": _PROOF, "canonicalizedBody": raw}
# Rekor v2 has no time of its own; v1 signs its time in a promise.
ENTRY_V2 = {**_ENTRY, "kindVersion": {"kind": just("hashedrekord"), "version": just("0.0.2")}}
ENTRY_V1 = {
    **_ENTRY,
    "kindVersion": {"kind": just("hashedrekord", "dsse"), "version": just("0.0.1")},
    "integratedTime": positive,  # sigstore-python takes 0 for none
    "inclusionPromise": {"signedEntryTimestamp": raw},
}
_SHA256 = {"algorithm": just("sha256"), "value": sha256}
_DSSE_BODY = {
    "apiVersion": text,
    "kind": text,
    "spec": {
        "envelopeHash": _SHA256,
        "payloadHash": _SHA256,
        "signatures": [{"signature": text, "verifier": text}],
    },
}
# Log origin, tree size, root hash, lines that somebody may need; then signatures, the log's among them.
_checkpoint = re.compile(
    "([!-~][ -~]*\n(0|[1-9][0-9]*)\n([A-Za-z0-9+/]{43}=)\n(?:[!-~][ -~]*\n)*)"
    "\n((?:\u2014 [!-~]+ [A-Za-z0-9+/]+={0,2}\n)+)"
).fullmatch


class Content(NamedTuple):
    """What was signed, and by whom.

    Args:
        digest: SHA-256 of what was signed: of the artifact, or of the envelope's signed encoding.
        payload: the envelope's, None where an artifact was signed.
    """

    certificate: Certificate
    signature: bytes
    digest: bytes
    payload: bytes | None


def check_entry(entry: Object, key: LogKey) -> None:
    """Checks that the log's signed tree contains the entry, and the log's promise where it made one."""
    proof, body = entry["inclusionProof"], entry["canonicalizedBody"]
    check_proof(proof, body)
    check_checkpoint(proof, entry["logId"]["keyId"], key)
    if "inclusionPromise" in entry:
        signed = (
            f'{{"body":"{b64encode(body)}","integratedTime":{entry["integratedTime"]},'
            f'"logID":"{entry["logId"]["keyId"].hex()}","logIndex":{entry["logIndex"]}}}'
        )
        key.verify(entry["inclusionPromise"]["signedEntryTimestamp"], signed.encode())


def check_proof(proof: Object, body: bytes) -> None:
    """Checks the path from the entry to the tree's root (RFC 9162, section 2.1.3.2)."""
    index, last = proof["logIndex"], proof["treeSize"] - 1
    require(index <= last)
    found = hashlib.sha256(b"\x00" + body).digest()
    for sibling in proof["hashes"]:
        require(len(sibling) == _HASH_SIZE and last > 0)
        if index & 1 or index == last:
            found = hashlib.sha256(b"\x01" + sibling + found).digest()
            while index and not index & 1:
                index, last = index >> 1, last >> 1
        else:
            found = hashlib.sha256(b"\x01" + found + sibling).digest()
        index, last = index >> 1, last >> 1
    require(last == 0)
    require(found == proof["rootHash"])


def check_checkpoint(proof: Object, log_id: bytes, key: LogKey) -> None:
    """Checks that the log signed this root hash; others' signatures beside it neither count nor harm."""
    match = _checkpoint(proof["checkpoint"]["envelope"])
    require(match)
    note, size, root_hash, lines = match.groups()  # type: ignore[union-attr]  # asked above
    require(size == str(proof["treeSize"]))
    require(root_hash == b64encode(proof["rootHash"]))
    signatures = [raw(line.rsplit(" ", 1)[1]) for line in lines.splitlines()]
    require(all(len(signature) > 4 for signature in signatures))
    (signature,) = (s for s in signatures if s[:4] == log_id[:4])
    key.verify(signature[4:], note.encode())


def check_body(entry: Object, content: Content) -> None:
    """Checks that the logged body names content, signature and certificate, and nothing else.

    Else the parts of a bundle could be of several (CVE-2022-36056).
    """
    body = parse_json(entry["canonicalizedBody"], max_bytes=_MAX_BODY, what="log entry")
    kind, version = entry["kindVersion"]["kind"], entry["kindVersion"]["version"]
    if version == "0.0.2":
        spec = _hashedrekord_2(content)
    elif kind == "hashedrekord":
        require(content.payload is None)
        spec = _hashedrekord_1(content)
    else:
        # Of the whole envelope the log has a hash that nobody can make again.
        spec = _dsse(content, read(body, _DSSE_BODY)["spec"]["envelopeHash"])
    require(body == {"apiVersion": version, "kind": kind, "spec": spec})


def _hashedrekord_2(content: Content) -> Object:
    certificate = {"rawBytes": b64encode(content.certificate.public_bytes(Encoding.DER))}
    verifier = {"keyDetails": "PKIX_ECDSA_P256_SHA_256", "x509Certificate": certificate}
    data = {"algorithm": "SHA2_256", "digest": b64encode(content.digest)}
    signature = {"content": b64encode(content.signature), "verifier": verifier}
    return {"hashedRekordV002": {"data": data, "signature": signature}}


def _hashedrekord_1(content: Content) -> Object:
    key = {"content": b64encode(content.certificate.public_bytes(Encoding.PEM))}
    data = {"hash": {"algorithm": "sha256", "value": content.digest.hex()}}
    return {"data": data, "signature": {"content": b64encode(content.signature), "publicKey": key}}


def _dsse(content: Content, envelope_hash: Object) -> Object:
    require(content.payload is not None)
    payload_hash = hashlib.sha256(content.payload or b"").hexdigest()
    verifier = b64encode(content.certificate.public_bytes(Encoding.PEM))
    return {
        "envelopeHash": envelope_hash,
        "payloadHash": {"algorithm": "sha256", "value": payload_hash},
        "signatures": [{"signature": b64encode(content.signature), "verifier": verifier}],
    }

"""Bundles put together without HTTP, in every version that users still have."""

from __future__ import annotations

import json
from typing import Any, Literal, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import Hash

from placet.core.dsse import PAYLOAD_TYPE, pae
from placet.testing.private_sigstore.keys import b64, der, hash_of, key_id, pem, public_pem, sign, spki
from placet.testing.private_sigstore.rekor import RekorV1, RekorV2, as_bundle_entry
from placet.testing.private_sigstore.timestamps import TimestampAuthority

_MEDIA_TYPES = {
    "0.1": "application/vnd.dev.sigstore.bundle+json;version=0.1",
    "0.2": "application/vnd.dev.sigstore.bundle+json;version=0.2",
    "0.3": "application/vnd.dev.sigstore.bundle.v0.3+json",
}


class Shape(NamedTuple):
    """What a bundle is to hold.

    Attributes:
        rekor: where the signature is logged; "intoto" is Rekor v1 with the older kind of entry.
        timestamp: whether the timestamp authority signs the time, too.
        version: of the bundle's format.
        sct: whether the certificate is in a CT log; False, with `rekor="none"`, makes what GitHub's own
            instance makes.
        payload_type: of the DSSE envelope.
    """

    rekor: Literal["v1", "v2", "intoto", "none"] = "v2"
    timestamp: bool = True
    version: Literal["0.1", "0.2", "0.3"] = "0.3"
    sct: bool = True
    payload_type: str = PAYLOAD_TYPE


# What sigstore-python and cosign make today.
USUAL = Shape()


class Signatory(NamedTuple):
    """A key, with the certificate that names its holder; without one, it is a bare key."""

    key: ec.EllipticCurvePrivateKey
    chain: tuple[x509.Certificate, ...] = ()
    hint: str = ""

    @property
    def pem(self) -> bytes:
        """What Rekor v1 logs beside the signature."""
        return pem(self.chain[0]).encode() if self.chain else public_pem(self.key)

    @property
    def verifier(self) -> dict[str, Any]:
        """What Rekor v2 logs beside the signature."""
        is_long = self.key.curve.name == "secp384r1"
        details = "PKIX_ECDSA_P384_SHA_384" if is_long else "PKIX_ECDSA_P256_SHA_256"
        if self.chain:
            return {"x509Certificate": {"rawBytes": b64(der(self.chain[0]))}, "keyDetails": details}
        return {"publicKey": {"rawBytes": b64(spki(self.key))}, "keyDetails": details}

    def material(self, version: str) -> dict[str, Any]:
        """What the bundle's verification material says of the signer."""
        if not self.chain:
            return {"publicKey": {"hint": self.hint or b64(key_id(self.key))}}
        if version == "0.3":
            return {"certificate": {"rawBytes": b64(der(self.chain[0]))}}
        certificates = [{"rawBytes": b64(der(link))} for link in self.chain]
        return {"x509CertificateChain": {"certificates": certificates}}


class BundleMaker:
    """Signs, logs and timestamps, and puts the bundle together."""

    def __init__(self, rekor_v1: RekorV1, rekor_v2: RekorV2, tsa: TimestampAuthority) -> None:
        self._rekor_v1 = rekor_v1
        self._rekor_v2 = rekor_v2
        self._tsa = tsa

    def sign_statement(self, signatory: Signatory, payload: bytes, shape: Shape) -> bytes:
        """Returns a bundle with a DSSE envelope."""
        signed = pae(shape.payload_type, payload)
        signature = sign(signatory.key, signed)
        envelope = {
            "payload": b64(payload),
            "payloadType": shape.payload_type,
            "signatures": [{"sig": b64(signature), "keyid": ""}],
        }
        entry: dict[str, Any] | None = None
        if shape.rekor == "v1":
            entry = as_bundle_entry(self._rekor_v1.add(_propose_dsse(envelope, signatory)))
        elif shape.rekor == "intoto":
            entry = as_bundle_entry(self._rekor_v1.add(_propose_intoto(envelope, signatory)))
        elif shape.rekor == "v2":
            entry = self._log_digest(_digest(signatory, signed), signature, signatory)
        return self._assemble(signatory, shape, {"dsseEnvelope": envelope}, signature, entry)

    def sign_artifact(self, signatory: Signatory, artifact: bytes, shape: Shape) -> bytes:
        """Returns a bundle with a signature over the artifact itself."""
        digest = _digest(signatory, artifact)
        algorithm = ec.ECDSA(utils.Prehashed(hash_of(signatory.key)), deterministic_signing=True)
        signature = signatory.key.sign(digest, algorithm)
        name = "SHA2_384" if signatory.key.curve.name == "secp384r1" else "SHA2_256"
        message = {"messageDigest": {"algorithm": name, "digest": b64(digest)}, "signature": b64(signature)}
        entry: dict[str, Any] | None = None
        if shape.rekor == "v1":
            entry = as_bundle_entry(self._rekor_v1.add(_propose_record(digest, signature, signatory)))
        elif shape.rekor == "v2":
            entry = self._log_digest(digest, signature, signatory)
        return self._assemble(signatory, shape, {"messageSignature": message}, signature, entry)

    def _log_digest(self, digest: bytes, signature: bytes, signatory: Signatory) -> dict[str, Any]:
        signed = {"content": b64(signature), "verifier": signatory.verifier}
        return self._rekor_v2.add({"hashedRekordRequestV002": {"digest": b64(digest), "signature": signed}})

    def _assemble(
        self,
        signatory: Signatory,
        shape: Shape,
        content: dict[str, Any],
        signature: bytes,
        entry: dict[str, Any] | None,
    ) -> bytes:
        material = signatory.material(shape.version)
        if entry is not None:
            material["tlogEntries"] = [entry]
        if shape.timestamp:
            stamps = [{"signedTimestamp": b64(self._tsa.timestamp(signature))}]
            material["timestampVerificationData"] = {"rfc3161Timestamps": stamps}
        media_type = _MEDIA_TYPES[shape.version]
        return json.dumps({"mediaType": media_type, "verificationMaterial": material, **content}).encode()


def _digest(signatory: Signatory, data: bytes) -> bytes:
    state = Hash(hash_of(signatory.key))
    state.update(data)
    return state.finalize()


def _propose_dsse(envelope: dict[str, Any], signatory: Signatory) -> dict[str, Any]:
    content = {"envelope": json.dumps(envelope), "verifiers": [b64(signatory.pem)]}
    return {"apiVersion": "0.0.1", "kind": "dsse", "spec": {"proposedContent": content}}


def _propose_intoto(envelope: dict[str, Any], signatory: Signatory) -> dict[str, Any]:
    signatures = [
        {"sig": b64(signature["sig"].encode()), "publicKey": b64(signatory.pem)}
        for signature in envelope["signatures"]
    ]
    twice = {
        "payloadType": envelope["payloadType"],
        "payload": b64(envelope["payload"].encode()),
        "signatures": signatures,
    }
    return {"apiVersion": "0.0.2", "kind": "intoto", "spec": {"content": {"envelope": twice}}}


def _propose_record(digest: bytes, signature: bytes, signatory: Signatory) -> dict[str, Any]:
    algorithm = "sha384" if len(digest) > 32 else "sha256"
    spec = {
        "data": {"hash": {"algorithm": algorithm, "value": digest.hex()}},
        "signature": {"content": b64(signature), "publicKey": {"content": b64(signatory.pem)}},
    }
    return {"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": spec}

"""A hardware key's signature in the words of Rekor v2 and Sigstore bundles, which know nothing of WebAuthn.

A P-256 key of FIDO signs ``authenticator data || SHA-256(client data)`` as ECDSA with SHA-256.  That is all
that Rekor's ``hashedrekord`` 0.0.2 can say: a digest, a signature, a key.  So the signature is logged as it
is, and whoever has the signed bytes, the public key and the bundle checks it with Sigstore's own tools.

What becomes public: the key, the signature and a digest.  Nothing of the approval: the digest is that of a
challenge with a nonce.  But one key's entries can be linked with each other.

Leaves out: sending, and whether a log contains the entry (`placet.adapters.rekor`); Ed25519, which signs no
digest.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from placet.core.bundle import IntentBundle
from placet.core.decode import Object
from placet.core.dsse import pae
from placet.core.encoding import Digest, KeyId, b64encode, encode_canonical, sha256_hex
from placet.core.errors import MalformedError, PolicyError, Reason, VerificationError
from placet.core.sshsig import NAMESPACE_INTENT, SK_ECDSA, SshSig, parse_public_key, parse_sshsig, signed_data
from placet.core.webauthn import check_client_data

BUNDLE_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_KEY_DETAILS = "PKIX_ECDSA_P256_SHA_256"
_ALGORITHM = "SHA2_256"
_KIND, _VERSION = "hashedrekord", "0.0.2"


class LoggableSignature(NamedTuple):
    """A verified ECDSA signature by a hardware key over an approval.

    Args:
        keyid: of the SSH key, as approvals name it.
        sshsig_digest: SHA-256 of the signature as the approval has it.
        signed: the bytes under the signature.
        signature: in DER.
        public_key: the DER SubjectPublicKeyInfo.
    """

    keyid: KeyId
    sshsig_digest: Digest
    signed: bytes
    signature: bytes
    public_key: bytes

    @property
    def digest(self) -> bytes:
        """SHA-256 of what was signed: the only thing about it that is logged."""
        return hashlib.sha256(self.signed).digest()

    @property
    def public_key_pem(self) -> bytes:
        """The public key as other tools read it."""
        key = serialization.load_der_public_key(self.public_key)
        return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


class NotLoggable(NamedTuple):
    """A signature that Rekor does not take, and why."""

    keyid: KeyId
    sshsig_digest: Digest
    error: PolicyError


def loggable_signatures(
    bundle: IntentBundle,
) -> tuple[tuple[LoggableSignature, ...], tuple[NotLoggable, ...]]:
    """Returns a bundle's signatures as Rekor takes them, and those that it does not take.

    Who the keys belong to is not asked: a log is about signatures, an approval about people.

    Raises:
        MalformedError: BAD_SSHSIG, BAD_KEY, CLIENT_DATA.
        VerificationError: a signature is not over this approval, or not by the key that it names.
        PolicyError: CROSS_ORIGIN.
    """
    message = pae(bundle.envelope.payload_type, bundle.envelope.payload)
    able, unable = [], []
    for signature in bundle.envelope.signatures:
        try:
            able.append(read_signature(signature.sig, message))
        except _Ed25519Error as e:
            unable.append(NotLoggable(signature.keyid, sha256_hex(signature.sig), e))
    return tuple(able), tuple(unable)


class _Ed25519Error(PolicyError):
    """An Ed25519 key made the signature."""


def read_signature(blob: bytes, message: bytes) -> LoggableSignature:
    """Verifies one signature over an approval, and returns it as Rekor takes it.

    Args:
        blob: the binary SSHSIG.
        message: what was signed: the DSSE PAE of the statement.

    Raises:
        MalformedError, VerificationError, PolicyError: see `loggable_signatures`; LOG_REFUSED for Ed25519.
    """
    sshsig = parse_sshsig(blob)
    key = parse_public_key(sshsig.public_key)
    if sshsig.namespace != NAMESPACE_INTENT:
        raise VerificationError(
            Reason.NAMESPACE_MISMATCH,
            "The signature was made for another purpose than a decision.",
            expected=NAMESPACE_INTENT,
            actual=sshsig.namespace,
        )
    if key.key_type != SK_ECDSA or sshsig.numbers is None:
        raise _Ed25519Error(
            Reason.LOG_REFUSED,
            "Rekor v2 takes no signature by an Ed25519 key: it logs digests, and such a key signs none.",
            hint="Publish a gate's verdict in its place (`placet verify … --verdict FILE`): gates sign with "
            "P-256. Or let this person enrol a P-256 key as well: ssh-keygen -t ecdsa-sk -O verify-required.",
        )
    signed = key.application_hash + _presence(sshsig) + _message_hash(sshsig, message)
    signature = encode_dss_signature(*sshsig.numbers)
    try:
        public_key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key.raw)
    except ValueError as e:
        raise MalformedError(Reason.BAD_KEY, "The public key is not a point of its curve.") from e
    try:
        public_key.verify(signature, signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as e:
        raise VerificationError(
            Reason.SIGNATURE_INVALID, "The signature does not match these bytes and this key."
        ) from e
    spki = public_key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return LoggableSignature(key.keyid, sha256_hex(blob), signed, signature, spki)


def _presence(sshsig: SshSig) -> bytes:
    return bytes([sshsig.flags]) + sshsig.counter.to_bytes(4, "big") + sshsig.extensions


def _message_hash(sshsig: SshSig, message: bytes) -> bytes:
    """Returns the hash that ends what the key signed: of the client data, or of OpenSSH's data."""
    data = signed_data(NAMESPACE_INTENT, message)
    if sshsig.client_data_json is not None and sshsig.web_origin is not None:
        check_client_data(sshsig.client_data_json, challenge=data, web_origin=sshsig.web_origin)
        data = sshsig.client_data_json
    return hashlib.sha256(data).digest()


def encode_request(signature: LoggableSignature) -> bytes:
    """Encodes what is sent to Rekor v2's ``/api/v2/log/entries``."""
    request = {"digest": b64encode(signature.digest), "signature": _signature(signature)}
    return encode_canonical({"hashedRekordRequestV002": request})


def encode_leaf(signature: LoggableSignature) -> bytes:
    """Encodes the leaf that Rekor v2 makes of it, byte for byte (RFC 8785)."""
    data = {"algorithm": _ALGORITHM, "digest": b64encode(signature.digest)}
    spec = {"hashedRekordV002": {"data": data, "signature": _signature(signature)}}
    return encode_canonical({"apiVersion": _VERSION, "kind": _KIND, "spec": spec})


def _signature(signature: LoggableSignature) -> Object:
    verifier = {"keyDetails": _KEY_DETAILS, "publicKey": {"rawBytes": b64encode(signature.public_key)}}
    return {"content": b64encode(signature.signature), "verifier": verifier}


def encode_sigstore_bundle(signature: LoggableSignature, entry: Object, stamp: bytes | None = None) -> bytes:
    """Encodes the Sigstore bundle (version 0.3) around a signature.

    Args:
        entry: Rekor's entry, a ``TransparencyLogEntry`` in protobuf's JSON.
        stamp: a timestamp (RFC 3161) over the signature: the log itself does not say when.
    """
    # What a verifier may find the key by; cosign writes and reads it in this form.
    hint = b64encode(hashlib.sha256(signature.public_key).digest())
    material: Object = {"publicKey": {"hint": hint}, "tlogEntries": [entry]}
    if stamp is not None:
        stamps = [{"signedTimestamp": b64encode(stamp)}]
        material["timestampVerificationData"] = {"rfc3161Timestamps": stamps}
    bundle = {
        "mediaType": BUNDLE_MEDIA_TYPE,
        "verificationMaterial": material,
        "messageSignature": {
            "messageDigest": {"algorithm": _ALGORITHM, "digest": b64encode(signature.digest)},
            "signature": b64encode(signature.signature),
        },
    }
    return encode_canonical(bundle)

"""Attestation objects of authenticators, read and verified with python-fido2.

Two containers: a WebAuthn ``attestationObject``, and what ``ssh-keygen -O write-attestation`` writes (OpenSSH
PROTOCOL.u2f, ``ssh-sk-attest-v01``: one certificate, the signature and the authenticator data, from which the
WebAuthn form is rebuilt).  Formats: packed, fido-u2f, tpm; ``none`` is read and proves nothing.

python-fido2 is written for honest input: self attestation ends in an `IndexError`, ECDAA in a
`NotImplementedError`, odd CBOR in a dozen types.  So everything is caught here and becomes a named refusal.

Leaves out: safetynet and apple attestation, which are about phones, and whether a model is allowed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from fido2 import cbor
from fido2.attestation import (  # type: ignore[attr-defined]  # re-exported without saying so
    Attestation,
    AttestationResult,
    AttestationType,
    FidoU2FAttestation,
    NoneAttestation,
    PackedAttestation,
    TpmAttestation,
)
from fido2.cose import ES256, CoseKey, EdDSA
from fido2.webauthn import Aaguid, AttestationObject, AttestedCredentialData, AuthenticatorData

from placet.adapters.fido.certificates import check_chain, name_of, parse_certificate
from placet.core.errors import MalformedError, PlacetError, PolicyError, Reason, VerificationError
from placet.core.sshsig import SK_ECDSA, SK_ED25519
from placet.core.sshwire import refuse_trailing, take_strings
from placet.ports.attestation_verifier import AttestationEvidence, AttestationFacts

# TPM statements with their chains have some 6 KiB.
MAX_OBJECT_BYTES = 32 * 1024
_SSH_MAGIC = b"ssh-sk-attest-v01"
_FORMATS: Mapping[str, type[Attestation]] = {
    "packed": PackedAttestation,
    "fido-u2f": FidoU2FAttestation,
    "tpm": TpmAttestation,
    "none": NoneAttestation,
}
_TYPES = {
    AttestationType.BASIC: "basic",
    AttestationType.ATT_CA: "basic",
    AttestationType.SELF: "self",
    AttestationType.NONE: "none",
}


class FidoAttestationVerifier:
    """Satisfies `placet.ports.attestation_verifier.AttestationVerifier`."""

    def read(self, evidence: AttestationEvidence) -> AttestationFacts:
        """Returns what an authenticator said, its signature verified.

        Raises:
            MalformedError: ATTESTATION_INVALID: it is no attestation object that we read.
            VerificationError: ATTESTATION_INVALID: the signature does not verify.
        """
        if len(evidence.object) > MAX_OBJECT_BYTES:
            raise MalformedError(
                Reason.ATTESTATION_INVALID, f"An attestation object has at most {MAX_OBJECT_BYTES} bytes."
            )
        found = _parse(evidence)
        if found.fmt not in _FORMATS:
            raise MalformedError(
                Reason.ATTESTATION_INVALID,
                f"Attestation of the format {str(found.fmt)[:40]!r} is not read.",
                expected=tuple(_FORMATS),
                hint="The key can still be recorded as vouched: `placet trust prove` needs none.",
            )
        credential = found.auth_data.credential_data
        if credential is None:
            raise MalformedError(Reason.ATTESTATION_INVALID, "The attestation object holds no credential.")
        if found.fmt == "fido-u2f" and credential.aaguid != Aaguid.NONE:
            # A U2F signature does not cover AAGUID and flags: whoever has any U2F key of a vendor could write
            # the AAGUID of that vendor's best model into the authenticator data.  python-fido2 takes that.
            raise VerificationError(
                Reason.ATTESTATION_INVALID,
                "A U2F attestation names a model, which nothing in it proves.",
                actual=str(credential.aaguid),
                hint="Somebody changed it. Do not trust this key.",
            )
        result = _verify(found, hashlib.sha256(evidence.client_data).digest())
        chain = tuple(bytes(der) for der in result.trust_path)
        key_type, raw = _ssh_key(credential.public_key)
        return AttestationFacts(
            format=found.fmt,
            attestation_type=_TYPES.get(result.attestation_type, "none"),
            aaguid="" if credential.aaguid == Aaguid.NONE else str(credential.aaguid),
            credential_id=bytes(credential.credential_id),
            key_type=key_type,
            key_raw=raw,
            rp_id_hash=bytes(found.auth_data.rp_id_hash),
            flags=int(found.auth_data.flags),
            chain=chain,
            key_identifiers=tuple(_key_identifier(parse_certificate(der)) for der in chain),
        )

    def check_chain(self, facts: AttestationFacts, roots: Sequence[bytes], *, at: int) -> str:
        """Checks that the certificates lead to one of `roots` at a time; returns that root's name.

        Raises:
            MalformedError: ATTESTATION_INVALID: a certificate cannot be read.
            PolicyError: MODEL_NOT_ALLOWED: there is none, or they lead elsewhere, or are out of their time.
        """
        if facts.attestation_type != "basic":
            raise PolicyError(
                Reason.MODEL_NOT_ALLOWED,
                "The key gave no attestation that a vendor signed"
                + (", only its own (self attestation)." if facts.attestation_type == "self" else "."),
                hint="If you saw the hardware, record it with --assurance vouched.",
            )
        return name_of(check_chain(facts.chain, roots, at=at))


def ssh_attestation_is_empty(data: bytes) -> bool:
    """Tells whether ``ssh-keygen`` wrote a file without any attestation, as for a key that has none."""
    try:
        magic, certificate, _, authenticator_data, _ = take_strings(data, 4, Reason.ATTESTATION_INVALID)
    except MalformedError:
        return False
    return magic == _SSH_MAGIC and certificate == b"" and authenticator_data == b""


def _parse(evidence: AttestationEvidence) -> AttestationObject:
    try:
        if evidence.kind == "webauthn":
            return AttestationObject(evidence.object)
        return _parse_ssh(evidence)
    except PlacetError:
        raise
    except Exception as e:  # fido2 documents none, and CBOR from a stranger raises many
        raise MalformedError(
            Reason.ATTESTATION_INVALID, f"The attestation object cannot be read ({type(e).__name__})."
        ) from e


def _parse_ssh(evidence: AttestationEvidence) -> AttestationObject:
    """Rebuilds the WebAuthn form of OpenSSH's file, which does not say which format was signed."""
    reason = Reason.ATTESTATION_INVALID
    magic, certificate, signature, encoded, rest = take_strings(evidence.object, 4, reason)
    if magic != _SSH_MAGIC:
        raise MalformedError(
            reason,
            "This is no attestation file of ssh-keygen.",
            hint="Make it with OpenSSH 8.5 or newer: ssh-keygen -O write-attestation=FILE",
        )
    reserved, rest = take_strings(rest[4:], 1, reason)
    if reserved:
        raise MalformedError(reason, "The attestation file has a part that nobody has defined.")
    refuse_trailing(rest, reason)
    data = AuthenticatorData(cast(bytes, cbor.decode(encoded)))
    statement: dict[str, Any] = {"sig": signature}
    if not certificate:
        if data.credential_data is not None:
            statement["alg"] = data.credential_data.public_key.ALGORITHM
        return AttestationObject.create("packed", data, statement)
    statement["x5c"] = [certificate]
    if _is_u2f(data, certificate, signature, hashlib.sha256(evidence.client_data).digest()):
        return AttestationObject.create("fido-u2f", data, statement)
    return AttestationObject.create("packed", data, statement | {"alg": _algorithm(certificate)})


def _is_u2f(data: AuthenticatorData, certificate: bytes, signature: bytes, client_hash: bytes) -> bool:
    """Tells whether a signature is of the U2F form, by trying; only keys without an AAGUID make such."""
    credential: AttestedCredentialData | None = data.credential_data
    if credential is None or credential.aaguid != Aaguid.NONE:
        return False
    try:
        FidoU2FAttestation().verify({"x5c": [certificate], "sig": signature}, data, client_hash)
    except Exception:  # whatever it is, the packed form is tried next, and that one raises
        return False
    return True


def _algorithm(certificate: bytes) -> int:
    """Returns the COSE algorithm that a certificate's key signs with in packed attestation."""
    match parse_certificate(certificate).public_key():
        case ec.EllipticCurvePublicKey():
            return -7
        case ed25519.Ed25519PublicKey():
            return -8
        case rsa.RSAPublicKey():
            return -257
    raise MalformedError(Reason.ATTESTATION_INVALID, "The attestation certificate's key is of no known type.")


def _verify(found: AttestationObject, client_data_hash: bytes) -> AttestationResult:
    try:
        return _FORMATS[found.fmt]().verify(found.att_stmt, found.auth_data, client_data_hash)
    except Exception as e:  # see the module's docstring
        raise VerificationError(
            Reason.ATTESTATION_INVALID,
            f"What the authenticator said about itself does not verify: {str(e) or type(e).__name__}.",
            hint="Ask the person to enrol again; if it happens twice, do not trust this key.",
        ) from e


def _ssh_key(key: CoseKey) -> tuple[str, bytes]:
    """Returns a COSE key as the parts of an SSH key, its type and raw bytes; both empty for other keys."""
    try:
        if isinstance(key, ES256) and key[-1] == 1 and len(key[-2]) == len(key[-3]) == 32:
            return SK_ECDSA, b"\x04" + key[-2] + key[-3]
        if isinstance(key, EdDSA) and key[-1] == 6 and len(key[-2]) == 32:
            return SK_ED25519, bytes(key[-2])
    except (KeyError, TypeError) as e:
        raise MalformedError(Reason.BAD_KEY, "The new key lacks a part.") from e
    return "", b""  # an RSA key, as many TPMs make: genuine, and of no use here


def _key_identifier(certificate: x509.Certificate) -> str:
    return x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest.hex()

"""A new credential, as a browser or python-fido2 hands it over, checked and turned into an SSH key."""

from __future__ import annotations

from typing import NamedTuple

from placet.ceremony.enrol_evidence import WEBAUTHN, check_challenge, check_registration
from placet.core.errors import MalformedError, Reason
from placet.core.signature import check_key_usable
from placet.core.sshsig import SK_ECDSA, PublicKey, encode_sk_ecdsa_key, parse_public_key
from placet.ports.attestation_verifier import AttestationEvidence, AttestationVerifier


class NewCredential(NamedTuple):
    """A credential that was just made, with what its authenticator said about itself."""

    credential_id: bytes
    public_key: PublicKey
    aaguid: str
    evidence: AttestationEvidence


def read_registration(
    *,
    client_data_json: bytes,
    attestation_object: bytes,
    challenge: bytes,
    web_origin: str,
    rp_id: str,
    verifier: AttestationVerifier,
) -> NewCredential:
    """Checks a registration and returns the new credential.

    Whether the authenticator's model is allowed is for the administrators to judge.

    Raises:
        MalformedError: it is not what a browser and an authenticator make.
        VerificationError: it answers another challenge or page, or the attestation does not verify.
        PolicyError: nobody was verified, or the credential can be copied to other devices.
    """
    evidence = AttestationEvidence(WEBAUTHN, attestation_object, client_data_json)
    check_challenge(evidence, challenge)
    facts = verifier.read(evidence)
    check_registration(facts, evidence, rp_id=rp_id, origins=[web_origin])
    if facts.key_type != SK_ECDSA:
        raise MalformedError(Reason.BAD_KEY, "The new key is not an ES256 key.")
    key = parse_public_key(encode_sk_ecdsa_key(facts.key_raw, rp_id))
    check_key_usable(key)
    return NewCredential(facts.credential_id, key, facts.aaguid, evidence)

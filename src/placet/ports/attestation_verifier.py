"""Who made an authenticator, as it said itself when a credential was made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class AttestationEvidence(NamedTuple):
    """What an authenticator said about itself, byte for byte as it came.

    It holds the credential ID, which stays with the administrators: it is never published.
    """

    kind: str
    """``webauthn`` or ``ssh-sk``."""
    object: bytes
    """The WebAuthn ``attestationObject``, or what ``ssh-keygen -O write-attestation`` writes."""
    client_data: bytes
    """What was signed beside it: the ``clientDataJSON``, or the challenge given to ``ssh-keygen``."""


class AttestationFacts(NamedTuple):
    """An attestation object whose own signature is good.  Who made its certificates is not judged yet."""

    format: str
    attestation_type: str
    """``basic`` (signed by a certificate's key), ``self`` (by the new key) or ``none``."""
    aaguid: str
    """The model, "" where none is named."""
    credential_id: bytes
    key_type: str
    """The SSH key type name of the new key, "" where SSH knows no such FIDO key."""
    key_raw: bytes
    rp_id_hash: bytes
    flags: int
    chain: tuple[bytes, ...]
    """Certificates in DER, the authenticator's own first."""
    key_identifiers: tuple[str, ...]
    """SHA-1 of each certificate's key in hexadecimal: what names the model of a U2F key."""


class AttestationVerifier(Protocol):
    """Verifies attestation objects.

    Obligations:

    - `read` returns nothing whose signature over authenticator data and client data does not verify.
    - Both raise `PlacetError` and nothing else, on any input, of any size.
    - Neither fetches anything.
    """

    def read(self, evidence: AttestationEvidence) -> AttestationFacts:
        """Returns what was said, its signature verified."""
        ...

    def check_chain(self, facts: AttestationFacts, roots: Sequence[bytes], *, at: int) -> str:
        """Checks that the certificates lead to one of `roots` (DER) at a time; returns that root's name."""
        ...

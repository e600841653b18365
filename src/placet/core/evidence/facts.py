"""Evidence as it travels, and what a verifier found when it checked it (spec/17-evidence.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from placet.core.decode import Object
from placet.core.encoding import Digest

SIGSTORE_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
SIGSTORE_MEDIA_TYPES = frozenset(
    {
        SIGSTORE_MEDIA_TYPE,
        *(f"application/vnd.dev.sigstore.bundle+json;version=0.{minor}" for minor in (1, 2, 3)),
    }
)
DSSE_MEDIA_TYPE = "application/vnd.dsse.envelope.v1+json"
PYPI_MEDIA_TYPE = "application/vnd.pypi.attestation.v1+json"
LINKS_MEDIA_TYPE = "application/vnd.placet.in-toto-links.v1+json"

PROVENANCE, VSA, SOURCE, SBOM = "slsa-provenance", "slsa-vsa", "slsa-source", "sbom"
IN_TOTO, ATTESTATION, SIGNATURE = "in-toto", "attestation", "signature"
KINDS = (PROVENANCE, VSA, SOURCE, SBOM, IN_TOTO, ATTESTATION, SIGNATURE)

# A prefix stands for every version and variant of its predicate.
_KIND_OF_PREDICATE = (
    ("https://slsa.dev/provenance/", PROVENANCE),
    ("https://slsa.dev/verification_summary/", VSA),
    ("https://github.com/slsa-framework/slsa-source-poc/source-provenance/", SOURCE),
    ("https://cyclonedx.org/bom", SBOM),
    ("https://cyclonedx.org/schema", SBOM),
    ("https://spdx.dev/Document", SBOM),
)


class Evidence(NamedTuple):
    """A document that the statement names by digest."""

    digest: Digest
    media_type: str
    content: bytes


class Identity(NamedTuple):
    """Whom an OIDC issuer vouches for in a token, and to what end."""

    issuer: str
    subject: str
    audience: str


class Signer(NamedTuple):
    """Who signed a piece of evidence, as verified.

    Args:
        kind: ``certificate``, ``key`` or ``functionaries``.
        issuer: the OIDC issuer that the certificate names, or "".
        identity: the certificate's subject alternative name, or "".
        key_digest: SHA-256 of the DER SubjectPublicKeyInfo of a bare key, in hex, or "".
        claims: Fulcio's certificate extensions by name, such as ``sourceRepositoryUri``.
        instance: the trust root's file whose authorities vouch for the certificate, such as
            ``sigstore/trusted_root.json``; ``public-good`` for the built-in one; "" for keys.
    """

    kind: str
    issuer: str = ""
    identity: str = ""
    key_digest: str = ""
    claims: Mapping[str, str] = {}
    instance: str = ""


class EvidenceFact(NamedTuple):
    """What a verifier found in one piece of evidence: true here and now, whatever the requester called it.

    Args:
        kind: what was verified, one of `KINDS` or ``requester-token``.
        digest: SHA-256 of the evidence that was checked.
        subjects: digests that the evidence covers, spelled ``sha256:…``.
        identity: what a requester's token says, None for other evidence.
        signer: who signed; None for tokens.
        signed_at: proven signing time in Unix seconds, 0 where nothing proves it.
        predicate_type: of the verified statement, "" for a plain signature.
        predicate: of the verified statement.
        logged: whether an entry of a transparency log was verified.
    """

    kind: str
    digest: Digest
    subjects: frozenset[str]
    identity: Identity | None = None
    signer: Signer | None = None
    signed_at: int = 0
    predicate_type: str = ""
    predicate: Object = {}  # noqa: RUF012
    logged: bool = False


class MetEvidence(NamedTuple):
    """A fact that met what is required; `level` is the SLSA level it reached, None where there is none.

    `asked` is the kind that was required: a verification summary may have been asked for as "slsa-source".
    """

    fact: EvidenceFact
    media_type: str
    level: int | None = None
    asked: str = ""


def kind_of(predicate_type: str) -> str:
    """Returns the kind of a verified statement with this predicate type."""
    for prefix, kind in _KIND_OF_PREDICATE:
        if predicate_type.startswith(prefix):
            return kind
    return ATTESTATION

"""Bundles as sigstore-python's own class, with the forms that it refuses and users have.

sigstore-python wants a certificate and a log entry with a proof.  Users have bundles that a plain key
signed, bundles of GitHub's own instance, which has no log, and bundles of version 0.1 that carry nothing but
the log's signed promise.  `EvidenceBundle` holds them all, so that one verifier judges them all.

Leaves out: every signature and proof.
"""

from __future__ import annotations

from datetime import datetime

from cryptography.x509 import Certificate, load_der_x509_certificate
from sigstore import dsse
from sigstore._internal.trust import RekorKeyring
from sigstore.models import Bundle, TransparencyLogEntry
from sigstore_models.bundle.v1 import Bundle as BundleModel
from sigstore_models.rekor import v1 as rekor_v1

from placet.adapters.sigstore.documents import V01, V02, Document
from placet.adapters.sigstore.refusals import not_logged, unsupported

# What version 0.1 has in place of a proof; sigstore-python's own model wants the proof.
_OLD = (V01, V02)
REKOR_V2 = ("hashedrekord", "0.0.2")
ENTRY_KINDS = frozenset({REKOR_V2, ("hashedrekord", "0.0.1"), ("dsse", "0.0.1"), ("intoto", "0.0.2")})


class _PromisedModel(rekor_v1.TransparencyLogEntry):
    inclusion_proof: rekor_v1.InclusionProof | None = None  # type: ignore[assignment]


class PromisedEntry(TransparencyLogEntry):
    """A log entry with the log's signed promise and no proof, as bundles of version 0.1 may have it."""

    def _validate(self) -> None:
        if not self._inner.inclusion_promise or not self._inner.integrated_time:
            raise not_logged("The bundle's log entry has neither a proof nor the log's signed promise.")

    def _verify(self, keyring: RekorKeyring) -> None:
        self._verify_set(keyring)


class EvidenceBundle(Bundle):
    """A bundle of any version, with a certificate or a plain key, with or without a log entry."""

    def __init__(self, document: Document) -> None:
        """Reads a document.

        Raises:
            PlacetError: EVIDENCE_NOT_LOGGED, EVIDENCE_UNSUPPORTED.
            Exception: whatever the libraries find wrong with it.
        """
        self.entry = _entry(document)
        self.times: list[datetime] = []
        self._certificate: Certificate | None = None
        # The document came from JSON, so lax validation lets nothing pass but names of enumerations.
        super().__init__(BundleModel.model_validate(document.bundle, strict=False))
        self.envelope = super()._dsse_envelope

    def _verify(self) -> None:
        material = self._inner.verification_material
        if material.public_key is not None:
            return
        if self._inner.media_type in _OLD:
            chain = material.x509_certificate_chain
            raw = chain.certificates[0].raw_bytes if chain and chain.certificates else None
        else:
            raw = material.certificate.raw_bytes if material.certificate else None
        if raw is None:
            raise ValueError("the bundle has no certificate where its version has it")
        self._certificate = load_der_x509_certificate(raw)

    @property
    def signing_certificate(self) -> Certificate:
        """The certificate of whoever signed."""
        if self._certificate is None:
            raise ValueError("a plain key signed this bundle")
        return self._certificate

    @property
    def log_entry(self) -> TransparencyLogEntry:
        """The entry of the transparency log."""
        if self.entry is None:
            raise not_logged("The bundle has no entry of a transparency log.")
        return self.entry

    @property
    def _dsse_envelope(self) -> dsse.Envelope | None:
        return self.envelope

    @property
    def signature(self) -> bytes:
        """The one signature, over an envelope or over an artifact's digest."""
        if self.envelope is not None:
            return self.envelope.signature
        message = self._inner.message_signature
        if message is None or not message.signature:
            raise ValueError("the bundle has no signature")
        return message.signature

    @property
    def timestamps(self) -> tuple[bytes, ...]:
        """The timestamp responses that the bundle carries, in DER."""
        data = self._inner.verification_material.timestamp_verification_data
        return tuple(stamp.signed_timestamp for stamp in data.rfc3161_timestamps) if data else ()

    @property
    def entry_kind(self) -> tuple[str, str]:
        """The log entry's kind and version, ("", "") where there is no entry."""
        if self.entry is None:
            return "", ""
        kind = self.entry._inner.kind_version
        return kind.kind, kind.version


def _entry(document: Document) -> TransparencyLogEntry | None:
    if document.entry is None:
        return None
    kind = document.entry.get("kindVersion")
    named = tuple(str(kind.get(n, ""))[:40] for n in ("kind", "version")) if isinstance(kind, dict) else ()
    if named not in ENTRY_KINDS:
        raise unsupported(f"This version reads no log entries of the kind {' '.join(named) or 'unnamed'!r}.")
    if "inclusionProof" in document.entry:
        return TransparencyLogEntry(
            rekor_v1.TransparencyLogEntry.model_validate(document.entry, strict=False)
        )
    return PromisedEntry(_PromisedModel.model_validate(document.entry, strict=False))

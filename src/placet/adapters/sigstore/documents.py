"""The JSON of Sigstore bundles and PEP 740 attestations, read into one shape.

Go's and JavaScript's writers leave out members with default values and write ``null`` for nothing, as
protobuf's JSON mapping allows; Python's model of bundles wants them all.  Here they get one spelling.
The mapping's second spelling of names, ``tlog_entries`` for ``tlogEntries``, is refused: what is read under
two names is read in two ways.

Leaves out: every signature and proof.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from placet.adapters.sigstore.refusals import not_logged, unsupported
from placet.core.decode import Object, read_list
from placet.core.encoding import parse_json
from placet.core.errors import MalformedError, Reason
from placet.core.evidence.facts import SIGSTORE_MEDIA_TYPE, SIGSTORE_MEDIA_TYPES

# The largest container has 4 MiB, so nothing larger arrives; whatever parses this is bounded by it.
MAX_DOCUMENT_BYTES = 4 * 1024 * 1024
# A log entry has one proof of at most 64 hashes; each timestamp costs several signature checks.
MAX_TIMESTAMPS = 8
MAX_PROOF_HASHES = 64
MAX_CERTIFICATES = 8
# Checkpoints have some hundreds of bytes for each witness.
MAX_CHECKPOINT = 64 * 1024

V01 = "application/vnd.dev.sigstore.bundle+json;version=0.1"
V02 = "application/vnd.dev.sigstore.bundle+json;version=0.2"

_INTEGERS = frozenset({"logIndex", "treeSize", "integratedTime"})


class Document(NamedTuple):
    """A bundle in one spelling.

    Args:
        bundle: the bundle's members; the log entry is taken out.
        entry: the log entry, None where there is none.
        version: the bundle's media type.
    """

    bundle: Object
    entry: Object | None
    version: str

    @property
    def has_key(self) -> bool:
        """Whether a plain key signed, not one with a certificate."""
        return "publicKey" in self.bundle["verificationMaterial"]


def parse_bundle(content: bytes) -> Document:
    """Parses a Sigstore bundle of version 0.1, 0.2 or 0.3.

    Raises:
        MalformedError: it is no JSON, or has another shape.
        VerificationError: EVIDENCE_NOT_LOGGED: its log entry has no proof.
        IndeterminateError: EVIDENCE_UNSUPPORTED: another version, or several log entries.
    """
    return to_document(read_bundle(content))


def read_bundle(content: bytes) -> Object:
    """Reads a Sigstore bundle's JSON as it is.

    Raises:
        MalformedError: it is no JSON object.
    """
    return _object(parse_json(content, max_bytes=MAX_DOCUMENT_BYTES, what="Sigstore bundle"), "")


def read_pypi_attestation(content: bytes) -> Object:
    """Reads a PEP 740 attestation object, which is a Sigstore bundle in other words, as that bundle.

    Raises:
        MalformedError: it is no JSON, or has another shape.
        IndeterminateError: EVIDENCE_UNSUPPORTED: another version.
    """
    top = _object(parse_json(content, max_bytes=MAX_DOCUMENT_BYTES, what="PyPI attestation"), "")
    if top.get("version") != 1:
        raise unsupported("This is no PyPI attestation of version 1 (PEP 740).")
    material = _object(top.get("verification_material"), "/verification_material")
    envelope = _object(top.get("envelope"), "/envelope")
    return {
        "mediaType": SIGSTORE_MEDIA_TYPE,
        "verificationMaterial": {
            "certificate": {"rawBytes": material.get("certificate")},
            "tlogEntries": material.get("transparency_entries"),
        },
        "dsseEnvelope": {
            "payload": envelope.get("statement"),
            "payloadType": "application/vnd.in-toto+json",  # PEP 740 knows no other
            "signatures": [{"sig": envelope.get("signature")}],
        },
    }


def to_document(bundle: Object) -> Document:
    """Puts a bundle's JSON into one spelling.

    Raises:
        MalformedError: it has another shape.
        VerificationError: EVIDENCE_NOT_LOGGED: its log entry has no proof.
        IndeterminateError: EVIDENCE_UNSUPPORTED: another version, or several log entries.
    """
    version = bundle.get("mediaType")
    if not isinstance(version, str) or version not in SIGSTORE_MEDIA_TYPES:
        raise unsupported("This is no Sigstore bundle of version 0.1, 0.2 or 0.3.")
    return _document(_normalize(bundle, ""), version)


def _document(bundle: Object, version: str) -> Document:
    material = _object(bundle.get("verificationMaterial"), "/verificationMaterial")
    at = "/verificationMaterial/tlogEntries"
    entries = read_list(material.get("tlogEntries", []), at, max_items=64)
    if len(entries) > 1:
        raise unsupported("The bundle has several log entries; this version reads bundles with one.")
    _check_limits(material)
    entry = _read_entry(_object(entries[0], f"{at}/0"), version) if entries else None
    return Document({**bundle, "verificationMaterial": {**material, "tlogEntries": []}}, entry, version)


def _read_entry(entry: Object, version: str) -> Object:
    """Puts protobuf's default values where they were left out, and looks for the proof."""
    proof = entry.get("inclusionProof")
    if isinstance(proof, dict) and proof.get("checkpoint"):
        read_list(proof.get("hashes", []), "/verificationMaterial/tlogEntries/0", max_items=MAX_PROOF_HASHES)
        checkpoint = proof["checkpoint"]
        text = checkpoint.get("envelope") if isinstance(checkpoint, dict) else None
        if isinstance(text, str) and len(text) > MAX_CHECKPOINT:
            raise MalformedError(Reason.TOO_LARGE, "The log's checkpoint is too long.", path="/evidence")
        proof = {"logIndex": "0", "hashes": [], **proof}
    elif version != V01:
        raise not_logged("The bundle's log entry has no proof that the log contains it.")
    elif not entry.get("inclusionPromise"):
        raise not_logged("The bundle's log entry has neither a proof nor the log's signed promise.")
    else:
        # Version 0.1 knew only the log's promise; a proof without a checkpoint proves nothing more.
        proof = None
    rest = {name: value for name, value in entry.items() if name != "inclusionProof"}
    return {"logIndex": "0", **rest} | ({"inclusionProof": proof} if proof else {})


def _check_limits(material: Object) -> None:
    stamps = material.get("timestampVerificationData")
    for group, member, most in (
        (stamps, "rfc3161Timestamps", MAX_TIMESTAMPS),
        (material.get("x509CertificateChain"), "certificates", MAX_CERTIFICATES),
    ):
        if isinstance(group, dict):
            read_list(group.get(member, []), f"/verificationMaterial/{member}", max_items=most)


def _normalize(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        for member in value:
            if "_" in member:
                raise MalformedError(
                    Reason.UNKNOWN_MEMBER, f"The member {member[:64]!r} is not known here.", path="/evidence"
                )
        return {key: _normalize(item, key) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_normalize(item, "") for item in value]
    if name in _INTEGERS and type(value) is int:
        return str(value)
    return value


def _object(value: Any, path: str) -> Object:
    if not isinstance(value, dict):
        raise MalformedError(Reason.WRONG_TYPE, "An object was expected.", path=path or "/")
    return value

"""Which documents of evidence a file or an answer holds, told by their form alone.

Everything here is what somebody else claims: it decides what is worth verifying, and nothing more.
A document keeps its bytes wherever it stands alone, so that its digest is the one that others know.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from placet.core.encoding import b64decode_strict, sha256_hex
from placet.core.errors import MalformedError, PlacetError, Reason
from placet.core.evidence.attestations import parse_foreign_json
from placet.core.evidence.facts import (
    ATTESTATION,
    DSSE_MEDIA_TYPE,
    PYPI_MEDIA_TYPE,
    SIGNATURE,
    SIGSTORE_MEDIA_TYPES,
    Evidence,
    kind_of,
)

# A file of many bundles, such as `gh attestation download` writes for an artifact with a long history.
MAX_FILE_BYTES = 16 * 1024 * 1024
MAX_DOCUMENTS = 256
_IN_TOTO_PAYLOAD = "application/vnd.in-toto+json"
_STATEMENT_TYPES = ("https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1")


class Found(NamedTuple):
    """A document of evidence that nobody verified yet.

    Args:
        evidence: as it would be carried.
        kind: what it claims to be.
        place: where it was found, for people.
    """

    evidence: Evidence
    kind: str
    place: str


class Unusable(NamedTuple):
    """Something that lies where evidence lies, and cannot be carried as such; `why` is a clause."""

    place: str
    why: str


def read_documents(data: bytes, place: str) -> Iterator[Found | Unusable]:
    """Yields what a file holds: one document, one in each line, or a list of them in a publisher's wrapping.

    Yields at most `MAX_DOCUMENTS`.
    """
    for count, item in enumerate(_split(data, place)):
        if count >= MAX_DOCUMENTS:
            yield Unusable(place, f"it holds more than {MAX_DOCUMENTS} documents; the rest is not looked at")
            return
        yield item


def _split(data: bytes, place: str) -> Iterator[Found | Unusable]:
    try:
        value = parse_foreign_json(data, max_bytes=MAX_FILE_BYTES, what="file")
    except MalformedError as e:
        lines = [line.strip() for line in data.split(b"\n") if line.strip()]
        if e.reason is not Reason.NOT_JSON or len(lines) < 2:
            yield Unusable(place, f"it cannot be read: {e.message}")
            return
        for number, line in enumerate(lines, 1):
            at = f"{place}, line {number}"
            try:
                yield from _unwrap(parse_foreign_json(line, max_bytes=MAX_FILE_BYTES, what="line"), line, at)
            except MalformedError as broken:
                yield Unusable(at, f"it cannot be read: {broken.message}")
        return
    yield from _unwrap(value, data.strip(), place)


def _unwrap(value: Any, data: bytes, place: str) -> Iterator[Found | Unusable]:
    """Yields the documents of one JSON value; `data` are its bytes."""
    if isinstance(value, list):
        for i, item in enumerate(value, 1):
            yield from _unwrap(item, _dump(item), f"{place}, item {i}")
        return
    if not isinstance(value, dict):
        yield Unusable(place, "it is no document of evidence")
        return
    inner = _wrapped(value)
    if inner is not None:
        for i, item in enumerate(inner, 1):
            yield from _unwrap(item, _dump(item), f"{place}, item {i}")
        return
    yield classify(value, data, place)


def _wrapped(value: dict[str, Any]) -> list[Any] | None:
    """Returns the documents in what GitHub, npm and PyPI wrap around them, or None."""
    listed = value.get("attestations")
    if isinstance(listed, list):  # GitHub's and npm's attestation APIs
        return [item["bundle"] if isinstance(item, dict) and "bundle" in item else item for item in listed]
    listed = value.get("attestation_bundles")
    if isinstance(listed, list):  # a provenance object of PEP 740
        found: list[Any] = []
        for item in listed:
            inner = item.get("attestations") if isinstance(item, dict) else None
            found += inner if isinstance(inner, list) else []
        return found
    return None


def classify(value: dict[str, Any], data: bytes, place: str) -> Found | Unusable:
    """Returns what one JSON object is."""
    media_type = value.get("mediaType")
    if isinstance(media_type, str) and media_type in SIGSTORE_MEDIA_TYPES:
        kind = SIGNATURE if "messageSignature" in value else _kind_of_envelope(value.get("dsseEnvelope"))
        return _found(media_type, kind, data, place)
    if "payloadType" in value and "signatures" in value:
        if value["payloadType"] != _IN_TOTO_PAYLOAD:
            return Unusable(place, "its signed payload is no in-toto statement")
        return _found(DSSE_MEDIA_TYPE, _kind_of_envelope(value), data, place)
    if "verification_material" in value and "envelope" in value:
        envelope = value["envelope"]
        text = envelope.get("statement") if isinstance(envelope, dict) else None
        return _found(PYPI_MEDIA_TYPE, _kind_of_payload(text), data, place)
    return Unusable(place, _say_why_not(value))


def _say_why_not(value: dict[str, Any]) -> str:
    if value.get("_type") in _STATEMENT_TYPES:
        return "the statement is not signed, so it proves nothing"
    if "bomFormat" in value or "spdxVersion" in value:
        return "the SBOM is not signed, so it proves nothing"
    if "signed" in value:
        return "it is a link or layout of in-toto; give the folder of links with --links"
    if "rekorBundle" in value or "base64Signature" in value:
        return "it is a bundle of an old cosign; sign again with --bundle of cosign 3, or --new-bundle-format"
    return "it is in no form of evidence that this version reads"


def _found(media_type: str, kind: str, data: bytes, place: str) -> Found:
    return Found(Evidence(sha256_hex(data), media_type, data), kind, place)


def _kind_of_envelope(value: Any) -> str:
    return _kind_of_payload(value.get("payload") if isinstance(value, dict) else None)


def _kind_of_payload(text: Any) -> str:
    """Returns the kind that a statement claims; ATTESTATION where it cannot be read."""
    try:
        statement = json.loads(b64decode_strict(text, "/payload")) if isinstance(text, str) else None
    except (PlacetError, ValueError, RecursionError):
        statement = None
    claimed = statement.get("predicateType") if isinstance(statement, dict) else None
    return kind_of(claimed) if isinstance(claimed, str) else ATTESTATION


def _dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")

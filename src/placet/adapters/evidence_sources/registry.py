"""Evidence that hangs on an image in a registry.

    referrers of Sigstore's artifact types    what cosign 3, GitHub and others attach
    referrers of other types                  bare envelopes and package attestations in their layers
    tag sha256-<hex>.att                      what cosign attached before: envelopes, the rest in annotations

Signatures of cosign's old form (``sha256-<hex>.sig``) are over a text that names the image, not over the
image; nothing here carries them, and that is said.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from placet.adapters.bounded_http import HttpError
from placet.adapters.evidence_sources.documents import Found, Unusable, read_documents
from placet.adapters.oci.client import MANIFEST_TYPE, Descriptor, RegistryClient
from placet.adapters.oci.login import RegistryRefused, read_json
from placet.adapters.oci.referrers import fetch_manifest, list_referrers, may_be, read_manifest, tag_of
from placet.core.bundle import MAX_REQUEST_BYTES
from placet.core.encoding import b64decode_strict, b64encode
from placet.core.errors import PlacetError
from placet.core.evidence.facts import DSSE_MEDIA_TYPE, SIGNATURE, kind_of

SIGSTORE_PREFIX = "application/vnd.dev.sigstore.bundle"
_TYPES = (
    SIGSTORE_PREFIX,
    DSSE_MEDIA_TYPE,
    "application/vnd.in-toto+json",
    "application/vnd.pypi.attestation",
)
# Each costs two looks at the registry; an image has a handful.
_MAX_FETCHED = 48
_MAX_LAYERS = 32
# cosign's hint at what a bundle says; it orders the search and decides nothing.
_PREDICATE_HINT = "dev.sigstore.bundle.predicateType"
_V01_TYPE = "application/vnd.dev.sigstore.bundle+json;version=0.1"
_CERTIFICATE, _BUNDLE = "dev.sigstore.cosign/certificate", "dev.sigstore.cosign/bundle"


def look_in_registry(
    client: RegistryClient, digest: str, wanted: Collection[str]
) -> Iterator[Found | Unusable]:
    """Yields what hangs on an image; of what says by its type that it is something else, nothing.

    Args:
        client: of the image's repository.
        digest: the image's, ``sha256:…``.
        wanted: the kinds that are looked for; they come first.

    Raises:
        HttpError: the registry cannot be asked.
    """
    listed = [d for d in list_referrers(client, digest) if may_be(d, *_TYPES)]
    listed.sort(key=lambda d: _rank(d, wanted))
    for descriptor in listed[:_MAX_FETCHED]:
        place = f"{client.image.name}, referrer {descriptor.digest[:19]}…"
        try:
            manifest = fetch_manifest(client, descriptor, subject=digest)
            for layer in manifest.layers[:_MAX_LAYERS]:
                if layer.media_type.startswith(_TYPES):
                    yield from _read_layer(client, layer, place)
        except HttpError as e:
            yield Unusable(place, f"it cannot be had: {e}")
    if len(listed) > _MAX_FETCHED:
        yield Unusable(
            client.image.name, f"only {_MAX_FETCHED} of its {len(listed)} referrers were looked at"
        )
    yield from _legacy(client, digest, wanted)


def _rank(descriptor: Descriptor, wanted: Collection[str]) -> int:
    hint = descriptor.annotations.get(_PREDICATE_HINT, "")
    if not hint:
        return 1
    return 0 if kind_of(hint) in wanted else 2


def _read_layer(client: RegistryClient, layer: Descriptor, place: str) -> Iterator[Found | Unusable]:
    if layer.size > MAX_REQUEST_BYTES:
        yield Unusable(place, f"it has {layer.size} bytes, more than a request can carry")
        return
    yield from read_documents(client.get_blob(layer.digest, max_bytes=MAX_REQUEST_BYTES), place)


def _legacy(client: RegistryClient, digest: str, wanted: Collection[str]) -> Iterator[Found | Unusable]:
    """Yields what cosign attached before there were referrers."""
    tag = tag_of(digest, ".att")
    place = f"{client.image.name}:{tag_of(digest)[:14]}….att"
    found = client.get_tag(tag)
    if found is not None:
        try:
            value = read_json(found[1])
            layers = read_manifest(value, Descriptor(MANIFEST_TYPE, found[0], len(found[1]))).layers
            for layer in layers[:_MAX_LAYERS]:
                if layer.media_type == DSSE_MEDIA_TYPE and layer.size <= MAX_REQUEST_BYTES:
                    envelope = client.get_blob(layer.digest, max_bytes=MAX_REQUEST_BYTES)
                    yield from read_documents(_complete(envelope, layer.annotations), place)
        except HttpError as e:
            yield Unusable(place, f"it cannot be had: {e}")
    if SIGNATURE in wanted and _has_tag(client, tag_of(digest, ".sig")):
        yield Unusable(
            f"{client.image.name}:{tag_of(digest)[:14]}….sig",
            "it is a signature of an old cosign, over a text that names the image; sign again with cosign 3",
        )


def _has_tag(client: RegistryClient, tag: str) -> bool:
    try:
        return client.get_tag(tag) is not None
    except RegistryRefused:
        return False


def _complete(envelope: bytes, annotations: Mapping[str, str]) -> bytes:
    """Puts an envelope of cosign's old form together with what belongs to it.

    With a log entry it becomes a Sigstore bundle v0.1, with a certificate alone an envelope whose signature
    names it; with neither it is what it was, signed by a bare key.  Nothing is trusted by this: whoever
    verifies the result checks each part of it.
    """
    value, certificate = read_json(envelope), annotations.get(_CERTIFICATE, "")
    if not isinstance(value, dict) or not certificate:
        return envelope
    entry = _log_entry(annotations.get(_BUNDLE, ""))
    chain = [_der(pem) for pem in _split_pem(certificate)]
    if entry is None or not chain or not all(chain):
        signatures = value.get("signatures")
        if isinstance(signatures, list) and len(signatures) == 1 and isinstance(signatures[0], dict):
            return json.dumps({**value, "signatures": [{**signatures[0], "cert": certificate}]}).encode()
        return envelope
    material = {
        "x509CertificateChain": {"certificates": [{"rawBytes": der} for der in chain]},
        "tlogEntries": [entry],
    }
    return json.dumps(
        {"mediaType": _V01_TYPE, "verificationMaterial": material, "dsseEnvelope": value}
    ).encode()


def _log_entry(text: str) -> dict[str, Any] | None:
    """Returns the log entry of cosign's annotation as a Sigstore bundle spells it, or None."""
    value = read_json(text.encode("utf-8", "replace"))
    try:
        payload = value["Payload"]
        body = read_json(b64decode_strict(payload["body"], "/body"))
        return {
            "logIndex": str(int(payload["logIndex"])),
            "logId": {"keyId": b64encode(bytes.fromhex(payload["logID"]))},
            "kindVersion": {"kind": str(body["kind"]), "version": str(body["apiVersion"])},
            "integratedTime": str(int(payload["integratedTime"])),
            "inclusionPromise": {"signedEntryTimestamp": value["SignedEntryTimestamp"]},
            "canonicalizedBody": payload["body"],
        }
    except (PlacetError, KeyError, TypeError, ValueError, OverflowError):  # int() of infinity
        return None


def _split_pem(text: str) -> list[str]:
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    return [part.partition(end)[0] for part in text.split(begin)[1:]]


def _der(pem: str) -> str:
    """Returns a certificate's DER in base64, or ""."""
    text = "".join(pem.split())
    try:
        b64decode_strict(text, "/certificate")
    except PlacetError:
        return ""
    return text

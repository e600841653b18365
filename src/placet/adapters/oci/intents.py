"""Intent bundles and Sigstore bundles on an image: attached, and found again (spec/10-bundle.md).

Approvals hang under an artifact type of our own.  Under Sigstore's hangs what Sigstore's own tools read, and
nothing else: some of them refuse an image altogether when one document there does not parse.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from placet.adapters.bounded_http import HttpError
from placet.adapters.oci.client import Descriptor, RegistryClient
from placet.adapters.oci.login import read_json
from placet.adapters.oci.referrers import Attached, attach, fetch_manifest, list_referrers, may_be
from placet.core.bundle import (
    BUNDLE_MEDIA_TYPE,
    MAX_BUNDLE_BYTES,
    IntentBundle,
    encode_bundle,
    parse_bundle,
)
from placet.core.encoding import b64decode_strict, format_time
from placet.core.errors import MalformedError, PlacetError, Reason
from placet.core.evidence.attestations import parse_attestation
from placet.core.evidence.facts import SIGSTORE_MEDIA_TYPE
from placet.core.statement import IntentStatement, parse_statement

REQUEST_ANNOTATION = "dev.placet.intent.request"
EXPIRES_ANNOTATION = "dev.placet.intent.expiresAt"
_CREATED = "org.opencontainers.image.created"
# An image that is deployed to many places has a few new ones each day.
_MAX_FETCHED = 64
_MATERIALS = ("certificate", "publicKey")


class AttachedIntent(NamedTuple):
    """An approval that hangs on an image.  Nothing of it is verified: `placet verify` does that.

    Args:
        digest: of the manifest that holds it.
        content: the contents of an ``*.intent.json`` file.
        statement: what it says.
    """

    digest: str
    content: bytes
    statement: IntentStatement


class SigstoreDocument(NamedTuple):
    """A Sigstore bundle of version 0.3 with a statement, as verifiers of images look for it."""

    content: bytes
    predicate_type: str
    subjects: frozenset[str]


def attach_intent(
    client: RegistryClient, image: Descriptor, content: bytes, *, with_trust: bool = False
) -> Attached:
    """Attaches an approval to an image.

    Args:
        client: of the image's repository.
        image: its manifest; one of the approval's artifacts.
        content: an ``*.intent.json`` file.
        with_trust: leave the trust of its time in it, which names all people of the deployment.

    Raises:
        PlacetError: it is no intent bundle.
        HttpError: the registry does not take it.
    """
    bundle = parse_bundle(content)
    statement = parse_statement(bundle.envelope.payload)
    return attach(
        client,
        image,
        content if with_trust else strip_trust(bundle),
        artifact_type=BUNDLE_MEDIA_TYPE,
        title=f"{statement.payload_digest[:16]}.intent.json",
        # Only what the bundle itself says, so that the same bundle always makes the same manifest.
        annotations={
            _CREATED: format_time(statement.issued_at),
            REQUEST_ANNOTATION: statement.payload_digest,
            EXPIRES_ANNOTATION: format_time(statement.expires_at),
        },
    )


def strip_trust(bundle: IntentBundle) -> bytes:
    """Returns an intent bundle with trust versions alone: the people file is a list of staff."""
    return encode_bundle(bundle)


def list_intents(client: RegistryClient, digest: str) -> Iterator[AttachedIntent | HttpError]:
    """Yields the approvals that hang on an image, and why one of them cannot be read.

    Raises:
        HttpError: the registry cannot be asked.
    """
    listed = [d for d in list_referrers(client, digest) if may_be(d, BUNDLE_MEDIA_TYPE)]
    # Newest first, by a note that nobody vouches for: it only says where to begin.
    listed.sort(key=lambda d: d.annotations.get(_CREATED, ""), reverse=True)
    for descriptor in listed[:_MAX_FETCHED]:
        try:
            intent = _fetch_intent(client, descriptor, digest)
            if intent is not None:
                yield intent
        except PlacetError as e:
            yield HttpError(f"{descriptor.digest} is no approval of {digest}: {e.message}")
        except HttpError as e:
            yield e


def _fetch_intent(client: RegistryClient, descriptor: Descriptor, digest: str) -> AttachedIntent | None:
    manifest = fetch_manifest(client, descriptor, subject=digest)
    layers = [layer for layer in manifest.layers if layer.media_type == BUNDLE_MEDIA_TYPE]
    if not layers and descriptor.artifact_type != BUNDLE_MEDIA_TYPE:
        return None  # it did not say what it is, and is something else
    if len(layers) != 1:
        raise HttpError(f"{descriptor.digest} does not hold one approval.")
    content = client.get_blob(layers[0].digest, max_bytes=MAX_BUNDLE_BYTES)
    statement = parse_statement(parse_bundle(content).envelope.payload)
    if digest not in {subject.digest for subject in statement.subjects}:
        raise HttpError(f"{descriptor.digest} is about other artifacts than {digest}.")
    return AttachedIntent(descriptor.digest, content, statement)


def read_sigstore(content: bytes) -> SigstoreDocument:
    """Reads a Sigstore bundle as strictly as the strictest of its readers.

    Raises:
        MalformedError: UNSUPPORTED_TYPE, BAD_VALUE: one of them would refuse it, and with it the whole image.
    """
    value = read_json(content)
    found = value.get("mediaType") if isinstance(value, dict) else None
    if found != SIGSTORE_MEDIA_TYPE:
        raise MalformedError(
            Reason.UNSUPPORTED_TYPE,
            "This is no Sigstore bundle of version 0.3; verifiers of images read no other.",
            path="/mediaType",
            expected=SIGSTORE_MEDIA_TYPE,
            actual=found if isinstance(found, str) else None,
        )
    material, envelope = value.get("verificationMaterial"), value.get("dsseEnvelope")
    if not isinstance(material, dict) or sum(name in material for name in _MATERIALS) != 1:
        raise _bad("It names neither one certificate nor one key.", "/verificationMaterial")
    signatures = envelope.get("signatures") if isinstance(envelope, dict) else None
    if not isinstance(signatures, list) or len(signatures) != 1:
        raise _bad("It does not hold one envelope with one signature.", "/dsseEnvelope/signatures")
    return _with_statement(content, envelope)


def _with_statement(content: bytes, envelope: Any) -> SigstoreDocument:
    payload = envelope.get("payload")
    if envelope.get("payloadType") != "application/vnd.in-toto+json" or not isinstance(payload, str):
        raise _bad("Its envelope holds no in-toto statement.", "/dsseEnvelope/payloadType")
    attestation = parse_attestation(b64decode_strict(payload, "/dsseEnvelope/payload"))
    return SigstoreDocument(content, attestation.predicate_type, attestation.subjects)


def _bad(message: str, path: str) -> MalformedError:
    return MalformedError(Reason.BAD_VALUE, f"This Sigstore bundle cannot be attached. {message}", path=path)


def attach_sigstore(client: RegistryClient, image: Descriptor, document: SigstoreDocument) -> Attached:
    """Attaches a Sigstore bundle to an image, where cosign and admission controllers look for it.

    Raises:
        HttpError: the registry does not take it.
    """
    return attach(
        client,
        image,
        document.content,
        artifact_type=SIGSTORE_MEDIA_TYPE,
        annotations={
            "dev.sigstore.bundle.content": "dsse-envelope",
            "dev.sigstore.bundle.predicateType": document.predicate_type,
        },
    )

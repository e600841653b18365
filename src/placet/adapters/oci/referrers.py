"""What hangs on an image: listed, fetched and attached (OCI distribution specification 1.1).

    GET /v2/<name>/referrers/<digest>     where the registry knows referrers
    tag sha256-<hex>                      an index by convention, where it does not

A listing is nobody's promise: a registry may leave out, reorder and invent.  Manifests and blobs have the
digests by which they were asked for, and a manifest counts only if it names the image as its subject.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from placet.adapters.bounded_http import HttpError
from placet.adapters.oci.client import INDEX_TYPE, MANIFEST_TYPE, Descriptor, RegistryClient
from placet.adapters.oci.login import read_json
from placet.core.encoding import encode_canonical, is_hex, sha256_hex

EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
_EMPTY = b"{}"
_MAX_PAGES = 16
# Far more than any image has; each costs a look.
MAX_REFERRERS = 1000
_MAX_ANNOTATION = 4096
_MAX_ANNOTATIONS = 64
_MAX_LAYERS = 64
# Answers by which registries say that they know no referrers.
_UNKNOWN = frozenset({400, 404, 405, 406, 501})
_TRIES = 3


class Manifest(NamedTuple):
    """An artifact's manifest, as far as it matters here."""

    descriptor: Descriptor
    layers: tuple[Descriptor, ...]


class Attached(NamedTuple):
    """What `attach` did: the new manifest's digest, and whether a tag had to help."""

    digest: str
    by_tag: str


def list_referrers(client: RegistryClient, digest: str) -> tuple[Descriptor, ...]:
    """Returns what refers to a manifest, in the registry's order.

    Raises:
        HttpError: the registry does not say.
    """
    reply = client.get_list(f"/referrers/{digest}", accept=INDEX_TYPE)
    if reply.status in _UNKNOWN or (reply.status == 200 and not _is_index(reply.headers)):
        found = client.get_tag(tag_of(digest))
        return () if found is None else _read_index(read_json(found[1]))
    listed: list[Descriptor] = []
    for page in range(1, _MAX_PAGES + 1):
        if reply.status != 200:
            raise HttpError(f"The registry {client.image.host} does not list referrers ({reply.status}).")
        listed += _read_index(read_json(reply.body))
        following = client.next_page(reply)
        if not following or len(listed) > MAX_REFERRERS or page == _MAX_PAGES:
            break
        reply = client.get_list(following, accept=INDEX_TYPE)
    return tuple(listed[:MAX_REFERRERS])


def tag_of(digest: str, suffix: str = "") -> str:
    """Returns the tag under which what belongs to a digest lies by convention; cosign's end in .sig, .att."""
    return f"{digest.replace(':', '-')}{suffix}"


def may_be(descriptor: Descriptor, *prefixes: str) -> bool:
    """Whether something may be of an artifact type that begins so; its layers tell.

    cosign writes the type of the empty configuration into the index of registries without referrers, and
    others write none.
    """
    return descriptor.artifact_type in ("", EMPTY_TYPE) or descriptor.artifact_type.startswith(prefixes)


def fetch_manifest(client: RegistryClient, descriptor: Descriptor, *, subject: str = "") -> Manifest:
    """Fetches a manifest with its layers' descriptors.

    Args:
        subject: the digest that it must refer to, or "" for any.

    Raises:
        HttpError: it cannot be had, is none, or refers to something else.
    """
    value = read_json(client.get_manifest(descriptor.digest))
    return read_manifest(value, descriptor, subject=subject)


def read_manifest(value: Any, descriptor: Descriptor, *, subject: str = "") -> Manifest:
    """Reads a manifest's layers.

    Raises:
        HttpError: it is none, or refers to something else.
    """
    layers = value.get("layers") if isinstance(value, dict) else None
    if not isinstance(layers, list):
        raise HttpError(f"{descriptor.digest} is not an artifact's manifest.")
    refers = value.get("subject")
    if subject and not (isinstance(refers, dict) and refers.get("digest") == subject):
        raise HttpError(f"{descriptor.digest} does not refer to {subject}.")
    return Manifest(descriptor, tuple(_descriptors(layers[:_MAX_LAYERS])))


def attach(
    client: RegistryClient,
    subject: Descriptor,
    content: bytes,
    *,
    artifact_type: str,
    title: str = "",
    annotations: dict[str, str] | None = None,
) -> Attached:
    """Attaches one document to a manifest.  The same document attached again changes nothing.

    Raises:
        HttpError: the registry does not take it.
    """
    client.put_blob(_EMPTY)
    client.put_blob(content)
    manifest = encode_canonical(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "artifactType": artifact_type,
            "config": {
                "mediaType": EMPTY_TYPE,
                "digest": f"sha256:{sha256_hex(_EMPTY)}",
                "size": len(_EMPTY),
            },
            "layers": [
                {
                    "mediaType": artifact_type,
                    "digest": f"sha256:{sha256_hex(content)}",
                    "size": len(content),
                    # What `oras pull` names the file.
                    **({"annotations": {"org.opencontainers.image.title": title}} if title else {}),
                }
            ],
            "subject": {"mediaType": subject.media_type, "digest": subject.digest, "size": subject.size},
            "annotations": annotations or {},
        }
    )
    reply = client.put_manifest(manifest, media_type=MANIFEST_TYPE)
    digest = f"sha256:{sha256_hex(manifest)}"
    if reply.headers.get("OCI-Subject"):
        return Attached(digest, "")
    descriptor = {
        "mediaType": MANIFEST_TYPE,
        "digest": digest,
        "size": len(manifest),
        "artifactType": artifact_type,
        "annotations": annotations or {},
    }
    tag = tag_of(subject.digest)
    _add_to_tag(client, tag, descriptor)
    return Attached(digest, tag)


def _add_to_tag(client: RegistryClient, tag: str, descriptor: dict[str, Any]) -> None:
    """Adds a descriptor to the index that stands for a list of referrers.

    Two who do this at once can undo each other; so the index is read again after it was written.
    """
    for _ in range(_TRIES):
        found = client.get_tag(tag)
        value: Any = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": []}
        if found is not None:
            value = read_json(found[1])
            if not isinstance(value, dict) or not isinstance(value.get("manifests"), list):
                raise HttpError(
                    f"The tag {tag} of {client.image.name} is taken by something that is no index.",
                    "Remove that tag, or use a registry that knows referrers (OCI 1.1).",
                )
        listed = value["manifests"]
        if any(isinstance(item, dict) and item.get("digest") == descriptor["digest"] for item in listed):
            return
        # Others made the rest of it: nothing of theirs is dropped, and it need not be in our profile.
        content = json.dumps({**value, "manifests": [*listed, descriptor]}).encode()
        client.put_manifest(content, media_type=INDEX_TYPE, tag=tag)
    raise HttpError(
        f"Others write to the tag {tag} of {client.image.name} all the time; the document is stored, but not "
        "listed.",
        "Try again.",
    )


def find_subject(client: RegistryClient, reference_digest: str, tag: str = "") -> Descriptor:
    """Returns the descriptor of the manifest that something is to be attached to.

    Raises:
        HttpError: it is not there.
    """
    if reference_digest:
        body = client.get_manifest(reference_digest)
    else:
        found = client.get_tag(tag or "latest")
        if found is None:
            raise HttpError(f"The registry {client.image.host} does not have {client.image}.")
        body = found[1]
    value = read_json(body)
    media_type = value.get("mediaType") if isinstance(value, dict) else None
    if not isinstance(media_type, str):
        # OCI's first version did not ask manifests to name their type.
        media_type = INDEX_TYPE if isinstance(value, dict) and "manifests" in value else MANIFEST_TYPE
    return Descriptor(media_type, f"sha256:{sha256_hex(body)}", len(body))


def _is_index(headers: Any) -> bool:
    return str(headers.get("Content-Type", "")).partition(";")[0].strip() == INDEX_TYPE


def _read_index(value: Any) -> tuple[Descriptor, ...]:
    items = value.get("manifests") if isinstance(value, dict) else None
    return tuple(_descriptors(items[:MAX_REFERRERS])) if isinstance(items, list) else ()


def _descriptors(items: list[Any]) -> Iterator[Descriptor]:
    """Reads descriptors; what is none is left out, as somebody else put it there."""
    for item in items:
        if not isinstance(item, dict):
            continue
        media_type, digest, size = (item.get(name) for name in ("mediaType", "digest", "size"))
        if not isinstance(media_type, str) or not isinstance(digest, str) or not isinstance(size, int):
            continue
        if not is_hex(digest.removeprefix("sha256:"), 64) or not digest.startswith("sha256:") or size < 0:
            continue
        artifact_type = item.get("artifactType")
        yield Descriptor(
            media_type[:_MAX_ANNOTATION],
            digest,
            size,
            artifact_type[:_MAX_ANNOTATION] if isinstance(artifact_type, str) else "",
            _annotations(item.get("annotations")),
        )


def _annotations(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > _MAX_ANNOTATIONS:
        return {}
    # cosign keeps certificates and log entries in them, so long ones are kept whole by their one reader.
    return {name: text for name, text in value.items() if isinstance(text, str)}

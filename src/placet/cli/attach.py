"""``placet attach``: hang an approval, or a verdict in a Sigstore bundle, on an image in its registry."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import NamedTuple

from placet.adapters.bounded_http import HttpError
from placet.adapters.oci.client import Descriptor, RegistryClient
from placet.adapters.oci.intents import SigstoreDocument, attach_intent, attach_sigstore, read_sigstore
from placet.adapters.oci.referrers import find_subject
from placet.cli import EXIT_ALLOW, UserError
from placet.cli._registry import configure_registry, open_image, registry_failed
from placet.cli._shared import name_file, read_file
from placet.core.bundle import BUNDLE_MEDIA_TYPE, MAX_BUNDLE_BYTES, parse_bundle
from placet.core.errors import PlacetError
from placet.core.statement import parse_statement

EXAMPLES = """\
examples:
  placet attach registry.example/app@sha256:97e9… app.intent.json
  placet attach registry.example/app:1.0 app.intent.json vsa.sigstore.json

An approval goes under placet's own artifact type, with trust versions and digests only. A Sigstore bundle
(version 0.3, one statement) goes under Sigstore's, where `cosign verify-attestation` finds it.

exit codes: 0 attached, 1 the file is not what can be attached, 2 wrong usage, 3 the registry did not take it
"""


class _Document(NamedTuple):
    """A file to attach; `sigstore` is None for an approval."""

    path: Path
    content: bytes
    subjects: frozenset[str]
    sigstore: SigstoreDocument | None


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.epilog = EXAMPLES
    parser.add_argument("image", metavar="IMAGE", help="the image: NAME@sha256:… or NAME:TAG")
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="approvals (*.intent.json) and Sigstore bundles"
    )
    parser.add_argument(
        "--with-trust",
        action="store_true",
        help="leave the trust of its time in an approval; it names all people of the deployment",
    )
    parser.add_argument("--json", action="store_true", help="print what was attached as JSON")
    configure_registry(parser)


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    # All files are read before any is sent: half of them attached would be a riddle.
    documents = [_read(path) for path in args.files]
    done = []
    try:
        with open_image(args.image, args) as registry:
            image = find_subject(registry, registry.image.digest, registry.image.tag)
            for document in documents:
                _check_about(document, image, registry)
            for document in documents:
                done.append(_attach(registry, image, document, with_trust=args.with_trust))
    except HttpError as e:
        attached = f" Attached before that: {', '.join(d['file'] for d in done)}." if done else ""
        raise registry_failed(e, f"{'Not everything' if done else 'Nothing'} was attached.{attached}") from e
    if args.json:
        print(json.dumps({"image": f"{registry.image.name}@{image.digest}", "attached": done}))
        return EXIT_ALLOW
    for item in done:
        by_tag = f" (through the tag {item['tag'][:19]}…: it knows no referrers)" if item["tag"] else ""
        print(f"Attached {item['file']} to {registry.image.name}@{image.digest}{by_tag}")
        print(f"  as {item['digest']}")
    return EXIT_ALLOW


def _read(path: Path) -> _Document:
    content = read_file(path, "document", MAX_BUNDLE_BYTES)
    if BUNDLE_MEDIA_TYPE.encode() in content[:4096] or b'"verificationMaterial"' not in content:
        try:
            statement = parse_statement(parse_bundle(content).envelope.payload)
        except PlacetError as e:
            raise _wrong_file(e, path) from e
        return _Document(path, content, frozenset(s.digest for s in statement.subjects), None)
    try:
        document = read_sigstore(content)
    except PlacetError as e:
        raise _wrong_file(e, path) from e
    return _Document(path, content, document.subjects, document)


def _wrong_file(error: PlacetError, path: Path) -> PlacetError:
    named = name_file(error, path)
    named.hint = named.hint or (
        "Approvals and Sigstore bundles (version 0.3) are attached. `placet verify` writes a verdict as such "
        "a bundle with --verdict-format bundle."
    )
    return named


def _check_about(document: _Document, image: Descriptor, registry: RegistryClient) -> None:
    if image.digest not in document.subjects:
        raise UserError(
            f"{document.path} is not about {registry.image}, which is {image.digest}; it is about "
            f"{', '.join(sorted(document.subjects))[:300]}. Nothing was attached.",
            "Name the image that it is about; a tag may mean another one by now.",
        )


def _attach(
    registry: RegistryClient, image: Descriptor, document: _Document, *, with_trust: bool
) -> dict[str, str]:
    if document.sigstore is not None:
        attached = attach_sigstore(registry, image, document.sigstore)
    else:
        attached = attach_intent(registry, image, document.content, with_trust=with_trust)
    return {"file": str(document.path), "digest": attached.digest, "tag": attached.by_tag}

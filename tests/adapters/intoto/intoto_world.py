"""Layouts, links and functionaries, made with in-toto's own classes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from in_toto.models.layout import Inspection, Layout, Step  # type: ignore[import-untyped]
from in_toto.models.link import Link  # type: ignore[import-untyped]
from in_toto.models.metadata import Envelope, Metablock, Metadata  # type: ignore[import-untyped]
from in_toto.verifylib import in_toto_verify  # type: ignore[import-untyped]
from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]

from placet.adapters.intoto.link_set import encode_link_set
from placet.adapters.securesystemslib import SkKey, register
from placet.ceremony.link import link_file_name, link_message, link_payload, signed_link
from placet.core.bundle import IntentRequest
from placet.core.decode import Object
from placet.core.dsse import encode_envelope
from placet.core.evidence.facts import LINKS_MEDIA_TYPE, Evidence
from placet.core.sshsig import NAMESPACE_LINK
from placet.core.statement import parse_statement
from placet.testing.world import World, evidence

WHEEL = b"wheel"
FOREVER = "2099-01-01T00:00:00Z"


def digests(data: bytes) -> Object:
    """Returns the digests of a file as in-toto writes them."""
    return {"sha256": evidence(data).digest}


def key_dict(signer: CryptoSigner) -> Object:
    """Returns a functionary's key as it stands in a layout."""
    return {**signer.public_key.to_dict(), "keyid": signer.public_key.keyid}


def pem(signer: CryptoSigner) -> bytes:
    """Returns the public key as PEM."""
    return bytes(
        signer._private_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )


class Chain:
    """A supply chain: an owner, a builder, a layout with the step `build`, and its link.

    Attributes:
        dsse: whether layout and links are DSSE envelopes, or in-toto's traditional form.
    """

    def __init__(self, *, dsse: bool = True) -> None:
        self.dsse = dsse
        self.owner = CryptoSigner.generate_ed25519()
        self.builder = CryptoSigner.generate_ecdsa()

    def signed(self, signable: Any, *signers: CryptoSigner) -> bytes:
        """Returns a layout or link as a file, signed."""
        metadata = Envelope.from_signable(signable) if self.dsse else Metablock(signed=signable)
        for signer in signers:
            metadata.create_signature(signer)
        return json.dumps(metadata.to_dict()).encode()

    def step(self, name: str = "build", **more: Any) -> Step:
        """Returns a step of the builder's that makes anything."""
        fields: dict[str, Any] = {
            "pubkeys": [self.builder.public_key.keyid],
            "expected_materials": [["ALLOW", "*"]],
            "expected_products": [["ALLOW", "*"]],
        }
        return Step(name=name, **(fields | more))

    def layout(self, *steps: Step, **more: Any) -> Layout:
        """Returns a layout; by default with the step `build` alone."""
        fields: dict[str, Any] = {
            "steps": list(steps or (self.step(),)),
            "keys": {self.builder.public_key.keyid: key_dict(self.builder)},
            "expires": FOREVER,
        }
        return Layout(**(fields | more))

    def link(self, name: str = "build", *, wheel: bytes = WHEEL, **more: Any) -> Link:
        """Returns the link of a step that made ``app.whl``."""
        return Link(**({"name": name, "products": {"app.whl": digests(wheel)}} | more))

    def files(self, *links: Link) -> dict[str, bytes]:
        """Returns the builder's link files."""
        keyid = self.builder.public_key.keyid
        return {
            link_file_name(keyid, link.name): self.signed(link, self.builder)
            for link in links or (self.link(),)
        }

    def inspection(self, command: Sequence[str]) -> Inspection:
        """Returns an inspection that runs a command."""
        return Inspection(
            name="look", run=list(command), expected_materials=[["ALLOW", "*"]], expected_products=[]
        )


def link_set(files: dict[str, bytes]) -> Evidence:
    """Returns link files as evidence."""
    return evidence(encode_link_set(files), LINKS_MEDIA_TYPE)


def functionary(world: World, person: str) -> Object:
    """Returns a person's key as it stands in a layout."""
    key = world.keys[person]
    origins = tuple(world.origin(terminal) for terminal in world.terminals)
    found = SkKey.from_wire(key.wire, kind=key.kind, origins=origins, namespace=NAMESPACE_LINK)
    return {**found.to_dict(), "keyid": key.keyid}


def approve_step(world: World, people: Iterable[str], *, threshold: int, bound: bool = True) -> Step:
    """Returns the step `approve` of these people; where not `bound`, without the material of the action."""
    names = ["registry.example/app", *(["intent://action"] if bound else [])]
    materials = [["REQUIRE", name] for name in names] + [["ALLOW", name] for name in names]
    return Step(
        name="approve",
        pubkeys=[world.keys[person].keyid for person in people],
        threshold=threshold,
        expected_materials=[*materials, ["DISALLOW", "*"]],
        expected_products=[["DISALLOW", "*"]],
    )


def approve_link(world: World, request: IntentRequest, person: str, **knobs: Any) -> bytes:
    """Returns the link that a person's key signs for a request, as a file."""
    payload = link_payload(parse_statement(request.payload))
    return sign_link(world, payload, person, **knobs)


def sign_link(world: World, payload: bytes, person: str, **knobs: Any) -> bytes:
    """Returns link bytes of whoever's making, signed by a person's key."""
    key = world.keys[person]
    return encode_envelope(
        signed_link(payload, key.keyid, key.sign(NAMESPACE_LINK, link_message(payload), **knobs))
    )


def stock_verify(folder: Path, layout: bytes, owner: CryptoSigner, files: dict[str, bytes]) -> Link:
    """Runs `in_toto_verify`, with our key type registered and nothing else; raises what it raises."""
    register()
    folder.mkdir(exist_ok=True)
    (folder / "root.layout").write_bytes(layout)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    metadata = Metadata.load(str(folder / "root.layout"))
    return in_toto_verify(metadata, {owner.public_key.keyid: key_dict(owner)}, link_dir_path=str(folder))

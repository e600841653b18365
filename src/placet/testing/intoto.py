"""Layouts, links and functionaries, made with in-toto's own classes, and `in_toto_verify` as it is.

chain, world = Chain(), World()
layout = chain.layout(approve_step(world, [ALICE, BOB], threshold=2), keys=functionaries(world))
links = dict(approve_link(world, request, person) for person in (ALICE, BOB))
stock_verify(folder, chain.signed(layout, chain.owner), chain.owner, links)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from in_toto.models.layout import Inspection, Layout, Step  # type: ignore[import-untyped]
from in_toto.models.link import Link  # type: ignore[import-untyped]
from in_toto.models.metadata import Envelope, Metablock, Metadata  # type: ignore[import-untyped]
from in_toto.verifylib import in_toto_verify  # type: ignore[import-untyped]
from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]

from placet.adapters.intoto.link_set import encode_link_set
from placet.adapters.intoto.new_layout import ApproveStep, Functionary, functionary_of, new_layout
from placet.adapters.securesystemslib import register
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
    key = load_pem_private_key(signer.private_bytes, None).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


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
        register()  # in-toto checks every key that it reads
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
    trust = world.trust()
    holder, credential = trust.credentials[world.keys[person].keyid]
    return functionary_of(holder, credential, sorted(trust.origins)).key


def functionaries(world: World, *people: str) -> dict[str, Object]:
    """Returns the keys of these people, or of everybody, as `keys` of a layout."""
    return {world.keys[person].keyid: functionary(world, person) for person in people or world.keys}


def approve_step(
    world: World, people: Sequence[str], *, threshold: int, artifact: str = "registry.example/app"
) -> Step:
    """Returns the step `approve` as ``placet in-toto layout`` writes it, without a step that it follows."""
    keys = tuple(Functionary(person, functionary(world, person)) for person in people)
    step = ApproveStep("approve", keys, threshold, (artifact,))
    return Step.read(new_layout(step, expires=FOREVER)["steps"][0])


def approve_link(world: World, request: IntentRequest, person: str, **knobs: Any) -> tuple[str, bytes]:
    """Returns the link that a person's key signs for a request: the file's name and contents."""
    payload = link_payload(parse_statement(request.payload))
    return sign_link(world, payload, person, **knobs)


def sign_link(world: World, payload: bytes, person: str, **knobs: Any) -> tuple[str, bytes]:
    """Returns link bytes of whoever's making, signed by a person's key."""
    key = world.keys[person]
    sshsig = key.sign(NAMESPACE_LINK, link_message(payload), **knobs)
    return link_file_name(key.keyid), encode_envelope(signed_link(payload, key.keyid, sshsig))


def stock_verify(folder: Path, layout: bytes, owner: CryptoSigner, files: dict[str, bytes]) -> Link:
    """Runs `in_toto_verify`, with our key type registered and nothing else; raises what it raises."""
    register()
    folder.mkdir(exist_ok=True)
    (folder / "root.layout").write_bytes(layout)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    metadata = Metadata.load(str(folder / "root.layout"))
    return in_toto_verify(metadata, {owner.public_key.keyid: key_dict(owner)}, link_dir_path=str(folder))

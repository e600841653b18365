"""Which bytes of a checkpoint are stamped."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from placet.core.bundle import LogProof, encode_bundle, parse_bundle
from placet.core.encoding import sha256_hex
from placet.core.errors import MalformedError
from placet.core.tlog.checkpoint import Checkpoint, sign_checkpoint
from placet.core.tlog.cosignature import cosign
from placet.core.tlog.note import COSIGNATURE_ED25519, ED25519, NoteSigner, encode_note, parse_note
from placet.core.tlog.proof import TlogProof, encode_proof
from placet.documents.checkpoints import checkpoint_in, stamped_form
from placet.testing.world import ALICE, BOB, World

LOG = NoteSigner("log.example/one", ED25519, Ed25519PrivateKey.from_private_bytes(bytes(32)))
WITNESS = NoteSigner("witness.example", COSIGNATURE_ED25519, Ed25519PrivateKey.from_private_bytes(b"w" * 32))
NOTE = sign_checkpoint(Checkpoint(LOG.name, 7, b"r" * 32, ("an extension",)), LOG)


def test_every_copy_of_a_checkpoint_has_one_stamped_form() -> None:
    parsed = parse_note(NOTE)
    cosigned = encode_note(
        parsed._replace(signatures=(cosign(parsed.text, WITNESS, 1_700_000_000), *parsed.signatures))
    )
    assert stamped_form(NOTE) == NOTE
    assert cosigned != NOTE
    assert stamped_form(cosigned) == NOTE


def test_what_the_log_itself_has_not_signed_is_not_stamped() -> None:
    parsed = parse_note(NOTE)
    only_witnessed = encode_note(parsed._replace(signatures=(cosign(parsed.text, WITNESS, 1_700_000_000),)))
    with pytest.raises(MalformedError, match="has not signed this checkpoint"):
        stamped_form(only_witnessed)
    with pytest.raises(MalformedError):
        stamped_form(b"not a note\n")


def proof_under(note: bytes) -> str:
    return encode_proof(TlogProof(0, (), note))


def test_the_checkpoint_of_a_proof_is_found() -> None:
    assert checkpoint_in(proof_under(NOTE).encode()) == NOTE
    assert checkpoint_in(NOTE) == NOTE


def test_an_approval_has_one_checkpoint_or_none_that_can_be_stamped() -> None:
    world = World()
    bundle = parse_bundle(world.bundle(world.request_deploy(), ALICE, BOB))
    parsed = parse_note(NOTE)
    cosigned = encode_note(
        parsed._replace(signatures=(*parsed.signatures, cosign(parsed.text, WITNESS, 1_700_000_000)))
    )
    later = sign_checkpoint(Checkpoint(LOG.name, 8, b"r" * 32), LOG)

    def with_proofs(*notes: bytes) -> bytes:
        digests = [sha256_hex(signature.sig) for signature in bundle.envelope.signatures]
        proofs = tuple(LogProof(d, proof_under(note)) for d, note in zip(digests, notes, strict=False))
        return encode_bundle(bundle._replace(log=proofs))

    # Cosignatures make no other checkpoint.
    assert stamped_form(checkpoint_in(with_proofs(NOTE, cosigned))) == NOTE
    for notes in ((), (NOTE, later)):
        with pytest.raises(MalformedError) as refused:
            checkpoint_in(with_proofs(*notes))
        assert "placet log attach" in refused.value.hint

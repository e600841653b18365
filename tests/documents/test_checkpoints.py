"""Which bytes of a checkpoint are stamped."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from placet.core.errors import MalformedError
from placet.core.tlog.checkpoint import Checkpoint, sign_checkpoint
from placet.core.tlog.cosignature import cosign
from placet.core.tlog.note import COSIGNATURE_ED25519, ED25519, NoteSigner, encode_note, parse_note
from placet.documents.checkpoints import stamped_form

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

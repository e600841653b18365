"""The files of logs' and witnesses' private keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from placet.adapters.note_key import create_note_key, load_note_key
from placet.core.errors import IndeterminateError, MalformedError, Reason
from placet.core.tlog.note import COSIGNATURE_ED25519, ED25519


@pytest.mark.parametrize("algorithm", [ED25519, COSIGNATURE_ED25519])
def test_a_key_comes_back_as_it_was_made(tmp_path: Path, algorithm: int) -> None:
    made = create_note_key(tmp_path / "sub" / "key", "name.example/k", algorithm)
    assert load_note_key(tmp_path / "sub" / "key", algorithm).verifier_key == made.verifier_key
    assert (tmp_path / "sub" / "key").stat().st_mode & 0o777 == 0o600


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    create_note_key(tmp_path / "key", "name", ED25519)
    before = (tmp_path / "key").read_bytes()
    with pytest.raises(IndeterminateError, match="already a key"):
        create_note_key(tmp_path / "key", "name", ED25519)
    assert (tmp_path / "key").read_bytes() == before


def test_a_key_for_another_purpose_is_refused(tmp_path: Path) -> None:
    """A witness's key in a log would sign what its own cosignatures are taken for."""
    create_note_key(tmp_path / "key", "name", ED25519)
    with pytest.raises(MalformedError, match="a log's, and not a witness's"):
        load_note_key(tmp_path / "key", COSIGNATURE_ED25519)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    create_note_key(tmp_path / "key", "name", ED25519)
    (tmp_path / "key").chmod(mode)
    with pytest.raises(IndeterminateError, match="Others can read"):
        load_note_key(tmp_path / "key", ED25519)


def test_no_part_of_a_damaged_key_is_shown(tmp_path: Path) -> None:
    create_note_key(tmp_path / "key", "name", ED25519)
    secret = (tmp_path / "key").read_text().rstrip("\n").split("+", 4)[4]  # base64 has a + of its own
    for text in (f"PRIVATE+KEY+name+00000000+{secret}\n", secret, f"PRIVATE+KEY+name+{secret}\n"):
        (tmp_path / "key").write_text(text)
        with pytest.raises(MalformedError) as caught:
            load_note_key(tmp_path / "key", ED25519)
        assert caught.value.reason in (Reason.BAD_KEY, Reason.BAD_VALUE, Reason.BAD_BASE64)
        shown = f"{caught.value} {caught.value.actual} {caught.value.expected} {caught.value.hint}"
        assert secret not in shown

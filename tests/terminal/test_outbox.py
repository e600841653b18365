"""Decisions on their way: kept until the relay has them, told about where it will not take them."""

from __future__ import annotations

from pathlib import Path

import pytest

from placet.core.errors import PlacetError
from placet.terminal.outbox import Outbox
from placet.testing.world import ALICE, NOW, World


def filled(folder: Path) -> tuple[Outbox, Path]:
    world, outbox = World(), Outbox(folder / "outbox")
    request = world.request_deploy()
    answer = world.approve(request, ALICE)
    letter = outbox.letter(request.id, answer)
    outbox.keep(letter, answer)
    assert outbox.letters() == [letter]
    assert outbox.read(letter) == (request.id, answer)
    return outbox, letter


def test_what_was_sent_is_forgotten(tmp_path: Path) -> None:
    outbox, letter = filled(tmp_path)
    assert letter.stat().st_mode & 0o777 == 0o600
    outbox.done(letter)
    outbox.done(letter)
    assert outbox.letters() == []
    assert list(letter.parent.iterdir()) == []


def test_what_was_refused_is_told_until_the_request_expires(tmp_path: Path) -> None:
    outbox, letter = filled(tmp_path)
    outbox.refuse(letter, "It said no.", "Do this.")
    assert outbox.letters() == []
    again = Outbox(letter.parent)
    (refused,) = again.refused(NOW + 3599)
    assert refused.message == "It said no."
    assert refused.hint == "Do this."
    assert refused.text.startswith("Deploy registry.example/app")
    assert again.refused(NOW + 3600) == []
    assert list(letter.parent.iterdir()) == []


def test_what_was_refused_is_told_without_its_reason_too(tmp_path: Path) -> None:
    outbox, letter = filled(tmp_path)
    outbox.refuse(letter, "It said no.", "Do this.")
    for why in letter.parent.glob("*.why"):
        why.write_bytes(b"damaged")
    (refused,) = outbox.refused(NOW)
    assert refused.message == "The relay refused it."


def test_refusing_or_setting_aside_what_another_process_sent_is_no_fault(tmp_path: Path) -> None:
    outbox, letter = filled(tmp_path)
    letter.unlink()
    outbox.refuse(letter, "m", "h")
    outbox.set_aside(letter)
    assert outbox.refused(NOW) == []
    with pytest.raises(FileNotFoundError):
        outbox.read(letter)


@pytest.mark.parametrize("name", ["x.y.answer.json", f"{'0' * 64}.y.answer.json"])
def test_what_is_no_letter_of_ours_is_an_error_of_ours(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(PlacetError):
        Outbox(tmp_path).read(tmp_path / name)


def test_an_empty_place_has_no_letters(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "nowhere")
    assert (outbox.letters(), outbox.refused(NOW)) == ([], [])

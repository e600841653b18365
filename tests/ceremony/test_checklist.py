"""The sheet of paper: filled in, honest about what is not known yet, and one page."""

from __future__ import annotations

from placet.ceremony.checklist import Sheet, sheet_html, sheet_text
from placet.ceremony.fingerprint import fingerprint_words
from placet.core.encoding import KeyId

SHEET = Sheet(
    deployment="prod",
    rp_id="prod.placet.localhost",
    administrators=tuple(f"{name}@example.com" for name in ("ann", "ben", "cy", "dora", "eve")),
    threshold=3,
    draft_root="ab" * 32,
    published_root="",
    new_keys=("zoe@example.com", "desk"),
    gates=("prod-eu", "prod-us"),
    valid_until=(("root", "2027-11-23T06:35:52Z"), ("targets", "2027-02-21T06:35:52Z")),
)


def test_the_sheet_names_what_is_known_and_leaves_room_for_the_rest() -> None:
    for text in (sheet_text(SHEET), sheet_html(SHEET)):
        for said in ("prod.placet.localhost", "3 of 5 administrators", "eve@example.com", "zoe@example.com"):
            assert said in text
        assert "abab abab" in " ".join(text.split())
        assert "prod-eu, prod-us" in text
        assert "root 2027-11-23" in text
    published = sheet_text(SHEET._replace(draft_root="", published_root="cd" * 32))
    assert "cdcd cdcd" in published
    assert "Draft root" not in published


def test_no_fingerprint_is_copied_from_paper() -> None:
    words = fingerprint_words(KeyId("ab" * 32))
    assert not any(word in sheet_text(SHEET) for word in words)


def test_text_is_no_wider_than_a_terminal_and_fits_a_page() -> None:
    lines = sheet_text(SHEET).splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 66


def test_a_name_makes_no_markup() -> None:
    evil = SHEET._replace(deployment="<script>", administrators=('"><img src=x>\u202e',), gates=("<b>",))
    page = sheet_html(evil)
    assert "<script" not in page
    assert "<img" not in page
    assert "<b>" not in page
    assert "\u202e" not in page
    assert "http" not in page  # it loads nothing

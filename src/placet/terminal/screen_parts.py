"""What a screen is made of: lines of the request, and notes of the terminal beside them."""

from __future__ import annotations

from typing import NamedTuple

from placet.core.encoding import Digest

NOT_A_ROW = -1


class Line(NamedTuple):
    """A caption and a value.  `form` is text, code, digest or quote.

    `row` is the row's place in the view, or `NOT_A_ROW` for what is not of the request: a value of an earlier
    statement, or of evidence that this terminal verified.
    """

    row: int
    label: str
    value: str
    form: str
    hint: str


class Note(NamedTuple):
    """What this terminal says: `kind` is fact, claim, warning or plain.

    Its words are ours or the trust root's, never the requester's: nothing a requester writes may speak
    in the terminal's voice.
    """

    kind: str
    text: str


class Block(NamedTuple):
    """Notes, then lines that belong together."""

    notes: tuple[Note, ...]
    lines: tuple[Line, ...]


class Section(NamedTuple):
    """A part of the screen with its heading."""

    title: str
    blocks: tuple[Block, ...]


class Screen(NamedTuple):
    """Everything on the screen of one request; the headline is the statement's own summary.

    `request_id` is the SHA-256 of the request's bytes, the name under which its requester and the relay
    know it.  An approval signs these bytes.  It is no row: nothing in the bytes holds their own digest.
    """

    headline: Line
    request_id: Digest
    seconds_left: int
    expires_at: str
    decided: tuple[str, ...]
    sections: tuple[Section, ...]
    row_count: int
    second_touch: str = ""
    """Says that approving takes a second touch, and what for; "" where it takes one."""

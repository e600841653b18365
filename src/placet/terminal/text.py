"""The screen as plain text, for `placet approve`.

Values stand indented behind a bar and are cut hard at the width, so nothing inside a value can begin
a line that looks like one of ours.
"""

from __future__ import annotations

import textwrap

from placet.core.encoding import Digest
from placet.terminal.screen import group_digest
from placet.terminal.screen_parts import Block, Line, Note, Screen, Section

WIDTH = 75
_BAR = "    | "
_HEADLINE_BAR = "| "
_MARKS = {"fact": "[fact] ", "claim": "[claim] ", "warning": "[note] ", "plain": ""}
_BOLD, _PLAIN = "\x1b[1m", "\x1b[0m"


def render_text(screen: Screen, *, colour: bool) -> str:
    """Renders the whole screen; `colour` makes headings bold and changes no word."""
    # Not a blank of the summary is dropped: it is part of what is signed.
    room = WIDTH - len(_HEADLINE_BAR)
    headline = textwrap.wrap(screen.headline.value, room, drop_whitespace=False, break_on_hyphens=False)
    out = [_strong(f"{_HEADLINE_BAR}{line}", colour) for line in headline]
    out += ["", *digest_lines("Request", screen.request_id)]
    out += ["", f"Time left: {format_seconds(screen.seconds_left)} (until {screen.expires_at})"]
    out += [f"Decided: {text}" for text in screen.decided] or ["Decided: nobody yet"]
    for section in screen.sections:
        out += ["", _strong(section.title.upper(), colour)]
        for i, block in enumerate(section.blocks):
            out += ([""] if i else []) + _render_block(block)
    if screen.second_touch:
        out += ["", _strong("TWO TOUCHES", colour), *wrap(screen.second_touch, "  ")]
    return "\n".join(out) + "\n"


def render_section(section: Section, *, colour: bool) -> str:
    """Renders one section alone."""
    blocks = [line for block in section.blocks for line in _render_block(block)]
    return "\n".join([_strong(section.title.upper(), colour), *blocks]) + "\n"


def digest_lines(label: str, value: Digest, indent: str = "") -> list[str]:
    """Returns a digest in groups of four, on two lines, behind its label."""
    groups, head = group_digest(value), f"{indent}{label} "
    half = len(groups) // 2
    return [head + " ".join(groups[:half]), " " * len(head) + " ".join(groups[half:])]


def _strong(text: str, colour: bool) -> str:
    return f"{_BOLD}{text}{_PLAIN}" if colour else text


def _render_block(block: Block) -> list[str]:
    out = [line for note in block.notes for line in _render_note(note)]
    return out + [text for line in block.lines for text in _render_line(line)]


def _render_note(note: Note) -> list[str]:
    return wrap(f"{_MARKS[note.kind]}{note.text}", "  ")


def _render_line(line: Line) -> list[str]:
    if line.form == "digest":
        groups = group_digest(line.value)
        cut = [" ".join(groups[i : i + 8]) for i in range(0, len(groups), 8)]
    else:
        room = WIDTH - len(_BAR)
        cut = [line.value[i : i + room] for i in range(0, len(line.value), room)] or [""]
    label = "They say" if line.form == "quote" else line.label
    hint = f" ({line.hint})" if line.hint else ""
    return [*wrap(f"{label}{hint}:", "  "), *(f"{_BAR}{text}" for text in cut)]


def wrap(text: str, indent: str) -> list[str]:
    """Wraps our own words at the width."""
    more = indent if not indent else f"{indent}  "
    return textwrap.wrap(
        text, WIDTH, initial_indent=indent, subsequent_indent=more, break_on_hyphens=False
    ) or [""]


def format_seconds(seconds: int) -> str:
    """Puts a duration into words."""
    if seconds >= 7200:
        return f"{seconds // 3600} h {seconds % 3600 // 60} min"
    if seconds >= 120:
        return f"{seconds // 60} min"
    return f"{seconds} s"

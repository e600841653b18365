"""The sheet of paper for a ceremony: what is to be done, by whom, with boxes to tick and lines to sign.

It holds names and digests that everybody may see, and no fingerprint: those are read aloud, not copied from
paper.  One page; as text for a terminal, and as HTML for a printer.
"""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from placet.ceremony.trust_change import group_digits, visible

_WIDTH = 78
_BOX = "[ ]"


class Sheet(NamedTuple):
    """What is filled in.  Digests are "" where there is none yet; `valid_until` is role → time."""

    deployment: str
    rp_id: str
    administrators: tuple[str, ...]
    threshold: int
    draft_root: str
    published_root: str
    new_keys: tuple[str, ...]
    gates: tuple[str, ...]
    valid_until: tuple[tuple[str, str], ...]


class _Part(NamedTuple):
    title: str
    steps: tuple[str, ...]


def sheet_text(sheet: Sheet) -> str:
    """Returns the sheet for a terminal, or a printer that prints text."""
    lines = [f"CEREMONY: the trust root of {visible(sheet.deployment)}", ""]
    for name, value in _facts(sheet):
        lines += textwrap.wrap(value, _WIDTH, initial_indent=f"{name + ':':<22}", subsequent_indent=" " * 22)
    before, together, after = _parts(sheet)
    for part in (before, together):
        lines += ["", part.title, *_boxes(part.steps)]
    lines += ["", "3. Each administrator, on their own terminal"]
    for person in sheet.administrators:
        lines += [
            f"  {visible(person)}",
            "      [ ] root compared   [ ] fingerprints typed   [ ] all read   [ ] signed",
            "      signature ______________________________________   time ____________",
        ]
    lines += ["", after.title, *_boxes(after.steps)]
    return "\n".join(lines) + "\n"


def sheet_html(sheet: Sheet) -> str:
    """Returns the sheet as an HTML document that prints on one page of A4; it loads and runs nothing."""
    before, together, after = _parts(sheet)
    facts = "".join(f"<tr><th>{_e(n)}</th><td>{_in_rows(_e(value))}</td></tr>" for n, value in _facts(sheet))
    people = "".join(
        f"<tr><th>{_e(visible(person))}</th>{'<td class=box>&#9744;</td>' * 4}<td></td><td></td></tr>"
        for person in sheet.administrators
    )
    title = f"Ceremony: the trust root of {_e(visible(sheet.deployment))}"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1><table class=facts>{facts}</table>"
        f"{_html_part(before)}{_html_part(together)}<h2>3. Each administrator, on their own terminal</h2>"
        "<table class=people><tr><th>Administrator</th><th>root same</th><th>words typed</th>"
        "<th>all read</th><th>signed</th><th>signature by hand</th><th>time</th></tr>"
        f"{people}</table>{_html_part(after)}</body></html>\n"
    )


_STYLE = """
@page { size: A4; margin: 14mm; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 182mm; color: #000; background: #fff; }
body { font: 9.5pt/1.35 system-ui, sans-serif; }
h1 { margin: 0 0 2mm; font-size: 15pt; }
h2 { margin: 3.5mm 0 1mm; font-size: 10.5pt; }
table { width: 100%; border-collapse: collapse; overflow-wrap: anywhere; }
th { text-align: left; font-weight: 600; vertical-align: top; }
.facts th { width: 44mm; padding: 0.4mm 0; }
.facts td { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: 8.5pt; padding: 0.4mm 0; }
.people { table-layout: fixed; font: 8pt/1.25 system-ui, sans-serif; }
.people th, .people td { border: 0.3mm solid #000; padding: 0.3mm 1.5mm; height: 8mm; }
.people tr:first-child th { font-size: 8pt; height: auto; width: 15mm; }
.people tr:first-child th:nth-child(1) { width: 58mm; }
.people tr:first-child th:nth-child(6) { width: auto; }
.people tr:first-child th:nth-child(7) { width: 14mm; }
code { font: 8.5pt ui-monospace, "DejaVu Sans Mono", monospace; }
.box { text-align: center; font-size: 13pt; line-height: 1; }
ul { margin: 0; padding: 0; list-style: none; }
li { padding: 0.5mm 0 0.5mm 7mm; text-indent: -7mm; }
li::before { content: "\\2610"; display: inline-block; width: 7mm; text-indent: 0; }
li::before { font-size: 12pt; line-height: 1; }
"""


def _facts(sheet: Sheet) -> list[tuple[str, str]]:
    lines = [
        ("Deployment", f"{visible(sheet.deployment)}, RP ID {visible(sheet.rp_id)}"),
        ("Must sign", f"{sheet.threshold} of {len(sheet.administrators)} administrators"),
    ]
    if sheet.draft_root:
        lines.append(("Draft root SHA-256", group_digits(sheet.draft_root)))
    lines.append(("Date, place or call", "_" * 54))
    lines.append(("Coordinator, witness", "_" * 54))
    return lines


def _parts(sheet: Sheet) -> tuple[_Part, _Part, _Part]:
    before = _Part(
        "1. Before",
        (
            "Each key was made by its holder, on the holder's own machine, and has a PIN.",
            "Everybody has the same version of placet, from a source they checked.",
            "Everybody can call everybody, on a line on which voices are known and no files travel.",
        ),
    )
    heard = [visible(key) for key in sheet.new_keys]
    together = _Part(
        "2. Together, by voice",
        (
            "The coordinator reads the root's SHA-256 aloud; every administrator's screen says the same.",
            "Each holder of a new key reads its fingerprint aloud: ten words, from their own screen.",
            *((f"New keys: {', '.join(heard)}.",) if heard else ()),
        ),
    )
    until = ", ".join(f"{role} {time[:10]}" for role, time in sheet.valid_until) or "_" * 12
    published = group_digits(sheet.published_root) if sheet.published_root else " ".join(["____"] * 16)
    gates = ", ".join(map(visible, sheet.gates)) or "_" * 30
    after = _Part(
        "4. Afterwards, the coordinator",
        (
            "`placet trust collect`: every signature is there. `placet trust publish`.",
            f"Published root SHA-256, read back aloud by a second person: {published}",
            f"Told to each gate and terminal by this sheet or by voice, never through the relay: {gates}",
            "The folder with the online keys is backed up, at: ______________________________",
            "Spare keys lie in different safes, at: __________________________________________",
            "Challenge files are deleted from sticks and shared folders.",
            f"The next signatures are due before: {until}. Put into the calendar of: ______________",
        ),
    )
    return before, together, after


def _boxes(steps: Sequence[str]) -> list[str]:
    lines = []
    for step in steps:
        lines += textwrap.wrap(
            step,
            _WIDTH,
            initial_indent=f"  {_BOX} ",
            subsequent_indent="      ",
            break_on_hyphens=False,
        )
    return lines


def _html_part(part: _Part) -> str:
    steps = "".join(f"<li>{_with_commands(step)}</li>" for step in part.steps)
    return f"<h2>{_e(part.title)}</h2><ul>{steps}</ul>"


def _in_rows(text: str) -> str:
    """Breaks a digest in the middle, so that two people keep their place in it."""
    groups = text.split(" ")
    return text if len(groups) != 16 else f"{' '.join(groups[:8])}<br>{' '.join(groups[8:])}"


def _with_commands(text: str) -> str:
    return "".join(f"<code>{p}</code>" if at % 2 else p for at, p in enumerate(_e(text).split("`")))


def _e(text: str) -> str:
    return html.escape(text, quote=True)

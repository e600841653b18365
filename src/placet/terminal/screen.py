"""What a person sees, as data, in the order in which it is read.

The page and the text terminal render the same `Screen`, so neither can show what the other hides.
Every row of the reviewed view appears in it exactly once (`check_every_row_once`); what the terminal
itself found out stands beside the rows as notes, never inside them.
"""

from __future__ import annotations

from typing import NamedTuple

from placet.ceremony.decide import Review
from placet.ceremony.publish import Progress
from placet.ceremony.second_touch import announce, asked_link
from placet.core.display import (
    SECTION_ACTION,
    SECTION_EVIDENCE,
    SECTION_FORMAT,
    SECTION_REQUESTER,
    SECTION_WINDOW,
    Row,
    escape_value,
    iter_leaves,
)
from placet.core.encoding import format_time, is_hex
from placet.core.errors import Reason, VerificationError
from placet.core.levels import LEVEL_NAMES, level_name
from placet.core.policy import Quorum, Rule
from placet.core.statement import IntentStatement
from placet.terminal.evidence_screen import evidence_blocks
from placet.terminal.screen_parts import NOT_A_ROW, Block, Line, Note, Screen, Section

SECTION_WHY = "Why you are asked"
SECTION_CHANGES = "Since the last approval of this target here"
SUMMARY_POINTER = "/predicate/display/text"
# A report is signed and travels: its sentence about changes stays short.
_MAX_CHANGES = 600
_COMPARED = ("/subject", "/predicate/action/target", "/predicate/action/parameters")
_NAMES = (
    ("/subject", "Artifact"),
    ("/predicate/action/target", "Target"),
    ("/predicate/action/parameters", "Parameter"),
)
# Times and counts are read, not compared character by character.
_READ_NOT_COMPARED = ("At", "/maxUses", "/decision", "/notBefore", "/lang", "/text")


def build_screen(review: Review, progress: Progress, last: IntentStatement | None, now: int) -> Screen:
    """Builds the screen of a request.

    Args:
        review: the verified request.
        progress: who else decided.
        last: the statement of this target that was last approved on this terminal.
        now: Unix seconds.

    Raises:
        VerificationError: DISPLAY_INCOMPLETE where a row would be missing or shown twice.
    """
    statement = review.statement
    lines = [make_line(index, row) for index, row in enumerate(review.view.rows)]
    by_section: dict[str, list[Line]] = {}
    for line, row in zip(lines, review.view.rows, strict=True):
        if row.pointer != SUMMARY_POINTER:
            by_section.setdefault(row.section, []).append(line)
    (headline,) = (
        line for line, row in zip(lines, review.view.rows, strict=True) if row.pointer == SUMMARY_POINTER
    )
    screen = Screen(
        headline=headline,
        request_id=review.request.id,
        seconds_left=max(0, statement.expires_at - now),
        expires_at=format_clock(statement.expires_at),
        decided=_who_decided(progress),
        sections=(
            Section(SECTION_ACTION, _action_blocks(by_section.get(SECTION_ACTION, []), review)),
            Section(SECTION_CHANGES, (_change_block(last, statement),)),
            Section(SECTION_REQUESTER, (_requester_block(by_section.get(SECTION_REQUESTER, []), review),)),
            Section(SECTION_EVIDENCE, evidence_blocks(by_section.get(SECTION_EVIDENCE, []), review)),
            Section(SECTION_WINDOW, (Block((), tuple(by_section.get(SECTION_WINDOW, []))),)),
            Section(SECTION_WHY, _why_blocks(review, progress)),
            Section(SECTION_FORMAT, (Block((_FORMAT_NOTE,), tuple(by_section.get(SECTION_FORMAT, []))),)),
        ),
        row_count=len(lines),
        second_touch=announce(asked_link(review)),
    )
    check_every_row_once(screen, review)
    return screen


_FORMAT_NOTE = Note(
    "plain", "Technical members of the record, checked by this terminal and signed by your key."
)


def check_every_row_once(screen: Screen, review: Review) -> None:
    """Checks that the screen shows every row of the view exactly once, unchanged (DSP-04).

    Raises:
        VerificationError: DISPLAY_INCOMPLETE.
    """
    shown = [screen.headline, *(line for s in screen.sections for b in s.blocks for line in b.lines)]
    found = sorted((line.row, line.value) for line in shown if line.row != NOT_A_ROW)
    if found != [(index, row.value) for index, row in enumerate(review.view.rows)]:
        raise VerificationError(
            Reason.DISPLAY_INCOMPLETE, "Some part of the request would not be shown, or would be shown twice."
        )


def make_line(index: int, row: Row) -> Line:
    """Returns a row as it is shown."""
    return Line(index, row.label, row.value, _form(row), _hint(row.value))


def _form(row: Row) -> str:
    if _is_digest(row.value) and ("/digest/" in row.pointer or row.pointer.startswith("/materials/")):
        return "digest"
    if row.pointer.endswith("/reason"):
        return "quote"
    if row.pointer.endswith(_READ_NOT_COMPARED):
        return "text"
    return "code"


def _is_digest(value: str) -> bool:
    return is_hex(value, len(value)) and len(value) % 4 == 0


def _hint(value: str) -> str:
    """Names blanks that nobody sees at the end of a line or beside another blank."""
    if value == "":
        return "empty"
    if value != value.strip(" ") or "  " in value:
        return f"{len(value)} characters; begins or ends with a blank, or has several in a row"
    return ""


def format_clock(seconds: int) -> str:
    """Returns a time as a person reads it; signed times stand in their rows as they were signed."""
    day, _, clock = format_time(seconds).partition("T")
    return f"{clock[:5]} UTC on {day}"


def group_digest(value: str) -> list[str]:
    """Cuts a digest into groups of four characters, as people compare them."""
    return [value[i : i + 4] for i in range(0, len(value), 4)]


def _who_decided(progress: Progress) -> tuple[str, ...]:
    said = [
        f"{a.person_id} approved at {format_clock(a.decided_at)} on terminal {a.terminal_id}"
        for a in progress.approvers
    ]
    return (*said, *(f"{person} denied it" for person in progress.denied_by))


def _action_blocks(lines: list[Line], review: Review) -> tuple[Block, ...]:
    """Puts each artifact into a block of its own, its name before its digest; then target and parameters."""
    pointers = [row.pointer for row in review.view.rows]
    artifacts: dict[str, list[Line]] = {}
    action: list[Line] = []
    decision: list[Line] = []
    for line in lines:
        pointer = pointers[line.row]
        if pointer.startswith("/subject/"):
            artifacts.setdefault(pointer.split("/")[2], []).append(line)
        else:
            (decision if pointer == "/predicate/decision" else action).append(line)
    rank = {"name": 0, "digest": 1, "uri": 2}
    blocks = [
        Block((), tuple(sorted(group, key=lambda line: rank.get(pointers[line.row].split("/")[3], 3))))
        for group in artifacts.values()
    ]
    done = Block((), (*action, *decision))
    if review.statement.has_artifacts:
        return (*blocks, done)
    note = Note("plain", "No artifact is involved; this digest stands for the action above.")
    return (done, *(block._replace(notes=(note,)) for block in blocks))


class Change(NamedTuple):
    """One leaf that differs; `before` or `now` is None where it did not exist."""

    name: str
    before: str | None
    now: str | None


def _change_block(last: IntentStatement | None, statement: IntentStatement) -> Block:
    if last is None:
        return Block(
            (Note("warning", "First time for this target on this terminal: nothing to compare."),), ()
        )
    when = format_clock(last.issued_at)
    changes = compare_statements(last, statement)
    if not changes:
        return Block((Note("fact", f"The same artifact, target and parameters as those of {when}."),), ())
    lines = []
    for change in changes:
        for label, value in (("before", change.before), ("now", change.now)):
            if value is not None:
                alone = " only" if change.before is None or change.now is None else ""
                form = "digest" if " digest " in change.name and _is_digest(value) else "code"
                lines.append(Line(NOT_A_ROW, f"{change.name}, {label}{alone}", value, form, _hint(value)))
    head = Note("plain", f"Compared with what was asked for at {when} and approved here:")
    return Block((head,), tuple(lines))


def compare_statements(last: IntentStatement, statement: IntentStatement) -> tuple[Change, ...]:
    """Returns the leaves of artifact, target and parameters that differ."""
    old, new = _compared_leaves(last), _compared_leaves(statement)
    return tuple(
        Change(_leaf_name(pointer), old.get(pointer), new.get(pointer))
        for pointer in sorted({*new, *old}, key=lambda p: (not p.startswith("/subject"), p))
        if old.get(pointer) != new.get(pointer)
    )


def _leaf_name(pointer: str) -> str:
    """Names a leaf as the view does; people count from one."""
    for prefix, name in _NAMES:
        if pointer.startswith(prefix):
            rest = pointer.removeprefix(prefix).split("/")[1:]
            return " ".join([name, *(str(int(p) + 1) if is_index(p) else p for p in rest)])
    return pointer


def is_index(part: str) -> bool:
    """Tells whether a part of a pointer counts the items of a list."""
    return part.isascii() and part.isdigit() and len(part) < 4


def _compared_leaves(statement: IntentStatement) -> dict[str, str]:
    return {p: v for p, v in iter_leaves(statement.value) if p.startswith(_COMPARED)}


def describe_changes(last: IntentStatement | None, statement: IntentStatement) -> str:
    """Returns the sentence about changes that goes into the terminal's report."""
    if last is None:
        return "first approval of this target on this terminal"
    said = [change.name for change in compare_statements(last, statement)]
    text = (
        f"changed since the last approval here: {', '.join(said)}"
        if said
        else "nothing changed since the last approval here"
    )
    return text if len(text) <= _MAX_CHANGES else f"{text[:_MAX_CHANGES]}..."


def _requester_block(lines: list[Line], review: Review) -> Block:
    if review.requester is not None:
        issuers = [fact.identity.issuer for fact in review.facts if fact.identity]
        proof = f"as {escape_value(issuers[0])} says" if issuers else "signed with an enrolled key"
        note = Note("fact", f"Verified: {review.requester} asked for this, {proof}.")
    else:
        note = Note("claim", "Unverified: nothing proves who asks. What follows is only what they say.")
    return Block((note,), tuple(lines))


def _why_blocks(review: Review, progress: Progress) -> tuple[Block, ...]:
    blocks = []
    for rule in review.rules:
        notes = [
            Note(
                "plain", f"The rule for {rule.target} in {rule.file} asks for {describe_quorum(rule.quorum)}."
            ),
            Note("plain", f"It requires {level_name(rule.level)} ({LEVEL_NAMES[rule.level]}) or more."),
            *(Note("plain", text) for text in _rule_conditions(rule, review.requester)),
        ]
        blocks.append(Block(tuple(notes), ()))
    if progress.refusal is None:
        still = Note("fact", "Enough people have approved. One approval more changes nothing at the gate.")
    else:
        still = Note("plain", progress.refusal.message)
    return (*blocks, Block((still,), ()))


def _rule_conditions(rule: Rule, requester: str | None) -> list[str]:
    said = []
    if rule.exclude_requester and requester is not None:
        said.append(f"The requester, {requester}, does not count.")
    elif rule.exclude_requester:
        said.append("The requester does not count; unverified, so one person more must approve.")
    if rule.distinct_terminals:
        said.append("Each person must decide on a terminal of their own.")
    return said


def describe_quorum(quorum: Quorum) -> str:
    """Puts a quorum tree into words."""
    members = [member if isinstance(member, str) else f"({describe_quorum(member)})" for member in quorum.of]
    return f"{quorum.threshold} of {', '.join(members)}"

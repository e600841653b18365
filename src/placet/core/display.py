"""What a person is shown, derived from the very bytes that are hashed (spec/07-display.md).

Two views come from one statement: a one-line summary from the action's template, and an
ordered list of (label, value) that renders every leaf of the payload exactly once.  A
terminal that cannot show everything must not sign (invariant 2).

Values are printable ASCII; every other character, and the backslash, stands as ``\\u{…}``,
so no rendering depends on a Unicode version and no two values look the same.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from placet.core.actions import ActionDefinition, TemplatePart
from placet.core.admission import escape_pointer
from placet.core.errors import MalformedError, Reason, VerificationError
from placet.core.statement import MAX_TEXT, IntentStatement

SECTION_ACTION = "What will happen"
SECTION_REQUESTER = "Who asks"
SECTION_EVIDENCE = "Evidence"
SECTION_WINDOW = "When and where it counts"
SECTION_FORMAT = "Form of the record"

_REQUEST = "/predicate/request"
_CAPTIONS: tuple[tuple[str, str, str], ...] = (
    (SECTION_ACTION, "/predicate/decision", "Decision asked for"),
    (SECTION_ACTION, "/predicate/display/text", "Summary"),
    (SECTION_ACTION, "/subject", "Artifact"),
    (SECTION_ACTION, "/predicate/action/target/uri", "Target"),
    (SECTION_ACTION, "/predicate/action/target/annotations", "Target note"),
    (SECTION_ACTION, "/predicate/action/parameters", "Parameter"),
    (SECTION_REQUESTER, f"{_REQUEST}/requestedBy", "Claims to be"),
    (SECTION_REQUESTER, f"{_REQUEST}/reason", "In their words"),
    (SECTION_EVIDENCE, "/predicate/evidence", "Evidence"),
    (SECTION_WINDOW, f"{_REQUEST}/audience", "Valid at"),
    (SECTION_WINDOW, f"{_REQUEST}/maxUses", "Number of uses"),
    (SECTION_WINDOW, f"{_REQUEST}/issuedAt", "Asked at"),
    (SECTION_WINDOW, f"{_REQUEST}/notBefore", "Valid from"),
    (SECTION_WINDOW, f"{_REQUEST}/expiresAt", "Valid until"),
    (SECTION_FORMAT, "/predicate/action/type", "Action type"),
    (SECTION_FORMAT, "/predicate/policy", "Rules"),
    (SECTION_FORMAT, "/predicate/display/template", "Template"),
    (SECTION_FORMAT, "/predicate/display/lang", "Language"),
    (SECTION_FORMAT, f"{_REQUEST}/id", "Request UUID"),
    (SECTION_FORMAT, f"{_REQUEST}/nonce", "Nonce"),
    (SECTION_FORMAT, "/_type", "Statement type"),
    (SECTION_FORMAT, "/predicateType", "Predicate type"),
)


_PLAIN_NAME = re.compile("[A-Za-z_][A-Za-z0-9_.-]*")


class Row(NamedTuple):
    """One leaf of the payload: its section, caption, escaped value and JSON pointer."""

    section: str
    label: str
    value: str
    pointer: str


class View(NamedTuple):
    """Everything there is to see: the summary and one row per leaf."""

    text: str
    rows: tuple[Row, ...]


def escape_value(text: str) -> str:
    """Returns `text` in printable ASCII, without loss: the escape is injective (DSP-01)."""
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text
    return "".join(c if " " <= c <= "~" and c != "\\" else f"\\u{{{ord(c):x}}}" for c in text)


def render_text(value: Any, definition: ActionDefinition) -> str:
    """Derives the one-line summary from a statement's JSON object (DSP-02).

    Raises:
        MalformedError: DISPLAY_TOO_LONG, or ACTION_SCHEMA where the template names a missing field.
    """
    text = "".join(_render_part(value, part) for part in definition.template)
    if len(text) > MAX_TEXT:
        raise MalformedError(
            Reason.DISPLAY_TOO_LONG,
            f"The summary has {len(text)} characters; a person reads at most {MAX_TEXT} in one line.",
            hint="Shorten names or arguments; put a long command into a script that is an input file.",
        )
    return text


def _render_part(value: Any, part: TemplatePart) -> str:
    if part.literal:
        return part.literal
    found = _resolve(value, part.pointer.split("/")[1:], part.pointer)
    return part.join.join(_in_summary(text) for text in found)


def _in_summary(text: str) -> str:
    """Returns a value so that it cannot pass for the template's own words, nor two items for one (DSP-06)."""
    return _quote(text) if " " in text or '"' in text else escape_value(text)


def _resolve(value: Any, names: list[str], pointer: str) -> list[str]:
    """Follows a pointer in which ``*`` stands for each item of a list."""
    for at, name in enumerate(names):
        if name == "*" and isinstance(value, list):
            return [text for item in value for text in _resolve(item, names[at + 1 :], pointer)]
        if not isinstance(value, dict) or name not in value:
            raise MalformedError(Reason.ACTION_SCHEMA, "The template names a missing field.", path=pointer)
        value = value[name]
    if not isinstance(value, str):
        raise MalformedError(
            Reason.ACTION_SCHEMA, "The template names a field that is no text.", path=pointer
        )
    return [value]


def check_text(statement: IntentStatement, definition: ActionDefinition) -> None:
    """Checks that the summary under the signature is the one that the template gives (DSP-03).

    Raises:
        VerificationError: DISPLAY_MISMATCH.
        MalformedError: as `render_text`.
    """
    expected = render_text(statement.value, definition)
    if statement.decision == "deny":
        expected = denial_text(expected)
    if statement.text != expected:
        raise VerificationError(
            Reason.DISPLAY_MISMATCH,
            "The summary does not say what the action does.",
            path="/predicate/display/text",
            expected=expected,
            actual=escape_value(statement.text),
        )


def denial_text(text: str) -> str:
    """Returns the summary of the denial of a request, cut to the length that a summary may have (DSP-07)."""
    return f"Deny: {text}"[:MAX_TEXT]


def render_view(statement: IntentStatement, definition: ActionDefinition) -> View:
    """Renders every leaf of the payload exactly once, in the order of the screens.

    Raises:
        VerificationError: DISPLAY_MISMATCH, DISPLAY_INCOMPLETE.
        MalformedError: as `render_text`.
    """
    check_text(statement, definition)
    captions = [
        *((SECTION_ACTION, label.pointer, label.text) for label in definition.labels),
        *_CAPTIONS,
    ]
    leaves = dict(iter_leaves(statement.value))
    rows: list[Row] = []
    for section, prefix, caption in _CAPTIONS:
        for pointer, value in leaves.items():
            if _is_below(pointer, prefix):
                label = _label(statement.value, pointer, captions, caption)
                rows.append(Row(section, label, value, pointer))
    check_complete(rows, statement.value)
    return View(statement.text, tuple(rows))


def _is_below(pointer: str, prefix: str) -> bool:
    return pointer == prefix or pointer.startswith(f"{prefix}/")


def _label(value: Any, pointer: str, captions: list[tuple[str, str, str]], fallback: str) -> str:
    for _, prefix, caption in captions:
        if _is_below(pointer, prefix):
            rest = _steps(value, pointer)[prefix.count("/") :]
            return f"{caption} {' '.join(rest)}" if rest else caption
    return fallback


def _steps(value: Any, pointer: str) -> list[str]:
    """Puts each step of a pointer into words that no other step has (DSP-04).

    People count the items of a list from one.  A member's name that is not a plain word stands in
    quotation marks, so that ``0``, ``a b`` and ``a/b`` are neither items nor two steps.
    """
    steps = []
    for token in pointer.split("/")[1:]:
        if isinstance(value, list):
            value = value[int(token)]
            steps.append(str(int(token) + 1))
        else:
            name = token.replace("~1", "/").replace("~0", "~")
            value = value[name]
            steps.append(name if _PLAIN_NAME.fullmatch(name) else _quote(name))
    return steps


def _quote(text: str) -> str:
    return '"' + escape_value(text).replace('"', "\\u{22}") + '"'


def iter_leaves(value: Any, pointer: str = "") -> list[tuple[str, str]]:
    """Lists (pointer, escaped value) of every leaf; an empty list or object is a leaf too."""
    if isinstance(value, dict) and value:
        return [
            leaf
            for name, member in value.items()
            for leaf in iter_leaves(member, f"{pointer}/{escape_pointer(name)}")
        ]
    if isinstance(value, list) and value:
        return [leaf for i, item in enumerate(value) for leaf in iter_leaves(item, f"{pointer}/{i}")]
    if isinstance(value, str):
        return [(pointer, escape_value(value))]
    if isinstance(value, dict | list):
        return [(pointer, "(none)")]
    if value is None or isinstance(value, bool):
        return [(pointer, {True: "true", False: "false", None: "null"}[value])]
    return [(pointer, str(value))]


def check_complete(rows: list[Row], value: Any) -> None:
    """Checks that the rows show every leaf exactly once (DSP-04).

    Raises:
        VerificationError: DISPLAY_INCOMPLETE.
    """
    shown = [(row.pointer, row.value) for row in rows]
    leaves = iter_leaves(value)
    if len(shown) != len(leaves) or set(shown) != set(leaves):
        missing = sorted({pointer for pointer, _ in set(leaves) - set(shown)})
        raise VerificationError(
            Reason.DISPLAY_INCOMPLETE,
            "Some part of the statement would not be shown, or would be shown twice.",
            path=missing[0] if missing else "",
        )

"""What a key is asked to sign for another tool, put into lines: every leaf of it, or nothing is signed.

Read are JSON objects (the ``signed`` part of TUF metadata and of in-toto's traditional files) and DSSE's
pre-authentication encoding of one.  A message in any other form cannot be shown, so no key is asked for it.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from placet.core.display import Row, escape_value, iter_leaves
from placet.core.dsse import pae
from placet.core.encoding import parse_json
from placet.core.errors import MalformedError, Reason

MAX_MESSAGE_BYTES = 1024 * 1024
_SECTION = "The document"
_PAE = re.compile(rb"DSSEv1 ([0-9]{1,5}) ")
_CONTROL = re.compile(rb"[\x00-\x1f]")


class Signable(NamedTuple):
    """A message in lines: what it calls itself, its payload type, if it has one, and a row for each leaf."""

    title: str
    payload_type: str
    rows: tuple[Row, ...]


def read_signable(message: bytes) -> Signable:
    """Puts a message into lines.

    Raises:
        MalformedError: NOT_JSON, TOO_LARGE and others: it cannot be shown, so it must not be signed.
    """
    payload_type, document = _open_pae(message)
    value = _parse(document)
    if not isinstance(value, dict) or not value:
        raise MalformedError(
            Reason.NOT_JSON, "What is to be signed is no JSON object, so it cannot be shown."
        )
    rows = tuple(
        Row(_SECTION, escape_value(pointer.removeprefix("/")), shown, pointer)
        for pointer, shown in iter_leaves(value)
    )
    return Signable(_title(value), payload_type, rows)


def _open_pae(message: bytes) -> tuple[str, bytes]:
    head = _PAE.match(message)
    if head is None:
        return "", message
    at = head.end()
    kind = message[at : at + int(head[1])]
    payload = message[at + len(kind) + 1 :].partition(b" ")[2]
    try:
        payload_type = kind.decode("ascii")
        if pae(payload_type, payload) == message:
            return escape_value(payload_type), payload
    except UnicodeDecodeError:
        pass
    raise MalformedError(Reason.NOT_JSON, "What is to be signed looks like DSSE's encoding, and is not it.")


def _parse(document: bytes) -> Any:
    try:
        return parse_json(document, max_bytes=MAX_MESSAGE_BYTES, what="document")
    except MalformedError as e:
        # OLPC's canonical JSON, in which TUF signs, leaves line ends inside texts as they are.
        escaped = _CONTROL.sub(lambda found: b"\\u%04x" % found[0][0], document)
        if e.reason is not Reason.NOT_JSON or escaped == document:
            raise
        return parse_json(escaped, max_bytes=6 * MAX_MESSAGE_BYTES, what="document")


def _title(value: dict[str, Any]) -> str:
    kind, version = value.get("_type"), value.get("version")
    named = escape_value(kind)[:60] if isinstance(kind, str) else "document"
    return f"{named} version {version}" if isinstance(version, int) else named

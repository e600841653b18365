"""The admission profile: what may be shown or signed at all (spec/02-admission.md).

DSSE signs bytes, so signatures never depend on this.  It kills parser differentials and
display tricks (Trojan Source, zero-width text, tag characters): requester, terminal and
verifier apply it, and a statement that fails it is refused, never repaired.

Confusable letters pass here, since people have names in every script; the display shows
every character outside printable ASCII as an escape (`placet.core.display`).
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

from placet.core.dsse import MAX_PAYLOAD_BYTES
from placet.core.encoding import parse_canonical_json
from placet.core.errors import MalformedError, Reason


def admit(payload: bytes, *, what: str = "statement", max_bytes: int = MAX_PAYLOAD_BYTES) -> Any:
    """Parses `payload` and checks the whole admission profile.

    Args:
        payload: the bytes that will be, or were, signed.
        what: the document's name in error messages.
        max_bytes: the largest size accepted, in bytes.

    Returns:
        The decoded JSON value.

    Raises:
        MalformedError: one of the reasons of spec/02-admission.md.
    """
    value = parse_canonical_json(payload, max_bytes=max_bytes, what=what)
    # JSON leaves no raw control character in a string, so ASCII without escapes is printable throughout.
    if not payload.isascii() or b"\\" in payload or b"\x7f" in payload:
        _check_texts(value, "")
    return value


def _check_texts(value: Any, path: str) -> None:
    if isinstance(value, str):
        check_text(value, path)
    elif isinstance(value, dict):
        for name, member in value.items():
            # ADM-07: a member name is an identifier; letters that look alike must not make two of them.
            if not (name.isascii() and name.isprintable()):
                raise MalformedError(Reason.MEMBER_NAME, "A member name must be printable ASCII.", path=path)
            _check_texts(member, f"{path}/{escape_pointer(name)}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_texts(item, f"{path}/{index}")


def escape_pointer(name: str) -> str:
    """Escapes a member name as a JSON Pointer token (RFC 6901 section 3)."""
    return name.replace("~", "~0").replace("/", "~1") if "~" in name or "/" in name else name


def check_text(text: str, path: str = "") -> None:
    """Refuses invisible, unassigned and unnormalized text (ADM-08, ADM-10).

    Raises:
        MalformedError: TEXT_NOT_ALLOWED, NOT_NFC.
    """
    if text.isascii() and text.isprintable():
        return
    from placet.core._unicode_tables import REFUSED_BOUNDARIES  # rarely needed, and large

    for character in text:
        if bisect_right(REFUSED_BOUNDARIES, ord(character)) % 2:
            raise MalformedError(
                Reason.TEXT_NOT_ALLOWED,
                f"The character U+{ord(character):04X} is invisible, unassigned or a control character.",
                path=path,
                hint="Remove it; only visible characters and plain spaces can be approved.",
            )
    import unicodedata

    # ADM-10: every character is assigned in Unicode 14 by now, so every Python normalizes it alike.
    if unicodedata.normalize("NFC", text) != text:
        raise MalformedError(
            Reason.NOT_NFC,
            "The text is not in Unicode normalization form C.",
            path=path,
            hint="Normalize the text (NFC) before requesting approval.",
        )

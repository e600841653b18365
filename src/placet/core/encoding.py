"""Bytes, text and time: one accepted spelling for each value (spec/02-admission.md).

JSON is read by one strict parser.  Under the admission profile (ASCII member names, no
floats, bounded integers) ``json.dumps`` with sorted keys *is* the RFC 8785 form; a
property test holds it against the ``rfc8785`` package.  A second JSON library would be a
second opinion about what was signed.

Leaves out: which text may appear inside strings; that is `placet.core.admission`.
"""

from __future__ import annotations

import binascii
import functools
import hashlib
import json
import re
from typing import Any, NewType

from placet.core.errors import MalformedError, Reason

Digest = NewType("Digest", str)
"""Lower-case hexadecimal SHA-256, 64 characters."""
KeyId = NewType("KeyId", str)
"""Lower-case hexadecimal SHA-256 of an SSH wire key; a hint that narrows a search, never decides."""

# Two orders of magnitude above any honest statement; bounds the work of a hostile one.
MAX_DEPTH = 16
# RFC 7493 (I-JSON) section 2.2: integers beyond this lose precision in other languages.
MAX_INTEGER = 2**53 - 1
_MAX_INTEGER_DIGITS = len(str(MAX_INTEGER)) + 1

_HEX = re.compile("[0-9a-f]+")
_TIME = re.compile("([0-9]{4}-[0-9]{2}-[0-9]{2})T([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9])Z")
_SECONDS_PER_DAY = 86_400
_CONTAINERS = frozenset({dict, list})


def sha256_hex(data: bytes) -> Digest:
    """Returns the SHA-256 of `data` in lower-case hexadecimal."""
    return Digest(hashlib.sha256(data).hexdigest())


def is_hex(text: str, length: int) -> bool:
    """Tells whether `text` is exactly `length` lower-case hexadecimal characters."""
    return len(text) == length and _HEX.fullmatch(text) is not None


# Encoder and decoder objects are made once: making them costs more than a small document does.  What
# is encoded was parsed from JSON or built by us as a tree, so nothing in it can be circular.
_encoder = functools.partial(
    json.JSONEncoder, sort_keys=True, separators=(",", ":"), allow_nan=False, check_circular=False
)
_ENCODER = _encoder(ensure_ascii=False)
# Writes printable ASCII that needs no escape exactly as the other one does, and faster.
_ASCII_ENCODER = _encoder(ensure_ascii=True)


def encode_canonical(value: object) -> bytes:
    """Encodes an admitted value in RFC 8785 form (ADM-09).

    Args:
        value: str, int, bool, None, and lists and dicts of these, with ASCII member names.
    """
    return _ENCODER.encode(value).encode("utf-8", "strict")


def _refuse_number(text: str) -> Any:  # ADM-05
    raise MalformedError(
        Reason.NUMBER_NOT_ALLOWED,
        f"The number {text[:32]!r} is not allowed: only integers are.",
        hint="Write numbers that matter as strings.",
    )


def _bounded_integer(text: str) -> int:  # ADM-06
    # The length is asked first, because converting a number of many digits takes quadratic time.
    if len(text) <= _MAX_INTEGER_DIGITS:
        number = int(text)
        if -MAX_INTEGER <= number <= MAX_INTEGER:
            return number
    raise MalformedError(
        Reason.NUMBER_NOT_ALLOWED,
        f"The integer {text[:24]} is outside ±(2^53−1).",
        hint="Write numbers that matter as strings.",
    )


def unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Builds an object from its members, for `json`.

    Raises:
        MalformedError: DUPLICATE_MEMBER.
    """
    members = dict(pairs)
    if len(members) != len(pairs):
        # ADM-04: parsers disagree about which of two equal members wins; the signed meaning must not.
        last = {name: i for i, (name, _) in enumerate(pairs)}
        twice = next(name for i, (name, _) in enumerate(pairs) if last[name] != i)
        raise MalformedError(Reason.DUPLICATE_MEMBER, f"The member {twice[:64]!r} appears twice.")
    return members


_DECODER = json.JSONDecoder(
    object_pairs_hook=unique_members,
    parse_float=_refuse_number,
    parse_constant=_refuse_number,
    parse_int=_bounded_integer,
)
_PLAIN_DECODER = json.JSONDecoder(
    parse_float=_refuse_number, parse_constant=_refuse_number, parse_int=_bounded_integer
)


def parse_json(data: bytes, *, max_bytes: int, what: str) -> Any:
    """Parses JSON strictly, in any spelling: no duplicate members, no floats, bounded integers and depth.

    Args:
        data: the document.
        max_bytes: the largest size accepted, in bytes.
        what: the document's name in error messages, such as "trust snapshot".

    Raises:
        MalformedError: TOO_LARGE, NOT_UTF8, NOT_JSON, TOO_DEEP, DUPLICATE_MEMBER, NUMBER_NOT_ALLOWED.
    """
    if len(data) > max_bytes:  # ADM-01
        raise MalformedError(
            Reason.TOO_LARGE,
            f"The {what} has {len(data)} bytes; at most {max_bytes} are accepted.",
            expected=max_bytes,
            actual=len(data),
        )
    try:
        text = data.decode("utf-8", "strict")  # ADM-02
    except UnicodeDecodeError as e:
        raise MalformedError(Reason.NOT_UTF8, f"The {what} is not UTF-8 text.") from e
    try:
        value = _DECODER.decode(text)
    except RecursionError as e:
        raise MalformedError(Reason.TOO_DEEP, f"The {what} is nested too deeply.", expected=MAX_DEPTH) from e
    except ValueError as e:
        raise MalformedError(Reason.NOT_JSON, f"The {what} is not JSON: {e}.") from e
    _check_depth(value, what)
    return value


def parse_canonical_json(data: bytes, *, max_bytes: int, what: str) -> Any:
    """Parses JSON that must be spelled in its own RFC 8785 form (ADM-09).

    Raises:
        MalformedError: as `parse_json`, and NOT_CANONICAL.
    """
    if len(data) <= max_bytes:
        try:
            # Whatever equals its own canonical form has no duplicate member and no other spelling,
            # nor anything after it, so the common case needs no look at each member; everything else
            # takes the long way.
            text = data.decode("utf-8", "strict")
            value, _ = _PLAIN_DECODER.raw_decode(text)
            plain = text.isascii() and "\\" not in text
            if (_ASCII_ENCODER if plain else _ENCODER).encode(value) == text:
                _check_depth(value, what)
                return value
        except (ValueError, RecursionError):
            pass  # The long way below names the reason.
    value = parse_json(data, max_bytes=max_bytes, what=what)
    try:
        if encode_canonical(value) == data:
            return value
    except UnicodeEncodeError as e:
        raise MalformedError(Reason.TEXT_NOT_ALLOWED, f"The {what} has a lone surrogate.") from e
    raise MalformedError(
        Reason.NOT_CANONICAL,
        f"The {what} is not in its RFC 8785 form (sorted members, no white space).",
        hint="Use the file exactly as placet wrote it; editors and pretty-printers change bytes.",
    )


def _check_depth(value: Any, what: str) -> None:
    level: list[Any] = [[value]]
    for _ in range(MAX_DEPTH + 1):
        level = [
            item
            for container in level
            for item in (container.values() if type(container) is dict else container)
            if type(item) in _CONTAINERS
        ]
        if not level:
            return
    raise MalformedError(Reason.TOO_DEEP, f"The {what} is nested too deeply.", expected=MAX_DEPTH)  # ADM-03


def b64encode(data: bytes) -> str:
    """Encodes standard, padded base64 (RFC 4648 section 4)."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def b64url_encode(data: bytes) -> str:
    """Encodes unpadded URL-safe base64 (RFC 4648 section 5), as WebAuthn does."""
    return b64encode(data).rstrip("=").replace("+", "-").replace("/", "_")


def b64decode_strict(text: str, path: str = "") -> bytes:
    """Decodes standard, padded base64 that has exactly one spelling (ENV-04).

    Raises:
        MalformedError: BAD_BASE64 for foreign characters, wrong padding or stray trailing bits.
    """
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except ValueError as e:
        raise MalformedError(Reason.BAD_BASE64, "This is not standard base64.", path=path) from e
    # Only the last group can hide stray bits behind its padding.
    if text.endswith("=") and b64encode(data[len(data) - len(data) % 3 :]) != text[-4:]:
        raise MalformedError(Reason.BAD_BASE64, "This base64 has a second spelling.", path=path)
    return data


def format_time(seconds: int) -> str:
    """Formats Unix seconds as RFC 3339 in UTC with `Z`."""
    days, rest = divmod(seconds, _SECONDS_PER_DAY)
    year, month, day = _civil_from_days(days)
    return f"{year:04d}-{month:02d}-{day:02d}T{rest // 3600:02d}:{rest % 3600 // 60:02d}:{rest % 60:02d}Z"


def parse_time(text: str, path: str = "") -> int:
    """Parses an RFC 3339 time in its one accepted spelling, ``YYYY-MM-DDTHH:MM:SSZ`` (STM-08).

    Written by hand because importing ``datetime`` would cost a cold verification several milliseconds.

    Returns:
        Unix seconds.

    Raises:
        MalformedError: BAD_TIME.
    """
    match = _TIME.fullmatch(text)
    if match is not None:
        date, hour, minute, second = match.groups()
        days = _parse_date(date)
        if days >= 0:
            return days * _SECONDS_PER_DAY + int(hour) * 3600 + int(minute) * 60 + int(second)
    raise MalformedError(
        Reason.BAD_TIME, "A time must be spelled YYYY-MM-DDTHH:MM:SSZ.", path=path, actual=text[:40]
    )


@functools.lru_cache(maxsize=64)
def _parse_date(text: str) -> int:
    """Returns the days since 1970-01-01, or -1 where there is no such day."""
    year, month, day = int(text[0:4]), int(text[5:7]), int(text[8:10])
    days = _days_from_civil(year, month, day)
    # Printing the parsed value again rejects 31 February and month 13.
    return days if year >= 1970 and _civil_from_days(days) == (year, month, day) else -1


def _days_from_civil(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 in the proleptic Gregorian calendar (Hinnant, days_from_civil)."""
    year -= month <= 2
    era, year_of_era = divmod(year, 400)
    day_of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146_097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - 719_468


def _civil_from_days(days: int) -> tuple[int, int, int]:
    """The inverse of `_days_from_civil` (Hinnant, civil_from_days)."""
    era, day_of_era = divmod(days + 719_468, 146_097)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153
    month = shifted + (3 if shifted < 10 else -9)
    return era * 400 + year_of_era + (month <= 2), month, day_of_year - (153 * shifted + 2) // 5 + 1

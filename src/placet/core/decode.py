"""Strict readers for decoded JSON: exact members, exact types, bounded sizes (STM-02).

Every reader takes the JSON pointer of what it reads, so that a refusal names the place.
All of them raise `MalformedError` and nothing else.  Most ask one question that good input
passes, and look for the reason only when it does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from placet.core.encoding import Digest, KeyId, is_hex, parse_time
from placet.core.errors import MalformedError, Reason

# A name, a URI, a path: generous for people, small for a screen.
MAX_STRING = 1024

Object = dict[str, Any]

_DIGEST_LENGTHS = {"sha256": 64, "sha512": 128, "gitCommit": 40}
_SHA256 = frozenset({"sha256"})
_is_sha256 = re.compile("[0-9a-f]{64}").fullmatch


def read_object(value: Any, path: str, required: Iterable[str], optional: Iterable[str] = ()) -> Object:
    """Checks that `value` is an object with exactly these members.

    Args:
        required: the members' names; a frozenset made once costs least.
        optional: names of members that may be there too.

    Raises:
        MalformedError: WRONG_TYPE, MISSING_MEMBER, UNKNOWN_MEMBER.
    """
    if not isinstance(value, dict):
        raise MalformedError(Reason.WRONG_TYPE, "An object was expected.", path=path)
    if value.keys() == required:
        return value
    needed = set(required)
    if missing := needed - value.keys():
        raise MalformedError(Reason.MISSING_MEMBER, f"The member {min(missing)!r} is missing.", path=path)
    if unknown := value.keys() - needed - set(optional):
        name = min(unknown)
        raise MalformedError(Reason.UNKNOWN_MEMBER, f"The member {name[:64]!r} is not known here.", path=path)
    return value


def read_map(value: Any, path: str, *, max_items: int) -> Object:
    """Checks that `value` is an object with at most `max_items` members of any name.

    Raises:
        MalformedError: WRONG_TYPE, TOO_MANY.
    """
    if not isinstance(value, dict):
        raise MalformedError(Reason.WRONG_TYPE, "An object was expected.", path=path)
    if len(value) > max_items:
        raise MalformedError(Reason.TOO_MANY, f"At most {max_items} members are accepted.", path=path)
    return value


def read_list(value: Any, path: str, *, max_items: int, min_items: int = 0) -> list[Any]:
    """Checks that `value` is a list of bounded length.

    Raises:
        MalformedError: WRONG_TYPE, TOO_MANY, BAD_VALUE.
    """
    if not isinstance(value, list):
        raise MalformedError(Reason.WRONG_TYPE, "A list was expected.", path=path)
    if len(value) > max_items:
        raise MalformedError(Reason.TOO_MANY, f"At most {max_items} items are accepted.", path=path)
    if len(value) < min_items:
        raise MalformedError(Reason.BAD_VALUE, f"At least {min_items} items are needed.", path=path)
    return value


def read_string(value: Any, path: str, *, max_length: int = MAX_STRING, min_length: int = 1) -> str:
    """Checks that `value` is a string whose length in characters is within bounds.

    Raises:
        MalformedError: WRONG_TYPE, BAD_VALUE.
    """
    if not isinstance(value, str):
        raise MalformedError(Reason.WRONG_TYPE, "A string was expected.", path=path)
    if not min_length <= len(value) <= max_length:
        raise MalformedError(
            Reason.BAD_VALUE, f"A string of {min_length} to {max_length} characters was expected.", path=path
        )
    return value


def read_ascii(value: Any, path: str, *, max_length: int = MAX_STRING) -> str:
    """Checks that `value` is a non-empty string of printable ASCII: an identifier that nobody can imitate.

    Raises:
        MalformedError: WRONG_TYPE, BAD_VALUE.
    """
    if isinstance(value, str) and value.isascii() and value.isprintable() and 0 < len(value) <= max_length:
        return value
    read_string(value, path, max_length=max_length)
    raise MalformedError(Reason.BAD_VALUE, "Only printable ASCII is accepted here.", path=path)


def read_name(value: Any, path: str) -> str:
    """Reads a short name: lower-case letters, digits and inner hyphens, as in a host name.

    Raises:
        MalformedError: WRONG_TYPE, BAD_VALUE.
    """
    text = read_ascii(value, path, max_length=63)
    if not all(c.islower() or c.isdigit() or c == "-" for c in text) or text[0] == "-" or text[-1] == "-":
        raise MalformedError(
            Reason.BAD_VALUE, "A name is lower-case letters, digits and hyphens.", path=path, actual=text
        )
    return text


def read_bool(value: Any, path: str) -> bool:
    """Checks that `value` is true or false.

    Raises:
        MalformedError: WRONG_TYPE.
    """
    if not isinstance(value, bool):
        raise MalformedError(Reason.WRONG_TYPE, "true or false was expected.", path=path)
    return value


def read_choice(value: Any, path: str, choices: tuple[str, ...]) -> str:
    """Checks that `value` is one of `choices`.

    Raises:
        MalformedError: WRONG_TYPE, BAD_VALUE.
    """
    if isinstance(value, str) and value in choices:
        return value
    text = read_string(value, path)
    listed = ", ".join(repr(choice) for choice in choices)
    raise MalformedError(Reason.BAD_VALUE, f"One of {listed} was expected.", path=path, actual=text[:64])


def read_decimal(value: Any, path: str, *, minimum: int, maximum: int) -> int:
    """Reads a decimal string in its one spelling, within bounds (STM-09).

    Raises:
        MalformedError: WRONG_TYPE, BAD_VALUE.
    """
    text = read_string(value, path, max_length=16)
    if text.isascii() and text.isdigit():
        number = int(text)
        if minimum <= number <= maximum and str(number) == text:
            return number
    raise MalformedError(
        Reason.BAD_VALUE,
        f"A whole number from {minimum} to {maximum}, written as a string, was expected.",
        path=path,
        actual=text,
    )


def read_time(value: Any, path: str) -> int:
    """Reads an RFC 3339 time; returns Unix seconds.

    Raises:
        MalformedError: WRONG_TYPE, BAD_TIME.
    """
    if not isinstance(value, str):
        raise MalformedError(Reason.WRONG_TYPE, "A time was expected.", path=path)
    return parse_time(value, path)


def read_sha256(value: Any, path: str) -> Digest:
    """Reads a digest set that holds exactly a SHA-256.

    Raises:
        MalformedError: WRONG_TYPE, MISSING_MEMBER, UNKNOWN_MEMBER, BAD_DIGEST.
    """
    return read_hex_digest(read_object(value, path, _SHA256)["sha256"], f"{path}/sha256")


def read_hex_digest(value: Any, path: str) -> Digest:
    """Reads a lower-case hexadecimal SHA-256.

    Raises:
        MalformedError: WRONG_TYPE, BAD_DIGEST.
    """
    if isinstance(value, str) and _is_sha256(value):
        return Digest(value)
    if not isinstance(value, str):
        raise MalformedError(Reason.WRONG_TYPE, "A digest was expected.", path=path)
    raise MalformedError(Reason.BAD_DIGEST, "A SHA-256 is 64 lower-case hexadecimal characters.", path=path)


def read_key_id(value: Any, path: str) -> KeyId:
    """Reads a key ID.

    Raises:
        MalformedError: WRONG_TYPE, BAD_DIGEST.
    """
    return KeyId(read_hex_digest(value, path))


def read_digest_set(value: Any, path: str) -> tuple[str, str]:
    """Reads an in-toto digest set that holds exactly one algorithm (STM-05).

    Returns:
        The algorithm's name and the digest in lower-case hexadecimal.

    Raises:
        MalformedError: WRONG_TYPE, BAD_DIGEST.
    """
    members = read_map(value, path, max_items=8)
    if len(members) != 1:
        raise MalformedError(
            Reason.BAD_DIGEST, "Exactly one digest algorithm per subject is accepted.", path=path
        )
    ((algorithm, digest),) = members.items()
    length = _DIGEST_LENGTHS.get(algorithm)
    if length is None or not isinstance(digest, str) or not is_hex(digest, length):
        raise MalformedError(
            Reason.BAD_DIGEST,
            "A digest is sha256, sha512 or gitCommit in lower-case hexadecimal of its full length.",
            path=path,
        )
    return algorithm, digest


def refuse_duplicates(values: list[Any], path: str, what: str) -> None:
    """Refuses values of the trust root that must differ and do not.

    Raises:
        MalformedError: DUPLICATE_VALUE.
    """
    if len(set(values)) != len(values):
        raise MalformedError(Reason.DUPLICATE_VALUE, f"In the trust root, {what}.", path=path)

"""What JSON the lean verifier reads: this shape, this spelling, nothing else; or sigstore-python reads it.

A shape is a table of members (a name with ``?`` may be left out), a list with the shape of its items, or a
function that reads one value.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from placet.core.encoding import MAX_INTEGER, b64decode_strict, is_hex

_number = re.compile("0|[1-9][0-9]{0,15}").fullmatch


class Unusual(Exception):
    """The lean verifier leaves this to sigstore-python: it is false, or it is not of the common form."""


def require(condition: object) -> None:
    """Leaves to sigstore-python what does not hold."""
    if not condition:
        raise Unusual


def read(value: Any, shape: Any) -> Any:
    """Returns what a JSON value of exactly this shape says.

    Raises:
        Exception: it has another shape.
    """
    if type(shape) is dict:
        require(type(value) is dict)
        names = (name.rstrip("?") for name in shape)
        found = {n: read(value[n], s) for n, s in zip(names, shape.values(), strict=True) if n in value}
        require(len(found) == len(value))
        require(all(name in found for name in shape if name[-1] != "?"))
        return found
    if type(shape) is list:
        require(type(value) is list)
        return [read(item, shape[0]) for item in value]
    return shape(value)


def text(value: Any) -> str:
    """Reads text that is no more than a name."""
    require(type(value) is str and value.isascii())
    return str(value)


def raw(value: Any) -> bytes:
    """Reads base64 in its one spelling."""
    return b64decode_strict(text(value))


def number(value: Any) -> int:
    """Reads protobuf's text of an integer."""
    require(_number(text(value)))
    found = int(value)
    require(found <= MAX_INTEGER)
    return found


def positive(value: Any) -> int:
    """Reads protobuf's text of an integer that is not 0."""
    found = number(value)
    require(found > 0)
    return found


def sha256(value: Any) -> str:
    """Reads a digest in hexadecimal."""
    require(is_hex(text(value), 64))
    return str(value)


def just(*words: str) -> Callable[[Any], str]:
    """Returns what reads one of these words."""

    def read_word(value: Any) -> str:
        require(type(value) is str and value in words)
        return str(value)

    return read_word

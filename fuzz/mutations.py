"""Near-valid input: small changes of good documents, as bytes, as JSON, and inside base64."""

from __future__ import annotations

import base64
import binascii
import json
from random import Random
from typing import Any

WORDS: tuple[bytes, ...] = (
    b"",
    b"\0",
    b"\xff",
    b'"',
    b"\\",
    b"{}",
    b"[",
    b"]",
    b"[[",
    b'"]"',
    b"null",
    b"-0",
    b"1e9",
    b"1.0",
    b"9" * 400,
    b"NaN",
    b"\\ud800",
    b"\xe2\x80\xae",
    b"e\xcc\x81",
    b"\x7f",
    b"\n",
    b"[" * 40,
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"SSHSIG",
    b"\n\n",
    b"\r\n",
    b"\xe2\x80\x94 ",
    b"+",
)
VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    2**53,
    2**53 - 1,
    "",
    "0",
    "1",
    "x",
    "x" * 600,
    "y" * 5000,
    "é",
    "e\u0301",
    "\u202e",
    "\ud800",
    "\0",
    "a/b",
    "../x",
    "0" * 64,
    "2026-11-23T10:00:00Z",
    "9999-12-31T23:59:59Z",
    "0000-00-00T00:00:00Z",
    "gate:prod-us",
    "https://placet.dev/actions/run/v1",
    "actions/run/v1.json",
    "YQ==",
    "*" * 20,
    [],
    {},
    [[]],
    {"": ""},
    {"~": {"/": [1]}},
    [0] * 70,
)


def mutate(data: bytes, random: Random) -> bytes:
    """Returns `data` with one to three changes."""
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        data = random.choice((_change_bytes, _change_json, _change_json, _change_inside))(data, random)
    return data


def _change_bytes(data: bytes, random: Random) -> bytes:
    at = random.randrange(len(data) + 1)
    match random.randrange(5):
        case 0 if at < len(data):
            return data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]
        case 1:
            return data[:at] + data[at + random.randrange(1, 40) :]
        case 2:
            return data[:at] + data[random.randrange(len(data) + 1) :][: random.randrange(80)] + data[at:]
        case 3:
            return data[:at]
    return data[:at] + random.choice(WORDS) + data[at + random.choice((0, 0, 1, 4)) :]


def _change_json(data: bytes, random: Random) -> bytes:
    """Changes one node of a JSON document and spells it canonically, so that deeper checks are reached."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return _change_bytes(data, random)
    places: list[tuple[Any, Any]] = []
    _collect(value, places)
    if not places:
        return _encode(random.choice(VALUES))
    parent, key = random.choice(places)
    match random.randrange(6):
        case 0:
            del parent[key]
        case 1 if isinstance(parent, dict):
            parent[random.choice(("note", "", "é", "type", str(key) + " "))] = parent.pop(key)
        case 1 | 2 if isinstance(parent, list):
            parent.insert(random.randrange(len(parent) + 1), parent[key])
        case 2 | 3:
            other, name = random.choice(places)
            parent[key] = json.loads(json.dumps(other[name])) if name in _names(other) else None
        case _:
            parent[key] = random.choice(VALUES)
    return _encode(value)


def _change_inside(data: bytes, random: Random) -> bytes:
    """Changes what stands inside a base64 string of a JSON document."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return _change_bytes(data, random)
    places: list[tuple[Any, Any]] = []
    _collect(value, places)
    found = [(p, k) for p, k in places if isinstance(p[k], str) and len(p[k]) > 40 and len(p[k]) % 4 == 0]
    random.shuffle(found)
    for parent, key in found:
        try:
            inside = base64.b64decode(parent[key], validate=True)
        except (binascii.Error, ValueError):
            continue
        parent[key] = base64.b64encode(mutate(inside, random)).decode()
        return _encode(value)
    return _change_json(data, random)


def _names(parent: Any) -> Any:
    return parent if isinstance(parent, dict) else range(len(parent))


def _collect(value: Any, places: list[tuple[Any, Any]]) -> None:
    if isinstance(value, dict | list):
        for key in list(_names(value)):
            places.append((value, key))
            _collect(value[key], places)


def _encode(value: Any) -> bytes:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8", "surrogatepass")

"""In-toto statements that others made: provenance, summaries, SBOMs, anything (spec/17-evidence.md).

They are not in our admission profile and need not be: nobody approves by signing them.  So their
JSON may have any spelling, fractions, and members that we do not know.  What we decide by is read
strictly all the same: no duplicate members, bounded size and depth, one spelling for each digest.

Leaves out: who signed (an adapter verified that before) and what a predicate means.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NamedTuple

from placet.core.decode import Object, read_list, read_string
from placet.core.encoding import is_hex, unique_members
from placet.core.errors import MalformedError, Reason

STATEMENT_V1 = "https://in-toto.io/Statement/v1"
STATEMENT_V01 = "https://in-toto.io/Statement/v0.1"

# As much as the largest intent bundle could carry; hostile JSON takes dozens of times its size in memory.
MAX_ATTESTATION_BYTES = 4 * 1024 * 1024
# Real SBOMs and event payloads nest some fifteen deep; Python's own parser gives up at about a thousand.
MAX_ATTESTATION_DEPTH = 64
_MAX_SUBJECTS = 20_000
_MAX_ALGORITHMS = 16

# in-toto's digest set, as hexadecimal lengths; Git's objects have SHA-1 or SHA-256 names.
_GIT = dict.fromkeys(("gitCommit", "gitTree", "gitBlob", "gitTag"), (40, 64))
_SHA3 = {"sha3_256": (64,), "sha3_384": (96,), "sha3_512": (128,)}
_SHA2 = {"sha224": (56,), "sha256": (64,), "sha384": (96,), "sha512": (128,)}
_LENGTHS: dict[str, tuple[int, ...]] = {"md5": (32,), "sha1": (40,), **_SHA2, **_SHA3, **_GIT}
# Other algorithms are kept as they are, as long as `algorithm:value` can be read in one way only.
_algorithm = re.compile("[A-Za-z0-9_./-]{1,64}").fullmatch
_other_value = re.compile("[A-Za-z0-9_.:/+=-]{1,256}").fullmatch


class Attestation(NamedTuple):
    """A statement as its signer made it.

    `subjects` are spelled ``sha256:…``; `names` are the signer's words for them, and may be anything.
    """

    predicate_type: str
    subjects: frozenset[str]
    names: tuple[str, ...]
    predicate: Object


def parse_attestation(payload: bytes) -> Attestation:
    """Parses an in-toto Statement, v1 or v0.1, with a predicate of any type (EVD-01).

    Raises:
        MalformedError: TOO_LARGE, NOT_UTF8, NOT_JSON, TOO_DEEP, DUPLICATE_MEMBER, NUMBER_NOT_ALLOWED,
            TEXT_NOT_ALLOWED, UNSUPPORTED_TYPE, WRONG_TYPE, BAD_VALUE, TOO_MANY, BAD_DIGEST.
    """
    top = parse_foreign_json(payload, max_bytes=MAX_ATTESTATION_BYTES, what="attestation")
    if not isinstance(top, dict) or top.get("_type") not in (STATEMENT_V1, STATEMENT_V01):
        raise MalformedError(
            Reason.UNSUPPORTED_TYPE,
            "This is no in-toto Statement of version 1 or 0.1.",
            path="/_type",
            expected=STATEMENT_V1,
        )
    predicate = top.get("predicate")
    if predicate is None:
        predicate = {}
    if not isinstance(predicate, dict):
        raise MalformedError(Reason.WRONG_TYPE, "An object was expected.", path="/predicate")
    names, subjects = [], set()
    items = read_list(top.get("subject"), "/subject", max_items=_MAX_SUBJECTS, min_items=1)
    for i, item in enumerate(items):
        name, digests = _read_subject(item, f"/subject/{i}")
        names.append(name)
        subjects |= digests
    return Attestation(
        predicate_type=read_string(top.get("predicateType"), "/predicateType"),
        subjects=frozenset(subjects),
        names=tuple(names),
        predicate=predicate,
    )


def _read_subject(value: Any, path: str) -> tuple[str, set[str]]:
    if not isinstance(value, dict):
        raise MalformedError(Reason.WRONG_TYPE, "An object was expected.", path=path)
    name = value.get("name")
    return name if isinstance(name, str) else "", read_digests(value.get("digest"), f"{path}/digest")


def read_digests(value: Any, path: str) -> set[str]:
    """Reads an in-toto digest set as ``algorithm:digest`` (EVD-02).

    Raises:
        MalformedError: WRONG_TYPE, TOO_MANY, BAD_DIGEST.
    """
    if not isinstance(value, dict):
        raise MalformedError(Reason.WRONG_TYPE, "A digest set was expected.", path=path)
    if len(value) > _MAX_ALGORITHMS:
        raise MalformedError(Reason.TOO_MANY, f"At most {_MAX_ALGORITHMS} digests are accepted.", path=path)
    for algorithm, digest in value.items():
        # EVD-02: two spellings of one digest would be two things to compare and one to look at.
        if not isinstance(digest, str) or not _is_digest(algorithm, digest):
            raise MalformedError(
                Reason.BAD_DIGEST,
                "A digest is lower-case hexadecimal of its full length.",
                path=f"{path}/{algorithm[:64]}",
            )
    return {f"{algorithm}:{digest}" for algorithm, digest in value.items()}


def _is_digest(algorithm: str, digest: str) -> bool:
    if algorithm in _LENGTHS:
        return any(is_hex(digest, length) for length in _LENGTHS[algorithm])
    return bool(_algorithm(algorithm) and _other_value(digest))


def parse_foreign_json(data: bytes, *, max_bytes: int, what: str) -> Any:
    """Parses JSON that others wrote: any spelling and numbers, but no duplicate members and no great depth.

    Raises:
        MalformedError: TOO_LARGE, NOT_UTF8, NOT_JSON, TOO_DEEP, DUPLICATE_MEMBER, NUMBER_NOT_ALLOWED,
            TEXT_NOT_ALLOWED.
    """
    if len(data) > max_bytes:
        raise MalformedError(
            Reason.TOO_LARGE,
            f"The {what} has {len(data)} bytes; at most {max_bytes} are accepted.",
            expected=max_bytes,
            actual=len(data),
        )
    try:
        text = data.decode("utf-8", "strict")
        value = _DECODER.decode(text)
    except UnicodeDecodeError as e:
        raise MalformedError(Reason.NOT_UTF8, f"The {what} is not UTF-8 text.") from e
    except RecursionError as e:
        raise MalformedError(
            Reason.TOO_DEEP, f"The {what} is nested too deeply.", expected=MAX_ATTESTATION_DEPTH
        ) from e
    except ValueError as e:
        raise MalformedError(Reason.NOT_JSON, f"The {what} is not JSON: {e}.") from e
    _check_depth(value, what)
    if _surrogate(text):
        _check_encodable(value, what)
    return value


def _read_float(text: str) -> float:
    number = float(text)
    if math.isfinite(number):
        return number
    raise MalformedError(Reason.NUMBER_NOT_ALLOWED, f"The number {text[:32]!r} is out of range.")


def _refuse_constant(text: str) -> Any:
    raise MalformedError(Reason.NUMBER_NOT_ALLOWED, f"{text} is no JSON number.")


_DECODER = json.JSONDecoder(
    object_pairs_hook=unique_members, parse_float=_read_float, parse_constant=_refuse_constant
)
_CONTAINERS = frozenset({dict, list})
_surrogate = re.compile(r"\\u[dD][89a-fA-F]").search


def _check_depth(value: Any, what: str) -> None:
    level: list[Any] = [[value]]
    for _ in range(MAX_ATTESTATION_DEPTH + 1):
        level = [
            item
            for container in level
            for item in (container.values() if type(container) is dict else container)
            if type(item) in _CONTAINERS
        ]
        if not level:
            return
    raise MalformedError(Reason.TOO_DEEP, f"The {what} is nested too deeply.", expected=MAX_ATTESTATION_DEPTH)


def _check_encodable(value: Any, what: str) -> None:
    """Refuses halves of characters: nothing could print them, and parsers read them differently."""
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8", "strict")
    except UnicodeEncodeError as e:
        raise MalformedError(Reason.TEXT_NOT_ALLOWED, f"The {what} has a lone surrogate.") from e

"""Which monitors may see records: envelopes and reports, which say who decided what.

    # monitors.toml
    [[monitor]]
    name = "security-team"
    token_sha256 = "…"           # of the token; the token itself is never here

The log itself, its tiles and proofs are for everybody: no name and no content stands in them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import NamedTuple

from starlette.requests import Request

from placet.adapters.serving.refusals import CallRefused
from placet.adapters.serving.tokens import TokenFileError, read_named_token
from placet.core.encoding import Digest, sha256_hex

MAX_READERS_BYTES = 256 * 1024
_MAX_READERS = 1000


class ReaderBook(NamedTuple):
    """The monitors file, read: the SHA-256 of a token → the monitor's name."""

    known: Mapping[Digest, str] = {}


def parse_readers(data: bytes) -> ReaderBook:
    """Parses a monitors file.

    Raises:
        TokenFileError: it is malformed; the text says where.
    """
    try:
        top = tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as e:
        raise TokenFileError(str(e)) from e
    if unknown := sorted(top.keys() - {"monitor"}):
        raise TokenFileError(f"at the top: there is no {unknown[0]}. There is: monitor")
    items = top.get("monitor", [])
    if not isinstance(items, list) or len(items) > _MAX_READERS:
        raise TokenFileError(f"monitor must be a list of at most {_MAX_READERS}: write [[monitor]]")
    known: dict[Digest, str] = {}
    for i, item in enumerate(items, start=1):
        where = f"in [[monitor]] number {i}"
        name, digest = read_named_token(item, where)
        if item:
            raise TokenFileError(f"{where}: there is no {min(item)}. There are: name, token_sha256")
        if digest in known or name in known.values():
            raise TokenFileError(f"{where}: another monitor has this name or token")
        known[digest] = name
    return ReaderBook(known)


def admit_reader(request: Request, book: ReaderBook) -> str:
    """Returns the name of the monitor that calls.

    Raises:
        CallRefused: ``unknown-monitor``.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    # Looked up by digest: how long that takes says nothing about the token.
    name = book.known.get(sha256_hex(token.strip().encode("latin-1", "replace")))
    if scheme.lower() != "bearer" or name is None:
        raise CallRefused(
            "unknown-monitor",
            "Records say who decided what; this log shows them to monitors that it knows.",
            hint="Send the token that the log's operator gave you. Checkpoint, tiles and proofs need none.",
        )
    return name

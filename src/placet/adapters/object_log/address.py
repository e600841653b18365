"""Addresses of buckets: told from paths, and read.

Knows no client library: a command that was given a path must not pay for one.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urlsplit

from placet.core.errors import MalformedError, Reason

SCHEME = "s3://"
MISSING_CLIENT = "Install placet with object storage: pip install 'placet[s3]'."

_ADDRESS = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(?P<prefix>[^?#]*))?")
_PART = re.compile(r"[A-Za-z0-9_.=~-]{1,128}")
_THIS_MACHINE = ("127.0.0.1", "::1", "localhost")


class BucketAddress(NamedTuple):
    """Where a log is kept."""

    bucket: str
    prefix: str
    endpoint: str
    """The server's address, or "" for AWS."""

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.prefix}"


def is_bucket(place: object) -> bool:
    """Tells whether this is the address of a bucket, and not a path."""
    return isinstance(place, str) and place.startswith(SCHEME)


def parse_address(text: str, endpoint: str = "") -> BucketAddress:
    """Parses ``s3://bucket/prefix``; a final slash makes no difference.

    Args:
        endpoint: the server's address where it is not AWS; plain HTTP only on this machine, because records
            say who decided what.

    Raises:
        MalformedError: BAD_VALUE.
    """
    found = _ADDRESS.fullmatch(text)
    parts = [] if found is None else (found["prefix"] or "").removesuffix("/").split("/")
    if found is None or (parts != [""] and not all(_PART.fullmatch(p) and p.strip(".") for p in parts)):
        raise MalformedError(
            Reason.BAD_VALUE,
            "A log in object storage is given as s3://BUCKET/PREFIX.",
            actual=text[:200],
            hint="Such as s3://example-logs/placet; keys and secrets are taken from the environment.",
        )
    return BucketAddress(found["bucket"], "/".join(parts), _check_endpoint(endpoint))


def _check_endpoint(endpoint: str) -> str:
    if not endpoint:
        return ""
    try:
        parts = urlsplit(endpoint)
        plain = parts.scheme == "http" and parts.hostname in _THIS_MACHINE
        if (
            (plain or parts.scheme == "https")
            and parts.hostname
            and "@" not in parts.netloc
            and not parts.query
        ):
            return endpoint.rstrip("/")
    except ValueError:
        pass
    raise MalformedError(
        Reason.BAD_VALUE,
        "The endpoint of object storage is an https:// address, or http:// on this machine.",
        actual=endpoint.rpartition("@")[2][:200],
        hint="Such as https://s3.example.com; keys and secrets are taken from the environment.",
    )

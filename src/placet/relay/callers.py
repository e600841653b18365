"""Who calls, and how much of the relay each may use.

    # callers.toml
    [address]                    # everybody who shows no token, by network address
    requests_per_minute = 60

    [known]                      # what the callers below have unless they say otherwise
    open_requests = 5000

    [[caller]]
    name = "release-pipeline"
    token_sha256 = "…"           # of the token; the token itself is never here
    requests_per_day = 100000

    [all]                        # everybody together
    open_requests = 20000

A caller is no identity: it says whose quota is used, and nothing about what is worth trusting.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any, NamedTuple

from placet.adapters.serving.tokens import TokenFileError, read_named_token
from placet.core.encoding import Digest
from placet.ports.request_store import MAX_ANSWERS, NO_LIMIT, Limits

MAX_CALLERS_BYTES = 1024 * 1024
MAX_CALLERS = 1000
# Of what everybody may have, this part is there for known callers only.
_RESERVED = 0.2
# Of the answers to one request, so many are kept for known callers only.
_RESERVED_ANSWERS = 8
# Approve, deny, and both once more after a mistake.
_ANSWERS_PER_SIGNER = 4


class CallerLimits(NamedTuple):
    """What one caller may do.  Rates and logged bytes hold per process, the rest for the whole store."""

    requests_per_minute: int = 300
    answers_per_minute: int = 300
    reads_per_minute: int = 3000
    waiters: int = 64
    # A terminal reads the 200 oldest: one stranger must not fill every inbox.
    open_requests: int = 50
    requests_per_day: int = 5_000
    kept_bytes: int = 256 * 1024**2
    answers_per_request: int = 8
    # Of what nobody enrolled vouches for.  A log never forgets: this is room that does not come back.
    logged_bytes_per_day: int = 32 * 1024**2


KNOWN = CallerLimits(
    requests_per_minute=3_000,
    answers_per_minute=3_000,
    reads_per_minute=30_000,
    waiters=100,
    open_requests=2_000,
    requests_per_day=50_000,
    kept_bytes=1024**3,
    answers_per_request=16,
    logged_bytes_per_day=1024**3,
)
_UNLIMITED = CallerLimits._make([NO_LIMIT] * len(CallerLimits._fields))


class TotalLimits(NamedTuple):
    """What all callers together may have."""

    open_requests: int = 10_000
    kept_bytes: int = 3 * 1024**3


class Caller(NamedTuple):
    """Somebody who calls."""

    key: str
    """What quotas and rates count by."""
    name: str
    """For logs: a known caller's name, or "" for an address, which is somebody's personal data."""
    limits: CallerLimits
    store_limits: Limits
    vouched_limits: Limits
    """For answers that an enrolled key vouches for: those need no token, and no flood takes their room."""


class CallerBook(NamedTuple):
    """The callers file, read."""

    address: CallerLimits = CallerLimits()
    total: TotalLimits = TotalLimits()
    known: Mapping[Digest, tuple[str, CallerLimits]] = {}
    """By the SHA-256 of the token: name and limits."""

    def of_token(self, digest: Digest) -> Caller | None:
        """Returns the caller who has the token of this digest."""
        found = self.known.get(digest)
        if found is None:
            return None
        name, limits = found
        store_limits = _store_limits(limits, self.total, is_known=True)
        return Caller(f"caller:{name}", name, limits, store_limits, _vouched_limits(self.total))

    def of_address(self, address: str) -> Caller:
        """Returns the caller at a network address."""
        store_limits = _store_limits(self.address, self.total, is_known=False)
        return Caller(f"address:{address}", "", self.address, store_limits, _vouched_limits(self.total))


# For measurements and tests: nobody is held back, by rate or quota.
UNLIMITED_BOOK = CallerBook(_UNLIMITED, TotalLimits(NO_LIMIT, NO_LIMIT))


# What `parse_callers` raises: the file is malformed, and the text says where.
CallersError = TokenFileError


def _store_limits(limits: CallerLimits, total: TotalLimits, *, is_known: bool) -> Limits:
    """Returns the limits for the store: whoever shows no token does not get at what is reserved."""
    share = 1.0 if is_known or total.open_requests == NO_LIMIT else 1.0 - _RESERVED
    return Limits(
        open_requests=limits.open_requests,
        requests_per_day=limits.requests_per_day,
        kept_bytes=limits.kept_bytes,
        answers=limits.answers_per_request,
        answers_per_signer=_ANSWERS_PER_SIGNER,
        all_open_requests=int(total.open_requests * share),
        all_kept_bytes=int(total.kept_bytes * share),
        all_answers=MAX_ANSWERS if share == 1.0 else MAX_ANSWERS - _RESERVED_ANSWERS,
    )


def _vouched_limits(total: TotalLimits) -> Limits:
    return Limits(answers_per_signer=_ANSWERS_PER_SIGNER, all_kept_bytes=total.kept_bytes)


def parse_callers(data: bytes, *, max_kept_bytes: int = TotalLimits().kept_bytes) -> CallerBook:
    """Parses a callers file.

    Args:
        data: TOML.
        max_kept_bytes: what the store has room for, where the file does not say less.

    Raises:
        CallersError: it is malformed.
    """
    try:
        top = tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as e:
        raise CallersError(str(e)) from e
    _refuse_unknown(top, {"address", "known", "all", "caller"}, "at the top")
    total = _read_numbers(top.get("all", {}), TotalLimits(kept_bytes=max_kept_bytes), "in [all]")
    known = _read_numbers(top.get("known", {}), KNOWN, "in [known]")
    address = _read_numbers(top.get("address", {}), CallerLimits(), "in [address]")
    items = top.get("caller", [])
    if not isinstance(items, list) or len(items) > MAX_CALLERS:
        raise CallersError(f"caller must be a list of at most {MAX_CALLERS}: write [[caller]]")
    by_token: dict[Digest, tuple[str, CallerLimits]] = {}
    names: set[str] = set()
    for i, item in enumerate(items, start=1):
        name, digest, limits = _read_caller(item, known, f"in [[caller]] number {i}")
        if name in names or digest in by_token:
            raise CallersError(f"in [[caller]] number {i}: another caller has this name or token")
        names.add(name)
        by_token[digest] = (name, limits)
    return CallerBook(address, total, by_token)


def _read_caller(item: Any, known: CallerLimits, where: str) -> tuple[str, Digest, CallerLimits]:
    name, digest = read_named_token(item, where)
    return name, digest, _read_numbers(item, known, where)


def _read_numbers(table: Any, defaults: Any, where: str) -> Any:
    if not isinstance(table, dict):
        raise CallersError(f"{where}: not a table")
    _refuse_unknown(table, set(defaults._fields), where)
    for name, value in table.items():
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= NO_LIMIT:
            raise CallersError(f"{where}: {name} must be a whole number above 0")
    return defaults._replace(**table)


def _refuse_unknown(table: Mapping[str, Any], names: set[str], where: str) -> None:
    if unknown := sorted(table.keys() - names):
        raise CallersError(f"{where}: there is no {unknown[0]}. There are: {', '.join(sorted(names))}")

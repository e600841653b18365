"""Who stands at the relay's door, and whether they may come in now.

Known callers show a token; everybody else is told apart by network address, IPv6 by /64
because a single machine has that many addresses.  What a proxy says about its clients counts
only where the operator named that proxy: anybody can write the header.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from enum import StrEnum

from starlette.requests import Request

from placet.adapters.serving.addresses import Address, Network, group_address, parse_address
from placet.core.encoding import sha256_hex
from placet.relay.callers import Caller, CallerBook
from placet.relay.errors import RelayError
from placet.relay.throttle import Throttle

log = logging.getLogger("placet.relay")

_FORWARDED_FOR = "x-forwarded-for"
# A chain of proxies is short; a header that a client filled is not read to its end.
_MAX_HOPS = 20
_DAY = 86_400.0
_MINUTES_PER_DAY = 1440


class Kind(StrEnum):
    """What somebody wants, as rates tell it apart."""

    READ = "read"
    REQUEST = "request"
    ANSWER = "answer"
    FREE = "free"
    """Health and documentation: for everybody, at any rate."""


class Gatekeeper:
    """Tells callers apart and holds them to their rates.

    Args:
        book: the known callers and everybody's limits; may be exchanged while the relay runs.
        require_caller: serve known callers only.
        trusted_proxies: whose X-Forwarded-For is believed.
        throttle: the buckets.
    """

    def __init__(
        self,
        book: CallerBook,
        *,
        require_caller: bool = False,
        trusted_proxies: Sequence[Network] = (),
        throttle: Throttle | None = None,
    ) -> None:
        self.book = book
        self._require_caller = require_caller
        self._trusted = tuple(trusted_proxies)
        self._throttle = throttle or Throttle()
        self._warned_of_proxy = False

    def identify(self, request: Request) -> Caller:
        """Returns who calls.

        Raises:
            RelayError: ``unknown-caller``: a token that nobody has, or none where one is required.
        """
        shown = request.headers.get("authorization")
        if shown is None or not (self.book.known or self._require_caller):
            if self._require_caller:
                raise _unknown_caller("Known callers only are served here, and no token was sent.")
            return self.book.of_address(self._address(request))
        scheme, _, token = shown.partition(" ")
        caller = None
        if scheme.lower() == "bearer":
            # Looked up by digest: how long that takes says nothing about the token.
            caller = self.book.of_token(sha256_hex(token.strip().encode("latin-1", "replace")))
        if caller is None:
            # Also where a token is optional: going on as a stranger would hide a mistake.
            raise _unknown_caller("The token that was sent is not known here.")
        return caller

    def admit(self, request: Request, kind: Kind) -> Caller:
        """Returns who calls, if they may come in now.

        Raises:
            RelayError: ``unknown-caller``, or ``rate-limited``.
        """
        if kind is Kind.FREE:
            return self.book.of_address(self._address(request))
        caller = self.identify(request)
        limits = caller.limits
        rate = {
            Kind.READ: limits.reads_per_minute,
            Kind.REQUEST: limits.requests_per_minute,
            Kind.ANSWER: limits.answers_per_minute,
        }[kind]
        seconds = self._throttle.take((caller.key, kind), rate)
        if seconds > 0:
            raise RelayError(
                "rate-limited",
                f"From you, {rate} calls of this kind a minute are taken here, and these were more.",
                hint="Wait as long as Retry-After says. The operator can raise the rate.",
                retry_after=math.ceil(seconds),
            )
        return caller

    def spend_log(self, caller: Caller, size: int) -> None:
        """Takes from what a caller may have logged a day; for records that nobody enrolled vouches for.

        Raises:
            RelayError: ``rate-limited``.
        """
        limit = caller.limits.logged_bytes_per_day
        seconds = self._throttle.take((caller.key, "log"), limit / _MINUTES_PER_DAY, count=size, burst=_DAY)
        if seconds > 0:
            raise RelayError(
                "rate-limited",
                f"From you, this log takes {limit} bytes a day, and these were more.",
                hint="Wait as long as Retry-After says. The log's operator can raise the limit, or give it a "
                "trust snapshot: what enrolled keys signed has none.",
                retry_after=math.ceil(seconds),
            )

    def _address(self, request: Request) -> str:
        peer = parse_address(request.client.host if request.client else "")
        forwarded = ",".join(request.headers.getlist(_FORWARDED_FOR))
        if forwarded and self._is_trusted(peer):
            # From the nearest proxy outwards: what stands left of the first untrusted one, that one made up.
            for hop in reversed(forwarded.split(",")[-_MAX_HOPS:]):
                found = parse_address(hop)
                if found is None:
                    break
                peer = found
                if not self._is_trusted(peer):
                    break
        elif forwarded and not self._warned_of_proxy and peer is not None and peer.is_loopback:
            self._warned_of_proxy = True
            log.warning(
                "a proxy on this machine sends X-Forwarded-For; with --trusted-proxy %s limits hold for "
                "each of its clients, without it for all of them together",
                peer,
            )
        return group_address(peer)

    def _is_trusted(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self._trusted)


def _unknown_caller(message: str) -> RelayError:
    return RelayError(
        "unknown-caller",
        message,
        hint="Send the token that the operator gave you. For a relay: PLACET_RELAY_TOKEN, or "
        "relay_token_file in config.toml; for a log: PLACET_LOG_TOKEN.",
    )

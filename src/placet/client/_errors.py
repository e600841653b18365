"""What can go wrong with a relay, as part of the one error tree.

    IndeterminateError
    └── RelayClientError
        ├── RelayUnavailableError   no connection, too slow, or in trouble of its own: later it may work
        ├── RelayRefusedError       it refused this call, and will again
        ├── RelayNonsenseError      the answer is not one that a relay gives: a proxy's, or a mistake
        └── RelayLiedError          the answer is a relay's, and cannot be true

All are undecided and none is a denial: a relay has no say in what is approved.

Text of the relay's is quoted as its words and never told as ours; nor is its advice passed on, because
"to fix this, run ..." is what an attacker would write there.
"""

from __future__ import annotations

from placet.core.errors import IndeterminateError, PlacetError, Reason

_MAX_SHOWN = 300
_NO_RELAY = "Check that the address is a relay's, and not that of a proxy or another service."


class RelayClientError(IndeterminateError):
    """The relay could not be asked, did not do it, or said what cannot be true.

    Attributes:
        status: the HTTP status, or 0 where there was no answer.
        relay_reason: the relay's own name for its refusal, such as ``request-not-open``, or "".
        retry_after: how many seconds the relay asks to wait before trying again, bounded, or 0.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        hint: str = "",
        causes: tuple[PlacetError, ...] = (),
        status: int = 0,
        relay_reason: str = "",
        retry_after: float = 0.0,
    ) -> None:
        super().__init__(reason, message, hint=hint, causes=causes)
        self.status, self.relay_reason, self.retry_after = status, relay_reason, retry_after


class RelayUnavailableError(RelayClientError):
    """There is no connection, no answer in time, or the relay is busy or in trouble."""


class RelayRefusedError(RelayClientError):
    """The relay refused; `relay_reason` is the relay's own name for it."""


class RelayNonsenseError(RelayClientError):
    """What came back is not an answer that a relay gives."""


class RelayLiedError(RelayClientError):
    """What came back has the shape of an answer, and cannot be true."""


def unavailable(message: str, hint: str) -> RelayUnavailableError:
    """Returns the error for a relay from which no answer came."""
    return RelayUnavailableError(Reason.RELAY_UNAVAILABLE, message, hint=hint)


def nonsense(relay: str, what: str, *, status: int = 0, hint: str = _NO_RELAY) -> RelayNonsenseError:
    """Returns the error for a relay that answered with `what`."""
    message = f"The relay at {relay} answered with {what}."
    return RelayNonsenseError(Reason.RELAY_NONSENSE, message, hint=hint, status=status)


def lied(relay: str, what: str) -> RelayLiedError:
    """Returns the error for a relay that `what` convicts."""
    return RelayLiedError(
        Reason.RELAY_LIED,
        f"The relay at {relay} {what}.",
        hint="It was not believed. Tell the relay's operator; until then use another relay, or files.",
    )


def printable(text: object) -> str:
    """Returns text of the relay's as it may be shown: a hostile one could send terminal commands."""
    if not isinstance(text, str):
        return ""
    text = text.replace("\u2026", "...")
    kept = "".join(c if c.isascii() and c.isprintable() else "?" for c in text[: _MAX_SHOWN + 1])
    return kept if len(kept) <= _MAX_SHOWN else kept[:_MAX_SHOWN] + "..."

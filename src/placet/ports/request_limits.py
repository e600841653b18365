"""The rules for `placet.ports.request_store.Limits`, in one place for every store.

A store counts what is there in the transaction that writes, and asks here; so two stores
cannot disagree about what a limit means, nor about what a person is told.
"""

from __future__ import annotations

from typing import NamedTuple

from placet.ports.request_store import (
    MAX_ANSWERS,
    AnswerLimitError,
    Limits,
    QuotaExceededError,
    StoreFullError,
)

_DAY = 86_400
_KEPT_HINT = (
    "What is closed is deleted after some days; withdraw what is no longer needed, or ask the relay's "
    "operator for a larger quota."
)
_CROWDED_HINT = "Nothing was stored. Try again in a while; the relay's operator can raise the bound."


class Present(NamedTuple):
    """What is in the store when something is to be added; the caller's and everybody's."""

    open_requests: int
    requests_today: int
    kept_bytes: int
    all_open_requests: int
    all_kept_bytes: int


class PresentAnswers(NamedTuple):
    """What one request has when an answer is to be added."""

    of_caller: int
    of_signer: int
    of_all: int


def day_start(now: int) -> int:
    """Returns the last midnight UTC: the day whose requests are counted began then."""
    return now - now % _DAY


def check_new_request(present: Present, size: int, limits: Limits, *, now: int) -> None:
    """Checks that a request of `size` bytes may be added.

    Raises:
        QuotaExceededError: the caller has as much as one caller may.
        StoreFullError: everybody together has.
    """
    if present.open_requests >= limits.open_requests:
        raise QuotaExceededError(
            f"You have {present.open_requests} open requests here; {limits.open_requests} are allowed.",
            hint="Withdraw those that are no longer needed, or wait until some are decided or expire.",
        )
    if present.requests_today >= limits.requests_per_day:
        raise QuotaExceededError(
            f"You sent {present.requests_today} requests today; {limits.requests_per_day} are allowed.",
            hint="The day ends at midnight UTC; the relay's operator can raise the quota.",
            retry_after=_DAY - now % _DAY,
        )
    if present.all_open_requests >= limits.all_open_requests:
        raise _crowded("As many requests are open as this relay takes.")
    check_bytes(present, size, limits)


def check_bytes(present: Present, size: int, limits: Limits) -> None:
    """Checks that `size` more bytes may be kept for the caller, of a request or an answer.

    Raises:
        QuotaExceededError: the caller has as much as one caller may.
        StoreFullError: everybody together has.
    """
    if present.kept_bytes + size > limits.kept_bytes:
        raise QuotaExceededError(
            f"You have {present.kept_bytes} bytes at this relay, and this needs {size} more; "
            f"{limits.kept_bytes} are allowed.",
            hint=_KEPT_HINT,
            retry_after=3600,
        )
    if present.all_kept_bytes + size > limits.all_kept_bytes:
        raise _crowded("This relay keeps as much as it takes.")


def check_new_answer(present: PresentAnswers, limits: Limits) -> None:
    """Checks that the request may have one more answer.

    Raises:
        AnswerLimitError: it may not.
    """
    if present.of_all >= min(limits.all_answers, MAX_ANSWERS):
        raise AnswerLimitError(
            f"The request has {present.of_all} answers already; no more are kept.",
            hint="Withdraw it and make a new request.",
        )
    if present.of_signer >= limits.answers_per_signer:
        raise AnswerLimitError(
            f"The relay has {present.of_signer} answers of this key to the request; no more are kept.",
            hint="The earlier ones are with the requester; withdraw the request and ask again to start anew.",
        )
    if present.of_caller >= limits.answers:
        raise AnswerLimitError(
            f"You gave {present.of_caller} answers to this request; no more are kept from one sender.",
            hint="Answer from another terminal, or ask the relay's operator for a caller's token.",
        )


def _crowded(message: str) -> StoreFullError:
    error = StoreFullError(message, hint=_CROWDED_HINT)
    error.for_clients = True
    return error

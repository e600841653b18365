"""Both clients, word for word the same, against a relay that answers badly."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from placet.client import AsyncRelayClient, RelayClient, RelayClientError, StateFilter
from placet.client import _calls as calls
from placet.core.encoding import Digest
from placet.core.errors import Reason
from placet.testing.hostile_relay import HostileRelay, Lie, Raw, Reply, lies, wire

NOBODY = Digest("0" * 64)
# What the real relay would say is of no interest here; nothing listens there.
NOWHERE = "http://127.0.0.1:9"


def honest(seen: Any, forward: Any) -> Reply:
    if seen.kind == "health":
        return lies.said(200, {"status": "ok"})
    return lies.said(200, {"requests": [], "next": None})


@pytest.fixture
def relay() -> Iterator[HostileRelay]:
    with HostileRelay(NOWHERE, honest) as relay:
        yield relay


def ask_sync(url: str, **options: Any) -> object:
    with RelayClient(url, sleep=lambda _: None, **options) as client:
        return client.list_page()


def ask_async(url: str, **options: Any) -> object:
    async def nap(_: float) -> None:
        await asyncio.sleep(0)

    async def ask() -> object:
        async with AsyncRelayClient(url, sleep=nap, **options) as client:
            return await client.list_page()

    return asyncio.run(ask())


BOTH = pytest.mark.parametrize("ask", [ask_sync, ask_async])

BAD: dict[str, tuple[Lie, Reason, str]] = {
    "garbage": (wire.garbage(), Reason.RELAY_NONSENSE, "no usable JSON"),
    "login page": (wire.login_page(), Reason.RELAY_NONSENSE, "no usable JSON"),
    "proxy's own error": (wire.garbage(b"<html>", 502), Reason.RELAY_UNAVAILABLE, "status 502, http-502"),
    "doubled members": (
        lambda seen, forward: Reply(200, b'{"requests":[],"requests":[],"next":null}'),
        Reason.RELAY_NONSENSE,
        "no usable JSON",
    ),
    "deep": (wire.deep(), Reason.RELAY_NONSENSE, "no usable JSON"),
    "long number": (wire.long_number(), Reason.RELAY_NONSENSE, "no usable JSON"),
    "error in success": (
        wire.error_in_success(),
        Reason.RELAY_NONSENSE,
        "error under the status of a success",
    ),
    "failing": (wire.failing(503), Reason.RELAY_UNAVAILABLE, "cannot serve this now"),
    "rate limited": (wire.failing(429), Reason.RELAY_UNAVAILABLE, "status 429"),
    "redirect": (wire.redirected("http://127.0.0.1:9/"), Reason.RELAY_NONSENSE, "is not followed"),
    "redirect to nonsense": (wire.redirected("http://[::bad/\x7f"), Reason.RELAY_UNAVAILABLE, "broke"),
    "huge": (wire.huge(12_000_000), Reason.RELAY_NONSENSE, "more than 10027008 bytes"),
    "gzip bomb": (wire.compressed(10_000_000), Reason.RELAY_NONSENSE, "no usable JSON"),
    "dripping body": (wire.dripping(), Reason.RELAY_UNAVAILABLE, "did not answer in time"),
    "dripping head": (wire.dripping(in_head=True), Reason.RELAY_UNAVAILABLE, "did not answer in time"),
    "hanging up": (wire.closing(), Reason.RELAY_UNAVAILABLE, "broke"),
    "no HTTP": (wire.no_http(), Reason.RELAY_UNAVAILABLE, "broke"),
    "long head": (wire.long_head(), Reason.RELAY_UNAVAILABLE, "broke"),
    "refused": (lies.refused("listing", 401, "unknown-caller"), Reason.RELAY_REFUSED, "unknown-caller"),
    "no listing": (lambda seen, forward: lies.said(200, {}), Reason.RELAY_NONSENSE, "not a relay's answer"),
}


@BOTH
@pytest.mark.parametrize("name", BAD)
def test_a_bad_answer_is_a_named_refusal_in_time(
    relay: HostileRelay, ask: Callable[..., object], name: str
) -> None:
    lie, reason, words = BAD[name]
    relay.turn(lie)
    started = time.monotonic()
    with pytest.raises(RelayClientError, match=words) as error:
        ask(relay.url, timeout=0.15 if "dripping" in name else 5.0)
    assert error.value.reason is reason
    assert error.value.hint
    assert time.monotonic() - started < 4
    # Only what may pass by itself is tried again.
    assert len(relay.seen) == (len(calls.PAUSES) + 1 if reason is Reason.RELAY_UNAVAILABLE else 1)


@BOTH
@pytest.mark.parametrize("lie", [wire.wrong_type(), wire.cookies()], ids=["label", "cookies"])
def test_what_surrounds_an_honest_answer_changes_nothing(
    relay: HostileRelay, ask: Callable[..., object], lie: Lie
) -> None:
    relay.turn(lambda seen, forward: lie(seen, lambda: honest(seen, forward)))
    assert ask(relay.url) == ((), None)


def test_cookies_are_not_kept(relay: HostileRelay) -> None:
    relay.turn(lambda seen, forward: wire.cookies()(seen, lambda: honest(seen, forward)))
    with RelayClient(relay.url) as client:
        for _ in range(3):
            client.list_page()
        assert len(client._http.cookies.jar) == 0


@BOTH
def test_a_listing_that_never_ends_is_noticed(relay: HostileRelay, ask: Callable[..., object]) -> None:
    page = {"requests": list(lies.invented(3)), "next": "x"}
    relay.turn(lambda seen, forward: lies.said(200, page))

    async def collect() -> list[object]:
        async with AsyncRelayClient(relay.url) as client:
            return [item async for item in client.list()]

    with pytest.raises(RelayClientError, match="never ends") as error:
        if ask is ask_sync:
            with RelayClient(relay.url) as client:
                list(client.list())
        else:
            asyncio.run(collect())
    assert error.value.reason is Reason.RELAY_LIED
    assert len(relay.seen) == 2


def test_a_flood_is_fetched_only_as_far_as_it_is_looked_at(relay: HostileRelay) -> None:
    relay.turn(lies.endless(page=10))
    with RelayClient(relay.url) as client:
        found = [item for item, _ in zip(client.list(StateFilter.ALL), range(25), strict=False)]
    assert len({item.id for item in found}) == 25
    assert len(relay.seen) == 3


def test_what_is_listed_twice_is_told_once(relay: HostileRelay) -> None:
    (entry,) = lies.invented(1)
    pages = iter(({"requests": [entry, entry], "next": "x"}, {"requests": [entry], "next": None}))
    relay.turn(lambda seen, forward: lies.said(200, next(pages)))
    with RelayClient(relay.url) as client:
        assert [item.id for item in client.list()] == [entry["id"]]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.one_of(
        st.binary(max_size=300),
        st.binary(max_size=60).map(lambda body: b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body),
        st.tuples(st.integers(100, 599), st.binary(max_size=40)).map(
            lambda x: b"HTTP/1.1 %d X\r\nLocation: %b\r\nSet-Cookie: %b\r\n\r\n{}" % (x[0], x[1], x[1])
        ),
    )
)
def test_whatever_bytes_come_only_our_errors_escape(relay: HostileRelay, data: bytes) -> None:
    relay.turn(lambda seen, forward: Raw(lambda send: (send(data), None)[1]))
    for ask in (ask_sync, ask_async):
        with pytest.raises(RelayClientError) as error:
            ask(relay.url, timeout=1.0)
        assert str(error.value).isprintable()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from(["id", "state", "request", "answers", "submittedAt", "requests", "next", "error"])


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=JSON | st.dictionaries(NAMES, JSON, max_size=6), status=st.sampled_from([200, 201, 400, 503]))
def test_whatever_json_comes_only_our_errors_escape(value: object, status: int) -> None:
    for call in (calls.fetch(NOBODY), calls.list_page(StateFilter.ALL, None, 9), calls.withdraw(NOBODY, "t")):
        try:
            call.judge("https://relay.example", Reply(status, lies.said(status, value).body, {}))  # type: ignore[arg-type]
        except RelayClientError as e:
            assert str(e).isprintable()

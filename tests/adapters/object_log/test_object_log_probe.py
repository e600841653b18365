"""Storage that ignores conditions is found at the start, and refused: silence would mean two histories."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator

import pytest
from object_log_world import Place

from placet.adapters.object_log.store import ObjectLog
from placet.core.errors import IndeterminateError, Reason
from placet.testing.contracts._log_scene import SIGNER, fill
from placet.testing.object_storage import (
    ENVIRONMENT,
    Fate,
    ObjectStorage,
    StorageWire,
    WireRequest,
    start_object_storage,
)

WROTE = b'HTTP/1.1 200 OK\r\nETag: "%s"\r\nContent-Length: 0\r\n\r\n'
WITHOUT_ETAG = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nLast-Modified: Mon, 23 Nov 2026 13:29:01 GMT\r\n\r\n"


@pytest.fixture(scope="module")
def open_storage(object_storage: ObjectStorage) -> Iterator[ObjectStorage]:
    """A server that asks for no key: requests are signed with their conditions, so none can be taken out."""
    with start_object_storage(open_to_all=True) as server:
        yield server


def refusal_of(place: Place, wire: StorageWire) -> IndeterminateError:
    with pytest.raises(IndeterminateError) as told:
        asyncio.run(ObjectLog.open(place.address(wire), SIGNER))
    assert told.value.reason is Reason.LOG_UNAVAILABLE
    assert told.value.hint
    # Nothing was written that could be taken for a log.
    assert all("/private/probe" in request.path for request in wire.puts())
    return told.value


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("header", ["if-match", "if-none-match"])
def test_a_server_that_ignores_a_condition_is_refused(
    open_storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch, header: str, begun: bool
) -> None:
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    place = Place(open_storage, f"test-{secrets.token_hex(8)}")
    if begun:
        place.set_up()
    with StorageWire(open_storage.port) as wire:
        wire.strip = frozenset({header})
        told = refusal_of(place, wire)
        assert header.title() in told.message.title()
        # The same server with the header keeps the log.
        wire.strip = frozenset()
        asyncio.run(append_one(place, wire))


async def append_one(place: Place, wire: StorageWire) -> None:
    async with place.open(wire) as log:
        await fill(log, 1)


def test_on_a_signed_request_no_condition_gets_lost(place: Place, wire: Callable[[], StorageWire]) -> None:
    thief = wire()
    thief.strip = frozenset({"if-match"})
    assert "s3:PutObject" in refusal_of(place, thief).hint


def test_a_server_that_looks_first_and_writes_afterwards_is_refused(
    place: Place, wire: Callable[[], StorageWire]
) -> None:
    """Two writers pass the same condition, each alone being refused what it must be refused."""
    racy = wire()

    def judge(request: WireRequest) -> Fate | bytes:
        matching = request.headers.get("if-match", "").strip('"')
        racing = matching.strip("0") and request.path.endswith("/private/probe")
        return WROTE % secrets.token_hex(16).encode() if racing else Fate.PASS

    racy.fate = judge
    assert "two writers" in refusal_of(place, racy).message


def test_a_new_object_that_two_writers_create_is_refused(
    object_storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch, wire: Callable[[], StorageWire]
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    racy = wire()
    racy.fate = lambda request: WROTE % b"abc" if request.method == "PUT" else Fate.PASS
    assert "twice" in refusal_of(Place(object_storage, secrets.token_hex(8)), racy).message


def test_a_server_that_shows_old_data_is_refused(place: Place, wire: Callable[[], StorageWire]) -> None:
    stale = wire()
    won: list[WireRequest] = []

    def judge(request: WireRequest) -> Fate | bytes:
        racing = request.headers.get("if-match", "").strip('"0') and request.path.endswith("/probe")
        if racing and not won:
            won.append(request)
            return WROTE % b"new"
        if racing:
            return b"HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n"
        return Fate.PASS

    stale.fate = judge
    assert "old data" in refusal_of(place, stale).message


def test_a_server_without_etags_is_refused(place: Place, wire: Callable[[], StorageWire]) -> None:
    bare = wire()
    bare.fate = lambda request: WITHOUT_ETAG if request.method == "GET" else Fate.PASS
    assert "no ETag" in refusal_of(place, bare).message


def test_every_start_probes(place: Place, wire: Callable[[], StorageWire]) -> None:
    first, second = wire(), wire()
    for one in (first, second):
        asyncio.run(append_one(place, one))
        probes = [request for request in one.puts() if "/private/probe" in request.path]
        assert len(probes) == 5
        assert {request.headers.get("if-match", "none") for request in probes} > {"none"}

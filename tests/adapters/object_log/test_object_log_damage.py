"""What was copied, put back, edited or damaged: noticed before anything is signed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import obstore
import pytest
from object_log_world import (
    Place,
)

from placet.adapters.object_log.journal import TreeState, encode_journal, parse_journal
from placet.adapters.object_log.leaves import encode_leaf_object, leaf_key
from placet.adapters.object_log.store import ObjectLog
from placet.core.errors import IndeterminateError, Reason
from placet.core.tlog.cosignature import cosign
from placet.core.tlog.merkle import hash_leaf
from placet.core.tlog.note import COSIGNATURE_ED25519, parse_note
from placet.testing.contracts._log_scene import (
    NOW,
    SIGNER,
    entry,
    fill,
    refused,
    root_of,
    signer,
    verified,
)
from placet.testing.object_storage import Fate, StorageWire, WireRequest

# As a leaf's object it says that the leaf comes later.
HELD = b"0" * 64 + b" 0000000000000000009\n"
Wires = Callable[[], StorageWire]


def test_a_copied_log_is_not_signed_until_its_operator_says_that_it_moved(place: Place) -> None:
    async def scenario() -> None:
        async with place.open() as log:
            await fill(log, 3)
        copy = Place(place.server, f"{place.prefix}-copy").set_up()
        for name, data in place.objects().items():
            put(copy, name, data)
        assert await refused(ObjectLog.open(copy.address(), SIGNER)) is Reason.LOG_DAMAGED
        wrong = ObjectLog.open(copy.address(), SIGNER, moved_from="s3://elsewhere/log")
        assert await refused(wrong) is Reason.LOG_DAMAGED
        moved = await ObjectLog.open(copy.address(), SIGNER, moved_from=str(place.address()))
        await fill(moved, 4)
        await moved.close()
        async with copy.open() as log:
            assert (await verified(log)).tree_size == 4

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "what", ["checkpoint", "private/journal", "both", "cosigned", "all-but-cosigned", "gone", "no-checkpoint"]
)
def test_what_was_put_back_to_an_older_state_is_noticed_before_anything_is_signed(
    place: Place, wire: Wires, what: str
) -> None:
    async def scenario() -> None:
        async with place.open() as log:
            await fill(log, 2)
            old = place.objects()
            await fill(log, 3)
            await fill(log, 5)
            text = parse_note(await log.checkpoint()).text
            await log.keep_cosignatures(5, (cosign(text, signer("w", COSIGNATURE_ED25519), NOW),))
        if what == "both":
            delete(place, "cosigned/1")
        if what in ("gone", "no-checkpoint"):
            delete(place, "private/journal" if what == "gone" else "checkpoint")
        both = {"checkpoint", "private/journal"}
        put_back = {"both": both, "cosigned": both, "all-but-cosigned": old.keys()}.get(what, {what} & both)
        for name in put_back:
            put(place, name, old[name])
        if what == "all-but-cosigned":
            for name in place.objects().keys() - old.keys() - {"cosigned/1"}:
                delete(place, name)
        after = wire()
        with pytest.raises(IndeterminateError) as told:
            async with place.open(after) as log:
                # Everything that could tell was put back: the tiles are written once, and tell.
                await log.append([entry("another third")])
        assert told.value.reason is Reason.LOG_DAMAGED
        assert not after.puts("/checkpoint")
        assert not after.puts("/private/journal")

    asyncio.run(scenario())


@pytest.mark.parametrize("name", ["tile/0/000.p/3", "tile/entries/000.p/3", "leaf"])
def test_a_name_that_holds_other_bytes_stops_the_log_before_it_signs(
    place: Place, wire: Wires, name: str
) -> None:
    async def scenario() -> None:
        watched = wire()
        async with place.open(watched) as log:
            await fill(log, 2)
            signed = len(watched.puts("/checkpoint"))
            put(place, leaf_key(hash_leaf(entry(2).leaf)) if name == "leaf" else name, HELD)
            for _ in range(2):
                assert await refused(log.append([entry(2)])) is Reason.LOG_DAMAGED
            assert len(watched.puts("/checkpoint")) == signed
        assert await refused(ObjectLog.open(place.address(watched), SIGNER)) is Reason.LOG_DAMAGED
        assert len(watched.puts("/checkpoint")) == signed

    asyncio.run(scenario())


@pytest.mark.parametrize("what", ["nothing", "root", "base", "size", "entry", "key", "place", "bytes"])
def test_a_journal_that_was_edited_is_not_signed(place: Place, wire: Wires, what: str) -> None:
    async def scenario() -> None:
        async with place.open() as log:
            await fill(log, 2)
            hashes = [hash_leaf(entry(n).leaf) for n in range(3)]
            old = parse_journal(place.objects()["private/journal"])
        honest = old._replace(base=old.tree, tree=TreeState(3, root_of(hashes)), entries=(entry(2),))
        journal = {
            "root": honest._replace(tree=TreeState(3, bytes(32))),
            "base": honest._replace(base=TreeState(2, bytes(32))),
            "size": honest._replace(base=TreeState(1, old.base.root_hash), entries=(entry(1), entry(2))),
            "entry": honest._replace(entries=(entry(3),)),
            "key": honest._replace(key=str(signer("another").verifier_key)),
            "place": honest._replace(place="s3://elsewhere/log"),
        }.get(what, honest)
        put(place, "private/journal", encode_journal(journal) + (b"x" if what == "bytes" else b""))
        watched = wire()
        if what == "nothing":
            async with place.open(watched) as log:
                assert (await verified(log)).tree_size == 3
        else:
            assert await refused(ObjectLog.open(place.address(watched), SIGNER)) is Reason.LOG_DAMAGED
            assert not watched.puts("/checkpoint")

    asyncio.run(scenario())


def test_a_checkpoint_that_goes_back_under_a_running_server_stops_it(place: Place) -> None:
    async def scenario() -> None:
        async with place.open() as log:
            await fill(log, 1)
            old = place.objects()["checkpoint"]
            await fill(log, 2)
            put(place, "checkpoint", old)
            assert await refused(log.append([entry(2)])) is Reason.LOG_DAMAGED

    asyncio.run(scenario())


def test_a_log_that_goes_back_under_a_running_server_stops_it(place: Place, wire: Wires) -> None:
    """Whole, tiles included, so that nothing in the bucket tells; the server remembers what it signed."""

    async def scenario() -> None:
        watched = wire()
        async with place.open(watched) as log:
            await fill(log, 2)
            signed = len(watched.puts("/checkpoint"))
            for name in place.objects():
                delete(place, name)
            other = Place(place.server, place.prefix)
            async with other.open() as another:
                await another.append([entry("another history"), entry(1), entry(2)])
            assert await refused(log.check_health()) is Reason.LOG_DAMAGED
            assert await refused(log.append([entry("x")])) is Reason.LOG_DAMAGED
            assert len(watched.puts("/checkpoint")) == signed

    asyncio.run(scenario())


def test_damage_stops_the_log(place: Place) -> None:
    async def scenario() -> None:
        async with place.open() as log:
            await fill(log, 300)
        async with place.open() as log:
            put(place, "tile/0/000", bytes(8192))
            assert await refused(log.prove_inclusion(0, 300)) is Reason.LOG_DAMAGED
            for call in (log.append([entry("x")]), log.check_health(), log.read_tile(0, 0, 1)):
                assert await refused(call) is Reason.LOG_DAMAGED

    asyncio.run(scenario())


@pytest.mark.parametrize("asked", ["find", "append", "records"])
def test_a_leaf_that_is_given_the_place_of_another_is_noticed(place: Place, asked: str) -> None:
    async def scenario() -> None:
        async with place.open() as log:
            await fill(log, 3)
            put(place, leaf_key(hash_leaf(entry(0).leaf)), encode_leaf_object(1, entry(0).record))
            call = {
                "find": lambda: log.find(hash_leaf(entry(0).leaf)),
                "append": lambda: log.append([entry(0)]),
                "records": lambda: log.read_records(0, 1),
            }[asked]
            assert await refused(call()) is Reason.LOG_DAMAGED  # type: ignore[operator]

    asyncio.run(scenario())


def test_what_is_larger_than_it_can_be_is_not_fetched(place: Place) -> None:
    async def scenario() -> None:
        async with place.open() as log:
            await fill(log, 1)
        put(place, "checkpoint", bytes(100_000))
        with pytest.raises(IndeterminateError, match="larger than it can be"):
            await ObjectLog.open(place.address(), SIGNER)

    asyncio.run(scenario())


def test_damage_stops_what_is_waiting_already(place: Place, wire: Wires) -> None:
    async def scenario() -> None:
        watched = wire()
        async with place.open() as log:
            await fill(log, 300)
        async with place.open(watched) as log:
            put(place, "tile/0/000", bytes(8192))
            met = asyncio.Event()
            loop = asyncio.get_running_loop()

            def hold(request: WireRequest) -> Fate:
                # The leaf's lookup waits until a reader has met the damage.
                if "/private/leaves/" in request.path:
                    asyncio.run_coroutine_threadsafe(met.wait(), loop).result()
                return Fate.PASS

            watched.fate = hold
            first = asyncio.create_task(log.append([entry(0)]))
            await asyncio.sleep(0)
            second = asyncio.create_task(log.append([entry("second")]))
            await asyncio.sleep(0)
            assert await refused(log.read_tile(0, 0, 1)) is Reason.LOG_DAMAGED
            met.set()
            await asyncio.gather(first, return_exceptions=True)
            assert await refused(second) is Reason.LOG_DAMAGED
        assert not watched.puts("/private/journal")

    asyncio.run(scenario())


def put(place: Place, name: str, data: bytes) -> None:
    obstore.put(place.bucket, name, data)


def delete(place: Place, name: str) -> None:
    obstore.delete(place.bucket, name)

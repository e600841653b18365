"""Two servers on one log, and storage with all the answers that S3 may give: one history."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from object_log_world import (
    Place,
    check_one_history,
    check_written_once,
    is_of_the_log,
    read_as_anybody,
)

from placet.adapters.object_log import writes
from placet.adapters.object_log.address import BucketAddress
from placet.adapters.object_log.store import ObjectLog
from placet.core.errors import IndeterminateError, Reason
from placet.core.tlog.checkpoint import verify_checkpoint
from placet.core.tlog.cosignature import cosign
from placet.core.tlog.merkle import hash_leaf
from placet.core.tlog.note import COSIGNATURE_ED25519, parse_note
from placet.testing.contracts._log_scene import (
    NOW,
    SIGNER,
    entries,
    entry,
    fill,
    refused,
    signer,
    verified,
)
from placet.testing.object_storage import Fate, StorageWire, WireRequest, refusal

Wires = Callable[[], StorageWire]


def test_two_servers_give_each_leaf_one_place(place: Place, wire: Wires) -> None:
    async def scenario() -> None:
        wires = wire(), wire()
        async with place.open(wires[0]) as one, place.open(wires[1]) as two:

            async def write(log: ObjectLog, name: str) -> list[int]:
                places = []
                for turn in range(6):
                    placed = await log.append([entry(f"{name} {turn}"), entry(f"shared {turn}")])
                    assert (await verified(log)).tree_size > placed[0].leaf_index
                    places += [one.leaf_index for one in placed]
                return places

            first, second = await asyncio.gather(write(one, "one"), write(two, "two"))
            assert first[1::2] == second[1::2]
            assert sorted({*first, *second}) == list(range(18))
        async with place.open() as log:
            await check_one_history(log, *wires)
        assert len(set(read_as_anybody(place))) == 18
        check_written_once(*wires)

    asyncio.run(scenario())


def test_two_servers_begin_one_log(place: Place, wire: Wires) -> None:
    async def scenario() -> None:
        wires = wire(), wire()
        logs = await asyncio.gather(*(ObjectLog.open(place.address(one), SIGNER) for one in wires))
        await asyncio.gather(*(log.append([entry(n)]) for n, log in enumerate(logs)))
        await check_one_history(logs[0], wires[0])
        for log in logs:
            await log.close()
        assert len(read_as_anybody(place)) == 2

    asyncio.run(scenario())


def test_a_server_that_stands_by_learns_how_far_the_other_came(place: Place) -> None:
    async def scenario() -> None:
        async with place.open() as one, place.open() as two:
            await fill(one, 300)
            assert (await verified(two)).tree_size == 0
            waiting = asyncio.create_task(two.wait_beyond(299, 30))
            await asyncio.sleep(0)
            await two.check_health()
            assert await waiting
            assert await two.read_records(298, 5) == tuple((n, entry(n).record) for n in (298, 299))
            assert (await two.append([entry(5), entry("new")]))[1].leaf_index == 300

    asyncio.run(scenario())


# What S3 may answer though nothing was written, and "arrived, but the answer did not".
TROUBLES: dict[str, Fate | bytes] = {
    "conflict": refusal("409 Conflict", "ConditionalRequestConflict"),
    "refused": refusal("412 Precondition Failed", "PreconditionFailed"),
    "slow-down": refusal("503 Slow Down", "SlowDown"),
    "internal": refusal("500 Internal Server Error", "InternalError"),
    "lost": Fate.DROP,
    "answer-lost": Fate.DROP_ANSWER,
}


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("name", ["/private/journal", "/checkpoint", "/tile/0/000.p/2", "/leaves/"])
def test_trouble_that_passes_is_not_noticed(place: Place, wire: Wires, trouble: str, name: str) -> None:
    async def scenario() -> None:
        troubled = wire()
        async with place.open() as log:
            await fill(log, 1)
        async with place.open(troubled) as log:
            met: list[str] = []

            def judge(request: WireRequest) -> Fate | bytes:
                if met or not is_of_the_log(request) or name not in request.path:
                    return Fate.PASS
                met.append(request.path)
                return TROUBLES[trouble]

            troubled.fate = judge
            (placed,) = await log.append([entry(1)])
            assert (placed.leaf_index, placed.created) == (1, True)
            assert met
            await check_one_history(log, troubled)
        assert read_as_anybody(place) == (entry(0).leaf, entry(1).leaf)

    asyncio.run(scenario())


@pytest.mark.parametrize("name", ["/private/journal", "/checkpoint", "/leaves/"])
@pytest.mark.parametrize("trouble", ["conflict", "internal", "answer-lost"])
def test_trouble_that_stays_is_told_and_appending_again_is_right(
    place: Place, wire: Wires, monkeypatch: pytest.MonkeyPatch, trouble: str, name: str
) -> None:
    monkeypatch.setattr(writes, "_PAUSES", (0.01, 0.01, 0.01))

    async def scenario() -> None:
        troubled = wire()
        async with place.open(troubled) as log:

            def judge(request: WireRequest) -> Fate | bytes:
                # What arrives is seen by reading, unless reading fails as well.
                hit = name in request.path and (is_of_the_log(request) or trouble == "answer-lost")
                return TROUBLES[trouble] if hit else Fate.PASS

            troubled.fate = judge
            with pytest.raises(IndeterminateError) as told:
                await log.append(entries(0, 2))
            assert told.value.reason is Reason.LOG_UNAVAILABLE
            assert told.value.hint
            assert (await verified(log)).tree_size == 0
            troubled.fate = lambda request: Fate.PASS
            assert await log.find(hash_leaf(entry(0).leaf)) is None
            placed = await log.append([entry("other"), *entries(0, 2)])
            assert sorted(one.leaf_index for one in placed) == [0, 1, 2]
            await check_one_history(log, troubled)
        check_written_once(troubled)

    asyncio.run(scenario())


def test_no_request_of_anybody_writes_without_a_condition(place: Place, wire: Wires) -> None:
    async def scenario() -> None:
        seen = wire()
        async with place.open(seen) as log:
            await fill(log, 3)
            text = parse_note(await log.checkpoint()).text
            witness = signer("witness", COSIGNATURE_ED25519)
            await log.keep_cosignatures(3, (cosign(text, witness, NOW),))
        puts = seen.puts()
        assert puts
        assert all({"if-match", "if-none-match"} & request.headers.keys() for request in puts)
        # Signed, so that nothing on the way can take them out.
        for request in puts:
            condition = "if-match" if "if-match" in request.headers else "if-none-match"
            assert condition in request.headers["authorization"]
        assert {request.method for request in seen.seen} <= {"GET", "HEAD", "PUT"}

    asyncio.run(scenario())


def test_cosignatures_of_two_servers_are_both_kept(place: Place) -> None:
    async def scenario() -> None:
        async with place.open() as one, place.open() as two:
            await fill(one, 2)
            await two.check_health()

            async def keep(log: ObjectLog, *names: str) -> None:
                text = parse_note(await log.checkpoint()).text
                size = (await verified(log)).tree_size
                cosigned = tuple(cosign(text, signer(n, COSIGNATURE_ED25519), NOW) for n in names)
                await log.keep_cosignatures(size, cosigned)

            await keep(one, "a", "b")
            await fill(one, 3)
            await keep(one, "a")
            await keep(two, "c")
        async with place.open() as log:
            for at_least, size in ((1, 3), (2, 2)):
                note = await log.cosigned(at_least) or b""
                assert verify_checkpoint(note, SIGNER.verifier_key).tree_size == size
                assert place.objects()[f"cosigned/{at_least}"] == note

    asyncio.run(scenario())


def test_storage_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch, place: Place) -> None:
    nobody = BucketAddress("logs", "x", "http://127.0.0.1:1")
    assert asyncio.run(_reason(ObjectLog.open(nobody, SIGNER))) is Reason.LOG_UNAVAILABLE
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    with pytest.raises(IndeterminateError) as told:
        asyncio.run(_open_and_close(place))
    assert told.value.reason is Reason.LOG_UNAVAILABLE
    assert "s3:ListBucket" in told.value.hint
    assert "another" not in f"{told.value} {told.value.hint}"


async def _open_and_close(place: Place) -> None:
    async with place.open():
        pass


async def _reason(call: Any) -> Reason:
    return await refused(call)

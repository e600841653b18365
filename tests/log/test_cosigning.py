"""A log's checkpoints get their cosignatures, whatever single witnesses do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from witness_scene import ShownLog

from placet.adapters.sqlite.log import SqliteLog
from placet.adapters.system_clock import SystemClock
from placet.adapters.witness_client import WitnessClient
from placet.core.errors import Reason, VerificationError
from placet.core.tlog.checkpoint import parse_checkpoint
from placet.core.tlog.log_policy import LogEntryKey, LogPolicy, Witness
from placet.core.tlog.note import COSIGNATURE_ED25519, ED25519, NoteSigner, parse_note
from placet.core.tlog.proof import verify_witnessed
from placet.log.cosigning import AskedWitness, Cosigning, Pace
from placet.log.witness_standing import status_to_object
from placet.ports.log_store import LogEntry
from placet.testing import witness as lies
from placet.testing.hostile_relay.server import Lie
from placet.testing.small_log import note_signer
from placet.testing.witness import LyingWitness, ServedWitness, served_witness

LOG = note_signer("log.example/cosigned", ED25519, b"log")
LIAR = note_signer("liar.example", COSIGNATURE_ED25519, b"liar")
OTHER = note_signer("other.example", COSIGNATURE_ED25519, b"other")
QUICK = Pace(between_rounds=0.01, patience=0.3, first_pause=0.05, refused_pause=0.05, longest_pause=0.2)
# Long after anything here has happened; a failure, not a measurement.
_AT_MOST = 20.0


class Deployment:
    """A log with witnesses, and a loop that has it cosigned."""

    def __init__(self, folder: Path, names: Sequence[str], stack: ExitStack) -> None:
        self.folder = folder
        self.witnesses: dict[str, ServedWitness] = {}
        self.asked: list[AskedWitness] = []
        for name in names:
            witness = stack.enter_context(served_witness(folder / name, f"{name}.example"))
            witness.add_log(LOG.verifier_key)
            self.witnesses[name] = witness
            self.asked.append(AskedWitness(name, witness.key, WitnessClient(witness.url)))
        self.log = SqliteLog.open(folder / "log" / "log.sqlite3", LOG)
        self.count = 0

    def add(self, name: str, signer: NoteSigner, url: str, *, seconds: float = 5.0) -> None:
        client = WitnessClient(url, seconds=seconds)
        self.asked.append(AskedWitness(name, signer.verifier_key, client))

    async def append(self, count: int = 1) -> int:
        """Appends leaves; returns the size then."""
        entries = [LogEntry(b"leaf %d" % (self.count + i), b"record") for i in range(count)]
        await self.log.append(entries)
        self.count += count
        return self.count

    @property
    def policy(self) -> LogPolicy:
        witnesses = tuple(Witness(asked.name, asked.key) for asked in self.asked)
        return LogPolicy((LogEntryKey(LOG.verifier_key),), witnesses, (), "none")

    async def names(self, at_least: int = 1) -> set[str]:
        """Returns which witnesses have cosigned the newest checkpoint that so many have cosigned."""
        note = await self.log.cosigned(at_least)
        return set() if note is None else set(verify_witnessed(note, self.policy).witness_times)

    @asynccontextmanager
    async def cosigned(self, pace: Pace = QUICK) -> AsyncIterator[Cosigning]:
        cosigning = Cosigning(self.log, self.asked, SystemClock(), pace=pace)
        task = asyncio.ensure_future(cosigning.run())
        try:
            yield cosigning
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await cosigning.close()


def scene(folder: Path, *names: str) -> Callable[[Callable[[Deployment], Awaitable[None]]], None]:
    """Runs a test with a log and these honest witnesses."""

    def decorate(test: Callable[[Deployment], Awaitable[None]]) -> None:
        async def main() -> None:
            with ExitStack() as stack:
                deployment = Deployment(folder, names, stack)
                try:
                    await test(deployment)
                finally:
                    await deployment.log.close()

        asyncio.run(main())

    return decorate


async def until(check: Callable[[], Any]) -> None:
    """Waits until `check`, which may be asynchronous, says yes."""
    deadline = time.monotonic() + _AT_MOST
    while time.monotonic() < deadline:
        found = check()
        if await found if asyncio.iscoroutine(found) else found:
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it did not happen")


def size_of(note: bytes | None) -> int:
    return 0 if note is None else parse_checkpoint(parse_note(note).text).tree_size


def test_every_witness_cosigns_each_checkpoint_of_a_quiet_log(tmp_path: Path) -> None:
    @scene(tmp_path, "w1", "w2")
    async def _(it: Deployment) -> None:
        async with it.cosigned() as cosigning:
            for count in (1, 4, 300):
                size = await it.append(count)
                assert await it.log.wait_beyond(size - 1, _AT_MOST, cosignatures=2)
                assert await it.names() == {"w1", "w2"}
                assert size_of(await it.log.cosigned(2)) == size
            await until(lambda: all(status.tree_size == 305 for status in cosigning.statuses()))
            for status in cosigning.statuses():
                assert status.problem is None
                assert status.signed_at is not None
                assert status_to_object(status)["treeSize"] == "305"
            cosigning.check_consistent()


def test_a_new_process_finds_out_what_its_witnesses_saw(tmp_path: Path) -> None:
    @scene(tmp_path, "w1", "w2")
    async def _(it: Deployment) -> None:
        for count in (3, 5):
            async with it.cosigned():
                size = await it.append(count)
                assert await it.log.wait_beyond(size - 1, _AT_MOST, cosignatures=2)
            it.asked = [
                AskedWitness(a.name, a.key, WitnessClient(it.witnesses[a.name].url)) for a in it.asked
            ]
        # Nothing new: the witnesses are asked for the same size again, and sign it again.
        async with it.cosigned() as cosigning:
            await until(lambda: all(status.tree_size == 8 for status in cosigning.statuses()))


def test_a_busy_log_gathers_quorums_at_common_sizes(tmp_path: Path) -> None:
    @scene(tmp_path, "w1", "w2")
    async def _(it: Deployment) -> None:
        async with it.cosigned():
            for _ in range(60):
                await it.append()
            assert await it.log.wait_beyond(59, _AT_MOST, cosignatures=2)


def test_a_witness_that_is_down_holds_up_nobody_and_is_asked_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    @scene(tmp_path, "w1")
    async def _(it: Deployment) -> None:
        with served_witness(tmp_path / "late", "late.example") as late:
            late.add_log(LOG.verifier_key)
            it.add("late", late.signer, late.url)
            port = int(late.url.rpartition(":")[2])
        async with it.cosigned() as cosigning:
            size = await it.append(2)
            assert await it.log.wait_beyond(size - 1, _AT_MOST, cosignatures=1)
            await until(lambda: cosigning.statuses()[1].failures >= 3)
            status = cosigning.statuses()[1]
            assert status.problem is not None
            assert status.problem.reason is Reason.LOG_UNAVAILABLE
            cosigning.check_consistent()
            with served_witness(tmp_path / "late", port=port):
                # Nothing is appended meanwhile: it gets to see what it missed.
                assert await it.log.wait_beyond(size - 1, _AT_MOST, cosignatures=2)
                await until(lambda: cosigning.statuses()[1].problem is None)

    down, again = caplog.messages
    assert down.startswith("the witness late does not cosign: "), "said once, however often it is asked"
    assert again == "the witness late cosigns again"


def test_a_witness_that_fails_has_peace_for_a_while(tmp_path: Path) -> None:
    @scene(tmp_path, "w1")
    async def _(it: Deployment) -> None:
        with LyingWitness(lies.fixed(500)) as failing:
            it.add("failing", LIAR, failing.url)
            async with it.cosigned(QUICK._replace(first_pause=600.0, longest_pause=600.0)) as cosigning:
                for _ in range(5):
                    size = await it.append()
                    assert await it.log.wait_beyond(size - 1, _AT_MOST, cosignatures=1)
                await until(lambda: cosigning.statuses()[1].failures >= 1)
                assert len(failing.seen) == 1


def test_a_witness_that_does_not_know_the_log_is_told_of_and_asked_later(tmp_path: Path) -> None:
    @scene(tmp_path, "w1")
    async def _(it: Deployment) -> None:
        with served_witness(tmp_path / "new", "new.example") as new:
            it.add("new", new.signer, new.url)
            async with it.cosigned() as cosigning:
                size = await it.append()
                await until(lambda: cosigning.statuses()[1].problem is not None)
                problem = cosigning.statuses()[1].problem
                assert problem is not None
                assert problem.reason is Reason.WITNESS_REFUSED
                assert "placet witness add-log" in problem.hint
                new.add_log(LOG.verifier_key)
                assert await it.log.wait_beyond(size - 1, _AT_MOST, cosignatures=2)


LIES: dict[str, Lie] = {
    "wrong-key": lies.wrong_key(LIAR, OTHER),
    "key-of-a-stranger": lies.honest(OTHER),
    "time-ahead": lies.wrong_time(LIAR, 3600),
    "time-behind": lies.wrong_time(LIAR, -3600),
    "time-beyond-all": lies.wrong_time(LIAR, 2**62),
    "other-root": lies.other_root(LIAR),
    "garbage": lies.garbage,
    "nothing": lies.fixed(200),
    "huge": lies.huge,
    "slow-drip": lies.slow(60.0),
    "redirect": lies.fixed(307),
    "server-error": lies.fixed(500),
    "teapot": lies.fixed(418),
    "conflict-without-type": lies.conflict(1_000_000, "text/plain"),
    "conflict-without-size": lies.fixed(409, b"many\n", "text/x.tlog.size"),
    "conflict-with-what-was-sent": lies.conflict(0),
    "conflict-size-in-another-spelling": lies.fixed(409, b"01\n", "text/x.tlog.size"),
}


# What cut the answer off; the others have a sentence of their own.
BOUNDS = {"huge": "answers with more than", "slow-drip": "did not answer in full within 0.5 seconds"}


@pytest.mark.parametrize("lie", LIES)
def test_what_a_liar_answers_is_not_kept_and_the_honest_witness_counts(tmp_path: Path, lie: str) -> None:
    @scene(tmp_path, "w1")
    async def _(it: Deployment) -> None:
        with LyingWitness(LIES[lie]) as liar:
            it.add("liar", LIAR, liar.url, seconds=0.5)
            async with it.cosigned() as cosigning:
                await it.append(2)
                assert await it.log.wait_beyond(1, _AT_MOST, cosignatures=1)
                await until(lambda: cosigning.statuses()[1].failures >= 1)
                size = await it.append()
                assert await it.log.wait_beyond(size - 1, _AT_MOST, cosignatures=1)
                assert await it.names() == {"w1"}
                assert await it.log.cosigned(2) is None
                status = cosigning.statuses()[1]
                assert status.tree_size == 0
                assert status.problem is not None
                assert BOUNDS.get(lie, "") in str(status.problem)
                cosigning.check_consistent()


def test_a_replayed_cosignature_of_another_checkpoint_is_not_counted(tmp_path: Path) -> None:
    @scene(tmp_path, "w1")
    async def _(it: Deployment) -> None:
        with LyingWitness(lies.replayed(LIAR)) as liar:
            it.add("liar", LIAR, liar.url)
            async with it.cosigned() as cosigning:
                await it.append()
                assert await it.log.wait_beyond(0, _AT_MOST, cosignatures=2)
                size = await it.append()
                await until(lambda: cosigning.statuses()[1].failures >= 1)
                assert await it.log.wait_beyond(size - 1, _AT_MOST, cosignatures=1)
                assert await it.names() == {"w1"}
                assert size_of(await it.log.cosigned(2)) == 1


def test_an_honest_cosignature_among_others_is_the_only_one_that_is_kept(tmp_path: Path) -> None:
    @scene(tmp_path)
    async def _(it: Deployment) -> None:
        def both(seen: Any, forward: Any) -> Any:
            one, two = (lies.honest(signer)(seen, forward) for signer in (OTHER, LIAR))
            return one._replace(body=one.body + two.body)  # type: ignore[union-attr]

        with LyingWitness(both) as chatty:
            it.add("chatty", LIAR, chatty.url)
            async with it.cosigned():
                await it.append()
                assert await it.log.wait_beyond(0, _AT_MOST, cosignatures=1)
            note = await it.log.cosigned()
            assert note is not None
            assert [s.name for s in parse_note(note).signatures] == [LOG.name, LIAR.name]


def test_a_slow_witness_holds_up_neither_appends_nor_the_others(tmp_path: Path) -> None:
    """Each call to it takes longer than all that the honest one has to do."""

    @scene(tmp_path, "w1")
    async def _(it: Deployment) -> None:
        with LyingWitness(lies.slow(60.0)) as slow:
            it.add("slow", LIAR, slow.url, seconds=60.0)
            async with it.cosigned() as cosigning:
                for _ in range(3):
                    size = await it.append()
                    assert await it.log.wait_beyond(size - 1, _AT_MOST, cosignatures=1)
                assert len(slow.seen) == 1
                assert cosigning.statuses()[1].failures == 0, "the one call to it still goes on"


@pytest.mark.parametrize("how", ["ahead", "root", "proof"])
def test_a_witness_that_saw_another_history_stops_the_cosigning_loudly(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The log was restored from an older backup, or forked: its own witness notices."""

    @scene(tmp_path, "w1")
    async def _(it: Deployment) -> None:
        before = ShownLog({"ahead": 9, "root": 3, "proof": 2}[how], branch="x", signer=LOG, origin=LOG.name)
        url = f"{it.witnesses['w1'].url}/add-checkpoint"
        answer = await asyncio.to_thread(httpx.post, url, content=before.request(0))
        assert answer.status_code == 200
        async with it.cosigned() as cosigning:
            await it.append(3)
            await until(lambda: cosigning.statuses()[0].problem is not None)
            with pytest.raises(VerificationError) as caught:
                cosigning.check_consistent()
            assert caught.value.reason is Reason.LOG_INCONSISTENT
            assert "how-to-run-a-log" in caught.value.hint
            # Appends go on; nobody is asked any more.
            await it.append()
            assert await it.log.cosigned() is None
        kinds = [item.kind for item in it.witnesses["w1"].state.list_evidence()]
        assert kinds == {"ahead": [], "root": ["fork"], "proof": ["unproven"]}[how]

    assert "not one history" in caplog.text
    assert "no witness is asked any more" in caplog.text


def test_a_witness_that_forgot_what_it_cosigned_does_not_count(tmp_path: Path) -> None:
    @scene(tmp_path)
    async def _(it: Deployment) -> None:
        with LyingWitness(lies.honest(LIAR)) as witness:
            it.add("w", LIAR, witness.url)
            async with it.cosigned() as cosigning:
                await it.append(3)
                assert await it.log.wait_beyond(2, _AT_MOST, cosignatures=1)
                await until(lambda: cosigning.statuses()[0].tree_size == 3)
                witness.turn(lies.conflict(0))
                await it.append()
                await until(lambda: cosigning.statuses()[0].problem is not None)
                assert "has forgotten" in str(cosigning.statuses()[0].problem)
                cosigning.check_consistent()


def test_a_witness_of_an_earlier_protocol_says_another_root_by_a_conflict(tmp_path: Path) -> None:
    @scene(tmp_path)
    async def _(it: Deployment) -> None:
        with LyingWitness(lies.conflict(3)) as witness:
            it.add("old", LIAR, witness.url)
            async with it.cosigned() as cosigning:
                await it.append(3)
                await until(lambda: cosigning.statuses()[0].problem is not None)
                with pytest.raises(VerificationError, match="another root hash at size 3"):
                    cosigning.check_consistent()


def test_a_lone_liar_among_three_cannot_stop_the_cosigning(tmp_path: Path) -> None:
    @scene(tmp_path, "w1", "w2")
    async def _(it: Deployment) -> None:
        with LyingWitness(lies.conflict(1_000_000)) as liar:
            it.add("liar", LIAR, liar.url)
            async with it.cosigned() as cosigning:
                await it.append()
                await until(lambda: cosigning.statuses()[2].problem is not None)
                size = await it.append()
                assert await it.log.wait_beyond(size - 1, _AT_MOST, cosignatures=2)
                with pytest.raises(VerificationError, match="liar"):
                    cosigning.check_consistent()
                assert len(liar.seen) == 1, "it is not asked again"


def test_a_size_that_another_process_of_ours_showed_is_no_fork(tmp_path: Path) -> None:
    """The witness saw a checkpoint between our reading ours and asking; ours is the older one."""

    @scene(tmp_path, "w1")
    async def _(it: Deployment) -> None:
        await it.append(2)
        older = await it.log.checkpoint()
        async with it.cosigned():
            await it.append(3)
            assert await it.log.wait_beyond(4, _AT_MOST, cosignatures=1)

        class Behind:
            """The same log, whose first reader is late."""

            def __init__(self) -> None:
                self.late = True

            def __getattr__(self, name: str) -> Any:
                return getattr(it.log, name)

            async def checkpoint(self) -> bytes:
                late, self.late = self.late, False
                return older if late else await it.log.checkpoint()

        client = WitnessClient(it.witnesses["w1"].url)
        asked = [it.asked[0]._replace(witness=client)]
        cosigning = Cosigning(Behind(), asked, SystemClock(), pace=QUICK)  # type: ignore[arg-type]
        task = asyncio.ensure_future(cosigning.run())
        await until(lambda: cosigning.statuses()[0].tree_size == 5)
        cosigning.check_consistent()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await cosigning.close()


def test_without_witnesses_there_is_nothing_to_do(tmp_path: Path) -> None:
    @scene(tmp_path)
    async def _(it: Deployment) -> None:
        cosigning = Cosigning(it.log, [], SystemClock())
        await cosigning.run()
        assert cosigning.statuses() == ()

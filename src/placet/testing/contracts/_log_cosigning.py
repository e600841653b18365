"""What every log store does with cosignatures, and how it is waited for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from placet.core.tlog.checkpoint import verify_checkpoint
from placet.core.tlog.cosignature import cosign
from placet.core.tlog.note import COSIGNATURE_ED25519, NoteSignature, parse_note
from placet.ports.log_store import LogStore, NotInLogError
from placet.testing.contracts._log_scene import NOW, SIGNER, Open, fill, signer, verified


class CosigningContract:
    """Inherited by `LogStoreContract`."""

    def test_cosignatures_add_up_and_survive(self, run: Any) -> None:
        async def scenario(opened: Open) -> None:
            async with opened() as log:
                await fill(log, 1)
                first = await self.cosign(log, "one")
                await self.cosign(log, "two", "one")
                assert parse_note(await log.cosigned() or b"").signatures[1:] == (
                    *first,
                    *self.signatures(await log.checkpoint(), "two"),
                )
            async with opened() as log:
                await self.cosign(log, "three")
                cosigned = await log.cosigned(3) or b""
                names = [signature.name for signature in parse_note(cosigned).signatures]
                assert names == [SIGNER.name, "one", "two", "three"]
                assert verify_checkpoint(cosigned, SIGNER.verifier_key).tree_size == 1
                assert parse_note(await log.checkpoint()).text == parse_note(cosigned).text
                assert await log.cosigned(4) is None

        run(scenario)

    def test_a_newer_checkpoint_with_fewer_cosignatures_hides_no_older_one(self, run: Any) -> None:
        async def scenario(opened: Open) -> None:
            async with opened() as log:
                for size, names in ((1, ["one", "two"]), (2, ["one"]), (3, ["two"])):
                    await fill(log, size)
                    await self.cosign(log, *names)
            async with opened() as log:
                for at_least, size in ((1, 3), (2, 1)):
                    note = await log.cosigned(at_least) or b""
                    assert verify_checkpoint(note, SIGNER.verifier_key).tree_size == size

        run(scenario)

    def test_cosignatures_may_come_late(self, run: Any) -> None:
        async def scenario(opened: Open) -> None:
            async with opened() as log:
                await fill(log, 1)
                old = await log.checkpoint()
                await self.cosign(log, "one")
                await fill(log, 2)
                await self.cosign(log, "one")
                await log.keep_cosignatures(1, self.signatures(old, "two"))
                await fill(log, 3)
                await self.cosign(log, "one")
                for at_least, size in ((1, 3), (2, 1)):
                    note = await log.cosigned(at_least) or b""
                    assert verify_checkpoint(note, SIGNER.verifier_key).tree_size == size

        run(scenario)

    def test_cosignatures_of_what_was_never_handed_out_are_refused(self, run: Any) -> None:
        async def scenario(opened: Open) -> None:
            async with opened() as log:
                await fill(log, 1)
                signatures = self.signatures(await log.checkpoint(), "one")
                for size in (2, 10**6, -1):
                    with pytest.raises(NotInLogError):
                        await log.keep_cosignatures(size, signatures)
                assert await log.cosigned() is None

        run(scenario)

    def test_waiting_ends_with_the_checkpoint_that_is_waited_for(self, run: Any) -> None:
        async def scenario(opened: Open) -> None:
            async with opened() as log:
                await fill(log, 2)
                assert await log.wait_beyond(1, 0.0)
                assert not await log.wait_beyond(2, 0.01)
                assert not await log.wait_beyond(1, 0.01, cosignatures=1)
                plain = asyncio.create_task(log.wait_beyond(2, 30))
                cosigned = asyncio.create_task(log.wait_beyond(2, 30, cosignatures=2))
                await asyncio.sleep(0)
                await fill(log, 3)
                assert await plain
                await self.cosign(log, "one")
                assert not cosigned.done()
                await self.cosign(log, "two")
                assert await cosigned

        run(scenario)

    @staticmethod
    def signatures(checkpoint: bytes, *names: str) -> tuple[NoteSignature, ...]:
        """Returns what witnesses of these names answer."""
        text = parse_note(checkpoint).text
        return tuple(cosign(text, signer(name, COSIGNATURE_ED25519), NOW) for name in names)

    async def cosign(self, log: LogStore, *names: str) -> tuple[NoteSignature, ...]:
        """Has witnesses of these names cosign the newest checkpoint."""
        checkpoint = await log.checkpoint()
        signatures = self.signatures(checkpoint, *names)
        await log.keep_cosignatures((await verified(log)).tree_size, signatures)
        return signatures

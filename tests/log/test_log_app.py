"""The log's HTTP API, held to what it promises."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from log_inside import ORIGIN, POLICY, SIGNER, SMALL, Inside, decision, post, reason, with_log

from placet.adapters.serving.tokens import TokenFileError
from placet.core.bundle import encode_answer, parse_answer
from placet.core.encoding import sha256_hex
from placet.core.errors import IndeterminateError, Reason
from placet.core.tlog.checkpoint import parse_checkpoint, verify_checkpoint
from placet.core.tlog.cosignature import cosign
from placet.core.tlog.leaf import encode_leaf, leaf_hash
from placet.core.tlog.note import parse_note
from placet.core.tlog.proof import parse_proof, verify_proof
from placet.core.tlog.records import leaf_of_record
from placet.core.tlog.tiles import parse_entries
from placet.log import service as service_module
from placet.log.app import STATUS
from placet.log.readers import ReaderBook, parse_readers
from placet.ports.log_store import MAX_RECORD_BYTES, MAX_RECORDS, LogEntry
from placet.testing.authenticator import SoftWebAuthn
from placet.testing.log_store import MemoryLog
from placet.testing.world import ALICE, BOB, NOW, World

TOKEN = "a token that the operator gave out"
BOOK = ReaderBook({sha256_hex(TOKEN.encode()): "security-team"})


def test_a_decision_is_logged_and_proven() -> None:
    world = World()
    record = decision(world)

    async def scenario(log: Inside) -> None:
        await log.store.append([LogEntry(b"an earlier one", b"its record")])
        logged = await post(log.http, record)
        leaf = leaf_hash(leaf_of_record(record))
        assert logged.status_code == 201
        assert logged.json() == {"leafHash": leaf.hex(), "leafIndex": "1", "treeSize": "2"}
        again = await post(log.http, record)
        assert (again.status_code, again.json()) == (200, logged.json())
        proof = await log.http.get(f"/v1/proofs/{leaf.hex()}")
        assert proof.headers["content-type"] == "text/plain; charset=utf-8"
        found = verify_proof(parse_proof(proof.text), leaf, POLICY)
        assert (found.log_origin, found.leaf_index, found.tree_size) == (ORIGIN, 1, 2)

    with_log(scenario, trust=world.trust())


def test_tiles_are_those_of_the_checkpoint_and_may_be_kept_when_they_are_full() -> None:
    leaves = [b"leaf %d" % i for i in range(300)]

    async def scenario(log: Inside) -> None:
        await log.store.append([LogEntry(leaf, b"r") for leaf in leaves])
        note = await log.http.get("/checkpoint")
        assert note.headers["content-type"] == "text/plain; charset=utf-8"
        assert note.headers["cache-control"] == "no-cache"
        assert verify_checkpoint(note.content, SIGNER.verifier_key).tree_size == 300
        full = await log.http.get("/tile/0/000")
        assert (len(full.content), full.headers["content-type"]) == (8192, "application/octet-stream")
        assert "immutable" in full.headers["cache-control"]
        partial = await log.http.get("/tile/0/001.p/44")
        assert len(partial.content) == 44 * 32
        assert "immutable" not in partial.headers["cache-control"]
        entries = (await log.http.get("/tile/entries/000")).content
        entries += (await log.http.get("/tile/entries/001.p/44")).content
        assert [e for part in (entries,) for e in _entries(part)] == leaves
        assert (await log.http.head("/tile/0/000")).headers["content-length"] == "8192"

    with_log(scenario)


def _entries(data: bytes) -> list[bytes]:
    found: list[bytes] = []
    rest = data
    while rest:
        size = int.from_bytes(rest[:2], "big")
        found += parse_entries(rest[: 2 + size])
        rest = rest[2 + size :]
    return found


@pytest.mark.parametrize(
    "path",
    [
        *("0/001.p/45", "0/000.p/256", "0/000.p/0", "0/0", "0/000/", "00/000", "64/000", "-1/000", "0/x000"),
        *("entries/001.p/45", "entries/nix", "0/000.p/044", "0/%2e%2e/000", "", "0/000.p/44?x=1"[:10]),
    ],
)
def test_what_is_no_tile_of_this_tree_is_not_there(path: str) -> None:
    async def scenario(log: Inside) -> None:
        await log.store.append([LogEntry(b"leaf %d" % i, b"r") for i in range(300)])
        found = await log.http.get(f"/tile/{path}")
        if path == "0/000.p/44":
            # The tree once had that width; tiles are made when they are asked for.
            assert found.status_code == 200
        else:
            assert reason(found) == (404, "unknown-path")

    with_log(scenario)


def test_records_are_for_monitors_alone() -> None:
    records = [b"record %d" % i for i in range(3)]

    async def scenario(log: Inside) -> None:
        await log.store.append([LogEntry(record, record) for record in records])
        for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": f"Basic {TOKEN}"}):
            refused = await log.http.get("/v1/records", headers=headers)
            assert reason(refused) == (401, "unknown-monitor")
            assert refused.headers["www-authenticate"] == 'Bearer realm="placet log"'
        shown = {"Authorization": f"Bearer {TOKEN}"}
        found = (await log.http.get("/v1/records?from=1&limit=2", headers=shown)).json()["records"]
        assert [(r["leafIndex"], base64.b64decode(r["record"])) for r in found] == [
            ("1", records[1]),
            ("2", records[2]),
        ]
        assert (await log.http.get("/v1/records?from=3", headers=shown)).json() == {"records": []}
        for query in ("from=-1", "limit=0", "from=1&from=2", "to=3", "from=x"):
            refused = await log.http.get(f"/v1/records?{query}", headers=shown)
            assert reason(refused) == (400, "bad-query")

    with_log(scenario, readers=BOOK)


def test_a_page_of_records_has_a_bound() -> None:
    async def scenario(log: Inside) -> None:
        entries = [LogEntry(b"leaf %d" % i, b"r") for i in range(MAX_RECORDS + 5)]
        await log.store.append(entries)
        shown = {"Authorization": f"Bearer {TOKEN}"}
        found = await log.http.get("/v1/records?limit=1000", headers=shown)
        assert 0 < len(found.json()["records"]) <= MAX_RECORDS

    with_log(scenario, readers=BOOK)


def test_without_a_snapshot_a_signature_must_hold_under_its_own_key() -> None:
    stranger = World(seed=b"somebody whom nobody enrolled")
    record = decision(stranger)

    async def scenario(log: Inside) -> None:
        assert (await post(log.http, record)).status_code == 201
        for forged in forgeries(stranger, record):
            refused = await post(log.http, forged)
            assert reason(refused)[0] in (400, 403), forged
            assert parse_checkpoint(parse_note(await log.store.checkpoint()).text).tree_size == 1

    with_log(scenario)


def forgeries(world: World, record: bytes) -> list[bytes]:
    answer = parse_answer(record)
    other = parse_answer(decision(world))
    (signature,) = answer.envelope.signatures
    broken = signature._replace(sig=signature.sig[:-1] + bytes([signature.sig[-1] ^ 1]))
    return [
        # Another statement, another decision's report, a broken signature, a wrong key ID.
        encode_answer(answer._replace(envelope=answer.envelope._replace(payload=other.envelope.payload))),
        encode_answer(answer._replace(report=other.report)),
        encode_answer(answer._replace(envelope=answer.envelope._replace(signatures=(broken,)))),
        encode_answer(
            answer._replace(
                envelope=answer.envelope._replace(
                    signatures=(signature._replace(keyid=other.report.signatures[0].keyid),)
                )
            )
        ),
    ]


def test_with_a_snapshot_strangers_are_kept_out() -> None:
    world, stranger = World(), World(seed=b"somebody whom nobody enrolled")

    async def scenario(log: Inside) -> None:
        refused = await post(log.http, decision(stranger))
        assert reason(refused) == (403, "not-admitted")
        assert refused.json()["error"]["hint"]
        for forged in forgeries(world, decision(world)):
            assert reason(await post(log.http, forged))[0] in (400, 403)
        assert parse_checkpoint(parse_note(await log.store.checkpoint()).text).tree_size == 0

    with_log(scenario, trust=world.trust())


def test_a_signature_without_touch_is_not_logged_as_a_decision() -> None:
    world = World()
    key = world.keys[ALICE]
    assert isinstance(key, SoftWebAuthn)
    request = world.request_run(argv=["/usr/bin/true"], executable=b"x")
    good = world.approve(request, ALICE)
    (signature,) = good.envelope.signatures
    # Flags stand inside of what was signed, so a changed one breaks the signature, with trust and without.
    changed = signature._replace(sig=signature.sig.replace(b"\x05\x00\x00\x00", b"\x04\x00\x00\x00", 1))
    record = encode_answer(good._replace(envelope=good.envelope._replace(signatures=(changed,))))

    async def scenario(log: Inside) -> None:
        assert reason(await post(log.http, record))[0] in (400, 403)

    assert changed != signature
    with_log(scenario)
    with_log(scenario, trust=world.trust())


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", (400, "not-json")),
        (b"{}", (400, "wrong-type")),
        (b"[]", (400, "wrong-type")),
        (b'{"mediaType":"application/vnd.placet.request.v1+json"}', (400, "bad-value")),
        (b'{"mediaType": "application/vnd.placet.use.v1+json"}', (400, "not-canonical")),
        (b"{" * 100, (400, "not-json")),
        (b"\xff", (400, "not-utf8")),
        (b"x" * (MAX_RECORD_BYTES + 1), (413, "too-large")),
    ],
)
def test_what_is_no_record_is_refused_by_its_name(body: bytes, expected: tuple[int, str]) -> None:
    async def scenario(log: Inside) -> None:
        assert reason(await post(log.http, body)) == expected

    with_log(scenario)


def test_calls_that_make_no_sense_are_refused_by_their_name() -> None:
    async def scenario(log: Inside) -> None:
        http = log.http
        assert reason(await http.post("/v1/records", content=b"{}")) == (415, "wrong-content-type")
        assert reason(await http.get("/v1/proofs/nix")) == (404, "unknown-leaf")
        assert reason(await http.get(f"/v1/proofs/{'0' * 64}")) == (404, "unknown-leaf")
        assert reason(await http.get(f"/v1/proofs/{'0' * 64}?wait=61")) == (400, "bad-query")
        assert reason(await http.get(f"/v1/proofs/{'0' * 64}?wait=1&witnesses=-1")) == (400, "bad-query")
        assert reason(await http.delete("/v1/records")) == (405, "wrong-method")
        assert reason(await http.post("/checkpoint")) == (405, "wrong-method")
        assert reason(await http.get("/nix")) == (404, "unknown-path")
        assert reason(await http.get("/healthz", headers={"X": "y" * 20_000})) == (431, "head-too-large")
        assert (await http.get("/healthz")).json()["status"] == "ok"

    with_log(scenario)


def cosignatures(checkpoint: bytes, *names: str) -> Any:
    return tuple(cosign(parse_note(checkpoint).text, SMALL.witnesses[name], NOW + 91) for name in names)


def test_a_proof_waits_for_its_witnesses_and_takes_the_best_there_is() -> None:
    async def scenario(log: Inside) -> None:
        (appended,) = await log.store.append([LogEntry(b"leaf", b"record")])
        path = f"/v1/proofs/{appended.leaf_hash.hex()}"
        checkpoint = await log.store.checkpoint()
        plain = parse_proof((await log.http.get(path)).text)
        assert verify_proof(plain, appended.leaf_hash, POLICY).witness_times == {}
        waiting = asyncio.ensure_future(log.http.get(f"{path}?wait=60"))
        await asyncio.sleep(0.01)
        await log.store.keep_cosignatures(1, cosignatures(checkpoint, "w1"))
        await asyncio.sleep(0.01)
        # One is not enough for this log's policy; but it is more than none for whoever does not wait.
        assert not waiting.done()
        some = parse_proof((await log.http.get(path)).text)
        assert set(verify_proof(some, appended.leaf_hash, POLICY).witness_times) == {"w1"}
        await log.store.keep_cosignatures(1, cosignatures(checkpoint, "w2"))
        proven = parse_proof((await waiting).text)
        assert set(verify_proof(proven, appended.leaf_hash, POLICY).witness_times) == {"w1", "w2"}
        # A newer leaf is not covered by the cosigned checkpoint: its proof says so, and does not lie.
        (newer,) = await log.store.append([LogEntry(b"newer", b"record")])
        fresh = parse_proof((await log.http.get(f"/v1/proofs/{newer.leaf_hash.hex()}?witnesses=2")).text)
        assert verify_proof(fresh, newer.leaf_hash, POLICY).witness_times == {}

    with_log(scenario, cosignatures=2)


def test_whoever_waits_is_sent_home_when_the_log_stops() -> None:
    async def scenario(log: Inside) -> None:
        (appended,) = await log.store.append([LogEntry(b"leaf", b"record")])
        waiting = asyncio.ensure_future(log.http.get(f"/v1/proofs/{appended.leaf_hash.hex()}?wait=60"))
        await asyncio.sleep(0.01)
        log.service.stop_waiting()
        async with asyncio.timeout(5):
            assert (await waiting).status_code == 200

    with_log(scenario, cosignatures=1)


def test_waiting_places_are_bounded() -> None:
    async def scenario(log: Inside) -> None:
        (appended,) = await log.store.append([LogEntry(b"leaf", b"record")])
        path = f"/v1/proofs/{appended.leaf_hash.hex()}"
        waiting = asyncio.ensure_future(log.http.get(f"{path}?wait=60"))
        await asyncio.sleep(0.01)
        assert reason(await log.http.get(f"{path}?wait=1")) == (503, "too-many-waiters")
        assert (await log.http.get(path)).status_code == 200
        log.service.stop_waiting()
        assert (await waiting).status_code == 200

    with_log(scenario, cosignatures=1, max_waiters=1)


def test_a17_nobody_takes_all_places_by_waiting_for_cosignatures_that_never_come() -> None:
    async def scenario(log: Inside) -> None:
        (appended,) = await log.store.append([LogEntry(b"leaf", b"record")])
        path = f"/v1/proofs/{appended.leaf_hash.hex()}?wait=60"
        greedy = [asyncio.ensure_future(log.http.get(f"{path}&witnesses=64")) for _ in range(2)]
        await asyncio.sleep(0.01)
        async with asyncio.timeout(10):
            assert reason(await log.http.get(path)) == (503, "too-many-waiters")
        other = asyncio.ensure_future(log.http.get(path, headers={"X-Caller": "another"}))
        await asyncio.sleep(0.01)
        log.service.stop_waiting()
        assert {response.status_code for response in await asyncio.gather(other, *greedy)} == {200}

    with_log(scenario, cosignatures=1, max_waiters=16)


def test_monitors_see_the_cosigned_checkpoint_and_silent_witnesses_do_not_blind_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def size(response: httpx.Response) -> int:
        return parse_checkpoint(parse_note(response.content).text).tree_size

    async def scenario(log: Inside) -> None:
        await log.store.append([LogEntry(b"one", b"r")])
        await log.store.keep_cosignatures(1, cosignatures(await log.store.checkpoint(), "w1"))
        shown = await log.http.get("/checkpoint")
        assert (size(shown), len(parse_note(shown.content).signatures)) == (1, 2)
        await log.store.append([LogEntry(b"two", b"r")])
        assert size(await log.http.get("/checkpoint")) == 1
        monkeypatch.setattr(service_module, "PATIENCE_SECONDS", 0.0)
        assert size(await log.http.get("/checkpoint")) == 2

    with_log(scenario, cosignatures=1)


class Damaged(MemoryLog):
    async def append(self, entries: Any) -> Any:
        raise IndeterminateError(Reason.LOG_DAMAGED, "/srv/secret/path is damaged", hint="call /srv/secret")


class Busy(MemoryLog):
    async def append(self, entries: Any) -> Any:
        raise IndeterminateError(Reason.LOG_UNAVAILABLE, "/srv/secret/path is locked")


@pytest.mark.parametrize(
    ("kind", "expected"), [(Damaged, (500, "log-damaged")), (Busy, (503, "log-unavailable"))]
)
def test_clients_hear_of_trouble_and_not_of_its_place(kind: type[MemoryLog], expected: Any) -> None:
    async def scenario(log: Inside) -> None:
        response = await post(log.http, decision(World()))
        assert reason(response) == expected
        assert "secret" not in response.text

    with_log(scenario, store=kind(SIGNER))


def test_every_status_of_the_table_is_said_somewhere() -> None:
    root = Path(parse_readers.__code__.co_filename).parents[1]
    rooms = ("log", "adapters/serving")
    source = "".join(p.read_text() for room in rooms for p in (root / room).glob("*.py"))
    # Callers are told apart, and held to their rates, by whoever serves the log.
    for name in STATUS.keys() - {"rate-limited", "unknown-caller"}:
        assert source.count(f'"{name}"') >= 2 or name in list(Reason), name


@pytest.mark.parametrize(
    "text",
    [
        "monitor = 1",
        "[[monitor]]",
        '[[monitor]]\nname = "a"',
        '[[monitor]]\nname = "a b"\ntoken_sha256 = "%s"' % ("0" * 64),
        '[[monitor]]\nname = "a"\ntoken_sha256 = "%s"' % ("A" * 64),
        '[[monitor]]\nname = "a"\ntoken_sha256 = "%s"\nmore = 1' % ("0" * 64),
        ('[[monitor]]\nname = "a"\ntoken_sha256 = "%s"\n' % ("0" * 64)) * 2,
        "[caller]",
        "nix",
        "\udcff",
    ],
)
def test_a_malformed_monitors_file_says_where(text: str) -> None:
    with pytest.raises(TokenFileError):
        parse_readers(text.encode("utf-8", "surrogateescape"))


def test_leaves_hold_no_name_and_no_content() -> None:
    world = World()
    answer = parse_answer(decision(world, BOB))
    leaf = encode_leaf(leaf_of_record(encode_answer(answer)))
    assert b"bob" not in leaf.lower()
    assert b"true" not in leaf
    assert set(json.loads(leaf)) == {"keyid", "kind", "payload", "report", "signature"}

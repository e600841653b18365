"""The guide's SQL is enough for relays and gates, and gives gates no way to undo a use."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from placet.adapters.places import migrate_store
from placet.adapters.postgres.ledger import PostgresLedger
from placet.adapters.postgres.ledger_tables import declare_birth
from placet.adapters.postgres.store import PostgresRequestStore
from placet.core.encoding import Digest, KeyId
from placet.core.errors import IndeterminateError, Reason
from placet.ports.request_store import StateFilter
from placet.ports.use_ledger import ApproverMark, Backlog
from placet.testing.contracts.request_store import LATER, NOW, answer, request
from placet.testing.contracts.use_ledger import BORN, a_use, refusal
from placet.testing.postgres import PostgresServer, start_postgres

GUIDE = Path(__file__).parents[2] / "docs" / "how-to-postgresql.md"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server of its own, with the roles and tables of the guide, made by the guide's own words."""
    roles, grants = re.findall(r"```sql\n(.*?)```", GUIDE.read_text(), re.S)
    with start_postgres() as server:
        server.run_sql(*filter(str.strip, roles.split(";")))
        owner = server.url("placet", "placet_owner")
        migrate_store(owner)
        declare_birth(owner, now=BORN)
        server.run_sql(*filter(str.strip, grants.split(";")), database="placet")
        yield server


def test_a_relay_does_its_work_with_the_guides_rights(server: PostgresServer) -> None:
    async def main() -> None:
        store = PostgresRequestStore.open(server.url("placet", "placet_relay"))
        for name in ("a", "b"):
            await store.submit(request(name), now=NOW)
            await store.add_answer(request(name).id, answer(f"to {name}"), now=NOW)
        await store.withdraw(request("a").id, now=NOW)
        assert len((await store.list_page(StateFilter.OPEN, after=None, limit=9, now=NOW)).requests) == 1
        assert await store.delete_closed(closed_before=LATER) == 1
        assert (await store.measure(now=NOW)).requests == 1
        await store.check_health()
        await store.close()

    asyncio.run(main())


def test_a_gate_does_its_work_with_the_guides_rights(server: PostgresServer, tmp_path: Path) -> None:
    with PostgresLedger(server.url("placet", "placet_gate"), stamps=tmp_path) as ledger:
        mark = ApproverMark(KeyId("c" * 64), 5, BORN + 50)
        consumption = ledger.consume(a_use(event_id="event-1", approvers=(mark,), summary="Run it"))
        assert ledger.consume(a_use(event_id="event-1")).repeated
        ledger.record_outcome(consumption, 0, now=BORN + 200)
        assert ledger.uses(consumption.payload_digest)[0].exit_code == 0
        ledger.check_undisturbed()
        logged = ledger.consume(a_use(Digest("e" * 64), record=b"a record"))
        ledger.mark_logged(logged.use_id, 3)
        assert ledger.count_unlogged() == Backlog(0, None)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM placet_ledger.uses",
        "TRUNCATE placet_ledger.uses",
        "UPDATE placet_ledger.uses SET payload_digest = 'x'",
        "UPDATE placet_ledger.uses SET ordinal = 9",
        "UPDATE placet_ledger.uses SET record = NULL",
        "INSERT INTO placet_ledger.birth (ledger_id, born_at, place) VALUES ('x', 0, 'x')",
        "UPDATE placet_ledger.birth SET born_at = 0",
        "DELETE FROM placet_ledger.counters",
        "SELECT * FROM placet_relay.requests",
        "CREATE TABLE public.mine (x int)",
    ],
)
def test_a8_a_gates_role_cannot_undo_a_use(server: PostgresServer, statement: str) -> None:
    with (
        psycopg.connect(server.url("placet", "placet_gate")) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(statement)


def test_a_gates_role_cannot_declare_a_birth(server: PostgresServer) -> None:
    error = refusal(lambda: declare_birth(server.url("placet", "placet_gate"), now=BORN + 500))
    assert (type(error), error.reason) == (IndeterminateError, Reason.LEDGER_UNAVAILABLE)
    assert "may not do this" in str(error)


def test_a_relays_role_knows_nothing_of_the_ledger(server: PostgresServer) -> None:
    with (
        psycopg.connect(server.url("placet", "placet_relay")) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("SELECT * FROM placet_ledger.uses")

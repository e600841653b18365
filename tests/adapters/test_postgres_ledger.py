"""What is the PostgreSQL ledger's own: copies, restored backups, failovers (A8 by name), failing servers.

What every ledger does is in `placet.testing.contracts.use_ledger`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from placet.adapters.places import ledger_exists, migrate_ledger
from placet.adapters.postgres import connection as postgres_connection
from placet.adapters.postgres.ledger import PostgresLedger
from placet.adapters.postgres.ledger_tables import declare_birth
from placet.core.encoding import Digest
from placet.core.errors import IndeterminateError, PlacetError, Reason
from placet.testing.contracts.use_ledger import BORN, NOW, OTHER, STATEMENT, a_use, refusal
from placet.testing.postgres import PostgresServer, database_of, promote, run_sql, start_standby


@pytest.fixture
def url(empty_database: str) -> str:
    """A database with a ledger that was born at `BORN`."""
    declare_birth(empty_database, now=BORN)
    return empty_database


@pytest.fixture
def open_at(tmp_path: Path) -> Iterator[Callable[..., PostgresLedger]]:
    opened: list[PostgresLedger] = []

    def open_ledger(url: str, gate: str = "gate") -> PostgresLedger:
        opened.append(PostgresLedger(url, stamps=tmp_path / gate))
        return opened[-1]

    yield open_ledger
    for ledger in opened:
        ledger.close()


Opener = Callable[..., PostgresLedger]


def assert_unavailable(call: Callable[[], object]) -> PlacetError:
    error = refusal(call)
    assert isinstance(error, IndeterminateError)
    assert error.reason == Reason.LEDGER_UNAVAILABLE
    assert error.hint
    return error


def assert_restored(call: Callable[[], object]) -> PlacetError:
    error = refusal(call)
    assert (type(error), error.reason) == (IndeterminateError, Reason.LEDGER_RESTORED)
    assert "placet ledger reborn" in error.hint
    return error


# Place


def test_a8_copied_database_is_noticed_until_declared(
    url: str, open_at: Opener, postgres_server: PostgresServer
) -> None:
    """As a dump restored into the same cluster: same rows, same cluster, another database."""
    postgres_server.run_sql(
        "DROP DATABASE IF EXISTS ledger_copy", f"CREATE DATABASE ledger_copy TEMPLATE {database_of(url)}"
    )
    copy = postgres_server.url("ledger_copy")
    try:
        open_at(url).consume(a_use())
        with closing(open_at(copy)) as ledger:
            for call in (lambda: ledger.consume(a_use()), lambda: ledger.check_available(a_use())):
                assert_restored(call)
            assert_restored(ledger.check_undisturbed)
            # People may look into it all the same.
            assert ledger.list_latest(9) == ()
        declare_birth(copy, now=NOW)
        with closing(open_at(copy)) as ledger:
            assert refusal(lambda: ledger.consume(a_use(now=NOW + 5))).reason == Reason.ISSUED_BEFORE_LEDGER
            ledger.consume(a_use(issued_at=NOW + 1, now=NOW + 5))
    finally:
        postgres_server.drop_database(copy)


def test_a8_no_default_of_the_server_hides_what_the_last_holder_of_the_lock_recorded(
    url: str, open_at: Opener
) -> None:
    """A snapshot taken before the lock was won would let one event answer for two statements."""
    run_sql(url, f"ALTER DATABASE {database_of(url)} SET default_transaction_isolation = 'repeatable read'")
    answers: list[object] = []
    second = open_at(url, "second")

    def deliver_again() -> None:
        try:
            answers.append(second.consume(a_use(OTHER, event_id="delivery 7")))
        except PlacetError as e:
            answers.append(e.reason)

    with psycopg.connect(url) as first:
        first.execute("SELECT FROM placet_ledger.judgement FOR UPDATE")
        again = threading.Thread(target=deliver_again)
        again.start()
        wait_for_lock(url)
        first.execute(
            "INSERT INTO placet_ledger.uses"
            " (birth, payload_digest, use_unit, ordinal, used_at, event_id, summary)"
            " VALUES (1, %s, 'action', 1, %s, 'delivery 7', '')",
            (STATEMENT, NOW),
        )
    again.join()
    assert answers == [Reason.ALREADY_USED]


def wait_for_lock(url: str) -> None:
    """Waits until somebody waits for a lock in the database."""
    waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    for _ in range(300):
        if run_sql(url, waiting):
            return
        time.sleep(0.01)
    raise AssertionError("nobody waited")


def test_a8_tables_restored_in_place_are_noticed(url: str, open_at: Opener) -> None:
    """As `pg_restore --clean` does it: the tables are dropped and made again with the old rows."""
    ledger = open_at(url)
    ledger.consume(a_use())
    run_sql(
        url,
        "CREATE TABLE placet_ledger.restored (LIKE placet_ledger.uses INCLUDING ALL)",
        "DROP TABLE placet_ledger.uses",
        "ALTER TABLE placet_ledger.restored RENAME TO uses",
    )
    assert_restored(lambda: ledger.consume(a_use()))
    assert_restored(lambda: open_at(url).consume(a_use()))


def test_a8_promoted_standby_is_noticed_until_declared(
    mortal_postgres: PostgresServer, open_at: Opener
) -> None:
    url = mortal_postgres.create_database()
    declare_birth(url, now=BORN)
    open_at(url).consume(a_use())
    with start_standby(mortal_postgres) as standby:
        place = standby.url(database_of(url))
        assert "standby" in str(assert_unavailable(lambda: open_at(place)))
        promote(standby)
        # It holds this use; whether it held every use, nobody can tell.
        error = assert_restored(lambda: open_at(place).consume(a_use(OTHER)))
        assert "timeline:00000001" in str(error.expected)
        assert "timeline:00000002" in str(error.actual)
        declare_birth(place, now=NOW + 10)
        with closing(open_at(place)) as ledger:
            ledger.consume(a_use(OTHER, issued_at=NOW + 11, now=NOW + 20))
            again = a_use(issued_at=NOW + 11, now=NOW + 20)
            assert refusal(lambda: ledger.consume(again)).reason == Reason.ALREADY_USED


def test_a8_disk_rolled_back_beneath_the_server_is_noticed_where_a_gate_remembers(
    mortal_postgres: PostgresServer, open_at: Opener
) -> None:
    """A snapshot of the data directory put back: same cluster, same timeline, uses gone."""
    url = mortal_postgres.create_database()
    declare_birth(url, now=BORN)
    used = open_at(url).consume(a_use())
    run_sql(url, "DELETE FROM placet_ledger.uses")
    error = assert_restored(lambda: open_at(url).consume(a_use()))
    assert f"was given use {used.use_id}" in str(error)
    # A machine that was given nothing has nothing to remember.
    open_at(url, "new gate").consume(a_use())


def test_a_gate_killed_before_its_stamp_goes_on_safely(url: str, open_at: Opener, tmp_path: Path) -> None:
    open_at(url).consume(a_use())
    (stamp,) = (tmp_path / "gate").glob("*.stamp")
    before = stamp.read_bytes()
    open_at(url).consume(a_use(OTHER))
    stamp.write_bytes(before)
    assert refusal(lambda: open_at(url).consume(a_use(OTHER))).reason == Reason.ALREADY_USED
    open_at(url).consume(a_use(Digest("d" * 64)))
    assert int(stamp.read_bytes().split()[-1]) == 3


def test_a_place_that_may_not_be_read_in_full_still_tells_copies(
    mortal_postgres: PostgresServer, open_at: Opener
) -> None:
    """Hosting companies hide the cluster's identity; database and table remain."""
    url = mortal_postgres.create_database()
    run_sql(url, "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC", "CREATE ROLE plain LOGIN")
    run_sql(url, f"GRANT CREATE ON DATABASE {database_of(url)} TO plain")
    try:
        plain = url.replace("placet@", "plain@")
        born = declare_birth(plain, now=BORN)
        assert "system:?" in born.place
        with closing(open_at(plain)) as ledger:
            ledger.consume(a_use())
        mortal_postgres.run_sql(f"CREATE DATABASE hidden_copy TEMPLATE {database_of(url)}")
        assert_restored(lambda: open_at(mortal_postgres.url("hidden_copy", "plain")).consume(a_use()))
    finally:
        run_sql(url, "GRANT EXECUTE ON FUNCTION pg_control_system() TO PUBLIC")


# Servers that fail


def test_uses_survive_the_death_of_the_server_and_a_gate_that_lives_goes_on(
    mortal_postgres: PostgresServer, open_at: Opener
) -> None:
    url = mortal_postgres.create_database()
    declare_birth(url, now=BORN)
    ledger = open_at(url)
    consumption = ledger.consume(a_use())
    mortal_postgres.kill()
    assert "cannot be reached" in str(assert_unavailable(lambda: ledger.consume(a_use(OTHER))))
    assert_unavailable(lambda: open_at(url))
    mortal_postgres.start()
    assert refusal(lambda: ledger.consume(a_use())).reason == Reason.ALREADY_USED
    mortal_postgres.kill()
    mortal_postgres.start()
    # Also the outcome of a command that outlived the connection is recorded.
    ledger.record_outcome(consumption, 0, now=NOW)
    assert ledger.list_unknown() == ()
    mortal_postgres.kill()
    mortal_postgres.start()
    assert [record.exit_code for record in ledger.uses(STATEMENT)] == [0]


def test_a_use_whose_commit_is_in_doubt_is_undecided_shown_and_never_given_back(
    url: str, open_at: Opener
) -> None:
    ledger = open_at(url)
    # The connection ends in the middle of COMMIT, before the server has committed.
    run_sql(
        url,
        "CREATE FUNCTION placet_ledger.hang_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$",
        "CREATE CONSTRAINT TRIGGER hang_up AFTER INSERT ON placet_ledger.uses DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION placet_ledger.hang_up()",
    )
    error = assert_unavailable(lambda: ledger.consume(a_use()))
    assert "may have been consumed" in error.hint
    run_sql(url, "DROP TRIGGER hang_up ON placet_ledger.uses")
    assert ledger.uses(STATEMENT) == ()
    ledger.consume(a_use())


def test_a_connection_cut_after_the_commit_leaves_an_unknown_use(
    url: str, open_at: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = open_at(url)
    execute = ledger._connection.execute

    def execute_and_cut(query: Any, *values: Any) -> Any:
        done = execute(query, *values)
        if query == "COMMIT":
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        return done

    monkeypatch.setattr(ledger._connection, "execute", execute_and_cut)
    assert "may have been consumed" in assert_unavailable(lambda: ledger.consume(a_use())).hint
    assert [record.payload_digest for record in ledger.list_unknown()] == [STATEMENT]
    assert refusal(lambda: ledger.consume(a_use())).reason == Reason.ALREADY_USED


def test_an_outcome_written_twice_after_a_lost_connection_is_one(
    url: str, open_at: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = open_at(url)
    consumption = ledger.consume(a_use())
    connection = ledger._connection
    execute = connection.execute

    def execute_and_cut(query: Any, *values: Any) -> Any:
        execute(query, *values)
        connection.close()
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(connection, "execute", execute_and_cut)
    ledger.record_outcome(consumption, 3, now=NOW)
    assert ledger.uses(STATEMENT)[0].exit_code == 3
    with pytest.raises(IndeterminateError):
        ledger.record_outcome(consumption, 4, now=NOW)


@pytest.mark.parametrize("setting", ["synchronous_commit = off", "synchronous_commit = remote_write"])
def test_a_server_that_forgets_uses_is_refused(url: str, open_at: Opener, setting: str) -> None:
    run_sql(url, f"ALTER DATABASE {database_of(url)} SET {setting}")
    try:
        assert "synchronous_commit" in str(assert_unavailable(lambda: open_at(url)))
    finally:
        run_sql(url, f"ALTER DATABASE {database_of(url)} RESET synchronous_commit")


def test_a_server_that_stops_syncing_is_refused_at_the_next_use(
    mortal_postgres: PostgresServer, open_at: Opener
) -> None:
    url = mortal_postgres.create_database()
    declare_birth(url, now=BORN)
    ledger = open_at(url)
    ledger.consume(a_use())
    mortal_postgres.run_sql("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")
    try:
        while run_sql(url, "SHOW fsync") != [("off",)]:
            pass
        assert "fsync = off" in str(assert_unavailable(lambda: ledger.consume(a_use(OTHER))))
        assert ledger._connection.closed
    finally:
        mortal_postgres.run_sql("ALTER SYSTEM RESET fsync", "SELECT pg_reload_conf()")
    while run_sql(url, "SHOW fsync") != [("on",)]:
        pass
    ledger.consume(a_use(OTHER))


def test_a_ledger_that_another_gate_holds_for_too_long_is_undecided(
    url: str, open_at: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_connection, "_SETTINGS", ("10s", "200ms", "15s"))
    with psycopg.connect(url) as other:
        other.execute("SELECT * FROM placet_ledger.judgement FOR UPDATE")
        assert "lock timeout" in str(assert_unavailable(lambda: open_at(url).consume(a_use())))
    open_at(url).consume(a_use())


def test_a_gate_that_hangs_in_the_middle_does_not_stop_the_others(
    url: str, open_at: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a machine that vanished: nobody tells the server, and its transaction holds the lock."""
    monkeypatch.setattr(postgres_connection, "_SETTINGS", ("10s", "5s", "300ms"))
    hanging = open_at(url)
    with pytest.raises(IndeterminateError), hanging._judging():
        open_at(url).consume(a_use())


def test_a_full_disk_is_undecided_and_consumes_nothing(url: str, open_at: Opener) -> None:
    run_sql(
        url,
        "CREATE FUNCTION placet_ledger.no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$",
        "CREATE TRIGGER no_room BEFORE INSERT ON placet_ledger.uses"
        " FOR EACH ROW EXECUTE FUNCTION placet_ledger.no_room()",
    )
    ledger = open_at(url)
    error = assert_unavailable(lambda: ledger.consume(a_use()))
    assert "disk" in str(error)
    assert "may have been consumed" not in error.hint
    run_sql(url, "DROP TRIGGER no_room ON placet_ledger.uses")
    ledger.consume(a_use())


def test_a_stamp_that_cannot_be_written_denies(url: str, open_at: Opener, tmp_path: Path) -> None:
    (tmp_path / "gate").write_text("a file where the folder should be")
    error = refusal(lambda: open_at(url).consume(a_use()))
    assert error.reason == Reason.LEDGER_UNAVAILABLE


# Tables


def test_a_database_without_a_ledger_is_undecided_and_none_is_made(
    postgres_server: PostgresServer, open_at: Opener
) -> None:
    url = postgres_server.create_database()
    try:
        for step in (lambda: None, lambda: migrate_ledger(url)):
            step()
            error = assert_unavailable(lambda: open_at(url))
            assert "no use ledger" in str(error)
            assert "placet ledger create" in error.hint
            assert not ledger_exists(url)
        declare_birth(url, now=BORN)
        assert ledger_exists(url)
        open_at(url).consume(a_use())
    finally:
        postgres_server.drop_database(url)


def test_tables_of_a_newer_version_are_refused_also_while_running(url: str, open_at: Opener) -> None:
    ledger = open_at(url)
    run_sql(url, "INSERT INTO placet_ledger.migrations VALUES (99, 'from the future')")
    assert "upgraded" in str(assert_unavailable(lambda: ledger.consume(a_use())))
    for call in (
        lambda: open_at(url),
        lambda: declare_birth(url, now=NOW),
        lambda: migrate_ledger(url),
    ):
        assert "newer placet" in str(assert_unavailable(call))


def test_tables_of_an_older_version_say_which_command_upgrades_them(
    url: str, open_at: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    from placet.adapters.postgres import schema as postgres_schema

    known = postgres_schema.list_migrations(postgres_schema.LEDGER)
    step = postgres_schema.Migration(
        known[-1].number + 1, "a_column", b"ALTER TABLE placet_ledger.uses ADD COLUMN more text"
    )
    open_at(url).consume(a_use())
    monkeypatch.setattr(postgres_schema, "list_migrations", lambda schema: (*known, step))
    error = assert_unavailable(lambda: open_at(url))
    assert "older placet" in str(error)
    assert "placet ledger migrate" in error.hint
    assert migrate_ledger(url) == (known[-1].number, step.number)
    assert refusal(lambda: open_at(url).consume(a_use())).reason == Reason.ALREADY_USED


def test_a_failed_migration_changes_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from placet.adapters.postgres import schema as postgres_schema

    known = postgres_schema.list_migrations(postgres_schema.LEDGER)
    step = postgres_schema.Migration(
        known[-1].number + 1, "broken", b"ALTER TABLE placet_ledger.uses ADD COLUMN more text; SELECT nothing"
    )
    monkeypatch.setattr(postgres_schema, "list_migrations", lambda schema: (*known, step))
    assert_unavailable(lambda: migrate_ledger(url))
    monkeypatch.undo()
    PostgresLedger(url, stamps=Path("/nonexistent")).close()
    columns = run_sql(url, "SELECT 1 FROM information_schema.columns WHERE column_name = 'more'")
    assert columns == []

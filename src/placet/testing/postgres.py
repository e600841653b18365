"""A real PostgreSQL server for tests: Debian's programs, a temporary folder, a Unix socket.

    with start_postgres() as server:
        url = server.create_database()

The server belongs to nobody else: no port is opened, no other cluster is touched.  PostgreSQL
refuses to run as root, so root's tests run it as another user.  Syncs stay on, because what
placet promises rests on them.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from placet.testing._tools import ToolMissing, locate_program

SUPERUSER = "placet"
_PACKAGE = "postgresql"
_START_SECONDS = 30.0
# Debian's own place for the server's programs, which are not on PATH.
_DEBIAN = Path("/usr/lib/postgresql")
# Small, quiet and still durable: what a test of placet must not change is fsync.
_SETTINGS = (
    "listen_addresses=",
    "shared_buffers=32MB",
    "max_connections=80",
    "logging_collector=off",
    "log_min_messages=warning",
    "unix_socket_permissions=0777",
    "autovacuum_naptime=5s",
    "max_wal_senders=4",
    "recovery_init_sync_method=syncfs",
)


def locate_postgres(program: str = "postgres") -> Path:
    """Returns the newest installed server's program.

    Raises:
        ToolMissing: there is none.
    """
    versions = sorted(_DEBIAN.glob(f"*/bin/{program}"), key=lambda path: int(path.parts[-3]), reverse=True)
    if versions:
        return versions[0]
    try:
        return locate_program(program, _PACKAGE).resolve()
    except ToolMissing:
        raise ToolMissing(program, _PACKAGE) from None


class PostgresServer:
    """A server in `folder`; `start_postgres` and `start_standby` make one.

    Attributes:
        folder: holds the data directory, the socket and the log.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.folder / "data"

    def url(self, database: str = "postgres", user: str = SUPERUSER) -> str:
        """Returns the address of a database on this server."""
        return f"postgresql://{user}@/{database}?host={quote(str(self.folder), safe='')}"

    def start(self, *settings: str) -> None:
        """Starts the server and waits until it answers.

        Args:
            settings: more settings, such as ``wal_level=logical``.

        Raises:
            RuntimeError: it did not start; the text holds its log.
        """
        options = [part for setting in (*_SETTINGS, *settings) for part in ("-c", setting)]
        command = [str(locate_postgres()), "-D", str(self.data), "-k", str(self.folder), *options]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*_as_server_user(), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )
        self._watchdog = _watch_over(self._process.pid)
        self._wait_until_ready(self._process)

    def stop(self) -> None:
        """Stops the server at once, as `pg_ctl stop -m fast` does; stopping twice is harmless."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(timeout=_START_SECONDS)
        self._dismiss_watchdog()

    def kill(self) -> None:
        """Ends every process of the server as a power cut would (the disk keeps what was synced)."""
        if self._process is None or self._process.poll() is not None:
            return
        # Stopped first, so that it starts no new process, and does not notice its children's end.
        self._process.send_signal(signal.SIGSTOP)
        for child in _children(self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self._process.kill()
        self._process.wait(timeout=_START_SECONDS)
        self._dismiss_watchdog()

    def run_sql(self, *statements: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Runs statements as superuser, each committed by itself; returns the rows of the last one."""
        return run_sql(self.url(database), *statements)

    def create_database(self) -> str:
        """Makes an empty database with a name of its own; returns its address."""
        name = f"t_{secrets.token_hex(6)}"
        self.run_sql(f"CREATE DATABASE {name}")
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Removes a database that `create_database` made, whoever is connected to it."""
        self.run_sql(f"DROP DATABASE IF EXISTS {database_of(url)} WITH (FORCE)")

    def _dismiss_watchdog(self) -> None:
        if self._watchdog is not None:
            self._watchdog.kill()
            self._watchdog.communicate()
            self._watchdog = None

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        import psycopg

        deadline = time.monotonic() + _START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            try:
                psycopg.connect(self.url(), connect_timeout=5).close()
                return
            except psycopg.OperationalError:
                time.sleep(0.02)
        log = (self.folder / "log").read_text(errors="replace")
        process.kill()
        process.wait()
        self._dismiss_watchdog()
        raise RuntimeError(f"PostgreSQL did not start:\n{log[-2000:]}")


@contextlib.contextmanager
def start_postgres(*settings: str) -> Iterator[PostgresServer]:
    """Makes a cluster, starts its server, and removes both at the end.

    Args:
        settings: settings beyond the defaults, such as ``max_connections=20``.

    Raises:
        ToolMissing: PostgreSQL or psycopg is not installed.
    """
    _require_psycopg()
    with _server_folder() as folder:
        server = PostgresServer(folder)
        initdb = [str(locate_postgres("initdb")), "-D", str(server.data), "-U", SUPERUSER, "-A", "trust"]
        _run([*initdb, "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"], folder)
        server.start(*settings)
        try:
            yield server
        finally:
            # Not stopped in good order: nobody will read what a last checkpoint would sync.
            server.kill()


@contextlib.contextmanager
def start_standby(primary: PostgresServer) -> Iterator[PostgresServer]:
    """Starts a streaming standby of `primary`; `promote` makes it a primary of its own."""
    with _server_folder() as folder:
        standby = PostgresServer(folder)
        backup = [str(locate_postgres("pg_basebackup")), "-d", primary.url(), "-D", str(standby.data)]
        _run([*backup, "-R", "-X", "stream", "-c", "fast", "--no-sync"], folder)
        standby.start()
        try:
            yield standby
        finally:
            standby.kill()


def database_of(url: str) -> str:
    """Returns the name of the database in an address that `PostgresServer` made."""
    return url.partition("@/")[2].partition("?")[0]


def run_sql(url: str, *statements: str) -> list[tuple[Any, ...]]:
    """Runs statements in a database, each committed by itself; returns the rows of the last one."""
    import psycopg

    rows: list[tuple[Any, ...]] = []
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            cursor = connection.execute(statement.encode())
            rows = cursor.fetchall() if cursor.description else []
    return rows


def promote(standby: PostgresServer) -> None:
    """Makes a standby the primary of a new timeline, as after the loss of the old one."""
    standby.run_sql("SELECT pg_promote(true, 30)")


def _require_psycopg() -> None:
    try:
        import psycopg  # noqa: F401
    except ModuleNotFoundError:
        raise ToolMissing("psycopg", "pip install 'placet[postgres]'") from None


@contextlib.contextmanager
def _server_folder() -> Iterator[Path]:
    # Not pytest's folder: that one is closed to other users, and too long a name for a socket.
    folder = Path(tempfile.mkdtemp(prefix="placet-pg-"))
    try:
        folder.chmod(0o755)
        if os.geteuid() == 0:
            user = _server_user()
            os.chown(folder, user.pw_uid, user.pw_gid)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _server_user() -> pwd.struct_passwd:
    return pwd.getpwnam("nobody")


def _as_server_user() -> list[str]:
    if os.geteuid() != 0:
        return []
    user = _server_user()
    identity = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    return [str(locate_program("setpriv", "util-linux")), *identity, "--"]


def _watch_over(server: int) -> subprocess.Popen[bytes]:
    """Starts a process that stops the server when this one ends in whatever way.

    The kernel can signal a parent's death, but means the thread that started the child, not the process.
    """
    return subprocess.Popen(["sh", "-c", f"read _; kill -QUIT {server}"], stdin=subprocess.PIPE)


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(
        [*_as_server_user(), *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed: {done.stderr.strip() or done.stdout.strip()}")


def _children(parent: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name in parentheses may hold anything; the fields after it are numbers.
            if int(status.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(status.parent.name))
    return found

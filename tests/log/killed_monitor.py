"""Runs audits that are killed at each of their steps in turn, and says what people were told.

For each step: a fresh state, an audit that ends by SIGKILL right there, then one that runs to its end.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from placet.adapters.log_client import LogClient
from placet.adapters.sqlite.audit import AuditStore
from placet.core.tlog.log_policy import parse_log_policy
from placet.core.trust import parse_trust
from placet.log.monitor import Audit, Settings, WatchedLog
from placet.log.monitor_source import ServedLog
from placet.log.monitor_telling import Recipient, tell
from placet.ports.notifier import Notice


class Steps:
    """Counts what has an effect, and dies at the one that it was told."""

    def __init__(self, last: int) -> None:
        self._left = last

    def take(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class KilledStore(AuditStore):
    """Dies right before or right after a commit."""

    steps: Steps

    @contextmanager
    def transaction(self) -> Iterator[None]:
        with super().transaction():
            yield
            self.steps.take()
        self.steps.take()


class FileNotifier:
    """Tells a file."""

    def __init__(self, path: Path, steps: Steps) -> None:
        self._path, self._steps = path, steps
        self.groups: tuple[str, ...] = ()

    def groups_for(self, *, target: str, gate: str) -> tuple[str, ...]:
        return ()

    async def notify(self, group: str, notice: Notice) -> None:
        self._steps.take()
        with self._path.open("a") as file:
            file.write(json.dumps([group, notice.title, notice.body]) + "\n")
        self._steps.take()


def audit(folder: Path, url: str, given: dict[str, bytes], steps: Steps) -> None:
    trust, policy = parse_trust(given["trust"]), parse_log_policy(given["policy"])
    recipients = tuple(Recipient("person", name, 1, "x") for name in pickle.loads(given["people"]))
    settings = Settings(policy, trust, folder / "none.json", recipients, int(given["now"]))
    source = ServedLog(LogClient(url, tries=1), given["token"].decode())
    KilledStore.steps = steps
    with KilledStore(folder / "audit.sqlite") as store:
        Audit(store, settings).run([WatchedLog("log.example", source, True)])
        tell(recipients, store, FileNotifier(folder / "told", steps), pause=lambda attempt: 0.0)


def main() -> None:
    url, given = sys.argv[1], pickle.loads(sys.stdin.buffer.read())
    for last in range(1, 1000):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            child = os.fork()
            if child == 0:
                audit(folder, url, given, Steps(last))
                os._exit(0)
            _, status = os.waitpid(child, 0)
            killed = os.WIFSIGNALED(status)
            audit(folder, url, given, Steps(-1))
            told = [json.loads(line) for line in (folder / "told").read_text().splitlines()]
            print(json.dumps({"step": last, "killed": killed, "told": told}), flush=True)
        if not killed:
            return


if __name__ == "__main__":
    main()

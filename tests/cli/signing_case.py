"""Files of a deployment that signs: snapshot, ledger, identity, configuration, artifacts, approvals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import pytest

from placet.adapters.sqlite.ledger import SqliteLedger, declare_new_birth
from placet.ceremony.publish import add_answer, empty_bundle
from placet.core.bundle import IntentRequest, encode_bundle, parse_request
from placet.core.decode import Object
from placet.core.encoding import sha256_hex
from placet.gates.signing_plan import SIGN_ACTION
from placet.testing import world as worlds
from placet.testing.private_sigstore import PrivateSigstoreServer
from placet.testing.world import ALICE, BOB, World

TARGET = "pkg:pypi/placet"
SERVICE = "https://signer.example.com/release"
POLICY = f"""
[[rule]]
action = "{SIGN_ACTION}"
target = "pkg:**"
level = 1
quorum = {{ threshold = 2, of = ["group:release"] }}
exclude_requester = false
max_window = "1h"
"""


class SigningCase:
    """A folder in which `placet sign` can be called."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, server: PrivateSigstoreServer) -> None:
        self.folder, self.server = folder, server
        self.started = int(time.time()) - 120
        monkeypatch.setattr(worlds, "NOW", self.started)
        self.world = World(seed=b"signing case", policy=POLICY)
        shipped = files("placet.actions").joinpath("sign", "v1.json").read_bytes()
        self.world.more_files["actions/sign/v1.json"] = shipped
        self.world.expires_at = self.started + 7 * 86_400
        (folder / "snapshot.json").write_bytes(self.world.snapshot())
        declare_new_birth(folder / "ledger.sqlite3", now=self.started - 100)
        server.sigstore.write_files(folder / "sigstore")
        (folder / "token").write_text(server.sigstore.token(SERVICE))
        self.add("app.whl", b"a wheel")

    def add(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(data)
        return path

    def request(self, *words: str) -> IntentRequest:
        """Asks with `placet request sign`, as anybody may."""
        path = self.folder / f"{sha256_hex(repr(words).encode())[:12]}.request.json"
        common = ("--to", TARGET, "--trust", "snapshot.json", "--gate", worlds.GATE, "--file", path.name)
        done = self.call("request", "sign", *common, *words)
        assert done.returncode == 0, done.stderr
        return parse_request(path.read_bytes())

    def approve(
        self, request: IntentRequest, people: Sequence[str] = (ALICE, BOB), name: str = "app.intent.json"
    ) -> Path:
        """Has people touch their keys; returns the bundle's file."""
        bundle = empty_bundle(request)
        for person, terminal in zip(people, ("t1", "t2"), strict=False):
            answer = self.world.approve(request, person, terminal=terminal, decided_at=int(time.time()))
            bundle = add_answer(bundle, answer)
        return self.add(name, encode_bundle(bundle))

    def options(self) -> list[str]:
        """Returns what makes this machine the signing gate."""
        return [
            *("--trust", "snapshot.json", "--gate", worlds.GATE, "--ledger", "ledger.sqlite3"),
            *("--sigstore-config", "sigstore/trust_config_v2.json", "--identity-token-file", "token"),
        ]

    def call(self, *words: str, variables: Object | None = None) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "placet", *words],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=os.environ | {"NO_COLOR": "1"} | (variables or {}),
            stdin=subprocess.DEVNULL,
            check=False,
            timeout=60,
        )
        assert "Traceback" not in done.stdout + done.stderr
        return done

    def sign(self, *words: str, intent: str = "app.intent.json") -> subprocess.CompletedProcess[str]:
        return self.call("sign", "--intent", intent, *self.options(), *words)

    def outcomes(self, request: IntentRequest) -> list[int | None]:
        with SqliteLedger(self.folder / "ledger.sqlite3") as ledger:
            return [use.exit_code for use in ledger.uses(request.id)]

    @contextmanager
    def service(self) -> Iterator[str]:
        """Runs `placet sign serve`; gives its address."""
        process = subprocess.Popen(
            [sys.executable, "-m", "placet", "sign", "serve", "--port", "0", *self.options()],
            cwd=self.folder,
            env=os.environ | {"NO_COLOR": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("placet sign listens on "), process.communicate()
            yield line.split()[-1]
        finally:
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=30)
        assert process.returncode == 0, err
        assert out.strip() == "placet sign has stopped"
        assert "Traceback" not in err

"""What a cold `placet verify` may load: every import is paid on every run (benchmarks/verify_cold.py).

The lists are exact, so that a new import is a decision and not an accident.  A gate's verifier
also shows here what it trusts: the standard library, `cryptography`, and placet's own core.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from placet.ceremony.publish import add_answer, empty_bundle
from placet.core.bundle import encode_bundle
from placet.testing.world import ALICE, BOB, GATE, World, expected_of

PLACET = {
    "placet",
    "placet.adapters",
    "placet.adapters.paths",
    "placet.cli",
    "placet.cli._shared",
    "placet.cli.verify",
    "placet.core",
    "placet.core.actions",
    "placet.core.admission",
    "placet.core.approvals",
    "placet.core.bundle",
    "placet.core.decode",
    "placet.core.display",
    "placet.core.dsse",
    "placet.core.encoding",
    "placet.core.errors",
    "placet.core.evidence",
    "placet.core.evidence.facts",
    "placet.core.evidence.requester",
    "placet.core.expected",
    "placet.core.levels",
    "placet.core.gates",
    "placet.core.people",
    "placet.core.patterns",
    "placet.core.policy",
    "placet.core.quorum",
    "placet.core.report",
    "placet.core.rules",
    "placet.core.signature",
    "placet.core.sshsig",
    "placet.core.sshwire",
    "placet.core.statement",
    "placet.core.trust",
    "placet.core.verify",
    "placet.core.webauthn",
}

# No ciphers, no RSA, no serialization, no X.509: see `placet.core.signature`.
THIRD_PARTY = {
    "_cffi_backend",
    "_openssl",
    "_openssl.lib",
    "cryptography",
    "cryptography.__about__",
    "cryptography.exceptions",
    "cryptography.hazmat",
    "cryptography.hazmat._oid",
    "cryptography.hazmat.bindings",
    "cryptography.hazmat.bindings._rust",
    "cryptography.hazmat.primitives",
    "cryptography.hazmat.primitives._serialization",
    "cryptography.hazmat.primitives.asymmetric",
    "cryptography.hazmat.primitives.asymmetric.ec",
    "cryptography.hazmat.primitives.asymmetric.ed25519",
    "cryptography.hazmat.primitives.asymmetric.utils",
    "cryptography.hazmat.primitives.hashes",
    "cryptography.utils",
}

# Standard modules that cost milliseconds, or that a decision has no business with.
TOO_DEAR = {
    "asyncio",
    "base64",
    "ctypes",
    "dataclasses",
    "datetime",
    "email",
    "http",
    "inspect",
    "logging",
    "multiprocessing",
    "pathlib",
    "pickle",
    "random",
    "secrets",
    "shutil",
    "socket",
    "sqlite3",
    "ssl",
    "subprocess",
    "tempfile",
    "threading",
    "tomllib",
    "unicodedata",
    "urllib",
    "uuid",
}

# Run in a process of its own, in isolated mode as the installed command's interpreter would be.
PROBE = """
import json, sys
before = set(sys.modules)
from placet.cli import main
code = main(sys.argv[1:])
print(json.dumps({"code": code, "loaded": sorted(set(sys.modules) - before)}))
"""


@pytest.fixture
def loaded(tmp_path: Path) -> set[str]:
    """The modules that one allowed `placet verify` loads, beyond those of an idle interpreter."""
    now = int(time.time())
    world = World()
    world.expires_at = now + 86_400
    request = world.request_deploy(now=now - 120)
    bundle = empty_bundle(request)
    for person, terminal in ((ALICE, "t1"), (BOB, "t2")):
        answer = world.approve(request, person, terminal=terminal, decided_at=now - 60)
        bundle = add_answer(bundle, answer)
    (tmp_path / "app.intent.json").write_bytes(encode_bundle(bundle))
    (tmp_path / "snapshot.json").write_bytes(world.snapshot())
    expected = expected_of(request)
    command = [sys.executable, "-I", "-c", PROBE, "verify", "app.intent.json", "--trust", "snapshot.json"]
    command += ["--gate", GATE, "--action", expected.action_type, "--target", expected.target]
    command += [f"--artifact={digest}" for digest in expected.subjects]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["code"] == 0, done.stdout
    return set(found["loaded"])


def test_verify_loads_exactly_these_modules(loaded: set[str]) -> None:
    standard = {name for name in loaded if name.partition(".")[0] in sys.stdlib_module_names}
    own = {name for name in loaded if name.partition(".")[0] == "placet"}
    assert own == PLACET
    assert loaded - standard - own == THIRD_PARTY


def test_verify_loads_no_dear_standard_module(loaded: set[str]) -> None:
    assert not {name for name in loaded if name.partition(".")[0] in TOO_DEAR}

"""``placet log`` as people call it: real processes of a log and its witnesses, real files."""

from __future__ import annotations

import json
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from in_process import placet
from log_serving import running, serving

from placet.adapters.log_client import LogClient
from placet.core.bundle import encode_answer, parse_bundle
from placet.core.encoding import sha256_hex
from placet.core.tlog.checkpoint import verify_checkpoint
from placet.core.tlog.leaf import leaf_hash
from placet.core.tlog.log_policy import parse_log_policy
from placet.core.tlog.note import parse_signer_key, parse_verifier_key
from placet.core.tlog.proof import parse_proof, verify_proof
from placet.core.tlog.records import leaf_of_record
from placet.testing.world import ALICE, BOB, World


class Place:
    """A log with two witnesses, and a world whose trust root names them."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self.tiles = folder, folder / "www"
        lines = []
        made = placet(folder, "log", "init", "log.example/demo", "--state", "log")
        self.key = made.stdout.split()[1]
        for name in ("w1", "w2"):
            made = placet(folder, "witness", "init", f"{name}.example", "--state", name)
            assert placet(folder, "witness", "add-log", self.key, "--state", name).returncode == 0
            url = stack.enter_context(serving("witness", folder / name))
            lines.append(f"witness {name} {made.stdout.split()[2]} {url}")
        lines += ["group both all w1 w2", "quorum both"]
        policy = folder / "log-policy"
        policy.write_text("".join(f"{line}\n" for line in [f"log {self.key}", *lines]))
        options = ["--log-policy", str(policy), "--tiles", str(self.tiles)]
        self.url = stack.enter_context(serving("log", folder / "log", *options))
        # Of today: the log's process and its witnesses have the machine's clock.
        self.world = World(now=int(time.time()) - 100)
        lines.insert(0, f"log {self.key} {self.url}")
        text = "".join(f"{line}\n" for line in lines).encode()
        self.policy = parse_log_policy(text)
        self.world.more_files["log-policy"] = text
        (folder / "snapshot.json").write_bytes(self.world.snapshot())

    def approval(self, *people: str) -> Path:
        request = self.world.request_run(argv=["/usr/bin/true"], executable=b"x")
        path = self.folder / f"{request.id[:8]}.intent.json"
        path.write_bytes(self.world.bundle(request, *people))
        return path

    def call(self, *line: str) -> subprocess.CompletedProcess[str]:
        return placet(self.folder, "log", *line, "--trust", "snapshot.json")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(tmp_path_factory.mktemp("log"), stack)


def test_a_new_log_has_a_key_that_only_its_owner_reads(tmp_path: Path) -> None:
    made = placet(tmp_path, "log", "init", "log.example/a", "--url", "https://log.example", "--state", "log")
    assert made.returncode == 0
    kind, key, url = made.stdout.split()
    assert (kind, url, made.stdout.count("\n")) == ("log", "https://log.example", 1)
    assert parse_verifier_key(key).name == "log.example/a"
    path = tmp_path / "log" / "log.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    again = placet(tmp_path, "log", "init", "log.example/b", "--state", "log")
    assert (again.returncode, "already" in again.stderr, "log key" in again.stderr) == (2, True, True)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        (["log"], 2, "usage"),
        (["log", "init", "a name", "--state", "x"], 1, "1 to 255 bytes"),
        (["log", "init", "a", "--url", "ftp://a", "--state", "x"], 2, "https://"),
        (["log", "serve", "--state", "nowhere"], 2, "placet log init"),
        (["log", "serve", "--state", "nowhere", "--host", "0.0.0.0"], 2, "placet log init"),
        (["log", "show", "--log", "nix", "--key", "KEY"], 1, "address of a log"),
        (["log", "show", "--log", "http://127.0.0.1:1", "--key", "KEY"], 3, "log-unavailable"),
        (["log", "show", "--log", "http://127.0.0.1:1", "--key", "nix"], 1, "bad-"),
        (["log", "proof", "nix", "--log", "http://127.0.0.1:1"], 2, "64 hexadecimal"),
        (["log", "proof", "0" * 64, "--log", "http://127.0.0.1:1", "--wait", "61"], 2, "0 to 60"),
        (["log", "attach", "missing.json", "--log", "http://127.0.0.1:1"], 2, "missing.json"),
        (["log", "append", "missing.json", "--log", "http://127.0.0.1:1"], 2, "missing.json"),
        (["log", "publish-trust", "nowhere", "--log", "http://127.0.0.1:1"], 2, "placet trust publish"),
    ],
)
def test_what_cannot_be_done_is_said(place: Place, line: list[str], code: int, says: str) -> None:
    found = placet(place.folder, *[place.key if part == "KEY" else part for part in line])
    assert (found.returncode, found.stdout) == (code, "")
    assert says in found.stderr
    assert "Traceback" not in found.stderr


def test_an_approval_gets_proofs_that_all_witnesses_cosigned(place: Place) -> None:
    path = place.approval(ALICE, BOB)
    attached = place.call("attach", str(path))
    assert attached.returncode == 0, attached.stderr
    assert attached.stdout.count("which are enough") == 2
    bundle = parse_bundle(path.read_bytes())
    assert len(bundle.log) == 2
    again = place.call("attach", str(path), "-o", "copy.json", "--wait", "0")
    assert again.returncode == 0
    assert parse_bundle((place.folder / "copy.json").read_bytes()).envelope == bundle.envelope
    shown = placet(place.folder, "log", "proof", "--bundle", str(path), "--log", place.url)
    proofs = json.loads(shown.stdout)
    assert proofs.keys() == {proof.signature_digest for proof in bundle.log}


def test_the_checkpoint_is_shown_with_its_witnesses(place: Place) -> None:
    path = place.approval(ALICE)
    assert place.call("attach", str(path)).returncode == 0
    shown = place.call("show", "--json")
    value = json.loads(shown.stdout)
    assert (value["origin"], value["quorum"], set(value["witnesses"])) == (
        "log.example/demo",
        True,
        {"w1", "w2"},
    )
    text = place.call("show").stdout
    assert "log.example/demo" in text
    assert "Quorum     is met" in text
    by_key = placet(place.folder, "log", "show", "--log", place.url, "--key", place.key)
    assert by_key.returncode == 0


def test_another_logs_key_is_no_key_of_this_one(place: Place) -> None:
    made = placet(place.folder, "log", "init", "log.example/demo", "--state", "another")
    other = made.stdout.split()[1]
    found = placet(place.folder, "log", "show", "--log", place.url, "--key", other)
    assert (found.returncode, "log-unknown" in found.stderr) == (1, True)
    assert "key you named" in found.stderr


def test_a_logs_line_is_printed_again(tmp_path: Path) -> None:
    """Whoever lost what `init` printed, or has a relay that made its own key, needs it for the policy."""
    url = "https://log.example"
    made = placet(tmp_path, "log", "init", "log.example", "--state", "one", "--url", url)
    again = placet(tmp_path, "log", "key", "--state", "one", "--url", url)
    assert (again.returncode, again.stdout) == (0, made.stdout)
    assert placet(tmp_path, "log", "key", "--key", "one/log.key").stdout == made.stdout.replace(f" {url}", "")
    missing = placet(tmp_path, "log", "key", "--state", "two")
    assert (missing.returncode, "placet log init" in missing.stderr) == (3, True)
    broken = placet(tmp_path, "log", "key", "--state", "one", "--url", "https://log.example x")
    assert broken.returncode == 2


def test_records_are_handed_in_and_proven(place: Place) -> None:
    request = place.world.request_run(argv=["/usr/bin/true"], executable=b"x")
    record = encode_answer(place.world.approve(request, ALICE))
    (place.folder / "answer.json").write_bytes(record)
    leaf = leaf_hash(leaf_of_record(record))
    first = place.call("append", "answer.json")
    assert (first.returncode, first.stdout.startswith("Logged: answer.json is leaf ")) == (0, True)
    assert leaf.hex() in first.stdout
    assert place.call("append", "answer.json").stdout.startswith("Was logged: answer.json is leaf ")
    proof = place.call("proof", leaf.hex()).stdout
    assert verify_proof(parse_proof(proof), leaf, place.policy).witness_times.keys() == {"w1", "w2"}
    missing = place.call("proof", "0" * 64)
    assert (missing.returncode, "unknown-leaf" in missing.stderr) == (1, True)
    (place.folder / "junk.json").write_bytes(b"{}")
    assert place.call("append", "junk.json").returncode == 1


def test_the_static_files_are_the_cosigned_log(place: Place) -> None:
    assert place.call("attach", str(place.approval(BOB))).returncode == 0
    wanted = verify_checkpoint(LogClient(place.url).fetch_checkpoint(), place.policy.logs[0].key)
    deadline = time.monotonic() + 20
    while True:
        path = place.tiles / "checkpoint"
        note = path.read_bytes() if path.exists() else b""
        if note and verify_checkpoint(note, place.policy.logs[0].key) == wanted:
            break
        assert time.monotonic() < deadline
        time.sleep(0.05)
    size = wanted.tree_size
    assert (place.tiles / f"tile/0/000.p/{size}").stat().st_size == 32 * size


def test_proofs_of_another_log_are_not_attached(place: Place, tmp_path: Path) -> None:
    path = place.approval(ALICE)
    before = path.read_bytes()
    other = World(seed=b"other", now=place.world.now)
    made = placet(tmp_path, "log", "init", "log.example/demo", "--state", "other")
    other.more_files["log-policy"] = f"{made.stdout.strip()} {place.url}\nquorum none\n".encode()
    (tmp_path / "snapshot.json").write_bytes(other.snapshot())
    found = placet(tmp_path, "log", "attach", str(path), "--trust", "snapshot.json")
    assert (found.returncode, "log-unknown" in found.stderr) == (1, True)
    assert path.read_bytes() == before


def test_a_log_that_was_copied_goes_on_when_its_operator_says_so(tmp_path: Path) -> None:
    assert placet(tmp_path, "log", "init", "log.example/a", "--state", "first").returncode == 0
    with serving("log", tmp_path / "first"):
        pass
    shutil.copytree(tmp_path / "first", tmp_path / "copy")
    for name in ("log.sqlite3-wal", "log.sqlite3-shm"):
        (tmp_path / "copy" / name).unlink(missing_ok=True)
    refused = placet(tmp_path, "log", "serve", "--state", "copy", "--port", "0")
    assert (refused.returncode, "placet log declare" in refused.stderr) == (3, True)
    unsure = placet(tmp_path, "log", "declare", "--state", "copy")
    assert (unsure.returncode, "fork" in unsure.stderr) == (2, True)
    said = placet(tmp_path, "log", "declare", "--state", "copy", "--nothing-later-was-signed")
    assert (said.returncode, "goes on from 0 leaves" in said.stdout) == (0, True), said.stderr
    with serving("log", tmp_path / "copy") as url:
        assert placet(tmp_path, "log", "show", "--log", url, "--key", _key(tmp_path / "copy")).returncode == 0
    assert placet(tmp_path, "log", "declare", "--state", "nowhere").returncode == 2


def _key(folder: Path) -> str:
    return str(parse_signer_key((folder / "log.key").read_text()).verifier_key)


def test_a_copy_elsewhere_holds_what_the_log_signed(place: Place, tmp_path: Path) -> None:
    assert place.call("attach", str(place.approval(ALICE))).returncode == 0
    first = place.call("tiles", str(tmp_path / "copy"))
    assert first.returncode == 0, first.stderr
    assert place.call("tiles", str(tmp_path / "copy")).stdout.endswith(", 0 of them new.\n")
    note = (tmp_path / "copy" / "checkpoint").read_bytes()
    assert verify_checkpoint(note, place.policy.logs[0].key).tree_size > 0


def test_callers_and_monitors_are_read_again_on_sighup(tmp_path: Path) -> None:
    def name(kind: str, token: str) -> None:
        digest = sha256_hex(token.encode())
        (tmp_path / f"{kind}s.toml").write_text(f'[[{kind}]]\nname = "one"\ntoken_sha256 = "{digest}"\n')

    def wait_for(path: str, token: str) -> None:
        deadline = time.monotonic() + 10
        while httpx.get(f"{url}/{path}", headers={"Authorization": f"Bearer {token}"}).status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    assert placet(tmp_path, "log", "init", "log.example/a", "--state", "log").returncode == 0
    name("caller", "c" * 32)
    name("monitor", "m" * 32)
    options = ["--require-caller"]
    for kind in ("caller", "monitor"):
        options += [f"--{kind}s", str(tmp_path / f"{kind}s.toml")]
    with running("log", tmp_path / "log", *options) as (url, process):
        assert httpx.get(f"{url}/checkpoint").status_code == 401
        wait_for("checkpoint", "c" * 32)
        wait_for("v1/records", "m" * 32)
        name("caller", "d" * 32)
        name("monitor", "n" * 32)
        process.send_signal(signal.SIGHUP)
        wait_for("checkpoint", "d" * 32)
        wait_for("v1/records", "n" * 32)

"""`placet log export`, `timestamp`, `verify-timestamp` and `opentimestamps`: what others keep of our logs."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from in_process import placet

from placet.cli import _parser
from placet.core.encoding import format_time
from placet.core.tlog.checkpoint import Checkpoint, sign_checkpoint
from placet.core.tlog.cosignature import cosign
from placet.core.tlog.note import COSIGNATURE_ED25519, ED25519, NoteSigner, encode_note, parse_note
from placet.testing.authenticator import SoftSk
from placet.testing.private_sigstore import PrivateSigstoreServer
from placet.testing.world import ALICE, BOB, CAROL, NOW, World

LOG = NoteSigner("log.example/one", ED25519, Ed25519PrivateKey.from_private_bytes(bytes(32)))
WITNESS = NoteSigner("witness.example", COSIGNATURE_ED25519, Ed25519PrivateKey.from_private_bytes(b"w" * 32))
OTHER = NoteSigner("other.example", ED25519, Ed25519PrivateKey.from_private_bytes(b"s" * 32))
NOTE = sign_checkpoint(Checkpoint(LOG.name, 7, b"r" * 32), LOG)
DOCUMENTED = Path(__file__).parents[2] / "docs" / "how-to-export-log-proofs.md"
ROOT = ("--trusted-root", "sigstore/trusted_root.json")
POLICY = ("--log-policy", "log-policy")


@pytest.fixture(scope="module")
def server() -> Iterator[PrivateSigstoreServer]:
    with PrivateSigstoreServer(b"log for others") as running:
        yield running


@pytest.fixture
def here(tmp_path: Path, server: PrivateSigstoreServer) -> Path:
    """A folder with an approval by three kinds of keys, a checkpoint, a log policy and a trusted root."""
    server.sigstore.write_files(tmp_path / "sigstore")
    world = World(seed=b"rekor")
    world.keys[BOB] = SoftSk("ecdsa", seed=b"bob")
    world.keys[CAROL] = SoftSk("ed25519", seed=b"carol")
    for name, people in (("two", (ALICE, BOB)), ("three", (ALICE, BOB, CAROL)), ("carol", (CAROL,))):
        (tmp_path / f"{name}.intent.json").write_bytes(world.bundle(world.request_deploy(), *people))
    (tmp_path / "checkpoint").write_bytes(NOTE)
    (tmp_path / "log-policy").write_text(f"log {LOG.verifier_key}\nquorum none\n")
    return tmp_path


def export(
    here: Path, server: PrivateSigstoreServer, bundle: str, *more: str
) -> subprocess.CompletedProcess[str]:
    return placet(
        here, "log", "export", "rekor", bundle, "--rekor", server.address, *ROOT, "-o", "out", *more
    )


def test_nothing_is_published_unless_that_is_said(here: Path, server: PrivateSigstoreServer) -> None:
    before = len(server.sigstore.rekor_v2.log.bodies)
    done = export(here, server, "two.intent.json")
    assert done.returncode == 2
    assert "public keys become public for good" in done.stderr
    assert "can be linked" in done.stderr
    assert "--publish-public-keys" in done.stderr
    assert len(server.sigstore.rekor_v2.log.bodies) == before
    assert not (here / "out").exists()


def test_each_signature_is_exported_and_checked(here: Path, server: PrivateSigstoreServer) -> None:
    done = export(here, server, "two.intent.json", "--publish-public-keys")
    assert done.returncode == 0, done.stderr
    assert "Logged 2 of 2 signatures" in done.stdout
    exports = sorted((here / "out").glob("*.sigstore.json"))
    assert len(exports) == 2
    assert len(list((here / "out").iterdir())) == 6
    for file in exports:
        asked = ("log", "export", "verify", str(file))
        held = placet(here, *asked, "two.intent.json", *ROOT)
        assert (held.returncode, held.stdout[:6]) == (0, "HOLDS:"), held.stderr
        as_json = placet(here, *asked, "two.intent.json", *ROOT, "--json")
        assert json.loads(as_json.stdout)["log"] == server.address
        # Another approval by the same people is another one.
        other = placet(here, *asked, "three.intent.json", *ROOT)
        assert other.returncode == 1
        assert "log-proof-invalid" in other.stderr


def test_a_stamped_export_says_by_when(here: Path, server: PrivateSigstoreServer) -> None:
    tsa = ("--tsa", f"{server.address}/api/v1/timestamp")
    done = export(here, server, "two.intent.json", "--publish-public-keys", "--json", *tsa)
    assert done.returncode == 0, done.stderr
    first = json.loads(done.stdout)["exported"][0]
    held = placet(here, "log", "export", "verify", first["file"], "two.intent.json", *ROOT)
    assert f"Signed    by {first['time']}" in held.stdout


def test_an_ed25519_signature_is_left_out_with_the_reason(here: Path, server: PrivateSigstoreServer) -> None:
    done = export(here, server, "three.intent.json", "--publish-public-keys", "--json")
    assert done.returncode == 1
    said = json.loads(done.stdout)
    assert len(said["exported"]) == 2
    assert [left["reason"] for left in said["left"]] == ["log-refused"]
    for_people = export(here, server, "three.intent.json", "--publish-public-keys")
    assert "left out" in for_people.stdout
    assert "ssh-keygen -t ecdsa-sk" in for_people.stdout
    alone = export(here, server, "carol.intent.json", "--publish-public-keys")
    assert alone.returncode == 1
    assert "Ed25519" in alone.stderr
    assert "log-refused" in alone.stderr


def test_what_was_logged_before_a_failure_is_written_and_told(
    here: Path, server: PrivateSigstoreServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    add, calls = server.sigstore.rekor_v2.add, []

    def fail_second(request: dict[str, object]) -> dict[str, object]:
        calls.append(1)
        if len(calls) == 2:
            raise ValueError("full")
        return add(request)

    monkeypatch.setattr(server.sigstore.rekor_v2, "add", fail_second)
    done = export(here, server, "two.intent.json", "--publish-public-keys")
    assert done.returncode == 1
    assert "1 of 2 were logged and written before that" in done.stderr
    assert len(list((here / "out").glob("*.sigstore.json"))) == 1


def test_wrong_files_are_named(here: Path, server: PrivateSigstoreServer) -> None:
    done = export(here, server, "checkpoint", "--publish-public-keys")
    assert "checkpoint" in done.stderr
    assert "not-json" in done.stderr
    done = export(here, server, "nowhere.intent.json", "--publish-public-keys")
    assert done.returncode == 2
    done = placet(here, "log", "export", "verify", "checkpoint", "two.intent.json", *ROOT, "--json")
    assert (done.returncode, json.loads(done.stdout)["reason"]) == (1, "not-json")


def test_a_checkpoint_is_stamped_and_every_copy_of_it_verifies(
    here: Path, server: PrivateSigstoreServer
) -> None:
    tsa = ("--tsa", f"{server.address}/api/v1/timestamp")
    done = placet(here, "log", "timestamp", "checkpoint", *tsa, *ROOT, *POLICY, "-o", "one.tsr")
    assert done.returncode == 0, done.stderr
    assert "log.example/one with 7 entries existed by" in done.stdout
    assert "signature: verified" in done.stdout
    assert (here / "one.checkpoint").read_bytes() == NOTE
    parsed = parse_note(NOTE)
    cosigned = parsed._replace(signatures=(*parsed.signatures, cosign(parsed.text, WITNESS, NOW)))
    (here / "cosigned").write_bytes(encode_note(cosigned))
    for copy in ("one.checkpoint", "cosigned"):
        held = placet(here, "log", "verify-timestamp", "one.tsr", copy, *ROOT, *POLICY)
        assert (held.returncode, held.stdout[:6]) == (0, "HOLDS:"), held.stderr
    said = json.loads(
        placet(here, "log", "verify-timestamp", "one.tsr", "cosigned", *ROOT, *POLICY, "--json").stdout
    )
    assert (said["verdict"], said["treeSize"], said["rootHash"]) == ("holds", "7", (b"r" * 32).hex())
    (here / "later").write_bytes(sign_checkpoint(Checkpoint(LOG.name, 8, b"s" * 32), LOG))
    other = placet(here, "log", "verify-timestamp", "one.tsr", "later", *ROOT, *POLICY)
    assert other.returncode == 1
    assert "log-proof-invalid" in other.stderr


@contextmanager
def web_server(folder: Path) -> Iterator[str]:
    """Any web server that shows a log's folder."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *words: Any) -> None:
            """Says nothing."""

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=httpd.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{httpd.server_port}"
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()


def test_the_newest_checkpoint_is_fetched_from_the_log(here: Path, server: PrivateSigstoreServer) -> None:
    tsa = ("--tsa", f"{server.address}/api/v1/timestamp")
    with web_server(here) as log:
        done = placet(here, "log", "timestamp", "--log", log, *tsa, *ROOT, *POLICY, "-o", "one.tsr", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["files"] == {"timestamp": "one.tsr", "checkpoint": "one.checkpoint"}
        done = placet(
            here, "log", "opentimestamps", "prepare", "--log", log, *POLICY, "-o", "stamped", "--json"
        )
        assert json.loads(done.stdout)["logSignature"] == "verified"
    assert (here / "one.checkpoint").read_bytes() == (here / "stamped").read_bytes() == NOTE


def test_an_approval_without_proofs_has_nothing_to_stamp(here: Path, server: PrivateSigstoreServer) -> None:
    tsa = ("--tsa", f"{server.address}/api/v1/timestamp")
    done = placet(here, "log", "timestamp", "two.intent.json", *tsa, *ROOT, *POLICY, "-o", "one.tsr")
    assert done.returncode == 1
    assert "placet log attach" in done.stderr


def test_a_timestamp_proves_nothing_of_a_log_whose_key_nobody_names(
    here: Path, server: PrivateSigstoreServer
) -> None:
    tsa = ("--tsa", f"{server.address}/api/v1/timestamp")
    done = placet(here, "log", "timestamp", "checkpoint", *tsa, *ROOT, "-o", "one.tsr")
    assert done.returncode == 0, done.stderr
    assert "not checked" in done.stdout
    undecided = placet(here, "log", "verify-timestamp", "one.tsr", "checkpoint", *ROOT)
    assert undecided.returncode == 3
    assert "trust-unavailable" in undecided.stderr
    (here / "log-policy").write_text(f"log {OTHER.verifier_key}\nquorum none\n")
    unknown = placet(here, "log", "verify-timestamp", "one.tsr", "checkpoint", *ROOT, *POLICY)
    assert unknown.returncode == 1
    assert "log-unknown" in unknown.stderr


def test_a_checkpoint_that_its_log_did_not_sign_is_not_stamped(
    here: Path, server: PrivateSigstoreServer
) -> None:
    (here / "checkpoint").write_bytes(NOTE.replace(b"\n7\n", b"\n8\n"))
    tsa = ("--tsa", f"{server.address}/api/v1/timestamp")
    done = placet(here, "log", "timestamp", "checkpoint", *tsa, *ROOT, *POLICY, "-o", "one.tsr")
    assert done.returncode == 1
    assert "signature-invalid" in done.stderr
    assert not (here / "one.tsr").exists()


def test_a_false_checkpoint_is_refused_whoever_names_the_log_s_key(
    here: Path, server: PrivateSigstoreServer
) -> None:
    world = World()
    world.more_files["log-policy"] = (here / "log-policy").read_bytes()
    (here / "snapshot.json").write_bytes(world.snapshot())
    forged = NOTE.replace(b"\n7\n", b"\n8\n")
    (here / "forged").write_bytes(forged)
    (here / "forged.ots").write_bytes(proof_of(forged)[0])
    tsa = ("--tsa", f"{server.address}/api/v1/timestamp", *ROOT, "-o", "one.tsr")
    for named in (POLICY, ("--trust", "snapshot.json")):
        for command in (
            ("timestamp", "forged", *tsa),
            ("opentimestamps", "prepare", "forged", "-o", "prepared"),
            ("opentimestamps", "check", "forged.ots", "forged"),
        ):
            done = placet(here, "log", *command, *named)
            assert done.returncode == 1
            assert "signature-invalid" in done.stderr
    # A policy that was named has to name the log.
    (here / "log-policy").write_text(f"log {OTHER.verifier_key}\nquorum none\n")
    done = placet(here, "log", "timestamp", "checkpoint", *tsa, *POLICY)
    assert done.returncode == 1
    assert "log-unknown" in done.stderr


def test_which_checkpoint_has_to_be_said(here: Path, server: PrivateSigstoreServer) -> None:
    tsa = ("--tsa", server.address)
    for which in ((), ("checkpoint", "--log", "http://127.0.0.1:9")):
        done = placet(here, "log", "timestamp", *which, *tsa, *ROOT, "-o", "one.tsr")
        assert done.returncode == 2
        assert "Which checkpoint?" in done.stderr
    done = placet(here, "log", "timestamp", "checkpoint", *tsa, *ROOT, "-o", "one.checkpoint")
    assert done.returncode == 2
    done = placet(here, "log", "timestamp", "--log", "http://127.0.0.1:9", *tsa, *ROOT, "-o", "one.tsr")
    assert done.returncode == 3
    assert "log-unavailable" in done.stderr


def proof_of(content: bytes, *, pending: bool = False) -> tuple[bytes, bytes]:
    """An OpenTimestamps proof of these bytes by a block whose Merkle root is the returned one."""
    from hashlib import sha256

    magic = bytes.fromhex("004f70656e54696d657374616d7073000050726f6f6600bf89e2e884e8929401")
    digest = sha256(content).digest()
    calendar = b"https://calendar.example"
    body = bytes([len(calendar)]) + calendar
    promised = bytes.fromhex("0083dfe30d2ef90c8e") + bytes([len(body)]) + body
    mined = b"\xf0\x04salt\x08" + bytes.fromhex("000588960d73d719010101")
    tree = promised if pending else b"\xff" + promised + mined
    return magic + b"\x08" + digest + tree, sha256(digest + b"salt").digest()


def test_a_proof_holds_once_its_block_is_compared(here: Path) -> None:
    done = placet(here, "log", "opentimestamps", "prepare", "checkpoint", *POLICY, "-o", "stamped")
    assert done.returncode == 0, done.stderr
    assert "ots stamp stamped" in done.stdout
    proof, root = proof_of((here / "stamped").read_bytes())
    (here / "stamped.ots").write_bytes(proof)
    check = ("log", "opentimestamps", "check", "stamped.ots", "checkpoint", *POLICY)
    undecided = placet(here, *check)
    assert undecided.returncode == 3
    assert "time-unproven" in undecided.stderr
    assert root[::-1].hex() in undecided.stderr
    assert "height 1" in undecided.stderr
    held = placet(here, *check, "--block-merkle-root", root[::-1].hex())
    assert (held.returncode, held.stdout[:6]) == (0, "HOLDS:"), held.stderr
    header = bytes(36) + root + NOW.to_bytes(4, "little") + bytes(8)
    (here / "header.bin").write_bytes(header)
    (here / "header.hex").write_text(f"{header.hex()}\n")
    for block in (header.hex(), "header.bin", "header.hex"):
        held = placet(here, *check, "--block-header", block, "--json")
        assert held.returncode == 0, held.stdout
        assert json.loads(held.stdout)["block"]["time"] == format_time(NOW)
    for_people = placet(here, *check, "--block-header", "header.bin")
    assert format_time(NOW) in for_people.stdout
    assert "Rests on the block" in for_people.stdout
    false = placet(here, *check, "--block-merkle-root", "ab" * 32)
    assert false.returncode == 1
    assert "log-proof-invalid" in false.stderr


def test_a_pending_proof_is_undecided_whatever_block_is_named(here: Path) -> None:
    proof, root = proof_of(NOTE, pending=True)
    (here / "stamped.ots").write_bytes(proof)
    check = ("log", "opentimestamps", "check", "stamped.ots", "checkpoint", *POLICY)
    for block in ((), ("--block-merkle-root", root.hex())):
        done = placet(here, *check, *block)
        assert done.returncode == 3
        assert "https://calendar.example" in done.stderr
        assert "ots upgrade" in done.stderr


def test_a_proof_of_another_checkpoint_is_refused(here: Path) -> None:
    (here / "stamped.ots").write_bytes(proof_of(NOTE + b"x")[0])
    done = placet(here, "log", "opentimestamps", "check", "stamped.ots", "checkpoint", *POLICY)
    assert done.returncode == 1
    assert "something else than this checkpoint" in done.stderr
    done = placet(here, "log", "opentimestamps", "check", "checkpoint", "checkpoint", *POLICY, "--json")
    assert (done.returncode, json.loads(done.stdout)["reason"]) == (1, "unsupported-type")


@pytest.mark.parametrize("block", [("--block-merkle-root", "abc"), ("--block-header", "nowhere")])
def test_what_is_no_block_is_refused(here: Path, block: tuple[str, str]) -> None:
    done = placet(here, "log", "opentimestamps", "check", "checkpoint", "checkpoint", *block)
    assert done.returncode == 2
    (here / "nowhere").write_bytes(b"\xff" * 79)
    done = placet(
        here, "log", "opentimestamps", "check", "checkpoint", "checkpoint", "--block-header", "nowhere"
    )
    assert done.returncode == 1


def test_help_says_what_is_published(here: Path) -> None:
    for command in (
        ("export",),
        ("export", "rekor"),
        ("timestamp",),
        ("verify-timestamp",),
        ("opentimestamps",),
    ):
        done = placet(here, "log", *command, "--help")
        assert done.returncode == 0
        assert "usage: placet log" in done.stdout
    shown = placet(here, "log", "--help").stdout
    assert all(word in shown for word in ("export", "verify-timestamp", "opentimestamps"))


def test_every_documented_command_is_one() -> None:
    text = DOCUMENTED.read_text().replace("\\\n", "")
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("placet ")]
    assert len(lines) >= 7
    for line in lines:
        words = shlex.split(re.sub(r'"\$\(.*\)"', "00", line), comments=True)[1:]
        parser, _ = _parser(words)
        assert callable(parser.parse_args(words).run)

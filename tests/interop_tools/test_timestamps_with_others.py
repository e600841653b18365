"""Times on our checkpoints by the stock `ots` client, with a calendar on loopback."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from other_tools import Answer, OtherTools

from placet.cli import main
from placet.core.tlog.checkpoint import Checkpoint, sign_checkpoint
from placet.core.tlog.note import ED25519, NoteSigner
from placet.documents.opentimestamps import parse_proof

LOG = NoteSigner("log.example/one", ED25519, Ed25519PrivateKey.from_private_bytes(bytes(32)))
PROOFS = Path(__file__).parents[1] / "documents" / "opentimestamps_proofs"
HEIGHT = b"\xb9\xb3\x3a"  # 956857


@contextmanager
def calendar() -> Iterator[str]:
    """A calendar: it promises at once, and has mined everything when it is asked again."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            here = f"http://127.0.0.1:{self.server.server_port}".encode()
            body = bytes([len(here)]) + here
            promise = bytes.fromhex("0083dfe30d2ef90c8e") + bytes([len(body)]) + body
            self._answer(b"\xf0\x04salt\x08" + promise)

        def do_GET(self) -> None:
            mined = bytes.fromhex("000588960d73d71901") + bytes([len(HEIGHT)]) + HEIGHT
            self._answer(b"\xf1\x05block\x08\x08" + mined)

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/vnd.opentimestamps.v1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ask_ots(tools: OtherTools, *arguments: str) -> Answer:
    path = tools.cache / "python"
    return tools.run(Path(sys.executable), path / "bin" / "ots", *arguments, PYTHONPATH=str(path))


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """A checkpoint's file as `placet log opentimestamps prepare` writes it."""
    (tmp_path / "checkpoint").write_bytes(sign_checkpoint(Checkpoint(LOG.name, 7, b"r" * 32), LOG))
    (tmp_path / "log-policy").write_text(f"log {LOG.verifier_key}\nquorum none\n")
    stamped = tmp_path / "stamped"
    assert main([*_ours("prepare", tmp_path / "checkpoint"), "-o", str(stamped)]) == 0
    return stamped


def _ours(command: str, *files: Path) -> list[str]:
    policy = str(files[-1].with_name("log-policy"))
    return ["log", "opentimestamps", command, *map(str, files), "--log-policy", policy]


def test_what_the_stock_client_stamps_and_upgrades_is_checked_here(
    tools: OtherTools, prepared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    proof = prepared.with_name("stamped.ots")
    with calendar() as url:
        done = ask_ots(tools, "stamp", "-c", url, "-m", "1", str(prepared))
        assert done.accepted, done.said
        assert main(_ours("check", proof, prepared)) == 3
        assert f"pending at {url}" in capsys.readouterr().err
        done = ask_ots(tools, "--whitelist", url, "upgrade", str(proof))
        assert "Success! Timestamp complete" in done.said
    (attestation,) = parse_proof(proof.read_bytes()).bitcoin
    assert attestation.height == 956857
    shown = ask_ots(tools, "info", str(proof))
    assert f"Bitcoin block merkle root {attestation.merkle_root}" in shown.said
    assert main([*_ours("check", proof, prepared), "--block-merkle-root", attestation.merkle_root]) == 0
    # The proof is about these bytes and no others.
    prepared.with_name("checkpoint").write_bytes(sign_checkpoint(Checkpoint(LOG.name, 8, b"r" * 32), LOG))
    assert main(_ours("check", proof, prepared.with_name("checkpoint"))) == 1


@pytest.mark.parametrize("name", ["hello-world", "four-calendars", "different-blockchains", "incomplete"])
def test_both_read_the_same_out_of_real_proofs(tools: OtherTools, name: str) -> None:
    file = PROOFS / f"{name}.ots"
    proof, shown = parse_proof(file.read_bytes()), ask_ots(tools, "info", str(file))
    assert shown.accepted, shown.said
    assert f"File sha256 hash: {proof.digest.hex()}" in shown.output
    assert shown.output.count("BitcoinBlockHeaderAttestation(") == len(proof.bitcoin)
    assert shown.output.count("PendingAttestation(") == len(proof.calendars)
    for found in proof.bitcoin:
        assert f"BitcoinBlockHeaderAttestation({found.height})" in shown.output
        assert f"# Bitcoin block merkle root {found.merkle_root}" in shown.output
    for address in proof.calendars:
        assert f"PendingAttestation('{address}')" in shown.output


@pytest.mark.parametrize("name", ["hello-world", "four-calendars"])
def test_whatever_the_stock_client_refuses_is_refused_here(
    tools: OtherTools, tmp_path: Path, name: str
) -> None:
    """Every proof cut short, and some altered: nothing is read here that the stock client does not read."""
    script = tmp_path / "refuse.py"
    script.write_text(_READ_ALL)
    data = (PROOFS / f"{name}.ots").read_bytes()
    cases = [data[:end] for end in range(0, len(data), 7)]
    cases += [data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :] for at in range(len(data))]
    path = tools.cache / "python"
    lines = "\n".join(case.hex() for case in cases)
    answer = tools.run(Path(sys.executable), script, stdin=lines, PYTHONPATH=str(path))
    assert answer.accepted, answer.said
    theirs = answer.output.split()
    assert len(theirs) == len(cases)
    for case, their_word in zip(cases, theirs, strict=True):
        try:
            ours = ",".join(found.merkle_root for found in parse_proof(case).bitcoin) or "none"
        except Exception:
            continue  # stricter here: one spelling, no steps of other block chains
        assert their_word == ours


_READ_ALL = """
import sys
from opentimestamps.core.notary import BitcoinBlockHeaderAttestation
from opentimestamps.core.serialize import BytesDeserializationContext
from opentimestamps.core.timestamp import DetachedTimestampFile
for line in sys.stdin.read().split("\\n"):
    try:
        proof = DetachedTimestampFile.deserialize(BytesDeserializationContext(bytes.fromhex(line)))
        found = {(a.height, m[::-1].hex()) for m, a in proof.timestamp.all_attestations()
                 if type(a) is BitcoinBlockHeaderAttestation and len(m) == 32}
        print(",".join(root for _, root in sorted(found)) or "none")
    except Exception:
        print("refused")
"""

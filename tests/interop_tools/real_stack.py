"""A real Rekor v2 and a real timestamp authority, beside the private Sigstore's issuer and Fulcio.

scripts/setup-real-stack builds both programs.  They run on loopback, on free ports, with keys made here.
"""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from other_tools import OtherTools
from signing_people import Workshop

from placet.testing.private_sigstore import PrivateSigstoreServer
from placet.testing.private_sigstore.keys import pem

_HOST = "127.0.0.1"
_PATIENCE = 20.0
_PKCS8 = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


class RealWorkshop(Workshop):
    """A workshop whose log and timestamps are real."""

    def __init__(
        self, server: PrivateSigstoreServer, tools: OtherTools, folder: Path, running: RunningStack
    ) -> None:
        super().__init__(server, tools, folder)
        self._running = running

    @property
    def rekor(self) -> str:
        """The real Rekor's address."""
        return self._running.rekor

    @property
    def tsa(self) -> str:
        """The real timestamp authority's address, whole."""
        return f"{self._running.tsa}/api/v1/timestamp"

    @cached_property
    def files(self) -> Path:
        """The folder with the trusted root and the signing config of the real parts."""
        folder = self.sigstore.write_files(self.folder / "sigstore")
        config = self._running.point_to(self.sigstore.client_trust_config(2))
        (folder / "trust_config_v2.json").write_text(json.dumps(config))
        (folder / "trusted_root.json").write_text(json.dumps(config["trustedRoot"]))
        (folder / "signing_config_v2.json").write_text(json.dumps(config["signingConfig"]))
        return folder


class RunningStack:
    """Where the two programs answer, and the log's key."""

    def __init__(self, programs: Path, server: PrivateSigstoreServer, folder: Path) -> None:
        self.rekor, self.tsa = f"http://{_HOST}:{_free_port()}", f"http://{_HOST}:{_free_port()}"
        self._key = ed25519.Ed25519PrivateKey.generate()
        self._files = folder
        self._programs = programs
        rekor_key = self._key.private_bytes(serialization.Encoding.PEM, *_PKCS8)
        (folder / "rekor.pem").write_bytes(rekor_key)
        tsa = server.sigstore.tsa
        (folder / "tsa.pem").write_bytes(tsa.key.private_bytes(serialization.Encoding.PEM, *_PKCS8))
        (folder / "tsa-chain.pem").write_text("".join(pem(link) for link in tsa.chain))

    def point_to(self, config: dict[str, Any]) -> dict[str, Any]:
        """Returns a client trust config that names the real log and timestamp authority."""
        form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        raw = self._key.public_key().public_bytes_raw()
        log = config["trustedRoot"]["tlogs"][0]
        log["baseUrl"] = self.rekor
        log["publicKey"]["rawBytes"] = base64.b64encode(self._key.public_key().public_bytes(*form)).decode()
        log["publicKey"]["keyDetails"] = "PKIX_ED25519"
        # C2SP's key ID: of the log's name, an algorithm number and the bare key.
        key_id = hashlib.sha256(_HOST.encode() + b"\n\x01" + raw).digest()
        log["logId"]["keyId"] = base64.b64encode(key_id).decode()
        config["trustedRoot"]["tlogs"] = [log]
        config["signingConfig"]["rekorTlogUrls"][0]["url"] = self.rekor
        config["signingConfig"]["tsaUrls"][0]["url"] = f"{self.tsa}/api/v1/timestamp"
        return config

    @contextmanager
    def running(self) -> Iterator[None]:
        """Runs both programs while the block lasts."""
        rekor = [
            *(str(self._programs / "rekor-server"), "serve", "--hostname", _HOST),
            *("--http-port", self.rekor.rpartition(":")[2], "--grpc-port", str(_free_port())),
            *("--http-metrics-port", str(_free_port()), "--signer-filepath", str(self._files / "rekor.pem")),
            *("--storage-dir", str(self._files / "log")),
            *("--checkpoint-interval", "100ms", "--batch-max-age", "20ms"),
        ]
        tsa = [
            *(str(self._programs / "timestamp-server"), "serve", "--host", _HOST),
            *("--port", self.tsa.rpartition(":")[2], "--timestamp-signer", "file"),
            *("--file-signer-key-path", str(self._files / "tsa.pem")),
            *("--certificate-chain-path", str(self._files / "tsa-chain.pem"), "--disable-ntp-monitoring"),
        ]
        with ExitStack() as stack:
            for command, url in ((rekor, self.rekor), (tsa, self.tsa)):
                stack.enter_context(_program(command, url, self._files))
            yield


@contextmanager
def _program(command: list[str], url: str, folder: Path) -> Iterator[None]:
    log = folder / f"{Path(command[0]).name}.log"
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            _wait_for(int(url.rpartition(":")[2]), process, log)
            yield
        finally:
            process.terminate()
            process.wait(timeout=_PATIENCE)


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex((_HOST, port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"{log.stem} did not start: {log.read_text()[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])

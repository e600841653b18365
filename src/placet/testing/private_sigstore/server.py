"""The private Sigstore over HTTP, on this machine's loopback and in a thread of its own."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, urlsplit

from placet.testing.private_sigstore.fulcio import Refused
from placet.testing.private_sigstore.keys import Curve, public_pem
from placet.testing.private_sigstore.people import SignInDesk
from placet.testing.private_sigstore.stack import PrivateSigstore

_JSON = "application/json"
_MAX_BODY = 8 * 1024 * 1024


class Answer(NamedTuple):
    """One answer: its status, body and headers."""

    status: int
    body: bytes
    content_type: str = _JSON
    location: str = ""
    etag: str = ""


class PrivateSigstoreServer:
    """Serves a `PrivateSigstore` while the `with` block runs.

    Attributes:
        sigstore: the private Sigstore, whose addresses lead here.
        people: who signs in at its issuer, in a browser or on another device.
    """

    def __init__(
        self,
        seed: bytes | None = None,
        *,
        port: int = 0,
        clock: Callable[[], float] = time.time,
        ca_curve: Curve = "P-256",
        intermediate: bool = False,
    ) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self.sigstore = PrivateSigstore(
            seed,
            clock=clock,
            base_url=f"http://127.0.0.1:{self._server.server_port}",
            ca_curve=ca_curve,
            intermediate=intermediate,
        )
        self.people = SignInDesk(self.sigstore)

    @property
    def address(self) -> str:
        """Where everything is: Fulcio, the logs, the timestamp authority and the issuer."""
        return self.sigstore.base_url

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer_get(self, path: str, query: dict[str, str]) -> Answer:
        """Answers one GET."""
        sigstore, rekor = self.sigstore, self.sigstore.rekor_v1
        if path == "/auth":
            return Answer(302, b"", location=self.people.authorize(query))
        if path == "/api/v1/log/publicKey":
            return Answer(200, public_pem(rekor.log.key), "application/x-pem-file")
        found: object = None
        if path.startswith("/api/v1/log/entries/"):
            found = rekor.find(entry_id=path.rpartition("/")[2])
        elif path == "/api/v1/log/entries":
            found = rekor.find(leaf_index=int(query.get("logIndex", "-1")))
        elif path == "/api/v1/log":
            found = rekor.info()
        elif path == "/.well-known/openid-configuration":
            found = self.people.discovery()
        elif path == "/keys":
            found = sigstore.issuers.jwks()
        return Answer(404, b'{"code":404,"message":"not found"}') if found is None else _as_json(200, found)

    def answer_post(self, path: str, body: bytes, authorization: str) -> Answer:
        """Answers one POST."""
        sigstore, rekor = self.sigstore, self.sigstore.rekor_v1
        if path == "/api/v1/timestamp":
            return Answer(201, sigstore.tsa.answer(body), "application/timestamp-reply")
        if path in ("/token", "/device"):
            form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
            status, said = self.people.answer(path, form)
            return _as_json(status, said)
        asked = json.loads(body)
        if path == "/api/v2/signingCert":  # 200 and not 201: sigstore-go takes nothing else
            return _as_json(200, sigstore.fulcio.answer(asked, authorization))
        if path == "/api/v1/log/entries":
            entry = rekor.add(asked)
            # Go clients find the entry in the body by the ETag alone; like Rekor's, it stands in no quotes.
            entry_id = next(iter(entry))
            return _as_json(201, entry)._replace(location=f"{path}/{entry_id}", etag=entry_id)
        if path == "/api/v2/log/entries":
            return _as_json(201, sigstore.rekor_v2.add(asked))
        if path == "/api/v1/log/entries/retrieve":
            wanted = [rekor.find(leaf_index=index) for index in asked.get("logIndexes") or ()]
            wanted += [rekor.find(entry_id=entry_id) for entry_id in asked.get("entryUUIDs") or ()]
            return _as_json(200, [entry for entry in wanted if entry is not None])
        if path == "/api/v1/index/retrieve":
            return _as_json(200, rekor.search(asked.get("hash", "")))
        return Answer(404, b'{"code":404,"message":"not found"}')


def _as_json(status: int, value: object) -> Answer:
    return Answer(status, json.dumps(value).encode())


def _handler(server: PrivateSigstoreServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Unbuffered, headers and body go in two packets, and the second waits 40 ms for the first's receipt.
        wbufsize = -1

        def do_GET(self) -> None:
            place = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(place.query).items()}
            self._answer(lambda: server.answer_get(place.path, query))

        def do_POST(self) -> None:
            body = self.rfile.read(min(int(self.headers.get("Content-Length", 0)), _MAX_BODY))
            authorization = self.headers.get("Authorization", "")
            self._answer(lambda: server.answer_post(self.path, body, authorization))

        def _answer(self, decide: Callable[[], Answer]) -> None:
            try:
                answer = decide()
            except (Refused, ValueError) as error:
                answer = _as_json(400, {"code": 3, "message": str(error)})
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(len(answer.body)))
            if answer.location:
                self.send_header("Location", answer.location)
            if answer.etag:
                self.send_header("ETag", answer.etag)
            self.end_headers()
            self.wfile.write(answer.body)
            self.wfile.flush()

        def log_message(self, *words: Any) -> None:
            """Says nothing."""

    return Handler

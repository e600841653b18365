"""A registry in memory that speaks OCI distribution 1.1, for tests; and the real one of Debian.

`SoftRegistry` knows referrers or does not, asks for logins in both ways, and lets a test answer in its
place: whatever `hostile` returns for a request is sent instead of an honest answer.

    with SoftRegistry() as registry:
        digest = registry.add_image("team/app")
        image = f"{registry.host}/team/app@{digest}"
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, urlsplit

from placet.testing._tools import locate_program

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_TOKEN = "token-of-the-soft-registry"


class Asked(NamedTuple):
    """One request, as the registry saw it."""

    method: str
    path: str
    query: dict[str, list[str]]
    authorization: str


class Told(NamedTuple):
    """One answer."""

    status: int
    headers: dict[str, str]
    body: bytes = b""


Hostile = Callable[[Asked], "Told | None"]


class SoftRegistry:
    """A registry on a free port of this machine.

    Args:
        referrers: whether it knows the referrers API.
        login: None, ``basic`` or ``token``: how it asks for the user ``user`` with the password ``secret``.
        hostile: may answer a request in its place.
        page: how many referrers it lists at once.
    """

    def __init__(
        self,
        *,
        referrers: bool = True,
        login: str | None = None,
        hostile: Hostile | None = None,
        page: int = 100,
    ) -> None:
        self.referrers, self.login, self.hostile, self.page = referrers, login, hostile, page
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.asked: list[Asked] = []
        self._uploads: dict[str, bytes] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.host = f"127.0.0.1:{self._server.server_port}"
        self.url = f"http://{self.host}"

    def __enter__(self) -> Self:
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add_blob(self, content: bytes) -> str:
        """Stores a blob; returns its digest."""
        digest = _digest(content)
        self.blobs[digest] = content
        return digest

    def add_manifest(self, repository: str, value: Any, *, tag: str = "", media_type: str = MANIFEST) -> str:
        """Stores a manifest; returns its digest."""
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        digest = _digest(content)
        for name in (digest, tag) if tag else (digest,):
            self.manifests[repository, name] = (media_type, content)
        return digest

    def add_image(self, repository: str, content: bytes = b"layer", *, tag: str = "") -> str:
        """Stores a small image; returns its digest."""
        return self.add_manifest(
            repository, image_manifest(self.add_blob(b"{}"), self.add_blob(content)), tag=tag
        )

    def answer(self, asked: Asked, body: bytes) -> Told:
        """Answers a request."""
        self.asked.append(asked)
        if self.hostile is not None and (told := self.hostile(asked)) is not None:
            return told
        if asked.path == "/token":
            good = asked.authorization == f"Basic {b64encode(b'user:secret').decode()}"
            return _json({"token": _TOKEN}) if good else Told(401, {})
        if self.login and asked.authorization != self._expected():
            return Told(401, {"WWW-Authenticate": self._challenge()})
        repository, _, rest = asked.path.removeprefix("/v2/").rpartition("/")
        for kind, serve in (
            ("/manifests", self._serve_manifest),
            ("/blobs/uploads", self._serve_upload),
            ("/blobs", self._serve_blob),
            ("/referrers", self._serve_referrers),
        ):
            if repository.endswith(kind):
                return serve(asked, repository.removesuffix(kind), rest, body)
        return Told(200, {}, b"{}") if asked.path == "/v2/" else Told(404, {})

    def _expected(self) -> str:
        return f"Bearer {_TOKEN}" if self.login == "token" else f"Basic {b64encode(b'user:secret').decode()}"

    def _challenge(self) -> str:
        if self.login == "basic":
            return 'Basic realm="soft"'
        return f'Bearer realm="{self.url}/token",service="soft",scope="repository:everything:delete"'

    def _serve_manifest(self, asked: Asked, repository: str, name: str, body: bytes) -> Told:
        if asked.method == "PUT":
            value = json.loads(body)
            digest = _digest(body)
            for key in (digest, name):
                self.manifests[repository, key] = (value.get("mediaType", MANIFEST), body)
            told = {"Docker-Content-Digest": digest, "Location": f"/v2/{repository}/manifests/{digest}"}
            if self.referrers and "subject" in value:
                told["OCI-Subject"] = value["subject"]["digest"]
            return Told(201, told)
        found = self.manifests.get((repository, name))
        if found is None:
            return Told(404, {})
        return Told(200, {"Content-Type": found[0], "Docker-Content-Digest": _digest(found[1])}, found[1])

    def _serve_blob(self, asked: Asked, repository: str, digest: str, body: bytes) -> Told:
        found = self.blobs.get(digest)
        return Told(404, {}) if found is None else Told(200, {"Docker-Content-Digest": digest}, found)

    def _serve_upload(self, asked: Asked, repository: str, name: str, body: bytes) -> Told:
        if asked.method == "POST":
            name = str(len(self._uploads) + 1)
            self._uploads[name] = b""
        self._uploads[name] = self._uploads.get(name, b"") + body
        if asked.method == "PUT":
            content, digest = self._uploads[name], asked.query["digest"][0]
            if _digest(content) != digest:
                return Told(400, {})
            self.blobs[digest] = content
            return Told(
                201, {"Location": f"/v2/{repository}/blobs/{digest}", "Docker-Content-Digest": digest}
            )
        return Told(202, {"Location": f"/v2/{repository}/blobs/uploads/{name}", "Range": "0-0"})

    def _serve_referrers(self, asked: Asked, repository: str, digest: str, body: bytes) -> Told:
        if not self.referrers:
            return Told(404, {})
        found = []
        for (where, name), (media_type, content) in sorted(self.manifests.items()):
            value = json.loads(content)
            if where == repository and ":" in name and value.get("subject", {}).get("digest") == digest:
                found.append(
                    {
                        "mediaType": media_type,
                        "digest": name,
                        "size": len(content),
                        "artifactType": value.get("artifactType", ""),
                        "annotations": value.get("annotations", {}),
                    }
                )
        start = int(asked.query.get("last", ["0"])[0])
        headers = {"Content-Type": INDEX}
        if start + self.page < len(found):
            headers["Link"] = f'</v2/{repository}/referrers/{digest}?last={start + self.page}>; rel="next"'
        page = found[start : start + self.page]
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": page}
        return Told(200, headers, json.dumps(index).encode())


def image_manifest(config: str, layer: str) -> Any:
    """Returns the manifest of an image with one layer."""
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer, "size": 5}],
    }


def _handler(registry: SoftRegistry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = urlsplit(self.path)
            authorization = self.headers.get("Authorization", "")
            asked = Asked(self.command, parts.path, parse_qs(parts.query), authorization)
            told = registry.answer(asked, body)
            self.send_response(told.status)
            for name, value in told.headers.items():
                self.send_header(name, value)
            if "Content-Length" not in told.headers:
                self.send_header("Content-Length", str(len(told.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(told.body)

        do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = _serve  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Nothing."""

    return Handler


def _json(value: Any) -> Told:
    return Told(200, {"Content-Type": "application/json"}, json.dumps(value).encode())


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@contextmanager
def debian_registry(folder: Path, *, htpasswd: str = "") -> Iterator[str]:
    """Runs Debian's docker-registry on a free port; yields its host.

    Args:
        folder: an empty folder for what it stores.
        htpasswd: bcrypt lines of users, or "" for anybody.

    Raises:
        ToolMissing: it is not installed.
    """
    program = locate_program("docker-registry", "docker-registry")
    lines = ["version: 0.1", f"storage: {{filesystem: {{rootdirectory: {folder}/data}}}}"]
    lines.append("http: {addr: '127.0.0.1:0', relativeurls: true}")
    if htpasswd:
        (folder / "users").write_text(htpasswd)
        lines.append(f"auth: {{htpasswd: {{realm: tests, path: {folder}/users}}}}")
    (folder / "config.yml").write_text("\n".join(lines) + "\n")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "serve", folder / "config.yml"], stdout=log, stderr=log)
    try:
        yield _listening(process, folder / "log")
    finally:
        process.terminate()
        process.wait(10)


def _listening(process: subprocess.Popen[bytes], log: Path) -> str:
    """Waits until the registry says where it listens."""
    for _ in range(400):
        found = re.search(r"listening on (127\.0\.0\.1:\d+)", log.read_text(errors="replace"))
        if found:
            return found[1]
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise RuntimeError(f"docker-registry did not start: {log.read_text(errors='replace')[-2000:]}")

"""What a server can do to whoever asks it: endless data, slow retrieval, half answers, nonsense."""

from __future__ import annotations

import http.server
import time
from collections.abc import Callable
from contextlib import suppress

import pytest
from trust_simulator import Gate, Simulator, TrustServer
from tuf.api.metadata import TargetFile  # type: ignore[attr-defined]

from placet.adapters.tuf import fetch as tuf_fetch
from placet.adapters.tuf.trust import ROOT, SNAPSHOT, TARGETS, TIMESTAMP
from placet.cli import main
from placet.core.errors import Reason

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]

# Of what a client waits in these tests; what it waits in earnest is five minutes.
PATIENCE = 0.4
# Longer than any wait here, and yet the tests' servers end.
LONG = 5.0

PATHS = {
    ROOT: "metadata/2.root.json",
    TIMESTAMP: "metadata/timestamp.json",
    SNAPSHOT: "metadata/2.snapshot.json",
    TARGETS: "metadata/2.targets.json",
}


def answer_with(server: TrustServer, client: Gate, path: str, answer: Answer) -> None:
    assert client.address is not None
    server.answers[client.address.removeprefix(server.origin) + "/" + path] = answer


def head(handler: http.server.BaseHTTPRequestHandler, **headers: str) -> None:
    handler.send_response(200)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()


def endless(handler: http.server.BaseHTTPRequestHandler) -> None:
    head(handler)
    until = time.monotonic() + LONG
    with suppress(OSError):
        while time.monotonic() < until:
            handler.wfile.write(b"x" * 65_536)


def drip(handler: http.server.BaseHTTPRequestHandler) -> None:
    """One byte now and then: never silent for long, and never done."""
    head(handler, Content_Length="1000000")
    until = time.monotonic() + LONG
    with suppress(OSError):
        while time.monotonic() < until:
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(PATIENCE / 10)


def drip_headers(handler: http.server.BaseHTTPRequestHandler) -> None:
    until = time.monotonic() + LONG
    with suppress(OSError):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while time.monotonic() < until:
            handler.wfile.write(b"x")
            handler.wfile.flush()
            time.sleep(PATIENCE / 10)


def silent(handler: http.server.BaseHTTPRequestHandler) -> None:
    time.sleep(PATIENCE * 2)


def broken_off(handler: http.server.BaseHTTPRequestHandler) -> None:
    head(handler, Content_Length="1000000")
    handler.wfile.write(b'{"signed"')


def false_gzip(handler: http.server.BaseHTTPRequestHandler) -> None:
    head(handler, Content_Encoding="gzip", Content_Length="4")
    handler.wfile.write(b"none")


def gzip_bomb(handler: http.server.BaseHTTPRequestHandler) -> None:
    import gzip

    data = gzip.compress(bytes(64 * 1024 * 1024))
    head(handler, Content_Encoding="gzip", Content_Length=str(len(data)))
    with suppress(OSError):
        handler.wfile.write(data)


def no_http(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")


def round_and_round(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.send_response(302)
    handler.send_header("Location", handler.path)
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def another_scheme(handler: http.server.BaseHTTPRequestHandler) -> None:
    handler.send_response(302)
    handler.send_header("Location", "file:///etc/passwd")
    handler.send_header("Content-Length", "0")
    handler.end_headers()


@pytest.mark.parametrize("role", PATHS)
def test_endless_data(repo: Simulator, http_client: Gate, server: TrustServer, role: str) -> None:
    http_client.refresh()
    repo.publish(TARGETS, SNAPSHOT, TIMESTAMP, ROOT)
    answer_with(server, http_client, PATHS[role], endless)
    started = time.process_time()
    error = http_client.refuses(Reason.TOO_LARGE, "larger than it may be")
    assert "disk" in error.hint
    assert time.process_time() - started < 2


def test_endless_target(repo: Simulator, http_client: Gate, server: TrustServer) -> None:
    http_client.refresh()
    repo.add_file("layouts/new", b"x" * 100)
    repo.publish(TARGETS, SNAPSHOT, TIMESTAMP)
    path = repo.file_path("layouts/new", b"x" * 100)
    answer_with(server, http_client, f"targets/{path}", endless)
    http_client.refuses(Reason.TOO_LARGE)


def test_endless_first_root(http_client: Gate, server: TrustServer) -> None:
    answer_with(server, http_client, "metadata/1.root.json", endless)
    http_client.refuses(Reason.TOO_LARGE)


def test_a_target_that_is_signed_and_too_large(repo: Simulator, http_client: Gate) -> None:
    """Somebody who may sign targets names a file that would fill the gate's disk: it is not asked for."""
    http_client.refresh()
    repo.top.targets["layouts/huge"] = TargetFile(10**12, {"sha256": "0" * 64}, "layouts/huge")
    repo.publish(TARGETS, SNAPSHOT, TIMESTAMP)
    repo.requests.clear()
    http_client.refuses(Reason.TOO_LARGE, "1000000000000 bytes")
    assert not any("huge" in path for path in repo.requests)


@pytest.mark.parametrize("answer", [drip, drip_headers, silent], ids=lambda a: a.__name__)
@pytest.mark.parametrize("path", ["metadata/timestamp.json", "metadata/2.targets.json"])
def test_slow_retrieval(
    repo: Simulator, http_client: Gate, server: TrustServer, answer: Answer, path: str
) -> None:
    """The deadline is for everything together; a byte now and then buys no more time."""
    http_client.refresh()
    repo.publish(TARGETS, SNAPSHOT, TIMESTAMP)
    answer_with(server, http_client, path, answer)
    started = time.monotonic()
    error = http_client.refuses(Reason.TRUST_UNAVAILABLE, "too slowly", max_seconds=PATIENCE)
    assert time.monotonic() - started < LONG - 1
    assert "Nothing was changed" in error.hint


def test_slow_retrieval_of_the_first_root(http_client: Gate, server: TrustServer) -> None:
    answer_with(server, http_client, "metadata/1.root.json", drip)
    http_client.refuses(Reason.TRUST_UNAVAILABLE, "too slowly", max_seconds=PATIENCE)


@pytest.mark.parametrize("path", ["metadata/timestamp.json", "metadata/2.targets.json"])
@pytest.mark.parametrize(
    "answer", [broken_off, false_gzip, no_http, round_and_round, another_scheme], ids=lambda a: a.__name__
)
def test_nonsense_is_a_named_refusal(
    repo: Simulator, http_client: Gate, server: TrustServer, answer: Answer, path: str
) -> None:
    http_client.refresh()
    repo.publish(TARGETS, SNAPSHOT, TIMESTAMP)
    answer_with(server, http_client, path, answer)
    http_client.refuses(Reason.TRUST_UNAVAILABLE)


def test_a_compressed_bomb(repo: Simulator, http_client: Gate, server: TrustServer) -> None:
    answer_with(server, http_client, "metadata/timestamp.json", gzip_bomb)
    http_client.refuses(Reason.TOO_LARGE)


@pytest.mark.parametrize("status", [400, 401, 403, 500, 503])
@pytest.mark.parametrize("path", PATHS.values())
def test_error_statuses(
    repo: Simulator, http_client: Gate, server: TrustServer, path: str, status: int
) -> None:
    """403 for a next root means that there is none, as with file stores that hide what is missing."""
    http_client.refresh()
    repo.publish(TARGETS, SNAPSHOT, TIMESTAMP)

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    answer_with(server, http_client, path, answer)
    if status == 403 and path == PATHS[ROOT]:
        assert http_client.refresh().changed
    else:
        http_client.refuses(Reason.TRUST_UNAVAILABLE, str(status))


def test_a_folder_that_goes_away_while_it_is_read(
    repo: Simulator, client: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.refresh()
    if client.address is not None:
        return

    def pulled_out(path: object) -> object:
        yield b'{"signed"'
        raise tuf_fetch.DownloadError("Input/output error")

    repo.publish(TIMESTAMP)
    monkeypatch.setattr(tuf_fetch, "_read_chunks", pulled_out)
    client.refuses(Reason.TRUST_UNAVAILABLE, "Input/output error")


def test_the_real_command(
    repo: Simulator, http_client: Gate, server: TrustServer, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["trust", "refresh", "--to", str(http_client.snapshot), "--from", http_client.source]
    assert main([*arguments, "--root-sha256", http_client.root_sha256]) == 0
    repo.publish(TIMESTAMP)
    answer_with(server, http_client, "metadata/timestamp.json", endless)
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert "[too-large]" in said
    assert "The earlier snapshot is unchanged" in said

"""A9 and its relatives: other sites, other names and other programs get nothing from the terminal's page."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from terminal_world import PageWorld, RunningTerminal, running, write_request

from placet.terminal.web import MAX_BODY_BYTES, SECURITY_HEADERS
from placet.testing.chromium import ChromiumSession


@pytest.fixture
def terminal(world: PageWorld, sockets: list[socket.socket], folder: Path) -> Iterator[RunningTerminal]:
    request = write_request(folder, "it", world.request_deploy())
    with running(world, sockets, folder, [request]) as terminal:
        yield terminal


@pytest.fixture
def http_client(world: PageWorld, terminal: RunningTerminal) -> Iterator[httpx.Client]:
    """Speaks to the port as any program on this machine can; begins with what our own page sends."""
    headers = {
        "Host": terminal.guard.host,
        "Sec-Fetch-Site": "same-origin",
        "Origin": terminal.guard.web_origin,
        "X-Placet-Token": terminal.guard.token,
    }
    with httpx.Client(base_url=f"http://127.0.0.1:{world.port}", headers=headers, trust_env=False) as client:
        yield client


def test_our_own_page_is_answered(http_client: httpx.Client) -> None:
    answer = http_client.get("/api/inbox")
    assert answer.status_code == 200
    assert len(answer.json()["requests"]) == 1


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "evil.example", "t2.demo.placet.localhost", "demo.placet.localhost", ""],
)
@pytest.mark.parametrize("path", ["/", "/desk.js", "/api/inbox"])
def test_rebound_name_is_refused(
    http_client: httpx.Client, terminal: RunningTerminal, world: PageWorld, host: str, path: str
) -> None:
    for name in (f"{host}:{world.port}", host):
        assert http_client.get(path, headers={"Host": name}).status_code == 403


@pytest.mark.parametrize(
    "changed",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://demo.placet.localhost:8470"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": ""},
        {"X-Placet-Token": ""},
        {"X-Placet-Token": "guess"},
        {"X-Placet-Token": "gr\u00fc\u00df"},
    ],
)
def test_call_that_our_page_did_not_make_is_refused(
    http_client: httpx.Client, changed: dict[str, str]
) -> None:
    encoded = {name: value.encode("latin-1") for name, value in changed.items()}
    for method, path in (("GET", "/api/inbox"), ("POST", "/api/later"), ("GET", "/api/history")):
        answer = http_client.request(method, path, headers=encoded, json={} if method == "POST" else None)
        assert answer.status_code == 403
        assert answer.json()["error"]["reason"] == "not-this-page"


@pytest.mark.parametrize("missing", ["Sec-Fetch-Site", "X-Placet-Token"])
def test_call_without_a_header_is_refused(http_client: httpx.Client, missing: str) -> None:
    del http_client.headers[missing]
    assert http_client.get("/api/inbox").status_code == 403


def test_post_without_origin_is_refused(http_client: httpx.Client) -> None:
    del http_client.headers["Origin"]
    assert http_client.get("/api/inbox").status_code == 200
    assert http_client.post("/api/later", json={"request": "x"}).status_code == 403


def test_other_sites_may_link_to_the_page_and_load_none_of_its_parts(http_client: httpx.Client) -> None:
    linked = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"}
    framed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "iframe"}
    script = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "script"}
    assert http_client.get("/", headers=linked).status_code == 200
    assert http_client.get("/", headers=framed).status_code == 403
    assert http_client.get("/desk.js", headers=script).status_code == 403


@pytest.mark.parametrize("path", ["/", "/desk.js", "/terminal.css", "/api/inbox", "/nowhere", "/api/nowhere"])
def test_every_answer_carries_the_security_headers_and_no_cookie(
    http_client: httpx.Client, path: str
) -> None:
    answer = http_client.get(path)
    for name, value in SECURITY_HEADERS.items():
        assert answer.headers[name] == value
    assert "set-cookie" not in answer.headers
    assert "server" not in answer.headers
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy


def test_refusal_carries_the_security_headers_too(http_client: httpx.Client) -> None:
    answer = http_client.get("/", headers={"Host": "evil.example"})
    assert answer.headers["content-security-policy"] == SECURITY_HEADERS["content-security-policy"]


def test_oversized_broken_and_foreign_bodies_are_refused(http_client: httpx.Client) -> None:
    path = "/api/views"
    large = http_client.post(path, json={"request": "x" * MAX_BODY_BYTES})
    assert large.json()["error"]["reason"] == "too-large"
    for content in (b"{", b"[]", b"null", b"[" * 100_000, b"\xff"):
        answer = http_client.post(path, content=content, headers={"Content-Type": "application/json"})
        assert answer.json()["error"]["reason"] == "bad-call"
    plain = http_client.post(path, content=b"{}", headers={"Content-Type": "text/plain"})
    assert plain.json()["error"]["reason"] == "bad-call"


def test_page_listens_on_loopback_only(sockets: list[socket.socket]) -> None:
    assert {s.getsockname()[0] for s in sockets} <= {"127.0.0.1", "::1"}


class EvilPage(http.server.BaseHTTPRequestHandler):
    """Another site's page in the same browser."""

    def do_GET(self) -> None:
        body = b"<!doctype html><title>evil</title><iframe id=f></iframe>"
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


ATTACK = """async ([origin, token]) => {
  const tried = {};
  const attempt = async (name, options) => {
    try { tried[name] = (await (await fetch(`${origin}/api/inbox`, options)).text()); }
    catch (error) { tried[name] = error.name; }
  };
  await attempt("fetch", {headers: {"X-Placet-Token": token}});
  await attempt("opaque", {mode: "no-cors"});
  const frame = document.getElementById("f");
  await new Promise((done) => { frame.onload = done; frame.src = origin; setTimeout(done, 2000); });
  try { tried.frame = frame.contentDocument === null ? "closed" : frame.contentDocument.title; }
  catch (error) { tried.frame = error.name; }
  return tried;
}"""


@pytest.mark.browser
@pytest.mark.parametrize("host", ["evil.localhost", "login.demo.placet.localhost"])
def test_sibling_origin_that_even_knows_the_token_reads_nothing(
    chromium: ChromiumSession, terminal: RunningTerminal, host: str
) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), EvilPage) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            chromium.page.goto(f"http://{host}:{server.server_port}/")
            tried = chromium.page.evaluate(ATTACK, [terminal.guard.web_origin, terminal.guard.token])
        finally:
            chromium.page.goto("about:blank")
            server.shutdown()
            thread.join()
    assert tried == {"fetch": "TypeError", "opaque": "TypeError", "frame": "closed"}

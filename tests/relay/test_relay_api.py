"""The API over real loopback HTTP: what it answers, and what it refuses."""

from __future__ import annotations

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from relay_process import RelayProcess, answering, make_answer, make_request, submission

from placet.adapters.serving.http import MAX_HEAD_BYTES
from placet.core.bundle import MAX_ANSWER_BYTES, MAX_REQUEST_BYTES, encode_answer, encode_request
from placet.core.encoding import sha256_hex
from placet.core.evidence.facts import Evidence
from placet.ports.request_store import MAX_ANSWERS

JSON = {"Content-Type": "application/json"}
NOBODY = "0" * 64


def refusal(response: httpx.Response) -> tuple[int, str]:
    error = response.json()["error"]
    assert set(error) == {"reason", "message", "hint"}
    assert error["message"].endswith((".", ")")), error
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["content-type"] == "application/json"
    return response.status_code, error["reason"]


def submit(http: httpx.Client, **options: Any) -> str:
    request = make_request(**options)
    assert http.post("/v1/requests", json=submission(request)).status_code == 201
    return request.id


def test_a_request_travels_to_the_terminal_and_the_answer_back(http: httpx.Client) -> None:
    request = make_request()
    sent = http.post("/v1/requests", json=submission(request))
    assert (sent.status_code, sent.json()) == (201, {"id": request.id, "state": "open"})
    answer = make_answer(request)
    back = http.post(f"/v1/requests/{request.id}/answers", json=answering(answer))
    assert back.status_code == 201
    found = http.get(f"/v1/requests/{request.id}")
    body = found.json()
    assert set(body) == {"id", "state", "request", "answers", "proofs", "submittedAt"}
    assert body["request"] == json.loads(encode_request(request))
    assert body["answers"] == [json.loads(encode_answer(answer))]
    assert found.headers["cache-control"] == "no-store"


def test_sending_the_same_twice_is_acknowledged_twice_and_kept_once(http: httpx.Client) -> None:
    request = make_request()
    answer = make_answer(request)
    path = f"/v1/requests/{request.id}/answers"
    assert [http.post("/v1/requests", json=submission(request)).status_code for _ in range(3)] == [
        201,
        200,
        200,
    ]
    assert [http.post(path, json=answering(answer)).status_code for _ in range(3)] == [201, 200, 200]
    assert len(http.get(f"/v1/requests/{request.id}").json()["answers"]) == 1


def test_any_spelling_of_the_body_is_the_same_request(http: httpx.Client) -> None:
    request = make_request()
    pretty = json.dumps(submission(request), indent=4, sort_keys=False)
    assert http.post("/v1/requests", content=pretty, headers=JSON).status_code == 201
    assert http.post("/v1/requests", json=submission(request)).status_code == 200


def test_nobody_takes_over_a_request_with_a_token_of_their_own(http: httpx.Client) -> None:
    request = make_request()
    http.post("/v1/requests", json=submission(request, "owner"))
    stolen = http.post("/v1/requests", json=submission(request, "thief"))
    assert refusal(stolen) == (409, "request-conflict")
    path = f"/v1/requests/{request.id}/withdraw"
    assert refusal(http.post(path, json={"token": "thief"})) == (403, "wrong-token")
    assert http.post(path, json={"token": "owner"}).json() == {"id": request.id, "state": "withdrawn"}


def test_withdrawing_closes_for_good_and_may_be_repeated(http: httpx.Client) -> None:
    request = make_request()
    answer = make_answer(request)
    http.post("/v1/requests", json=submission(request))
    http.post(f"/v1/requests/{request.id}/answers", json=answering(answer))
    for _ in range(2):
        assert http.post(f"/v1/requests/{request.id}/withdraw", json={"token": "secret"}).status_code == 200
    late = http.post(f"/v1/requests/{request.id}/answers", json=answering(make_answer(request)))
    assert refusal(late) == (409, "request-not-open")
    repeated = http.post(f"/v1/requests/{request.id}/answers", json=answering(answer))
    assert repeated.status_code == 200
    assert http.get(f"/v1/requests/{request.id}").json()["state"] == "withdrawn"
    again = http.post("/v1/requests", json=submission(request))
    assert (again.status_code, again.json()["state"]) == (200, "withdrawn")


def test_a_request_expires_by_its_own_statement(http: httpx.Client) -> None:
    request = make_request(lifetime=2)
    http.post("/v1/requests", json=submission(request))
    start = time.monotonic()
    # The wait ends by itself at expiry, long before its time-out.
    waited = http.get(f"/v1/requests/{request.id}/wait?answers=0&timeout=15").json()
    assert waited["state"] == "expired"
    assert time.monotonic() - start < 10
    late = http.post(f"/v1/requests/{request.id}/answers", json=answering(make_answer(request)))
    assert refusal(late) == (409, "request-not-open")


def test_a_request_that_expired_before_it_came_is_refused(http: httpx.Client) -> None:
    response = http.post("/v1/requests", json=submission(make_request(lifetime=-1)))
    assert refusal(response) == (409, "request-not-open")


def test_listings_by_state_and_page(http: httpx.Client) -> None:
    ids = [submit(http) for _ in range(5)]
    http.post(f"/v1/requests/{ids[1]}/withdraw", json={"token": "secret"})

    def read(state: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        query = {"state": state, "limit": "2"}
        while True:
            page = http.get("/v1/requests", params=query).json()
            assert set(page) == {"requests", "next"}
            assert len(page["requests"]) <= 2
            found += page["requests"]
            if page["next"] is None:
                return found
            query["after"] = page["next"]

    everything = [item["id"] for item in read("all")]
    assert [request_id for request_id in everything if request_id in ids] == ids
    assert len(everything) == len(set(everything))
    still_open = read("open")
    assert ids[1] not in [item["id"] for item in still_open]
    assert {item["state"] for item in still_open} == {"open"}
    assert set(still_open[0]) == {"id", "state", "submittedAt", "expiresAt", "answers"}
    assert ids[1] in [item["id"] for item in read("closed")]


def test_a_waiting_requester_gets_the_answer_at_once(http: httpx.Client) -> None:
    request = make_request()
    http.post("/v1/requests", json=submission(request))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(http.get, f"/v1/requests/{request.id}/wait?answers=0&timeout=30")
        time.sleep(0.3)
        assert not waiting.done()
        start = time.monotonic()
        http.post(f"/v1/requests/{request.id}/answers", json=answering(make_answer(request)))
        assert len(waiting.result(timeout=20).json()["answers"]) == 1
    assert time.monotonic() - start < 5


def test_a_waiting_requester_hears_of_a_withdrawal(http: httpx.Client) -> None:
    request = make_request()
    http.post("/v1/requests", json=submission(request))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(http.get, f"/v1/requests/{request.id}/wait?timeout=30")
        time.sleep(0.2)
        http.post(f"/v1/requests/{request.id}/withdraw", json={"token": "secret"})
        assert waiting.result(timeout=20).json()["state"] == "withdrawn"


def test_waiting_without_news_ends_with_what_there_is(http: httpx.Client) -> None:
    request = make_request()
    http.post("/v1/requests", json=submission(request))
    start = time.monotonic()
    body = http.get(f"/v1/requests/{request.id}/wait?answers=0&timeout=1").json()
    assert (body["state"], body["answers"]) == ("open", [])
    assert 0.9 < time.monotonic() - start < 10
    http.post(f"/v1/requests/{request.id}/answers", json=answering(make_answer(request)))
    assert len(http.get(f"/v1/requests/{request.id}/wait?answers=0&timeout=30").json()["answers"]) == 1


def test_an_inbox_follows_new_requests(http: httpx.Client) -> None:
    before = submit(http)
    position: str | None = None
    seen: list[str] = []
    while True:
        page = http.get(
            "/v1/wait", params={"timeout": "0", **({"after": position} if position else {})}
        ).json()
        position = page["next"]
        assert isinstance(position, str)
        if not page["requests"]:
            break
        seen += [item["id"] for item in page["requests"]]
    assert before in seen
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(http.get, "/v1/wait", params={"after": position, "timeout": "30"})
        time.sleep(0.2)
        assert not waiting.done()
        new = submit(http)
        assert [item["id"] for item in waiting.result(timeout=20).json()["requests"]] == [new]


def test_two_terminals_answer_one_request_at_the_same_time(http: httpx.Client) -> None:
    request = make_request()
    http.post("/v1/requests", json=submission(request))
    answers = [make_answer(request) for _ in range(8)]
    path = f"/v1/requests/{request.id}/answers"
    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda a: http.post(path, json=answering(a)).status_code, answers * 2))
    assert sorted(codes) == [200] * 8 + [201] * 8
    assert len(http.get(f"/v1/requests/{request.id}").json()["answers"]) == 8


def test_a_nuisance_cannot_fill_the_relay_with_answers(http: httpx.Client) -> None:
    request = make_request()
    http.post("/v1/requests", json=submission(request))
    path = f"/v1/requests/{request.id}/answers"
    for _ in range(MAX_ANSWERS):
        assert http.post(path, json=answering(make_answer(request))).status_code == 201
    assert refusal(http.post(path, json=answering(make_answer(request)))) == (409, "too-many-answers")


def test_a_denial_belongs_to_the_request_that_it_denies(http: httpx.Client) -> None:
    request, other = make_request(), make_request()
    http.post("/v1/requests", json=submission(request))
    http.post("/v1/requests", json=submission(other))
    denial = answering(make_answer(request, deny=True))
    assert http.post(f"/v1/requests/{request.id}/answers", json=denial).status_code == 201
    misplaced = http.post(f"/v1/requests/{other.id}/answers", json=denial)
    assert refusal(misplaced) == (400, "answer-for-another-request")


def test_an_approval_of_another_request_is_refused(http: httpx.Client) -> None:
    request, other = make_request(), make_request()
    http.post("/v1/requests", json=submission(request))
    response = http.post(f"/v1/requests/{request.id}/answers", json=answering(make_answer(other)))
    assert refusal(response) == (400, "answer-for-another-request")


def test_a_denial_cannot_be_submitted_as_a_request(http: httpx.Client) -> None:
    response = http.post("/v1/requests", json=submission(make_request(decision="deny")))
    assert refusal(response) == (400, "bad-value")


@pytest.mark.parametrize(
    ("method", "path", "status", "reason"),
    [
        ("GET", f"/v1/requests/{NOBODY}", 404, "unknown-request"),
        ("GET", "/v1/requests/nonsense", 404, "unknown-request"),
        ("GET", f"/v1/requests/{NOBODY}/wait?timeout=1", 404, "unknown-request"),
        ("GET", "/v1/nothing", 404, "unknown-path"),
        ("GET", "/v1/requests/", 404, "unknown-path"),
        ("GET", "/", 404, "unknown-path"),
        ("GET", "/v1/requests/%2e%2e%2fhealthz", 404, "unknown-path"),
        ("DELETE", f"/v1/requests/{NOBODY}", 405, "wrong-method"),
        ("PURGE", "/v1/requests", 405, "wrong-method"),
        ("OPTIONS", "/v1/requests", 405, "wrong-method"),
        ("POST", "/healthz", 405, "wrong-method"),
        ("GET", "/v1/requests?state=lost", 400, "bad-query"),
        ("GET", "/v1/requests?limit=0", 400, "bad-query"),
        ("GET", "/v1/requests?limit=101", 400, "bad-query"),
        ("GET", "/v1/requests?limit=-1", 400, "bad-query"),
        ("GET", "/v1/requests?limit=%D9%A3", 400, "bad-query"),
        ("GET", "/v1/requests?colour=red", 400, "bad-query"),
        ("GET", "/v1/requests?limit=1&limit=2", 400, "bad-query"),
        ("GET", "/v1/requests?after=" + "a" * 65, 400, "bad-query"),
        ("GET", "/v1/wait?timeout=61", 400, "bad-query"),
        ("GET", "/v1/wait?timeout=soon", 400, "bad-query"),
        ("GET", f"/v1/requests/{NOBODY}/wait?answers=33", 400, "bad-query"),
        ("GET", "/v1/requests?after=" + "a" * MAX_HEAD_BYTES, 431, "head-too-large"),
    ],
)
def test_what_does_not_exist_is_refused_in_json(
    http: httpx.Client, method: str, path: str, status: int, reason: str
) -> None:
    assert refusal(http.request(method, path)) == (status, reason)


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "multipart/form-data", ""],
)
def test_a_foreign_web_page_cannot_post(http: httpx.Client, kind: str) -> None:
    """Browsers send these types across sites without asking; JSON they do not."""
    body = json.dumps(submission(make_request()))
    response = http.post("/v1/requests", content=body, headers={"Content-Type": kind})
    assert refusal(response) == (415, "wrong-content-type")


def test_a_compressed_body_is_refused_unread(http: httpx.Client) -> None:
    response = http.post("/v1/requests", content=b"x", headers={**JSON, "Content-Encoding": "gzip"})
    assert refusal(response) == (415, "wrong-content-type")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not-json"),
        (b"{", "not-json"),
        (b"\xff\xfe", "not-utf8"),
        (b"[]", "wrong-type"),
        (b"{}", "missing-member"),
        (b'{"request":{},"request":{},"withdrawToken":{}}', "duplicate-member"),
        (b'{"request":1.5,"withdrawToken":{}}', "number-not-allowed"),
        (b'{"request":NaN,"withdrawToken":{}}', "number-not-allowed"),
        (b'{"request":{},"withdrawToken":{"sha256":"x"}}', "bad-digest"),
        (b'{"request":{},"withdrawToken":{"sha256":"%s"}}' % (b"0" * 64), "unsupported-type"),
        (
            b'{"request":{"mediaType":"\\ud800"},"withdrawToken":{"sha256":"%s"}}' % (b"0" * 64),
            "text-not-allowed",
        ),
        (b'{"request":{},"withdrawToken":{},"more":1}', "unknown-member"),
        (b"[" * 100_000, "too-deep"),
    ],
)
def test_garbage_is_named(http: httpx.Client, body: bytes, reason: str) -> None:
    assert refusal(http.post("/v1/requests", content=body, headers=JSON)) == (400, reason)


def test_a_request_whose_statement_is_garbage_is_refused(http: httpx.Client) -> None:
    body = submission(make_request()._replace(payload=b'{"_type":"recipe"}'))
    assert refusal(http.post("/v1/requests", json=body)) == (400, "missing-member")


def test_an_unlocked_surrogate_in_a_token_is_refused(http: httpx.Client) -> None:
    path = f"/v1/requests/{submit(http)}/withdraw"
    response = http.post(path, content=b'{"token":"\\ud800"}', headers=JSON)
    assert refusal(response) == (400, "text-not-allowed")


def evidence(size: int) -> tuple[Evidence, ...]:
    content = b"x" * size
    return (Evidence(sha256_hex(content), "text/plain", content),)


def test_the_largest_request_fits_and_a_larger_one_gets_a_sentence(http: httpx.Client) -> None:
    room = MAX_REQUEST_BYTES - len(encode_request(make_request(evidence=evidence(0))))
    fits = make_request(evidence=evidence(room * 3 // 4 - 8))
    assert http.post("/v1/requests", json=submission(fits)).status_code == 201
    found = http.get(f"/v1/requests/{fits.id}").json()
    assert found["request"] == json.loads(encode_request(fits))
    larger = http.post("/v1/requests", json=submission(make_request(evidence=evidence(room))))
    assert refusal(larger) == (413, "too-large")
    assert "bytes that are accepted" in larger.json()["error"]["message"]


def test_an_answer_too_large_is_refused(http: httpx.Client) -> None:
    path = f"/v1/requests/{submit(http)}/answers"
    response = http.post(path, content=b" " * (MAX_ANSWER_BYTES + 5000), headers=JSON)
    assert refusal(response) == (413, "too-large")


def test_a_body_of_undeclared_length_is_cut_off(http: httpx.Client) -> None:
    def pour() -> Any:
        for _ in range(400):
            yield b" " * 10_000

    try:
        response = http.post("/v1/requests", content=pour(), headers=JSON)
    except httpx.WriteError:
        return  # The relay hung up while we were pouring.
    assert refusal(response) == (413, "too-large")
    # It was cut off while it came, not measured once it was all in memory.
    assert "The body is larger than" in response.json()["error"]["message"]


def test_a_head_without_end_is_cut_off(relay: RelayProcess) -> None:
    with socket.create_connection(("127.0.0.1", relay.port), timeout=20) as line:
        line.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: ")
        with pytest.raises(ConnectionError):
            for _ in range(1000):
                line.sendall(b"a" * 10_000)
                time.sleep(0.001)


def test_what_is_not_http_is_refused_and_the_relay_goes_on(relay: RelayProcess, http: httpx.Client) -> None:
    with socket.create_connection(("127.0.0.1", relay.port), timeout=20) as line:
        line.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        assert line.recv(100).startswith(b"HTTP/1.1 400")
    assert http.get("/healthz").json() == {"status": "ok"}


def test_a_waiter_that_hangs_up_frees_its_place(http: httpx.Client) -> None:
    """600 waiters in a row would fill the 512 places if places were kept until the time-out."""
    request_id = submit(http)
    port = int(str(http.base_url.port))
    for _ in range(600):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
            line.sendall(
                f"GET /v1/requests/{request_id}/wait?timeout=60 HTTP/1.1\r\nHost: x\r\n\r\n".encode()
            )
    # The relay must have heard of all of them first, or there would still be places nobody had taken.
    time.sleep(0.5)
    deadline = time.monotonic() + 20
    while http.get(f"/v1/requests/{request_id}/wait?timeout=0").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_health_may_be_asked_with_head(http: httpx.Client) -> None:
    response = http.head("/healthz")
    assert (response.status_code, response.content) == (200, b"")

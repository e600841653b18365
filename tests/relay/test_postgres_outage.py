"""PostgreSQL goes away under a relay and comes back: what clients hear of it, and what its operator."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import httpx
from relay_process import make_request, running, submission

from placet.testing.postgres import PostgresServer


def test_an_outage_is_two_calm_lines_and_no_address_for_clients(mortal_postgres: PostgresServer) -> None:
    url = mortal_postgres.create_database()
    with (
        running(None, "--no-limits", "--store", url) as relay,
        httpx.Client(base_url=relay.url, timeout=60, trust_env=False) as http,
        ThreadPoolExecutor(6) as pool,
    ):
        assert http.post("/v1/requests", json=submission(make_request())).status_code == 201
        busy = [pool.submit(http.get, "/v1/wait?timeout=3") for _ in range(2)]
        mortal_postgres.kill()
        time.sleep(0.5)
        calls = [pool.submit(http.post, "/v1/requests", json=submission(make_request())) for _ in range(2)]
        calls += [pool.submit(http.get, path) for path in ("/healthz", "/v1/requests")]
        refused = [call.result() for call in calls]
        assert {response.status_code for response in refused} == {503}
        for response in refused:
            assert response.json()["error"]["reason"] == "store-busy"
            assert "postgresql" not in response.text and "placet_relay" not in response.text
            assert "connection" not in response.text and str(mortal_postgres.data) not in response.text
        for waiter in busy:
            waiter.result()
        mortal_postgres.start()
        deadline = time.monotonic() + 20
        while http.get("/healthz").status_code != 200 and time.monotonic() < deadline:
            time.sleep(0.2)
        assert http.post("/v1/requests", json=submission(make_request())).status_code == 201
        time.sleep(0.7)
        code, _, err = relay.stop()
    lines = err.splitlines()
    assert (code, len(lines)) == (0, 2), err
    assert "postgresql://" in lines[0] and "cannot be reached" in lines[0]
    assert "the relay's database is back" in lines[1]

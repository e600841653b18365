"""The API's document is exact: schemathesis finds nothing, and nothing in the code is missing from it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from relay_process import make_request, running, submission
from starlette.routing import Route

from placet.core import admission, bundle, decode, dsse, encoding, statement
from placet.core.encoding import b64encode
from placet.core.errors import Reason
from placet.ports.request_store import RequestStoreError
from placet.relay._openapi_schemas import SHAPE_REASONS, STATUS_TEXTS, reasons_of
from placet.relay.app import create_app
from placet.relay.errors import CALL_REASONS, STATUS
from placet.relay.openapi import document

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
# The same relay, which waits a thousandth of what it is asked to: its waits would fill the test's time.
HASTY = """
import sys, placet.cli
from placet.relay.courier import Courier
answers, requests = Courier.wait_for_answers, Courier.wait_for_requests
Courier.wait_for_answers = lambda self, i, seen, timeout, c: answers(self, i, seen, timeout / 1000, c)
Courier.wait_for_requests = lambda self, after, timeout, c: requests(self, after, timeout / 1000, c)
sys.exit(placet.cli.main())
"""
# Rates and quotas that a few dozen calls reach, so that their refusals are seen.
TIGHT = """
[address]
requests_per_minute = 30
answers_per_minute = 30
reads_per_minute = 120
open_requests = 5
answers_per_request = 2
[all]
open_requests = 8
"""


@pytest.mark.parametrize(
    ("callers", "effort"),
    [("", "--max-examples=20"), (TIGHT, "--phases=fuzzing --max-examples=25")],
    ids=["as it is", "held back"],
)
def test_schemathesis_finds_nothing(tmp_path: Path, callers: str, effort: str) -> None:
    request = make_request(lifetime=80_000)
    (tmp_path / "callers.toml").write_text(callers)
    limits = ["--callers", str(tmp_path / "callers.toml")] if callers else ["--no-limits"]
    command = [sys.executable, "-c", HASTY, "relay", "serve"]
    with running(tmp_path / "state", *limits, command=command) as relay:
        assert httpx.post(f"{relay.url}/v1/requests", json=submission(request), trust_env=False).is_success
        options = ["--checks=all", "--mode=all", "--seed=7", "--no-color", *effort.split()]
        done = subprocess.run(
            [str(SCHEMATHESIS), "run", f"{relay.url}/openapi.json", *options, "--generation-database=none"],
            cwd=tmp_path,
            env={
                **os.environ,
                "PLACET_TEST_PAYLOAD": b64encode(request.payload),
                "PYTHONPATH": str(HERE),
                "SCHEMATHESIS_HOOKS": "relay_api_hooks",
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    found = re.search(r"(\d+) generated", done.stdout)
    assert found is not None and int(found[1]) > 100


def test_every_route_and_method_stands_in_the_document() -> None:
    documented = {
        path: {method.upper() for method in item if method != "parameters"}
        for path, item in document()["paths"].items()
    }
    app = create_app(None)  # type: ignore[arg-type]
    assert {route.path for route in app.routes if isinstance(route, Route)} == set(documented)
    import asyncio

    async def main() -> None:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://relay") as http:
            for path, methods in documented.items():
                response = await http.request("PURGE", path.replace("{id}", "0" * 64))
                assert set(response.headers["allow"].split(", ")) == methods, path

    asyncio.run(main())


def test_every_status_and_reason_stands_in_the_document() -> None:
    assert set(STATUS_TEXTS) == {*STATUS.values(), 400}
    operations = [
        operation
        for item in document()["paths"].values()
        for method, operation in item.items()
        if method != "parameters"
    ]
    used = {int(status) for operation in operations for status in operation["responses"]}
    # A wrong method is no operation: it is told of for all of them.
    assert used == {*STATUS_TEXTS, 200, 201} - {405}
    assert "wrong-method" in document()["info"]["description"]
    for kind in RequestStoreError.__subclasses__():
        assert kind.reason in reasons_of(STATUS[kind.reason])
    rooms = (ROOT / "src/placet/relay", ROOT / "src/placet/adapters/serving")
    source = "".join(path.read_text() for room in rooms for path in room.glob("*.py"))
    own = set(re.findall(r'(?:RelayError|CallRefused)\(\s*"([a-z-]+)"', source))
    assert len(own) > 8
    assert own <= {*STATUS, *CALL_REASONS}


def test_every_reason_of_the_parsers_stands_in_the_document() -> None:
    modules = [admission, bundle, decode, dsse, encoding, statement]
    source = "".join(Path(str(module.__file__)).read_text() for module in modules)
    raised = {Reason[name] for name in re.findall(r"Reason\.([A-Z0-9_]+)", source)}
    # The relay parses no bundles.
    assert raised - {Reason.TOO_LARGE} == set(SHAPE_REASONS)


def test_every_example_keeps_to_its_schema() -> None:
    whole = document()
    seen = 0

    def check(value: Any) -> None:
        nonlocal seen
        if isinstance(value, list):
            for item in value:
                check(item)
        if not isinstance(value, dict):
            return
        if "example" in value:
            schema = {**value["schema"], "components": whole["components"]}
            jsonschema.validate(value["example"], schema, jsonschema.Draft202012Validator)
            seen += 1
        for member in value.values():
            check(member)

    check(whole["paths"])
    assert seen > 10


def test_the_reference_page_is_what_the_document_says() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts/make_relay_api.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr

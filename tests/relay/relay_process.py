"""A real relay: its own process, uvicorn, loopback HTTP; and requests and answers to send to it."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from placet.core.bundle import Answer, IntentRequest, encode_answer, encode_request
from placet.core.dsse import PAYLOAD_TYPE, Envelope, Signature
from placet.core.encoding import KeyId, encode_canonical, format_time, sha256_hex
from placet.core.evidence.facts import Evidence
from placet.core.statement import action_subject

START_SECONDS = 20.0
COMMAND = [sys.executable, "-m", "placet", "relay", "serve"]


class RelayProcess:
    """A relay that a test started, at `url`."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process = process
        self.url = url
        self.said = ""
        """What it printed, once it has ended."""

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def kill(self) -> None:
        """Ends the process as a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        out, err = self.process.communicate(timeout=START_SECONDS)
        self.said = out + err

    def stop(self) -> tuple[int, str, str]:
        """Ends the process politely; returns its exit code and what it printed since the start."""
        self.process.send_signal(signal.SIGTERM)
        out, err = self.process.communicate(timeout=START_SECONDS)
        return self.process.returncode, out, err


def start(state: Path | None, *arguments: str, command: Sequence[str] = COMMAND) -> RelayProcess:
    process = subprocess.Popen(
        [*command, "--port", "0", *(["--state", str(state)] if state else []), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.match(r"placet relay listens on (http://[^,]+),", line)
    if found is None:
        process.kill()
        _, err = process.communicate()
        raise AssertionError(f"the relay did not start: {line!r} {err}")
    return RelayProcess(process, found[1])


@contextmanager
def running(state: Path | None, *arguments: str, command: Sequence[str] = COMMAND) -> Iterator[RelayProcess]:
    relay = start(state, *arguments, command=command)
    try:
        yield relay
    finally:
        if relay.process.poll() is None:
            relay.kill()


def make_request(
    *,
    lifetime: int = 3600,
    evidence: tuple[Evidence, ...] = (),
    decision: str = "approve",
    now: int | None = None,
) -> IntentRequest:
    """Makes a request that is well-formed and never the same twice, issued five seconds before `now`."""
    issued = (int(time.time()) if now is None else now) - 5
    action = {
        "type": "https://placet.dev/actions/run/v1",
        "target": {"uri": "host:relay-test"},
        "parameters": {"command": "true"},
    }
    uuid = secrets.token_hex(16)
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [action_subject(action)],
        "predicateType": "https://placet.dev/intent/v1",
        "predicate": {
            "decision": decision,
            "action": action,
            "display": {
                "template": {"uri": "actions/run/v1.json", "digest": {"sha256": "0" * 64}},
                "lang": "en",
                "text": "Run true",
            },
            "request": {
                "id": f"{uuid[:8]}-{uuid[8:12]}-7{uuid[13:16]}-8{uuid[17:20]}-{uuid[20:]}",
                "nonce": "AAAAAAAAAAAAAAAAAAAAAA==",
                "requestedBy": "relay test",
                "issuedAt": format_time(issued),
                "notBefore": format_time(issued),
                "expiresAt": format_time(issued + 5 + lifetime),
                "maxUses": "1",
                "audience": "gate:test",
            },
            "policy": {"uri": "policy/test.toml", "digest": {"sha256": "0" * 64}},
            "evidence": [],
        },
    }
    return IntentRequest(encode_canonical(statement), evidence)


def make_answer(request: IntentRequest, *, deny: bool = False, size: int = 100) -> Answer:
    """Makes an answer that is well-formed and worthless: the relay cannot know, and must not."""
    payload = request.payload
    if deny:
        statement = json.loads(payload)
        statement["predicate"]["decision"] = "deny"
        statement["predicate"]["display"]["text"] = "Denied: Run true"
        payload = encode_canonical(statement)
    keyid = KeyId(sha256_hex(secrets.token_bytes(8)))
    envelope = Envelope(payload, PAYLOAD_TYPE, (Signature(keyid, secrets.token_bytes(size)),))
    report = Envelope(b"{}", PAYLOAD_TYPE, (Signature(keyid, b"report"),))
    return Answer(envelope, report)


def submission(request: IntentRequest, token: str = "secret") -> dict[str, Any]:
    return {
        "request": json.loads(encode_request(request)),
        "withdrawToken": {"sha256": sha256_hex(token.encode())},
    }


def answering(answer: Answer) -> dict[str, Any]:
    return {"answer": json.loads(encode_answer(answer))}

"""Verdicts of both kinds, signed by the gate's key and by Sigstore, before verifiers that know no placet."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from other_tools import VERIFIERS
from signing_people import Workshop
from verdict_people import GATE_SERVICE, KINDS, approved_verdict

from placet.adapters.verdict_key import VerdictKey

# gh reads no bundle of a bare key; sigstore-go's command, unlike its library, reads none without a timestamp.
BY_KEY = ["cosign", "sigstore-js"]
BY_SIGSTORE = ["cosign", "sigstore-go", "sigstore-js"]


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> tuple[VerdictKey, Path]:
    """A gate's verdict key, and its public half for others."""
    file = tmp_path_factory.mktemp("gate") / "verdict.pem"
    return VerdictKey.create(file), file.with_suffix(".pub")


def signed_by_key(workshop: Workshop, key: tuple[VerdictKey, Path], kind: str) -> dict[str, Any]:
    statement = approved_verdict(kind, workshop.artifact.read_bytes())
    bundle = workshop.write(key[0].sign(statement, as_bundle=True))
    return {
        "bundle": bundle,
        "predicate_type": KINDS[kind],
        "logged": False,
        "timestamped": False,
        "key": key[1],
    }


@pytest.mark.parametrize("tool", BY_KEY)
@pytest.mark.parametrize("kind", KINDS)
def test_verdict_by_the_gates_key_is_accepted(
    workshop: Workshop, key: tuple[VerdictKey, Path], tool: str, kind: str
) -> None:
    question = workshop.question(**signed_by_key(workshop, key, kind))
    answer = VERIFIERS[tool](workshop.tools, question)
    assert answer.accepted, answer.said


@pytest.mark.parametrize("tool", BY_KEY)
def test_verdict_by_another_key_is_refused(
    workshop: Workshop, key: tuple[VerdictKey, Path], tool: str, tmp_path: Path
) -> None:
    VerdictKey.create(tmp_path / "other.pem")
    question = workshop.question(**signed_by_key(workshop, key, "vsa") | {"key": tmp_path / "other.pub"})
    assert not VERIFIERS[tool](workshop.tools, question).accepted


@pytest.mark.parametrize("tool", BY_KEY)
def test_verdict_whose_levels_were_raised_is_refused(
    workshop: Workshop, key: tuple[VerdictKey, Path], tool: str
) -> None:
    asked = signed_by_key(workshop, key, "vsa")
    bundle = json.loads(asked["bundle"].read_text())
    payload = base64.b64decode(bundle["dsseEnvelope"]["payload"])
    raised = payload.replace(b"INTENT_LEVEL_1", b"INTENT_LEVEL_4")
    assert raised != payload
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(raised).decode()
    asked["bundle"] = workshop.write(json.dumps(bundle).encode())
    assert not VERIFIERS[tool](workshop.tools, workshop.question(**asked)).accepted


@pytest.mark.parametrize("tool", BY_KEY)
def test_verdict_about_another_artifact_is_refused(
    workshop: Workshop, key: tuple[VerdictKey, Path], tool: str, tmp_path: Path
) -> None:
    bundle = workshop.write(key[0].sign(approved_verdict("vsa", b"something else"), as_bundle=True))
    asked = signed_by_key(workshop, key, "vsa") | {"bundle": bundle}
    assert not VERIFIERS[tool](workshop.tools, workshop.question(**asked)).accepted


@pytest.mark.parametrize("tool", BY_SIGSTORE)
@pytest.mark.parametrize("kind", KINDS)
def test_verdict_by_sigstore_is_accepted(workshop: Workshop, tool: str, kind: str) -> None:
    """The gate signs with an identity of its own: a certificate, both kinds of time, a log entry."""
    statement = approved_verdict(kind, workshop.artifact.read_bytes())
    bundle = workshop.write(workshop.sigstore.sign_statement(GATE_SERVICE, statement))
    question = workshop.question(
        bundle,
        predicate_type=KINDS[kind],
        identity=GATE_SERVICE,
        issuer=workshop.server.address,
    )
    answer = VERIFIERS[tool](workshop.tools, question)
    assert answer.accepted, answer.said

"""Bundles that others made: each tool says yes to them, and no to the same bundle bent.

This holds the questions that the rest of the tier asks: a tool that says yes to everything would show here.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from other_tools import VERIFIERS as OTHERS
from other_tools import OtherTools, Question
from our_verifier import ask_placet

VERIFIERS = OTHERS | {"placet": ask_placet}
GITHUB = "https://token.actions.githubusercontent.com"
NPM = {
    "artifact": "sigstore-js-2.1.0.tgz",
    "identity": "https://github.com/sigstore/sigstore-js/.github/workflows/release.yml@refs/heads/main",
    "issuer": GITHUB,
    "source_repository": "sigstore/sigstore-js",
    "digest": "sha512",
}
REAL: dict[str, dict[str, Any]] = {
    "npm provenance, bundle v0.3, logged as intoto 0.0.2": {"bundle": "sigstore-js-2.1.0-bundle.json", **NPM},
    "npm provenance, bundle v0.1": {"bundle": "sigstore-js-2.1.0-bundle-v0.1.json", **NPM},
    "provenance of a reusable workflow, logged as dsse": {
        "bundle": "reusable-workflow-attestation.sigstore.json",
        "artifact": "reusable-workflow-artifact",
        "identity": "https://github.com/github/artifact-attestations-workflows/.github/workflows/attest.yml"
        "@09b495c3f12c7881b3cc17209a327792065c1a1d",
        "issuer": GITHUB,
        "source_repository": "malancas/attest-demo",
    },
    "an issuer of one's own": {
        "bundle": "custom-issuer.sigstore.json",
        "artifact": "custom-issuer-artifact",
        "identity": "https://github.com/too-legit/attest/.github/workflows/integration.yml@refs/heads/main",
        "issuer": f"{GITHUB}/hammer-time",
        "source_repository": "too-legit/attest",
    },
    "GitHub's own instance, which has no log": {
        "bundle": "github_provenance_demo-0.0.12-py3-none-any-bundle.jsonl",
        "artifact": "github_provenance_demo-0.0.12-py3-none-any.whl",
        "identity": "https://github.com/actions/attest-demo/.github/workflows/build-python.yml@refs/heads/main",
        "issuer": GITHUB,
        "source_repository": "actions/attest-demo",
        "logged": False,
    },
}
# What a tool does not read although the bundle holds, and its word for it.
UNREAD = {("gh", "npm provenance, bundle v0.1"): "unsupported bundle version"}
CASES = [pytest.param(tool, name, id=f"{tool}: {name}") for tool in VERIFIERS for name in REAL]


def question(test_data: Path, name: str) -> Question:
    known = dict(REAL[name])
    root = "trusted_root_public_good.json" if known.get("logged", True) else "github/trusted_root_github.json"
    files = {part: test_data / "github" / known.pop(part) for part in ("bundle", "artifact")}
    return Question(**files, **known, trusted_root=test_data / root)


def bend(asked: Question, folder: Path, change: Callable[[dict[str, Any]], None]) -> Question:
    bundle = json.loads(asked.bundle.read_text())
    change(bundle)
    bent = folder / "bent.json"
    bent.write_text(json.dumps(bundle))
    return dataclasses.replace(asked, bundle=bent)


def other_payload(bundle: dict[str, Any]) -> None:
    envelope = bundle["dsseEnvelope"]
    envelope["payload"] = base64.b64encode(base64.b64decode(envelope["payload"]) + b" ").decode()


@pytest.mark.parametrize(("tool", "name"), CASES)
def test_real_bundle_is_accepted(tools: OtherTools, test_data: Path, tool: str, name: str) -> None:
    answer = VERIFIERS[tool](tools, question(test_data, name))
    if (tool, name) in UNREAD:
        assert not answer.accepted and UNREAD[tool, name] in answer.said
    else:
        assert answer.accepted, answer.said


@pytest.mark.parametrize(("tool", "name"), CASES)
def test_changed_payload_is_refused(
    tools: OtherTools, test_data: Path, tool: str, name: str, tmp_path: Path
) -> None:
    answer = VERIFIERS[tool](tools, bend(question(test_data, name), tmp_path, other_payload))
    assert not answer.accepted


@pytest.mark.parametrize(("tool", "name"), CASES)
def test_other_signer_is_refused(tools: OtherTools, test_data: Path, tool: str, name: str) -> None:
    asked = dataclasses.replace(question(test_data, name), identity="https://github.com/someone/else")
    assert not VERIFIERS[tool](tools, asked).accepted


@pytest.mark.parametrize(("tool", "name"), CASES)
def test_other_artifact_is_refused(
    tools: OtherTools, test_data: Path, tool: str, name: str, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"something else")
    asked = dataclasses.replace(question(test_data, name), artifact=other)
    assert not VERIFIERS[tool](tools, asked).accepted

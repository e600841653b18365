"""Sigstore's conformance suite before the verifiers of others and before ours: nobody says yes alone.

tests/adapters/sigstore holds ours against what the suite expects.  Here the others say whether they read the
suite as we do.
"""

from __future__ import annotations

import base64
import binascii
import json
from pathlib import Path

import pytest
from other_tools import VERIFIERS as OTHERS
from other_tools import OtherTools, Question
from our_verifier import ask_placet

VERIFIERS = {name: ask for name, ask in OTHERS.items() if name != "gh"} | {"placet": ask_placet}
SIGNER = (
    "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/"
    ".github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main"
)
ISSUER = "https://token.actions.githubusercontent.com"
# Where a tool differs from the suite: for sigstore-js a log without a start of its validity is always valid.
DIFFERENT = {("sigstore-js", "trust-root-tlog-missing-validity-start_fail")}


def predicate_type(bundle: Path) -> str:
    """Returns the type of what was signed: "" for a bare signature, or where nothing can be read."""
    try:
        payload = json.loads(bundle.read_text())["dsseEnvelope"]["payload"]
        return str(json.loads(base64.b64decode(payload))["predicateType"])
    except (KeyError, ValueError, binascii.Error):
        return ""


def question(case: Path, data: Path) -> Question:
    def said(name: str, otherwise: str) -> str:
        file = case / name
        return file.read_text().strip() if file.exists() else otherwise

    key = case / "key.pub" if (case / "key.pub").exists() else None
    root, artifact = case / "trusted_root.json", case / "artifact"
    return Question(
        bundle=case / "bundle.sigstore.json",
        artifact=artifact if artifact.exists() else data / "sigstore-conformance" / "a.txt",
        trusted_root=root if root.exists() else data / "trusted_root_public_good.json",
        identity="" if key else said("identity", SIGNER),
        issuer="" if key else said("issuer", ISSUER),
        predicate_type=predicate_type(case / "bundle.sigstore.json"),
        key=key,
    )


@pytest.mark.parametrize("tool", VERIFIERS)
def test_every_case_comes_out_as_the_suite_expects(tools: OtherTools, test_data: Path, tool: str) -> None:
    suite = test_data / "sigstore-conformance" / "bundle-verify"
    cases = sorted(path for path in suite.iterdir() if path.is_dir())
    assert len(cases) == 70
    different = set()
    for case in cases:
        answer = VERIFIERS[tool](tools, question(case, test_data))
        if answer.accepted == case.name.endswith("_fail"):
            different.add((tool, case.name))
    assert different == {pair for pair in DIFFERENT if pair[0] == tool}

"""Everyone signs with the private Sigstore, and everyone verifies: each maker with each verifier.

That others accept what it makes is what makes it a stand-in for Sigstore in all other tests.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from other_tools import VERIFIERS as OTHERS
from other_tools import Answer, OtherTools, Question
from our_verifier import ask_placet
from signing_people import JOB, MAKERS, Workshop
from sigstore.models import Bundle, TrustedRoot
from sigstore.verify import Verifier, policy

from placet.testing.private_sigstore import Shape

VERIFIERS = OTHERS | {"placet": ask_placet}


@pytest.fixture(scope="module")
def bundles(workshop: Workshop) -> dict[str, Path]:
    """Each maker's bundle, made once."""
    return {name: make(workshop) for name, make in MAKERS.items()}


def ask(tools: OtherTools, tool: str, question: Question) -> Answer:
    return VERIFIERS[tool](tools, question)


@pytest.mark.parametrize("tool", VERIFIERS)
@pytest.mark.parametrize("maker", MAKERS)
def test_each_accepts_what_each_makes(
    workshop: Workshop, bundles: dict[str, Path], tool: str, maker: str
) -> None:
    answer = ask(workshop.tools, tool, workshop.question(bundles[maker]))
    assert answer.accepted, answer.said


@pytest.mark.parametrize("tool", VERIFIERS)
def test_each_accepts_what_githubs_instance_makes(workshop: Workshop, tool: str) -> None:
    bundle = workshop.write(
        workshop.sigstore.sign_statement(JOB, workshop.statement(), Shape(rekor="none", sct=False))
    )
    root = workshop.write(json.dumps(workshop.sigstore.trusted_root(like_github=True)).encode())
    answer = ask(workshop.tools, tool, workshop.question(bundle, trusted_root=root, logged=False))
    assert answer.accepted, answer.said


@pytest.mark.parametrize("tool", VERIFIERS)
@pytest.mark.parametrize("maker", ["cosign, Rekor v1", "cosign, Rekor v2"])
def test_each_refuses_another_signer(
    workshop: Workshop, bundles: dict[str, Path], tool: str, maker: str
) -> None:
    question = dataclasses.replace(
        workshop.question(bundles[maker]), identity="https://github.com/someone/else"
    )
    assert not ask(workshop.tools, tool, question).accepted


@pytest.mark.parametrize("tool", VERIFIERS)
@pytest.mark.parametrize("maker", ["cosign, Rekor v1", "cosign, Rekor v2"])
def test_each_refuses_a_bundle_that_is_in_no_log(
    workshop: Workshop, bundles: dict[str, Path], tool: str, maker: str
) -> None:
    bundle = json.loads(bundles[maker].read_text())
    bundle["verificationMaterial"]["tlogEntries"] = []
    question = workshop.question(workshop.write(json.dumps(bundle).encode()))
    assert not ask(workshop.tools, tool, question).accepted


@pytest.mark.parametrize("tool", [name for name in VERIFIERS if name != "gh"])
@pytest.mark.parametrize("rekor", [1, 2])
@pytest.mark.parametrize("verb", ["attest-blob", "sign-blob"])
def test_each_accepts_what_cosign_signs_with_a_key(
    workshop: Workshop, tool: str, rekor: int, verb: str
) -> None:
    bundle = workshop.sign_with_cosign(verb, rekor, key=True)
    question = workshop.question(
        bundle,
        key=workshop.cosign_key.with_suffix(".pub"),
        **({"predicate_type": ""} if verb == "sign-blob" else {}),
    )
    answer = ask(workshop.tools, tool, question)
    assert answer.accepted, answer.said


@pytest.mark.parametrize("tool", [name for name in VERIFIERS if name != "gh"])
@pytest.mark.parametrize("rekor", [1, 2])
def test_each_accepts_what_cosign_signs_without_a_statement(
    workshop: Workshop, tool: str, rekor: int
) -> None:
    bundle = workshop.sign_with_cosign("sign-blob", rekor, key=False)
    answer = ask(workshop.tools, tool, workshop.question(bundle, predicate_type=""))
    assert answer.accepted, answer.said


@pytest.mark.parametrize("maker", [name for name in MAKERS if "intoto" not in name])
def test_sigstore_python_accepts_what_each_makes(
    workshop: Workshop, bundles: dict[str, Path], maker: str
) -> None:
    question = workshop.question(bundles[maker])
    verifier = Verifier(trusted_root=TrustedRoot.from_file(str(question.trusted_root)))
    signer = policy.Identity(identity=question.identity, issuer=question.issuer)
    _, payload = verifier.verify_dsse(Bundle.from_json(question.bundle.read_bytes()), signer)
    assert json.loads(payload)["predicateType"] == question.predicate_type


def test_rekor_cli_reads_and_verifies_an_entry(workshop: Workshop, bundles: dict[str, Path]) -> None:
    """The entry in the bundle is the one that the log answers with, and the log proves it."""
    bundle = json.loads(bundles["cosign, Rekor v1"].read_text())
    index = bundle["verificationMaterial"]["tlogEntries"][0]["logIndex"]
    server = ("--rekor_server", workshop.server.address, "--store_tree_state=false")
    got = workshop.tools.rekor_cli("get", *server, "--format", "json", "--log-index", index)
    assert got.accepted, got.said
    assert str(json.loads(got.output)["LogIndex"]) == index
    signature = bundle["dsseEnvelope"]["signatures"][0]["sig"]
    assert json.loads(got.output)["Body"]["DSSEObj"]["signatures"][0]["signature"] == signature
    verified = workshop.tools.rekor_cli("verify", *server, "--format", "json", "--log-index", index)
    assert verified.accepted, verified.said
    head = workshop.tools.rekor_cli("loginfo", *server)
    assert "Verification Successful!" in head.said


def test_rekor_cli_refuses_a_proof_that_leads_to_another_root(
    workshop: Workshop, bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    find = workshop.sigstore.rekor_v1.find

    def lie(**asked: Any) -> dict[str, Any] | None:
        found = find(**asked)
        for entry in (found or {}).values():
            entry["verification"]["inclusionProof"]["hashes"][0] = "0" * 64
        return found

    monkeypatch.setattr(workshop.sigstore.rekor_v1, "find", lie)
    asked = ("--rekor_server", workshop.server.address, "--store_tree_state=false", "--log-index", "1")
    answer = workshop.tools.rekor_cli("verify", *asked)
    assert not answer.accepted
    assert "root" in answer.said

"""What `placet sign` signs after an approval: verifiers that know no placet take signature and reference."""

from __future__ import annotations

from pathlib import Path

import pytest
from other_tools import VERIFIERS as OTHERS
from other_tools import Question
from our_signer import SERVICE, Signed, sign_with_placet
from our_verifier import ask_placet
from signing_people import PREDICATE, SLSA_V1, Workshop

from placet.documents.signing import REFERENCE_TYPE

# gh asks every certificate for a source repository, which a signing service does not have.
VERIFIERS = {name: ask for name, ask in OTHERS.items() if name != "gh"} | {"placet": ask_placet}


@pytest.fixture(scope="module")
def statement_signed(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Signed:
    """Provenance that was signed after people approved these very bytes."""
    return sign_with_placet(workshop, tmp_path_factory.mktemp("statement"), PREDICATE)


@pytest.fixture(scope="module")
def artifact_signed(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Signed:
    """The artifact, signed after people approved that."""
    return sign_with_placet(workshop, tmp_path_factory.mktemp("artifact"), None)


def question(workshop: Workshop, bundle: Path, predicate_type: str) -> Question:
    return workshop.question(
        bundle, identity=SERVICE, issuer=workshop.server.address, predicate_type=predicate_type
    )


@pytest.mark.parametrize("tool", VERIFIERS)
def test_signed_statement_is_accepted(workshop: Workshop, statement_signed: Signed, tool: str) -> None:
    answer = VERIFIERS[tool](workshop.tools, question(workshop, statement_signed.signature, SLSA_V1))
    assert answer.accepted, answer.said


@pytest.mark.parametrize("tool", VERIFIERS)
def test_signed_artifact_is_accepted(workshop: Workshop, artifact_signed: Signed, tool: str) -> None:
    answer = VERIFIERS[tool](workshop.tools, question(workshop, artifact_signed.signature, ""))
    assert answer.accepted, answer.said


@pytest.mark.parametrize("tool", VERIFIERS)
def test_reference_to_the_approval_is_accepted(
    workshop: Workshop, artifact_signed: Signed, tool: str
) -> None:
    answer = VERIFIERS[tool](workshop.tools, question(workshop, artifact_signed.reference, REFERENCE_TYPE))
    assert answer.accepted, answer.said


@pytest.mark.parametrize("tool", VERIFIERS)
def test_reference_is_no_signature_of_the_artifact(
    workshop: Workshop, artifact_signed: Signed, tool: str
) -> None:
    asked = question(workshop, artifact_signed.reference, SLSA_V1)
    answer = VERIFIERS[tool](workshop.tools, asked)
    # sigstore-go's command looks at no predicate type; whoever uses it has to.
    assert answer.accepted == (tool == "sigstore-go")

"""The frameworks, asked as their own users ask them: nothing of theirs is changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from placet.core.encoding import sha256_hex
from placet.core.errors import PlacetError
from placet.core.evidence.attestations import parse_attestation
from placet.core.evidence.expectations import check_expectations
from placet.core.evidence.facts import PROVENANCE, SIGSTORE_MEDIA_TYPE, Evidence
from placet.lab.scenario import Answer, Side
from placet.lab.stage import RULE, Stage
from placet.testing.intoto import stock_verify

if TYPE_CHECKING:
    from in_toto.models.link import Link  # type: ignore[import-untyped]


def ask_sigstore(stage: Stage, bundle: bytes, artifact: bytes) -> Answer:
    """Asks sigstore-python whether the pipeline's identity signed a statement about an artifact."""
    from sigstore.errors import Error
    from sigstore.models import Bundle, TrustedRoot
    from sigstore.verify import Verifier, policy

    identity = f"https://github.com/{stage.job['job_workflow_ref']}"
    question = "Did the release workflow sign this, in a public log?"
    root = stage.folder / "trusted_root.json"
    root.write_text(json.dumps(stage.sigstore.trusted_root()))
    try:
        verifier = Verifier(trusted_root=TrustedRoot.from_file(str(root)))
        expected = policy.Identity(identity=identity, issuer=stage.job["iss"])
        _, payload = verifier.verify_dsse(Bundle.from_json(bundle), expected)
    except Error as e:
        return Answer(Side.FRAMEWORK, "sigstore-python", question, False, str(e))
    if f"sha256:{hashlib.sha256(artifact).hexdigest()}" not in parse_attestation(payload).subjects:
        return Answer(Side.FRAMEWORK, "sigstore-python", question, False, "It is about another artifact.")
    return Answer(Side.FRAMEWORK, "sigstore-python", question, True, f"signed by {identity}")


def ask_slsa(stage: Stage, bundle: bytes, request_payload: bytes) -> Answer:
    """Checks provenance as SLSA asks a consumer to: subject, builder, level, source, parameters.

    https://slsa.dev/spec/v1.2/verifying-artifacts
    """
    from placet.core.statement import parse_statement

    question = "Is this SLSA Build L3 provenance of our source, by a builder that we trust?"
    statement = parse_statement(request_payload)
    item = Evidence(sha256_hex(bundle), SIGSTORE_MEDIA_TYPE, bundle)
    try:
        facts = stage.verifiers.verify(statement, (item,), trust=stage.trust)
        artifacts = {subject.digest for subject in statement.subjects}
        fact = next(f for f in facts if f.kind == PROVENANCE and f.subjects >= artifacts)
        level = check_expectations(PROVENANCE, RULE, fact, statement=statement, facts=facts, at=stage.now)
    except PlacetError as e:
        return Answer(Side.FRAMEWORK, "SLSA provenance check", question, False, str(e))
    except StopIteration:
        return Answer(
            Side.FRAMEWORK, "SLSA provenance check", question, False, "It is about another artifact."
        )
    said = f"SLSA_BUILD_LEVEL_{level}, built from {RULE['source']}"
    return Answer(Side.FRAMEWORK, "SLSA provenance check", question, True, said)


def ask_in_toto(
    stage: Stage,
    name: str,
    layout: bytes,
    links: dict[str, bytes],
    said: Callable[[Link], str],
    question: str,
) -> Answer:
    """Asks `in_toto_verify` whether links satisfy a layout.

    Args:
        name: of the folder in which in-toto finds the links.
        said: what an accepted summary link tells.
    """
    from in_toto.exceptions import (  # type: ignore[import-untyped]
        LayoutExpiredError,
        LinkNotFoundError,
        RuleVerificationError,
        ThresholdVerificationError,
    )

    refusals = (LayoutExpiredError, LinkNotFoundError, RuleVerificationError, ThresholdVerificationError)
    try:
        summary = stock_verify(stage.folder / name, layout, stage.chain.owner, links)
    except refusals as e:
        return Answer(Side.FRAMEWORK, "in_toto_verify", question, False, f"{type(e).__name__}: {e}")
    return Answer(Side.FRAMEWORK, "in_toto_verify", question, True, said(summary))


def ask_all(stage: Stage, name: str, artifact: bytes, bundle: bytes, payload: bytes) -> tuple[Answer, ...]:
    """Asks all three about an artifact that the pipeline made, signed and attested."""
    question = "Was every step of the layout done by who may do it?"
    links = stage.build_link(name, artifact)
    digest = hashlib.sha256(artifact).hexdigest()
    return (
        ask_sigstore(stage, bundle, artifact),
        ask_slsa(stage, bundle, payload),
        ask_in_toto(
            stage,
            f"layout-{digest[:8]}",
            stage.layout(),
            links,
            lambda link: f"layout satisfied; products: {', '.join(sorted(link.products))}",
            question,
        ),
    )

"""Facts as an adapter would hand them over, and the rules that they meet."""

from __future__ import annotations

import functools
from typing import Any

from placet.core.evidence.expectations import check_expectations, check_options
from placet.core.evidence.facts import PROVENANCE, EvidenceFact, Signer
from placet.core.evidence.provenance import GITHUB_WORKFLOW, PREDICATE_V1
from placet.core.statement import IntentStatement, parse_statement
from placet.testing.world import World

ISSUER = "https://token.actions.githubusercontent.com"
RUNNER = "https://github.com/actions/runner/github-hosted"
APP = "https://github.com/acme/app"
PATH = ".github/workflows/release.yml"
TAG = "refs/tags/v1.2.3"
OWN = f"{APP}/{PATH}@{TAG}"
COMMIT = "a" * 40
AT = 1_800_000_000
RULE: dict[str, Any] = {"builders": [f"{APP}/{PATH}@refs/tags/*"], "source": APP}


@functools.cache
def statement() -> IntentStatement:
    """Returns the statement of a deployment."""
    return parse_statement(World().request_deploy().payload)


def predicate(
    builder: str = OWN, parameters: Any = None, *, source: str = APP, ref: str = TAG
) -> dict[str, Any]:
    """Returns what GitHub writes about a release of acme/app."""
    workflow = {"repository": source, "ref": ref, "path": PATH}
    return {
        "buildDefinition": {
            "buildType": GITHUB_WORKFLOW,
            "externalParameters": {"workflow": workflow, **(parameters or {})},
            "resolvedDependencies": [{"uri": f"git+{source}@{ref}", "digest": {"gitCommit": COMMIT}}],
        },
        "runDetails": {"builder": {"id": builder}},
    }


def github(identity: str = OWN, **claims: str) -> Signer:
    """Returns the signer that a certificate of GitHub's names."""
    said = {
        "sourceRepositoryUri": APP,
        "sourceRepositoryRef": TAG,
        "sourceRepositoryDigest": COMMIT,
        "buildConfigUri": OWN,
        "runnerEnvironment": "github-hosted",
    }
    return Signer("certificate", ISSUER, identity, claims=said | claims, instance="public-good")


def build(signer: Signer | None = None, said: dict[str, Any] | None = None, **changes: Any) -> EvidenceFact:
    """Returns verified provenance."""
    fact = EvidenceFact(
        PROVENANCE,
        statement().payload_digest,
        frozenset(subject.digest for subject in statement().subjects),
        signer=signer or github(),
        signed_at=AT - 60,
        predicate_type=PREDICATE_V1,
        predicate=predicate() if said is None else said,
        logged=True,
    )
    return fact._replace(**changes)


def hold(
    options: dict[str, Any], fact: EvidenceFact, *facts: EvidenceFact, at: int = AT, kind: str = ""
) -> int | None:
    """Holds a fact against a rule that a policy could have."""
    kind = kind or fact.kind
    check_options(kind, options, "")
    return check_expectations(kind, options, fact, statement=statement(), facts=(fact, *facts), at=at)

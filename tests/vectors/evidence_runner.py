"""Runs the vectors of evidence: what others' statements say, and whether it meets a rule."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from placet.core.evidence.attestations import parse_attestation
from placet.core.evidence.expectations import check_options
from placet.core.evidence.facts import EvidenceFact, Identity, Signer
from placet.core.evidence.matching import meet
from placet.core.evidence.provenance import parse_provenance
from placet.core.policy import EvidenceRule
from placet.core.statement import parse_statement

Facts = dict[str, Any]


def fact_of(value: Any) -> EvidenceFact:
    """Returns a verified fact as it stands in a vector."""
    account, signed = value.get("identity"), value.get("signer")
    return EvidenceFact(
        kind=value["kind"],
        digest=value["digest"],
        subjects=frozenset(value["subjects"]),
        identity=account and Identity(account["issuer"], account["subject"], account["audience"]),
        signer=signed
        and Signer(
            signed["kind"],
            signed.get("issuer", ""),
            signed.get("identity", ""),
            signed.get("keyDigest", ""),
            signed.get("claims", {}),
            signed.get("instance", ""),
        ),
        signed_at=value.get("signedAt", 0),
        predicate_type=value.get("predicateType", ""),
        predicate=value.get("predicate", {}),
        logged=value.get("logged", False),
    )


def _attestation(inputs: Any, now: int) -> Facts:
    found = parse_attestation(base64.b64decode(inputs["payload"], validate=True))
    return {"predicateType": found.predicate_type, "subjects": sorted(found.subjects)}


def _provenance(inputs: Any, now: int) -> Facts:
    found = parse_provenance(inputs["predicateType"], inputs["predicate"])
    return {
        "builder": found.builder_id,
        "buildType": found.build_type,
        "source": found.source_uri,
        "ref": found.source_ref,
        "commit": found.commit,
        "entryPoint": found.entry_point,
        "parameters": found.external_parameters,
    }


def _options(inputs: Any, now: int) -> Facts:
    check_options(inputs["kind"], inputs["options"], "/evidence/0")
    return {}


def _evidence(inputs: Any, now: int) -> Facts:
    statement = parse_statement(base64.b64decode(inputs["payload"], validate=True))
    rule = EvidenceRule(inputs["kind"], inputs["options"])
    facts = tuple(fact_of(fact) for fact in inputs["facts"])
    met = meet(rule, statement, facts, at=now, who="The rule")
    return {"met": [[m.fact.digest, m.level] for m in met]}


KINDS: dict[str, Callable[[Any, int], Facts]] = {
    "attestation": _attestation,
    "provenance": _provenance,
    "evidence-options": _options,
    "evidence": _evidence,
}

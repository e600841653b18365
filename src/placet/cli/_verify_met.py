"""What evidence was met, in words and as JSON: for ``placet verify``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from placet.core.encoding import format_time
from placet.core.errors import visible
from placet.core.evidence.facts import PROVENANCE, SOURCE, MetEvidence
from placet.core.evidence.provenance import parse_provenance
from placet.core.evidence.signers import say_signer
from placet.core.tlog.decisions import LoggedDecision
from placet.core.verdict.levels import slsa_levels
from placet.core.verify import VerifiedApproval

_TRACKS = {PROVENANCE: "SLSA Build level", SOURCE: "SLSA Source level"}


def describe_met(evidence: Iterable[MetEvidence]) -> list[str]:
    """Returns a line, or a few, for each piece of evidence that was met."""
    lines: list[str] = []
    for met in evidence:
        facts = met_to_object(met)
        level = f", {_TRACKS.get(met.fact.kind, 'level')} {met.level}" if met.level is not None else ""
        lines.append(f"Evidence  {met.fact.kind}{level}")
        if facts["builder"]:
            lines.append(f"  built by   {facts['builder']}")
        if facts["source"]:
            at = " ".join(part for part in (facts["ref"], facts["commit"]) if part)
            lines.append(f"  from       {facts['source']}{f' ({at})' if at else ''}")
        if facts["signer"]:
            when = f" at {facts['signedAt']}" if facts["signedAt"] else ""
            lines.append(f"  signed by  {facts['signer']}{when}")
    return [visible(line) for line in lines]


def slsa_level_names(approval: VerifiedApproval) -> list[str]:
    """Returns the SLSA levels that every artifact reached, each with all below it."""
    artifacts = [s.digest for s in approval.statement.subjects if approval.statement.has_artifacts]
    reached = slsa_levels(approval.evidence, artifacts)
    return [f"SLSA_{track}_LEVEL_{n}" for track, level in reached.items() for n in range(1, level + 1)]


def describe_logged(logged: LoggedDecision) -> str:
    """Returns where a decision stands in the log, and who saw it there."""
    where = f"entry {logged.leaf_index} of {logged.log_origin}"
    if not logged.witnesses:
        return visible(f"{where}, seen by no witness")
    when = f" by {format_time(logged.seen_by)}" if logged.seen_by is not None else ""
    enough = "the quorum of witnesses" if logged.has_quorum else "witnesses, not a quorum"
    return visible(f"{where}, cosigned{when} by {', '.join(logged.witnesses)} ({enough})")


def met_to_object(met: MetEvidence) -> dict[str, Any]:
    """Returns a piece of evidence as the JSON that ``--json`` prints."""
    fact = met.fact
    found: dict[str, Any] = dict.fromkeys(("builder", "source", "ref", "commit"))
    if fact.kind == PROVENANCE:
        said = parse_provenance(fact.predicate_type, fact.predicate)
        found = {
            "builder": said.builder_id or None,
            "source": said.source_uri or None,
            "ref": said.source_ref or None,
            "commit": said.commit or None,
        }
    return found | {
        "kind": fact.kind,
        "digest": {"sha256": fact.digest},
        "mediaType": met.media_type,
        "predicateType": fact.predicate_type or None,
        "level": met.level,
        "signer": say_signer(fact.signer) if fact.signer is not None else None,
        "signedAt": format_time(fact.signed_at) if fact.signed_at else None,
        "logged": fact.logged,
    }

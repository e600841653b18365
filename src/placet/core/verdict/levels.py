"""Which levels a verdict may claim (spec/18-verdicts.md, section "Levels").

The two tracks stand side by side: what people proved (`INTENT_LEVEL_n`) and what evidence proved
(`SLSA_BUILD_LEVEL_n`, `SLSA_SOURCE_LEVEL_n`).  Neither lifts the other.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from placet.core.errors import MalformedError, Reason
from placet.core.evidence.facts import PROVENANCE, SOURCE, VSA, MetEvidence
from placet.core.levels import level_name

_SLSA_LEVEL = re.compile("SLSA_([A-Z]+)_LEVEL_([0-9]{1,2})")
_TRACKS = {PROVENANCE: "BUILD", SOURCE: "SOURCE"}


def intent_levels(level: int) -> list[str]:
    """Returns the names of an intent level and all below it."""
    return [level_name(n) for n in range(1, level + 1)]


def slsa_levels(evidence: Iterable[MetEvidence], artifacts: Collection[str]) -> dict[str, int]:
    """Returns SLSA track → the level that every artifact reaches (VSA-05).

    Args:
        evidence: what rules required and was met.
        artifacts: the artifacts that the verdict is about, spelled ``sha256:…``.
    """
    reached: dict[str, dict[str, int]] = {}
    for met in evidence:
        for track, level in _levels_of(met).items():
            # Source evidence is about a commit; it was tied to the artifacts when it was met.
            covered = artifacts if met.fact.kind == SOURCE else met.fact.subjects.intersection(artifacts)
            best = reached.setdefault(track, {})
            for artifact in covered:
                best[artifact] = max(best.get(artifact, 0), level)
    lowest = {track: min(best.values()) for track, best in reached.items() if best.keys() >= set(artifacts)}
    return {track: level for track, level in sorted(lowest.items()) if level > 0}


def _levels_of(met: MetEvidence) -> dict[str, int]:
    if met.level is None:
        return {}
    if met.fact.kind != VSA:
        track = _TRACKS.get(met.fact.kind)
        return {track: met.level} if track else {}
    # Another verifier's summary is passed on as it stands: the rule that accepted it trusts that verifier.
    stated = met.fact.predicate.get("verifiedLevels")
    return parse_slsa_levels([s for s in stated if isinstance(s, str)]) if isinstance(stated, list) else {}


def parse_slsa_levels(levels: Iterable[str]) -> dict[str, int]:
    """Returns track → highest level of the values that begin with ``SLSA_`` (VSA-06).

    slsa-verifier refuses a whole summary for one ``SLSA_*`` value of another form, so we neither write
    nor accept one.

    Raises:
        MalformedError: BAD_VALUE.
    """
    found: dict[str, int] = {}
    for name in levels:
        if not name.startswith("SLSA_"):
            continue
        match = _SLSA_LEVEL.fullmatch(name)
        if match is None:
            raise MalformedError(
                Reason.BAD_VALUE,
                "A level that begins with SLSA_ is spelled SLSA_<TRACK>_LEVEL_<number>.",
                path="/predicate/verifiedLevels",
                actual=name[:80],
            )
        track, level = match[1], int(match[2])
        found[track] = max(found.get(track, 0), level)
    return found

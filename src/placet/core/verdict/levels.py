"""Which levels a verdict may claim (spec/18-verdicts.md, section "Levels").

The two tracks stand side by side: what people proved (`INTENT_LEVEL_n`) and what evidence proved
(`SLSA_BUILD_LEVEL_n`, `SLSA_SOURCE_LEVEL_n`).  Neither lifts the other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from placet.core.errors import MalformedError, Reason
from placet.core.evidence.facts import PROVENANCE, SOURCE, VSA, MetEvidence
from placet.core.evidence.vsa_input import parse_slsa_level, parse_summary
from placet.core.levels import level_name

_BUILD, _SOURCE = "BUILD", "SOURCE"
# What SLSA 1.2 defines; a verifier that states more is believed no further.
_HIGHEST = {_BUILD: 3, _SOURCE: 4}


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
        covered = met.fact.subjects.intersection(artifacts)
        # Evidence about a revision was tied to every artifact when it was met.
        # Whoever is trusted for revisions says nothing of builds, even in a summary that names both.
        of_revision = SOURCE in (met.fact.kind, met.asked) or (met.fact.kind == VSA and not covered)
        for track in (_SOURCE,) if of_revision else _tracks_of(met):
            best = reached.setdefault(track, {})
            for artifact in artifacts if of_revision else covered:
                best[artifact] = max(best.get(artifact, 0), met.level or 0)
    lowest = {track: min(best.values()) for track, best in reached.items() if best.keys() >= set(artifacts)}
    return {track: min(level, _HIGHEST[track]) for track, level in sorted(lowest.items()) if level > 0}


def _tracks_of(met: MetEvidence) -> tuple[str, ...]:
    """Returns the tracks of which evidence about an artifact reached its level."""
    if met.fact.kind == PROVENANCE:
        return (_BUILD,)
    if met.fact.kind != VSA or met.level is None:
        return ()
    # A summary states levels of several tracks; only what its verifier said is passed on, and no more of it
    # than was met.
    stated = parse_slsa_levels(parse_summary(met.fact.predicate_type, met.fact.predicate).levels)
    return tuple(track for track in (_BUILD, _SOURCE) if stated.get(track) == met.level)


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
        level = parse_slsa_level(name)
        if level is None or not level[0]:
            raise MalformedError(
                Reason.BAD_VALUE,
                "A level that begins with SLSA_ is spelled SLSA_<TRACK>_LEVEL_<number>.",
                path="/predicate/verifiedLevels",
                actual=name[:80],
            )
        track, number = level
        found[track] = max(found.get(track, 0), number)
    return found

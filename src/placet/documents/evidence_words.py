"""A verified fact in plain words, for whoever decides at a terminal (spec/17-evidence.md).

What the signature, the certificate and the log prove stands under names of its own.  What a predicate
says is its signer's word and is labelled so: a valid signature makes nobody honest.  Everything comes from
documents that others wrote, so every value is escaped and cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from placet.core.display import escape_value
from placet.core.encoding import format_time
from placet.core.errors import PlacetError
from placet.core.evidence.facts import (
    ATTESTATION,
    IN_TOTO,
    PROVENANCE,
    SBOM,
    SIGNATURE,
    SOURCE,
    VSA,
    EvidenceFact,
    Signer,
)
from placet.core.evidence.provenance import parse_provenance
from placet.core.evidence.sbom import summarise_sbom
from placet.core.evidence.source_track import parse_source_provenance
from placet.core.evidence.vsa_input import parse_summary

Rows = Iterator[tuple[str, str]]

# A few lines of a screen; whoever needs more reads the document.
MAX_VALUE = 300
_MAX_LISTED = 16

_NAMES = {
    PROVENANCE: "SLSA build provenance",
    VSA: "SLSA verification summary",
    SOURCE: "SLSA source provenance",
    SBOM: "software bill of materials",
    IN_TOTO: "in-toto layout",
    ATTESTATION: "attestation",
    SIGNATURE: "signature on the artifact",
}
_CLAIMS = (
    ("Source repository", "sourceRepositoryUri"),
    ("Reference", "sourceRepositoryRef"),
    ("Commit", "sourceRepositoryDigest"),
    ("Workflow", "buildConfigUri"),
    ("Started by", "buildTrigger"),
    ("Runner", "runnerEnvironment"),
    ("Run", "runInvocationUri"),
)


def describe_fact(fact: EvidenceFact) -> tuple[tuple[str, str], ...]:
    """Returns labels and values: first what was verified, then what the signer says.  It never raises.

    Values are printable ASCII of bounded length, whatever the evidence holds.
    """
    rows = [*_verified(fact), *_said(fact)]
    return tuple((label, _shown(value)) for label, value in rows if value)


def _verified(fact: EvidenceFact) -> Rows:
    yield "Evidence", _NAMES.get(fact.kind, fact.kind)
    if fact.identity is not None:
        yield "Account", fact.identity.subject
        yield "Vouched for by", fact.identity.issuer
    if fact.kind == IN_TOTO:
        yield "Layout", str(fact.predicate.get("layout", ""))
        yield "Steps", _listed(fact.predicate.get("steps"))
    elif fact.signer is not None:
        yield from _signer(fact.signer)
        certificate = fact.signer.kind == "certificate"
        yield "Signed at", format_time(fact.signed_at) if fact.signed_at else "no proven time"
        yield "Transparency log", "entry verified" if fact.logged else "no entry" if certificate else ""
        for label, name in _CLAIMS:
            yield label, fact.signer.claims.get(name, "")
    if fact.subjects:
        yield "Covers", "1 digest" if len(fact.subjects) == 1 else f"{len(fact.subjects)} digests"


def _signer(signer: Signer) -> Rows:
    if signer.kind == "key":
        yield "Signed with key", signer.key_digest
        return
    yield "Signed by", signer.identity
    yield "Vouched for by", signer.issuer
    yield "Sigstore instance", signer.instance


def _said(fact: EvidenceFact) -> Rows:
    who, read = _SAYS.get(fact.kind, ("Signer", _type))
    try:
        rows = list(read(fact))
    except PlacetError as e:
        rows = [("something unreadable", e.message)]
    return ((f"{who} says: {label}", value) for label, value in rows if value)


def _type(fact: EvidenceFact) -> Rows:
    yield "statement of type", fact.predicate_type


def _provenance(fact: EvidenceFact) -> Rows:
    claim = parse_provenance(fact.predicate_type, fact.predicate)
    claims = fact.signer.claims if fact.signer is not None else {}
    yield "builder", claim.builder_id
    yield "build type", claim.build_type
    # What the certificate says in the same words stands above, as verified.
    said = {"source repository": claim.source_uri, "reference": claim.source_ref, "commit": claim.commit}
    for (label, value), (_, name) in zip(said.items(), _CLAIMS, strict=False):
        if value != claims.get(name, ""):
            yield label, value
    yield "told by", claim.entry_point
    yield "parameters", _listed([f"{n} = {v}" for n, v in sorted(claim.external_parameters.items())])
    yield "run", claim.invocation_id if claim.invocation_id != claims.get("runInvocationUri", "") else ""


def _summary(fact: EvidenceFact) -> Rows:
    summary = parse_summary(fact.predicate_type, fact.predicate)
    yield "verifier", summary.verifier
    yield "result", "PASSED" if summary.passed else "not PASSED"
    yield "resource", summary.resource
    yield "levels", _listed(summary.levels)
    yield "verified at", "" if summary.verified_at is None else format_time(summary.verified_at)
    yield "policy", summary.policy


def _source(fact: EvidenceFact) -> Rows:
    source = parse_source_provenance(fact.predicate)
    yield "repository", source.repository
    yield "branch", source.branch
    yield "done by", f"{source.actor} ({source.activity})" if source.activity else source.actor
    yield "controls", _listed(source.controls)


def _sbom(fact: EvidenceFact) -> Rows:
    summary = summarise_sbom(fact.predicate_type, fact.predicate)
    yield "format", f"{summary.format} {summary.version}".strip()
    yield "made for", summary.component
    yield "components listed", str(summary.components)
    yield "made with", summary.tool
    yield "made at", summary.created


_SAYS: dict[str, tuple[str, Callable[[EvidenceFact], Rows]]] = {
    PROVENANCE: ("Builder", _provenance),
    VSA: ("Verifier", _summary),
    SOURCE: ("Source control", _source),
    SBOM: ("Signer", _sbom),
}


def _listed(values: object) -> str:
    if not isinstance(values, list | tuple):
        return ""
    more = f" and {len(values) - _MAX_LISTED} more" if len(values) > _MAX_LISTED else ""
    return ", ".join(str(value) for value in values[:_MAX_LISTED]) + more


def _shown(text: str) -> str:
    """Cuts, then escapes: an escape is never cut in two, and the length of a value bounds the work."""
    left_out = len(text) - MAX_VALUE
    shown = escape_value(text[:MAX_VALUE])
    return f"{shown}... ({left_out} more characters)" if left_out > 0 else shown

"""Bills of materials, summarised for a person (spec/17-evidence.md): CycloneDX, SPDX 2.3 and SPDX 3.

What an SBOM lists is its maker's word.  A summary tells which document was carried, not that it is complete.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from placet.core.errors import Reason
from placet.core.evidence.facts import EvidenceFact
from placet.core.evidence.refusals import unmet

CYCLONEDX, SPDX = "cyclonedx", "spdx"
FORMATS = (CYCLONEDX, SPDX)
_FILE_LIKE = ("software_Package", "software_File", "software_Snippet")


class SbomSummary(NamedTuple):
    """An SBOM in five values; "" for what it does not say.

    Args:
        component: what the document is about, with its version.
        components: how many components it lists.
    """

    format: str
    version: str
    component: str
    components: int
    tool: str
    created: str


def format_of(predicate_type: str) -> str:
    """Returns the SBOM format of a predicate type, "" for none that is read here."""
    if predicate_type.startswith("https://cyclonedx.org/"):
        return CYCLONEDX
    return SPDX if predicate_type.startswith("https://spdx.dev/Document") else ""


def summarise_sbom(predicate_type: str, predicate: Mapping[str, Any]) -> SbomSummary:
    """Summarises an SBOM predicate of any content; what has another shape than expected is left out."""
    if format_of(predicate_type) == CYCLONEDX:
        return _summarise_cyclonedx(predicate)
    if isinstance(predicate.get("@graph"), list):
        return _summarise_spdx3(predicate)
    return _summarise_spdx2(predicate)


def _summarise_cyclonedx(predicate: Mapping[str, Any]) -> SbomSummary:
    metadata = _object(predicate.get("metadata"))
    tools = metadata.get("tools")
    # Version 1.5 made the list of tools an object of components and services.
    listed = _objects(tools) if isinstance(tools, list) else _objects(_object(tools).get("components"))
    return SbomSummary(
        format="CycloneDX",
        version=_text(predicate, "specVersion"),
        component=_named(_object(metadata.get("component")), "name", "version"),
        components=_count(predicate.get("components")),
        tool=", ".join(_named(tool, "name", "version") for tool in listed[:3]),
        created=_text(metadata, "timestamp"),
    )


def _count(components: Any) -> int:
    """Counts components and the components inside of them, without recursion."""
    waiting, total = _objects(components), 0
    while waiting:
        total += len(waiting)
        waiting = [inner for outer in waiting for inner in _objects(outer.get("components"))]
    return total


def _summarise_spdx2(predicate: Mapping[str, Any]) -> SbomSummary:
    packages = _objects(predicate.get("packages"))
    described = {r for r in _list(predicate.get("documentDescribes")) if isinstance(r, str)}
    for relation in _objects(predicate.get("relationships")):
        if relation.get("relationshipType") == "DESCRIBES" and _text(relation, "relatedSpdxElement"):
            described.add(_text(relation, "relatedSpdxElement"))
    top = next((package for package in packages if _text(package, "SPDXID") in described), {})
    creation = _object(predicate.get("creationInfo"))
    creators = [c for c in _list(creation.get("creators")) if isinstance(c, str) and c.startswith("Tool: ")]
    return SbomSummary(
        format="SPDX",
        version=_text(predicate, "spdxVersion").removeprefix("SPDX-"),
        component=_named(top, "name", "versionInfo") or _text(predicate, "name"),
        components=len(packages),
        tool=", ".join(creator.removeprefix("Tool: ") for creator in creators[:3]),
        created=_text(creation, "created"),
    )


def _summarise_spdx3(predicate: Mapping[str, Any]) -> SbomSummary:
    graph = _objects(predicate.get("@graph"))
    by_id = {_text(item, "spdxId"): item for item in graph if _text(item, "spdxId")}
    creation = next((item for item in graph if item.get("type") == "CreationInfo"), {})
    document = next((item for item in graph if item.get("type") == "SpdxDocument"), {})
    roots = [r for r in _list(document.get("rootElement")) if isinstance(r, str)]
    # A document's root is often its SBOM, whose own root is what the SBOM is about.
    boms = [by_id.get(root, {}) for root in roots]
    inner = [r for bom in boms for r in _list(bom.get("rootElement")) if isinstance(r, str)]
    top = next((by_id[r] for r in (*inner, *roots) if by_id.get(r, {}).get("type") in _FILE_LIKE), {})
    tools = [by_id.get(r, {}) for r in _list(creation.get("createdUsing")) if isinstance(r, str)]
    return SbomSummary(
        format="SPDX",
        version=_text(creation, "specVersion"),
        component=_named(top, "name", "software_packageVersion") or _text(document, "name"),
        components=sum(1 for item in graph if item.get("type") == "software_Package"),
        tool=", ".join(_text(tool, "name") for tool in tools[:3]),
        created=_text(creation, "created"),
    )


def check_sbom(formats: tuple[str, ...], fact: EvidenceFact) -> None:
    """Checks that an SBOM is of a format that the rule accepts (EVD-19).

    Raises:
        PolicyError: EVIDENCE_REQUIRED.
    """
    found = format_of(fact.predicate_type)
    if found not in formats:
        raise unmet(
            Reason.EVIDENCE_REQUIRED,
            "The SBOM is of a format that the rule does not accept.",
            expected=", ".join(formats),
            actual=found or fact.predicate_type[:200],
        )


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in _list(value) if isinstance(item, dict)]


def _text(parent: Mapping[str, Any], name: str) -> str:
    value = parent.get(name)
    return value if isinstance(value, str) else ""


def _named(parent: Mapping[str, Any], name: str, version: str) -> str:
    return f"{_text(parent, name)} {_text(parent, version)}".strip()

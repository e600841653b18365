"""What SLSA provenance says: who built what, from which source, told to do what (spec/17-evidence.md).

Versions 0.1, 0.2 and 1 become one shape.  Version 1 leaves the place of the source to the build type,
so it is read for the build types listed here; for others it stays empty, and a rule that asks for a
source is not met.

Leaves out: whether any of it is true.  `placet.core.evidence.builds` holds it against the signer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

from placet.core.decode import Object
from placet.core.errors import MalformedError, Reason
from placet.core.evidence.refusals import unreadable
from placet.core.evidence.sources import commits_of, split_source

PREDICATE_V1 = "https://slsa.dev/provenance/v1"
PREDICATE_V02 = "https://slsa.dev/provenance/v0.2"
PREDICATE_V01 = "https://slsa.dev/provenance/v0.1"

GITHUB_WORKFLOW = "https://actions.github.io/buildtypes/workflow/v1"
GITHUB_WORKFLOW_COMMUNITY = "https://slsa-framework.github.io/github-actions-buildtypes/workflow/v1"
DELEGATOR = "https://github.com/slsa-framework/slsa-github-generator/delegator-generic@v0"
CONTAINER_BASED = "https://slsa.dev/container-based-build/v0.1?draft"
GOOGLE_WORKER = "https://cloud.google.com/build/gcb-buildtypes/google-worker/v1"
GOOGLE_TRIGGERED = "https://slsa-framework.github.io/gcb-buildtypes/triggered-build/v1"
# The external parameter that names repository, ref and path of what is built, by build type.
_PLACE = {
    GITHUB_WORKFLOW: "workflow",
    GITHUB_WORKFLOW_COMMUNITY: "workflow",
    DELEGATOR: "workflow",
    GOOGLE_WORKER: "buildConfigSource",
    GOOGLE_TRIGGERED: "buildConfigSource",
}
_PLACE_MEMBERS = frozenset({"repository", "ref", "path"})


# What a missing member counts as; never changed.
_EMPTY: Object = {}
_NONE: list[Any] = []
T = TypeVar("T")


class Provenance(NamedTuple):
    """One provenance predicate, as the builder wrote it; "" stands for what it does not say.

    Args:
        version: of the predicate, such as ``v1``.
        source_uri: the repository, normalised.
        source_ref: the reference, such as ``refs/tags/v1.2.3``.
        commit: the full name of the commit.
        entry_point: the file in the source that told the builder what to do.
        external_parameters: what whoever started the build could choose, less what is read above.
    """

    version: str
    builder_id: str
    build_type: str
    source_uri: str
    source_ref: str
    commit: str
    entry_point: str
    external_parameters: Object
    invocation_id: str


def parse_provenance(predicate_type: str, predicate: Object) -> Provenance:
    """Reads a provenance predicate of version 0.1, 0.2 or 1 (EVD-03).

    Raises:
        MalformedError: WRONG_TYPE, or BAD_VALUE where it contradicts itself.
        IndeterminateError: EVIDENCE_UNSUPPORTED: another version.
    """
    if predicate_type == PREDICATE_V1:
        return _read_v1(predicate)
    if predicate_type == PREDICATE_V02:
        return _read_v02(predicate)
    if predicate_type == PREDICATE_V01:
        return _read_v01(predicate)
    raise unreadable("SLSA provenance of the versions 0.1, 0.2 and 1", predicate_type)


def _read_v1(predicate: Object) -> Provenance:
    definition = get(predicate, "buildDefinition", _EMPTY)
    details = get(predicate, "runDetails", _EMPTY)
    build_type = get(definition, "buildType", "")
    parameters = get(definition, "externalParameters", _EMPTY)
    dependencies = get(definition, "resolvedDependencies", _NONE)
    source_uri = source_ref = entry_point = ""
    commits: frozenset[str] = frozenset()
    rest = dict(parameters)
    if build_type == CONTAINER_BASED:
        source = get(rest, "source", _EMPTY)
        source_uri, source_ref = split_source(get(source, "uri", ""))
        commits = commits_of(source.get("digest"))
        entry_point = get(rest, "configPath", "")
        rest = {name: value for name, value in rest.items() if name not in ("source", "configPath")}
    elif name := _PLACE.get(build_type):
        place = get(rest, name, _EMPTY)
        source_uri, source_ref = split_source(f"{get(place, 'repository', '')}@{get(place, 'ref', '')}")
        entry_point = get(place, "path", "")
        more = {key: value for key, value in place.items() if key not in _PLACE_MEMBERS}
        rest = {key: value for key, value in rest.items() if key != name} | ({name: more} if more else {})
    for dependency in dependencies:
        if isinstance(dependency, dict) and source_uri:
            uri, ref = split_source(get(dependency, "uri", ""))
            if uri == source_uri and ref in ("", source_ref):
                commits |= commits_of(dependency.get("digest"))
    return Provenance(
        version="v1",
        builder_id=get(get(details, "builder", _EMPTY), "id", ""),
        build_type=build_type,
        source_uri=source_uri,
        source_ref=source_ref,
        commit=_one_commit(commits, "/predicate/buildDefinition/resolvedDependencies"),
        entry_point=entry_point,
        external_parameters=rest,
        invocation_id=get(get(details, "metadata", _EMPTY), "invocationId", ""),
    )


def _read_v02(predicate: Object) -> Provenance:
    invocation = get(predicate, "invocation", _EMPTY)
    config = get(invocation, "configSource", _EMPTY)
    uri = get(config, "uri", "")
    source_uri, source_ref = split_source(uri)
    commits = commits_of(config.get("digest"))
    for material in get(predicate, "materials", _NONE):
        if isinstance(material, dict) and uri and material.get("uri") == uri:
            commits |= commits_of(material.get("digest"))
    metadata = get(predicate, "metadata", _EMPTY)
    return Provenance(
        version="v0.2",
        builder_id=get(get(predicate, "builder", _EMPTY), "id", ""),
        build_type=get(predicate, "buildType", ""),
        source_uri=source_uri,
        source_ref=source_ref,
        commit=_one_commit(commits, "/predicate/materials"),
        entry_point=get(config, "entryPoint", ""),
        external_parameters=get(invocation, "parameters", _EMPTY),
        # The specification spells it ...Id, its own example and the Go generator ...ID.
        invocation_id=get(metadata, "buildInvocationId", "") or get(metadata, "buildInvocationID", ""),
    )


def _read_v01(predicate: Object) -> Provenance:
    recipe = get(predicate, "recipe", _EMPTY)
    materials = get(predicate, "materials", _NONE)
    at = recipe.get("definedInMaterial")
    material: Any = {}
    if isinstance(at, int) and not isinstance(at, bool) and 0 <= at < len(materials):
        material = materials[at]
    if not isinstance(material, dict):
        raise MalformedError(Reason.WRONG_TYPE, "An object was expected.", path="/predicate/materials")
    commit = _one_commit(commits_of(material.get("digest")), "/predicate/materials")
    # Google Cloud Build writes the commit into the path, as GitHub's pages do.
    uri = get(material, "uri", "").removesuffix(f"/commit/{commit}")
    source_uri, source_ref = split_source(uri)
    return Provenance(
        version="v0.1",
        builder_id=get(get(predicate, "builder", _EMPTY), "id", ""),
        build_type=get(recipe, "type", ""),
        source_uri=source_uri,
        source_ref=source_ref,
        commit=commit,
        entry_point=get(recipe, "entryPoint", ""),
        external_parameters=get(recipe, "arguments", _EMPTY),
        invocation_id=get(get(predicate, "metadata", _EMPTY), "buildInvocationId", ""),
    )


def _one_commit(commits: frozenset[str], path: str) -> str:
    # EVD-03: a second commit for the same source means that one of them was not built.
    if len(commits) > 1:
        raise MalformedError(
            Reason.BAD_VALUE, "The provenance names two commits for one and the same source.", path=path
        )
    return next(iter(commits), "")


def get(parent: Mapping[str, Any], name: str, empty: T) -> T:
    """Returns a member that may be missing, of the type of `empty`, which stands for a missing one.

    Raises:
        MalformedError: WRONG_TYPE.
    """
    value = parent.get(name)
    if value is None:
        return empty
    if isinstance(value, type(empty)):
        return value
    raise MalformedError(Reason.WRONG_TYPE, f"The member {name!r} has another type.", path="/predicate")

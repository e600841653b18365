"""What a rule may ask of SLSA provenance (spec/17-evidence.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from placet.core.decode import read_ascii, read_bool, read_map
from placet.core.evidence.options import (
    SignerRule,
    check_names,
    read_entries,
    read_instance,
    refuse,
    signer_of,
)
from placet.core.evidence.parameters import read_parameters
from placet.core.evidence.sources import is_commit, normalise_repository
from placet.core.patterns import read_pattern
from placet.core.policy import read_int

GITHUB_ISSUER = "https://token.actions.githubusercontent.com"
GITHUB_RUNNER = "https://github.com/actions/runner"
HOSTED_RUNNER, OWN_RUNNER = f"{GITHUB_RUNNER}/github-hosted", f"{GITHUB_RUNNER}/self-hosted"
WORKFLOWS = "/.github/workflows/"
HIGHEST_BUILD_LEVEL = 3

_REQUIRED = ("builders",)
_OPTIONAL = (
    *("source", "any_source", "min_level", "ref", "commit", "build_types", "workflow", "parameters"),
)
_BUILDER = ("level", "issuer", "signer", "key", "instance", "unlogged", "self_hosted")


class BuilderRule(NamedTuple):
    """A builder that a rule trusts, up to a level.

    Args:
        id: pattern of the builder's ID.
        signer: who signs for it; None where that follows from the ID, as for GitHub's workflows.
    """

    id: str
    level: int
    signer: SignerRule | None
    issuer: str
    instance: str
    unlogged: bool
    self_hosted: bool


class BuildRule(NamedTuple):
    """What a rule expects of provenance; "" and () where it does not say."""

    builders: tuple[BuilderRule, ...]
    sources: tuple[str, ...]
    min_level: int
    refs: tuple[str, ...]
    commit: str
    build_types: tuple[str, ...]
    entry_points: tuple[str, ...]
    parameters: Mapping[str, Any]


def read_build_rule(options: Mapping[str, Any], path: str) -> BuildRule:
    """Reads the options of ``slsa-provenance`` (EVD-04).

    Raises:
        MalformedError: what is unknown, missing, wrong, or can never be met.
    """
    check_names(options, path, "slsa-provenance", _REQUIRED, _OPTIONAL)
    any_source = read_bool(options.get("any_source", False), f"{path}/any_source")
    if any_source and "source" in options:
        raise refuse("The options 'source' and 'any_source' contradict each other.", path, "Keep one.")
    if not any_source and "source" not in options:
        raise refuse(
            "The evidence slsa-provenance needs the option 'source'.",
            path,
            "GitHub's and other shared builders build for everybody: without a source, everybody's "
            "artifacts would do. Where that is meant, write any_source = true instead.",
        )
    min_level = read_int(options.get("min_level", 1), f"{path}/min_level", 1, HIGHEST_BUILD_LEVEL)
    builders = read_entries(options, "builders", path, _read_builder)
    rule = BuildRule(
        builders=tuple(builder._replace(level=builder.level or min_level) for builder in builders),
        sources=read_texts(options, "source", path, read_source),
        min_level=min_level,
        refs=read_texts(options, "ref", path, _read_ref),
        commit=_read_commit(options, path),
        build_types=read_texts(options, "build_types", path, read_ascii),
        entry_points=read_texts(options, "workflow", path, read_pattern),
        parameters=read_parameters(options.get("parameters", {}), f"{path}/parameters"),
    )
    best = max(rule.builders, key=lambda builder: builder.level)
    if best.level < rule.min_level:
        raise refuse(
            f"No builder is trusted to level {rule.min_level}: no provenance could ever meet this rule.",
            f"{path}/builders",
            f'Say how far each is trusted, as in {{ id = "{best.id}", level = {rule.min_level} }}.',
        )
    return rule


def read_texts(options: Mapping[str, Any], name: str, path: str, read: Any) -> tuple[str, ...]:
    """Reads an option that is a text or a list of texts, of which one must fit.

    Raises:
        MalformedError: what `read` raises.
    """
    if name not in options:
        return ()
    value = options[name] if isinstance(options[name], list) else [options[name]]
    return read_entries({name: value}, name, path, read)


def read_source(value: Any, path: str) -> str:
    """Reads a pattern of repositories, in its normal form.

    Raises:
        MalformedError: it is no repository's URI.
    """
    text = read_pattern(value, path)
    source = normalise_repository(text, wildcards=True)
    if source:
        return source
    raise refuse(
        f"{text!r} is no repository's URI.",
        path,
        'Write "https://github.com/acme/app"; the reference has an option of its own, `ref`.',
    )


def _read_ref(value: Any, path: str) -> str:
    text = read_pattern(value, path)
    if text.startswith("refs/"):
        return text
    raise refuse(
        f"The reference {text!r} is not spelled in full.",
        path,
        'Write "refs/tags/v*" or "refs/heads/main": a tag and a branch may have one name.',
    )


def _read_commit(options: Mapping[str, Any], path: str) -> str:
    if "commit" not in options:
        return ""
    text = read_ascii(options["commit"], f"{path}/commit")
    if is_commit(text):
        return text
    raise refuse("A commit is named in full, in lower case.", f"{path}/commit", "Use `git rev-parse`.")


def _read_builder(value: Any, path: str) -> BuilderRule:
    if isinstance(value, str):
        value = {"id": value}
    members = read_map(value, path, max_items=16)
    check_names(members, path, "builder", ("id",), _BUILDER)
    builder_id = read_pattern(members["id"], f"{path}/id")
    by_id = is_github_builder(builder_id) and "signer" not in members and "key" not in members
    if by_id and WORKFLOWS in builder_id and "@" not in builder_id and not builder_id.endswith("*"):
        raise refuse(
            "A workflow's ID ends with its reference, and this has none: no provenance could ever meet it.",
            f"{path}/id",
            f'Write "{builder_id}@refs/tags/*", or whatever the workflow runs on.',
        )
    if is_github_builder(builder_id) and "signer" in members:
        members = {"issuer": GITHUB_ISSUER} | members
    return BuilderRule(
        id=builder_id,
        # Who names a builder beside min_level trusts it that far; 0 until that is read.
        level=read_int(members["level"], f"{path}/level", 1, HIGHEST_BUILD_LEVEL)
        if "level" in members
        else 0,
        signer=None if by_id else signer_of(members, members.get("signer"), path),
        issuer=read_ascii(members.get("issuer", GITHUB_ISSUER), f"{path}/issuer"),
        instance=read_instance(members, path),
        unlogged=read_bool(members.get("unlogged", False), f"{path}/unlogged"),
        self_hosted=read_bool(members.get("self_hosted", False), f"{path}/self_hosted"),
    )


def is_github_builder(builder_id: str) -> bool:
    """Tells whether a builder's ID says by itself who must have signed."""
    return WORKFLOWS in builder_id or is_runner(builder_id)


def is_runner(builder_id: str) -> bool:
    """Tells whether a builder is a runner of GitHub's, whose ID does not say which workflow it ran."""
    below = builder_id.startswith(f"{GITHUB_RUNNER}/") and WORKFLOWS not in builder_id
    return builder_id == GITHUB_RUNNER or below

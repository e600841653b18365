"""Repositories, references and commits in their one spelling (spec/17-evidence.md).

A rule that means ``github.com/acme/app`` must not be met by ``github.com/acme/app-evil``, by
``github.com/acme@evil.example/app``, nor by a second spelling of either.
"""

from __future__ import annotations

import re
from typing import Any

from placet.core.encoding import is_hex

# No percent signs, queries, users or empty parts: each would be a second spelling of some repository.
_repository = re.compile(
    r"(?:git\+)?(https|http|ssh)://([A-Za-z0-9.-]+(?::[0-9]{1,5})?)((?:/[A-Za-z0-9_.~+*-]+)+)"
).fullmatch


def normalise_repository(uri: str, *, wildcards: bool = False) -> str:
    """Returns a repository's URI without ``git+`` and ``.git``, its host in lower case; "" where it is none.

    The path keeps its case: two repositories may differ in nothing else (EVD-06).

    Args:
        wildcards: whether ``*`` may stand in the path, as it may in a rule.
    """
    found = _repository(uri)
    if found is None:
        return ""
    scheme, host, path = found.groups()
    path = path.removesuffix(".git")
    parts = path[1:].split("/")
    if any(part in ("", ".", "..") for part in parts) or ("*" in path and not wildcards):
        return ""
    return f"{scheme}://{host.lower()}{path}"


def split_source(uri: str) -> tuple[str, str]:
    """Splits ``git+https://host/path@ref`` into the normalised repository and the reference."""
    repository, _, ref = uri.partition("@")
    return normalise_repository(repository), ref


def is_commit(text: str) -> bool:
    """Tells whether `text` is the full name of a Git commit."""
    return is_hex(text, 40) or is_hex(text, 64)


def commits_of(digest: Any) -> frozenset[str]:
    """Returns the commits that a digest set names; older provenance calls them ``sha1``."""
    if not isinstance(digest, dict):
        return frozenset()
    named = (digest.get("gitCommit"), digest.get("sha1"))
    return frozenset(text for text in named if isinstance(text, str) and is_commit(text))

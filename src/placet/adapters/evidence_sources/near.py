"""Evidence on this machine: beside an artifact, in a file that somebody names, in a folder of links."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from placet.adapters.evidence_sources.documents import MAX_FILE_BYTES, Found, Unusable, read_documents
from placet.adapters.intoto.link_set import MAX_FILES, MAX_FOLDERS, encode_link_set
from placet.core.bundle import MAX_REQUEST_BYTES
from placet.core.encoding import sha256_hex
from placet.core.errors import MalformedError
from placet.core.evidence.facts import IN_TOTO, LINKS_MEDIA_TYPE, Evidence

# What stands after a file's name, by tool: cosign, sigstore-python and GitHub write .sigstore.json (older
# ones .sigstore and .bundle), SLSA's builders .intoto.jsonl, pypi-attestations .publish.attestation and
# .slsa.attestation, others .att, .provenance, .vsa.json and the .sbom of anything.
_beside = re.compile(
    r"(?:\.[a-z0-9_-]{1,32})?"
    r"\.(?:sigstore|intoto|att|attestations?|provenance|vsa|bundle|sbom(?:\.[a-z0-9]{1,16}){0,2})"
    r"(?:\.jsonl?)?"
).fullmatch
# What SLSA's generic builder writes for several artifacts of one folder.
_TOGETHER = ("multiple.intoto.jsonl",)
_MAX_ENTRIES = 50_000
_MAX_BESIDE = 32


def list_beside(artifact: Path, sha256: str) -> tuple[Path, ...]:
    """Returns the files beside an artifact whose names say that they are about it, in order of names.

    Args:
        artifact: the file.
        sha256: its digest in hex; `gh attestation download` names files by it.

    Raises:
        OSError: the folder cannot be read.
    """
    together = {*_TOGETHER, *(f"sha256{mark}{sha256}.jsonl" for mark in ":-_")}
    found = []
    with os.scandir(artifact.parent) as entries:
        for count, entry in enumerate(entries):
            if count >= _MAX_ENTRIES:
                break
            name = entry.name
            about = name.startswith(artifact.name) and _beside(name.removeprefix(artifact.name))
            if (about or name in together) and entry.is_file():
                found.append(artifact.parent / name)
    return tuple(sorted(found)[:_MAX_BESIDE])


def read_evidence_file(path: Path) -> Iterator[Found | Unusable]:
    """Yields the documents in a file."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as e:
        yield Unusable(str(path), f"it cannot be read: {e.strerror}")
        return
    yield from read_documents(data, str(path))


def read_links(folder: Path) -> Found | Unusable:
    """Returns the links of a folder, those of sublayouts included, as one piece of evidence."""
    files: dict[str, bytes] = {}
    size = 0
    try:
        for path in sorted(folder.rglob("*.link")):
            name = path.relative_to(folder)
            # What in-toto itself would not look for: temporary files, and folders of anything else.
            if len(name.parts) > MAX_FOLDERS + 1 or any(part.startswith(".") for part in name.parts):
                continue
            if not path.is_file():  # a pipe would hold us up
                return Unusable(str(path), "it is no file")
            with path.open("rb") as file:
                data = file.read(MAX_REQUEST_BYTES + 1)
            size += len(data)
            if size > MAX_REQUEST_BYTES or len(files) > MAX_FILES:
                return Unusable(str(folder), "its links are too many or too large for a request")
            files[name.as_posix()] = data
    except OSError as e:
        return Unusable(str(folder), f"it cannot be read: {e.strerror}")
    if not files:
        return Unusable(str(folder), "it holds no file whose name ends in .link")
    try:
        content = encode_link_set(files)
    except MalformedError as e:
        return Unusable(str(folder), e.message)
    return Found(Evidence(sha256_hex(content), LINKS_MEDIA_TYPE, content), IN_TOTO, str(folder))

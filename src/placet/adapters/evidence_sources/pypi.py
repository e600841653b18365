"""Evidence at a Python package index: the provenance object of a file (PEP 740).

GET <index>/integrity/<project>/<version>/<file name>/provenance
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote, urlsplit

from placet.adapters.bounded_http import LOOPBACK, BoundedHttp, HttpError
from placet.adapters.evidence_sources.documents import Found, Unusable, read_documents

PYPI = "https://pypi.org"
_ACCEPT = "application/vnd.pypi.integrity.v1+json"
_MAX_BYTES = 4 * 1024 * 1024
# Binary distribution format, and PEP 625 for source distributions.
_wheel = re.compile(r"([A-Za-z0-9._]+)-([A-Za-z0-9_.!+]+)(?:-[0-9][^-]*)?-[^-]+-[^-]+-[^-]+\.whl").fullmatch
_sdist = re.compile(r"([A-Za-z0-9._-]+)-([A-Za-z0-9_.!+]+)\.(?:tar\.gz|zip)").fullmatch


def project_of(file_name: str) -> tuple[str, str] | None:
    """Returns project and version of a distribution by its file's name, or None where it is none."""
    match = _wheel(file_name) or _sdist(file_name)
    return None if match is None else (_normalized(match[1]), match[2].replace("_", "-"))


def look_at_index(http: BoundedHttp, file_name: str, *, index: str = PYPI) -> Iterator[Found | Unusable]:
    """Yields the attestations that an index has for a file; nothing where it has none.

    Raises:
        HttpError: the index cannot be asked, or the name is not that of a distribution.
    """
    named = project_of(file_name)
    if named is None:
        raise HttpError(
            f"{file_name} is not the name of a wheel or source distribution; an index has no other."
        )
    check_index(index)
    path = "/".join(quote(part, safe="") for part in ("integrity", *named, file_name, "provenance"))
    url = f"{index.rstrip('/')}/{path}"
    reply = http.send("GET", url, max_bytes=_MAX_BYTES, headers={"Accept": _ACCEPT})
    if reply.status == 404:
        return
    if reply.status != 200:
        raise HttpError(f"The index {index} does not give the provenance of {file_name} ({reply.status}).")
    yield from read_documents(reply.body, f"{index}, {file_name}")


def check_index(index: str) -> None:
    """Checks an index's address.

    Raises:
        HttpError: it is none, or without TLS on another machine.
    """
    try:
        parts = urlsplit(index)
        host = parts.hostname or ""
    except ValueError:
        host = ""
    if not host or "@" in parts.netloc or parts.query:
        raise HttpError(
            f"{index.rpartition('@')[2]!r} is not the address of a package index.", f"As in {PYPI}."
        )
    if parts.scheme != "https" and not (parts.scheme == "http" and host in LOOPBACK):
        raise HttpError(f"The address of the package index {index} does not begin with https.")


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()

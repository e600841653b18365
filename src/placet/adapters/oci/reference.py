"""Names of images, as people and tools write them: ``registry.example:5000/team/app:1.0@sha256:…``."""

from __future__ import annotations

import re
from typing import NamedTuple

from placet.adapters.bounded_http import LOOPBACK
from placet.core.encoding import is_hex

SCHEME = "oci://"
_DOCKER_HUB = "docker.io"
# Docker's public registry answers under another name than images carry.
_HUB_SERVER = "registry-1.docker.io"

# OCI distribution specification 1.1, "Pulling manifests".
_repository = re.compile(
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
).fullmatch
_tag = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}").fullmatch
_host = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?"
).fullmatch
_MAX_REPOSITORY = 255


class BadReference(ValueError):
    """The text does not name an image."""


class Reference(NamedTuple):
    """An image in a registry.  `digest` is ``sha256:…``, or "" where only a tag names it."""

    host: str
    repository: str
    tag: str
    digest: str

    def __str__(self) -> str:
        """Returns the image's name, with its digest or tag."""
        end = f"@{self.digest}" if self.digest else f":{self.tag}" if self.tag else ""
        return f"{self.name}{end}"

    @property
    def name(self) -> str:
        """The image's name without digest and tag."""
        return f"{self.host}/{self.repository}"

    @property
    def server(self) -> str:
        """Host and port that answer for this image."""
        return _HUB_SERVER if self.host == _DOCKER_HUB else self.host

    @property
    def is_here(self) -> bool:
        """Whether the registry runs on this machine."""
        return host_of(self.host) in LOOPBACK


def host_of(server: str) -> str:
    """Returns the host of ``host:port``."""
    if server.startswith("["):
        return server[1:].partition("]")[0]
    return server.partition(":")[0].lower()


def parse_reference(text: str) -> Reference:
    """Reads an image's name as Docker, cosign and oras do, with or without ``oci://``.

    Raises:
        BadReference: it is none.
    """
    rest, _, digest = text.removeprefix(SCHEME).partition("@")
    if digest and not (digest.startswith("sha256:") and is_hex(digest.removeprefix("sha256:"), 64)):
        raise BadReference(f"{text!r} does not end in a SHA-256 digest.")
    first, slash, more = rest.partition("/")
    # Docker's rule: what stands before the first slash is a host if it could be no folder.
    if slash and ("." in first or ":" in first or first == "localhost"):
        host, path = first, more
    else:
        host, path = _DOCKER_HUB, rest
    path, colon, tag = path.partition(":")
    if host in ("index.docker.io", _HUB_SERVER):
        host = _DOCKER_HUB
    if host == _DOCKER_HUB and path and "/" not in path:
        path = f"library/{path}"
    if not _host(host) or len(path) > _MAX_REPOSITORY or not _repository(path) or (colon and not _tag(tag)):
        raise BadReference(f"{text!r} does not name an image.")
    return Reference(host, path, tag, digest)

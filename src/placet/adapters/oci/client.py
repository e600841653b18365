"""A client of the OCI distribution API that trusts no registry (spec 1.1).

Whoever answers as a registry may be hostile.  So

- every manifest and blob is asked for by digest, and is refused unless it has that digest;
- credentials and tokens go to the registry they belong to and to its token service, which must be the same
  host, a parent domain of it, a well-known pair or one that the user names; nothing else ever sees them;
- a token is asked for with the scope that we need, not with the one that the registry would like;
- redirects are followed for reading only, at most a few, without credentials, and never from TLS to none;
- sizes and times are bounded (`placet.adapters.bounded_http`).
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple
from urllib.parse import urlencode, urljoin, urlsplit

from placet.adapters.bounded_http import LOOPBACK, BoundedHttp, HttpError, Reply
from placet.adapters.oci.credentials import Credential
from placet.adapters.oci.login import Login, RegistryRefused
from placet.adapters.oci.reference import Reference
from placet.core.encoding import sha256_hex

INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_DOCKER_TYPES = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_ACCEPT = ", ".join((INDEX_TYPE, MANIFEST_TYPE, *_DOCKER_TYPES))

# The specification lets registries refuse larger manifests; an index of very many referrers is one, too.
MAX_MANIFEST_BYTES = 4 * 1024 * 1024
_MAX_SMALL_BYTES = 256 * 1024
_MAX_REDIRECTS = 3


class Descriptor(NamedTuple):
    """What names a manifest or blob: its type, digest and size, and notes that nobody vouches for."""

    media_type: str
    digest: str
    size: int
    artifact_type: str = ""
    annotations: Mapping[str, str] = {}


class RegistryClient:
    """Reads and writes one repository of a registry, in one thread.

    Args:
        image: names registry and repository.
        http: how it is asked; bounds the time of everything together.
        credential: this machine's login for the registry, or None.
        plain_http: speak HTTP without TLS; None does so with a registry on this machine alone.
        token_host: the host of the registry's token service, where it is elsewhere.
    """

    def __init__(
        self,
        image: Reference,
        http: BoundedHttp,
        *,
        credential: Credential | None = None,
        plain_http: bool | None = None,
        token_host: str = "",
    ) -> None:
        self.image = image
        self._http = http
        self._has_login = credential is not None
        scheme = "http" if (image.is_here if plain_http is None else plain_http) else "https"
        self._root = f"{scheme}://{image.server}"
        self._base = f"{self._root}/v2/{image.repository}"
        self._login = Login(image, http, credential, root=self._root, token_host=token_host)
        self._authorization: dict[str, str] = {}

    def get_manifest(self, digest: str) -> bytes:
        """Returns a manifest's bytes; they have the digest.

        Raises:
            HttpError: it cannot be had.
        """
        reply = self._read(f"/manifests/{digest}", MAX_MANIFEST_BYTES, accept=_ACCEPT)
        return self._checked(self._body(reply, f"the manifest {digest}"), digest)

    def get_tag(self, tag: str) -> tuple[str, bytes] | None:
        """Returns digest and bytes of what a tag names now, or None where there is no such tag.

        Raises:
            HttpError: the registry does not say.
        """
        reply = self._read(f"/manifests/{tag}", MAX_MANIFEST_BYTES, accept=_ACCEPT)
        if reply.status == 404:
            return None
        body = self._body(reply, f"the tag {tag}")
        return f"sha256:{sha256_hex(body)}", body

    def get_blob(self, digest: str, *, max_bytes: int) -> bytes:
        """Returns a blob; it has the digest.

        Raises:
            HttpError: it cannot be had, or is larger.
        """
        reply = self._read(f"/blobs/{digest}", max_bytes, accept="*/*")
        return self._checked(self._body(reply, f"the blob {digest}"), digest)

    def get_list(self, path: str, *, accept: str) -> Reply:
        """Asks for a listing below the repository, such as ``/referrers/sha256:…``.

        Raises:
            HttpError: it cannot be had.
        """
        return self._read(path, MAX_MANIFEST_BYTES, accept=accept)

    def next_page(self, reply: Reply) -> str:
        """Returns the path where a listing goes on, or ""; never outside of this repository.

        Raises:
            HttpError: the registry would lead elsewhere.
        """
        link = reply.headers.get("Link", "")
        target, found, parameters = link.partition(">")
        if not found or 'rel="next"' not in parameters.replace(" ", "") or not target.startswith("<"):
            return ""
        url = _join(f"{self._base}/referrers/", target[1:])
        if not url.startswith(f"{self._base}/"):
            raise HttpError(f"The registry {self.image.host} leads on to another place than its own.")
        return url.removeprefix(self._base)

    def put_blob(self, content: bytes) -> str:
        """Stores a blob where it is not there yet; returns its digest.

        Raises:
            HttpError: the registry does not take it.
        """
        digest = f"sha256:{sha256_hex(content)}"
        found = self._write("HEAD", f"{self._base}/blobs/{digest}")
        if found.status == 200:
            return digest
        begun = self._write("POST", f"{self._base}/blobs/uploads/", content=b"")
        location = _join(f"{self._root}/", begun.headers.get("Location", ""))
        if begun.status != 202 or not location.startswith(f"{self._root}/"):
            if begun.status == 202:
                raise HttpError(
                    f"The registry {self.image.host} sends uploads to another address, "
                    "which gets nothing from us.",
                    "Its operator tells it its own address (docker-registry: http.host, http.relativeurls).",
                )
            raise self._refused(begun, "to store something")
        url = f"{location}{'&' if '?' in location else '?'}{urlencode({'digest': digest})}"
        headers = {"Content-Type": "application/octet-stream"}
        done = self._write("PUT", url, content=content, headers=headers)
        if done.status != 201:
            raise self._refused(done, "to store something")
        return digest

    def put_manifest(self, content: bytes, *, media_type: str, tag: str = "") -> Reply:
        """Stores a manifest under its digest, or under a tag.

        Raises:
            HttpError: the registry does not take it.
        """
        name = tag or f"sha256:{sha256_hex(content)}"
        reply = self._write(
            "PUT", f"{self._base}/manifests/{name}", content=content, headers={"Content-Type": media_type}
        )
        if reply.status != 201:
            raise self._refused(reply, "to store a manifest")
        return reply

    def _checked(self, body: bytes, digest: str) -> bytes:
        if f"sha256:{sha256_hex(body)}" != digest:
            raise HttpError(
                f"The registry {self.image.host} answered with other bytes than {digest} names.",
                "Use nothing that this registry says until its operator explains it.",
            )
        return body

    def _body(self, reply: Reply, what: str) -> bytes:
        if reply.status == 404:
            raise RegistryRefused(f"The registry {self.image.host} does not have {what}.", status=404)
        if reply.status != 200:
            raise self._refused(reply, f"to give {what}")
        return reply.body

    def _refused(self, reply: Reply, what: str) -> RegistryRefused:
        if reply.status in (401, 403):
            hint = f"Log in with an account that may: docker login {self.image.host}."
            if not self._has_login:
                hint = f"This machine has no login for it: docker login {self.image.host}."
            said = f"The registry {self.image.host} refuses {what} ({reply.status})."
            return RegistryRefused(said, hint, status=reply.status)
        return RegistryRefused(
            f"The registry {self.image.host} refuses {what} ({reply.status}).", status=reply.status
        )

    def _read(self, path: str, max_bytes: int, *, accept: str) -> Reply:
        """Reads with credentials, then along redirects without."""
        url = f"{self._base}{path}"
        reply = self._authorized("GET", url, max_bytes, {"Accept": accept}, None)
        for _ in range(_MAX_REDIRECTS):
            if reply.status not in (301, 302, 303, 307, 308):
                return reply
            url = self._check_redirect(url, reply.headers.get("Location", ""))
            reply = self._http.send("GET", url, max_bytes=max_bytes, headers={"Accept": accept})
        if reply.status in (301, 302, 303, 307, 308):
            raise HttpError(f"The registry {self.image.host} sends us round in circles.")
        return reply

    def _check_redirect(self, url: str, location: str) -> str:
        target = _join(url, location)
        try:
            parts = urlsplit(target)
            host = (parts.hostname or "").lower()
        except ValueError:
            host = ""
        secure = parts.scheme == "https" if host else False
        # A registry elsewhere must not make us ask this machine's own services.
        allowed = self.image.is_here if _is_this_machine(host) else bool(host)
        if not location or not allowed or not (secure or (parts.scheme == "http" and self._is_plain)):
            raise HttpError(f"The registry {self.image.host} redirects to where we do not go.")
        if "@" in parts.netloc:
            raise HttpError(f"The registry {self.image.host} redirects to where we do not go.")
        return target

    @property
    def _is_plain(self) -> bool:
        return self._root.startswith("http:")

    def _write(
        self, method: str, url: str, *, content: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        return self._authorized(method, url, _MAX_SMALL_BYTES, dict(headers or {}), content)

    def _authorized(
        self, method: str, url: str, max_bytes: int, headers: dict[str, str], content: bytes | None
    ) -> Reply:
        """Makes an exchange with the registry itself; logs in where it asks for that."""
        action = "pull" if method == "GET" else "pull,push"
        known = self._authorization.get(action)
        first = {**headers, "Authorization": known} if known else headers
        reply = self._http.send(method, url, max_bytes=max_bytes, headers=first, content=content)
        if reply.status != 401:
            return reply
        granted = self._login.answer(reply.headers.get("WWW-Authenticate", ""), action)
        if not granted or granted == known:
            return reply
        self._authorization[action] = granted
        with_login = {**headers, "Authorization": granted}
        return self._http.send(method, url, max_bytes=max_bytes, headers=with_login, content=content)


def _is_this_machine(host: str) -> bool:
    """Tells whether a host is this machine, or a neighbour that answers without a router (cloud metadata)."""
    name = host.rstrip(".")
    try:
        address = ip_address(name)
    except ValueError:
        # Of the other spellings of addresses (127.1, 0x7f000001), resolvers read more than we do.
        last = name.rpartition(".")[2]
        return name in LOOPBACK or last == "localhost" or last.isdigit() or last.startswith("0x")
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    return address.is_loopback or address.is_unspecified or address.is_link_local


def _join(base: str, target: str) -> str:
    """Returns where a link leads, or "" where it is none."""
    try:
        return urljoin(base, target)
    except ValueError:
        return ""

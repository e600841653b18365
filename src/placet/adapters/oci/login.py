"""Logging in to a registry, without telling anybody else (OCI and Docker token authentication).

A registry answers 401 and says where tokens are given out.  Whoever answers may be hostile, and would like to
have our password sent to a place of its own, or a token that opens more than the image in question.
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from placet.adapters.bounded_http import LOOPBACK, BoundedHttp, HttpError, Reply
from placet.adapters.oci.credentials import Credential
from placet.adapters.oci.reference import Reference, host_of

_MAX_TOKEN = 64 * 1024
_MAX_CHALLENGE = 4096

# Token services that stand under another domain than their registry.
_KNOWN_SERVICES = {"docker.io": "auth.docker.io"}

_challenge_part = re.compile(r'([A-Za-z]+)="([^"]*)"').findall


class RegistryRefused(HttpError):
    """The registry answered, and with a refusal; `status` is its number."""

    def __init__(self, message: str, hint: str = "", *, status: int = 0) -> None:
        super().__init__(message, hint)
        self.status = status


class Login:
    """Answers one registry's challenges.

    Args:
        image: names registry and repository.
        http: how the token service is asked.
        credential: this machine's login for the registry, or None.
        root: the registry's own address, such as ``https://registry.example``.
        token_host: the host of its token service, where it is elsewhere.
    """

    def __init__(
        self,
        image: Reference,
        http: BoundedHttp,
        credential: Credential | None,
        *,
        root: str,
        token_host: str,
    ) -> None:
        self._image = image
        self._http = http
        self._credential = credential
        self._root = root
        self._token_host = (token_host or _KNOWN_SERVICES.get(image.host, "")).lower()

    def answer(self, challenge: str, action: str) -> str:
        """Returns the ``Authorization`` that a challenge asks for, or "" where there is none to give.

        Args:
            challenge: the ``WWW-Authenticate`` of a 401.
            action: ``pull`` or ``pull,push``.

        Raises:
            HttpError: the login would go where it must not, or the token service refuses.
        """
        scheme, _, rest = challenge[:_MAX_CHALLENGE].partition(" ")
        if self._credential is not None:
            self._check_way(self._root)
        if scheme.lower() == "basic":
            return self._credential.basic if self._credential is not None and self._credential.user else ""
        if scheme.lower() != "bearer":
            return ""
        parameters = {name.lower(): value for name, value in _challenge_part(rest)}
        realm = parameters.get("realm", "")
        self._check_service(realm)
        # Our own scope: a registry may name another one, for a token that is worth more to it than to us.
        scope = f"repository:{self._image.repository}:{action}"
        return self._fetch_token(realm, {"service": parameters.get("service", ""), "scope": scope})

    def _check_service(self, realm: str) -> None:
        """Refuses a token service that is a stranger to the registry, with or without a login to send.

        Even without one, its answer goes to the registry as a token: a hostile registry could so have this
        machine read for it what only this machine can reach.
        """
        try:
            parts = urlsplit(realm)
            host = (parts.hostname or "").lower()
        except ValueError:
            host = ""
        if not host or "@" in parts.netloc or not self._is_service(host):
            raise HttpError(
                f"The registry {self._image.host} wants us to log in at {host or 'no address'}, which is "
                "another host. Nothing was sent there.",
                f"If that is its token service, say so: --token-host {host}." if host else "",
            )
        if parts.scheme != "https" and not (parts.scheme == "http" and self._root.startswith("http:")):
            raise HttpError(f"The registry {self._image.host} wants us to log in without TLS.")
        if self._credential is not None:
            self._check_way(realm)

    def _is_service(self, host: str) -> bool:
        own = host_of(self._image.server)
        # Whoever owns a domain can answer for every name below it, so a parent domain is no stranger.
        is_name = not own.rpartition(".")[2].isdigit() and ":" not in own
        return host in (own, self._token_host) or (is_name and "." in host and own.endswith(f".{host}"))

    def _check_way(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme == "https" or (parts.scheme == "http" and (parts.hostname or "") in LOOPBACK):
            return
        raise HttpError(
            f"The registry {self._image.host} wants a login over plain HTTP, which others could read.",
            "Use its https address.",
        )

    def _fetch_token(self, realm: str, asked: dict[str, str]) -> str:
        credential = self._credential
        if credential is not None and credential.identity_token:
            form = {"grant_type": "refresh_token", "client_id": "placet", **asked}
            content = urlencode({**form, "refresh_token": credential.identity_token}).encode()
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            reply = self._http.send("POST", realm, max_bytes=_MAX_TOKEN, headers=headers, content=content)
        else:
            query = urlencode({name: value for name, value in asked.items() if value}, quote_via=quote)
            url = f"{realm}{'&' if '?' in realm else '?'}{query}"
            headers = {"Authorization": credential.basic} if credential is not None else {}
            reply = self._http.send("GET", url, max_bytes=_MAX_TOKEN, headers=headers)
        token = _read_token(reply) if reply.status == 200 else ""
        if not token:
            raise RegistryRefused(
                f"The registry {self._image.host} does not log us in ({reply.status}).",
                f"Log in again: docker login {self._image.host}.",
                status=reply.status,
            )
        return f"Bearer {token}"


def _read_token(reply: Reply) -> str:
    value = read_json(reply.body)
    if isinstance(value, dict):
        for name in ("token", "access_token"):
            token = value.get(name)
            if isinstance(token, str) and token.isascii() and token.isprintable() and " " not in token:
                return token
    return ""


def read_json(data: bytes) -> Any:
    """Returns the JSON value of what a server sent, or None where it is none."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None

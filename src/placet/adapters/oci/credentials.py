"""Credentials for registries, from where `docker login`, `podman login` and cosign keep them.

What is found here belongs to one registry; `placet.adapters.oci.client` sends it nowhere else.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from placet.adapters.bounded_http import HttpError
from placet.core.encoding import b64decode_strict, b64encode
from placet.core.errors import PlacetError

_MAX_CONFIG_BYTES = 4 * 1024 * 1024
_HELPER_SECONDS = 20
# Docker's helpers know Docker's own registry by this name.
_HUB_KEY = "https://index.docker.io/v1/"
# A helper with this user name gives an identity token, not a password.
_TOKEN_USER = "<token>"  # noqa: S105
# A helper's name becomes part of a program's; a slash would choose any program of the machine.
_helper_name = re.compile(r"[A-Za-z0-9_.-]{1,64}").fullmatch


class Credential(NamedTuple):
    """How this machine logs in to one registry: a user's password, or a token to get tokens with."""

    user: str = ""
    password: str = ""
    identity_token: str = ""

    @property
    def basic(self) -> str:
        """The value of a Basic ``Authorization`` header."""
        return f"Basic {b64encode(f'{self.user}:{self.password}'.encode())}"


def find_credential(
    host: str, *, environ: Mapping[str, str] | None = None, home: Path | None = None
) -> Credential | None:
    """Returns the credential for a registry, or None where this machine has none.

    Args:
        host: as images name it, such as ``registry.example:5000`` or ``docker.io``.

    Raises:
        HttpError: a configuration file or its helper does not work.
    """
    environ = os.environ if environ is None else environ
    for path in _config_files(environ, home or Path.home()):
        config = _read_config(path)
        if config is not None and (found := _in_config(config, host, path)):
            return found
    return None


def _config_files(environ: Mapping[str, str], home: Path) -> Iterator[Path]:
    """Yields the files in the order in which cosign and crane read them."""
    yield (
        Path(environ["DOCKER_CONFIG"]) / "config.json"
        if environ.get("DOCKER_CONFIG")
        else (home / ".docker" / "config.json")
    )
    if environ.get("REGISTRY_AUTH_FILE"):
        yield Path(environ["REGISTRY_AUTH_FILE"])
    if environ.get("XDG_RUNTIME_DIR"):
        yield Path(environ["XDG_RUNTIME_DIR"]) / "containers" / "auth.json"


def _read_config(path: Path) -> dict[str, Any] | None:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_CONFIG_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as e:
        raise HttpError(f"The registries' credentials in {path} cannot be read: {e.strerror}.") from e
    try:
        value = json.loads(data) if len(data) <= _MAX_CONFIG_BYTES else None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise HttpError(f"{path} is not a Docker configuration.", "Log in again: docker login.")
    return value


def _in_config(config: dict[str, Any], host: str, path: Path) -> Credential | None:
    keys = _keys(host)
    helpers = config.get("credHelpers")
    for key in keys:
        helper = helpers.get(key) if isinstance(helpers, dict) else None
        if isinstance(helper, str) and (found := _ask_helper(helper, key)):
            return found
    auths = config.get("auths")
    for key in keys:
        entry = auths.get(key) if isinstance(auths, dict) else None
        if isinstance(entry, dict) and (found := _read_entry(entry, path)):
            return found
    store = config.get("credsStore")
    if isinstance(store, str) and store:
        for key in keys:
            if found := _ask_helper(store, key):
                return found
    return None


def _keys(host: str) -> tuple[str, ...]:
    if host == "docker.io":
        return _HUB_KEY, "index.docker.io", "docker.io", "https://index.docker.io/v1"
    # Old versions of Docker wrote addresses where newer ones write hosts.
    return host, f"https://{host}", f"https://{host}/v1/", f"https://{host}/v2/"


def _read_entry(entry: dict[str, Any], path: Path) -> Credential | None:
    token = entry.get("identitytoken")
    if isinstance(token, str) and token:
        return Credential(identity_token=token)
    user, password, auth = entry.get("username"), entry.get("password"), entry.get("auth")
    if isinstance(auth, str) and auth:
        try:
            user, colon, password = b64decode_strict(auth.strip(), "/auth").decode().partition(":")
        except (PlacetError, UnicodeDecodeError):
            colon = ""
        if not colon:
            raise HttpError(f"{path} holds a login that cannot be read.", "Log in again: docker login.")
    if isinstance(user, str) and user and isinstance(password, str):
        return Credential(user, password.rstrip("\0"))
    return None


def _ask_helper(name: str, key: str) -> Credential | None:
    if not _helper_name(name):
        raise HttpError(f"{name!r} is not the name of a credential helper.")
    program = f"docker-credential-{name}"
    try:
        done = subprocess.run(
            [program, "get"],
            input=key.encode(),
            capture_output=True,
            timeout=_HELPER_SECONDS,
            check=False,
        )
    except FileNotFoundError as e:
        raise HttpError(
            f"The credential helper {program} is not installed.", "Install it, or log in without it."
        ) from e
    except (OSError, subprocess.TimeoutExpired) as e:
        raise HttpError(f"The credential helper {program} did not work ({type(e).__name__}).") from e
    if done.returncode != 0:
        return None  # helpers end so where they hold nothing for a registry
    try:
        value = json.loads(done.stdout[:_MAX_CONFIG_BYTES])
        user, secret = value["Username"], value["Secret"]
    except (ValueError, RecursionError, KeyError, TypeError) as e:
        raise HttpError(f"The credential helper {program} answered with something else.") from e
    if not isinstance(user, str) or not isinstance(secret, str):
        raise HttpError(f"The credential helper {program} answered with something else.")
    return Credential(identity_token=secret) if user == _TOKEN_USER else Credential(user, secret)

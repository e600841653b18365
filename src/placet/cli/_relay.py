"""What the commands that talk to a relay share: its address, the connection, the withdraw tokens."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from placet.adapters.paths import state_dir
from placet.adapters.private_file import write_atomically
from placet.cli import UndecidedError, UserError
from placet.cli._shared import read_file, setting
from placet.core.encoding import Digest, is_hex
from placet.core.errors import PlacetError, Reason

if TYPE_CHECKING:
    from placet.client import RelayClient, RelayClientError

DEFAULT_RELAY = "http://127.0.0.1:8471"
_MAX_TOKEN_BYTES = 1024


class RelaySettings(NamedTuple):
    """Which relay is asked, and how this caller makes itself known to it."""

    url: str
    token: str | None
    ca_file: str | None


def relay_settings(url: str | None) -> RelaySettings:
    """Returns the relay that was named, or set, or runs on this machine, with this caller's token.

    Raises:
        UserError: a setting cannot be used.
    """
    token = os.environ.get("PLACET_RELAY_TOKEN") or None
    path = setting(None, "relay_token_file")
    if token is None and path is not None:
        data = read_file(path, "relay token file", _MAX_TOKEN_BYTES)
        # The message must not show what is in it.
        token = data.decode("ascii", errors="replace").strip()
    return RelaySettings(setting(url, "relay") or DEFAULT_RELAY, token, setting(None, "relay_ca_file"))


def open_relay(url: str | None) -> RelayClient:
    """Returns the client of the relay that was named, or set, or runs on this machine.

    Raises:
        UserError: httpx is not installed, or this is not the address of a relay.
    """
    try:
        from placet.client import RelayClient
    except ModuleNotFoundError as e:
        raise UserError("Talking to a relay needs httpx.", "Install it: pip install 'placet[client]'") from e
    settings = relay_settings(url)
    try:
        return RelayClient(settings.url, token=settings.token, verify=settings.ca_file, on_pause=_say_pause)
    except PlacetError as e:
        raise UserError(e.message, e.hint) from e


def _say_pause(error: RelayClientError, seconds: float) -> None:
    """Says that the relay asks for patience; pauses of our own are too short to be told."""
    if error.retry_after > 0:
        text = f"The relay asks to wait: trying again in {seconds:.0f} s."
        print(text, file=sys.stderr, flush=True)


def relay_failed(
    error: RelayClientError, consequence: str, *, unclear: str = "", then: str = ""
) -> UserError:
    """Returns the error for a call that the relay refused (wrong usage), or that it did not rightly answer.

    Args:
        error: what happened.
        consequence: what it means that nothing was done.
        unclear: what it means that this is not known, since the answer may be all that was lost.
        then: what to do about that.
    """
    if error.reason is Reason.RELAY_REFUSED:
        return UserError(f"{error.message} {consequence} [{error.reason}]", error.hint)
    message = f"{error.message} {unclear or consequence} [{error.reason}]"
    return UndecidedError(message, f"{error.hint} {then}".rstrip())


def read_request_id(text: str) -> Digest:
    """Returns a request's ID.

    Raises:
        UserError: it is not one.
    """
    if not is_hex(text, 64):
        raise UserError(
            "A request's ID is 64 hexadecimal characters, in lower case.", "`placet request` printed it."
        )
    return Digest(text)


def token_path(request_id: Digest) -> Path:
    """Returns where the secret is kept with which a request can be withdrawn."""
    return state_dir() / "requests" / f"{request_id}.token"


def keep_token(request_id: Digest, token: str) -> str:
    """Keeps a withdraw token for `placet withdraw`; returns why it could not be kept, or "".

    A runner may have no folder of its own; then the request is sent all the same.
    """
    try:
        path = token_path(request_id)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(path, token.encode("ascii"))
    except RuntimeError as e:  # there is no home
        return str(e)
    except OSError as e:
        return f"{e.strerror or os.strerror(e.errno or 0)}: {e.filename}"
    return ""


def read_token(request_id: Digest) -> str:
    """Returns the token that `keep_token` kept.

    Raises:
        UserError: there is none on this machine, or it cannot be read.
    """
    try:
        data = token_path(request_id).read_bytes()[:_MAX_TOKEN_BYTES]
        return data.decode("ascii")
    except (OSError, RuntimeError, ValueError) as e:
        raise UserError(
            "The secret with which this request can be withdrawn is not on this machine.",
            "Withdraw it where it was asked for, or give the secret that is kept there with --token: "
            f"~/.local/state/placet/requests/{request_id}.token",
        ) from e

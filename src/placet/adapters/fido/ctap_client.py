"""A security key without a browser: python-fido2's own client over USB.

It plays the browser's part for the terminal's page: the same options, the same client data with the
terminal's origin, so that what it makes can later be used on that page, and the other way round.

Linux lets a user speak to a key through ``/dev/hidraw*``, which needs a udev rule (Debian: libfido2-1 or
systemd brings it; it tags FIDO devices with ``uaccess``).
"""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from fido2.client import (
    ClientError,
    DefaultClientDataCollector,
    Fido2Client,
    PinRequiredError,
    UserInteraction,
)
from fido2.ctap import CtapDevice
from fido2.ctap2.pin import ClientPin
from fido2.hid import CtapHidDevice
from fido2.hid.base import FileCtapHidConnection, HidDescriptor
from fido2.webauthn import PublicKeyCredentialCreationOptions, PublicKeyCredentialRequestOptions

from placet.ports.authenticator import AuthenticatorError

_PACKET_BYTES = 64
_PERMISSION = (
    "On Linux this needs a udev rule for FIDO devices: install libfido2-1 (Debian), plug the key in again, "
    "and be logged in at this machine."
)


class Registration(NamedTuple):
    """What ``navigator.credentials.create()`` would return."""

    client_data_json: bytes
    attestation_object: bytes


class Assertion(NamedTuple):
    """What ``navigator.credentials.get()`` would return."""

    credential_id: bytes
    client_data_json: bytes
    authenticator_data: bytes
    signature: bytes


class _ReportConnection(FileCtapHidConnection):
    """A device node: Linux wants the report number, 0, before each packet."""

    def write_packet(self, data: bytes) -> None:
        super().write_packet(b"\0" + data)  # type: ignore[no-untyped-call]


def open_device(path: Path | None = None) -> CtapDevice:
    """Opens a security key: the one at `path`, or the only one that is plugged in.

    Raises:
        AuthenticatorError: there is none, there are several, or it cannot be opened.
    """
    try:
        if path is not None:
            name = str(path)
            descriptor = HidDescriptor(name, 0, 0, _PACKET_BYTES, _PACKET_BYTES, path.name, None)
            return CtapHidDevice(descriptor, _ReportConnection(descriptor))  # type: ignore[no-untyped-call]
        found = list(CtapHidDevice.list_devices())
    except (OSError, ValueError) as e:
        what, why = f"The security key {path}" if path else "A security key", getattr(e, "strerror", None)
        raise AuthenticatorError(f"{what} cannot be opened: {why or e}. {_PERMISSION}") from e
    if len(found) == 1:
        return found[0]
    for device in found:
        device.close()
    if not found:
        raise AuthenticatorError(f"No security key was found. Plug it in. {_PERMISSION}")
    names = ", ".join(str(device.descriptor.path) for device in found)
    raise AuthenticatorError(
        f"There are {len(found)} security keys ({names}). Unplug all but one, or name one with --device."
    )


class CtapClient:
    """A browser's part, for one page and one key."""

    def __init__(
        self,
        device: CtapDevice,
        web_origin: str,
        *,
        say: Callable[[str], None],
        ask_pin: Callable[[], str] = lambda: getpass.getpass("PIN of the security key: "),
    ) -> None:
        """Takes a device.

        Args:
            device: the security key.
            web_origin: the origin of the terminal's page; it becomes part of what is signed.
            say: shows a sentence to the person.
            ask_pin: asks the person for the key's PIN.

        Raises:
            AuthenticatorError: the device does not answer as a security key does.
        """
        collector = DefaultClientDataCollector(web_origin, _belongs)
        try:
            self._client = Fido2Client(device, collector, user_interaction=_Person(say, ask_pin))
        except Exception as e:  # a device may answer anything, and fido2 documents no exception
            raise AuthenticatorError(
                f"The security key does not answer: {str(e) or type(e).__name__}."
            ) from e

    def create(self, options: dict[str, Any]) -> Registration:
        """Makes a credential, as ``navigator.credentials.create()``; `options` in their JSON form.

        Raises:
            AuthenticatorError: the person declined, the PIN was wrong, or the key cannot do it.
        """
        made = self._call(
            lambda: self._client.make_credential(PublicKeyCredentialCreationOptions.from_dict(options))
        )
        return Registration(bytes(made.response.client_data), bytes(made.response.attestation_object))

    def get(self, options: dict[str, Any]) -> Assertion:
        """Signs a challenge, as ``navigator.credentials.get()``; `options` in their JSON form.

        Raises:
            AuthenticatorError: the person declined, the PIN was wrong, or the key has no such credential.
        """
        made = self._call(
            lambda: self._client.get_assertion(
                PublicKeyCredentialRequestOptions.from_dict(options)
            ).get_response(0)
        )
        response = made.response
        return Assertion(
            bytes(made.raw_id),
            bytes(response.client_data),
            bytes(response.authenticator_data),
            bytes(response.signature),
        )

    def _call(self, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except AuthenticatorError:
            raise
        except (ClientError, PinRequiredError) as e:
            raise AuthenticatorError(_explain(e)) from e
        except Exception as e:  # as above: nothing that a device does may end in a traceback
            raise AuthenticatorError(f"The security key failed: {str(e) or type(e).__name__}.") from e


def _belongs(rp_id: str, origin: str) -> bool:
    """Tells whether a page may use an RP ID; plain http is for names of this machine."""
    parts = urlsplit(origin)
    host = parts.hostname or ""
    secure = parts.scheme == "https" or (parts.scheme == "http" and host.endswith(".localhost"))
    return secure and (host == rp_id or host.endswith(f".{rp_id}"))


def _explain(error: Exception) -> str:
    code = getattr(error, "code", None)
    cause = str(getattr(error, "cause", "") or error)
    if isinstance(error, PinRequiredError) or "PIN_NOT_SET" in cause:
        return "The key has no PIN, or none was given. Set one (`fido2-token -S DEVICE`), and try again."
    if "PIN_INVALID" in cause or "PIN_AUTH_INVALID" in cause:
        return "The PIN is wrong. Try again; after eight wrong ones the key locks itself."
    if "PIN_BLOCKED" in cause or "PIN_AUTH_BLOCKED" in cause:
        return "The key is locked after wrong PINs. Unplug it and try again; if that fails, it must be reset."
    if code == ClientError.ERR.DEVICE_INELIGIBLE:
        return "This key does not fit: it is enrolled here already, or is not the one that was asked for."
    if code == ClientError.ERR.CONFIGURATION_UNSUPPORTED:
        return "This key cannot verify its user. Set a PIN on it, or use one with a PIN or fingerprint."
    if code == ClientError.ERR.TIMEOUT or "OPERATION_DENIED" in cause:
        return "Nobody touched the key in time, or the touch was declined."
    return f"The security key refused: {cause}."


class _Person(UserInteraction):
    """Asks for touch and PIN on the command line."""

    def __init__(self, say: Callable[[str], None], ask_pin: Callable[[], str]) -> None:
        self._say, self._ask_pin = say, ask_pin
        # Asked for once: one command needs it for two touches, seconds apart.
        self._pin: str | None = None

    def prompt_up(self) -> None:
        """Asks for a touch."""
        self._say("Touch the key: it blinks.")

    def request_pin(self, permissions: ClientPin.PERMISSION, rp_id: str | None) -> str | None:
        """Asks for the PIN; it goes to the key and nowhere else."""
        if self._pin is None:
            try:
                self._pin = self._ask_pin() or None
            except EOFError:
                return None
        return self._pin

    def request_uv(self, permissions: ClientPin.PERMISSION, rp_id: str | None) -> bool:
        """Asks for a finger."""
        self._say("Put your finger on the key.")
        return True


def say_to_person(text: str) -> None:
    """Shows a sentence at once, away from what a program reads."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()

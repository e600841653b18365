"""What every desk shares: a key is asked on the page; its answer is a signature, or is refused in words."""

from __future__ import annotations

from typing import NamedTuple

from placet.core.sshsig import encode_webauthn_sshsig

# Long enough to find the key and type a PIN; the page can ask again.
TOUCH_SECONDS = 120
NOTHING_SIGNED = "Nothing was signed and nothing was sent."
NOT_COUNTED = "The key answered, but its signature does not count. Nothing was sent."


class DeskError(Exception):
    """What the person asked for cannot be done.

    Attributes:
        reason: stable name in kebab-case.
        message: what happened.
        meaning: what it means for the approval.
        hint: what to do next.
    """

    def __init__(self, reason: str, message: str, hint: str, *, meaning: str = NOTHING_SIGNED) -> None:
        super().__init__(message)
        self.reason, self.message, self.hint, self.meaning = reason, message, hint, meaning


class Assertion(NamedTuple):
    """What ``navigator.credentials.get()`` gave to the page."""

    credential_id: str
    authenticator_data: bytes
    client_data_json: bytes
    signature: bytes


class Touch(NamedTuple):
    """What the page asks the authenticator for."""

    challenge: str
    rp_id: str
    credentials: tuple[tuple[str, tuple[str, ...]], ...]
    timeout_seconds: int
    text: str


def pack_assertion(assertion: Assertion, *, key_wire: bytes, namespace: str, web_origin: str) -> bytes:
    """Returns what a browser gave as a binary SSHSIG.

    Raises:
        MalformedError: it is not what a browser gives.
    """
    return encode_webauthn_sshsig(
        key_wire=key_wire,
        namespace=namespace,
        authenticator_data=assertion.authenticator_data,
        client_data_json=assertion.client_data_json,
        der_signature=assertion.signature,
        web_origin=web_origin,
    )

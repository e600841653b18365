"""The browser's half of a WebAuthn assertion: clientDataJSON (spec/06-webauthn.md).

WebAuthn Level 3, section 5.8.1.1, fixes how clientDataJSON begins; browsers may append
members (Chromium adds random ones), so the prefix is compared and the rest is parsed.
"""

from __future__ import annotations

from typing import Any

from placet.core.encoding import b64url_encode, parse_json
from placet.core.errors import MalformedError, PolicyError, Reason, VerificationError

# Origins and challenges of placet fit in 400 bytes; browsers append a little.
MAX_CLIENT_DATA_BYTES = 4096


def check_client_data(client_data_json: bytes, *, challenge: bytes, web_origin: str) -> None:
    """Checks that a browser made this assertion, for these bytes, on a page of this origin itself.

    Args:
        client_data_json: the bytes under the signature.
        challenge: the SSHSIG data to be signed, raw.
        web_origin: the origin that the SSHSIG names.

    Raises:
        MalformedError: CLIENT_DATA, or a JSON reason.
        VerificationError: CHALLENGE_MISMATCH.
        PolicyError: CROSS_ORIGIN.
    """
    if '"' in web_origin or "\\" in web_origin:  # The comparisons below are of JSON text.
        raise MalformedError(Reason.CLIENT_DATA, "A web origin has no quotation mark and no backslash.")
    encoded = b64url_encode(challenge)
    prefix = f'{{"type":"webauthn.get","challenge":"{encoded}","origin":"{web_origin}"'.encode()
    if client_data_json == prefix + b',"crossOrigin":false}':
        return  # Exactly what a browser writes when it adds nothing; there is no more to read.
    members = parse_json(client_data_json, max_bytes=MAX_CLIENT_DATA_BYTES, what="client data")
    if not isinstance(members, dict) or members.get("type") != "webauthn.get":
        raise MalformedError(Reason.CLIENT_DATA, "The client data is not that of an assertion.")
    if members.get("challenge") != encoded:  # WAN-06
        raise VerificationError(
            Reason.CHALLENGE_MISMATCH,
            "The authenticator signed a challenge for other bytes than these.",
            hint="The page that asked for the touch showed something else, or the file was altered.",
        )
    _check_top_level(members)
    following = client_data_json[len(prefix) : len(prefix) + 1]
    # WAN-08: the normative serialisation; anything else was not built by a browser.
    if not client_data_json.startswith(prefix) or following not in (b",", b"}"):
        raise MalformedError(Reason.CLIENT_DATA, "The client data does not begin as browsers write it.")
    if members.get("origin") != web_origin:
        raise MalformedError(Reason.CLIENT_DATA, "The client data names another origin.")


def _check_top_level(members: dict[str, Any]) -> None:
    # WAN-09: an approval made inside somebody else's frame was shown by that somebody.
    if members.get("crossOrigin", False) is not False or "topOrigin" in members:
        raise PolicyError(Reason.CROSS_ORIGIN, "The approval page was embedded in another site.")

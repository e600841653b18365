"""People who sign in at the private issuer: in a browser (RFC 7636), or on another device (RFC 8628)."""

from __future__ import annotations

import base64
import hashlib
import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from placet.testing.private_sigstore.fulcio import Refused

if TYPE_CHECKING:
    from placet.testing.private_sigstore.stack import PrivateSigstore

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"


class SignInDesk:
    """The issuer's endpoints for people.

    Attributes:
        signed_in: who sits before the browser and consents at once; None where nobody does.
        polls: how often devices have asked for their token.
        slow_down: how many polls are told to slow down first.
        interval: the seconds between polls that devices are told.
    """

    def __init__(self, sigstore: PrivateSigstore) -> None:
        self._sigstore = sigstore
        self.signed_in: str | None = None
        self.polls = 0
        self.slow_down = 0
        self.interval = 1
        self._codes: dict[str, dict[str, str]] = {}
        self._devices: dict[str, dict[str, str]] = {}

    def discovery(self) -> dict[str, Any]:
        """Answers the discovery document."""
        base = self._sigstore.base_url
        return {
            "issuer": base,
            "authorization_endpoint": f"{base}/auth",
            "token_endpoint": f"{base}/token",
            "device_authorization_endpoint": f"{base}/device",
            "jwks_uri": f"{base}/keys",
            "id_token_signing_alg_values_supported": ["ES256"],
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "code_challenge_methods_supported": ["S256"],
        }

    def authorize(self, query: dict[str, str]) -> str:
        """Answers a browser at the authorization endpoint: the address that it is sent on to."""
        answer = {"state": query.get("state", "")}
        if self.signed_in is None:
            answer["error"] = "access_denied"
        else:
            code = secrets.token_urlsafe(16)
            self._codes[code] = query | {"who": self.signed_in}
            answer["code"] = code
        return f"{query['redirect_uri']}?{urlencode(answer)}"

    def enter_code(self, user_code: str, who: str | None) -> None:
        """A person enters the device's code on another device, and consents; None declines."""
        (device,) = (device for device in self._devices.values() if device["user_code"] == user_code)
        device["who" if who else "declined"] = who or "yes"

    def waiting_codes(self) -> list[str]:
        """Returns the codes that devices show to people now."""
        return [device["user_code"] for device in self._devices.values() if "who" not in device]

    def answer(self, path: str, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """Answers POST /device and POST /token: status and JSON."""
        if path == "/device":
            return 200, self._start_device(form)
        if form.get("grant_type") == DEVICE_GRANT:
            return self._answer_poll(form)
        try:
            asked = self._codes.pop(form["code"])
        except KeyError:
            return 400, {"error": "invalid_grant"}
        if asked.get("code_challenge", "") != _challenge(form.get("code_verifier", "")):
            return 400, {"error": "invalid_grant"}
        return 200, self._grant(asked["who"], {"nonce": asked["nonce"]} if "nonce" in asked else {})

    def _start_device(self, form: dict[str, str]) -> dict[str, Any]:
        if form.get("client_id") != "sigstore":
            raise Refused("unknown client")
        device_code = secrets.token_urlsafe(24)
        user_code = secrets.token_hex(4).upper()
        self._devices[device_code] = {"user_code": user_code}
        page = f"{self._sigstore.base_url}/activate"
        return {
            "device_code": device_code,
            "user_code": user_code,
            "verification_uri": page,
            "verification_uri_complete": f"{page}?user_code={user_code}",
            "expires_in": 300,
            "interval": self.interval,
        }

    def _answer_poll(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        self.polls += 1
        device = self._devices.get(form.get("device_code", ""))
        if device is None:
            return 400, {"error": "expired_token"}
        if "declined" in device:
            return 400, {"error": "access_denied"}
        if self.slow_down > 0:
            self.slow_down -= 1
            return 400, {"error": "slow_down"}
        if "who" not in device:
            return 400, {"error": "authorization_pending"}
        del self._devices[form["device_code"]]
        return 200, self._grant(device["who"], {})

    def _grant(self, who: str, claims: dict[str, str]) -> dict[str, Any]:
        token = self._sigstore.token(who, **claims)
        return {"access_token": token, "id_token": token, "token_type": "Bearer", "expires_in": 600}


def _challenge(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")

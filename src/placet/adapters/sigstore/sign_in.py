"""How whoever signs says who they are: an OIDC token from a browser, another device, a file, or the machine.

Tokens are secrets: nothing here prints one, or puts one into a message.  Whether a token is true is for
Fulcio to say, and whether it is the approved identity for the signing gate.

Leaves out: refreshing tokens.  A certificate lives for ten minutes; whoever signs again signs in again.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from placet.adapters.bounded_http import LOOPBACK, BoundedHttp, HttpError
from placet.core.errors import visible
from placet.ports.artifact_signer import SigningUnavailableError

CLIENT_ID = "sigstore"
# The variable that sigstore's own client reads.
TOKEN_VARIABLE = "SIGSTORE_IDENTITY_TOKEN"  # noqa: S105 -- the name of a variable
_DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_MAX_TOKEN_BYTES = 64 * 1024
_MAX_ANSWER_BYTES = 256 * 1024
_CALL_SECONDS = 20.0
# RFC 8628 section 3.2: the default where the issuer names none; section 3.5: how much slower.
_INTERVAL = 5.0
_SLOWER = 5.0
# However long the issuer would wait: by then the approval's window is over, too.
_MAX_WAIT_SECONDS = 1800.0


class DevicePrompt(NamedTuple):
    """What a person needs to sign in on another device.

    Args:
        address: the page to open.
        code: what to type there; worth nothing without the person's own sign-in.
        minutes: how long it is good for.
    """

    address: str
    code: str
    minutes: int


def read_token_file(path: Path) -> str:
    """Returns the token in a file, as a platform's projected token lies there.

    Raises:
        SigningUnavailableError: it cannot be read, or holds none.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_TOKEN_BYTES + 1)
    except OSError as e:
        raise SigningUnavailableError(
            f"The identity token {path} cannot be read: {e.strerror}.", "Check the path and who may read it."
        ) from e
    return check_token(data.decode("ascii", "replace"), f"The file {path}")


def check_token(text: str, where: str) -> str:
    """Returns a token without the white space around it.

    Raises:
        SigningUnavailableError: this is none.
    """
    token = text.strip()
    if token.count(".") != 2 or len(token) > _MAX_TOKEN_BYTES or not token.isascii():
        raise SigningUnavailableError(
            f"{where} holds no OIDC token.", "A token is three parts of base64 with dots between them."
        )
    return token


def ambient_token() -> str:
    """Returns the token that the machine's platform gives to whatever runs here.

    Raises:
        SigningUnavailableError: it gives none.
    """
    from sigstore.oidc import IdentityError, detect_credential

    try:
        found = detect_credential()
    except IdentityError as e:
        raise SigningUnavailableError(
            f"This platform gives no identity: {visible(str(e))[:300]}.", "Check the job's permissions."
        ) from e
    if found is None:
        raise SigningUnavailableError(
            "This machine has no identity of its own.",
            "Give --identity-token-file, or sign in with --sign-in browser or --sign-in device.",
        )
    return found


def browser_token(issuer: str, *, client_id: str = CLIENT_ID) -> str:
    """Has a person sign in with this machine's browser.

    Raises:
        SigningUnavailableError: nobody did.
    """
    from sigstore.oidc import Issuer

    try:
        return str(Issuer(issuer).identity_token(client_id=client_id))
    except Exception as e:  # sigstore-python's own, and those of requests and sockets
        raise SigningUnavailableError(
            f"Nobody signed in at {issuer}: {visible(str(e) or type(e).__name__)[:300]}.",
            "Nothing was used. Try again, or use --sign-in device.",
        ) from e


def device_token(
    issuer: str,
    tell: Callable[[DevicePrompt], None],
    *,
    client_id: str = CLIENT_ID,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> str:
    """Has a person sign in on another device (RFC 8628), with proof of possession (RFC 7636).

    Args:
        tell: shows the person where to go, and the code.

    Raises:
        SigningUnavailableError: the issuer does not offer it, or nobody signed in.
    """
    verifier = secrets.token_urlsafe(32)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    found = _get(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
    if "device_authorization_endpoint" not in found:
        raise SigningUnavailableError(
            f"{issuer} does not let people sign in on another device.", "Use --sign-in browser."
        )
    _check_addresses(issuer, found)
    started = _post(
        str(found["device_authorization_endpoint"]),
        {
            "client_id": client_id,
            "scope": "openid email",
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        },
    )
    wait = min(_number(started, "expires_in", 600.0), _MAX_WAIT_SECONDS)
    interval = _number(started, "interval", _INTERVAL)
    until = clock() + wait
    tell(_prompt(started, wait))
    poll = {
        "grant_type": _DEVICE_GRANT,
        "device_code": str(started.get("device_code", "")),
        "client_id": client_id,
        "code_verifier": verifier,
    }
    while clock() < until:
        # An issuer that names a day between two questions does not hold a gate that long.
        sleep(min(interval, max(0.0, until - clock())))
        answer = _post(str(found["token_endpoint"]), poll)
        if "id_token" in answer:
            return check_token(str(answer["id_token"]), "The issuer's answer")
        said = answer.get("error")
        if said == "slow_down":
            interval += _SLOWER
        elif said != "authorization_pending":
            raise _declined(issuer, str(said))
    raise _declined(issuer, "expired_token")


def _declined(issuer: str, said: str) -> SigningUnavailableError:
    why = {
        "access_denied": "the person declined",
        "expired_token": "nobody signed in before the code expired",
    }.get(said, f'it says "{visible(said)[:100]}"')
    return SigningUnavailableError(
        f"There is no token from {issuer}: {why}.", "Nothing was used. Start again when somebody is there."
    )


def _check_addresses(issuer: str, found: dict[str, Any]) -> None:
    """Refuses to send a code in the clear, unless the issuer itself is this machine's own, without TLS."""
    for name in ("device_authorization_endpoint", "token_endpoint"):
        address = str(found.get(name, ""))
        if not address.startswith("https:") and not (_is_here(issuer) and _is_here(address)):
            raise SigningUnavailableError(
                f"{issuer} names a {name} without TLS.", "Do not sign in there; ask who operates it."
            )


def _is_here(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return parts.scheme == "http" and (parts.hostname or "") in LOOPBACK
    except ValueError:
        return False


def _prompt(started: dict[str, Any], wait: float) -> DevicePrompt:
    address = visible(str(started.get("verification_uri", "")))
    code = visible(str(started.get("user_code", "")))
    if not address.startswith(("https://", "http://")) or not code:
        raise SigningUnavailableError(
            "The issuer did not say where to sign in.", "Use --sign-in browser, or tell who operates it."
        )
    return DevicePrompt(address[:500], code[:60], max(1, int(wait // 60)))


def _number(answer: dict[str, Any], name: str, default: float) -> float:
    value = answer.get(name, default)
    return float(value) if isinstance(value, int | float) and 0 < value < 86_400 else default


def _get(url: str) -> dict[str, Any]:
    return _ask("GET", url, None)


def _post(url: str, form: dict[str, str]) -> dict[str, Any]:
    return _ask("POST", url, urlencode(form).encode())


def _ask(method: str, url: str, content: bytes | None) -> dict[str, Any]:
    headers = {"Accept": "application/json"}
    if content is not None:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    try:
        with BoundedHttp(seconds=_CALL_SECONDS) as http:
            reply = http.send(method, url, max_bytes=_MAX_ANSWER_BYTES, headers=headers, content=content)
        answer = json.loads(reply.body)
    except HttpError as e:
        raise SigningUnavailableError(str(e), e.hint or "Nothing was used. Try again.") from e
    except (ValueError, RecursionError) as e:
        raise SigningUnavailableError(f"{url} does not answer as an OIDC issuer.", "Check the issuer.") from e
    if not isinstance(answer, dict) or (reply.status >= 400 and "error" not in answer):
        raise SigningUnavailableError(
            f"{url} does not answer as an OIDC issuer (HTTP {reply.status}).", "Check the issuer."
        )
    return answer

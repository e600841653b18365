"""The authenticator's side of clientPIN: PIN/UV auth protocol two (CTAP 2.1, sections 6.5.5 to 6.5.7).

Holds the PIN, its retry counter and the one token that a client may have. Changing a PIN and
protocol one are left out: no client under test needs them.
"""

import hmac
import secrets
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec
from fido2.ctap import CtapError
from fido2.ctap2.pin import ClientPin, PinProtocol, PinProtocolV2

Response = dict[int, Any]

MAX_RETRIES: Final = 8
PROTOCOL: Final = 2
_MIN_PIN_LENGTH: Final = 4
_UV_RETRIES: Final = 3
_DEFAULT_PERMISSIONS: Final = ClientPin.PERMISSION.MAKE_CREDENTIAL | ClientPin.PERMISSION.GET_ASSERTION


class CtapFailure(Exception):
    """The authenticator answers with this CTAP status instead of a response."""

    def __init__(self, status: CtapError.ERR) -> None:
        self.status = status
        super().__init__(status.name)


def required(request: Mapping[int, Any], key: int) -> Any:
    """Return a mandatory parameter.

    Raises:
        CtapFailure: MISSING_PARAMETER.
    """
    if key not in request:
        raise CtapFailure(CtapError.ERR.MISSING_PARAMETER)
    return request[key]


class PinUvAuth:
    """PIN, built-in user verification, and the token that either yields.

    Attributes:
        retries: PIN attempts that are left.
    """

    def __init__(self, pin: str | None, verify_user: Callable[[], bool] | None) -> None:
        self._verify_user = verify_user
        self._pin_hash = _hash_pin(pin.encode()) if pin is not None else None
        self._derive: Callable[[bytes], bytes] = PinProtocolV2().kdf
        self._protocol: PinProtocol = PinProtocolV2()
        self._agreement_key = ec.generate_private_key(ec.SECP256R1())
        self._token: bytes | None = None
        self._permissions = 0
        self._permitted_rp_id: str | None = None
        self.retries = MAX_RETRIES

    @property
    def has_pin(self) -> bool:
        """Whether a PIN is set."""
        return self._pin_hash is not None

    def reset(self) -> None:
        """Forget the PIN, as authenticatorReset does."""
        self._pin_hash = None
        self._token = None
        self.retries = MAX_RETRIES

    def end_token_use(self) -> None:
        """Withdraw the token's permissions after a touch, so that each touch serves one operation."""
        self._permissions = 0

    def check_user_verification(self) -> None:
        """Verify the user by the authenticator's own means.

        Raises:
            CtapFailure: There are none, or the user was not recognised.
        """
        if self._verify_user is None:
            raise CtapFailure(CtapError.ERR.INVALID_OPTION)
        if not self._verify_user():
            raise CtapFailure(CtapError.ERR.UV_INVALID)

    def check_token(
        self, auth_param: bytes, protocol: object, client_data_hash: bytes, permission: int, rp_id: str
    ) -> None:
        """Check a pinUvAuthParam over ``client_data_hash``.

        Raises:
            CtapFailure: Another protocol, no token, a wrong MAC, or a permission that was not given.
        """
        if protocol != PROTOCOL:
            raise CtapFailure(CtapError.ERR.INVALID_PARAMETER)
        token = self._token
        if token is None or not hmac.compare_digest(
            self._protocol.authenticate(token, client_data_hash), auth_param
        ):
            raise CtapFailure(CtapError.ERR.PIN_AUTH_INVALID)
        if not self._permissions & permission or self._permitted_rp_id not in (None, rp_id):
            raise CtapFailure(CtapError.ERR.PIN_AUTH_INVALID)

    def handle(self, request: Mapping[int, Any]) -> Response | None:
        """Answer one authenticatorClientPIN request.

        Raises:
            CtapFailure: The request is refused.
        """
        command = ClientPin.CMD
        match required(request, 2):
            case command.GET_PIN_RETRIES:
                return {ClientPin.RESULT.PIN_RETRIES: self.retries}
            case command.GET_UV_RETRIES:
                return {ClientPin.RESULT.UV_RETRIES: _UV_RETRIES}
            case command.GET_KEY_AGREEMENT:
                return {ClientPin.RESULT.KEY_AGREEMENT: self._agreement_point()}
            case command.SET_PIN:
                self._set_pin(request)
                return None
            case command.GET_TOKEN_USING_PIN_LEGACY | command.GET_TOKEN_USING_PIN:
                shared = self._shared_secret(request)
                self._check_pin(self._protocol.decrypt(shared, required(request, 6)))
                return self._new_token(request, shared)
            case command.GET_TOKEN_USING_UV:
                self.check_user_verification()
                return self._new_token(request, self._shared_secret(request))
            case _:
                raise CtapFailure(CtapError.ERR.INVALID_SUBCOMMAND)

    def _set_pin(self, request: Mapping[int, Any]) -> None:
        if self.has_pin:
            raise CtapFailure(CtapError.ERR.NOT_ALLOWED)
        shared = self._shared_secret(request)
        encrypted = required(request, 5)
        if not hmac.compare_digest(self._protocol.authenticate(shared, encrypted), required(request, 4)):
            raise CtapFailure(CtapError.ERR.PIN_AUTH_INVALID)
        pin = self._protocol.decrypt(shared, encrypted).rstrip(b"\0")
        if len(pin.decode("utf-8", "replace")) < _MIN_PIN_LENGTH:
            raise CtapFailure(CtapError.ERR.PIN_POLICY_VIOLATION)
        self._pin_hash = _hash_pin(pin)

    def _check_pin(self, pin_hash: bytes) -> None:
        if self._pin_hash is None:
            raise CtapFailure(CtapError.ERR.PIN_NOT_SET)
        if self.retries == 0:
            raise CtapFailure(CtapError.ERR.PIN_BLOCKED)
        # Counted before the comparison, as the specification demands: pulling the plug during
        # the comparison must not give a free guess.
        self.retries -= 1
        if not hmac.compare_digest(pin_hash, self._pin_hash):
            self._agreement_key = ec.generate_private_key(ec.SECP256R1())
            raise CtapFailure(CtapError.ERR.PIN_INVALID if self.retries else CtapError.ERR.PIN_BLOCKED)
        self.retries = MAX_RETRIES

    def _new_token(self, request: Mapping[int, Any], shared: bytes) -> Response:
        self._token = secrets.token_bytes(32)
        self._permissions = request.get(9, _DEFAULT_PERMISSIONS)
        self._permitted_rp_id = request.get(10)
        return {ClientPin.RESULT.PIN_UV_TOKEN: self._protocol.encrypt(shared, self._token)}

    def _agreement_point(self) -> dict[int, Any]:
        numbers = self._agreement_key.public_key().public_numbers()
        return {1: 2, 3: -25, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}

    def _shared_secret(self, request: Mapping[int, Any]) -> bytes:
        if required(request, 1) != PROTOCOL:
            raise CtapFailure(CtapError.ERR.INVALID_PARAMETER)
        peer = required(request, 3)
        try:
            x, y = int.from_bytes(peer[-2], "big"), int.from_bytes(peer[-3], "big")
            peer_key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
        except (KeyError, TypeError, ValueError) as error:
            raise CtapFailure(CtapError.ERR.INVALID_PARAMETER) from error
        return self._derive(self._agreement_key.exchange(ec.ECDH(), peer_key))


def _hash_pin(pin: bytes) -> bytes:
    return sha256(pin).digest()[:16]

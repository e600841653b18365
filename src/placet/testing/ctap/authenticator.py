"""The authenticator itself: CTAP 2.1 commands in, CTAP 2.1 responses out, no transport.

ES256 and EdDSA, discoverable and non-discoverable credentials, PIN and built-in user
verification, ``up: false`` preflight, credProtect, packed, self and no attestation. Enough
for browsers' and OpenSSH's habits, and a few dishonest settings for the attack tests.
"""

import secrets
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from fido2 import cbor
from fido2.cose import ES256, CoseKey, EdDSA
from fido2.ctap import CtapError
from fido2.ctap2.base import Ctap2
from fido2.ctap2.pin import ClientPin

from placet.testing._wire import authenticator_data
from placet.testing.authenticator import AT, BE, BS, ED, UP, UV
from placet.testing.ctap.attestation import SOFTWARE_AAGUID, AttestationCa, AttestationIdentity
from placet.testing.ctap.client_pin import PROTOCOL, CtapFailure, PinUvAuth, Response, required

Attestation = Literal["packed", "self", "none"]
PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
Request = Mapping[int, Any]

MAX_MESSAGE_SIZE: Final = 2048
_CREDENTIAL_ID_SIZE: Final = 32
_MAX_CREDENTIALS_IN_LIST: Final = 8
_UV_REQUIRED: Final = 3
"""credProtect level three: the credential does not even answer without user verification."""


class Touch(NamedTuple):
    """The authenticator blinks and waits for somebody.

    Attributes:
        reason: ``register``, ``sign``, ``excluded``, ``select`` or ``reset``.
        rp_id: The relying party that asks, if one does.
        cancelled: Set when the client gives up; a callback that blocks should watch it.
    """

    reason: str
    rp_id: str | None
    cancelled: threading.Event


class Credential(NamedTuple):
    """One key pair on the authenticator."""

    credential_id: bytes
    rp_id: str
    user: Mapping[str, Any]
    key: PrivateKey
    discoverable: bool
    protection: int


class SoftAuthenticator:
    """A CTAP 2.1 authenticator in memory.

    Attributes:
        aaguid: The model it claims to be.
        attestation_ca: The vendor under which its attestation is issued.
        credentials: Everything it holds, by credential ID.
        counter: The signature counter, one for all credentials.
        presence: Called for each touch; False means that the user declined.
        rewrite_flags: When set, the authenticator lies: it signs what this returns for the
            true flags.
        touches: Every touch it asked for, in order.
        commands: Every command byte it got, in order.
    """

    assurance: Final = "software"

    def __init__(
        self,
        *,
        aaguid: bytes = SOFTWARE_AAGUID,
        pin: str | None = None,
        verify_user: Callable[[], bool] | None = None,
        presence: Callable[[Touch], bool] = lambda touch: True,
        backup_eligible: bool = False,
        backed_up: bool = False,
        attestation: Attestation = "packed",
        attestation_ca: AttestationCa | None = None,
        attestation_identity: AttestationIdentity | None = None,
        rewrite_flags: Callable[[int], int] | None = None,
    ) -> None:
        """Make an authenticator.

        Args:
            aaguid: The model it claims to be.
            pin: Its PIN. Without one, a client may set it.
            verify_user: Its own user verification, a fingerprint reader say; True recognises the user.
            presence: Called for each touch.
            backup_eligible: Set BE, as a password manager's passkey does.
            backed_up: Set BS.
            attestation: How it proves its model at registration.
            attestation_ca: The vendor; by default one of its own.
            attestation_identity: Its certificate and key; by default issued for ``aaguid``.
            rewrite_flags: Makes it dishonest.
        """
        self.aaguid = aaguid
        self.attestation_ca = attestation_ca or AttestationCa()
        self.credentials: dict[bytes, Credential] = {}
        self.counter = 0
        self.presence = presence
        self.rewrite_flags = rewrite_flags
        self.touches: list[Touch] = []
        self.commands: list[int] = []
        self.waiting_for_touch = threading.Event()
        self._identity = attestation_identity or self.attestation_ca.issue(aaguid)
        self._attestation = attestation
        self._backup_flags = (BE if backup_eligible else 0) | (BS if backed_up else 0)
        self._has_own_verification = verify_user is not None
        self._auth = PinUvAuth(pin, verify_user)
        self._cancelled = threading.Event()
        self._remaining: list[Response] = []

    @property
    def pin_retries(self) -> int:
        """PIN attempts that are left."""
        return self._auth.retries

    def process(self, request: bytes, *, cancelled: threading.Event | None = None) -> bytes:
        """Answer one CTAP message: command byte and CBOR in, status byte and CBOR out.

        Args:
            request: The message.
            cancelled: Set by the transport when the client gives up.
        """
        self._cancelled = cancelled or threading.Event()
        commands: dict[int, Callable[[Request], Response | None]] = {
            Ctap2.CMD.MAKE_CREDENTIAL: self._make_credential,
            Ctap2.CMD.GET_ASSERTION: self._get_assertion,
            Ctap2.CMD.GET_NEXT_ASSERTION: self._get_next_assertion,
            Ctap2.CMD.GET_INFO: self._get_info,
            Ctap2.CMD.CLIENT_PIN: self._auth.handle,
            Ctap2.CMD.RESET: self._reset,
            Ctap2.CMD.SELECTION: self._select,
        }
        try:
            command = commands.get(request[0]) if request else None
            if command is None:
                raise CtapFailure(CtapError.ERR.INVALID_COMMAND)
            self.commands.append(request[0])
            response = command(_decode_parameters(request[1:]))
        except CtapFailure as failure:
            return bytes([failure.status])
        return b"\0" + (b"" if response is None else cbor.encode(response))

    def _get_info(self, _request: Request) -> Response:
        options = {
            "rk": True,
            "up": True,
            "plat": False,
            "clientPin": self._auth.has_pin,
            "pinUvAuthToken": True,
            "makeCredUvNotRqd": False,
        }
        if self._has_own_verification:
            options["uv"] = True
        return {
            1: ["FIDO_2_0", "FIDO_2_1"],
            2: ["credProtect"],
            3: self.aaguid,
            4: options,
            5: MAX_MESSAGE_SIZE,
            6: [PROTOCOL],
            7: _MAX_CREDENTIALS_IN_LIST,
            8: 128,
            9: ["usb"],
            10: [{"alg": alg, "type": "public-key"} for alg in (ES256.ALGORITHM, EdDSA.ALGORITHM)],
        }

    def _make_credential(self, request: Request) -> Response:
        client_data_hash: bytes = required(request, 1)
        rp_id: str = required(request, 2)["id"]
        user: Mapping[str, Any] = required(request, 3)
        algorithm = _choose_algorithm(required(request, 4))
        options: Mapping[str, bool] = request.get(7, {})
        verified = self._verify_user(
            request, (8, 9), options, client_data_hash, ClientPin.PERMISSION.MAKE_CREDENTIAL, rp_id
        )
        if not verified and (self._auth.has_pin or self._has_own_verification):
            raise CtapFailure(CtapError.ERR.PUAT_REQUIRED)
        if self._find(rp_id, request.get(5, []), verified):
            self._await_touch("excluded", rp_id)
            raise CtapFailure(CtapError.ERR.CREDENTIAL_EXCLUDED)
        self._await_touch("register", rp_id)
        self._auth.end_token_use()
        protection = request.get(6, {}).get("credProtect")
        credential = Credential(
            secrets.token_bytes(_CREDENTIAL_ID_SIZE),
            rp_id,
            user,
            _generate_key(algorithm),
            bool(options.get("rk")),
            protection or 1,
        )
        self.credentials[credential.credential_id] = credential
        extensions = b"" if protection is None else cbor.encode({"credProtect": protection})
        data = self._registration_data(credential, verified, extensions)
        return self._attest(credential.key, data, client_data_hash, algorithm)

    def _registration_data(self, credential: Credential, verified: bool, extensions: bytes) -> bytes:
        """Assemble authenticator data with the new public key inside."""
        self.counter += 1
        attested = (
            self.aaguid
            + len(credential.credential_id).to_bytes(2, "big")
            + credential.credential_id
            + cbor.encode(_cose_key(credential.key))
        )
        flags = AT | UP | (UV if verified else 0) | (ED if extensions else 0)
        return authenticator_data(
            credential.rp_id, self._final_flags(flags), self.counter, attested + extensions
        )

    def _attest(self, key: PrivateKey, data: bytes, client_data_hash: bytes, algorithm: int) -> Response:
        """Wrap registration data in the attestation that this authenticator gives."""
        signed = data + client_data_hash
        match self._attestation:
            case "none":
                return {1: "none", 2: data, 3: {}}
            case "self":
                return {1: "packed", 2: data, 3: {"alg": algorithm, "sig": _sign(key, signed)}}
            case "packed":
                signature = _sign(self._identity.key, signed)
                statement = {"alg": ES256.ALGORITHM, "sig": signature, "x5c": [self._identity.der]}
                return {1: "packed", 2: data, 3: statement}

    def _get_assertion(self, request: Request) -> Response:
        rp_id: str = required(request, 1)
        client_data_hash: bytes = required(request, 2)
        options: Mapping[str, bool] = request.get(5, {})
        with_touch = options.get("up", True)
        verified = self._verify_user(
            request, (6, 7), options, client_data_hash, ClientPin.PERMISSION.GET_ASSERTION, rp_id
        )
        allowed = request.get(3)
        found = self._find(rp_id, allowed, verified)
        if not found:
            raise CtapFailure(CtapError.ERR.NO_CREDENTIALS)
        if with_touch:
            self._await_touch("sign", rp_id)
            self._auth.end_token_use()
        if allowed is not None:
            found = found[:1]
        flags = (UP if with_touch else 0) | (UV if verified else 0)
        first, *self._remaining = [self._assert(credential, client_data_hash, flags) for credential in found]
        if self._remaining:
            first[5] = len(found)
        return first

    def _assert(self, credential: Credential, client_data_hash: bytes, flags: int) -> Response:
        # A preflight without touch signs too, with UP clear: a verifier that forgets to look at
        # that bit takes it for an approval.
        if flags & UP:
            self.counter += 1
        data = authenticator_data(credential.rp_id, self._final_flags(flags), self.counter)
        response: Response = {
            1: {"id": credential.credential_id, "type": "public-key"},
            2: data,
            3: _sign(credential.key, data + client_data_hash),
        }
        if credential.discoverable:
            response[4] = dict(credential.user) if flags & UV else {"id": credential.user["id"]}
        return response

    def _get_next_assertion(self, _request: Request) -> Response:
        if not self._remaining:
            raise CtapFailure(CtapError.ERR.NOT_ALLOWED)
        return self._remaining.pop(0)

    def _select(self, _request: Request) -> None:
        self._await_touch("select", None)

    def _reset(self, _request: Request) -> None:
        self._await_touch("reset", None)
        self.credentials.clear()
        self._auth.reset()

    def _verify_user(
        self,
        request: Request,
        keys: tuple[int, int],
        options: Mapping[str, bool],
        client_data_hash: bytes,
        permission: int,
        rp_id: str,
    ) -> bool:
        """Tell whether the user is verified for this request, by token or by the authenticator itself."""
        auth_param = request.get(keys[0])
        if auth_param == b"":
            # How older clients ask "which of you is meant?": a touch, then an answer without effect.
            self._await_touch("select", None)
            raise CtapFailure(CtapError.ERR.PIN_INVALID if self._auth.has_pin else CtapError.ERR.PIN_NOT_SET)
        if auth_param is not None:
            self._auth.check_token(auth_param, request.get(keys[1]), client_data_hash, permission, rp_id)
            return True
        if options.get("uv"):
            self._auth.check_user_verification()
            return True
        return False

    def _find(
        self, rp_id: str, allowed: Iterable[Mapping[str, Any]] | None, verified: bool
    ) -> list[Credential]:
        """Find the credentials of a relying party, listed ones or, without a list, discoverable ones."""
        if allowed is None:
            candidates = [credential for credential in self.credentials.values() if credential.discoverable]
        else:
            listed = [self.credentials.get(descriptor["id"]) for descriptor in allowed]
            candidates = [credential for credential in listed if credential is not None]
        return [
            credential
            for credential in candidates
            if credential.rp_id == rp_id and (verified or credential.protection < _UV_REQUIRED)
        ]

    def _await_touch(self, reason: str, rp_id: str | None) -> None:
        touch = Touch(reason, rp_id, self._cancelled)
        self.touches.append(touch)
        self.waiting_for_touch.set()
        try:
            touched = self.presence(touch)
        finally:
            self.waiting_for_touch.clear()
        if self._cancelled.is_set():
            raise CtapFailure(CtapError.ERR.KEEPALIVE_CANCEL)
        if not touched:
            raise CtapFailure(CtapError.ERR.OPERATION_DENIED)

    def _final_flags(self, flags: int) -> int:
        flags |= self._backup_flags
        return flags if self.rewrite_flags is None else self.rewrite_flags(flags)


def _decode_parameters(data: bytes) -> Request:
    if not data:
        return {}
    try:
        decoded = cbor.decode(data)
    except Exception as error:  # fido2 documents no exception type for undecodable CBOR.
        raise CtapFailure(CtapError.ERR.INVALID_CBOR) from error
    if not isinstance(decoded, Mapping):
        raise CtapFailure(CtapError.ERR.CBOR_UNEXPECTED_TYPE)
    return decoded


def _choose_algorithm(parameters: Iterable[Mapping[str, Any]]) -> int:
    for parameter in parameters:
        algorithm: int = parameter["alg"]
        if algorithm in (ES256.ALGORITHM, EdDSA.ALGORITHM):
            return algorithm
    raise CtapFailure(CtapError.ERR.UNSUPPORTED_ALGORITHM)


def _generate_key(algorithm: int) -> PrivateKey:
    if algorithm == EdDSA.ALGORITHM:
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP256R1())


def _cose_key(key: PrivateKey) -> CoseKey:
    cose_type: type[CoseKey] = EdDSA if isinstance(key, ed25519.Ed25519PrivateKey) else ES256
    return cose_type.from_cryptography_key(key.public_key())


def _sign(key: PrivateKey, data: bytes) -> bytes:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    return key.sign(data, ec.ECDSA(hashes.SHA256()))

"""The software authenticator under python-fido2's real client and server."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fido2.attestation import (
    AttestationResult,
    AttestationVerifier,
    InvalidData,
    UnsupportedType,
    UntrustedAttestation,
)
from fido2.client import ClientError, DefaultClientDataCollector, Fido2Client, UserInteraction
from fido2.ctap import CtapDevice, CtapError
from fido2.ctap2.base import Ctap2
from fido2.ctap2.pin import ClientPin, PinProtocolV2
from fido2.hid import CTAPHID, CtapHidDevice
from fido2.server import Fido2Server
from fido2.webauthn import (
    AttestationConveyancePreference,
    AuthenticatorData,
    PublicKeyCredentialParameters,
    PublicKeyCredentialRpEntity,
    PublicKeyCredentialType,
    PublicKeyCredentialUserEntity,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from placet.core.errors import PolicyError, Reason
from placet.core.signature import verify_sshsig
from placet.core.sshsig import (
    NAMESPACE_INTENT,
    encode_sk_ecdsa_key,
    encode_webauthn_sshsig,
    parse_public_key,
    signed_data,
)
from placet.testing.authenticator import BE, BS, UP, UV
from placet.testing.ctap import (
    SOFTWARE_AAGUID,
    HidFraming,
    SoftAuthenticator,
    SoftCtapDevice,
    Touch,
    open_hid_device,
)

RP = PublicKeyCredentialRpEntity(id="terminal.example.com", name="terminal")
WEB_ORIGIN = "https://terminal.example.com"
ALICE = PublicKeyCredentialUserEntity(id=b"\x01" * 32, name="alice")
PIN = "1234"
ES256, EDDSA = -7, -8

Connect = Callable[[SoftAuthenticator], CtapDevice]


class Person(UserInteraction):
    """Types the PIN when asked."""

    def __init__(self, pin: str | None) -> None:
        self.pin = pin

    def request_pin(self, permissions: Any, rp_id: str | None) -> str | None:
        return self.pin

    def request_uv(self, permissions: Any, rp_id: str | None) -> bool:
        return True


class TrustOneVendor(AttestationVerifier):
    """Accepts attestation under the root of one authenticator's vendor."""

    def __init__(self, authenticator: SoftAuthenticator) -> None:
        super().__init__()
        self._root = authenticator.attestation_ca.root_der

    def ca_lookup(self, attestation_result: AttestationResult, auth_data: AuthenticatorData) -> bytes | None:
        # Self attestation has no certificates: fido2 would accept the root for a chain of its own.
        return self._root if attestation_result.trust_path else None


class Desk:
    """A person, a client and a server around one authenticator."""

    def __init__(
        self,
        authenticator: SoftAuthenticator,
        connect: Connect,
        *,
        pin: str | None = None,
        algorithm: int = ES256,
    ) -> None:
        self.authenticator = authenticator
        self.person = Person(pin)
        self.device = connect(authenticator)
        collector = DefaultClientDataCollector(WEB_ORIGIN)
        self.client = Fido2Client(self.device, collector, user_interaction=self.person)
        self.server = Fido2Server(
            RP,
            attestation=AttestationConveyancePreference.DIRECT,
            verify_attestation=TrustOneVendor(authenticator),
        )
        self.server.allowed_algorithms = [
            PublicKeyCredentialParameters(type=PublicKeyCredentialType.PUBLIC_KEY, alg=algorithm)
        ]

    def register(self, *, discoverable: bool = False) -> AuthenticatorData:
        required = ResidentKeyRequirement.REQUIRED if discoverable else ResidentKeyRequirement.DISCOURAGED
        options, state = self.server.register_begin(
            ALICE,
            resident_key_requirement=required,
            user_verification=UserVerificationRequirement.REQUIRED,
        )
        return self.server.register_complete(state, self.client.make_credential(options.public_key))

    def sign(
        self, registered: AuthenticatorData, challenge: bytes, event: threading.Event | None = None
    ) -> Any:
        known = [registered.credential_data]
        options, state = self.server.authenticate_begin(
            known, user_verification=UserVerificationRequirement.REQUIRED, challenge=challenge
        )
        response = self.client.get_assertion(options.public_key, event=event).get_response(0)
        self.server.authenticate_complete(state, known, response)
        return response.response


@pytest.fixture(params=["direct", "ctaphid"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    opened: list[CtapDevice] = []

    def open_device(authenticator: SoftAuthenticator) -> CtapDevice:
        device: CtapDevice = (
            SoftCtapDevice(authenticator) if request.param == "direct" else open_hid_device(authenticator)
        )
        opened.append(device)
        return device

    yield open_device
    for device in opened:
        device.close()


@pytest.mark.parametrize("algorithm", [ES256, EDDSA])
@pytest.mark.parametrize("verification", ["pin", "own"])
def test_real_client_registers_and_signs(connect: Connect, algorithm: int, verification: str) -> None:
    if verification == "pin":
        desk = Desk(SoftAuthenticator(pin=PIN), connect, pin=PIN, algorithm=algorithm)
    else:
        desk = Desk(SoftAuthenticator(verify_user=lambda: True), connect, algorithm=algorithm)
    registered = desk.register()
    assert registered.credential_data is not None
    assert bytes(registered.credential_data.aaguid) == SOFTWARE_AAGUID
    answer = desk.sign(registered, b"\x07" * 32)
    assert answer.authenticator_data.flags == UP | UV
    assert answer.authenticator_data.counter == registered.counter + 1
    assert [touch.reason for touch in desk.authenticator.touches] == ["register", "sign"]


def test_assertion_through_ctap_is_an_approval_signature_for_core(connect: Connect) -> None:
    desk = Desk(SoftAuthenticator(pin=PIN), connect, pin=PIN)
    registered = desk.register()
    message = b"what is approved"
    answer = desk.sign(registered, signed_data(NAMESPACE_INTENT, message))
    assert registered.credential_data is not None
    cose = registered.credential_data.public_key
    wire = encode_sk_ecdsa_key(b"\x04" + cose[-2] + cose[-3], RP.id or "")
    blob = encode_webauthn_sshsig(
        key_wire=wire,
        namespace=NAMESPACE_INTENT,
        authenticator_data=bytes(answer.authenticator_data),
        client_data_json=bytes(answer.client_data),
        der_signature=answer.signature,
        web_origin=WEB_ORIGIN,
    )
    facts = verify_sshsig(
        blob,
        message=message,
        namespace=NAMESPACE_INTENT,
        key=parse_public_key(wire),
        kind="webauthn",
        origins=[WEB_ORIGIN],
    )
    assert facts.user_verified


def test_discoverable_credential_answers_without_being_named(connect: Connect) -> None:
    desk = Desk(SoftAuthenticator(pin=PIN), connect, pin=PIN)
    desk.register(discoverable=True)
    options, _ = desk.server.authenticate_begin(user_verification=UserVerificationRequirement.REQUIRED)
    selection = desk.client.get_assertion(options.public_key)
    assert selection.get_response(0).response.user_handle == ALICE.id


def test_undiscoverable_credential_does_not_answer_unnamed(connect: Connect) -> None:
    desk = Desk(SoftAuthenticator(pin=PIN), connect, pin=PIN)
    desk.register()
    options, _ = desk.server.authenticate_begin(user_verification=UserVerificationRequirement.REQUIRED)
    with pytest.raises(ClientError) as caught:
        desk.client.get_assertion(options.public_key)
    assert caught.value.code == ClientError.ERR.DEVICE_INELIGIBLE


def test_wrong_pin_costs_a_retry_and_signs_nothing(connect: Connect) -> None:
    desk = Desk(SoftAuthenticator(pin=PIN), connect, pin=PIN)
    registered = desk.register()
    desk.person.pin = "9999"
    with pytest.raises(ClientError) as caught:
        desk.sign(registered, b"\0" * 32)
    assert caught.value.cause.code == CtapError.ERR.PIN_INVALID
    assert desk.authenticator.pin_retries == 7
    assert [touch.reason for touch in desk.authenticator.touches] == ["register"]


def test_eighth_wrong_pin_blocks_even_the_right_one() -> None:
    desk = Desk(SoftAuthenticator(pin=PIN), SoftCtapDevice, pin=PIN)
    registered = desk.register()
    for _ in range(8):
        desk.person.pin = "9999"
        with pytest.raises(ClientError):
            desk.sign(registered, b"\0" * 32)
    desk.person.pin = PIN
    with pytest.raises(ClientError) as caught:
        desk.sign(registered, b"\0" * 32)
    assert caught.value.cause.code == CtapError.ERR.PIN_BLOCKED


def test_declined_touch_signs_nothing(connect: Connect) -> None:
    desk = Desk(SoftAuthenticator(pin=PIN), connect, pin=PIN)
    registered = desk.register()
    desk.authenticator.presence = lambda touch: False
    with pytest.raises(ClientError) as caught:
        desk.sign(registered, b"\0" * 32)
    assert caught.value.cause.code == CtapError.ERR.OPERATION_DENIED


def test_unrecognised_finger_signs_nothing(connect: Connect) -> None:
    recognised = [True, False]
    desk = Desk(SoftAuthenticator(verify_user=lambda: recognised.pop(0)), connect)
    registered = desk.register()
    with pytest.raises(ClientError):
        desk.sign(registered, b"\0" * 32)
    assert [touch.reason for touch in desk.authenticator.touches] == ["register"]


def test_client_cancels_while_the_key_blinks() -> None:
    def never(touch: Touch) -> bool:
        give_up.set()
        return not touch.cancelled.wait(10)

    give_up = threading.Event()
    desk = Desk(SoftAuthenticator(pin=PIN), open_hid_device, pin=PIN)
    registered = desk.register()
    desk.authenticator.presence = never
    with pytest.raises(ClientError) as caught:
        desk.sign(registered, b"\0" * 32, event=give_up)
    assert caught.value.code == ClientError.ERR.TIMEOUT
    desk.device.close()


def test_preflight_signature_without_touch_is_refused_by_core() -> None:
    """A client asks "is this key yours?" with up: false, and the authenticator signs the answer."""
    authenticator = SoftAuthenticator(verify_user=lambda: True)
    desk = Desk(authenticator, SoftCtapDevice)
    registered = desk.register()
    assert registered.credential_data is not None
    message = b"what nobody approved"
    client_data = DefaultClientDataCollector(WEB_ORIGIN).collect_client_data(
        desk.server.authenticate_begin(challenge=signed_data(NAMESPACE_INTENT, message))[0].public_key
    )[0]
    answer = Ctap2(SoftCtapDevice(authenticator)).get_assertion(
        RP.id or "",
        client_data.hash,
        [{"id": registered.credential_data.credential_id, "type": "public-key"}],
        options={"up": False, "uv": True},
    )
    assert answer.auth_data.flags == UV
    assert [touch.reason for touch in authenticator.touches] == ["register"]
    cose = registered.credential_data.public_key
    wire = encode_sk_ecdsa_key(b"\x04" + cose[-2] + cose[-3], RP.id or "")
    blob = encode_webauthn_sshsig(
        key_wire=wire,
        namespace=NAMESPACE_INTENT,
        authenticator_data=bytes(answer.auth_data),
        client_data_json=bytes(client_data),
        der_signature=answer.signature,
        web_origin=WEB_ORIGIN,
    )
    with pytest.raises(PolicyError) as caught:
        verify_sshsig(
            blob,
            message=message,
            namespace=NAMESPACE_INTENT,
            key=parse_public_key(wire),
            kind="webauthn",
            origins=[WEB_ORIGIN],
        )
    assert caught.value.reason is Reason.USER_PRESENCE_MISSING


def test_backup_flags_and_lies_are_signed(connect: Connect) -> None:
    desk = Desk(SoftAuthenticator(pin=PIN, backup_eligible=True, backed_up=True), connect, pin=PIN)
    registered = desk.register()
    assert desk.sign(registered, b"\0" * 32).authenticator_data.flags == UP | UV | BE | BS
    desk.authenticator.rewrite_flags = lambda flags: flags & ~UV
    with pytest.raises(ValueError, match=r"[Uu]ser verification"):
        desk.sign(registered, b"\0" * 32)


def test_excluded_credential_is_not_made_twice(connect: Connect) -> None:
    desk = Desk(SoftAuthenticator(pin=PIN), connect, pin=PIN)
    registered = desk.register()
    options, _ = desk.server.register_begin(
        ALICE,
        credentials=[registered.credential_data],
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    with pytest.raises(ClientError) as caught:
        desk.client.make_credential(options.public_key)
    assert caught.value.code == ClientError.ERR.DEVICE_INELIGIBLE
    assert len(desk.authenticator.credentials) == 1


def test_attestation_of_another_model_is_refused() -> None:
    """The certificate names one AAGUID, the authenticator data claims another."""
    honest = SoftAuthenticator(pin=PIN)
    forged = SoftAuthenticator(
        aaguid=b"\x11" * 16,
        pin=PIN,
        attestation_ca=honest.attestation_ca,
        attestation_identity=honest.attestation_ca.issue(SOFTWARE_AAGUID),
    )
    with pytest.raises(InvalidData, match="AAGUID"):
        Desk(forged, SoftCtapDevice, pin=PIN).register()


@pytest.mark.parametrize("attestation", ["self", "none"])
def test_attestation_without_a_vendor_does_not_verify(attestation: Any) -> None:
    desk = Desk(SoftAuthenticator(pin=PIN, attestation=attestation), SoftCtapDevice, pin=PIN)
    with pytest.raises((UntrustedAttestation, UnsupportedType)):
        desk.register()
    trusting = Fido2Server(RP)
    options, state = trusting.register_begin(ALICE, user_verification=UserVerificationRequirement.REQUIRED)
    trusting.register_complete(state, desk.client.make_credential(options.public_key))


def test_malformed_commands_get_a_status_and_no_traceback() -> None:
    authenticator = SoftAuthenticator()
    error = CtapError.ERR
    for request, status in [
        (b"", error.INVALID_COMMAND),
        (b"\x7f", error.INVALID_COMMAND),
        (b"\x01\x1c", error.INVALID_CBOR),
        (b"\x01\x01", error.CBOR_UNEXPECTED_TYPE),
        (b"\x01\xa0", error.MISSING_PARAMETER),
        (b"\x06\xa1\x02\x18\x63", error.INVALID_SUBCOMMAND),
        (b"\x08", error.NOT_ALLOWED),
    ]:
        assert authenticator.process(request) == bytes([status])


def test_hid_framing_answers_ping_and_refuses_what_is_out_of_order() -> None:
    device = open_hid_device(SoftAuthenticator())
    assert isinstance(device, CtapHidDevice)
    device.ping(bytes(range(256)) * 4)
    with pytest.raises(CtapError) as caught:
        device.call(CTAPHID.WINK)
    assert caught.value.code == CtapError.ERR.INVALID_COMMAND
    connection = device._connection
    channel = device._channel_id.to_bytes(4, "big")
    invalid_sequence = channel + b"\xbf\x00\x01\x04"
    connection.write_packet((channel + b"\x05").ljust(64, b"\0"))
    assert connection.read_packet()[:8] == invalid_sequence
    connection.write_packet((channel + b"\x81\x00\xff").ljust(64, b"\0"))
    connection.write_packet((channel + b"\x01").ljust(64, b"\0"))
    assert connection.read_packet()[:8] == invalid_sequence
    device.close()


def ask_raw(authenticator: SoftAuthenticator, token: bytes, rp_id: str, **options: bool) -> None:
    """Ask for an assertion of every discoverable credential with a PIN token."""
    Ctap2(SoftCtapDevice(authenticator)).get_assertion(
        rp_id,
        b"\0" * 32,
        options=options or None,
        pin_uv_param=PinProtocolV2().authenticate(token, b"\0" * 32),
        pin_uv_protocol=PinProtocolV2.VERSION,
    )


def status(call: Callable[[], object]) -> CtapError.ERR:
    with pytest.raises(CtapError) as caught:
        call()
    return CtapError.ERR(caught.value.code)


def test_pin_token_serves_one_touch_one_site_and_one_permission() -> None:
    desk = Desk(SoftAuthenticator(pin=PIN), SoftCtapDevice, pin=PIN)
    desk.register(discoverable=True)
    rp_id, permission = RP.id or "", ClientPin.PERMISSION
    client_pin = ClientPin(Ctap2(desk.device), PinProtocolV2())
    token = client_pin.get_pin_token(PIN, permission.GET_ASSERTION, rp_id)
    ask_raw(desk.authenticator, token, rp_id, up=False)
    ask_raw(desk.authenticator, token, rp_id)
    invalid = CtapError.ERR.PIN_AUTH_INVALID
    assert status(lambda: ask_raw(desk.authenticator, token, rp_id)) is invalid
    elsewhere = client_pin.get_pin_token(PIN, permission.GET_ASSERTION, "other.example")
    assert status(lambda: ask_raw(desk.authenticator, elsewhere, rp_id)) is invalid
    registering = client_pin.get_pin_token(PIN, permission.MAKE_CREDENTIAL, rp_id)
    assert status(lambda: ask_raw(desk.authenticator, registering, rp_id)) is invalid
    client_pin.get_pin_token(PIN, permission.GET_ASSERTION, rp_id)
    assert status(lambda: ask_raw(desk.authenticator, b"\0" * 32, rp_id)) is invalid


def test_authenticator_with_a_pin_registers_nothing_without_it() -> None:
    authenticator = SoftAuthenticator(pin=PIN)
    make = Ctap2(SoftCtapDevice(authenticator)).make_credential
    key_type = [{"type": "public-key", "alg": ES256}]
    refused = status(lambda: make(b"\0" * 32, {"id": RP.id, "name": ""}, {"id": b"u", "name": ""}, key_type))
    assert refused is CtapError.ERR.PUAT_REQUIRED
    assert not authenticator.credentials


def test_credential_answers_its_own_site_only_and_a_protected_one_a_verified_user_only() -> None:
    authenticator = SoftAuthenticator()
    ctap = Ctap2(SoftCtapDevice(authenticator))
    key_type = [{"type": "public-key", "alg": ES256}]
    for level in (1, 3):
        made = ctap.make_credential(
            b"\0" * 32,
            {"id": RP.id, "name": ""},
            {"id": b"u", "name": ""},
            key_type,
            extensions={"credProtect": level},
        )
        assert made.auth_data.extensions == {"credProtect": level}
        assert made.auth_data.credential_data is not None
        allowed = [{"type": "public-key", "id": made.auth_data.credential_data.credential_id}]
        if level == 1:
            ctap.get_assertion(RP.id or "", b"\0" * 32, allowed)
            refused = status(lambda: ctap.get_assertion("other.example", b"\0" * 32, allowed))  # noqa: B023
        else:
            refused = status(lambda: ctap.get_assertion(RP.id or "", b"\0" * 32, allowed))  # noqa: B023
        assert refused is CtapError.ERR.NO_CREDENTIALS


def test_pin_can_be_set_once_and_reset_forgets_everything() -> None:
    authenticator = SoftAuthenticator()
    ctap = Ctap2(SoftCtapDevice(authenticator))
    client_pin = ClientPin(ctap, PinProtocolV2())
    client_pin.set_pin(PIN)
    assert status(lambda: client_pin.set_pin("5678")) is CtapError.ERR.NOT_ALLOWED
    client_pin.get_pin_token(PIN, ClientPin.PERMISSION.GET_ASSERTION, "x")
    ctap.reset()
    assert not ctap.get_info().options["clientPin"]
    assert [touch.reason for touch in authenticator.touches] == ["reset"]


def test_second_client_is_told_that_the_authenticator_is_busy() -> None:
    def touched_late(touch: Touch) -> bool:
        waiting.set()
        return go_on.wait(10)

    waiting, go_on = threading.Event(), threading.Event()
    packets: list[bytes] = []
    framing = HidFraming(SoftAuthenticator(presence=touched_late), packets.append)
    selection = b"\0\0\0\1\x90\0\1\x0b".ljust(64, b"\0")
    framing.feed(selection)
    assert waiting.wait(10)
    framing.feed(selection)
    assert any(packet[4:8] == b"\xbf\0\1\6" for packet in packets)
    go_on.set()
    framing.close()

"""A page in a real Chromium signs with a virtual authenticator; stock OpenSSH and placet judge it."""

import base64
import http.server
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from fido2.webauthn import AttestationObject

from placet.core.encoding import b64url_encode
from placet.core.errors import MalformedError, PlacetError, Reason
from placet.core.signature import SignatureFacts, verify_sshsig
from placet.core.sshsig import (
    NAMESPACE_INTENT,
    encode_sk_ecdsa_key,
    encode_webauthn_sshsig,
    parse_public_key,
    signed_data,
)
from placet.testing.chromium import ChromiumSession, VirtualAuthenticator, launch_chromium
from placet.testing.openssh import verify_with_ssh_keygen

pytestmark = pytest.mark.browser

RP_ID = "demo.placet.localhost"
MESSAGE = b"DSSEv1 28 application/vnd.in-toto+json 2 {}"

CREATE = """async (options) => {
  const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options);
  return (await navigator.credentials.create({publicKey})).toJSON();
}"""
GET = """async (options) => {
  const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options);
  return (await navigator.credentials.get({publicKey})).toJSON();
}"""


def unb64url(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Page(http.server.BaseHTTPRequestHandler):
    """An approval page without anything on it."""

    def do_GET(self) -> None:
        body = b"<!doctype html><title>terminal</title>"
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def chromium() -> Iterator[ChromiumSession]:
    with launch_chromium() as session:
        yield session


@pytest.fixture
def authenticator(chromium: ChromiumSession, port: int) -> Iterator[VirtualAuthenticator]:
    chromium.page.goto(f"http://t1.{RP_ID}:{port}")
    plugged_in = chromium.add_authenticator()
    yield plugged_in
    plugged_in.remove()


class Enrolled:
    """A credential that the page made."""

    def __init__(self, chromium: ChromiumSession, port: int, rp_id: str = RP_ID) -> None:
        self.page = chromium.page
        self.rp_id = rp_id
        self.web_origin = f"http://t1.{RP_ID}:{port}"
        options = {
            "rp": {"id": rp_id, "name": "placet demo"},
            "user": {"id": b64url_encode(b"u" * 32), "name": "alice", "displayName": "Alice"},
            "challenge": b64url_encode(b"c" * 32),
            "pubKeyCredParams": [{"type": "public-key", "alg": -7}],
            "authenticatorSelection": {"userVerification": "preferred", "residentKey": "discouraged"},
        }
        made = self.page.evaluate(CREATE, options)
        self.credential_id: str = made["id"]
        registered = AttestationObject(unb64url(made["response"]["attestationObject"])).auth_data
        assert registered.credential_data is not None
        cose = registered.credential_data.public_key
        self.wire = encode_sk_ecdsa_key(b"\x04" + cose[-2] + cose[-3], rp_id)

    def sign(self, user_verification: str = "required", timeout_ms: int = 30_000) -> bytes:
        options = {
            "timeout": timeout_ms,
            "challenge": b64url_encode(signed_data(NAMESPACE_INTENT, MESSAGE)),
            "rpId": self.rp_id,
            "userVerification": user_verification,
            "allowCredentials": [{"type": "public-key", "id": self.credential_id}],
        }
        answer: dict[str, Any] = self.page.evaluate(GET, options)["response"]
        return encode_webauthn_sshsig(
            key_wire=self.wire,
            namespace=NAMESPACE_INTENT,
            authenticator_data=unb64url(answer["authenticatorData"]),
            client_data_json=unb64url(answer["clientDataJSON"]),
            der_signature=unb64url(answer["signature"]),
            web_origin=self.web_origin,
        )

    def verify(self, blob: bytes, *, allow_backup: bool = False) -> SignatureFacts:
        return verify_sshsig(
            blob,
            message=MESSAGE,
            namespace=NAMESPACE_INTENT,
            key=parse_public_key(self.wire),
            kind="webauthn",
            origins=[self.web_origin],
            allow_backup=allow_backup,
        )

    def refusal(self, blob: bytes) -> Reason:
        with pytest.raises(PlacetError) as caught:
            self.verify(blob)
        return caught.value.reason


@pytest.mark.interop
@pytest.mark.usefixtures("authenticator")
def test_ten_approvals_of_a_page_are_accepted_by_stock_openssh_and_core(
    chromium: ChromiumSession, port: int
) -> None:
    # Ten, because Chromium adds a member to its client data at random.
    enrolled = Enrolled(chromium, port)
    for count in range(10):
        blob = enrolled.sign()
        verify_with_ssh_keygen(blob, message=MESSAGE, namespace=NAMESPACE_INTENT, wire=enrolled.wire)
        facts = enrolled.verify(blob)
        assert facts.user_verified
        assert not facts.backup_eligible
        assert facts.web_origin == enrolled.web_origin
        assert facts.counter == count + 2


def test_signature_without_user_verification_is_refused(
    chromium: ChromiumSession, port: int, authenticator: VirtualAuthenticator
) -> None:
    enrolled = Enrolled(chromium, port)
    authenticator.set_user_verified(False)
    assert enrolled.refusal(enrolled.sign("discouraged")) is Reason.USER_VERIFICATION_MISSING
    with pytest.raises(Exception, match="NotAllowedError"):
        enrolled.sign("required")
    authenticator.set_user_verified(True)
    enrolled.verify(enrolled.sign())


def test_synced_passkey_is_refused(
    chromium: ChromiumSession, port: int, authenticator: VirtualAuthenticator
) -> None:
    enrolled = Enrolled(chromium, port)
    (known,) = authenticator.credentials()
    assert known["rpId"] == RP_ID
    authenticator.set_backup_state(known["credentialId"], eligible=True, backed_up=True)
    blob = enrolled.sign()
    assert enrolled.refusal(blob) is Reason.BACKUP_NOT_ALLOWED
    assert enrolled.verify(blob, allow_backup=True).backup_eligible


def test_faulty_authenticator_is_refused(
    chromium: ChromiumSession, port: int, authenticator: VirtualAuthenticator
) -> None:
    enrolled = Enrolled(chromium, port)
    authenticator.set_faults(bogus_signature=True)
    with pytest.raises(MalformedError) as caught:
        enrolled.sign()
    assert caught.value.reason is Reason.BAD_SSHSIG
    authenticator.set_faults(bad_up=True)
    assert enrolled.refusal(enrolled.sign()) is Reason.USER_PRESENCE_MISSING
    authenticator.set_faults(bad_uv=True)
    assert enrolled.refusal(enrolled.sign()) is Reason.USER_VERIFICATION_MISSING
    authenticator.set_faults()
    enrolled.verify(enrolled.sign())


@pytest.mark.usefixtures("authenticator")
def test_page_of_a_sibling_deployment_cannot_use_the_credential(chromium: ChromiumSession, port: int) -> None:
    enrolled = Enrolled(chromium, port)
    for host in ("t1.evil.placet.localhost", "placet.localhost", "localhost"):
        chromium.page.goto(f"http://{host}:{port}")
        with pytest.raises(Exception, match="SecurityError"):
            enrolled.sign()


@pytest.mark.usefixtures("authenticator")
def test_page_of_another_terminal_is_refused_by_its_origin(chromium: ChromiumSession, port: int) -> None:
    enrolled = Enrolled(chromium, port)
    chromium.page.goto(f"http://t2.{RP_ID}:{port}")
    # A page that claims the first terminal's origin beside the client data is caught too.
    assert enrolled.refusal(enrolled.sign()) is Reason.CLIENT_DATA
    enrolled.web_origin = f"http://t2.{RP_ID}:{port}"
    blob = enrolled.sign()
    enrolled.web_origin = f"http://t1.{RP_ID}:{port}"
    assert enrolled.refusal(blob) is Reason.ORIGIN_NOT_ALLOWED


def test_known_key_can_be_put_into_the_browser(chromium: ChromiumSession, port: int) -> None:
    chromium.page.goto(f"http://t1.{RP_ID}:{port}")
    first = chromium.add_authenticator()
    enrolled = Enrolled(chromium, port)
    (known,) = first.credentials()
    first.remove()
    second = chromium.add_authenticator()
    second.add_credential(
        credential_id=known["credentialId"], rp_id=RP_ID, pkcs8=known["privateKey"], sign_count=40
    )
    assert enrolled.verify(enrolled.sign()).counter == 41
    second.remove()


def test_nobody_touches_and_nothing_is_signed(
    chromium: ChromiumSession, port: int, authenticator: VirtualAuthenticator
) -> None:
    enrolled = Enrolled(chromium, port)
    authenticator.set_automatic_presence(False)
    with pytest.raises(Exception, match="NotAllowedError"):
        enrolled.sign(timeout_ms=300)

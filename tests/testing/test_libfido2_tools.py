"""Real libfido2 command line tools with the software authenticator on a pseudo terminal."""

import base64
import os
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

from placet.testing._tools import locate_program
from placet.testing.authenticator import UP, UV
from placet.testing.ctap import SOFTWARE_AAGUID, PtyDevice, SoftAuthenticator, serve_pty

pytestmark = pytest.mark.interop

APPLICATION = "ssh:placet:demo"
MESSAGE_HASH = sha256(b"what is approved").digest()


def run(*command: str, stdin: str = "") -> str:
    program = locate_program(command[0], "fido2-tools")
    done = subprocess.run(
        [str(program), *command[1:]], input=stdin, capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{command} exited with {done.returncode}: {done.stderr}")
    return done.stdout


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def make_credential(device: PtyDevice, folder: Path, pin: str = "") -> tuple[str, Path]:
    """Make a credential with fido2-cred, verify its attestation, return its ID and public key file."""
    request = folder / "request"
    request.write_text("\n".join([b64(os.urandom(32)), APPLICATION, "alice", b64(b"u" * 32)]) + "\n")
    made = run("fido2-cred", "-M", "-v", "-i", str(request), device.path, stdin=pin)
    credential_id, _, pem = run("fido2-cred", "-V", "-v", stdin=made).partition("\n")
    public_key = folder / "public.pem"
    public_key.write_text(pem)
    return credential_id, public_key


def assert_credential(
    device: PtyDevice, folder: Path, credential_id: str, *options: str, pin: str = ""
) -> str:
    request = folder / "request"
    request.write_text("\n".join([b64(MESSAGE_HASH), APPLICATION, credential_id]) + "\n")
    return run("fido2-assert", "-G", *options, "-i", str(request), device.path, stdin=pin)


def flags_of(assertion: str) -> int:
    """Read the flags from fido2-assert's third line, authenticator data as a CBOR byte string."""
    return base64.b64decode(assertion.split("\n")[2])[2 + 32]


def test_fido2_token_reads_the_authenticator() -> None:
    with serve_pty(SoftAuthenticator(pin="1234")) as device:
        described = run("fido2-token", "-I", device.path)
    assert "version strings: FIDO_2_0, FIDO_2_1" in described
    assert f"aaguid: {SOFTWARE_AAGUID.hex()}" in described
    assert "pin retries: 8" in described


def test_fido2_cred_and_assert_with_own_verification(tmp_path: Path) -> None:
    with serve_pty(SoftAuthenticator(verify_user=lambda: True)) as device:
        credential_id, public_key = make_credential(device, tmp_path)
        assertion = assert_credential(device, tmp_path, credential_id, "-p", "-t", "uv=true")
    assert flags_of(assertion) == UP | UV
    run("fido2-assert", "-V", "-p", "-v", str(public_key), "es256", stdin=assertion)


def test_fido2_assert_verifies_nothing_that_was_altered(tmp_path: Path) -> None:
    with serve_pty(SoftAuthenticator(verify_user=lambda: True)) as device:
        credential_id, public_key = make_credential(device, tmp_path)
        assertion = assert_credential(device, tmp_path, credential_id, "-p", "-t", "uv=true")
    forged = assertion.replace(b64(MESSAGE_HASH), b64(sha256(b"something else").digest()))
    assert forged != assertion
    with pytest.raises(RuntimeError, match="FIDO_ERR"):
        run("fido2-assert", "-V", "-p", "-v", str(public_key), "es256", stdin=forged)


def test_pin_is_asked_and_a_wrong_one_costs_a_retry(tmp_path: Path) -> None:
    authenticator = SoftAuthenticator(pin="1234")
    with serve_pty(authenticator) as device:
        credential_id, public_key = make_credential(device, tmp_path, pin="1234\n")
        assertion = assert_credential(device, tmp_path, credential_id, "-v", "-p", pin="1234\n")
        assert flags_of(assertion) == UP | UV
        run("fido2-assert", "-V", "-v", "-p", str(public_key), "es256", stdin=assertion)
        with pytest.raises(RuntimeError, match="FIDO_ERR_PIN_INVALID"):
            assert_credential(device, tmp_path, credential_id, "-v", "-p", pin="9999\n")
    assert authenticator.pin_retries == 7


def test_assertion_without_touch_carries_no_presence(tmp_path: Path) -> None:
    authenticator = SoftAuthenticator(verify_user=lambda: True)
    with serve_pty(authenticator) as device:
        credential_id, _ = make_credential(device, tmp_path)
        assertion = assert_credential(device, tmp_path, credential_id, "-t", "up=false", "-t", "uv=true")
    assert flags_of(assertion) == UV
    assert [touch.reason for touch in authenticator.touches] == ["register"]


def test_declined_touch_is_reported_and_the_next_client_is_served() -> None:
    answers = [False, True]
    with serve_pty(SoftAuthenticator(presence=lambda touch: answers.pop(0))) as device:
        request = "\n".join([b64(os.urandom(32)), APPLICATION, "alice", b64(b"u" * 32)]) + "\n"
        with pytest.raises(RuntimeError, match="FIDO_ERR_OPERATION_DENIED"):
            run("fido2-cred", "-M", device.path, stdin=request)
        run("fido2-cred", "-M", device.path, stdin=request)

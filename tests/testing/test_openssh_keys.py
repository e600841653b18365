"""OpenSSH's own programs make signatures; stock OpenSSH and placet judge them."""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from placet.core.errors import PlacetError, Reason
from placet.core.signature import SignatureFacts, verify_sshsig
from placet.core.sshsig import (
    NAMESPACE_INTENT,
    NAMESPACE_TRUST,
    SK_ECDSA,
    SK_ED25519,
    WEBAUTHN_SK_ECDSA,
    dearmor,
    parse_public_key,
    parse_sshsig,
)
from placet.testing import openssh
from placet.testing.ctap import SoftAuthenticator, serve_pty
from placet.testing.openssh import OpenSshRefused, Provider, SkKey, SkType

pytestmark = pytest.mark.interop

MESSAGE = b"DSSEv1 28 application/vnd.in-toto+json 2 {}"
PIN = "1234"
SK_TYPES: list[SkType] = ["ecdsa", "ed25519"]


def verify_with_core(
    key: SkKey, blob: bytes, *, namespace: str = NAMESPACE_INTENT, require_uv: bool = True
) -> SignatureFacts:
    return verify_sshsig(
        blob,
        message=MESSAGE,
        namespace=namespace,
        key=parse_public_key(key.wire),
        kind="sk",
        origins=(),
        require_uv=require_uv,
    )


def refusal(check: Callable[[], object]) -> Reason:
    with pytest.raises(PlacetError) as caught:
        check()
    return caught.value.reason


@pytest.mark.parametrize("sk_type", SK_TYPES)
def test_dummy_provider_signature_is_good_but_not_verified(tmp_path: Path, sk_type: SkType) -> None:
    provider = openssh.sk_dummy()
    key = openssh.generate_sk_key(provider, tmp_path / "key", sk_type=sk_type)
    public_key = parse_public_key(key.wire)
    assert public_key.application == "ssh:placet:demo"
    assert public_key.key_type == (SK_ECDSA if sk_type == "ecdsa" else SK_ED25519)
    blob = openssh.sign(provider, key, NAMESPACE_INTENT, MESSAGE)
    openssh.verify_with_ssh_keygen(blob, message=MESSAGE, namespace=NAMESPACE_INTENT, wire=key.wire)
    assert not verify_with_core(key, blob, require_uv=False).user_verified
    assert refusal(lambda: verify_with_core(key, blob)) is Reason.USER_VERIFICATION_MISSING
    assert (
        refusal(lambda: verify_with_core(key, blob, namespace=NAMESPACE_TRUST)) is Reason.NAMESPACE_MISMATCH
    )


@pytest.mark.parametrize("sk_type", SK_TYPES)
def test_dummy_provider_claims_verification_that_nobody_did(tmp_path: Path, sk_type: SkType) -> None:
    """Flags cannot tell software from hardware: only attested or vouched keys reach level 2."""
    provider = openssh.sk_dummy()
    key = openssh.generate_sk_key(provider, tmp_path / "key", sk_type=sk_type, verify_required=True)
    provider = Provider(provider.variables | askpass(tmp_path))
    assert verify_with_core(key, openssh.sign(provider, key, NAMESPACE_INTENT, MESSAGE)).user_verified


def askpass(folder: Path) -> dict[str, str]:
    prompt = folder / "askpass"
    prompt.write_text(f"#!/bin/sh\necho {PIN}\n")
    prompt.chmod(0o700)
    return {"SSH_ASKPASS": str(prompt), "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": ":0"}


@pytest.fixture
def authenticator() -> SoftAuthenticator:
    return SoftAuthenticator(pin=PIN)


@pytest.fixture
def libfido2(authenticator: SoftAuthenticator, tmp_path: Path) -> Iterator[Provider]:
    with serve_pty(authenticator) as device:
        yield openssh.libfido2(device, tmp_path, pin=PIN)


@pytest.mark.parametrize("sk_type", SK_TYPES)
def test_real_libfido2_signature_with_pin_reaches_every_check(
    libfido2: Provider, authenticator: SoftAuthenticator, tmp_path: Path, sk_type: SkType
) -> None:
    key = openssh.generate_sk_key(libfido2, tmp_path / "key", sk_type=sk_type, verify_required=True)
    blob = openssh.sign(libfido2, key, NAMESPACE_INTENT, MESSAGE)
    openssh.verify_with_ssh_keygen(blob, message=MESSAGE, namespace=NAMESPACE_INTENT, wire=key.wire)
    facts = verify_with_core(key, blob)
    assert facts.user_verified
    assert facts.counter == authenticator.counter
    assert {(touch.reason, touch.rp_id) for touch in authenticator.touches} >= {
        ("register", "ssh:placet:demo"),
        ("sign", "ssh:placet:demo"),
    }


def test_real_libfido2_key_without_verify_required_is_refused(libfido2: Provider, tmp_path: Path) -> None:
    key = openssh.generate_sk_key(libfido2, tmp_path / "key")
    blob = openssh.sign(libfido2, key, NAMESPACE_INTENT, MESSAGE)
    openssh.verify_with_ssh_keygen(blob, message=MESSAGE, namespace=NAMESPACE_INTENT, wire=key.wire)
    assert refusal(lambda: verify_with_core(key, blob)) is Reason.USER_VERIFICATION_MISSING


def test_declined_touch_gives_no_signature(
    libfido2: Provider, authenticator: SoftAuthenticator, tmp_path: Path
) -> None:
    key = openssh.generate_sk_key(libfido2, tmp_path / "key", verify_required=True)
    authenticator.presence = lambda touch: False
    with pytest.raises(OpenSshRefused):
        openssh.sign(libfido2, key, NAMESPACE_INTENT, MESSAGE)


def test_wrong_pin_gives_no_signature(authenticator: SoftAuthenticator, tmp_path: Path) -> None:
    with serve_pty(authenticator) as device:
        key = openssh.generate_sk_key(
            openssh.libfido2(device, tmp_path, pin=PIN), tmp_path / "key", verify_required=True
        )
        guessing = openssh.libfido2(device, tmp_path, pin="9999")
        with pytest.raises(OpenSshRefused):
            openssh.sign(guessing, key, NAMESPACE_INTENT, MESSAGE)
    assert authenticator.pin_retries < 8


def read_testdata(name: str) -> tuple[bytes, bytes, bytes, str]:
    """Read a signature of OpenSSH's own tests: wire key, SSHSIG, message, namespace."""
    folder = openssh.locate_sshsig_testdata()
    wire = base64.b64decode((folder / f"{name}.pub").read_text().split()[1])
    blob = dearmor((folder / f"{name}.sig").read_text())
    return wire, blob, (folder / "signed-data").read_bytes(), (folder / "namespace").read_text()


@pytest.mark.parametrize(
    ("name", "kind", "inner_type"),
    [
        ("ed25519_sk", "sk", SK_ED25519),
        ("ecdsa_sk", "sk", SK_ECDSA),
        ("ecdsa_sk_webauthn", "webauthn", WEBAUTHN_SK_ECDSA),
    ],
)
def test_openssh_own_test_data(name: str, kind: str, inner_type: str) -> None:
    wire, blob, message, namespace = read_testdata(name)
    parsed = parse_sshsig(blob)
    assert parsed.inner_type == inner_type

    def check(message: bytes, **demands: bool) -> SignatureFacts:
        return verify_sshsig(
            blob,
            message=message,
            namespace=namespace,
            key=parse_public_key(wire),
            kind=kind,
            origins=[parsed.web_origin] if parsed.web_origin else [],
            **demands,
        )

    facts = check(message, require_uv=False)
    assert not facts.user_verified
    assert refusal(lambda: check(message, require_uv=True)) is Reason.USER_VERIFICATION_MISSING
    altered = {Reason.SIGNATURE_INVALID, Reason.CHALLENGE_MISMATCH}
    assert refusal(lambda: check(message + b"x", require_uv=False)) in altered


@pytest.mark.parametrize("name", ["ed25519", "ecdsa", "rsa", "dsa"])
def test_openssh_software_keys_are_refused(name: str) -> None:
    wire, blob, message, namespace = read_testdata(name)

    def check() -> None:
        verify_sshsig(
            blob, message=message, namespace=namespace, key=parse_public_key(wire), kind="sk", origins=()
        )

    assert refusal(check) in {Reason.SIGNATURE_KIND, Reason.BAD_KEY}

"""Software keys: honest signatures are accepted everywhere, wrong ones are refused by name."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import webauthn
from fido2.cose import ES256
from fido2.server import Fido2Server
from fido2.webauthn import (
    AttestedCredentialData,
    AuthenticationResponse,
    PublicKeyCredentialRpEntity,
    UserVerificationRequirement,
)
from webauthn.helpers.exceptions import InvalidAuthenticationResponse

from placet.core.encoding import b64url_encode
from placet.core.errors import PlacetError, Reason
from placet.core.signature import SignatureFacts, verify_sshsig, verify_terminal_signature
from placet.core.sshsig import (
    NAMESPACE_INTENT,
    NAMESPACE_TRUST,
    armor,
    encode_ed25519_sshsig,
    encode_sshsig,
    encode_webauthn_sshsig,
    parse_public_key,
    parse_sshsig,
    signed_data,
)
from placet.testing.authenticator import (
    AT,
    BE,
    BS,
    DEFAULT_RP_ID,
    DEFAULT_WEB_ORIGIN,
    ED,
    UP,
    UV,
    Assertion,
    SoftSk,
    SoftTerminalKey,
    SoftWebAuthn,
)
from placet.testing.openssh import OpenSshRefused, allowed_signers_line, verify_with_ssh_keygen

MESSAGE = b"DSSEv1 28 application/vnd.in-toto+json 2 {}"
AnySoftKey = SoftWebAuthn | SoftSk


def all_kinds() -> list[AnySoftKey]:
    return [SoftWebAuthn(), SoftSk("ecdsa"), SoftSk("ed25519")]


def verify(key: AnySoftKey, blob: bytes, message: bytes = MESSAGE) -> SignatureFacts:
    return verify_sshsig(
        blob,
        message=message,
        namespace=NAMESPACE_INTENT,
        key=parse_public_key(key.wire),
        kind=key.kind,
        origins=(DEFAULT_WEB_ORIGIN,),
    )


def refusal(key: AnySoftKey, blob: bytes, message: bytes = MESSAGE) -> Reason:
    with pytest.raises(PlacetError) as caught:
        verify(key, blob, message)
    return caught.value.reason


@pytest.mark.parametrize("key", all_kinds(), ids=lambda key: type(key).__name__)
def test_honest_signature_is_accepted_by_core(key: AnySoftKey) -> None:
    facts = verify(key, key.sign(NAMESPACE_INTENT, MESSAGE))
    assert facts.keyid == key.keyid
    assert facts.user_verified
    assert facts.counter == 1
    assert verify(key, key.sign(NAMESPACE_INTENT, MESSAGE)).counter == 2


@pytest.mark.interop
@pytest.mark.parametrize("key", [*all_kinds(), SoftTerminalKey()], ids=lambda key: type(key).__name__)
def test_honest_signature_is_accepted_by_stock_openssh(key: AnySoftKey | SoftTerminalKey) -> None:
    blob = key.sign(NAMESPACE_INTENT, MESSAGE)
    said = verify_with_ssh_keygen(blob, message=MESSAGE, namespace=NAMESPACE_INTENT, wire=key.wire)
    assert said.startswith(f'Good "{NAMESPACE_INTENT}" signature')
    with pytest.raises(OpenSshRefused, match="Signature verification failed"):
        verify_with_ssh_keygen(blob, message=MESSAGE + b"x", namespace=NAMESPACE_INTENT, wire=key.wire)
    with pytest.raises(OpenSshRefused):
        verify_with_ssh_keygen(blob, message=MESSAGE, namespace=NAMESPACE_TRUST, wire=key.wire)


@pytest.mark.interop
def test_stock_openssh_accepts_what_nobody_touched_and_core_does_not() -> None:
    key = SoftWebAuthn()
    blob = key.sign(NAMESPACE_INTENT, MESSAGE, flags=0, web_origin="https://evil.example")
    verify_with_ssh_keygen(blob, message=MESSAGE, namespace=NAMESPACE_INTENT, wire=key.wire)
    assert refusal(key, blob) is Reason.USER_PRESENCE_MISSING


@pytest.mark.parametrize("key", all_kinds(), ids=lambda key: type(key).__name__)
@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (0, Reason.USER_PRESENCE_MISSING),
        (UV, Reason.USER_PRESENCE_MISSING),
        (UP, Reason.USER_VERIFICATION_MISSING),
        (UP | UV | BE, Reason.BACKUP_NOT_ALLOWED),
        (UP | UV | BE | BS, Reason.BACKUP_NOT_ALLOWED),
        (UP | UV | BS, Reason.BACKUP_NOT_ALLOWED),
        (UP | UV | AT, Reason.FLAGS_INVALID),
        (UP | UV | ED, Reason.FLAGS_INVALID),
    ],
)
def test_wrong_flags_are_refused_although_the_signature_is_good(
    key: AnySoftKey, flags: int, reason: Reason
) -> None:
    assert refusal(key, key.sign(NAMESPACE_INTENT, MESSAGE, flags=flags)) is reason


def test_wrong_browser_answers_are_refused() -> None:
    key = SoftWebAuthn()
    sibling = "http://t1.evil.placet.localhost:8470"
    blobs = {
        Reason.ORIGIN_NOT_ALLOWED: key.sign(NAMESPACE_INTENT, MESSAGE, web_origin=sibling),
        Reason.CROSS_ORIGIN: key.sign(NAMESPACE_INTENT, MESSAGE, cross_origin=True),
        Reason.SIGNATURE_INVALID: key.sign(NAMESPACE_INTENT, MESSAGE, rp_id="evil.placet.localhost"),
        Reason.BAD_SSHSIG: key.sign(NAMESPACE_INTENT, MESSAGE, trailing=b"\0"),
        Reason.FLAGS_INVALID: key.sign(NAMESPACE_INTENT, MESSAGE, extensions=b"\xa0"),
        Reason.NAMESPACE_MISMATCH: key.sign(NAMESPACE_TRUST, MESSAGE),
        Reason.CHALLENGE_MISMATCH: key.sign(NAMESPACE_INTENT, b"another message"),
    }
    assert {refusal(key, blob): blob for blob in blobs.values()} == blobs


def test_claimed_origin_and_framing_page_are_refused() -> None:
    key = SoftWebAuthn()
    evil = "https://evil.example"
    lying = key.sign(NAMESPACE_INTENT, MESSAGE, web_origin=evil, claimed_origin=DEFAULT_WEB_ORIGIN)
    assert refusal(key, lying) is Reason.CLIENT_DATA
    framed = key.sign(NAMESPACE_INTENT, MESSAGE, extra_members=f',"topOrigin":"{evil}"')
    assert refusal(key, framed) is Reason.CROSS_ORIGIN
    empty = key.sign(NAMESPACE_INTENT, MESSAGE, client_data_override=b"")
    assert isinstance(refusal(key, empty), Reason)


def test_random_member_that_chromium_adds_is_accepted() -> None:
    key = SoftWebAuthn()
    verify(key, key.sign(NAMESPACE_INTENT, MESSAGE, extra_members=',"other_keys_can_be_added_here":"x"'))


def test_extension_data_with_its_flag_is_accepted() -> None:
    key = SoftWebAuthn()
    verify(key, key.sign(NAMESPACE_INTENT, MESSAGE, flags=UP | UV | ED, extensions=b"\xa0"))


@pytest.mark.parametrize("sk_type", ["ecdsa", "ed25519"])
def test_wrong_sk_signatures_are_refused(sk_type: str) -> None:
    key = SoftSk("ecdsa" if sk_type == "ecdsa" else "ed25519")
    for blob, reason in [
        (key.sign(NAMESPACE_INTENT, MESSAGE, application="ssh:"), Reason.SIGNATURE_INVALID),
        (key.sign(NAMESPACE_INTENT, MESSAGE, trailing=b"\0"), Reason.BAD_SSHSIG),
        (key.sign(NAMESPACE_INTENT, b"another message"), Reason.SIGNATURE_INVALID),
    ]:
        assert refusal(key, blob) is reason


def test_terminal_key_signs_reports_and_never_approves() -> None:
    key = SoftTerminalKey()
    blob = key.sign(NAMESPACE_INTENT, MESSAGE)
    public_key = parse_public_key(key.wire)
    verify_terminal_signature(blob, message=MESSAGE, namespace=NAMESPACE_INTENT, key=public_key)
    for kind in ("webauthn", "sk"):
        with pytest.raises(PlacetError) as caught:
            verify_sshsig(
                blob, message=MESSAGE, namespace=NAMESPACE_INTENT, key=public_key, kind=kind, origins=()
            )
        assert caught.value.reason is Reason.SIGNATURE_KIND


def test_equal_seeds_give_equal_bytes_and_different_seeds_do_not() -> None:
    for make in (
        lambda seed: SoftWebAuthn(seed=seed),
        lambda seed: SoftSk("ecdsa", seed=seed),
        lambda seed: SoftSk("ed25519", seed=seed),
        lambda seed: SoftTerminalKey(seed=seed),
    ):
        assert make(b"1").sign(NAMESPACE_INTENT, MESSAGE) == make(b"1").sign(NAMESPACE_INTENT, MESSAGE)
        assert make(b"1").keyid != make(b"2").keyid
    assert SoftWebAuthn(seed=b"1").credential_id == SoftWebAuthn(seed=b"1").credential_id
    assert SoftWebAuthn(seed=b"1").point != SoftSk("ecdsa", seed=b"1").wire[-65:]
    assert SoftWebAuthn(private_scalar=7).point == SoftWebAuthn(private_scalar=7).point
    assert SoftWebAuthn().keyid != SoftWebAuthn().keyid


def test_encoding_agrees_with_the_core_encoder() -> None:
    key = SoftWebAuthn(seed=b"1")
    assertion = SoftWebAuthn(seed=b"1").get(signed_data(NAMESPACE_INTENT, MESSAGE))
    assert key.sign(NAMESPACE_INTENT, MESSAGE) == encode_webauthn_sshsig(
        key_wire=key.wire,
        namespace=NAMESPACE_INTENT,
        authenticator_data=assertion.authenticator_data,
        client_data_json=assertion.client_data_json,
        der_signature=assertion.signature,
        web_origin=DEFAULT_WEB_ORIGIN,
    )
    terminal = SoftTerminalKey(seed=b"1").sign(NAMESPACE_INTENT, MESSAGE)
    assert terminal == encode_ed25519_sshsig(
        key_wire=SoftTerminalKey(seed=b"1").wire,
        namespace=NAMESPACE_INTENT,
        raw_signature=parse_sshsig(terminal).signature,
    )
    for sk in (SoftSk("ecdsa"), SoftSk("ed25519")):
        blob = sk.sign(NAMESPACE_INTENT, MESSAGE)
        assert encode_sshsig(parse_sshsig(blob)) == blob


def as_browser_json(key: SoftWebAuthn, assertion: Assertion) -> dict[str, object]:
    return {
        "id": b64url_encode(key.credential_id),
        "rawId": b64url_encode(key.credential_id),
        "type": "public-key",
        "clientExtensionResults": {},
        "response": {
            "clientDataJSON": b64url_encode(assertion.client_data_json),
            "authenticatorData": b64url_encode(assertion.authenticator_data),
            "signature": b64url_encode(assertion.signature),
        },
    }


def cose_key(key: SoftWebAuthn) -> ES256:
    return ES256({1: 2, 3: -7, -1: 1, -2: key.point[1:33], -3: key.point[33:]})


def test_py_webauthn_accepts_the_assertion() -> None:
    key = SoftWebAuthn()
    challenge = signed_data(NAMESPACE_INTENT, MESSAGE)

    def ask(assertion: Assertion) -> int:
        credential = AttestedCredentialData.create(b"\0" * 16, key.credential_id, cose_key(key))
        public_key = bytes(credential)[16 + 2 + len(key.credential_id) :]
        return webauthn.verify_authentication_response(
            credential=json.dumps(as_browser_json(key, assertion)),
            expected_challenge=challenge,
            expected_rp_id=DEFAULT_RP_ID,
            expected_origin=DEFAULT_WEB_ORIGIN,
            credential_public_key=public_key,
            credential_current_sign_count=0,
            require_user_verification=True,
        ).new_sign_count

    assert ask(key.get(challenge)) == 1
    with pytest.raises(InvalidAuthenticationResponse):
        ask(key.get(challenge, web_origin="https://evil.example"))


def test_fido2_server_accepts_the_assertion() -> None:
    key = SoftWebAuthn()
    challenge = signed_data(NAMESPACE_INTENT, MESSAGE)
    server = Fido2Server(
        PublicKeyCredentialRpEntity(name="placet", id=DEFAULT_RP_ID),
        verify_origin=lambda origin: origin == DEFAULT_WEB_ORIGIN,
    )
    credential = AttestedCredentialData.create(b"\0" * 16, key.credential_id, cose_key(key))
    state = {
        "challenge": b64url_encode(challenge),
        "user_verification": UserVerificationRequirement.REQUIRED,
    }

    def ask(assertion: Assertion) -> bytes:
        response = AuthenticationResponse.from_dict(as_browser_json(key, assertion))
        return bytes(server.authenticate_complete(state, [credential], response).credential_id)

    assert ask(key.get(challenge)) == key.credential_id
    with pytest.raises(ValueError, match=r"[Uu]ser verification"):
        ask(key.get(challenge, flags=UP))


@pytest.mark.interop
def test_git_verify_tag_accepts_a_tag_that_a_browser_signed(tmp_path: Path) -> None:
    def git(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["git", "-C", str(tmp_path), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull},
        )

    key = SoftWebAuthn()
    git("init", "--quiet")
    git("config", "gpg.format", "ssh")
    git("config", "gpg.ssh.allowedSignersFile", str(tmp_path / "allowed_signers"))
    (tmp_path / "allowed_signers").write_text(allowed_signers_line("alice@example.com", key.wire, "git"))
    blob_id = git("hash-object", "-w", "--stdin", stdin="hello").stdout.strip()
    tag = f"object {blob_id}\ntype blob\ntag v1\ntagger Alice <alice@example.com> 1790000000 +0000\n\nv1\n"
    for name, message, expected in [("v1", tag, 0), ("forged", tag.replace("v1\n", "v2\n"), 1)]:
        signed = message + armor(key.sign("git", tag.encode()))
        tag_id = git("hash-object", "-t", "tag", "-w", "--stdin", stdin=signed).stdout.strip()
        git("update-ref", f"refs/tags/{name}", tag_id)
        done = git("verify-tag", name)
        assert done.returncode == expected, done.stderr
        assert ('Good "git" signature for alice@example.com' in done.stderr) is (expected == 0)

"""SSHSIG and SSH keys, byte by byte (SIG); what the specification prints is what we make."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from placet.core.dsse import PAYLOAD_TYPE, pae
from placet.core.encoding import b64url_encode
from placet.core.errors import MalformedError, Reason, VerificationError
from placet.core.signature import check_key_usable, verify_sshsig, verify_terminal_signature
from placet.core.sshsig import (
    NAMESPACE_INTENT,
    NAMESPACE_REPORT,
    SK_ECDSA,
    SK_ED25519,
    SSH_ED25519,
    WEBAUTHN_SK_ECDSA,
    SshSig,
    armor,
    dearmor,
    encode_ed25519_key,
    encode_ed25519_sshsig,
    encode_sk_ecdsa_key,
    encode_sk_ed25519_key,
    encode_sshsig,
    encode_webauthn_sshsig,
    parse_public_key,
    parse_sshsig,
    signed_data,
)
from placet.testing.authenticator import SoftSk, SoftWebAuthn

PAGE = SoftWebAuthn(seed=b"placet vectors")
POINT = PAGE.point
SPEC = (Path(__file__).resolve().parents[2] / "spec" / "05-signature.md").read_text()


def field(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def test_the_worked_example_of_the_specification() -> None:
    message = pae(PAYLOAD_TYPE, b'{"an":"example"}')
    printed = "".join(SPEC.split())
    blob = PAGE.sign(NAMESPACE_INTENT, message, counter=7)
    parsed = parse_sshsig(blob)
    assert message.decode() in SPEC
    for part in (
        hashlib.sha512(message).hexdigest(),
        signed_data(NAMESPACE_INTENT, message).hex()[:92],
        b64url_encode(signed_data(NAMESPACE_INTENT, message)),
        PAGE.wire.hex(),
        PAGE.keyid,
        parsed.signature[4:37].hex(),
        parsed.signature[41:].hex(),
        f"blob{len(blob)}bytes",
    ):
        # The listing of the key ends each of its lines with nothing but white space.
        assert part in printed, part
    assert len(signed_data(NAMESPACE_INTENT, message)) == 112


KEYS = [
    encode_sk_ecdsa_key(POINT, "ssh:x"),
    encode_sk_ed25519_key(bytes(32), "ssh:x"),
    encode_ed25519_key(bytes(32)),
]


@pytest.mark.parametrize("wire", KEYS)
def test_a_key_reads_back(wire: bytes) -> None:
    key = parse_public_key(wire)
    assert key.wire == wire
    assert key.application == ("" if key.key_type == SSH_ED25519 else "ssh:x")


ECDSA, ED = field(SK_ECDSA.encode()), field(SK_ED25519.encode())
BAD_KEYS = {
    "empty": b"",
    "length alone": b"\0\0\0",
    "type alone": ECDSA,
    "type not ASCII": field(b"\xff") + field(bytes(32)),
    "curve": ECDSA + field(b"nistp384") + field(POINT) + field(b"ssh:"),
    "short point": ECDSA + field(b"nistp256") + field(POINT[:-1]) + field(b"ssh:"),
    "long point": ECDSA + field(b"nistp256") + field(POINT + b"\0") + field(b"ssh:"),
    "hybrid point": ECDSA + field(b"nistp256") + field(b"\6" + POINT[1:]) + field(b"ssh:"),
    "no application": ECDSA + field(b"nistp256") + field(POINT) + field(b""),
    "missing application": ECDSA + field(b"nistp256") + field(POINT),
    "application not ASCII": ECDSA + field(b"nistp256") + field(POINT) + field(b"\xc3\xa9"),
    "short sk-ed25519": ED + field(bytes(31)) + field(b"ssh:"),
    "long sk-ed25519": ED + field(bytes(33)) + field(b"ssh:"),
    "sk-ed25519 for nothing": ED + field(bytes(32)) + field(b""),
    "short ed25519": encode_ed25519_key(bytes(31)),
    "long ed25519": encode_ed25519_key(bytes(33)),
    "trailing": KEYS[0] + b"\0",
    "trailing ed25519": KEYS[2] + b"\0",
    "truncated": KEYS[1][:-1],
    "huge length": ECDSA + b"\xff\xff\xff\xff",
    "unknown": field(b"ssh-dss") + field(bytes(32)),
    "unknown alone": field(b"ssh-dss"),
}


@pytest.mark.parametrize("wire", BAD_KEYS.values(), ids=BAD_KEYS.keys())
def test_a_bad_key(wire: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_public_key(wire)
    assert caught.value.reason is Reason.BAD_KEY


def test_a_point_off_the_curve_is_refused_when_it_is_enrolled() -> None:
    key = parse_public_key(encode_sk_ecdsa_key(b"\4" + bytes(64), "ssh:x"))
    with pytest.raises(MalformedError) as caught:
        check_key_usable(key)
    assert caught.value.reason is Reason.BAD_KEY


ASCII = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20)
NUMBER = st.integers(1, 2**256 - 1)


def mpint(number: int) -> bytes:
    return field(number.to_bytes(number.bit_length() // 8 + 1, "big"))


@given(
    st.sampled_from([SK_ECDSA, SK_ED25519, WEBAUTHN_SK_ECDSA, SSH_ED25519]),
    st.binary(max_size=20),
    ASCII,
    st.tuples(NUMBER, NUMBER),
    st.binary(min_size=64, max_size=64),
    st.integers(0, 255),
    st.integers(0, 2**32 - 1),
    ASCII,
    st.binary(max_size=20),
    st.binary(max_size=20),
)
@settings(max_examples=300, deadline=None)
def test_an_sshsig_reads_back(
    kind: str,
    key: bytes,
    namespace: str,
    numbers: tuple[int, int],
    raw: bytes,
    flags: int,
    counter: int,
    origin: str,
    client: bytes,
    extensions: bytes,
) -> None:
    ecdsa = kind in (SK_ECDSA, WEBAUTHN_SK_ECDSA)
    signature = b"".join(map(mpint, numbers)) if ecdsa else raw
    if kind == SSH_ED25519:
        flags = counter = 0
    web = (origin, client, extensions) if kind == WEBAUTHN_SK_ECDSA else (None, None, b"")
    made = SshSig(key, namespace, kind, signature, flags, counter, *web, numbers if ecdsa else None)
    assert parse_sshsig(encode_sshsig(made)) == made


def blob_of(inner: bytes, *, version: int = 1, reserved: bytes = b"", hash_name: bytes = b"sha512") -> bytes:
    head = b"SSHSIG" + version.to_bytes(4, "big") + field(PAGE.wire) + field(b"ns")
    return head + field(reserved) + field(hash_name) + field(inner)


R, S = mpint(2**255), mpint(5)
SK = field(SK_ECDSA.encode())
WEB = field(WEBAUTHN_SK_ECDSA.encode())
PRESENCE = b"\5\0\0\0\1"
BAD_BLOBS = {
    "empty": b"",
    "preamble": b"SSHSIG",
    "version": blob_of(SK + field(R + S) + PRESENCE, version=2),
    "reserved": blob_of(SK + field(R + S) + PRESENCE, reserved=b"x"),
    "hash": blob_of(SK + field(R + S) + PRESENCE, hash_name=b"sha256"),
    "no numbers": blob_of(SK + field(b"") + PRESENCE),
    "one number": blob_of(SK + field(R) + PRESENCE),
    "three numbers": blob_of(SK + field(R + S + S) + PRESENCE),
    "zero": blob_of(SK + field(field(b"") + S) + PRESENCE),
    "zero byte": blob_of(SK + field(field(b"\0") + S) + PRESENCE),
    "needless zero": blob_of(SK + field(field(b"\0\1") + S) + PRESENCE),
    "negative": blob_of(SK + field(field(b"\x80") + S) + PRESENCE),
    "no presence": blob_of(SK + field(R + S)),
    "short presence": blob_of(SK + field(R + S) + PRESENCE[:-1]),
    "long presence": blob_of(SK + field(R + S) + PRESENCE + b"\0"),
    "page without client data": blob_of(WEB + field(R + S) + PRESENCE),
    "page without extensions": blob_of(WEB + field(R + S) + PRESENCE + field(b"o") + field(b"c")),
    "page with more": blob_of(WEB + field(R + S) + PRESENCE + field(b"o") + field(b"c") + field(b"") + b"\0"),
    "origin not ASCII": blob_of(WEB + field(R + S) + PRESENCE + field(b"\xff") + field(b"c") + field(b"")),
    "short ed25519": blob_of(ED + field(bytes(63)) + PRESENCE),
    "plain ed25519 with presence": blob_of(field(b"ssh-ed25519") + field(bytes(64)) + PRESENCE),
    "trailing": blob_of(SK + field(R + S) + PRESENCE) + b"\0",
}


@pytest.mark.parametrize("blob", BAD_BLOBS.values(), ids=BAD_BLOBS.keys())
def test_a_bad_blob(blob: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_sshsig(blob)
    assert caught.value.reason is Reason.BAD_SSHSIG


def test_the_good_blobs_beside_the_bad_ones() -> None:
    assert parse_sshsig(blob_of(SK + field(R + S) + PRESENCE)).numbers == (2**255, 5)
    assert parse_sshsig(blob_of(ED + field(bytes(64)) + PRESENCE)).counter == 1
    assert parse_sshsig(blob_of(field(b"ssh-ed25519") + field(bytes(64)))).flags == 0
    page = parse_sshsig(blob_of(WEB + field(R + S) + PRESENCE + field(b"") + field(b"") + field(b"")))
    assert (page.web_origin, page.client_data_json) == ("", b"")


@pytest.mark.parametrize("name", [b"ssh-rsa", b"rsa-sha2-512", b"ecdsa-sha2-nistp256", b""])
def test_an_unknown_kind_is_named(name: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_sshsig(blob_of(field(name) + field(b"x") + PRESENCE))
    assert caught.value.reason is Reason.SIGNATURE_KIND


def test_a_namespace_is_printable_ascii() -> None:
    good = blob_of(SK + field(R + S) + PRESENCE)
    with pytest.raises(MalformedError):
        parse_sshsig(good.replace(field(b"ns"), field(b"n\n")))


# An armored signature is text for stock tools.


def test_armor_reads_back() -> None:
    blob = PAGE.sign("git", b"x")
    text = armor(blob)
    assert dearmor(text) == blob
    assert max(map(len, text.splitlines())) == 70


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----\n",
        "-----BEGIN SSH SIGNATURE-----\nYQ==\n",
        "YQ==\n-----END SSH SIGNATURE-----\nYQ==",
        "YQ==\nYQ==\n-----END SSH SIGNATURE-----",
        "-----BEGIN SSH SIGNATURE-----\nYQ==\nYQ==",
        "-----BEGIN SSH SIGNATURE-----\nY Q==\n-----END SSH SIGNATURE-----",
        "-----BEGIN SSH SIGNATURE-----\né\n-----END SSH SIGNATURE-----",
    ],
)
def test_text_that_is_no_armor(text: str) -> None:
    with pytest.raises(MalformedError) as caught:
        dearmor(text)
    assert caught.value.reason is Reason.BAD_SSHSIG


def test_an_assertion_that_no_authenticator_makes_is_refused() -> None:
    good = {"key_wire": PAGE.wire, "namespace": "ns", "client_data_json": b"{}", "web_origin": "http://x"}
    assertion = PAGE.get(b"challenge")
    data, signature = assertion.authenticator_data, assertion.signature
    blob = encode_webauthn_sshsig(authenticator_data=data, der_signature=signature, **good)  # type: ignore[arg-type]
    assert parse_sshsig(blob).flags == data[32]
    for bad_data, bad_signature in ((data[:36], signature), (data, b"x"), (data, signature + b"\0")):
        with pytest.raises(MalformedError) as caught:
            encode_webauthn_sshsig(authenticator_data=bad_data, der_signature=bad_signature, **good)  # type: ignore[arg-type]
        assert caught.value.reason is Reason.BAD_SSHSIG


# A terminal's plain key.

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(32))
PLAIN = encode_ed25519_key(PRIVATE.public_key().public_bytes_raw())


def terminal_reason(blob: bytes, wire: bytes = PLAIN) -> Reason:
    with pytest.raises((VerificationError, MalformedError)) as caught:
        verify_terminal_signature(blob, message=b"m", namespace=NAMESPACE_REPORT, key=parse_public_key(wire))
    return caught.value.reason


def test_a_terminals_signature_is_plain_and_nothing_else() -> None:
    raw = PRIVATE.sign(signed_data(NAMESPACE_REPORT, b"m"))
    good = encode_ed25519_sshsig(key_wire=PLAIN, namespace=NAMESPACE_REPORT, raw_signature=raw)
    verify_terminal_signature(good, message=b"m", namespace=NAMESPACE_REPORT, key=parse_public_key(PLAIN))
    parsed = parse_sshsig(good)
    posing = encode_sshsig(parsed._replace(inner_type=SK_ED25519, flags=5))
    assert terminal_reason(posing) is Reason.SIGNATURE_KIND
    fido = encode_sk_ed25519_key(PRIVATE.public_key().public_bytes_raw(), "ssh:x")
    claimed = encode_sshsig(parsed._replace(public_key=fido))
    assert terminal_reason(claimed, fido) is Reason.SIGNATURE_KIND
    assert terminal_reason(claimed) is Reason.KEY_MISMATCH
    other = encode_sshsig(parsed._replace(namespace=NAMESPACE_INTENT))
    assert terminal_reason(other) is Reason.NAMESPACE_MISMATCH
    forged = encode_sshsig(parsed._replace(signature=bytes(64)))
    assert terminal_reason(forged) is Reason.SIGNATURE_INVALID


def test_a_plain_key_never_approves() -> None:
    raw = PRIVATE.sign(signed_data(NAMESPACE_INTENT, b"m"))
    blob = encode_ed25519_sshsig(key_wire=PLAIN, namespace=NAMESPACE_INTENT, raw_signature=raw)
    for kind in ("sk", "webauthn"):
        with pytest.raises(VerificationError) as caught:
            verify_sshsig(
                blob,
                message=b"m",
                namespace=NAMESPACE_INTENT,
                key=parse_public_key(PLAIN),
                kind=kind,
                origins=[],
            )
        assert caught.value.reason is Reason.SIGNATURE_KIND


def test_facts_of_a_signature() -> None:
    key = SoftSk("ed25519", seed=b"x")
    facts = verify_sshsig(
        key.sign(NAMESPACE_INTENT, b"m", counter=9),
        message=b"m",
        namespace=NAMESPACE_INTENT,
        key=parse_public_key(key.wire),
        kind="sk",
        origins=[],
    )
    assert (facts.keyid, facts.kind, facts.counter, facts.web_origin) == (key.keyid, "sk", 9, None)
    assert facts.user_verified
    assert not facts.backup_eligible

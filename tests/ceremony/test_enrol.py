"""Enrolment: a key answers one invite, for one person, under one trust root."""

import re
from typing import Any

import pytest

from placet.ceremony.enrol import (
    Enrolment,
    check_assurance,
    check_invite,
    draft_enrolment,
    encode_enrolment,
    enrolment_message,
    make_invite,
    parse_enrolment,
    verify_enrolment,
)
from placet.core.encoding import Digest
from placet.core.errors import MalformedError, PlacetError, PolicyError, Reason, VerificationError
from placet.core.people import Deployment
from placet.core.sshsig import NAMESPACE_ENROL, NAMESPACE_INTENT, parse_public_key
from placet.ports.attestation_verifier import AttestationEvidence
from placet.testing.authenticator import DEFAULT_WEB_ORIGIN, UP, SoftSk, SoftWebAuthn
from placet.testing.ctap.attestation import SOFTWARE_AAGUID

ALICE, INVITE, ROOT = "alice@example.com", "correct-horse-battery", "ab" * 32
CHROMIUM_AAGUID = "01020304-0506-0708-0102-030405060708"
DEPLOYMENT = Deployment("demo", "demo.placet.localhost")
EXPECTED: dict[str, Any] = {
    "person": ALICE,
    "deployment": DEPLOYMENT,
    "invite": INVITE,
    "root_digests": {ROOT},
    "origins": {DEFAULT_WEB_ORIGIN},
    "require_uv": True,
}


def made_by(
    key: SoftSk | SoftWebAuthn,
    *,
    invite: str = INVITE,
    namespace: str = NAMESPACE_ENROL,
    aaguid: str = "",
    evidence: AttestationEvidence | None = None,
    **knobs: Any,
) -> Enrolment:
    drafted = draft_enrolment(
        person=ALICE,
        deployment="demo",
        public_key=parse_public_key(key.wire),
        kind=key.kind,
        root_sha256=Digest(ROOT),
        invite=invite,
        aaguid=aaguid,
        evidence=evidence,
    )
    return drafted._replace(sig=key.sign(namespace, enrolment_message(drafted), **knobs))


@pytest.mark.parametrize(
    "key", [SoftSk(), SoftSk("ed25519"), SoftWebAuthn()], ids=["ecdsa", "ed25519", "web"]
)
def test_a_key_answers_its_invite(key: SoftSk | SoftWebAuthn) -> None:
    enrolment = made_by(key)
    read = parse_enrolment(encode_enrolment(enrolment))
    assert read == enrolment
    facts = verify_enrolment(read, **EXPECTED)
    assert (facts.keyid, facts.user_verified) == (key.keyid, True)


def test_the_invite_does_not_travel_in_the_file() -> None:
    assert INVITE.encode() not in encode_enrolment(made_by(SoftSk()))


@pytest.mark.parametrize("key", [SoftSk(), SoftWebAuthn()], ids=["sk", "web"])
def test_a_relay_that_puts_in_a_key_of_its_own_is_caught(key: SoftSk | SoftWebAuthn) -> None:
    with pytest.raises(VerificationError, match="does not answer the invite"):
        verify_enrolment(made_by(key, invite="a-guess-of-the-relay"), **EXPECTED)
    swapped = made_by(SoftSk())._replace(public_key=parse_public_key(key.wire), kind=key.kind)
    with pytest.raises(PlacetError):
        verify_enrolment(swapped, **EXPECTED)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"person": "bob@example.com"}, PolicyError),
        ({"deployment": Deployment("other", "other.placet.localhost")}, PolicyError),
        ({"root_digests": {"cd" * 32}}, VerificationError),
        ({"root_digests": set()}, VerificationError),
        ({"origins": set()}, PolicyError),
        ({"invite": "kv7w-93hd-qq2x"}, MalformedError),
        ({"invite": "a" * 16}, MalformedError),
        ({"invite": INVITE + " "}, VerificationError),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_enrolment_for_anything_else_is_refused(change: dict[str, Any], error: type[PlacetError]) -> None:
    with pytest.raises(error):
        verify_enrolment(made_by(SoftWebAuthn()), **(EXPECTED | change))


def test_an_approval_is_no_enrolment_and_a_pin_is_needed() -> None:
    with pytest.raises(VerificationError) as error:
        verify_enrolment(made_by(SoftSk(), namespace=NAMESPACE_INTENT), **EXPECTED)
    assert error.value.reason is Reason.NAMESPACE_MISMATCH
    unverified = made_by(SoftSk(), flags=UP)
    with pytest.raises(PolicyError):
        verify_enrolment(unverified, **EXPECTED)
    verify_enrolment(unverified, **(EXPECTED | {"require_uv": False}))


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[]", b'{"mediaType":"text/plain"}', b"\xff", b"{" * 99_999],
)
def test_what_is_no_enrolment_file_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_enrolment(data)


@pytest.mark.parametrize("instead", ["", "d548826e-79b4-db40-a3d8-11116f7e8349"], ids=["none", "another"])
def test_whoever_carries_the_file_does_not_take_away_that_it_is_software(instead: str) -> None:
    made = made_by(SoftWebAuthn(), aaguid=CHROMIUM_AAGUID)
    verify_enrolment(parse_enrolment(encode_enrolment(made)), **EXPECTED)
    with pytest.raises(VerificationError, match="does not answer the invite"):
        verify_enrolment(made._replace(aaguid=instead), **EXPECTED)


def test_the_code_of_an_honest_file_covers_its_key() -> None:
    """A12: a genuine key of the courier's own, which took over the code that the honest file shows."""
    honest, own = made_by(SoftSk()), SoftSk()
    drafted = made_by(own)._replace(invite_mac=honest.invite_mac, public_key=parse_public_key(own.wire))
    stolen = drafted._replace(sig=own.sign(NAMESPACE_ENROL, enrolment_message(drafted)))
    with pytest.raises(VerificationError, match="does not answer the invite"):
        verify_enrolment(stolen, **EXPECTED)


@pytest.mark.parametrize("instead", [None, AttestationEvidence("webauthn", b"other", b"{}")])
def test_the_statement_covers_what_the_authenticator_said(instead: AttestationEvidence | None) -> None:
    made = made_by(SoftWebAuthn(), evidence=AttestationEvidence("webauthn", b"object", b"{}"))
    verify_enrolment(parse_enrolment(encode_enrolment(made)), **EXPECTED)
    with pytest.raises(VerificationError, match="does not answer the invite"):
        verify_enrolment(made._replace(evidence=instead), **EXPECTED)


@pytest.mark.parametrize("invite", ["a" * 16, "ab" * 40, "aaaa-bbbb-cccc-dddd"])
def test_an_invite_that_can_be_guessed_is_refused(invite: str) -> None:
    with pytest.raises(MalformedError, match="different characters") as error:
        check_invite(invite)
    assert "placet trust invite" in error.value.hint


def test_a_fresh_invite_is_read_aloud_and_never_the_same() -> None:
    made = {make_invite() for _ in range(50)}
    assert len(made) == 50
    for invite in made:
        check_invite(invite)
        assert re.fullmatch(r"([a-hjkmnp-z2-9]{4}-){4}[a-hjkmnp-z2-9]{4}", invite)


def test_software_that_says_so_is_enrolled_as_software_only() -> None:
    digits = SOFTWARE_AAGUID.hex()
    own = f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
    for aaguid in (own, CHROMIUM_AAGUID):
        check_assurance("software", aaguid)
        with pytest.raises(PolicyError, match="says that it is software"):
            check_assurance("vouched", aaguid.upper())
    check_assurance("vouched", "")

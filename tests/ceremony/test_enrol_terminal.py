"""Enrolment of a terminal: its identity key answers one invite, for one terminal, under one trust root."""

from __future__ import annotations

from typing import Any

import pytest

from placet.ceremony.enrol_terminal import (
    TerminalEnrolment,
    draft_terminal_enrolment,
    encode_terminal_enrolment,
    parse_terminal_enrolment,
    terminal_message,
    verify_terminal_enrolment,
)
from placet.core.encoding import Digest
from placet.core.errors import MalformedError, PlacetError, Reason
from placet.core.people import Deployment
from placet.core.sshsig import NAMESPACE_ENROL, NAMESPACE_REPORT, parse_public_key
from placet.testing.authenticator import SoftTerminalKey

INVITE, ROOT = "kv7w-93hd-qq2x-8mzt-4bnc", Digest("ab" * 32)
ORIGIN = "http://desk.demo.placet.localhost:8470"
EXPECTED: dict[str, Any] = {
    "terminal": "desk",
    "deployment": Deployment("demo", "demo.placet.localhost"),
    "invite": INVITE,
    "root_digests": {ROOT},
}


def made_by(
    key: SoftTerminalKey, *, invite: str = INVITE, namespace: str = NAMESPACE_ENROL, **changes: Any
) -> TerminalEnrolment:
    parts: dict[str, Any] = {
        "terminal": "desk",
        "deployment": "demo",
        "public_key": parse_public_key(key.wire),
        "origins": (ORIGIN,),
        "root_sha256": ROOT,
    }
    drafted = draft_terminal_enrolment(invite=invite, **(parts | changes))
    return drafted._replace(sig=key.sign(namespace, terminal_message(drafted)))


def signed_anew(key: SoftTerminalKey, enrolment: TerminalEnrolment) -> TerminalEnrolment:
    return enrolment._replace(sig=key.sign(NAMESPACE_ENROL, terminal_message(enrolment)))


def refusal(enrolment: TerminalEnrolment, **changes: Any) -> Reason:
    with pytest.raises(PlacetError) as caught:
        verify_terminal_enrolment(enrolment, **(EXPECTED | changes))
    return caught.value.reason


def test_a_terminal_answers_its_invite_which_is_not_in_the_file() -> None:
    enrolment = made_by(SoftTerminalKey())
    data = encode_terminal_enrolment(enrolment)
    assert INVITE.encode() not in data
    read = parse_terminal_enrolment(data)
    assert read == enrolment
    verify_terminal_enrolment(read, **EXPECTED)


def test_a12_a_terminal_of_the_couriers_own_does_not_answer_the_invite() -> None:
    honest, own = made_by(SoftTerminalKey()), SoftTerminalKey()
    assert refusal(made_by(own, invite="a-guess-of-the-courier")) is Reason.CHALLENGE_MISMATCH
    stolen = honest._replace(public_key=parse_public_key(own.wire))
    assert refusal(signed_anew(own, stolen)) is Reason.CHALLENGE_MISMATCH
    for changed in (
        honest._replace(origins=("http://evil.demo.placet.localhost:8470",)),
        honest._replace(public_key=parse_public_key(own.wire)),
        honest._replace(invite_mac=Digest("cd" * 32)),
    ):
        assert refusal(changed) is Reason.CHALLENGE_MISMATCH


def test_an_enrolment_for_anything_else_is_refused() -> None:
    key = SoftTerminalKey()
    honest = made_by(key)
    assert refusal(honest, terminal="other") is Reason.BAD_VALUE
    assert refusal(honest, deployment=Deployment("other", "other.placet.localhost")) is Reason.BAD_VALUE
    assert refusal(honest, root_digests={"cd" * 32}) is Reason.CHALLENGE_MISMATCH
    assert refusal(honest, invite=INVITE + "x") is Reason.CHALLENGE_MISMATCH
    assert refusal(honest, invite="short") is Reason.BAD_VALUE
    assert refusal(made_by(key, namespace=NAMESPACE_REPORT)) is Reason.NAMESPACE_MISMATCH
    assert refusal(honest._replace(sig=made_by(key, origins=("x",)).sig)) is Reason.SIGNATURE_INVALID


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"mediaType":"text/plain"}', b"\xff", b"{" * 99_999])
def test_what_is_no_terminal_s_enrolment_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_terminal_enrolment(data)

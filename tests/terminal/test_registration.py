"""New credentials and trust changes: what the one-shot pages refuse, whatever the browser hands over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fido2 import cbor
from terminal_world import PageWorld, keep_credentials

from placet.adapters.fido.attestation import FidoAttestationVerifier
from placet.adapters.tuf.anchor import TrustAnchors
from placet.adapters.tuf.repository import TrustRepository
from placet.adapters.tuf.trust import make_administrator
from placet.ceremony.enrol_evidence import registration_challenge
from placet.ceremony.fingerprint import fingerprint_words
from placet.core.encoding import Digest, KeyId, b64url_encode
from placet.core.errors import PlacetError, Reason
from placet.core.people import Deployment
from placet.terminal.credentials import CredentialStore, KnownCredential
from placet.terminal.enrol_desk import EnrolDesk, Invitation
from placet.terminal.registration import NewCredential, read_registration
from placet.terminal.touch import Assertion, DeskError
from placet.terminal.trust_desk import TrustDesk
from placet.terminal.trust_session import TrustSession
from placet.testing.authenticator import AT, BE, UP, UV, SoftSk, SoftWebAuthn
from placet.testing.registration import attestation_object, creation_client_data
from placet.testing.world import ALICE, BOB

RP_ID = "demo.placet.localhost"
ORIGIN = "http://t1.demo.placet.localhost:8470"
CHALLENGE = registration_challenge(ALICE, "demo", "ab" * 32, "maple-otter-42-quiet-harbour")
KEY = SoftWebAuthn(rp_id=RP_ID, web_origin=ORIGIN, seed=b"new")


VERIFIER = FidoAttestationVerifier()


def read(
    *, flags: int = UP | UV | AT, rp_id: str = RP_ID, cose: bytes | None = None, **client: Any
) -> NewCredential:
    """Reads a registration as Chromium makes it, with some of it changed."""
    return read_registration(
        client_data_json=creation_client_data(CHALLENGE, ORIGIN, **client),
        attestation_object=attestation_object(KEY, flags=flags, rp_id=rp_id, cose=cose),
        challenge=CHALLENGE,
        web_origin=ORIGIN,
        rp_id=RP_ID,
        verifier=VERIFIER,
    )


def test_honest_registration_gives_the_key() -> None:
    made = read()
    assert made.public_key.wire == KEY.wire
    assert made.credential_id == KEY.credential_id


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"challenge": b64url_encode(b"other")}, Reason.CHALLENGE_MISMATCH),
        ({"origin": "http://t2.demo.placet.localhost:8470"}, Reason.ORIGIN_NOT_ALLOWED),
        ({"type": "webauthn.get"}, Reason.CLIENT_DATA),
        ({"crossOrigin": True}, Reason.CROSS_ORIGIN),
        ({"topOrigin": "http://evil.example"}, Reason.CROSS_ORIGIN),
        ({"rp_id": "evil.placet.localhost"}, Reason.ORIGIN_NOT_ALLOWED),
        ({"flags": UP | AT}, Reason.USER_VERIFICATION_MISSING),
        ({"flags": UV | AT}, Reason.USER_VERIFICATION_MISSING),
        ({"flags": UP | UV}, Reason.ATTESTATION_INVALID),
        ({"flags": UP | UV | AT | BE}, Reason.BACKUP_NOT_ALLOWED),
        ({"cose": b""}, Reason.ATTESTATION_INVALID),
        ({"cose": bytes.fromhex("a5010203262001215820") + bytes(67)}, Reason.ATTESTATION_INVALID),
        ({"cose": cbor.encode({1: 1, 3: -8, -1: 6, -2: bytes([9]) + bytes(31)})}, Reason.BAD_KEY),
        ({"cose": cbor.encode({1: 2, 3: -7, -1: 1, -2: bytes(32), -3: bytes(32)})}, Reason.BAD_KEY),
        ({"cose": cbor.encode({1: 3, 3: -257, -1: bytes(256), -2: b"\1\0\1"})}, Reason.BAD_KEY),
    ],
)
def test_registration_that_is_not_ours_is_refused(changed: dict[str, Any], reason: Reason) -> None:
    with pytest.raises(PlacetError) as caught:
        read(**changed)
    assert caught.value.reason is reason


def test_truncated_attestation_object_is_a_named_refusal() -> None:
    whole = attestation_object(KEY)
    for cut in range(len(whole)):
        with pytest.raises(PlacetError):
            read_registration(
                client_data_json=creation_client_data(CHALLENGE, ORIGIN),
                attestation_object=whole[:cut],
                challenge=CHALLENGE,
                web_origin=ORIGIN,
                rp_id=RP_ID,
                verifier=VERIFIER,
            )


def test_only_keys_that_are_somebodys_are_barred_from_a_new_credential(tmp_path: Path) -> None:
    store = CredentialStore(tmp_path / "credentials.json")
    for name, person in (("trusted", ALICE), ("lost", ALICE), ("bobs", BOB), ("old", None)):
        store.add(KeyId(name), KnownCredential(f"id-{name}", ("usb",), person))
    barred = {}
    for shared in (False, True):
        desk = EnrolDesk(
            Invitation(ALICE, Deployment("demo", RP_ID), Digest("ab" * 32), "maple-otter-42-quiet-harbour"),
            web_origin=ORIGIN,
            verifier=VERIFIER,
            credentials=store,
            out=tmp_path / "out.json",
            on_done=lambda: None,
            enrolled=[KeyId("trusted")],
            allow_shared_key=shared,
        )
        barred[shared] = [found["id"] for found in desk.creation_options()["excludeCredentials"]]
    assert barred == {False: ["id-trusted", "id-bobs"], True: []}


class Office:
    """An administrator with a browser key and a repository that waits for signatures."""

    def __init__(self, folder: Path) -> None:
        self.world = PageWorld(8470)
        key = self.world.keys[ALICE]
        assert isinstance(key, SoftWebAuthn)
        self.key, self.path = key, folder / "repository"
        admin = make_administrator(
            "alice", key.wire, kind="webauthn", origins=[self.world.origin("t1")], uv=True
        )
        TrustRepository.create(
            self.path, files=self.world.files(), administrators=[admin], threshold=1, now=self.world.now
        )
        store = CredentialStore(folder / "credentials.json")
        keep_credentials(self.world, store, ALICE)
        self.finished = 0
        self.session = TrustSession(
            TrustRepository(self.path),
            "alice",
            anchors=TrustAnchors(folder / "anchors"),
            verifier=FidoAttestationVerifier(),
            now=self.world.now,
        )
        self.desk = TrustDesk(
            self.session,
            "alice",
            web_origin=self.world.origin("t1"),
            credentials=store,
            on_done=self.count,
        )

    def count(self) -> None:
        self.finished += 1

    def type_all(self) -> None:
        for at, key in enumerate(self.session.fingerprints.keys):
            self.desk.type_fingerprint(at, " ".join(fingerprint_words(key.keyid)))

    def touch(self, role: str) -> Assertion:
        import base64

        asked = self.desk.begin(role, range(len(self.desk.changes())))
        challenge = base64.urlsafe_b64decode(asked.challenge + "=" * (-len(asked.challenge) % 4))
        return Assertion(b64url_encode(self.key.credential_id), *self.key.get(challenge))


def test_administrator_never_signs_blind(tmp_path: Path) -> None:
    office = Office(tmp_path)
    with pytest.raises(DeskError, match="not shown yet"):
        office.desk.begin("root", range(len(office.desk.changes()) - 1))


def test_administrator_without_a_key_for_a_browser_is_told_before_they_read(tmp_path: Path) -> None:
    world, path = PageWorld(8470), tmp_path / "repository"
    key = SoftSk("ed25519", application="ssh:placet-demo")
    admin = make_administrator("ben", key.wire, kind="sk", origins=(), uv=True)
    TrustRepository.create(path, files=world.files(), administrators=[admin], threshold=1, now=world.now)
    session = TrustSession(
        TrustRepository(path),
        "ben",
        anchors=TrustAnchors(tmp_path / "anchors"),
        verifier=FidoAttestationVerifier(),
        now=world.now,
    )
    desk = TrustDesk(
        session,
        "ben",
        web_origin=world.origin("t1"),
        credentials=CredentialStore(tmp_path / "credentials.json"),
        on_done=lambda: None,
        command="placet trust sign --as ben --key FILE --challenge /media/stick",
    )
    obstacles = desk.find_obstacles()
    assert set(obstacles) == {"root", "targets"}
    assert "an OpenSSH key, and no browser can" in obstacles["root"].message
    assert "`placet trust sign --as ben --key FILE --challenge /media/stick`" in obstacles["root"].hint
    with pytest.raises(DeskError, match="no browser can use"):
        desk.begin("root", range(len(desk.changes())))
    assert Office(tmp_path / "alice").desk.find_obstacles() == {}


def test_each_role_takes_a_touch_of_its_own(tmp_path: Path) -> None:
    office = Office(tmp_path)
    office.type_all()
    touch = office.touch("root")
    with pytest.raises(PlacetError) as caught:
        office.desk.finish("targets", touch)
    assert caught.value.reason is Reason.CHALLENGE_MISMATCH
    assert office.desk.finish("root", touch) == ("targets",)
    assert office.finished == 0
    assert office.desk.finish("targets", office.touch("targets")) == ()
    assert office.finished == 1


def test_draft_that_changes_after_it_was_shown_is_not_signed(tmp_path: Path) -> None:
    office = Office(tmp_path)
    office.type_all()
    touch = office.touch("targets")
    repository = TrustRepository(office.path)
    office.world.policy = office.world.policy.replace("threshold = 2", "threshold = 1")
    repository.stage({"policy/default.toml": office.world.policy.encode()}, now=office.world.now)
    with pytest.raises(PlacetError) as caught:
        office.desk.finish("targets", touch)
    assert caught.value.reason is Reason.CHALLENGE_MISMATCH

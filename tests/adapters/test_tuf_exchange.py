"""Challenges go out, signatures come back: whoever carries them changes nothing and learns nothing secret."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tuf_trust_world import ANNA, BEN, CLEO, TrustWorld, administrator

from placet.adapters.fido.attestation import FidoAttestationVerifier
from placet.adapters.tuf.ceremony_box import FolderBox
from placet.adapters.tuf.delegations import ScopeOwners
from placet.adapters.tuf.exchange import (
    attach_signatures,
    encode_challenge,
    encode_signatures,
    open_challenge,
)
from placet.adapters.tuf.owners import delegate
from placet.adapters.tuf.repository import TrustRepository
from placet.adapters.tuf.review import review
from placet.adapters.tuf.signing import pending_roles
from placet.core.encoding import b64encode
from placet.core.errors import MalformedError, PlacetError, PolicyError, Reason, VerificationError
from placet.terminal.trust_session import TrustSession
from placet.testing.authenticator import SoftSk
from placet.testing.world import DEFAULT_POLICY

STRICTER = DEFAULT_POLICY.replace("threshold = 2", "threshold = 3")
WEAKER = DEFAULT_POLICY.replace("threshold = 2", "threshold = 1")


@pytest.fixture
def trust(tmp_path: Path) -> TrustWorld:
    return TrustWorld(tmp_path)


def sign_elsewhere(trust: TrustWorld, person: str, there: TrustRepository | None = None) -> bytes:
    """A person signs a challenge on another terminal; returns what comes back."""
    there = there or trust.carry()
    key = trust.keys[person]
    trust.session(person, there).sign(key)
    return encode_signatures(there, {key.keyid})


def refusals(trust: TrustWorld, data: bytes) -> list[PlacetError | None]:
    return [item.refusal for item in attach_signatures(trust.repository, data)]


def test_signatures_travel_in_files(trust: TrustWorld) -> None:
    back = sign_elsewhere(trust, CLEO)
    collected = attach_signatures(trust.repository, back)
    assert [(item.person, item.role, item.refusal) for item in collected] == [
        (CLEO, "root", None),
        (CLEO, "targets", None),
    ]
    assert refusals(trust, back) == [None, None]  # once more does no harm
    trust.publish(BEN)


def test_another_terminal_sees_what_this_one_sees_and_who_has_signed(trust: TrustWorld) -> None:
    trust.publish(ANNA, BEN)
    trust.stage_policy(STRICTER)
    trust.sign(BEN)
    there, here = review(trust.carry(), trust.anchors), trust.review()
    assert there == here
    assert there.pending[0].signed == (BEN,)
    assert there.pending[0].quorums[0].unsigned == (ANNA, CLEO)


def test_online_keys_and_other_files_never_travel(trust: TrustWorld) -> None:
    (trust.repository.path / "enrolments").mkdir(exist_ok=True)
    (trust.repository.path / "enrolments" / f"{'ab' * 32}.enrolment.json").write_text("{}")
    trust.stage_policy(STRICTER)
    trust.sign(ANNA)
    names = json.loads(encode_challenge(trust.repository))["files"].keys()
    folders = {name.partition("/")[0] for name in names}
    assert folders == {"draft", "objects"}
    key = (trust.repository.path / "keys" / "timestamp.pem").read_bytes()
    assert not any(b64encode(key) in text for text in json.loads(encode_challenge(trust.repository))["files"])
    # Evidence of a key about which nothing changes stays at home.
    assert not any("ab" * 32 in name for name in names)


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "/etc/passwd",
        "objects/../../evil",
        "objects/" + "ab" * 31,
        "objects/" + "AB" * 32,
        "draft/../../x.json",
        "draft/.json",
        "draft/root.signatures/x.sshsig",
        "draft/a/b.json",
        "keys/timestamp.pem",
        "repository.json",
        "published/targets/x",
        "published/metadata/../x.json",
        "published/metadata/\u0430.json",
        "enrolments/../x.enrolment.json",
        "enrolments/x.enrolment.json",
        "",
        "draft/root.json\n",
    ],
)
def test_a_challenge_writes_nowhere_else(trust: TrustWorld, tmp_path: Path, name: str) -> None:
    value = json.loads(encode_challenge(trust.repository))
    value["files"][name] = b64encode(b"evil")
    folder = tmp_path / "inner" / "folder"
    folder.mkdir(parents=True)
    with pytest.raises(MalformedError, match="holds no file"):
        open_challenge(json.dumps(value).encode(), folder)
    assert list(folder.iterdir()) == []
    assert list(folder.parent.iterdir()) == [folder]


@pytest.mark.parametrize(
    "change",
    [
        {"mediaType": "text/plain"},
        {"files": []},
        {"files": {"objects/" + "ab" * 32: 3}},
        {"files": {"objects/" + "ab" * 32: "not base64"}},
        {"files": {f"objects/{n:064x}": "" for n in range(20_001)}},
        {"more": 1},
    ],
)
def test_what_is_no_challenge_is_a_named_refusal(trust: TrustWorld, tmp_path: Path, change: Any) -> None:
    value = json.loads(encode_challenge(trust.repository))
    with pytest.raises(MalformedError):
        open_challenge(json.dumps(value | change).encode(), tmp_path / "none")
    with pytest.raises(MalformedError):
        open_challenge(b"[" * 100_000, tmp_path / "none")


def test_the_courier_swaps_the_challenge_and_the_terminal_shows_what_it_would_sign(trust: TrustWorld) -> None:
    """Shows A, signs B: whatever the courier puts in is what is shown, and does not fit at home."""
    trust.publish(ANNA, BEN)
    trust.stage_policy(STRICTER)
    mine = encode_challenge(trust.repository)
    trust.stage_policy(WEAKER)
    swapped = encode_challenge(trust.repository)
    trust.stage_policy(STRICTER)
    there = trust.carry(swapped)
    shown = review(there, trust.anchors)
    assert shown.new_files["policy/default.toml"] == WEAKER.encode()
    back = sign_elsewhere(trust, ANNA, there)
    (refusal,) = refusals(trust, back)
    assert isinstance(refusal, VerificationError)
    assert refusal.reason is Reason.CHALLENGE_MISMATCH
    assert "another draft of targets" in str(refusal)
    # The contents of one draft under the name of the other are no such file.
    value, other = json.loads(mine), json.loads(swapped)
    value["files"]["draft/targets.json"] = other["files"]["draft/targets.json"]
    with pytest.raises(PlacetError, match="damaged"):
        review(trust.carry(json.dumps(value).encode()), trust.anchors)


def test_a_signature_over_an_older_draft_is_refused_by_name_and_loses_nothing(trust: TrustWorld) -> None:
    old = sign_elsewhere(trust, CLEO)
    trust.stage_policy(STRICTER)
    trust.sign(ANNA)
    collected = attach_signatures(trust.repository, old)
    root, targets = collected
    assert (root.person, root.refusal) == (CLEO, None)  # the root is still the same
    assert (targets.person, targets.role) == (CLEO, "targets")
    assert targets.refusal is not None
    assert "what was collected before is kept" in targets.refusal.hint
    states = {item.role: item.signed for item in pending_roles(trust.repository)}
    assert states == {"root": (ANNA, CLEO), "targets": (ANNA,)}


def test_a_replayed_signature_that_lies_about_its_draft_is_refused(trust: TrustWorld) -> None:
    old = json.loads(sign_elsewhere(trust, CLEO))
    trust.stage_policy(STRICTER)
    new = json.loads(sign_elsewhere(trust, ANNA))
    for item, fresh in zip(old["signatures"], new["signatures"], strict=True):
        item["sha256"] = fresh["sha256"]
    _, refusal = refusals(trust, json.dumps(old).encode())
    assert isinstance(refusal, VerificationError)


def test_signatures_of_what_is_published_are_refused_by_name(trust: TrustWorld) -> None:
    back = sign_elsewhere(trust, CLEO)
    trust.publish(ANNA, BEN)
    for refusal in refusals(trust, back):
        assert isinstance(refusal, PolicyError)
        assert "is published already" in str(refusal)


def test_signatures_of_nobody_are_refused_by_name(trust: TrustWorld) -> None:
    value = json.loads(sign_elsewhere(trust, CLEO))
    for item in value["signatures"]:
        item["keyid"] = "ab" * 32
    for item in attach_signatures(trust.repository, json.dumps(value).encode()):
        assert item.person == "key abababababababab"
        assert item.refusal is not None
        assert item.refusal.reason is Reason.UNKNOWN_KEY


def test_a_signature_under_another_administrators_key_is_refused(trust: TrustWorld) -> None:
    value = json.loads(sign_elsewhere(trust, CLEO))
    for item in value["signatures"]:
        item["keyid"] = trust.keys[BEN].keyid
    for refusal in refusals(trust, json.dumps(value).encode()):
        assert refusal is not None
    assert pending_roles(trust.repository)[0].signed == ()


@pytest.mark.parametrize(
    "data",
    [
        b'{"mediaType":"text/plain","signatures":[]}',
        b'{"mediaType":"application/vnd.placet.trust-signatures.v1+json","signatures":[{"role":"root"}]}',
        b"[" * 100_000,
        b" " * (1024 * 1024 + 1),
    ],
)
def test_what_is_no_signature_file_is_a_named_refusal(trust: TrustWorld, data: bytes) -> None:
    with pytest.raises(MalformedError):
        attach_signatures(trust.repository, data)


def test_owners_of_a_scope_sign_on_their_own_terminals_too(trust: TrustWorld) -> None:
    trust.publish(ANNA, BEN)
    owner = SoftSk("ed25519")
    trust.keys["olga@example.com"] = owner
    owners = ScopeOwners("default", 1, (administrator("olga@example.com", owner),))
    delegate(trust.repository, owners, now=trust.now)
    there = trust.carry()
    session = trust.session("olga@example.com", there)
    assert [key.purpose for key in session.fingerprints.keys] == []  # she is shown her rules alone
    back = sign_elsewhere(trust, "olga@example.com", there)
    collected = attach_signatures(trust.repository, back)
    assert [(item.person, item.role, item.refusal) for item in collected] == [
        ("olga@example.com", "scope-default", None)
    ]
    asked = TrustSession(
        trust.carry(), ANNA, anchors=trust.anchors, verifier=FidoAttestationVerifier(), now=trust.now
    )
    assert [(key.holder, key.purpose) for key in asked.fingerprints.keys] == [
        ("olga@example.com", "signs policy/default.toml")
    ]
    with pytest.raises(PolicyError, match="not typed yet: olga"):
        asked.sign(trust.keys[ANNA])
    for person in (ANNA, BEN):
        trust.session(person).sign(trust.keys[person])
    trust.publish()
    trust.repository.stage({"policy/default.toml": STRICTER.encode()}, now=trust.now + 60)
    back = sign_elsewhere(trust, "olga@example.com")  # now the published rules travel, too
    assert attach_signatures(trust.repository, back)[0].refusal is None


@pytest.mark.parametrize(
    ("folder", "file"), [(0o755, 0o600), (0o1777, 0o600), (0o2770, 0o660), (0o770, 0o660)]
)
def test_a_challenge_is_read_by_those_who_share_its_folder_and_nobody_else(
    tmp_path: Path, folder: int, file: int
) -> None:
    """It lists all staff, with the credential IDs of new keys."""
    place = tmp_path / "stick"
    place.mkdir()
    place.chmod(folder)
    before = os.umask(0)
    try:
        written = [FolderBox(place).write_challenge(b"{}"), FolderBox(place).write_signatures("a", b"{}")]
        made = FolderBox(tmp_path / "new" / "folder").write_challenge(b"{}")
    finally:
        os.umask(before)
    assert [Path(name).stat().st_mode & 0o777 for name in written] == [file] * 2
    assert Path(made).stat().st_mode & 0o777 == 0o600
    assert Path(made).parent.stat().st_mode & 0o777 == 0o700

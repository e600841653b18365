"""tuf-conformance's `test_keys`, by name: keys that are too few, doubled, unusable or not anybody's."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner, Signature  # type: ignore[attr-defined]
from trust_simulator import ALL, ANNA, PEOPLE, Gate, PersonSigner, Simulator
from tuf.api.metadata import Metadata  # type: ignore[attr-defined]

from placet.adapters.securesystemslib import SkKey
from placet.adapters.tuf.trust import ROOT, SNAPSHOT, TARGETS, TIMESTAMP
from placet.cli import main
from placet.core.errors import Reason
from placet.testing.authenticator import BE, BS, UP, UV, SoftSk, SoftWebAuthn

TOO_FEW = (Reason.BAD_TRUST, "not signed by enough")


@pytest.fixture
def client(http_client: Gate) -> Gate:
    """Where a role came from makes no difference to who signed it."""
    return http_client


def test_snapshot_does_not_meet_threshold(repo: Simulator, client: Gate) -> None:
    repo.root.roles[SNAPSHOT].threshold = 3
    repo.add_key(SNAPSHOT)
    repo.add_key(SNAPSHOT)
    repo.publish(ROOT, TARGETS, SNAPSHOT, TIMESTAMP)
    client.refresh()
    repo.signers[SNAPSHOT].popitem()
    repo.publish(TARGETS, SNAPSHOT, TIMESTAMP)
    client.refuses(*TOO_FEW)
    assert client.version(SNAPSHOT) == 2


def test_snapshot_threshold(repo: Simulator, client: Gate) -> None:
    test_snapshot_does_not_meet_threshold(repo, client)


def test_snapshot_has_too_few_keys(repo: Simulator, client: Gate) -> None:
    for _ in range(4):
        repo.add_key(SNAPSHOT)
    repo.root.roles[SNAPSHOT].threshold = 6
    repo.publish(ROOT, SNAPSHOT, TIMESTAMP)
    client.refuses(*TOO_FEW)
    assert client.version(ROOT) == 2


@pytest.mark.parametrize("role", [ROOT, TARGETS, SNAPSHOT])
def test_root_has_keys_but_not_snapshot(repo: Simulator, client: Gate, role: str) -> None:
    """A role names a key ID for which the root holds no key."""
    client.refresh()
    repo.root.roles[role].keyids.append("0" * 64)
    repo.publish(*ALL)
    if role == SNAPSHOT:
        assert client.refresh().versions[ROOT] == 2  # one machine's good signature is enough
    else:
        client.refuses(Reason.BAD_TRUST, role)


def test_duplicate_keys(repo: Simulator, client: Gate) -> None:
    """One key listed nine times, and its signature nine times, where six are needed."""
    keyid = next(iter(repo.signers[SNAPSHOT]))
    repo.root.roles[SNAPSHOT].threshold = 6
    repo.publish(ROOT, SNAPSHOT, TIMESTAMP)
    repo.edit(ROOT, lambda value: value["signed"]["roles"][SNAPSHOT]["keyids"].extend([keyid] * 8))
    repo.edit(SNAPSHOT, lambda value: value["signatures"].extend(value["signatures"] * 8))
    client.refuses(Reason.BAD_TRUST)
    assert not (client.metadata / "snapshot.json").exists()


def test_duplicate_keys_root(repo: Simulator, client: Gate) -> None:
    test_duplicate_keys(repo, client)


@pytest.mark.parametrize("role", ALL)
def test_duplicate_sig_keyids(repo: Simulator, client: Gate, role: str) -> None:
    repo.publish(*ALL)
    repo.edit(role, lambda value: value["signatures"].append(value["signatures"][0]))
    client.refuses(Reason.BAD_TRUST)


@pytest.mark.parametrize("kind", ["webauthn", "sk-ecdsa", "sk-ed25519"])
def test_keytype_and_scheme(repo: Simulator, client: Gate, kind: str) -> None:
    """Every kind of key that an administrator may hold, and a signature that only looks like one of it."""
    soft = SoftWebAuthn() if kind == "webauthn" else SoftSk("ecdsa" if kind == "sk-ecdsa" else "ed25519")
    signer = PersonSigner("dora@example.com", soft)
    repo.add_key(ROOT, signer)
    repo.root.roles[ROOT].threshold = 4
    repo.publish(ROOT)
    assert client.refresh().versions[ROOT] == 2
    repo.publish(ROOT)
    bad = signer.sign(b"another message").signature

    def exchange(value: dict[str, Any]) -> None:
        for signature in value["signatures"]:
            if signature["keyid"] == soft.keyid:
                signature["sig"] = bad

    repo.edit(ROOT, exchange)
    client.refuses(*TOO_FEW)
    assert client.version(ROOT) == 2


@pytest.mark.parametrize("bad", ["", "00", "not hexadecimal", "5" * 2000])
@pytest.mark.parametrize("role", [ROOT, TARGETS, TIMESTAMP])
def test_invalid_sig_in_valid_metadata(repo: Simulator, client: Gate, role: str, bad: str) -> None:
    """One bad signature beside enough good ones is passed over."""
    extra = repo.add_key(role, PEOPLE[0] if role in (ROOT, TARGETS) else None)
    repo.publish(*ALL)

    def spoil(value: dict[str, Any]) -> None:
        for signature in value["signatures"]:
            if signature["keyid"] == extra.public_key.keyid:
                signature["sig"] = bad

    repo.edit(role, spoil)
    assert client.refresh().versions[role] == 2


# -- ours: what a hardware signature must be, and whose


@pytest.mark.parametrize(
    "knobs",
    [{"flags": UV}, {"flags": UP}, {"flags": UP | UV | BE | BS}, {"application": "ssh:placet:other"}],
    ids=["no touch", "not unlocked", "synced", "made for another deployment"],
)
def test_a_signature_that_is_not_a_touch(repo: Simulator, client: Gate, knobs: dict[str, Any]) -> None:
    client.refresh()
    signer = next(iter(repo.signers[TARGETS].values()))
    assert isinstance(signer, PersonSigner)
    plain = signer.soft.sign

    class Careless(PersonSigner):
        def sign(self, payload: bytes) -> Signature:
            return Signature(self.public_key.keyid, plain("trust-v1@placet.dev", payload, **knobs).hex())

    repo.signers[TARGETS] = {
        keyid: Careless(each.person, each.soft) if each is signer else each
        for keyid, each in list(repo.signers[TARGETS].items())[:2]
        if isinstance(each, PersonSigner)
    }
    repo.publish(TARGETS, SNAPSHOT, TIMESTAMP)
    client.refuses(*TOO_FEW)


def test_a_plain_software_key_is_no_administrator(repo: Simulator, client: Gate) -> None:
    client.refresh()
    repo.add_key(ROOT, CryptoSigner.generate_ed25519())
    repo.publish(ROOT)
    client.refuses(Reason.BAD_TRUST, "belongs to no person")


@pytest.mark.parametrize("again", ["another key", "the same point"])
def test_one_person_with_two_keys_in_a_role(repo: Simulator, client: Gate, again: str) -> None:
    """The second key makes a quorum of one person; also the same key under another application."""
    client.refresh()
    first = next(s for s in repo.signers[ROOT].values() if isinstance(s, PersonSigner) and s.person == ANNA)
    if again == "another key":
        second = PersonSigner(ANNA, SoftSk())
    else:
        second = PersonSigner("zoe@example.com", SoftSk(seed=ANNA.encode(), application="ssh:placet:second"))
        assert isinstance(second.public_key, SkKey)
        assert isinstance(first.public_key, SkKey)
        assert second.public_key.raw == first.public_key.raw
    repo.add_key(ROOT, second)
    repo.publish(ROOT)
    client.refuses(Reason.BAD_TRUST, "Two keys of")


def test_a_key_under_another_key_id(repo: Simulator, client: Gate) -> None:
    """A root that lists one key under two IDs would count it twice."""
    client.refresh()
    key = copy.deepcopy(next(iter(repo.signers[ROOT].values())).public_key)
    key.keyid = "f" * 64
    repo.root.keys[key.keyid] = key
    repo.root.roles[ROOT].keyids.append(key.keyid)
    repo.publish(ROOT)
    client.refuses(Reason.BAD_TRUST, "malformed")


@pytest.mark.parametrize("role", [ROOT, TARGETS])
def test_a_quorum_of_strangers(repo: Simulator, client: Gate, role: str) -> None:
    """Good signatures by people whom nobody made administrators."""
    client.refresh()
    strangers = PEOPLE[:5]
    repo.signers[role] = {stranger.public_key.keyid: stranger for stranger in strangers}
    repo.publish(role, SNAPSHOT, TIMESTAMP)
    client.refuses(*TOO_FEW)


@pytest.mark.parametrize("stolen", [1, 2])
def test_key_compromise_below_and_at_the_threshold(repo: Simulator, client: Gate, stolen: int) -> None:
    """One of two stolen keys gains nothing; at the threshold they own it, which nothing can prevent."""
    client.refresh()
    repo.signers[TARGETS] = dict(list(repo.signers[TARGETS].items())[:stolen])
    repo.add_file("people.json", b'{"people":[]}')
    repo.publish(TARGETS, SNAPSHOT, TIMESTAMP)
    if stolen < 2:
        client.refuses(*TOO_FEW)
    else:
        assert client.refresh().trust.people == ()


@pytest.mark.parametrize("role", [SNAPSHOT, TIMESTAMP])
def test_a_stolen_online_key_changes_nobody_s_authority(repo: Simulator, client: Gate, role: str) -> None:
    client.refresh()
    thief = next(iter(repo.signers[role].values()))
    repo.add_file("people.json", b'{"people":[]}')
    repo.signers[TARGETS] = {thief.public_key.keyid: thief}
    repo.publish(TARGETS, SNAPSHOT, TIMESTAMP)
    client.refuses(*TOO_FEW)


def test_signatures_of_another_role_do_not_count(repo: Simulator, client: Gate) -> None:
    """Administrators signed a root; nobody signed these targets."""
    client.refresh()
    repo.publish(TARGETS)
    root = Metadata.from_bytes(repo.metadata[ROOT][-1])
    targets = Metadata.from_bytes(repo.metadata[TARGETS].pop())
    targets.signatures = root.signatures
    repo.metadata[TARGETS].append(targets.to_bytes())
    repo.publish(SNAPSHOT, TIMESTAMP)
    client.refuses(*TOO_FEW)


def test_the_real_command(repo: Simulator, client: Gate, capsys: pytest.CaptureFixture[str]) -> None:
    start = ["trust", "refresh", "--to", str(client.snapshot), "--from"]
    repo.root.roles[ROOT].keyids.append("0" * 64)
    repo.publish(ROOT)
    assert main([*start, client.source, "--root-sha256", client.root_sha256]) == 1
    said = capsys.readouterr().err
    assert "[bad-trust]" in said
    assert "bug" not in said

"""Review: nothing in the bytes that administrators sign escapes what they are shown."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "adapters"))

from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]
from tuf.api.metadata import DelegatedRole, Delegations, Targets  # type: ignore[attr-defined]
from tuf_trust_world import ANNA, BEN, TrustWorld, administrator

from placet.adapters.tuf.delegations import read_delegations
from placet.adapters.tuf.exchange import encode_challenge
from placet.adapters.tuf.review import review
from placet.adapters.tuf.trust import (
    ROOT,
    TARGETS,
    Signed,
    assemble,
    build_root,
    encode_signed,
    make_administrator,
    parse_signed,
)
from placet.ceremony.trust_change import change_lines, root_diff, semantic_diff
from placet.cli import main
from placet.core.encoding import b64encode
from placet.core.errors import PlacetError, PolicyError, Reason
from placet.core.sshsig import encode_sk_ecdsa_key
from placet.testing.authenticator import DEFAULT_RP_ID, DEFAULT_WEB_ORIGIN, SoftSk, SoftWebAuthn
from placet.testing.world import DEFAULT_POLICY, World


@pytest.fixture
def trust(tmp_path: Path) -> TrustWorld:
    world = TrustWorld(tmp_path)
    world.publish(ANNA, BEN)
    return world


def draft(trust: TrustWorld, role: str) -> Path:
    return trust.repository.path / "draft" / f"{role}.json"


def prepared(trust: TrustWorld, role: str) -> Signed:
    trust.repository.renew(now=trust.now + 60)
    draft(trust, ROOT if role == TARGETS else TARGETS).unlink()
    return parse_signed(draft(trust, role).read_bytes(), role)


def delegating(trust: TrustWorld) -> Targets:
    targets = prepared(trust, TARGETS)
    assert isinstance(targets, Targets)
    key = CryptoSigner.generate_ed25519().public_key
    role = DelegatedRole("scope-staging", [key.keyid], 1, True, paths=["policy/staging.toml"])
    targets.delegations = Delegations({key.keyid: key}, {"scope-staging": role})
    return targets


def test_a_delegation_that_is_not_shown_is_not_signed(trust: TrustWorld) -> None:
    draft(trust, TARGETS).write_bytes(encode_signed(delegating(trust)))
    with pytest.raises(PlacetError, match="cannot show"):
        trust.review()


def test_a_members_of_a_target_that_is_not_shown_is_not_signed(trust: TrustWorld) -> None:
    targets = prepared(trust, TARGETS)
    assert isinstance(targets, Targets)
    targets.targets["people.json"].unrecognized_fields["custom"] = {"hidden": "meaning"}
    draft(trust, TARGETS).write_bytes(encode_signed(targets))
    with pytest.raises(PlacetError, match="cannot show"):
        trust.review()


def test_a_challenge_file_carries_no_hidden_delegation(trust: TrustWorld) -> None:
    targets = delegating(trust)
    value = json.loads(encode_challenge(trust.repository))
    value["files"]["draft/targets.json"] = b64encode(encode_signed(targets))
    with pytest.raises(PlacetError, match="cannot show"):
        review(trust.carry(json.dumps(value).encode()), trust.anchors)


def test_another_online_key_under_the_same_key_id_is_shown(trust: TrustWorld) -> None:
    root = prepared(trust, ROOT)
    old = trust.repository.published_root()
    assert old is not None
    keyid = root.roles["timestamp"].keyids[0]
    root.keys[keyid].keyval = {"public": "00" * 32}
    lines = change_lines(root_diff(encode_signed(old), encode_signed(root)))
    assert any("online key" in line for line in lines), lines


def test_the_difference_is_taken_from_what_administrators_signed(trust: TrustWorld) -> None:
    weaker = DEFAULT_POLICY.replace("threshold = 2", "threshold = 1")
    trust.stage_policy(weaker)
    # Whoever can write the folder makes the published side look as if it said so already.
    fake = parse_signed(draft(trust, TARGETS).read_bytes(), TARGETS)
    fake.version = 1
    (trust.public / "metadata" / "1.targets.json").write_bytes(assemble(fake, {}))
    with pytest.raises(PlacetError) as error:
        trust.review()
    assert error.value.reason is Reason.BAD_TRUST


def test_the_published_root_is_taken_from_what_administrators_signed(trust: TrustWorld) -> None:
    root = prepared(trust, ROOT)
    (trust.public / "metadata" / "2.root.json").write_bytes(assemble(root, {}))
    with pytest.raises(PlacetError) as error:
        trust.review()
    assert error.value.reason is Reason.BAD_TRUST


def test_an_administrators_name_moves_no_cursor(
    trust: TrustWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    path = trust.public / "metadata" / "1.root.json"
    path.write_text(path.read_text().replace("cleo@example.com", "cleo\\u001b[2J"))
    assert main(["trust", "show", "--repository", str(trust.repository.path)]) != 0
    out = capsys.readouterr()
    assert "\x1b" not in out.out + out.err


def test_options_of_a_rule_move_no_cursor(trust: TrustWorld, capsys: pytest.CaptureFixture[str]) -> None:
    rule = '\nevidence = [{ kind = "\\u009b2J\\u202e", source = "\\u009b2J\\u202e" }]\n'
    try:
        trust.stage_policy(DEFAULT_POLICY.rstrip() + rule)
        main(["trust", "show", "--repository", str(trust.repository.path)])
    except PlacetError as e:
        assert str(e).isascii() and str(e).isprintable()
    told = capsys.readouterr()
    assert (told.out + told.err).replace("\n", "").isascii()


def test_a_public_key_file_is_read_no_further_than_a_key_is_long(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = str(tmp_path / "repository")
    called = ["trust", "init", "--deployment", "d", "--admin", "a=/dev/zero", "--threshold", "1"]
    assert main([*called, "--repository", where]) == 2
    assert "not an OpenSSH public key" in capsys.readouterr().err


def test_a_plain_software_key_signs_no_delegated_role(trust: TrustWorld) -> None:
    with pytest.raises(PolicyError, match="belongs to no person"):
        read_delegations(delegating(trust))


def test_one_key_under_two_applications_is_one_administrator(trust: TrustWorld) -> None:
    key = SoftWebAuthn(rp_id=DEFAULT_RP_ID)
    twin = encode_sk_ecdsa_key(key.point, "ssh:placet:demo")
    administrators = [
        make_administrator("x@example.com", key.wire, kind="webauthn", origins=[DEFAULT_WEB_ORIGIN], uv=True),
        make_administrator("y@example.com", twin, kind="sk", origins=[], uv=True),
        administrator("z@example.com", SoftSk("ed25519")),
    ]
    root = trust.repository.published_root()
    assert root is not None
    online = {role: root.keys[root.roles[role].keyids[0]] for role in ("snapshot", "timestamp")}
    with pytest.raises(PolicyError, match="each may hold one"):
        build_root(administrators, threshold=2, online_keys=online, version=1, expires_at=trust.now + 9)


def test_two_groups_are_not_one_group_with_a_comma() -> None:
    world = World()
    world.groups["carol@example.com"] = ["release, admin"]
    before = world.files()
    world.groups["carol@example.com"] = ["release", "admin"]
    lines = change_lines(semantic_diff(before, world.files()))
    assert not any("meaning the same" in line for line in lines), lines
    assert len(lines) == 3


def test_a_groups_name_does_not_speak_for_the_rule() -> None:
    files = World().files()
    said = "group:release; the requester does not count"
    policy = DEFAULT_POLICY.replace("group:release", said, 1).encode()
    (change,) = semantic_diff(files, {**files, "policy/default.toml": policy})
    assert f'"{said}"' in change.after


@pytest.mark.parametrize("place", ["repository.json", "draft/targets.json", "published/metadata/x.root.json"])
def test_a_broken_file_of_the_repository_is_a_named_refusal(
    trust: TrustWorld, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLACET_DEBUG", "1")  # no catch-all helps
    (trust.repository.path / place).write_bytes(b"[" * 100_000)
    main(["trust", "show", "--repository", str(trust.repository.path)])

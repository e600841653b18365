"""Review: a change is compared with what was really published, whoever made the folder around it."""

from __future__ import annotations

import json
import shutil
import stat
import sys
from pathlib import Path

import pytest
from tuf.api.metadata import Root  # type: ignore[attr-defined]

sys.path.insert(0, str(Path(__file__).parents[1] / "adapters"))

from tuf_trust_world import ANNA, BEN, CLEO, TrustWorld, administrator

from placet.adapters.fido.attestation import FidoAttestationVerifier
from placet.adapters.tuf.anchor import Anchor, TrustAnchors
from placet.adapters.tuf.chain import published_side, verify_published
from placet.adapters.tuf.exchange import encode_challenge
from placet.adapters.tuf.repository import TrustRepository
from placet.adapters.tuf.review import remember_published, review
from placet.adapters.tuf.trust import ROOT, TARGETS, assemble, encode_signed, parse_signed
from placet.ceremony.trust_change import semantic_diff
from placet.core.encoding import KeyId, b64encode, sha256_hex
from placet.core.errors import IndeterminateError, PlacetError, PolicyError, Reason, VerificationError
from placet.core.sshsig import NAMESPACE_TRUST
from placet.terminal.trust_session import TrustSession
from placet.testing.authenticator import SoftSk, SoftWebAuthn
from placet.testing.world import DEFAULT_POLICY

WEAKER = DEFAULT_POLICY.replace("threshold = 2", "threshold = 1")
STRICTER = DEFAULT_POLICY.replace("threshold = 2", "threshold = 3")


@pytest.fixture
def trust(tmp_path: Path) -> TrustWorld:
    """A published trust root, which Anna's machine (`trust.anchors`) made and follows."""
    world = TrustWorld(tmp_path)
    world.publish(ANNA, BEN)
    return world


def fabricate(trust: TrustWorld) -> TrustRepository:
    """Ben alone makes a folder around the real draft, in which the same was published already."""
    fake = TrustWorld(trust.folder / "fabricated")
    fake.keys = {person: trust.keys[person] for person in (BEN, ANNA)}
    fake.repository = TrustRepository.create(
        fake.folder / "fake",
        files=trust.repository.draft_files(),
        administrators=[administrator(person, key) for person, key in fake.keys.items()],
        threshold=1,
        now=fake.now,
    )
    fake.publish(BEN)
    draft = trust.repository.draft_bytes(TARGETS)
    assert draft is not None
    (fake.repository.path / "draft" / "targets.json").write_bytes(draft)
    for path in (trust.repository.path / "objects").iterdir():
        shutil.copy(path, fake.repository.path / "objects")
    made: TrustRepository = fake.repository
    return made


def refused(sentence: str) -> pytest.RaisesExc[PlacetError]:
    return pytest.raises(
        VerificationError,
        match=sentence,
        check=lambda e: e.reason is Reason.BAD_TRUST and "Sign nothing" in e.hint,
    )


def first_root_of(trust: TrustWorld) -> str:
    return sha256_hex((trust.public / "metadata" / "1.root.json").read_bytes())


def test_a_fabricated_repository_has_nobody_sign_blind(trust: TrustWorld) -> None:
    trust.stage_policy(WEAKER)
    fake = fabricate(trust)
    with refused("does not come from the root that this machine was told"):
        review(fake, trust.anchors)
    shown = trust.review()
    assert any("; 1 of " in change.after for change in semantic_diff(shown.old_files, shown.new_files))


def test_a_fabricated_repository_is_not_taken_for_the_first_one(trust: TrustWorld, tmp_path: Path) -> None:
    trust.stage_policy(WEAKER)
    fake, fresh = fabricate(trust), TrustAnchors(tmp_path / "cleo")
    with pytest.raises(IndeterminateError, match="knows no root") as error:
        review(fake, fresh)
    assert "--root-sha256" in error.value.hint
    with refused("does not come from the root"):
        review(fake, fresh, root_sha256=first_root_of(trust))
    assert fresh.known() == ()
    shown = trust.review(root_sha256=first_root_of(trust).upper())
    assert shown.compared_with == (f"Compared with root 1 (SHA-256 {first_root_of(trust)}), targets 1.",)


def test_a_fabricated_challenge_has_nobody_sign_blind(trust: TrustWorld) -> None:
    trust.stage_policy(WEAKER)
    fake = fabricate(trust)
    with refused("does not come from the root"):
        review(trust.carry(encode_challenge(fake)), trust.anchors)
    value = json.loads(encode_challenge(trust.repository))
    targets = parse_signed(trust.repository.draft_bytes(TARGETS) or b"", TARGETS)
    targets.version = 1
    value["files"]["published/metadata/1.targets.json"] = b64encode(assemble(targets, {}))
    with pytest.raises(VerificationError, match="not signed by enough"):
        review(trust.carry(json.dumps(value).encode()), trust.anchors)
    assert review(trust.carry(), trust.anchors) == trust.review()


def test_the_page_shows_no_fabricated_repository(trust: TrustWorld) -> None:
    trust.stage_policy(WEAKER)

    def session(repository: TrustRepository) -> TrustSession:
        verifier = FidoAttestationVerifier()
        return TrustSession(repository, BEN, anchors=trust.anchors, verifier=verifier, now=trust.now)

    with refused("does not come from the root"):
        session(fabricate(trust))
    assert "Compared with root 1" in session(trust.repository).review.compared_with[0]


def test_a_fabricated_repository_that_publishes_nothing_is_refused(trust: TrustWorld, tmp_path: Path) -> None:
    """The folder is as of a new trust root; the draft in it is the second version of the real one."""
    trust.stage_policy(WEAKER)
    fake = fabricate(trust)
    shutil.rmtree(fake.public_folder / "metadata")
    (fake.public_folder / "metadata").mkdir()
    root = trust.repository.published_root()
    assert root is not None
    (fake.path / "draft" / "root.json").write_bytes(encode_signed(root))
    trust.review()
    with refused("none is published here"):
        review(fake, trust.anchors)
    with refused("after what is published comes 1"):
        review(fake, TrustAnchors(tmp_path / "cleo"))


def test_an_old_copy_of_the_repository_is_no_base(trust: TrustWorld) -> None:
    trust.stage_policy(WEAKER)
    trust.publish(ANNA, BEN)
    old = trust.folder / "old"
    shutil.copytree(trust.repository.path, old)
    trust.stage_policy(STRICTER)
    trust.publish(ANNA, BEN)
    remember_published(trust.repository, trust.anchors)
    repository = TrustRepository(old)
    repository.renew(now=trust.now + 60)
    with refused("shows targets 2 as published; this machine has seen targets 3"):
        review(repository, trust.anchors)


def test_an_old_root_is_no_base(trust: TrustWorld) -> None:
    old = trust.folder / "old"
    shutil.copytree(trust.repository.path, old)
    trust.repository.renew(now=trust.now + 60)
    trust.publish(ANNA, BEN)
    trust.stage_policy(STRICTER)
    shown = trust.review(root_sha256=sha256_hex(trust.repository.published_root_bytes() or b""))
    assert "Compared with root 2" in shown.compared_with[0]
    repository = TrustRepository(old)
    repository.renew(now=trust.now + 90)
    with refused("shows root 1 as published; this machine has seen root 2"):
        review(repository, trust.anchors)


def test_another_history_of_the_same_version_is_refused(trust: TrustWorld) -> None:
    """Even where enough administrators signed both: one of them was shown to others."""
    copy = TrustWorld(trust.folder / "copy")
    copy.keys = trust.keys
    shutil.copytree(trust.repository.path, copy.folder / "same")
    copy.repository = TrustRepository(copy.folder / "same")
    trust.stage_policy(STRICTER)
    trust.publish(ANNA, BEN)
    remember_published(trust.repository, trust.anchors)
    copy.stage_policy(WEAKER)
    copy.publish(BEN, CLEO)
    copy.stage_policy(DEFAULT_POLICY)
    with refused("another targets 2"):
        review(copy.repository, trust.anchors)


def test_a_draft_that_leaves_versions_out_is_refused(trust: TrustWorld) -> None:
    """What lies between was published where this repository does not show it."""
    old = trust.folder / "old"
    shutil.copytree(trust.repository.path, old)
    trust.stage_policy(STRICTER)
    trust.publish(BEN, CLEO)
    trust.stage_policy(DEFAULT_POLICY)
    draft = trust.repository.draft_bytes(TARGETS)
    assert draft is not None
    (old / "draft" / "targets.json").write_bytes(draft)
    with refused("The draft is targets 3, and after what is published comes 2"):
        review(TrustRepository(old), trust.anchors)


def test_what_was_signed_here_and_is_not_published_here_is_said(trust: TrustWorld) -> None:
    trust.stage_policy(STRICTER)
    old = trust.folder / "old"
    shutil.copytree(trust.repository.path, old)
    trust.session(ANNA).sign(trust.keys[ANNA])
    assert len(trust.review().compared_with) == 1
    repository = TrustRepository(old)
    repository.stage({"policy/default.toml": DEFAULT_POLICY.encode()}, now=trust.now + 60)
    said = review(repository, trust.anchors).compared_with
    assert "signed another targets 2 before" in said[1]
    assert "policy/default.toml" in said[1]


def test_the_first_signature_on_another_machine_pins_the_draft_root(tmp_path: Path) -> None:
    trust, mine = TrustWorld(tmp_path), TrustAnchors(tmp_path / "ben")
    shown = review(trust.repository, mine)
    assert "Read it aloud" in shown.compared_with[0]
    draft = sha256_hex(trust.repository.draft_bytes(ROOT) or b"")
    assert draft in shown.compared_with[0]
    with refused("draft root is not the one whose SHA-256 you gave") as error:
        review(trust.repository, mine, root_sha256="ab" * 32)
    assert "Compare again" in error.value.hint
    assert draft in error.value.hint
    assert "remove" not in error.value.hint  # nothing is kept yet
    assert mine.known() == ()
    trust.session(ANNA, anchors=mine).sign(trust.keys[ANNA])
    other = TrustWorld(tmp_path / "other")
    with refused("draft root is not the one that this machine knows"):
        review(other.repository, mine)
    trust.publish(BEN)
    trust.stage_policy(STRICTER)
    assert "Compared with root 1" in review(trust.repository, mine).compared_with[0]


def test_a_new_root_is_followed_only_through_the_one_before(trust: TrustWorld) -> None:
    trust.repository.renew(now=trust.now + 60)
    trust.publish(ANNA, BEN)
    trust.stage_policy(STRICTER)
    first = trust.public / "metadata" / "1.root.json"
    kept = first.read_bytes()
    first.unlink()
    with refused("does not come from the root"):
        trust.review()
    first.write_bytes(kept)
    second = trust.public / "metadata" / "2.root.json"
    value = json.loads(second.read_bytes())
    value["signatures"] = []
    second.write_text(json.dumps(value))
    with pytest.raises(VerificationError, match="not signed by enough"):
        trust.review()


def next_root(trust: TrustWorld) -> Root:
    root = trust.repository.published_root()
    assert root is not None
    root.version = 2
    return root


def publish_root(trust: TrustWorld, root: Root, *signers: SoftSk | SoftWebAuthn) -> None:
    made = {KeyId(key.keyid): key.sign(NAMESPACE_TRUST, encode_signed(root)) for key in signers}
    (trust.public / "metadata" / "2.root.json").write_bytes(assemble(root, made))


def test_a_root_does_not_elect_itself(trust: TrustWorld) -> None:
    trust.stage_policy(STRICTER)
    root = next_root(trust)
    for role in (ROOT, TARGETS):
        root.roles[role].threshold = 1
    publish_root(trust, root, trust.keys[BEN])
    with pytest.raises(VerificationError, match="not signed by enough"):
        trust.review()


def test_a_root_in_the_place_of_another_version_is_refused(trust: TrustWorld) -> None:
    trust.stage_policy(STRICTER)
    root = next_root(trust)
    publish_root(trust, root, trust.keys[ANNA], trust.keys[BEN])
    assert trust.review().compared_with[0].startswith("Compared with root 2")
    kept = (trust.public / "metadata" / "1.root.json").read_bytes()
    (trust.public / "metadata" / "1.root.json").write_bytes(trust.repository.published_root_bytes(2) or b"")
    with refused("does not come from the root"):
        trust.review()
    (trust.public / "metadata" / "1.root.json").write_bytes(kept)
    root.version = 3
    publish_root(trust, root, trust.keys[ANNA], trust.keys[BEN])
    with pytest.raises(PlacetError):
        trust.review()
    side = published_side(trust.repository)
    gap = side._replace(roots=(kept, trust.repository.published_root_bytes(2) or b""))
    with refused("not numbered one after the other"):
        verify_published(gap, Anchor("demo", sha256_hex(kept), {}, {}))


def test_a_root_in_which_a_person_counts_twice_is_no_base(trust: TrustWorld) -> None:
    trust.stage_policy(STRICTER)
    root = next_root(trust)
    root.add_key(administrator(BEN, SoftSk()).key, TARGETS)
    publish_root(trust, root, trust.keys[ANNA], trust.keys[BEN])
    with pytest.raises(PolicyError, match="Two keys of ben"):
        trust.review()


def test_a_root_other_than_the_one_told_is_refused_later_too(trust: TrustWorld) -> None:
    trust.stage_policy(STRICTER)
    with refused("not the one whose SHA-256 you gave"):
        trust.review(root_sha256="ab" * 32)


def test_targets_without_a_root_are_no_base(trust: TrustWorld, tmp_path: Path) -> None:
    trust.stage_policy(STRICTER)
    side = published_side(trust.repository)._replace(roots=())
    with refused("without a root"):
        verify_published(side, Anchor("demo", first_root_of(trust), {}, {}))


def test_a_draft_that_renames_the_deployment_is_not_signed(trust: TrustWorld) -> None:
    """The record of what was published is kept by that name."""
    renamed = {"name": "demo2", "rpId": trust.world.rp_id}
    data = json.dumps(renamed, separators=(",", ":"), sort_keys=True).encode()
    trust.repository.stage({"deployment.json": data}, now=trust.now)
    with pytest.raises(PolicyError, match="changes the deployment's name"):
        trust.review(root_sha256=first_root_of(trust))


def test_a_key_signs_in_no_other_deployment_s_name(tmp_path: Path) -> None:
    trust = TrustWorld(tmp_path)
    stray = SoftSk("ecdsa", application="ssh:placet:prod")
    trust.keys = {ANNA: stray}
    repository = TrustRepository.create(
        tmp_path / "r",
        files=trust.world.files(),
        administrators=[administrator(ANNA, stray)],
        threshold=1,
        now=trust.now,
    )
    mine = TrustAnchors(tmp_path / "mine")
    with pytest.raises(PolicyError, match="made for another deployment"):
        trust.session(ANNA, repository, mine).sign(stray)


def test_the_record_is_private_whole_and_its_own(trust: TrustWorld) -> None:
    trust.stage_policy(STRICTER)
    trust.review()
    path = trust.anchors.path("demo")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [item.name for item in path.parent.iterdir()] == ["demo.json"]
    good = path.read_bytes()
    value = json.loads(good)
    for change in (
        {"deployment": "other"},
        {"rootSha256": "x"},
        {"published": {"root": {"version": 0, "sha256": "ab" * 32, "files": {}}}},
        {"published": {"snapshot": value["published"]["root"]}},
        {"mediaType": "text/plain"},
    ):
        path.write_text(json.dumps(value | change))
        with pytest.raises(IndeterminateError, match="cannot be used"):
            trust.review()
    path.write_bytes(good)
    path.chmod(0o666)
    with pytest.raises(IndeterminateError, match="others can write"):
        trust.review()

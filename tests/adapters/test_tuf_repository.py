"""The administrators' side: drafts, signatures, thresholds, publishing, and crashes in between."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tuf_trust_world import ANNA, BEN, CLEO, DAY, TrustWorld, administrator, killed_script

from placet.adapters.tuf.publish import mirror, publish
from placet.adapters.tuf.refresh import refresh
from placet.adapters.tuf.repository import TrustRepository
from placet.adapters.tuf.signing import (
    attach_signature,
    pending_messages,
    pending_roles,
    root_digests,
)
from placet.core.encoding import sha256_hex
from placet.core.errors import IndeterminateError, MalformedError, PlacetError, PolicyError, Reason
from placet.core.sshsig import NAMESPACE_INTENT, NAMESPACE_TRUST
from placet.testing.authenticator import UP, UV, SoftSk
from placet.testing.world import DEFAULT_POLICY, World

STRICTER = DEFAULT_POLICY.replace("threshold = 2", "threshold = 3")


@pytest.fixture
def trust(tmp_path: Path) -> TrustWorld:
    return TrustWorld(tmp_path)


def refused(reason: Reason) -> "pytest.RaisesExc[PlacetError]":
    return pytest.raises(PlacetError, check=lambda e: e.reason is reason)


# -- thresholds and signatures


def test_publishing_below_the_threshold_names_who_is_missing(trust: TrustWorld) -> None:
    with pytest.raises(PolicyError, match=r"needs 2 more .*anna.*ben.*cleo") as error:
        trust.publish()
    assert error.value.reason is Reason.QUORUM_NOT_MET
    with pytest.raises(PolicyError, match=r"needs 1 more .*anna.*ben") as error:
        trust.publish(CLEO)
    assert "cleo@example.com" in str(error.value)
    assert not (trust.public / "metadata" / "timestamp.json").exists()
    assert trust.publish(ANNA).versions == {"root": 1, "targets": 1, "snapshot": 1, "timestamp": 1}


def test_each_kind_of_authenticator_signs(trust: TrustWorld) -> None:
    trust.sign(ANNA, BEN, CLEO)
    for role in pending_roles(trust.repository):
        assert role.signed == (ANNA, BEN, CLEO)
        assert (role.unsigned, role.missing, role.threshold) == ((), 0, 2)


def test_a_signature_over_an_earlier_draft_does_not_count(trust: TrustWorld) -> None:
    trust.sign(ANNA, BEN)
    ((_, early),) = [item for item in pending_messages(trust.repository) if item[0] == "targets"]
    trust.stage_policy(STRICTER)
    targets = pending_roles(trust.repository)[1]
    assert (targets.role, targets.signed, targets.missing) == ("targets", (), 2)
    with refused(Reason.SIGNATURE_INVALID):
        trust.attach(ANNA, "targets", early)
    # Put back behind our back, it still does not count.
    folder = trust.repository.signatures_folder("targets")
    folder.mkdir(exist_ok=True)
    key = trust.keys[ANNA]
    (folder / f"{key.keyid}.sshsig").write_bytes(key.sign(NAMESPACE_TRUST, early))
    assert pending_roles(trust.repository)[1].signed == ()


def test_an_approval_or_an_untouched_or_a_stranger_s_signature_is_refused(trust: TrustWorld) -> None:
    role, message = pending_messages(trust.repository)[0]
    anna, stranger = trust.keys[ANNA], SoftSk()
    with refused(Reason.NAMESPACE_MISMATCH):
        attach_signature(trust.repository, role, anna.keyid, anna.sign(NAMESPACE_INTENT, message))
    with refused(Reason.USER_PRESENCE_MISSING):
        trust.attach(ANNA, role, message, flags=UV)
    with refused(Reason.USER_VERIFICATION_MISSING):
        trust.attach(ANNA, role, message, flags=UP)
    with refused(Reason.ORIGIN_NOT_ALLOWED):
        trust.attach(BEN, role, message, web_origin="http://evil.demo.placet.localhost:8470")
    with refused(Reason.UNKNOWN_KEY):
        attach_signature(trust.repository, role, stranger.keyid, stranger.sign(NAMESPACE_TRUST, message))
    with refused(Reason.KEY_MISMATCH):
        attach_signature(trust.repository, role, anna.keyid, stranger.sign(NAMESPACE_TRUST, message))
    assert pending_roles(trust.repository)[0].signed == ()


def test_a_damaged_signature_file_does_not_break_the_threshold(trust: TrustWorld) -> None:
    trust.sign(ANNA, BEN)
    for role in ("root", "targets"):
        folder = trust.repository.signatures_folder(role)
        (folder / f"{trust.keys[CLEO].keyid}.sshsig").write_bytes(b"\xff" * 99)
        (folder / "not-a-key-id.sshsig").write_bytes(b"")
    assert trust.publish().versions["targets"] == 1
    signed = json.loads((trust.public / "metadata" / "1.targets.json").read_bytes())["signatures"]
    assert {item["keyid"] for item in signed} == {trust.keys[ANNA].keyid, trust.keys[BEN].keyid}


def test_signing_is_for_the_key_s_own_person_and_for_what_was_shown(trust: TrustWorld) -> None:
    session = trust.session(ANNA)
    with pytest.raises(PolicyError, match=r"belongs to ben@example\.com, not to the administrator anna"):
        session.sign(trust.keys[BEN])
    late = trust.session(CLEO)
    assert session.sign(trust.keys[ANNA]) == ("root", "targets")
    assert trust.session(ANNA).sign(trust.keys[ANNA]) == ()
    trust.stage_policy(STRICTER)
    with refused(Reason.SIGNATURE_INVALID):
        late.sign(trust.keys[CLEO])


# -- people


def test_two_keys_of_one_person_in_one_role_are_refused(tmp_path: Path) -> None:
    two = [administrator(ANNA, SoftSk()), administrator(ANNA, SoftSk())]
    with pytest.raises(PolicyError, match=r"Two keys of anna@example\.com") as error:
        TrustRepository.create(
            tmp_path / "r", files=World().files(), administrators=two, threshold=2, now=1_800_000_000
        )
    assert error.value.reason is Reason.BAD_TRUST
    assert list(tmp_path.iterdir()) == []


def test_one_key_for_two_people_is_refused(tmp_path: Path) -> None:
    key = SoftSk()
    two = [administrator(ANNA, key), administrator(BEN, key)]
    with pytest.raises(PolicyError, match="same key"):
        TrustRepository.create(
            tmp_path / "r", files=World().files(), administrators=two, threshold=2, now=1_800_000_000
        )


@pytest.mark.parametrize("threshold", [0, -1, 4])
def test_a_threshold_that_cannot_be_met_is_refused(tmp_path: Path, threshold: int) -> None:
    people = [administrator(person, SoftSk()) for person in (ANNA, BEN, CLEO)]
    with refused(Reason.BAD_TRUST):
        TrustRepository.create(
            tmp_path / "r", files=World().files(), administrators=people, threshold=threshold, now=1
        )


# -- the folder


def test_a_trust_root_is_never_overwritten(trust: TrustWorld) -> None:
    with pytest.raises(PolicyError, match="already there"):
        TrustRepository.create(
            trust.repository.path,
            files=trust.world.files(),
            administrators=[administrator(ANNA, SoftSk())],
            threshold=1,
            now=trust.now,
        )


def test_an_init_that_fails_leaves_nothing(tmp_path: Path) -> None:
    broken = World().files() | {"people.json": b"{}"}
    with pytest.raises(MalformedError):
        TrustRepository.create(
            tmp_path / "r", files=broken, administrators=[administrator(ANNA, SoftSk())], threshold=1, now=1
        )
    assert list(tmp_path.iterdir()) == []


def test_online_keys_are_private_and_never_published(trust: TrustWorld) -> None:
    published = trust.publish(ANNA, BEN)
    keys = list((trust.repository.path / "keys").iterdir())
    assert {path.name for path in keys} == {"snapshot.pem", "timestamp.pem"}
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in keys)
    mirror(trust.repository, trust.folder / "web")
    everything = b"".join(p.read_bytes() for p in (trust.folder / "web").rglob("*") if p.is_file())
    assert b"PRIVATE" not in everything
    assert trust.refresh(trust.folder / "web", root_sha256=published.root_sha256).changed
    keys[0].chmod(0o644)
    with pytest.raises(IndeterminateError, match="Others can read"):
        trust.publish()


def test_malformed_files_do_not_reach_the_draft(trust: TrustWorld) -> None:
    before = trust.repository.draft_bytes("targets")
    for name, data in [
        ("policy/default.toml", b"[[rule]"),
        ("policy/nowhere.toml", DEFAULT_POLICY.encode()),
        ("people.json", b'{"people":[],"people":[]}'),
        ("../escape.json", b"{}"),
        ("/etc/passwd", b"{}"),
        ("a b", b"{}"),
    ]:
        with pytest.raises(MalformedError):
            trust.repository.stage({name: data}, now=trust.now)
    assert trust.repository.draft_bytes("targets") == before


def test_a_published_action_never_changes(trust: TrustWorld) -> None:
    trust.publish(ANNA, BEN)
    name = "actions/run/v1.json"
    changed = trust.repository.published_files()[name].replace(b"Run a command", b"Do nothing much")
    with pytest.raises(PolicyError, match="never changes"):
        trust.repository.stage({name: changed}, now=trust.now)


def test_a_file_that_was_exchanged_in_the_draft_is_noticed(trust: TrustWorld) -> None:
    digest = sha256_hex(trust.repository.draft_files()["people.json"])
    (trust.repository.path / "objects" / digest).write_bytes(b'{"people":[]}')
    with pytest.raises(IndeterminateError, match=r"damaged: people\.json"):
        trust.review()


def test_prepared_bytes_that_were_edited_are_refused(trust: TrustWorld) -> None:
    path = trust.repository.path / "draft" / "root.json"
    path.write_bytes(path.read_bytes().replace(b'"threshold":2', b'"threshold": 1'))
    with pytest.raises(MalformedError, match="prepared"):
        pending_roles(trust.repository)


def test_no_repository_is_a_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(IndeterminateError, match="no trust repository"):
        TrustRepository(tmp_path)


def test_digests_for_enrolment_are_those_of_draft_and_published_roots(trust: TrustWorld) -> None:
    (draft,) = root_digests(trust.repository)
    assert draft == sha256_hex(pending_messages(trust.repository)[0][1])
    assert root_digests(trust.repository) == {draft}
    published = trust.publish(ANNA, BEN)
    assert root_digests(trust.repository) == {published.root_sha256}


# -- renewal


def test_renewal_needs_the_quorum_and_gates_follow(trust: TrustWorld) -> None:
    first = trust.publish(ANNA, BEN)
    trust.refresh(root_sha256=first.root_sha256)
    trust.repository.renew(now=trust.now + DAY)
    with refused(Reason.QUORUM_NOT_MET):
        trust.publish(CLEO)
    second = trust.publish(ANNA)
    assert second.versions == {"root": 2, "targets": 2, "snapshot": 2, "timestamp": 2}
    assert second.expires_at["root"] == first.expires_at["root"] + DAY
    assert trust.refresh().versions["root"] == 2


def test_renewal_is_of_what_is_due(trust: TrustWorld) -> None:
    trust.publish(ANNA, BEN)
    for days, roles in ((40, ["root", "targets"]), (46, ["targets"]), (190, ["root", "targets"])):
        trust.repository.renew(now=trust.now + days * DAY)
        assert [item.role for item in pending_roles(trust.repository)] == roles
        with trust.repository.lock():
            trust.repository.clear_drafts()
    trust.repository.renew(now=trust.now + 170 * DAY)
    trust.publish(ANNA, BEN, now=trust.now + 170 * DAY)
    trust.repository.renew(now=trust.now + 190 * DAY)
    assert [item.role for item in pending_roles(trust.repository)] == ["root"]


def test_expired_roles_are_not_published(trust: TrustWorld) -> None:
    trust.publish(ANNA, BEN)
    with pytest.raises(IndeterminateError, match="targets version 1 has expired") as error:
        trust.publish(now=trust.now + 91 * DAY)
    assert error.value.reason is Reason.TRUST_EXPIRED
    assert "--renew" in error.value.hint


def test_publishing_again_only_renews_what_is_online(trust: TrustWorld) -> None:
    trust.publish(ANNA, BEN)
    again = trust.publish(now=trust.now + DAY)
    assert again.versions == {"root": 1, "targets": 1, "snapshot": 2, "timestamp": 2}
    assert not trust.repository.stage(trust.world.files(), now=trust.now)


# -- crashes

_KILLED_PUBLISH = killed_script("publish(repository, now=now)")


def test_sigkill_anywhere_in_publishing_leaves_a_readable_repository(trust: TrustWorld) -> None:
    first = trust.publish(ANNA, BEN)
    trust.refresh(root_sha256=first.root_sha256)
    trust.repository.renew(now=trust.now)
    trust.stage_policy(STRICTER)
    trust.sign(ANNA, CLEO)
    outcomes = set()
    for steps in range(100):
        case = trust.folder / f"case-{steps}"
        shutil.copytree(trust.repository.path, case / "repository")
        shutil.copytree(trust.snapshot.parent, case / "gate", symlinks=True)
        command = [sys.executable, "-c", _KILLED_PUBLISH, case / "repository", steps, trust.now]
        done = subprocess.run([str(part) for part in command], capture_output=True, check=False)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
        seen = refresh(str(case / "repository"), case / "gate" / "snapshot.json")
        thresholds = {rule.quorum.threshold for rule in seen.trust.rules}
        assert (seen.versions["targets"], thresholds) in ((1, {2}), (2, {3}))
        outcomes.add(seen.versions["targets"])
        # What gates see is no draft any more.
        waiting = {item.role for item in pending_roles(TrustRepository(case / "repository"))}
        assert waiting == {role for role in ("root", "targets") if seen.versions[role] == 1}
        # Nothing that administrators signed is lost: publishing again completes it.
        publish(TrustRepository(case / "repository"), now=trust.now)
        assert refresh(str(case / "repository"), case / "gate" / "snapshot.json").versions["targets"] == 2
        if done.returncode == 0:
            break
    assert outcomes == {1, 2}
    assert 5 < steps < 99

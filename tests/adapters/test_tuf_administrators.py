"""Root rotation: old and new quorum, people and not keys, gates that are behind, and crashes in between."""

import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import Root
from tuf_trust_world import ANNA, BEN, CLEO, DAY, TrustWorld, administrator, killed_script

from placet.adapters.tuf.administrators import (
    current_administrators,
    rotate_online_keys,
    stage_administrators,
)
from placet.adapters.tuf.chain import published_side, verify_published
from placet.adapters.tuf.publish import mirror, publish
from placet.adapters.tuf.refresh import refresh
from placet.adapters.tuf.repository import TrustRepository
from placet.adapters.tuf.signing import attach_signature, pending_roles, signatures
from placet.adapters.tuf.trust import ROOT, TARGETS, administrators_of, assemble, encode_signed
from placet.core.errors import PlacetError, PolicyError, Reason
from placet.core.sshsig import NAMESPACE_TRUST
from placet.testing.authenticator import SoftSk

DORA = "dora@example.com"


@pytest.fixture
def trust(tmp_path: Path) -> TrustWorld:
    return TrustWorld(tmp_path)


def refused(reason: Reason) -> "pytest.RaisesExc[PlacetError]":
    return pytest.raises(PlacetError, check=lambda e: e.reason is reason)


def draft(trust: TrustWorld, people: dict[str, Any], threshold: int) -> Any:
    administrators = [administrator(person, key) for person, key in people.items()]
    return stage_administrators(trust.repository, administrators, threshold=threshold, now=trust.now)


def sign_with(trust: TrustWorld, *keys: Any, roles: tuple[str, ...] = (ROOT, TARGETS)) -> None:
    for item in pending_roles(trust.repository):
        for key in keys:
            if item.role in roles:
                signature = key.sign(NAMESPACE_TRUST, item.message)
                attach_signature(trust.repository, item.role, key.keyid, signature)


def state(trust: TrustWorld, role: str) -> dict[str, tuple[tuple[str, ...], int]]:
    (item,) = [item for item in pending_roles(trust.repository) if item.role == role]
    return {quorum.of: (quorum.signed, quorum.missing) for quorum in item.quorums}


# -- quorums


def test_a_new_root_needs_the_old_quorum_and_the_new_one(trust: TrustWorld) -> None:
    trust.publish(ANNA, BEN)
    anna, ben, dora = trust.keys[ANNA], trust.keys[BEN], SoftSk()
    change = draft(trust, {ANNA: anna, DORA: dora}, 2)
    assert (change.version, change.targets_again) == (2, True)
    assert state(trust, ROOT) == {"root 2": ((), 2), "root 1": ((), 2)}
    sign_with(trust, anna, dora)
    assert state(trust, ROOT) == {"root 2": ((ANNA, DORA), 0), "root 1": ((ANNA,), 1)}
    with pytest.raises(PolicyError, match=r"root version 2 needs 1 more .*by the keys of root 1: ben"):
        publish(trust.repository, now=trust.now)
    sign_with(trust, ben)
    assert publish(trust.repository, now=trust.now).versions == {
        "root": 2,
        "targets": 2,
        "snapshot": 2,
        "timestamp": 2,
    }
    # Ben is none any more, and Dora is one.
    trust.stage_policy(trust.repository.published_files()["policy/default.toml"].decode() + "\n# more\n")
    with refused(Reason.UNKNOWN_KEY):
        sign_with(trust, ben)
    sign_with(trust, anna, dora)
    assert publish(trust.repository, now=trust.now).versions["targets"] == 3


def test_the_old_quorum_alone_cannot_put_itself_out(trust: TrustWorld) -> None:
    trust.publish(ANNA, BEN)
    draft(trust, {DORA: SoftSk(), CLEO: SoftSk()}, 2)
    sign_with(trust, trust.keys[ANNA], trust.keys[BEN])
    assert state(trust, ROOT) == {"root 2": ((), 2), "root 1": ((ANNA, BEN), 0)}
    with refused(Reason.QUORUM_NOT_MET):
        publish(trust.repository, now=trust.now)


def test_targets_are_signed_again_only_where_the_new_administrators_did_not(trust: TrustWorld) -> None:
    trust.publish(ANNA, BEN)
    more = {**trust.keys, DORA: SoftSk()}
    assert not draft(trust, more, 2).targets_again  # Anna and Ben, who signed them, are still enough
    assert [item.role for item in pending_roles(trust.repository)] == [ROOT]
    assert draft(trust, more, 3).targets_again
    assert [item.role for item in pending_roles(trust.repository)] == [ROOT, TARGETS]
    assert state(trust, TARGETS) == {"root 2": ((), 3), "root 1": ((), 2)}


def test_a_replaced_key_counts_for_the_person_once_in_each_quorum(trust: TrustWorld) -> None:
    trust.publish(ANNA, BEN)
    spare = SoftSk()
    draft(trust, {**trust.keys, ANNA: spare}, 2)
    sign_with(trust, trust.keys[ANNA], spare)  # both of Anna's
    assert state(trust, ROOT) == {"root 2": ((ANNA,), 1), "root 1": ((ANNA,), 1)}
    (root, _) = pending_roles(trust.repository)
    assert (root.signed, root.unsigned, root.missing) == ((ANNA,), (BEN, CLEO), 1)
    sign_with(trust, trust.keys[CLEO])
    assert publish(trust.repository, now=trust.now).versions["root"] == 2
    assert {key.keyid: person for person, key in (trust.keys | {ANNA: spare}).items()} == administrators_of(
        trust.repository.current_root()
    )


def test_a_lost_key_of_one_of_three_is_replaced_by_the_other_two(trust: TrustWorld) -> None:
    first = trust.publish(ANNA, BEN)
    trust.refresh(root_sha256=first.root_sha256)
    draft(trust, {**trust.keys, BEN: SoftSk()}, 2)
    sign_with(trust, trust.keys[ANNA], trust.keys[CLEO])
    publish(trust.repository, now=trust.now)
    assert trust.refresh().versions["root"] == 2


# -- one person, one key


def test_two_keys_of_one_person_are_refused_when_a_new_root_is_drafted(trust: TrustWorld) -> None:
    trust.publish(ANNA, BEN)
    two = [administrator(ANNA, trust.keys[ANNA]), administrator(ANNA, SoftSk())]
    with pytest.raises(PolicyError, match=r"Two keys of anna@example\.com"):
        stage_administrators(trust.repository, two, threshold=2, now=trust.now)
    same = [administrator(ANNA, trust.keys[ANNA]), administrator(BEN, trust.keys[ANNA])]
    with pytest.raises(PolicyError, match="same key"):
        stage_administrators(trust.repository, same, threshold=2, now=trust.now)
    assert pending_roles(trust.repository) == ()


def test_two_keys_of_one_person_are_refused_when_a_new_root_is_signed(trust: TrustWorld) -> None:
    trust.publish(ANNA, BEN)
    forge_two_keys(trust, trust.repository.current_root())
    with pytest.raises(PolicyError, match=r"Two keys of anna@example\.com"):
        sign_with(trust, trust.keys[ANNA])
    with pytest.raises(PolicyError, match=r"Two keys of anna@example\.com"):
        publish(trust.repository, now=trust.now)


def forge_two_keys(trust: TrustWorld, root: Root) -> SoftSk:
    """Drafts a root with a second key of Anna, as a tool that is not ours could."""
    second = SoftSk()
    root.version += 1
    for role in (ROOT, TARGETS):
        root.add_key(administrator(ANNA, second).key, role)
    trust.repository.write_draft(ROOT, root)
    return second


def test_two_keys_of_one_person_are_refused_on_the_way_to_the_newest_root(trust: TrustWorld) -> None:
    first = trust.publish(ANNA, BEN)
    root = trust.repository.current_root()
    second = forge_two_keys(trust, root)
    message = trust.repository.draft_bytes(ROOT) or b""
    signers = (trust.keys[ANNA], trust.keys[BEN], second)
    publish_root(trust, root, {key.keyid: key.sign(NAMESPACE_TRUST, message) for key in signers})
    # The next root looks innocent, and Anna signed it alone, twice.
    root.revoke_key(second.keyid, ROOT)
    root.revoke_key(second.keyid, TARGETS)
    root.version += 1
    message, twice = encode_signed(root), (trust.keys[ANNA], second)
    made = {key.keyid: key.sign(NAMESPACE_TRUST, message) for key in twice}
    made[trust.keys[CLEO].keyid] = trust.keys[CLEO].sign(NAMESPACE_TRUST, message)
    publish_root(trust, root, made)
    with pytest.raises(PolicyError, match=r"Two keys of anna@example\.com"):
        trust.refresh(root_sha256=first.root_sha256)
    with pytest.raises(PolicyError, match=r"Two keys of anna@example\.com"):
        verify_published(published_side(trust.repository), trust.anchors.load("demo"))  # type: ignore[arg-type]


def publish_root(trust: TrustWorld, root: Root, made: dict[Any, bytes]) -> None:
    path = trust.public / "metadata" / f"{root.version}.root.json"
    path.write_bytes(assemble(root, made))
    trust.repository.clear_drafts()


@pytest.mark.parametrize("threshold", [0, 4])
def test_a_threshold_that_cannot_be_met_is_refused(trust: TrustWorld, threshold: int) -> None:
    trust.publish(ANNA, BEN)
    with pytest.raises(PolicyError, match="never be collected"):
        draft(trust, dict(trust.keys), threshold)


def test_before_anything_is_published_the_first_root_stays_as_it_is(trust: TrustWorld) -> None:
    with pytest.raises(PolicyError, match="Nothing is published yet"):
        draft(trust, {ANNA: trust.keys[ANNA]}, 1)


def test_what_is_so_already_is_no_change(trust: TrustWorld) -> None:
    trust.publish(ANNA, BEN)
    people, threshold = current_administrators(trust.repository)
    assert not stage_administrators(trust.repository, people, threshold=threshold, now=trust.now).changed
    assert pending_roles(trust.repository) == ()


# -- gates


def test_a_gate_that_is_several_roots_behind_walks_the_chain(trust: TrustWorld) -> None:
    first = trust.publish(ANNA, BEN)
    trust.refresh(root_sha256=first.root_sha256)
    before = trust.snapshot.read_bytes()
    keys, people = dict(trust.keys), [ANNA, BEN, CLEO]
    for person in people:  # one key after the other, and new online keys each time
        old, new = keys[person], SoftSk()
        keys[person] = new
        draft(trust, keys, 2)
        rotate_online_keys(trust.repository, now=trust.now)
        others = [keys[other] for other in people if other != person]
        sign_with(trust, *others, old, new)
        publish(trust.repository, now=trust.now)
    assert trust.snapshot.read_bytes() == before
    refreshed = trust.refresh()
    assert refreshed.versions["root"] == 4
    # A new gate may start from any of them.
    fresh = refresh(str(trust.public), trust.folder / "new" / "snapshot.json", root_sha256=first.root_sha256)
    assert fresh.versions == refreshed.versions
    assert (trust.repository.path / "keys").stat().st_mode & 0o777 == 0o700
    assert len(list((trust.repository.path / "keys").iterdir())) == 2


def test_a_root_that_was_signed_by_the_new_quorum_alone_is_refused_by_the_gate(trust: TrustWorld) -> None:
    first = trust.publish(ANNA, BEN)
    trust.refresh(root_sha256=first.root_sha256)
    dora, eve = SoftSk(), SoftSk()
    draft(trust, {DORA: dora, "eve@example.com": eve}, 2)
    sign_with(trust, dora, eve)
    from placet.adapters.tuf.trust import assemble

    data = assemble(trust.repository.current_root(), signatures(trust.repository, ROOT))
    (trust.public / "metadata" / "2.root.json").write_bytes(data)
    with refused(Reason.BAD_TRUST):
        trust.refresh()


def test_new_online_keys_put_the_old_ones_out(trust: TrustWorld) -> None:
    first = trust.publish(ANNA, BEN)
    trust.refresh(root_sha256=first.root_sha256)
    stolen = trust.folder / "stolen"
    shutil.copytree(trust.repository.path, stolen)
    rotate_online_keys(trust.repository, now=trust.now)
    rotate_online_keys(trust.repository, now=trust.now)  # thought better of it: the first pair is forgotten
    assert len(list((trust.repository.path / "keys").iterdir())) == 4
    trust.publish(ANNA, BEN)
    assert len(list((trust.repository.path / "keys").iterdir())) == 2
    assert trust.refresh().versions == {"root": 2, "targets": 1, "snapshot": 2, "timestamp": 2}
    # Whoever has the old keys can sign what they like.
    forged = TrustRepository(stolen)
    for _ in range(3):
        publish(forged, now=trust.now)
    shutil.copytree(trust.public, trust.folder / "mixed")
    for path in (forged.public_folder / "metadata").glob("*[0-9].snapshot.json"):
        shutil.copy(path, trust.folder / "mixed" / "metadata")
    shutil.copy(forged.public_folder / "metadata" / "timestamp.json", trust.folder / "mixed" / "metadata")
    with refused(Reason.BAD_TRUST):
        trust.refresh(trust.folder / "mixed")


def test_lost_online_keys_are_replaced(trust: TrustWorld) -> None:
    first = trust.publish(ANNA, BEN)
    trust.refresh(root_sha256=first.root_sha256)
    for path in (trust.repository.path / "keys").iterdir():
        path.unlink()
    with refused(Reason.TRUST_UNAVAILABLE) as error:
        trust.publish()
    assert "rotate-online-keys" in error.value.hint
    rotate_online_keys(trust.repository, now=trust.now)
    trust.publish(ANNA, CLEO)
    assert trust.refresh().versions["root"] == 2


# -- crashes and readers

_KILLED_PUBLISH = killed_script("publish(repository, now=now)", "mirror(repository, Path(sys.argv[4]))")


def rotate_everything(trust: TrustWorld) -> None:
    new = {ANNA: SoftSk(), BEN: SoftSk(), DORA: SoftSk()}
    draft(trust, new, 3)
    rotate_online_keys(trust.repository, now=trust.now)
    sign_with(trust, trust.keys[ANNA], trust.keys[BEN], *new.values())


def test_sigkill_anywhere_while_all_keys_change_leaves_what_every_gate_accepts(trust: TrustWorld) -> None:
    first = trust.publish(ANNA, BEN)
    trust.refresh(root_sha256=first.root_sha256)
    mirror(trust.repository, trust.folder / "web")
    rotate_everything(trust)
    outcomes = set()
    for steps in range(0, 100, 3):
        case = trust.folder / f"case-{steps}"
        shutil.copytree(trust.repository.path, case / "repository")
        shutil.copytree(trust.folder / "web", case / "web")
        shutil.copytree(trust.snapshot.parent, case / "gate", symlinks=True)
        parts = [sys.executable, "-c", _KILLED_PUBLISH, case / "repository", steps, trust.now, case / "web"]
        done = subprocess.run([str(part) for part in parts], capture_output=True, check=False)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
        for n, source in enumerate(("repository", "web")):
            new = refresh(
                str(case / source), case / f"new-{n}" / "snapshot.json", root_sha256=first.root_sha256
            )
            assert (new.versions["root"], new.versions["targets"]) in {(1, 1), (1, 2), (2, 2)}
            outcomes.add(new.versions["root"])
        refresh(str(case / "web"), case / "gate" / "snapshot.json")
        # Nothing that administrators signed is lost: publishing again completes it.
        publish(TrustRepository(case / "repository"), now=trust.now)
        mirror(TrustRepository(case / "repository"), case / "web")
        assert refresh(str(case / "web"), case / "gate" / "snapshot.json").versions["root"] == 2
        assert not list((case / "web").rglob(".*"))
        if done.returncode == 0:
            break
    assert outcomes == {1, 2}
    assert 10 < steps < 98


def test_a_mirror_can_be_read_while_all_keys_change(trust: TrustWorld) -> None:
    first = trust.publish(ANNA, BEN)
    web, stop = trust.folder / "web", threading.Event()
    mirror(trust.repository, web)
    wrong: list[Exception] = []
    seen: list[int] = []

    def read(name: str) -> None:
        while not stop.is_set():
            try:
                folder = trust.folder / name
                found = refresh(str(web), folder / "snapshot.json", root_sha256=first.root_sha256)
                seen.append(found.versions["root"])
                shutil.rmtree(folder)  # a new gate each time
            except Exception as e:
                wrong.append(e)

    readers = [threading.Thread(target=read, args=(f"gate-{n}",)) for n in range(2)]
    for reader in readers:
        reader.start()
    for _ in range(4):
        rotate_online_keys(trust.repository, now=trust.now)
        sign_with(trust, trust.keys[ANNA], trust.keys[BEN])
        publish(trust.repository, now=trust.now + DAY)
        mirror(trust.repository, web)
    stop.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert len(seen) > 4


_KILLED_STAGE = killed_script(
    "people, _ = current_administrators(repository)",
    "stage_administrators(repository, people, threshold=3, now=now)",
    "rotate_online_keys(repository, now=now)",
    'repository.stage({}, removals=["policy/payments.toml"], now=now)',
    "repository.clear_drafts()",
)


def test_sigkill_anywhere_in_drafting_leaves_a_readable_repository(trust: TrustWorld) -> None:
    trust.repository.stage(
        {
            "policy/payments.toml": trust.repository.draft_files()["policy/default.toml"],
            "scopes.json": b'{"scopes":{"default":["**"],"payments":["k8s://pay/**"]}}',
        },
        now=trust.now,
    )
    first = trust.publish(ANNA, BEN)
    published = sorted((path, path.read_bytes()) for path in trust.public.rglob("*") if path.is_file())
    shapes = set()
    for steps in range(0, 60, 2):
        case = trust.folder / f"case-{steps}"
        shutil.copytree(trust.repository.path, case)
        parts = [sys.executable, "-c", _KILLED_STAGE, case, steps, trust.now]
        done = subprocess.run([str(part) for part in parts], capture_output=True, check=False)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
        repository = TrustRepository(case)
        shapes.add(tuple(item.role for item in pending_roles(repository)))
        for role in ("snapshot", "timestamp"):  # no root without its online key
            assert repository.online_signers(role)
        repository.draft_files()
        there = sorted(
            (path, path.read_bytes()) for path in repository.public_folder.rglob("*") if path.is_file()
        )
        assert [data for _, data in there] == [data for _, data in published]
        refresh(str(case), trust.folder / f"gate-{steps}" / "s.json", root_sha256=first.root_sha256)
        if done.returncode == 0:
            break
    assert shapes == {(), (TARGETS,), (ROOT, TARGETS)}
    assert 8 < steps < 58

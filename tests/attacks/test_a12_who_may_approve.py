"""A12: whoever runs the server adds a key, brings back a revoked approver, or lets time stand still.

The attacks on the client alone are in tests/trust_attacks; here a gate that decides stands behind it, with
the real commands.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "adapters"))

from attack_world import forced_answer
from tuf_trust_world import ANNA, BEN, DAY, TrustWorld

from placet.adapters.tuf import refresh as tuf_refresh
from placet.adapters.tuf.audit import attach_trust
from placet.ceremony.publish import add_answer, empty_bundle
from placet.cli import main
from placet.core.bundle import encode_bundle
from placet.core.encoding import sha256_hex
from placet.testing.authenticator import SoftWebAuthn
from placet.testing.world import ALICE, BOB, DEFAULT_POLICY, GATE, NOW, World

MALLORY = "mallory@example.com"


class Story:
    """A trust root, a server that its operator controls, and a gate with its commands and its clock."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.trust = TrustWorld(folder, now=NOW)
        self.world: World = self.trust.world
        self.folder, self.capsys, self.now = folder, capsys, NOW
        self.root_sha256 = self.trust.publish(ANNA, BEN).root_sha256
        self.server = folder / "server"
        self.mirror()

    def mirror(self) -> None:
        """Puts what administrators published on the server."""
        shutil.rmtree(self.server, ignore_errors=True)
        shutil.copytree(self.trust.public, self.server)

    def placet(self, *arguments: object) -> tuple[int, str]:
        code = main(list(map(str, arguments)))
        said = self.capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        assert "bug" not in said.err
        return code, said.out + said.err

    def refresh(self) -> tuple[int, str]:
        to = self.trust.snapshot
        digest = self.root_sha256
        return self.placet("trust", "refresh", "--from", self.server, "--to", to, "--root-sha256", digest)

    def verify(self, bundle: bytes) -> tuple[int, str]:
        (self.folder / "x.intent.json").write_bytes(bundle)
        common = ["--trust", self.trust.snapshot, "--gate", GATE, "--unsafe-any-action"]
        return self.placet("verify", self.folder / "x.intent.json", *common)

    def approve(self, *people: str) -> bytes:
        """Whatever the gate's trust says: these people sign, and hostile terminals report it."""
        request = self.world.request_deploy(now=self.now - 30)
        bundle = empty_bundle(request)
        for person, terminal in zip(people, ("t1", "t2", "t1"), strict=False):
            bundle = add_answer(bundle, forced_answer(self.world, request, person, terminal=terminal))
        return encode_bundle(bundle)

    def publish(self, change: Callable[[], object]) -> None:
        """Has the administrators publish what the world says after a change."""
        change()
        self.trust.repository.stage(self.world.files(), now=self.now)
        self.trust.publish(ANNA, BEN, now=self.now)
        self.world.versions = self.world.versions | {"targets": self.world.versions["targets"] + 1}


@pytest.fixture
def story(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Story:
    made = Story(tmp_path, capsys)
    for name in ("placet.cli.verify.now", "placet.cli.trust.gate.now"):
        monkeypatch.setattr(name, lambda: made.now)
    monkeypatch.setattr(tuf_refresh, "time", SimpleNamespace(time=lambda: made.now))
    assert made.refresh()[0] == 0
    # Decisions that `forced_answer` reports are of this moment; the gate looks a minute later.
    made.now = NOW + 90
    return made


def add_mallory(world: World) -> None:
    world.keys[MALLORY] = SoftWebAuthn(rp_id=world.rp_id, web_origin=world.origin("t1"), seed=b"mallory")
    world.groups[MALLORY] = ["release"]


def test_honest_people_are_allowed(story: Story) -> None:
    assert story.verify(story.approve(ALICE, BOB))[0] == 0


@pytest.mark.parametrize("how", ["the file", "the file and its name", "and the metadata that names it"])
def test_a12_the_operator_adds_an_own_key_to_the_directory(story: Story, how: str) -> None:
    before = story.trust.snapshot.read_bytes()
    (people,) = (story.server / "targets").glob("*.people.json")
    add_mallory(story.world)
    theirs = story.world.files()["people.json"]
    people.write_bytes(theirs)
    if how != "the file":
        people.rename(people.with_name(f"{sha256_hex(theirs)}.people.json"))
    if how == "and the metadata that names it":
        path = story.server / "metadata" / "1.targets.json"
        value: Any = json.loads(path.read_bytes())
        value["signed"]["targets"]["people.json"] = {
            "length": len(theirs),
            "hashes": {"sha256": sha256_hex(theirs)},
        }
        path.write_text(json.dumps(value))
    # A gate that has the honest list is not moved, and a new gate takes nothing from this server.
    story.refresh()
    assert story.trust.snapshot.read_bytes() == before
    story.trust.snapshot = story.folder / "new-gate" / "snapshot.json"
    code, said = story.refresh()
    assert code in (1, 3)
    assert any(f"[{reason}]" in said for reason in ("bad-trust", "trust-unavailable", "too-large"))
    assert "decides nothing yet" in said
    story.trust.snapshot = story.folder / "gate" / "snapshot.json"
    code, said = story.verify(story.approve(ALICE, MALLORY))
    assert code == 1
    assert "unknown-key" in said


def test_a12_the_operator_has_the_online_keys_too(story: Story) -> None:
    """Stolen from the publishing host: they can say what is current, and nothing about who may approve."""
    add_mallory(story.world)
    story.trust.repository.stage(story.world.files(), now=story.now)
    draft = story.trust.repository.draft_bytes("targets")
    assert draft is not None
    from placet.adapters.tuf.trust import assemble, parse_signed

    (story.server / "metadata" / "2.targets.json").write_bytes(assemble(parse_signed(draft, "targets"), {}))
    unsigned = (story.server / "metadata" / "2.targets.json").read_bytes()
    for path in (story.trust.repository.path / "objects").iterdir():
        shutil.copy(path, story.server / "targets" / f"{path.name}.people.json")
    from tuf.api.metadata import MetaFile

    from placet.adapters.tuf.online import sign_online

    root = story.trust.repository.published_root()
    assert root is not None
    meta = {"targets.json": MetaFile.from_data(2, unsigned, ["sha256"])}
    sign_online(story.trust.repository, meta, root=root, now=story.now)
    for name in ("timestamp.json", "2.snapshot.json"):
        shutil.copy(story.trust.public / "metadata" / name, story.server / "metadata" / name)
    code, said = story.refresh()
    assert code == 1
    assert "not signed by enough of its administrators" in said
    assert story.verify(story.approve(ALICE, MALLORY))[0] == 1


def test_a12_rollback_to_a_list_with_a_revoked_approver(story: Story) -> None:
    old = story.folder / "old"
    shutil.copytree(story.server, old)
    bob = story.world.keys[BOB]
    story.publish(lambda: story.world.keys.pop(BOB))
    story.mirror()
    assert story.refresh()[0] == 0
    shutil.rmtree(story.server)
    shutil.copytree(old, story.server)
    code, said = story.refresh()
    assert code == 1
    assert "bring back a revoked approver" in said
    # Also where the gate's own record of what it accepted is gone.
    shutil.rmtree(story.trust.snapshot.with_suffix(".tuf"))
    code, said = story.refresh()
    assert code == 1
    assert "this snapshot has" in said
    story.world.keys[BOB] = bob
    code, said = story.verify(story.approve(ALICE, BOB))
    assert code == 1
    assert "unknown-key" in said


def test_a12_freeze_ends_when_the_timestamp_does(story: Story) -> None:
    """The server shows the old list for ever: revocations arrive late, and at the latest when it expires."""
    story.publish(lambda: story.world.keys.pop(BOB))
    assert story.refresh()[0] == 0  # nothing new, says the server
    bundle = story.approve(ALICE)
    story.now = NOW + 7 * DAY + 1
    code, said = story.refresh()
    assert code == 3
    assert "[trust-expired]" in said
    assert "expired at" in said
    code, said = story.verify(bundle)
    assert code == 3
    assert "trust-expired" in said


def test_a12_freeze_is_seen_by_who_was_shown_newer_trust(story: Story) -> None:
    """Terminals that refreshed elsewhere say which trust they had; a gate behind it is undecided."""
    story.publish(lambda: setattr(story.world, "policy", DEFAULT_POLICY + "\n# another edition\n"))
    story.world.policy = DEFAULT_POLICY
    assert story.refresh()[0] == 0
    code, said = story.verify(story.approve(ALICE, BOB))
    assert code == 3
    assert "trust-newer" in said
    assert "this gate knows an older one" in said


def test_a12_a_bundle_with_old_trust_cannot_bring_back_a_revoked_approver(story: Story) -> None:
    """The bundle carries the whole old list, which the quorum of that day signed; no gate reads it."""
    bob = story.world.keys[BOB]
    bundle = story.approve(ALICE, BOB)
    carried = attach_trust(bundle, snapshot=story.trust.snapshot, source=None, root_sha256=None)
    assert story.verify(carried)[0] == 0
    story.publish(lambda: story.world.keys.pop(BOB))
    story.mirror()
    assert story.refresh()[0] == 0
    code, said = story.verify(carried)
    assert code == 1
    assert "quorum-not-met" in said
    assert bob.keyid[:16] in said or "unknown-key" in said


def test_a12_a_mirror_that_shows_two_gates_two_lists(story: Story) -> None:
    """Both are signed by the quorum, one is old: whoever has seen the new one is not shown the old one."""
    story.publish(lambda: story.world.keys.pop(BOB))
    old, first = story.server, story.trust.snapshot
    story.server = story.folder / "new"
    story.mirror()
    story.trust.snapshot = story.folder / "second" / "snapshot.json"
    assert story.refresh()[0] == 0
    story.server = old
    code, said = story.refresh()
    assert code == 1
    assert "[bad-trust]" in said
    story.trust.snapshot = first
    assert story.refresh()[0] == 0

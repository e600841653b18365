"""`placet approve` with a key of OpenSSH's dummy provider, through real processes and stock ssh-keygen."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from terminal_world import PageWorld, make_identity, write_request

from placet.adapters.paths import state_dir
from placet.core.bundle import IntentRequest, parse_answer, parse_bundle
from placet.core.errors import PolicyError, Reason
from placet.core.statement import parse_statement
from placet.core.verify import verify_for_use
from placet.testing import openssh
from placet.testing.world import ALICE, BOB, GATE, expected_of

pytestmark = pytest.mark.interop

COMMAND = [sys.executable, "-c", "import sys, placet.cli; sys.exit(placet.cli.main())", "approve"]


class DummyKey:
    """A key on disk that stands in the trust root like any other."""

    kind, assurance = "sk", "software"

    def __init__(self, key: openssh.SkKey) -> None:
        from placet.core.sshsig import key_id

        self.wire, self.keyid, self.path = key.wire, key_id(key.wire), key.path


class Place(NamedTuple):
    """A machine with a terminal identity, a trust snapshot and two people's keys."""

    world: PageWorld
    folder: Path
    keys: dict[str, DummyKey]
    request: IntentRequest
    path: Path

    def approve(
        self, person: str, *arguments: str, typed: str | None = "approve\n", path: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        key, snapshot = str(self.keys[person].path), str(self.folder / "snapshot.json")
        return subprocess.run(
            [*COMMAND, str(path or self.path), "--key", key, "--trust", snapshot, *arguments],
            input=typed or "",
            capture_output=True,
            text=True,
            timeout=60,
            env=os.environ | openssh.sk_dummy().variables,
        )


@pytest.fixture
def place(tmp_path: Path, private_homes: None) -> Place:
    return make_place(tmp_path)


def make_place(tmp_path: Path, **options: str) -> Place:
    world = PageWorld(8470, **options)
    keys = {}
    for person in (ALICE, BOB):
        made = openssh.generate_sk_key(
            openssh.sk_dummy(), tmp_path / person.partition("@")[0], verify_required=True
        )
        keys[person] = DummyKey(made)
        world.keys[person] = keys[person]  # type: ignore[assignment]
    make_identity(world)
    return prepare(world, tmp_path, keys)


def prepare(world: PageWorld, folder: Path, keys: dict[str, DummyKey]) -> Place:
    (folder / "snapshot.json").write_bytes(world.snapshot())
    request = world.request_run(argv=["/bin/true", "a  b", "-x"], reason="The talk of Tuesday")
    return Place(world, folder, keys, request, write_request(folder, "it", request))


def test_two_people_approve_on_the_command_line_and_the_gate_accepts(place: Place) -> None:
    first = place.approve(ALICE)
    assert first.returncode == 0, first.stderr
    assert "APPROVED by alice@example.com" in first.stdout
    assert "1 more of group:release" in " ".join(first.stdout.split())
    second = place.approve(BOB)
    assert "alice@example.com approved at" in second.stdout
    # The first one's decision about this very request is no earlier state.
    assert "First time for this target" in second.stdout
    assert "INTENT_LEVEL_1 (Bound) is reached" in second.stdout
    assert "Missing for INTENT_LEVEL_2 (Present)" in second.stdout
    approval = verify_for_use(
        (place.folder / "it.intent.json").read_bytes(),
        trust=place.world.trust(),
        gate=GATE,
        expected=expected_of(place.request),
        now=int(time.time()),
    )
    assert {a.person_id for a in approval.approvers} == {ALICE, BOB}
    assert {a.terminal_id for a in approval.approvers} == {"t1"}


def test_every_leaf_is_printed_and_no_line_is_wider_than_75_columns(place: Place) -> None:
    out = place.approve(ALICE, typed=None).stdout
    assert max(map(len, out.splitlines())) <= 75
    assert "\x1b" not in out
    squeezed = out.replace(" ", "").replace("\n", "").replace("|", "")
    from placet.ceremony.decide import prepare as prepare_review

    review = prepare_review(place.request, trust=place.world.trust(), now=int(time.time()))
    for row in review.view.rows:
        assert row.value.replace(" ", "") in squeezed, row
    assert "[claim] Unverified" in out
    assert "They say" in out
    # Two blanks in a row are named, since nobody sees them.
    assert "has several in a row" in " ".join(out.split())


@pytest.mark.parametrize("typed", [None, "\n", "yes\n", "approv\n", "deny\n", "APPROVE\n"])
def test_anything_but_the_word_in_full_signs_nothing(place: Place, typed: str | None) -> None:
    done = place.approve(ALICE, typed=typed)
    assert done.returncode == 1
    assert "Nothing was signed and nothing was sent." in done.stdout
    assert not (place.folder / "it.intent.json").exists()
    assert not (state_dir() / "terminal" / "history.jsonl").exists()


def test_denial_is_signed_and_kept_apart_from_the_bundle(place: Place) -> None:
    done = place.approve(ALICE, "--deny", typed="deny\n")
    assert done.returncode == 0, done.stderr
    assert "DENIED by alice@example.com" in done.stdout
    assert "One denial alone does not stop the request" in " ".join(done.stdout.split())
    (path,) = place.folder.glob("it.denied-*.answer.json")
    statement = parse_statement(parse_answer(path.read_bytes()).envelope.payload)
    assert statement.decision == "deny"
    assert not (place.folder / "it.intent.json").exists()


def test_bundle_of_another_request_is_never_overwritten(place: Place) -> None:
    other = write_request(place.folder, "other", place.world.request_deploy())
    assert place.approve(ALICE).returncode == 0
    before = (place.folder / "it.intent.json").read_bytes()
    done = place.approve(ALICE, "--bundle", str(place.folder / "it.intent.json"), path=other)
    assert done.returncode == 2
    assert "is about another request" in done.stderr
    assert (place.folder / "it.intent.json").read_bytes() == before


def test_same_person_twice_stays_one_voice(place: Place) -> None:
    assert place.approve(ALICE).returncode == 0
    again = place.approve(ALICE, typed=None)
    assert again.returncode == 2
    assert "The key of alice@example.com has already made this very decision." in again.stderr
    assert "Nothing was signed and nothing was sent." in again.stderr
    assert again.stdout == ""
    # Nor is it asked again where only the bundle remembers.
    (state_dir() / "terminal" / "history.jsonl").unlink()
    assert "already made this very decision" in place.approve(ALICE, typed=None).stderr
    # A change of mind is another decision.
    assert place.approve(ALICE, "--deny", typed="deny\n").returncode == 0
    assert place.approve(ALICE, "--deny", typed="deny\n").returncode == 2
    bundle = (place.folder / "it.intent.json").read_bytes()
    assert len(parse_bundle(bundle).envelope.signatures) == 1
    with pytest.raises(PolicyError) as caught:
        verify_for_use(
            bundle,
            trust=place.world.trust(),
            gate=GATE,
            expected=expected_of(place.request),
            now=int(time.time()),
        )
    assert caught.value.reason is Reason.QUORUM_NOT_MET


def test_key_of_a_stranger_is_refused_before_the_touch(place: Place, tmp_path: Path) -> None:
    place.keys[ALICE] = DummyKey(openssh.generate_sk_key(openssh.sk_dummy(), tmp_path / "mallory"))
    done = place.approve(ALICE)
    assert done.returncode == 2
    assert "belongs to nobody in the trust root" in done.stderr


def test_expired_request_is_refused_in_words(place: Place) -> None:
    old = place.world.request_run(argv=["/bin/true"], now=int(time.time()) - 7200)
    done = place.approve(ALICE, path=write_request(place.folder, "old", old))
    assert done.returncode == 1
    assert "expired" in done.stderr
    assert "Nothing was signed and nothing was sent." in done.stderr
    assert "can ask again" in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_terminal_that_is_not_enrolled_says_so_before_anything_is_read(place: Place) -> None:
    del place.world.terminals["t1"]
    (place.folder / "snapshot.json").write_bytes(place.world.snapshot())
    done = place.approve(ALICE, path=place.folder / "nowhere.json")
    assert done.returncode == 1
    assert "This terminal (t1) is not enrolled" in done.stderr
    assert "Nothing was signed and nothing was sent." in done.stderr
    assert "placet terminal show" in done.stderr
    assert done.stdout == ""


def test_key_made_without_verify_required_is_told_both_steps(place: Place, tmp_path: Path) -> None:
    made = openssh.generate_sk_key(openssh.sk_dummy(), tmp_path / "plain", verify_required=False)
    place.keys[ALICE] = place.world.keys[ALICE] = DummyKey(made)  # type: ignore[assignment]
    (place.folder / "snapshot.json").write_bytes(place.world.snapshot())
    request = place.world.request_run(argv=["/bin/true"])
    done = place.approve(ALICE, path=write_request(place.folder, "plain", request))
    assert done.returncode == 1
    assert "Nothing was signed that counts, and nothing was sent." in done.stderr
    assert "Set a PIN on the key, and make a new SSH key with -O verify-required" in done.stderr
    assert not (state_dir() / "terminal" / "history.jsonl").exists()


def test_missing_ssh_keygen_and_missing_file_are_sentences(place: Place) -> None:
    done = place.approve(ALICE, path=place.folder / "nowhere.json")
    assert done.returncode == 2
    assert "nowhere.json is not there. Nothing was signed" in done.stderr
    assert "or the request's ID" in done.stderr
    done = place.approve(ALICE, path=place.folder)
    assert (done.returncode, "is no file" in done.stderr) == (2, True)


def test_request_at_the_relay_is_decided_by_its_id(place: Place, tmp_path: Path) -> None:
    from test_relay_source import relay_at

    from placet.client import RelayClient

    with relay_at(tmp_path / "relay") as url, RelayClient(url) as client:
        client.submit(place.request, "secret")
        for person in (ALICE, BOB):
            done = place.approve(person, "--relay", url, path=Path(place.request.id))
            assert done.returncode == 0, done.stderr
            assert f"Sent to the relay at {url}." in done.stdout
        assert "INTENT_LEVEL_1 (Bound) is reached" in done.stdout
        assert len(client.fetch(place.request.id).answers) == 2
        client.submit(other := place.world.request_deploy(), "secret")
        client.withdraw(other.id, "secret")
        gone = place.approve(ALICE, "--relay", url, path=Path(other.id))
        assert gone.returncode == 2
        assert "this request was withdrawn. Nothing was signed" in gone.stderr
        assert gone.stdout == ""
    done = place.approve(ALICE, "--relay", url, path=Path(place.request.id))
    assert done.returncode == 3
    assert "Nothing was signed and nothing was sent." in done.stderr

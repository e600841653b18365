"""Audit of old approvals by the trust of their own time, which a bundle may carry and no gate reads."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "adapters"))

from tuf_trust_world import ANNA, BEN, DAY, TrustWorld

from placet.adapters.tuf.audit import attach_trust, audit_trust
from placet.cli import main
from placet.cli._request_wait import add_trust
from placet.core.bundle import encode_bundle, parse_bundle
from placet.core.encoding import b64encode, encode_canonical, format_time, sha256_hex
from placet.core.errors import IndeterminateError, PlacetError, PolicyError, Reason
from placet.core.trust import Trust
from placet.core.verify import UnsafeAnyAction, VerifiedApproval, verify_for_audit, verify_for_use
from placet.testing.small_log import SmallLog
from placet.testing.world import ALICE, BOB, CAROL, DEFAULT_POLICY, GATE, NOW, World

LOGGED = NOW + 120
LATER = NOW + 400 * DAY


class Archive:
    """A deployment whose gate refreshes, whose people approve, and whose approvals are kept for years."""

    def __init__(self, folder: Path) -> None:
        self.trust = TrustWorld(folder, now=NOW)
        self.world: World = self.trust.world
        self.root_sha256 = self.trust.publish(ANNA, BEN).root_sha256
        self.refresh(NOW)

    @property
    def snapshot(self) -> Path:
        return self.trust.snapshot

    def refresh(self, now: int) -> Trust:
        refreshed = self.trust.refresh(root_sha256=self.root_sha256, now=now)
        self.world.versions, self.world.expires_at = refreshed.versions, refreshed.expires_at
        return refreshed.trust

    def approve(self, *people: str, now: int = NOW) -> bytes:
        """Has people approve a release; their terminals report the trust that the world has."""
        request = self.world.request_release({"app": b"app"}, now=now)
        bundle = parse_bundle(self.world.bundle(request))
        from placet.ceremony.publish import add_answer

        for i, person in enumerate(people):
            answer = self.world.approve(request, person, terminal=("t1", "t2")[i % 2], decided_at=now + 60)
            bundle = add_answer(bundle, answer)
        return encode_bundle(bundle)

    def attach(self, bundle: bytes, source: str | None = None) -> bytes:
        return attach_trust(
            bundle, snapshot=self.snapshot, source=source or str(self.trust.public), root_sha256=None
        )

    def change(self, now: int, **files: str) -> None:
        """Publishes what the world's files are now, with some replaced."""
        changed = self.world.files() | {
            name.replace("__", "/") + ".toml": text.encode() for name, text in files.items()
        }
        self.trust.repository.stage(changed, now=now)
        self.trust.publish(ANNA, BEN, now=now)
        self.refresh(now)

    def revoke(self, person: str, now: int) -> Callable[[], None]:
        """Takes a person out; returns what puts their key back into the attacker's hands."""
        key = self.world.keys.pop(person)
        self.change(now)
        return lambda: self.world.keys.update({person: key})

    def audit(self, bundle: bytes, at: int = LOGGED) -> VerifiedApproval:
        audited = audit_trust(bundle, root_sha256=self.root_sha256, at=at)
        return verify_for_audit(bundle, trust=audited.trust, logged_at=at)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path)


def edited(bundle: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    value = json.loads(bundle)
    change(value["trust"])
    return encode_canonical(value)


def refused(call: Callable[[], object], reason: Reason) -> PlacetError:
    with pytest.raises(PlacetError) as caught:
        call()
    assert caught.value.reason is reason, caught.value
    assert caught.value.message.endswith(".")
    return caught.value


# -- valid history


def test_witnesses_prove_the_time_and_nobody_need_say_it(
    archive: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = SmallLog()
    archive.world.more_files["log-policy"] = log.policy()
    archive.change(NOW)
    plain = archive.approve(ALICE, BOB)
    proven = encode_bundle(log.prove(parse_bundle(plain), at=LOGGED, witnesses=("w1", "w2")))
    audit = ["--audit", "--trust", str(archive.snapshot), "--root-sha256", archive.root_sha256]
    for bundle, code, words in (
        (plain, 3, "time-unproven"),
        (proven, 0, f"{format_time(LOGGED)}: by then, a quorum of the log's witnesses"),
    ):
        path = tmp_path / "app.intent.json"
        path.write_bytes(archive.attach(bundle))
        assert main(["verify", str(path), *audit]) == code
        assert words in capsys.readouterr().out


def test_a14_an_auditor_believes_no_log_that_the_bundle_alone_names(
    archive: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever stole a given-up log and its witnesses could date anything back."""
    log = SmallLog()
    archive.world.more_files["log-policy"] = log.policy()
    archive.change(NOW)
    proven = encode_bundle(log.prove(parse_bundle(archive.approve(ALICE, BOB)), at=LOGGED))
    path = tmp_path / "app.intent.json"
    path.write_bytes(archive.attach(proven))
    archive.world.more_files["log-policy"] = SmallLog(seed=b"the next one").policy()
    archive.change(NOW + DAY)
    audit = ["--audit", "--trust", str(archive.snapshot), "--root-sha256", archive.root_sha256]
    assert main(["verify", str(path), *audit]) == 3
    assert "time-unproven" in capsys.readouterr().out


@pytest.mark.parametrize("by", ["the record", "what is published"])
def test_an_approval_by_one_who_was_revoked_since_is_valid_history(archive: Archive, by: str) -> None:
    bundle = archive.approve(ALICE, BOB)
    if by == "the record":
        kept = archive.attach(bundle, source="/nowhere")
        archive.revoke(BOB, NOW + 40 * DAY)
    else:
        archive.revoke(BOB, NOW + 40 * DAY)
        kept = archive.attach(bundle)
    approval = archive.audit(kept)
    assert approval.people == (ALICE, BOB)


def test_a12_carried_trust_cannot_bring_back_a_revoked_approver_at_a_gate(archive: Archive) -> None:
    """The old list is in the bundle, well signed and all; the gate decides by its own snapshot."""
    kept = archive.attach(archive.approve(ALICE, BOB))
    archive.revoke(BOB, NOW + 70)
    current = archive.refresh(NOW + 80)
    with pytest.raises(PolicyError) as caught:
        verify_for_use(kept, trust=current, gate=GATE, expected=UnsafeAnyAction("a test"), now=LOGGED)
    assert caught.value.reason is Reason.QUORUM_NOT_MET
    assert [cause.reason for cause in caught.value.causes] == [Reason.UNKNOWN_KEY]
    assert archive.audit(kept).people == (ALICE, BOB)


def test_what_rides_along_changes_nothing_else_for_a_gate(archive: Archive) -> None:
    bundle = archive.approve(ALICE, BOB)
    trust = archive.refresh(NOW)
    for carried in (
        bundle,
        archive.attach(bundle),
        edited(archive.attach(bundle), lambda t: t.update(targets=5)),
    ):
        approval = verify_for_use(
            carried, trust=trust, gate=GATE, expected=UnsafeAnyAction("a test"), now=LOGGED
        )
        assert approval.people == (ALICE, BOB)
    refused(lambda: parse_bundle(edited(bundle, lambda t: t.update(note="x"))), Reason.UNKNOWN_MEMBER)


# -- what is no valid history


def test_an_approval_made_after_the_revocation_is_not_valid(archive: Archive) -> None:
    give_back = archive.revoke(BOB, NOW + DAY)
    give_back()
    bundle = archive.approve(ALICE, BOB, now=NOW + DAY + 60)
    kept = archive.attach(bundle)
    error = refused(lambda: archive.audit(kept, NOW + DAY + 180), Reason.QUORUM_NOT_MET)
    assert [cause.reason for cause in error.causes] == [Reason.UNKNOWN_KEY]


def test_nor_with_the_list_of_before(archive: Archive) -> None:
    """The list in which Bob still is was another than the one that the terminals say they had."""
    before = archive.attach(archive.approve(ALICE, BOB))
    give_back = archive.revoke(BOB, NOW + DAY)
    give_back()
    bundle = archive.approve(ALICE, BOB, now=NOW + DAY + 60)
    old = json.loads(before)["trust"]
    swapped = edited(bundle, lambda t: t.update(metadata=old["metadata"], targets=old["targets"]))
    error = refused(lambda: archive.audit(swapped, NOW + DAY + 180), Reason.BAD_TRUST)
    assert "targets version 2" in str(error)


def test_nor_with_a_terminal_that_lies_about_its_trust(archive: Archive) -> None:
    """It says that it had the old list; by then that list was no longer fresh."""
    archive.attach(archive.approve(ALICE, BOB))
    old_versions, old_keys = dict(archive.world.versions), dict(archive.world.keys)
    archive.revoke(BOB, NOW + DAY)
    archive.world.versions, archive.world.keys = old_versions, old_keys
    archive.world.expires_at = NOW + 60 * DAY
    bundle = archive.approve(ALICE, BOB, now=NOW + 8 * DAY)
    error = refused(lambda: archive.attach(bundle), Reason.TRUST_EXPIRED)
    assert "no longer valid" in str(error)


def test_a_later_weaker_rule_does_not_rewrite_what_was_allowed(archive: Archive) -> None:
    bundle = archive.approve(ALICE)
    refused(lambda: archive.audit(archive.attach(bundle)), Reason.QUORUM_NOT_MET)
    weaker = DEFAULT_POLICY.replace("threshold = 2", "threshold = 1")
    archive.world.policy = weaker
    archive.change(NOW + 70)
    later = json.loads(archive.attach(archive.approve(ALICE, now=NOW + 80)))["trust"]
    swapped = edited(bundle, lambda t: t.update(metadata=later["metadata"], targets=later["targets"]))
    refused(lambda: archive.audit(swapped), Reason.BAD_TRUST)


def test_trust_that_was_published_after_the_time(archive: Archive) -> None:
    """The same list, renewed later: at that time nobody had it."""
    bundle = archive.approve(ALICE, BOB)
    archive.trust.publish(now=NOW + 5 * DAY)
    archive.refresh(NOW + 5 * DAY)
    renewed = archive.attach(archive.approve(ALICE, BOB, now=NOW + 5 * DAY + 60))
    later = json.loads(renewed)["trust"]
    swapped = edited(bundle, lambda t: t.update(metadata=later["metadata"], targets=later["targets"]))
    error = refused(lambda: archive.audit(swapped), Reason.TRUST_EXPIRED)
    assert "not valid yet" in str(error)


def test_judged_outside_the_window(archive: Archive) -> None:
    kept = archive.attach(archive.approve(ALICE, BOB))
    refused(lambda: archive.audit(kept, NOW + 2 * DAY), Reason.EXPIRED)
    refused(lambda: archive.audit(kept, LATER), Reason.TRUST_EXPIRED)
    refused(lambda: archive.audit(kept, NOW - 60), Reason.TRUST_EXPIRED)


def test_no_time_is_undecided_as_ever(archive: Archive) -> None:
    kept = archive.attach(archive.approve(ALICE, BOB))
    trust = audit_trust(kept, root_sha256=archive.root_sha256, at=LOGGED).trust
    with pytest.raises(IndeterminateError):
        verify_for_audit(kept, trust=trust, logged_at=None)


# -- what carries it may be hostile


def mallory(archive: Archive, carried: dict[str, Any]) -> None:
    """A whole trust root of somebody else's, good in itself."""
    other = Archive(archive.trust.folder / "other")
    carried.update(json.loads(other.attach(other.approve(CAROL, BOB)))["trust"])


HOSTILE: dict[str, tuple[Callable[[Archive, dict[str, Any]], object], Reason]] = {
    "another list of people": (
        lambda a, t: t["targets"].update({"people.json": b64encode(b'{"people":[]}')}),
        Reason.BAD_TRUST,
    ),
    "a list is missing": (lambda a, t: t["targets"].pop("people.json"), Reason.TRUST_UNAVAILABLE),
    "no timestamp": (lambda a, t: t["metadata"].pop("timestamp.json"), Reason.TRUST_UNAVAILABLE),
    "no targets at all": (lambda a, t: t.pop("targets"), Reason.WRONG_TYPE),
    "no files": (lambda a, t: t.update(metadata={}, targets={}), Reason.BAD_TRUST),
    "no base64": (lambda a, t: t["targets"].update({"people.json": "?"}), Reason.BAD_BASE64),
    "a number": (lambda a, t: t["targets"].update({"people.json": 5}), Reason.WRONG_TYPE),
    "nonsense": (
        lambda a, t: t["metadata"].update({"1.targets.json": b64encode(b"[" * 50_000)}),
        Reason.TOO_LARGE,
    ),
    "somebody else's trust root": (mallory, Reason.BAD_TRUST),
}


@pytest.mark.parametrize(("change", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_carried_files_that_administrators_did_not_sign(
    archive: Archive, change: Callable[[Archive, dict[str, Any]], object], reason: Reason
) -> None:
    kept = edited(archive.attach(archive.approve(ALICE, BOB)), lambda trust: change(archive, trust))
    refused(lambda: archive.audit(kept), reason)


def test_names_lead_nowhere(archive: Archive, tmp_path: Path) -> None:
    kept = archive.attach(archive.approve(ALICE, BOB))
    loaded = edited(kept, lambda t: t["metadata"].update({"../../../tmp/x.json": b64encode(b"x")}))
    assert archive.audit(loaded).people == (ALICE, BOB)


def test_root_rotation_between_then_and_now(archive: Archive) -> None:
    """The chain in the bundle ends at the root of that time, which may begin at any root that is known."""
    bundle = archive.approve(ALICE, BOB)
    archive.trust.repository.renew(now=NOW + DAY)
    archive.trust.publish(ANNA, BEN, now=NOW + DAY)
    archive.refresh(NOW + DAY)
    assert archive.world.versions["root"] == 2
    assert archive.audit(archive.attach(bundle)).people == (ALICE, BOB)
    later = archive.attach(archive.approve(ALICE, BOB, now=NOW + DAY + 60))
    second = sha256_hex((archive.trust.public / "metadata" / "2.root.json").read_bytes())
    assert audit_trust(later, root_sha256=second, at=NOW + DAY + 180).trust.versions["root"] == 2
    refused(lambda: audit_trust(later, root_sha256="0" * 64, at=LOGGED), Reason.BAD_TRUST)


# -- the commands


def test_attach_and_audit_as_people_do(
    archive: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "app.intent.json").write_bytes(archive.approve(ALICE, BOB))
    archive.revoke(BOB, NOW + 40 * DAY)
    kept, plain = str(tmp_path / "app.audit.intent.json"), str(tmp_path / "app.intent.json")
    start = ["trust", "attach", plain, "-o", kept, "--snapshot", str(archive.snapshot)]
    assert main([*start]) == 3
    assert "--from" in capsys.readouterr().err
    assert main([*start, "--from", str(archive.trust.public)]) == 0
    assert "names all people" in capsys.readouterr().out

    audit = ["verify", kept, "--audit", "--root-sha256", archive.root_sha256]
    assert main(audit) == 3
    assert "time-unproven" in capsys.readouterr().out
    assert main([*audit, "--at", format_time(LOGGED)]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"VALID THEN: {ALICE} and {BOB} approved")
    assert "as you say: nothing here proves that time" in said
    assert "targets 1" in said
    assert main([*audit, "--at", format_time(LOGGED), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["audit"]["timeProvenBy"] is None
    assert value["audit"]["trust"] == "bundle"
    assert main([*audit, "--at", "yesterday"]) == 2
    assert main(["verify", kept, "--at", format_time(LOGGED), "--unsafe-any-action"]) == 2
    assert main(["verify", plain, "--audit", "--at", format_time(LOGGED)]) == 3
    assert "trust-unavailable" in capsys.readouterr().out
    today = ["--trust", str(archive.snapshot)]
    assert main(["verify", plain, "--audit", *today, "--at", format_time(LOGGED)]) == 3
    assert "targets version 1, which neither the bundle carries" in capsys.readouterr().out


def test_audit_with_this_machine_s_own_trust(
    archive: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the trust has not changed since, nothing needs to be carried; and the root is known."""
    bundle = archive.approve(ALICE, BOB)
    (tmp_path / "app.intent.json").write_bytes(bundle)
    (tmp_path / "kept.intent.json").write_bytes(archive.attach(bundle))
    for name in ("app", "kept"):
        path, at = str(tmp_path / f"{name}.intent.json"), format_time(LOGGED)
        arguments = ["verify", path, "--audit", "--trust", str(archive.snapshot), "--at", at]
        assert main(arguments) == 0, capsys.readouterr()
    assert main([*arguments[:-3], str(tmp_path / "none.json"), "--at", at]) == 3
    assert "no root to begin from" in capsys.readouterr().out
    path = str(tmp_path / "app.intent.json")
    late = format_time(NOW + 30 * DAY)
    assert main(["verify", path, "--audit", "--trust", str(archive.snapshot), "--at", late]) == 3
    assert "trust-expired" in capsys.readouterr().out


@pytest.mark.parametrize("carried", [True, False])
def test_without_reports_nothing_ties_an_approval_to_the_trust_of_a_time(
    archive: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str], carried: bool
) -> None:
    """Signatures of any day fit the list of any other, where no terminal says which list it had."""
    bundle = archive.approve(ALICE, BOB)
    value = json.loads(archive.attach(bundle) if carried else bundle)
    value["reports"], value["trust"]["versions"] = [], {}
    path = tmp_path / "app.intent.json"
    path.write_bytes(encode_canonical(value))
    audit = ["verify", str(path), "--audit", "--trust", str(archive.snapshot), "--at", format_time(LOGGED)]
    assert main(audit) == 3
    assert "time-unproven" in capsys.readouterr().out
    assert main(["verify", str(path), "--unsafe-any-action", "--accept-replaced-root"]) == 2


def test_a_bundle_for_archives_carries_the_trust_of_its_time(
    archive: Archive, capsys: pytest.CaptureFixture[str]
) -> None:
    """`placet request wait --with-trust`, as soon as the people have approved."""
    kept = add_trust(archive.approve(ALICE, BOB), snapshot=archive.snapshot)
    assert "names all people" in capsys.readouterr().err
    archive.revoke(BOB, NOW + 40 * DAY)
    assert archive.audit(kept).people == (ALICE, BOB)

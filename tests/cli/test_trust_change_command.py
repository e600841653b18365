"""Revoking, replacing, rotating, renewing and giving up, as administrators and cron meet it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "adapters"))

from tuf_trust_world import ANNA, BEN, CLEO, DAY, TrustWorld

from placet.adapters.paths import snapshot_path
from placet.adapters.tuf.signing import pending_roles
from placet.cli import main
from placet.core.encoding import b64encode, sha256_hex
from placet.core.people import Person
from placet.core.sshsig import parse_public_key
from placet.core.trust import parse_trust
from placet.testing.authenticator import SoftSk
from placet.testing.ctap import SoftAuthenticator
from placet.testing.registration import SoftEnrolment
from placet.testing.world import ALICE, BOB, CAROL

DORA = "dora@example.com"
HOUR = 3600


class Said(NamedTuple):
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


Placet = Callable[..., Said]


@pytest.fixture
def trust(tmp_path: Path) -> TrustWorld:
    world = TrustWorld(tmp_path)
    world.publish(ANNA, BEN)
    return world


@pytest.fixture
def placet(trust: TrustWorld, capfd: pytest.CaptureFixture[str]) -> Placet:
    def run(*arguments: object, here: bool = True) -> Said:
        capfd.readouterr()
        where = ["--repository", str(trust.repository.path)] if here else []
        code = main(["trust", *map(str, arguments), *where])
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        return Said(code, out, err)

    return run


def public(folder: Path, key: SoftSk) -> Path:
    path = folder / f"{key.keyid[:8]}.pub"
    path.write_text(f"{parse_public_key(key.wire).key_type} {b64encode(key.wire)} test\n")
    return path


def sign_all(trust: TrustWorld, *keys: SoftSk) -> None:
    from placet.adapters.tuf.signing import attach_signature, signing_keys
    from placet.core.sshsig import NAMESPACE_TRUST

    for item in pending_roles(trust.repository):
        for key in (*trust.keys.values(), *keys):
            if key.keyid in signing_keys(trust.repository, item.role):
                sig = key.sign(NAMESPACE_TRUST, item.message)
                attach_signature(trust.repository, item.role, key.keyid, sig)


def people_at_a_gate(trust: TrustWorld, placet: Placet) -> dict[str, Person]:
    digest = placet("publish", "--json")
    assert digest.code == 0, digest.err
    root = json.loads(digest.out)["rootSha256"]
    where = trust.folder / "gates" / root / "snapshot.json"
    said = placet("refresh", "--from", trust.public, "--root-sha256", root, "--to", where, here=False)
    assert said.code == 0, said.err
    return {person.id: person for person in parse_trust(where.read_bytes()).people}


# -- revocation


def test_a_person_is_revoked_and_gone_at_the_gate(trust: TrustWorld, placet: Placet) -> None:
    assert ALICE in people_at_a_gate(trust, placet)
    said = placet("revoke", "person", ALICE, "--reason", "left the company")
    assert said.code == 0, said.err
    follows, draft = said.out.index("What follows"), said.out.index(f"The draft takes out {ALICE}")
    assert follows < draft
    assert "Next:" in said.out
    sign_all(trust)
    assert ALICE not in people_at_a_gate(trust, placet)
    history = placet("history").out
    assert "because: left the company" in history
    assert "targets signed by" in history
    assert not [p for p in trust.public.rglob("*") if p.is_file() and b"left the company" in p.read_bytes()]


def test_a_key_a_terminal_a_gate_and_a_scope_are_revoked(trust: TrustWorld, placet: Placet) -> None:
    key = trust.world.trust().people[1].credentials[0].keyid
    for arguments, said_in in (
        (("revoke", "key", key[:12]), "The draft takes out this key of bob@example.com"),
        (("revoke", "terminal", "t1"), "have open requests approved on another terminal"),
        (("set-gate", "prod-us", "--ledger", "placet-ledger:01"), "must be made again"),
        (("revoke", "gate", "prod-us"), "Its ledger stays where it is"),
        (("remove-policy", "default"), "The scope default"),
        (
            ("edit-person", CAROL, "--add-group", "ops", "--remove-group", "release"),
            "are changed in the draft",
        ),
    ):
        said = placet(*arguments)
        assert said.code == 0, said.err
        assert said_in in said.out
    shown = json.loads(placet("show", "--json").out)
    people = {person["id"]: person for person in shown["people"]}
    assert people[BOB]["credentials"] == []
    assert people[CAROL]["groups"] == ["ops"]
    assert "t1" not in [terminal["id"] for terminal in shown["terminals"]]
    assert "prod-us" not in [gate["id"] for gate in shown["gates"]]
    assert "default" not in shown["scopes"]


def test_what_is_not_there_is_refused_and_nothing_is_staged(trust: TrustWorld, placet: Placet) -> None:
    for arguments in (
        ("revoke", "person", "zoe@example.com"),
        ("revoke", "key", "ffffffff"),
        ("revoke", "terminal", "kiosk"),
        ("revoke", "gate", "moon"),
        ("remove-policy", "moon"),
        ("edit-person", ALICE),
        ("edit-person", ALICE, "--remove-group", "moon"),
        ("replace-key", "zoe@example.com", "--key", "x", "--assurance", "software"),
    ):
        said = placet(*arguments)
        assert said.code in (1, 2)
        assert said.err.startswith("placet: ")
    assert pending_roles(trust.repository) == ()


def test_a_published_action_definition_stays(trust: TrustWorld) -> None:
    from placet.core.errors import PolicyError

    with pytest.raises(PolicyError, match="never changes"):
        trust.repository.stage({}, removals=["actions/run/v1.json"], now=trust.now)


def test_revoking_voids_signatures_and_names_whose(trust: TrustWorld, placet: Placet) -> None:
    trust.stage_policy(trust.repository.published_files()["policy/default.toml"].decode() + "\n# more\n")
    trust.sign(ANNA)
    assert f"no longer count: {ANNA} must sign again" in placet("revoke", "gate", "prod-us").out


def test_an_administrator_who_is_revoked_as_a_person_is_said_to_stay_one(
    trust: TrustWorld, placet: Placet
) -> None:
    assert placet("add-person", ANNA, "--group", "release").code == 0
    said = placet("revoke", "person", ANNA)
    assert f"{ANNA} is an administrator too, and stays one" in said.out
    assert f"remove-administrator {ANNA}" in said.out


def test_a_lost_key_is_replaced_in_one_change(trust: TrustWorld, placet: Placet, tmp_path: Path) -> None:
    old = {p.id: p for p in trust.world.trust().people}[ALICE].credentials
    new = SoftSk()
    lost = ["--lost", old[0].keyid] if len(old) > 1 else []
    said = placet("replace-key", ALICE, *lost, "--key", public(tmp_path, new), "--assurance", "software")
    assert said.code == 0, said.err
    assert "The draft takes out this key" in said.out
    assert "fingerprint aloud" in said.out
    sign_all(trust)
    keys = [credential.keyid for credential in people_at_a_gate(trust, placet)[ALICE].credentials]
    assert keys == [*(credential.keyid for credential in old[1:]), new.keyid]
    again = placet(
        "replace-key", ALICE, "--lost", new.keyid, "--key", public(tmp_path, new), "--assurance", "software",
        "--valid", "30d",
    )  # fmt: skip
    assert again.code == 0, again.err


def test_of_two_keys_the_lost_one_must_be_named(trust: TrustWorld, placet: Placet, tmp_path: Path) -> None:
    one, two = SoftSk(), SoftSk()
    placet("enroll", ALICE, "--key", public(tmp_path, one), "--assurance", "software")
    said = placet("replace-key", ALICE, "--key", public(tmp_path, two), "--assurance", "software")
    assert said.code == 2
    assert one.keyid[:16] in said.err
    assert "--lost" in said.err


# -- administrators


def test_administrators_change_with_both_quorums(trust: TrustWorld, placet: Placet, tmp_path: Path) -> None:
    dora = SoftSk()
    said = placet("add-administrator", DORA, "--key", public(tmp_path, dora), "--threshold", "3")
    assert said.code == 0, said.err
    assert f"root 2: 3 of {ANNA}, {BEN}, {CLEO}, {DORA} (keys of root 2)" in said.out
    assert f"root 2: 2 of {ANNA}, {BEN}, {CLEO} (keys of root 1)" in said.out
    assert "The targets are to be signed again too" in said.out
    refused = placet("publish")
    assert refused.code == 1
    assert "by the keys of root" in refused.err
    sign_all(trust, dora)
    assert json.loads(placet("publish", "--json").out)["versions"]["root"] == 2

    spare = SoftSk()
    said = placet("replace-administrator", BEN, "--key", public(tmp_path, spare), "--reason", "lost")
    assert "ben@example.com has another key" in said.out
    said = placet("remove-administrator", CLEO, "--threshold", "2")
    assert "cleo@example.com goes" in said.out
    sign_all(trust, dora, spare)
    assert json.loads(placet("publish", "--json").out)["versions"]["root"] == 3
    assert "because: lost" in placet("history").out


def test_one_person_s_two_keys_are_refused_in_words(
    trust: TrustWorld, placet: Placet, tmp_path: Path
) -> None:
    files = [public(tmp_path, SoftSk()) for _ in range(2)]
    said = placet("set-administrators", "--admin", *(f"{ANNA}={file}" for file in files), "--threshold", "2")
    assert said.code == 1
    assert "Two keys of anna@example.com" in said.err
    said = placet("add-administrator", ANNA, "--key", files[0])
    assert said.code == 2
    assert "replace-administrator" in said.err
    assert placet("remove-administrator", DORA).code == 2
    assert pending_roles(trust.repository) == ()


def test_an_administrator_gets_a_browser_key_from_an_invite(
    trust: TrustWorld, placet: Placet, tmp_path: Path
) -> None:
    """As a person does: the file counts for whom it names, with the invite, and signs where it was made."""
    invite = "KEPT-ABCD-EFGH-JKLM-NPQR"
    digest = sha256_hex(trust.repository.published_root_bytes() or b"")
    key = SoftAuthenticator(verify_user=lambda: True)
    enrolment = SoftEnrolment(key, person=BEN, root_sha256=digest, invite=invite)
    file = tmp_path / "ben.enrolment.json"
    file.write_bytes(enrolment.file())
    arguments = ("replace-administrator", BEN, "--key", file)
    said = placet(*arguments)
    assert (said.code, "none was given" in said.err) == (2, True)
    said = placet(*arguments, "--invite", "KEPT-ABCD-EFGH-JKLM-NPQS")
    assert (said.code, "does not answer the invite" in said.err) == (1, True)
    said = placet("replace-administrator", CLEO, "--key", file, "--invite", invite)
    assert (said.code, "for somebody else" in said.err) == (1, True)
    said = placet("set-administrators", "--admin", f"{BEN}={file}", "--threshold", "1")
    assert (said.code, "add-administrator" in said.err) == (2, True)
    assert pending_roles(trust.repository) == ()
    said = placet(*arguments, "--invite", invite)
    assert said.code == 0, said.err
    assert f"{BEN} has another key" in said.out
    keys = json.loads(trust.repository.draft_bytes("root") or b"{}")["keys"]
    (mine,) = (key for key in keys.values() if key.get("person") == BEN and key["kind"] == "webauthn")
    assert mine["origins"] == [enrolment.web_origin]
    assert mine["keyval"]["public"] == b64encode(enrolment.public_key.wire)


def test_online_keys_are_rotated_and_moved(trust: TrustWorld, placet: Placet, tmp_path: Path) -> None:
    said = placet("rotate-online-keys", "--role", "timestamp")
    assert "new online key for timestamp" in said.out
    sign_all(trust)
    assert placet("publish").code == 0
    file = tmp_path / "keys.json"
    said = placet("online-keys", "export", file, "--remove")
    assert said.code == 0, said.err
    assert file.stat().st_mode & 0o777 == 0o600
    assert placet("online-keys", "export", file).code == 2
    said = placet("publish")
    assert said.code == 3
    assert "online-keys import" in said.err
    file.chmod(0o640)
    assert "Others can read" in placet("online-keys", "import", file).err
    file.chmod(0o600)
    assert placet("online-keys", "import", file).code == 0
    assert placet("publish").code == 0


# -- giving up


def test_a_draft_is_given_up_with_what_is_lost(trust: TrustWorld, placet: Placet) -> None:
    assert "There is no draft" in placet("discard").out
    placet("rotate-online-keys")
    placet("revoke", "gate", "prod-us")
    trust.sign(ANNA)
    said = placet("discard")
    assert said.code == 2, "signatures are lost, and nobody was asked"
    assert "--yes" in said.err
    assert pending_roles(trust.repository) != ()
    said = placet("discard", "--yes", "--reason", "thought better of it")
    assert said.code == 0, said.err
    assert "The draft has root 2, targets 2." in said.out
    assert f"Signed already by: {ANNA}" in said.out
    assert pending_roles(trust.repository) == ()
    assert len(list((trust.repository.path / "keys").iterdir())) == 2
    assert placet("publish").code == 0
    assert "because: thought better of it" in placet("history").out
    assert [event["what"] for event in json.loads(placet("history", "--json").out)][-1] == "discarded"


def test_the_first_draft_is_not_given_up(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    world = TrustWorld(tmp_path / "new")
    assert main(["trust", "discard", "--yes", "--repository", str(world.repository.path)]) == 2
    assert "start again" in capfd.readouterr().err
    assert len(pending_roles(world.repository)) == 2


# -- status


def test_status_is_0_and_quiet_while_all_is_well(trust: TrustWorld, placet: Placet) -> None:
    said = placet("status")
    assert said.code == 0, said.err
    assert said.out.startswith("All is well: the trust root of demo is valid")
    assert placet("status", "--quiet") == (0, "", "")


def test_status_is_1_when_somebody_must_act_soon(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    now = int(time.time())
    world = TrustWorld(tmp_path, now=now - 80 * DAY - HOUR)
    world.publish(ANNA, BEN, now=now)
    assert main(["trust", "status", "--quiet", "--repository", str(world.repository.path)]) == 1
    said = capfd.readouterr().out
    assert said.startswith("ATTENTION: ")
    assert "! targets: 9 days left" in said
    assert "placet trust sign --renew" in said
    assert "targets    version 1" in said


def test_status_is_3_when_it_has_expired_or_cannot_be_read(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    world = TrustWorld(tmp_path, now=int(time.time()) - 8 * DAY)
    world.publish(ANNA, BEN)
    where = ["--repository", str(world.repository.path)]
    assert main(["trust", "status", "--json", *where]) == 3
    value = json.loads(capfd.readouterr().out)
    assert value["state"] == "expired"
    assert value["summary"].startswith("EXPIRED: gates decide nothing")
    (world.public / "metadata" / "1.targets.json").write_bytes(b"{}")
    assert main(["trust", "status", "--quiet", *where]) == 3
    assert "placet: " in capfd.readouterr().err
    assert main(["trust", "status", "--repository", str(tmp_path / "nowhere")]) == 3
    assert main(["trust", "status", "--snapshot", str(tmp_path / "nowhere")]) == 3
    assert main(["trust", "status", "--soon", "never", *where]) == 2


def test_status_shows_who_has_signed_for_which_quorum(trust: TrustWorld, placet: Placet) -> None:
    placet("rotate-online-keys")
    trust.sign(CLEO)
    said = placet("status").out
    assert f"root 2 (quorum of root 1): signed by {CLEO}; 1 more needed of {ANNA}, {BEN}." in said
    (root, *_) = json.loads(placet("status", "--json").out)["pending"]
    assert [quorum["missing"] for quorum in root["quorums"]] == [1, 1]
    trust.sign(ANNA)
    assert "Next: `placet trust publish`." in placet("status").out


def test_status_at_a_gate_needs_its_snapshot_alone(trust: TrustWorld, placet: Placet, tmp_path: Path) -> None:
    trust.refresh(root_sha256=trust.publish().root_sha256)
    said = placet("status", "--snapshot", trust.snapshot, here=False)
    assert said.code == 0, said.err
    assert "timestamp  version 2" in said.out
    alone = tmp_path / "alone.json"
    alone.write_bytes(trust.snapshot.read_bytes())
    said = placet("status", "--snapshot", alone, "--soon", "8d", here=False)
    assert said.code == 1
    assert "Run `placet trust refresh`" in said.out


def test_status_of_a_source_is_what_a_fresh_gate_would_see(trust: TrustWorld, placet: Placet) -> None:
    digest = trust.publish().root_sha256
    said = placet("status", "--from", trust.public, here=False)
    assert said.code == 2
    assert "--root-sha256" in said.err
    said = placet("status", "--from", trust.public, "--root-sha256", digest, here=False)
    assert said.code == 0, said.err
    placet("refresh", "--from", trust.public, "--root-sha256", digest, here=False)
    before = snapshot_path().read_bytes()
    placet("publish")
    assert "timestamp  version 3" in placet("status", "--from", trust.public, here=False).out
    assert snapshot_path().read_bytes() == before
    assert placet("status", "--from", trust.public / "nowhere", here=False).code == 3


# -- keeping fresh


def test_keep_fresh_renews_once_and_says_so_in_one_line(trust: TrustWorld, placet: Placet) -> None:
    web = trust.folder / "web"
    said = placet("keep-fresh", "--once", "--to", web, "--valid", "2d")
    assert said.code == 0, said.err
    assert said.out.count("\n") == 1
    assert "renewed: snapshot 1 until " in said.out
    assert ", timestamp 2 until " in said.out
    assert (web / "metadata" / "timestamp.json").exists()
    assert placet("status").code == 0, "a short timestamp that is fresh is no reason to worry"


def test_keep_fresh_says_who_must_act(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    now = int(time.time())
    for days, code, said in ((50, 0, "; ATTENTION: targets 39 days left"), (85, 1, "targets 4 days left")):
        world = TrustWorld(tmp_path / str(days), now=now - days * DAY - HOUR)
        world.publish(ANNA, BEN, now=now)
        assert main(["trust", "keep-fresh", "--once", "--repository", str(world.repository.path)]) == code
        out = capfd.readouterr().out
        assert said in out
        assert f"2 of {ANNA}, {BEN}, {CLEO}" in out
    world = TrustWorld(tmp_path / "late", now=now - 91 * DAY)
    world.publish(ANNA, BEN)
    assert main(["trust", "keep-fresh", "--once", "--repository", str(world.repository.path)]) == 3
    err = capfd.readouterr().err
    assert "targets expired 1 day ago" in err
    assert f"2 of {ANNA}, {BEN}, {CLEO}" in err


def test_keep_fresh_runs_until_it_is_told_to_stop(trust: TrustWorld) -> None:
    command = [sys.executable, "-c", "import sys; from placet.cli import main; sys.exit(main())"]
    command += ["trust", "keep-fresh", "--every", "1s", "--valid", "1h"]
    process = subprocess.Popen(
        [*command, "--repository", str(trust.repository.path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(2)]
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert all("renewed: " in line for line in lines)
    assert err == ""
    timestamp = trust.repository.published_timestamp()
    assert timestamp is not None
    assert timestamp.version >= 3


def test_keep_fresh_refuses_to_leave_no_time_for_a_missed_renewal(trust: TrustWorld, placet: Placet) -> None:
    said = placet("keep-fresh", "--every", "6h", "--valid", "8h")
    assert said.code == 2
    assert "one missed renewal is an outage" in said.err

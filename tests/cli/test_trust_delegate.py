"""A team with rules of its own, as its administrator and its owners meet it, with stock ssh-keygen."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from placet.adapters.fido.ssh_keygen import read_public_key_file
from placet.adapters.paths import snapshot_path
from placet.ceremony.fingerprint import fingerprint_words
from placet.cli import main
from placet.core.sshsig import key_id, parse_public_key
from placet.core.trust import parse_trust
from placet.testing import ToolMissing
from placet.testing.openssh import generate_sk_key, sk_dummy

ANN, OLGA, PIA = "ann@example.com", "olga@example.com", "pia@example.com"
RULES = """
[[rule]]
action = "https://placet.dev/actions/deploy/v1"
target = "k8s://pay/**"
level = 1
quorum = { threshold = 1, of = ["group:release"] }
"""


class Said(NamedTuple):
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


class Team:
    """Ann administers alone; Olga and Pia own the scope `payments`, both of them."""

    def __init__(self, folder: Path, run: Callable[..., Said]) -> None:
        self.folder, self.placet = folder, run
        self.policy("pay.toml", RULES)
        self.ok("init", "--deployment", "demo", "--threshold", 1, "--admin", f"{ANN}={folder / 'ann'}.pub")
        self.ok("set-scope", "payments", "--targets", "k8s://pay/**")
        self.ok("set-policy", folder / "pay.toml", "--scope", "payments")

    def policy(self, name: str, text: str) -> Path:
        (self.folder / name).write_text(text)
        return self.folder / name

    def ok(self, *words: object) -> str:
        said = self.placet(*words)
        assert said.code == 0, said.out + said.err
        return said.out

    def sign(self, person: str, *more: object) -> Said:
        key = self.folder / person
        return self.placet("sign", "--as", f"{person}@example.com", "--key", key, "--yes", *more)

    def heard_all(self) -> list[str]:
        """What Ann gives where the owners are new to the trust root."""
        read = [f"{person}@example.com={self.heard(person)}" for person in ("olga", "pia")]
        return [word for text in read for word in ("--fingerprint", text)]

    def heard(self, person: str) -> str:
        wire = parse_public_key(read_public_key_file(self.folder / f"{person}.pub")).wire
        return "-".join(fingerprint_words(key_id(wire)))

    def delegate(self, *more: object, threshold: int = 2) -> Said:
        owners = [f"{p}@example.com={self.folder / p}.pub" for p in ("olga", "pia")]
        return self.placet("delegate", "payments", "--to", *owners, *more, "--threshold", threshold)

    def begin(self) -> str:
        assert self.delegate().code == 0
        for person, heard in (("ann", self.heard_all()), ("olga", []), ("pia", [])):
            said = self.sign(person, *heard)
            assert said.code == 0, said.err
        digest = str(json.loads(self.ok("publish", "--json"))["rootSha256"])
        where = Path(os.environ["XDG_DATA_HOME"]) / "placet" / "trust-repository"
        self.ok("refresh", "--from", where, "--root-sha256", digest)
        return digest


@pytest.fixture
def team(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Team:
    try:
        provider = sk_dummy()
        for name in ("ann", "olga", "pia"):
            generate_sk_key(provider, tmp_path / name, sk_type="ed25519", verify_required=True)
    except ToolMissing as e:
        if os.environ.get("CI") == "true":
            pytest.fail(str(e))
        pytest.skip(str(e))
    for name, value in provider.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def run(*words: object) -> Said:
        capfd.readouterr()
        code = main(["trust", *map(str, words)])
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        return Said(code, out, err)

    return Team(tmp_path, run)


def test_a_team_gets_its_own_rules_and_changes_them_alone(team: Team) -> None:
    said = team.delegate()
    assert f"2 of {OLGA}, {PIA} sign policy/payments.toml, and nothing else" in said.out
    assert "in `targets`" in said.out
    assert "every 30 days" in said.out
    assert "One lost key is enough to close the scope" in said.out
    assert "nothing was changed" in team.delegate().out
    assert team.sign("ann").code == 2, "the owners' fingerprints are to be typed"
    said = team.sign("ann", *team.heard_all())
    assert said.code == 0, said.err
    assert "+ delegation scope-payments" in said.out
    assert f"+ owner of scope-payments: {OLGA}" in said.out
    assert "in payments" not in said.out, "the administrators do not sign the team's rules any more"
    said = team.placet("publish")
    assert (said.code, "scope payments: its owners have not signed any rules yet" in said.err) == (1, True)
    assert "--closing payments" in said.err
    said = team.sign("olga")
    assert "+ rule in payments" in said.out
    assert "administrator" not in said.out.split("What changes")[1].split("Next:")[0].split("root 1")[0]
    assert team.sign("pia").code == 0
    assert "scope-payments 1" in team.ok("publish")

    stricter = team.policy("two.toml", RULES.replace("threshold = 1", "threshold = 2"))
    said_out = team.ok("set-policy", stricter, "--scope", "payments")
    assert f"Its owners sign them, 2 of: {OLGA}, {PIA}. Administrators need not." in said_out
    assert "nobody who may sign" in team.sign("ann").err
    assert "before: level 1; 1 of group:release" in team.sign("olga").out
    said = team.placet("publish")
    assert said.code == 1
    assert f"Not published yet: scope-payments 2: signed by {OLGA}; 1 more needed of {PIA}." in said.out
    team.sign("pia")
    assert json.loads(team.ok("publish", "--json"))["versions"]["scope-payments"] == 2
    shown = json.loads(team.ok("show", "--json"))["scopeOwners"]["payments"]
    assert (shown["threshold"], [owner["id"] for owner in shown["owners"]]) == (2, [OLGA, PIA])
    assert "Owners of the scope payments" in team.ok("show")


def test_what_a_team_may_not_do_is_said_when_it_is_tried(team: Team) -> None:
    team.begin()
    wide = team.policy("wide.toml", RULES.replace("k8s://pay/**", "k8s://**"))
    said = team.placet("set-policy", wide, "--scope", "payments")
    assert said.code == 1
    assert "starts at line 2: the target k8s://** reaches out of the scope payments" in said.err
    assert "set-scope payments" in said.err
    said = team.placet("set-policy", team.folder / "pay.toml", "--scope", "payments", "--targets", "**")
    assert (said.code, "These are two changes" in said.err) == (2, True)
    assert "has owners" in team.placet("remove-policy", "payments").err
    for words, sentence in (
        (("delegate", "nowhere", "--to", ANN, "--threshold", 1), "no scope nowhere"),
        (("delegate", "payments", "--to", "=x", "--threshold", 1), "is neither ID nor ID=PUBKEYFILE"),
        (("delegate", "payments", "--to", "zoe@example.com", "--threshold", 1), "neither an administrator"),
        (("delegate", "payments", "--to", ANN, "--threshold", 2), "2 of 1 cannot be"),
        (("undelegate", "default"), "has no owners"),
        (("renew-scope", "default"), "has no owners"),
    ):
        said = team.placet(*words)
        assert said.code in (1, 2)
        assert sentence in said.err, said.err
    two = [f"{OLGA}={team.folder / 'olga'}.pub", f"{OLGA}={team.folder / 'pia'}.pub"]
    said = team.placet("delegate", "payments", "--to", *two, "--threshold", 2)
    assert f"Two keys of {OLGA}" in said.err


def test_people_who_are_known_are_owners_by_their_id(team: Team) -> None:
    team.ok("add-person", OLGA, "--group", "release")
    assert "no such key" in team.placet("delegate", "payments", "--to", OLGA, "--threshold", 1).err
    for key in ("olga", "pia"):
        team.ok("enroll", OLGA, "--key", team.folder / f"{key}.pub", "--assurance", "software")
    said = team.placet("delegate", "payments", "--to", OLGA, ANN, "--threshold", 2)
    assert f"{OLGA} has several keys" in said.err
    named = said.err[said.err.index("--to") :].split()[1]
    said = team.placet("delegate", "payments", "--to", named, ANN, "--threshold", 2)
    assert said.code == 0, said.err
    assert f"The key of {OLGA} is in software" in said.out


def test_administrators_narrow_and_take_back(team: Team) -> None:
    team.begin()
    said_out = team.ok("set-scope", "payments", "--targets", "k8s://pay/ns/shop/**")
    assert "reaches out of the scope, and applies only inside it" in said_out
    team.ok("set-scope", "payments", "--targets", "**")
    assert "its owners can have gates refuse everything" in team.delegate(ANN).out
    team.ok("undelegate", "payments")
    said = team.sign("ann")
    assert "- delegation scope-payments" in said.out
    assert "+ rule in payments" in said.out
    team.ok("publish")
    team.ok("refresh")
    trust = parse_trust(snapshot_path().read_bytes())
    assert [rule.scope for rule in trust.rules] == ["payments"]
    assert "scope-payments" not in team.ok("status", "--snapshot", snapshot_path())


def test_owners_give_their_draft_up_and_leave_the_administrators(team: Team) -> None:
    team.begin()
    team.ok("renew-scope", "payments")
    team.ok("add-gate", "prod-eu")
    assert "The draft has scope-payments 2." in team.ok("discard", "--scope", "payments")
    assert [item["role"] for item in json.loads(team.ok("show", "--json"))["pending"]] == ["targets"]
    assert "There is no draft" in team.ok("discard", "--scope", "payments")


def test_closing_a_scope_is_said_everywhere(team: Team) -> None:
    team.begin()
    said = team.placet("delegate", "payments", "--to", ANN, "--threshold", 1)
    assert "The owners sign the rules as they are now" in said.out
    team.ok("renew-scope", "payments")  # prepared anew; Ann has not signed it
    shown = team.placet("sign", "--as", ANN, "--key", team.folder / "ann", "--yes")
    assert "has signed targets and scope-payments" in shown.out
    team.ok("renew-scope", "payments")
    published = json.loads(team.placet("publish", "--closing", "payments", "--json").out)
    assert list(published["closed"]) == ["payments"]
    assert [item["role"] for item in published["waiting"]] == ["scope-payments"]
    assert "CLOSED: gates refuse everything in the scope payments" in team.placet("publish").out
    said = team.placet("refresh")
    assert said.code == 0
    assert "The scope payments is closed, since too few of its owners have signed its rules" in said.err
    assert "The scope payments is closed" in team.placet("verify").err


def test_an_owner_elsewhere_signs_a_challenge(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = team.begin()
    team.ok("renew-scope", "payments")
    team.ok("export", team.folder / "stick")
    home = os.environ["XDG_STATE_HOME"]
    monkeypatch.setenv("XDG_STATE_HOME", str(team.folder / "elsewhere"))
    said = team.sign("pia", "--challenge", team.folder / "stick", "--root-sha256", digest)
    assert said.code == 0, said.err
    assert "nothing but versions and dates" in said.out
    monkeypatch.setenv("XDG_STATE_HOME", home)
    team.ok("collect", team.folder / "stick")
    assert team.sign("olga").code == 0
    assert json.loads(team.ok("publish", "--json"))["versions"]["scope-payments"] == 2

"""A ceremony of administrators on machines of their own, by folder, web and git, with stock ssh-keygen."""

from __future__ import annotations

import http.server
import io
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from read_aloud import read_aloud

from placet.adapters.paths import snapshot_path, state_dir
from placet.cli import main
from placet.core.encoding import sha256_hex
from placet.testing import ToolMissing
from placet.testing.openssh import generate_sk_key, sk_dummy

ANN, BEN, ZOE = "ann@example.com", "ben@example.com", "zoe@example.com"


class Said(NamedTuple):
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


class Machine:
    """One administrator's machine: a home of its own, and its key."""

    def __init__(self, folder: Path, name: str, run: Callable[..., Said]) -> None:
        self.home, self.name, self._run = folder / name, name, run
        self.key = folder / "keys" / name

    def placet(self, *words: object) -> Said:
        return self._run(self.home, *words)

    def sign(self, *words: object) -> Said:
        return self.placet("sign", "--as", f"{self.name}@example.com", "--key", self.key, "--yes", *words)


class Office:
    """Ann coordinates, Ben is elsewhere; both must sign."""

    def __init__(self, folder: Path, run: Callable[..., Said]) -> None:
        self.folder, self.stick = folder, folder / "stick"
        self.ann, self.ben = (Machine(folder, name, run) for name in ("ann", "ben"))
        admins = [f"{p}@example.com={folder / 'keys' / p}.pub" for p in ("ann", "ben")]
        said = self.ann.placet("init", "--deployment", "demo", "--threshold", 2, "--admin", *admins)
        assert said.code == 0, said.err

    @property
    def repository(self) -> Path:
        return self.ann.home / "data" / "placet" / "trust-repository"

    def heard(self) -> list[str]:
        return read_aloud(self.repository)

    def enroll_zoe(self) -> None:
        self.ann.placet("add-person", ZOE, "--group", "release")
        key = self.folder / "keys" / "zoe.pub"
        assert self.ann.placet("enroll", ZOE, "--key", key, "--assurance", "software").code == 0

    def publish(self) -> str:
        assert self.ann.sign(*self.heard()).code == 0
        assert self.ann.placet("export", self.stick).code == 0
        said = self.ben.sign("--challenge", self.stick, *self.heard())
        assert said.code == 0, said.err
        assert self.ann.placet("collect", self.stick).code == 0
        return str(json.loads(self.ann.placet("publish", "--json").out)["rootSha256"])


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Office:
    (tmp_path / "keys").mkdir()
    try:
        provider = sk_dummy()
        for name in ("ann", "ben", "zoe"):
            generate_sk_key(provider, tmp_path / "keys" / name, sk_type="ed25519", verify_required=True)
    except ToolMissing as e:
        if os.environ.get("CI") == "true":
            pytest.fail(str(e))
        pytest.skip(str(e))
    for name, value in provider.variables.items():
        monkeypatch.setenv(name, value)

    def run(home: Path, *words: object) -> Said:
        for kind in ("state", "data", "config"):
            monkeypatch.setenv(f"XDG_{kind.upper()}_HOME", str(home / kind))
        home.mkdir(exist_ok=True)
        monkeypatch.chdir(home)
        capfd.readouterr()
        code = main(["trust", *map(str, words)])
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        return Said(code, out, err)

    return Office(tmp_path, run)


def test_two_administrators_on_two_machines_by_a_stick(office: Office) -> None:
    office.enroll_zoe()
    said = office.ann.placet("export", office.stick)
    assert "2 more needed of ann@example.com, ben@example.com." in said.out
    assert "placet trust collect" in said.out
    said = office.ben.sign("--challenge", office.stick)
    assert said.code == 2
    assert f"their fingerprints were not typed: {ANN}, {ZOE}." in said.err
    wrong = [word.replace(f"{ZOE}=", f"{ANN}=") for word in office.heard() if ZOE in word]
    said = office.ben.sign("--challenge", office.stick, "--fingerprint", wrong[0])
    assert (said.code, "fingerprint of another key" in said.err) == (1, True)
    assert list(office.stick.iterdir()) == [office.stick / "challenge.json"]

    said = office.ben.sign("--challenge", office.stick, *office.heard())
    assert said.code == 0, said.err
    assert f"Fits: {ZOE}" in said.out
    assert f"root 1: signed by {BEN}; 1 more needed of {ANN}." in said.out
    assert "ben@example.com.signatures.json" in said.out
    said = office.ann.placet("collect", office.stick, "--json")
    told = json.loads(said.out)
    assert [(item["person"], item["role"]) for item in told["collected"]] == [(BEN, "root"), (BEN, "targets")]
    assert told["pending"][0]["quorums"][0]["unsigned"] == [ANN]
    assert office.ann.sign(*office.heard()).code == 0
    assert office.ann.placet("publish").code == 0
    said = office.ann.placet("export", office.stick)
    assert (said.code, "Nothing waits" in said.err) == (2, True)


class Typing(io.StringIO):
    """An administrator at the keyboard."""

    def isatty(self) -> bool:
        return True


def test_each_fingerprint_fits_while_its_holder_is_still_on_the_line(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.enroll_zoe()
    office.ann.placet("export", office.stick)
    heard = [word.rpartition("=") for word in office.heard() if "=" in word]
    words = {holder: text for holder, _, text in heard if holder != BEN}
    monkeypatch.setattr("sys.stdin", Typing("".join(f"{text}\n" for text in words.values())))
    said = office.ben.sign("--challenge", office.stick)
    assert said.code == 0, said.err + said.out
    first, second = words
    assert said.out.index(f"Fits: {first}") < said.out.index(f"Fingerprint of {second}")
    assert f"Fits: {second}" in said.out


def test_a_stale_signature_is_refused_by_name_and_the_others_are_kept(office: Office) -> None:
    office.ann.placet("export", office.stick)
    office.ben.sign("--challenge", office.stick, *office.heard())
    office.enroll_zoe()
    said = office.ann.placet("collect", office.stick)
    assert said.code == 1
    assert f"{BEN} has signed root" in said.out
    assert f"Refused, of {BEN}: This is a signature over another draft of targets" in said.out
    assert "targets 1: signed by nobody" in said.out
    (office.stick / "x.signatures.json").write_text("{}")
    said = office.ann.placet("collect", office.stick, "--json")
    assert [item["file"] for item in json.loads(said.out)["refused"]] == [
        "ben@example.com.signatures.json",
        "x.signatures.json",
    ]


def test_a_stale_signature_stops_nobody_once_every_quorum_is_complete(office: Office) -> None:
    office.ann.placet("export", office.stick)
    office.ben.sign("--challenge", office.stick, *office.heard())
    stale = office.stick / "old.signatures.json"
    shutil.copy(office.stick / "ben@example.com.signatures.json", stale)
    office.enroll_zoe()
    office.ann.placet("export", office.stick)
    assert office.ben.sign("--challenge", office.stick, *office.heard()).code == 0
    assert office.ann.placet("collect", office.stick).code == 1  # Ann is still missing
    assert office.ann.sign(*office.heard()).code == 0
    said = office.ann.placet("collect", office.stick)
    assert said.code == 0, said.out
    assert f"Refused, of {BEN}: This is a signature over another draft of targets" in said.out
    assert "Note: nothing is missing" in said.out
    assert office.ann.placet("collect", office.stick, "--json").code == 0
    forged = json.loads(stale.read_text())
    role, other = forged["signatures"]
    role["sig"] = other["sig"]
    stale.write_text(json.dumps(forged))
    assert office.ann.placet("collect", office.stick).code == 1  # over what waits here, and false


def test_a_renewal_on_another_machine_needs_nothing_typed_and_the_root_told_once(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = office.publish()
    office.ann.placet("sign", "--renew")
    office.ann.placet("export", office.stick)
    said = office.ben.sign("--challenge", office.stick)
    assert said.code == 0, said.err
    assert "(quorum of root 1): signed by ben@example.com" in said.out
    shutil.rmtree(office.ben.home / "state")  # a new machine
    said = office.ben.sign("--challenge", office.stick)
    assert (said.code, "--root-sha256" in said.err) == (3, True)
    assert office.ben.sign("--challenge", office.stick, "--root-sha256", "0" * 64).code == 1
    assert office.ben.sign("--challenge", office.stick, "--root-sha256", digest).code == 0


def test_a_machine_that_refreshes_its_trust_knows_the_root_that_it_was_told_for_that(
    office: Office,
) -> None:
    digest = office.publish()
    shutil.rmtree(office.ben.home / "state")  # a new machine
    office.ann.placet("sign", "--renew")
    office.ann.placet("export", office.stick)
    said = office.ben.sign("--challenge", office.stick)
    assert (said.code, "--root-sha256" in said.err) == (3, True)
    assert office.ben.placet("refresh", "--from", office.repository, "--root-sha256", digest).code == 0
    said = office.ben.sign("--challenge", office.stick)
    assert said.code == 0, said.err
    assert f"Compared with root 1 (SHA-256 {digest})" in said.out


def test_a_machine_that_refreshes_other_trust_learns_nothing_about_this_one(
    office: Office,
) -> None:
    """Whoever founds a trust root of the same name has another first root."""
    digest = office.publish()
    assert office.ben.placet("refresh", "--from", office.repository, "--root-sha256", digest).code == 0
    shutil.rmtree(office.ben.home / "state")
    (office.folder / "mallory").mkdir()
    (office.folder / "mallory" / "keys").symlink_to(office.folder / "keys")
    mallory = Office(office.folder / "mallory", office.ben._run)
    mallory.publish()
    mallory.ann.placet("sign", "--renew")
    mallory.ann.placet("export", mallory.stick)
    shutil.rmtree(office.ben.home / "state", ignore_errors=True)
    said = office.ben.sign("--challenge", mallory.stick)
    assert said.code == 1
    assert "Sign nothing" in said.err


def test_what_was_signed_is_kept_where_the_stick_takes_it_no_more(office: Office) -> None:
    office.ann.placet("export", office.stick)
    (office.folder / "full").write_text("no folder")
    out = office.folder / "full" / "ben.signatures.json"
    said = office.ben.sign("--challenge", office.stick, "--out", out, *office.heard())
    assert said.code == 3
    assert "It is signed, and the signatures did not get there" in said.err
    kept = state_dir() / "trust-signatures" / "ben@example.com.signatures.json"
    assert str(kept) in said.err
    assert office.ann.placet("collect", kept).code == 0


def test_a_challenge_that_was_cut_is_refused_in_a_sentence(office: Office) -> None:
    office.publish()
    office.enroll_zoe()
    office.ann.placet("export", office.stick)
    path = office.stick / "challenge.json"
    whole = json.loads(path.read_bytes())
    for name in whole["files"]:
        cut = {n: text for n, text in whole["files"].items() if n != name}
        path.write_text(json.dumps(whole | {"files": cut}))
        said = office.ben.placet("sign", "--challenge", office.stick)
        # Without its published side everything would be new; then the machine knows better.
        assert said.code in (0, 1, 3), (name, said)
        assert "bug" not in said.err
        assert "No such file" not in said.err
        if said.code == 0:
            assert name.startswith(("draft/", "enrolments/")), name
    path.write_bytes(path.read_bytes()[:500])
    assert office.ben.placet("sign", "--challenge", office.stick).code == 1


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(folder))  # type: ignore[arg-type]

        def log_message(self, *args: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_by_any_web_server(office: Office) -> None:
    office.ann.placet("export", office.stick / "it.challenge.json")
    with serving(office.stick) as url:
        said = office.ben.sign("--challenge", f"{url}/it.challenge.json", *office.heard())
        assert said.code == 0, said.err
        assert "can read the challenge along" in said.err
        said = office.ben.sign("--challenge", f"{url}/none.json")
        assert (said.code, "cannot be fetched" in said.err) == (3, True)
        said = office.ann.placet("export", f"{url}/it.challenge.json")
        assert (said.code, "Nothing can be put" in said.err) == (1, True)
    back = office.ben.home / "ben@example.com.signatures.json"
    assert office.ann.placet("collect", back).code == 0


def test_by_git_from_challenge_to_gate(
    office: Office, require_tool: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    git = require_tool("git")
    box, checkout = office.folder / "box.git", office.folder / "checkout"
    environment = os.environ | {"GIT_CONFIG_GLOBAL": "/dev/null"}
    for words in (
        ["init", "--quiet", "--bare", str(box)],
        ["init", "--quiet", "-b", "main", str(checkout)],
        ["-C", str(checkout), "config", "user.name", "ann"],
        ["-C", str(checkout), "config", "user.email", ANN],
    ):
        subprocess.run([git, *words], check=True, env=environment)
    program = office.folder / "fake-ssh"
    program.write_text('#!/bin/sh\ncase "$*" in *-G*) exit 1;; esac\nfor c; do :; done\nexec sh -c "$c"\n')
    program.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(program))
    place = f"git+ssh://git@host{box}#main:ceremony"
    assert office.ann.sign(*office.heard()).code == 0
    said = office.ann.placet("export", place)
    assert said.code == 0, said.err
    said = office.ben.sign("--challenge", place, "--json", *office.heard())
    assert said.code == 0, said.err
    assert json.loads(said.out)["signed"] == ["root", "targets"]
    said = office.ann.placet("collect", place)
    assert (said.code, "Next: `placet trust publish`." in said.out) == (0, True)
    here = f"git+file://{box}#main:ceremony"
    assert office.ann.placet("collect", here).code == 0
    said = office.ann.placet("export", here)
    assert (said.code, "own programs" in said.err) == (1, True)
    said = office.ben.sign("--challenge", here, *office.heard())
    assert "Your signatures: ben@example.com.signatures.json" in said.out, said.err

    said = office.ann.placet("publish", "--to", office.folder / "plain", "--commit")
    assert (said.code, "git checkout" in said.err) == (2, True)
    said = office.ann.placet("publish", "--to", checkout, "--commit")
    assert (said.code, "It is committed. Next: git -C" in said.out) == (0, True), said.err
    digest = sha256_hex((checkout / "metadata" / "1.root.json").read_bytes())
    assert office.ann.placet("keep-fresh", "--once", "--commit").code == 2
    plain = office.ann.placet("keep-fresh", "--once", "--to", office.folder / "plain", "--commit")
    assert (plain.code, "git checkout" in plain.err) == (2, True)
    assert office.ann.placet("keep-fresh", "--once", "--to", checkout, "--commit").code == 0
    log = [git, "-C", str(checkout), "log", "-1", "--format=%s", "--name-only"]
    done = subprocess.run(log, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n\n") == [
        "Trust root: snapshot 1, timestamp 2",
        "metadata/2.timestamp.json\nmetadata/timestamp.json\n",
    ]
    gate = office.ben
    said = gate.placet("refresh", "--from", f"git+file://{checkout}", "--root-sha256", digest)
    assert said.code == 0, said.err
    assert snapshot_path().exists()
    assert gate.placet("refresh").code == 0


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("sign", "--challenge", "none"), 3, "cannot be read"),
        (("sign", "--challenge", "none", "--renew"), 3, "cannot be read"),
        (("sign", "--challenge", "ftp://x/y"), 1, "address of a kind that is not read"),
        (("sign", "--fingerprint", "zoe"), 2, "is not HOLDER=WORDS"),
        (("sign", "--fingerprint", "zoe=aardvark"), 1, "enrols no new key of zoe"),
        (("collect", "none.json"), 2, "cannot be read"),
        (("collect", "git+https://token@host/x"), 1, "no password or token"),
        (("fingerprint", "none.pub"), 2, "neither a file nor a public key"),
        (("publish", "--commit"), 2, "--to with a folder of a git checkout"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_goes_wrong_is_a_sentence(
    office: Office, words: tuple[str, ...], code: int, sentence: str
) -> None:
    said = office.ann.placet(*words)
    assert sentence in said.err
    assert said.code == code

"""`placet terminal` as real processes: identity, pages, clear sentences."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
from page_driver import check_for_everyone, plugged_in
from terminal_world import PageWorld, make_identity, write_request

from placet.adapters.fido.attestation import FidoAttestationVerifier
from placet.adapters.paths import data_dir, state_dir
from placet.ceremony.enrol import parse_enrolment, verify_enrolment
from placet.ceremony.enrol_review import judge_enrolment
from placet.ceremony.fingerprint import SPOKEN_DIGITS, fingerprint_words, spoken_fingerprint
from placet.ceremony.models import put_models
from placet.core.encoding import encode_canonical
from placet.core.errors import PlacetError
from placet.core.people import Deployment
from placet.core.sshsig import key_id
from placet.documents.models import Model
from placet.terminal.credentials import CredentialStore
from placet.testing.chromium import ChromiumSession
from placet.testing.world import ALICE, BOB

COMMAND = [sys.executable, "-c", "import sys, placet.cli; sys.exit(placet.cli.main())", "terminal"]
ROOT = "ab" * 32
INVITE = "maple-otter-42-quiet-harbour"


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=30)


class Served:
    """A page that a process serves at `url`."""

    def __init__(self, process: subprocess.Popen[str], url: str, said: str) -> None:
        self.process, self.url, self.said = process, url, said

    def end(self, number: signal.Signals | None = None) -> tuple[int, str, str]:
        if number is not None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=15)
        return self.process.returncode, out, err


@contextmanager
def serving(*arguments: str) -> Iterator[Served]:
    process = subprocess.Popen(
        [*COMMAND, *arguments, "--no-open"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        said = ""
        assert process.stdout is not None
        while (found := re.search(r"http://\S+#token=\S+", said)) is None:
            line = process.stdout.readline()
            assert line, f"{said}\n{process.communicate()[1]}"
            said += line
        yield Served(process, found[0], said)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def world(port: int) -> PageWorld:
    """A world whose first terminal is this machine, its trust refreshed."""
    world = PageWorld(port)
    make_identity(world)
    install_trust(world)
    return world


def install_trust(world: PageWorld) -> None:
    folder = data_dir() / "trust"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "snapshot.json").write_bytes(world.snapshot())


def test_identity_is_made_once_and_printed_for_the_administrator() -> None:
    done = call("init", "desk-1", "--deployment", "demo")
    assert done.returncode == 0, done.stderr
    path = state_dir() / "terminal" / "identity.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    line = next(x.strip() for x in done.stdout.splitlines() if "placet trust add-terminal" in x)
    assert re.fullmatch(
        r"placet trust add-terminal desk-1 --key [A-Za-z0-9+/=]+ --origin http://desk-1\.demo\.placet\.localhost:8470",
        line,
    )
    assert json.loads(path.read_text())["ed25519"] not in done.stdout
    again = call("init", "desk-1")
    assert again.returncode == 3
    assert "already a terminal identity" in again.stderr
    assert call("show", "--deployment", "demo").stdout.count(line) == 1


def test_port_is_not_lost_between_the_terminal_and_the_administrator(world: PageWorld) -> None:
    """A6: a line without the origin enrols the usual port, and nothing decided at another one counts."""
    shown = call("show", "--port", "8499")
    assert "--origin http://t1.demo.placet.localhost:8499" in shown.stdout
    (data_dir() / "trust" / "snapshot.json").unlink()
    for arguments in (["show", "--port", "8499"], ["init", "desk-2", "--port", "8499"]):
        done = call(*arguments)
        assert done.returncode == 2
        assert "Port 8499 becomes part of this terminal's enrolled address" in done.stderr
        assert "--deployment" in done.stderr
        assert done.stdout == ""
    named = call("show", "--port", "8499", "--deployment", "demo")
    assert "--origin http://t1.demo.placet.localhost:8499" in named.stdout


def test_a_terminal_that_is_enrolled_asks_nobody_to_enrol_it(world: PageWorld, port: int) -> None:
    shown = call("show", "--port", str(port)).stdout
    assert "Enrolled:    yes, with this page" in shown
    assert "add-terminal" not in shown
    assert "Read it aloud" in shown  # who signs elsewhere may still ask
    (data_dir() / "trust" / "snapshot.json").unlink()
    assert "add-terminal" in call("show", "--deployment", "demo").stdout


def test_page_is_served_until_it_is_told_to_stop(world: PageWorld, tmp_path: Path, port: int) -> None:
    request = write_request(tmp_path, "it", world.request_deploy())
    for number in (signal.SIGINT, signal.SIGTERM):
        with serving("--file", str(request), "--port", str(port)) as served:
            assert served.url.startswith(f"http://t1.demo.placet.localhost:{port}/#token=")
            code, out, err = served.end(number)
            assert (code, err) == (0, "")
            assert "What was signed is kept." in out


def test_port_in_use_is_a_sentence(world: PageWorld, port: int, tmp_path: Path) -> None:
    request = write_request(tmp_path, "it", world.request_deploy())
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        done = call("serve", "--file", str(request), "--port", str(port), "--no-open")
    assert done.returncode == 2
    assert f"Port {port} on this machine is already in use." in done.stderr
    assert done.stdout == "", "nothing is shown yet"
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_squatter_on_the_other_loopback_address_is_noticed(
    world: PageWorld, port: int, tmp_path: Path
) -> None:
    """A browser tries ::1 too: whoever stood there would be the page under our name."""
    request = write_request(tmp_path, "it", world.request_deploy())
    with socket.socket(socket.AF_INET6) as other:
        try:
            other.bind(("::1", port))
        except OSError:
            pytest.skip("this machine has no ::1")
        other.listen()
        done = call("--file", str(request), "--port", str(port), "--no-open")
    assert done.returncode == 2
    assert "already in use" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (["--file", "x.json", "--relay", "http://127.0.0.1:1"], "not from both", 2),
        (["--file", "a.json", "b.json", "--bundle", "c.json"], "--bundle is for one request", 2),
        (["--bundle", "c.json"], "--bundle goes with --file", 2),
        (["--relay", "nonsense"], "is not the address of a relay", 2),
        (["--trust", "/nowhere/snapshot.json"], "has no trust snapshot", 3),
    ],
)
def test_wrong_usage_is_a_sentence(world: PageWorld, arguments: list[str], words: str, code: int) -> None:
    done = call(*arguments, "--no-open")
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_machine_without_identity_is_told_how_to_get_one() -> None:
    done = call("--no-open")
    assert done.returncode == 3
    assert "placet terminal init" in done.stderr


@pytest.mark.browser
def test_trust_that_is_put_right_is_noticed_without_a_restart(
    world: PageWorld, chromium: ChromiumSession, tmp_path: Path, port: int
) -> None:
    request = write_request(tmp_path, "it", world.request_deploy())
    own = world.terminals.pop("t1")
    install_trust(world)
    with serving("--file", str(request), "--port", str(port)) as served:
        assert "is not enrolled" in served.said
        page = chromium.page
        page.goto(served.url)
        page.wait_for_selector(".problem")
        assert "is not enrolled" in page.inner_text("main")
        world.expires_at, expiry = world.now - 1, world.expires_at
        world.terminals["t1"] = own
        install_trust(world)
        page.get_by_text("snapshot expired").wait_for()
        assert "placet trust refresh" in page.inner_text("main")
        world.expires_at = expiry
        install_trust(world)
        page.wait_for_selector("#requests")
        page.goto("about:blank")


@pytest.mark.browser
def test_enrolment_page_makes_a_file_that_the_administrator_accepts(
    chromium: ChromiumSession, tmp_path: Path, port: int
) -> None:
    assert call("init", "t1", "--deployment", "demo").returncode == 0
    out = tmp_path / "alice.enrolment.json"
    arguments = ["enroll", ALICE, "--invite", INVITE, "--root-sha256", ROOT, "--deployment", "demo"]
    key = chromium.add_authenticator()
    with serving(*arguments, "--out", str(out), "--port", str(port)) as served:
        page = chromium.page
        page.goto(served.url)
        page.wait_for_selector("#create")
        check_for_everyone(page, "enrolment")
        page.click("#create")
        page.wait_for_selector("#prove:not([disabled])")
        page.click("#prove")
        page.wait_for_selector('#status[data-state="enrolled"]', state="attached")
        check_for_everyone(page, "enrolled")
        shown = page.inner_text("main")
        code, said, err = served.end()
        assert (code, err) == (0, "")
    line = f'placet trust enroll {ALICE} --key {out} --invite "<the invite>" --assurance attested'
    assert line in said
    enrolment = parse_enrolment(out.read_bytes())
    facts = verify_enrolment(
        enrolment,
        person=ALICE,
        deployment=Deployment("demo", "demo.placet.localhost"),
        invite=INVITE,
        root_digests=[ROOT],
        origins=[f"http://t1.demo.placet.localhost:{port}"],
        require_uv=True,
    )
    assert facts.user_verified
    assert enrolment.aaguid == "01020304-0506-0708-0102-030405060708"
    keyid = key_id(enrolment.public_key.wire)
    # innerText drops what only looks like blanks, so the groups stand together.
    assert keyid[:SPOKEN_DIGITS] in shown.replace("\n", "").replace(" ", "")
    words, digits = spoken_fingerprint(keyid).split(" (")
    assert words in shown
    assert f"{words} ({digits}" in said
    path = state_dir() / "terminal" / "credentials.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (credential,) = key.credentials()
    assert credential["isResidentCredential"] is False
    known = CredentialStore(path).all()[keyid]
    assert known.transports == ("usb",)
    assert INVITE not in out.read_text()
    key.remove()
    page.goto("about:blank")


@pytest.mark.browser
def test_a_browsers_virtual_authenticator_is_software_even_under_its_own_root(
    chromium: ChromiumSession, tmp_path: Path, port: int
) -> None:
    """Real Chromium, asked for direct attestation: packed, with the one certificate that signed itself."""
    assert call("init", "t1", "--deployment", "demo").returncode == 0
    out = tmp_path / "alice.enrolment.json"
    arguments = ["enroll", ALICE, "--invite", INVITE, "--root-sha256", ROOT, "--deployment", "demo"]
    key = chromium.add_authenticator()
    with serving(*arguments, "--out", str(out), "--port", str(port)) as served:
        page = chromium.page
        page.goto(served.url)
        page.click("#create")
        page.wait_for_selector("#prove:not([disabled])")
        page.click("#prove")
        page.wait_for_selector('#status[data-state="enrolled"]', state="attached")
        served.end()
    key.remove()
    enrolment = parse_enrolment(out.read_bytes())
    assert enrolment.evidence is not None
    facts = FidoAttestationVerifier().read(enrolment.evidence)
    assert (facts.format, facts.attestation_type, len(facts.chain)) == ("packed", "basic", 1)
    assert facts.aaguid == enrolment.aaguid == "01020304-0506-0708-0102-030405060708"

    world = PageWorld(port)
    bare = world.files()
    people = {"people": [{"id": ALICE, "groups": [], "accounts": [], "credentials": []}]}
    bare |= {"people.json": encode_canonical(people)}
    named = Model(facts.aaguid, (), "Chromium's virtual authenticator", "allowed", facts.chain)
    for files in (bare, bare | put_models(bare, [named])):
        for assurance, refused in (("attested", True), ("vouched", True), ("software", False)):
            with pytest.raises(PlacetError, match="is software") if refused else nullcontext():
                judge_enrolment(
                    out.read_bytes(),
                    person=ALICE,
                    files=files,
                    invite=INVITE,
                    root_digests=[ROOT],
                    require_uv=True,
                    assurance=assurance,
                    verifier=FidoAttestationVerifier(),
                    at=world.now,
                )


@pytest.mark.browser
def test_one_key_is_not_enrolled_for_two_people_unless_it_is_said(
    chromium: ChromiumSession, tmp_path: Path, port: int
) -> None:
    assert call("init", "t1", "--deployment", "demo").returncode == 0
    key = chromium.add_authenticator()
    page = chromium.page
    for person, more, state in (
        (ALICE, [], "enrolled"),
        (BOB, [], "error"),
        (BOB, ["--allow-shared-key"], "enrolled"),
    ):
        arguments = ["enroll", person, "--invite", INVITE, "--root-sha256", ROOT, "--deployment", "demo"]
        out = tmp_path / f"{person}.enrolment.json"
        with serving(*arguments, *more, "--out", str(out), "--port", str(port)) as served:
            page.goto("about:blank")
            page.goto(served.url)
            page.click("#create")
            if state == "enrolled":
                page.click("#prove:not([disabled])")
            page.wait_for_selector(f'#status[data-state="{state}"]', state="attached")
            told = page.inner_text("#status")
            assert ("This key already belongs to somebody enrolled here." in told) == (state == "error")
            assert ("Use another key." in told) == (state == "error")
    key.remove()
    page.goto("about:blank")


@pytest.mark.browser
def test_key_whose_first_enrolment_went_wrong_can_be_enrolled_again(
    chromium: ChromiumSession, tmp_path: Path, port: int
) -> None:
    """A1: a wrong invite or a lost file does not make a key useless."""
    assert call("init", "t1", "--deployment", "demo").returncode == 0
    key = chromium.add_authenticator()
    page = chromium.page
    out = tmp_path / "alice.enrolment.json"
    for invite in ("wrong-otter-42-quiet-harbour", INVITE):
        arguments = ["enroll", ALICE, "--invite", invite, "--root-sha256", ROOT, "--deployment", "demo"]
        with serving(*arguments, "--out", str(out), "--port", str(port)) as served:
            page.goto("about:blank")
            page.goto(served.url)
            page.click("#create")
            page.click("#prove:not([disabled])")
            page.wait_for_selector('#status[data-state="enrolled"]', state="attached")
    key.remove()
    page.goto("about:blank")


@pytest.mark.browser
def test_key_without_user_verification_and_synced_key_cannot_be_enrolled(
    chromium: ChromiumSession, tmp_path: Path, port: int
) -> None:
    assert call("init", "t1", "--deployment", "demo").returncode == 0
    out = tmp_path / "alice.enrolment.json"
    arguments = ["enroll", ALICE, "--invite", INVITE, "--root-sha256", ROOT, "--deployment", "demo"]
    with serving(*arguments, "--out", str(out), "--port", str(port)) as served:
        page = chromium.page
        page.goto(served.url)
        for options, words in (
            ({"user_verified": False}, "gave no signature"),
            ({"backup_eligible": True}, "copied to other devices"),
        ):
            key = chromium.add_authenticator(**options)
            page.click("#create:not([disabled])")
            page.wait_for_selector('#status[data-state="error"]')
            assert words in page.inner_text("#status")
            assert "Nothing was enrolled." in page.inner_text("#status")
            key.remove()
        code, said, _ = served.end(signal.SIGINT)
    assert code == 1
    assert "Nothing was enrolled." in said
    assert "is kept" not in said
    assert not out.exists()
    page.goto("about:blank")


@pytest.mark.browser
def test_administrator_with_an_openssh_key_reads_the_page_and_is_told_where_to_sign(
    world: PageWorld, chromium: ChromiumSession, tmp_path: Path, port: int
) -> None:
    from placet.adapters.tuf.repository import TrustRepository
    from placet.adapters.tuf.trust import make_administrator
    from placet.testing.authenticator import SoftSk

    key = SoftSk("ed25519", application="ssh:placet-demo")
    admin = make_administrator("ben", key.wire, kind="sk", origins=(), uv=True)
    path = tmp_path / "repository"
    TrustRepository.create(path, files=world.files(), administrators=[admin], threshold=1, now=world.now)
    command = f"placet trust sign --as ben --key FILE --repository {path}"
    with serving("sign-trust", str(path), "--as", "ben", "--port", str(port)) as served:
        page = chromium.page
        page.goto(served.url)
        page.wait_for_selector(".problem code")
        assert page.inner_text(".problem code >> nth=0") == command
        assert page.locator("main button").count() == 0
        assert "person alice@example.com" in page.inner_text("main")
        check_for_everyone(page, "trust change that is signed elsewhere")
        code, said, err = served.end(signal.SIGINT)
    assert code == 1
    assert "Not signed by ben: root, targets." in said
    assert command in err
    page.goto("about:blank")


@pytest.mark.browser
def test_administrator_reads_and_signs_the_trust_root_on_the_page(
    world: PageWorld, chromium: ChromiumSession, tmp_path: Path, port: int
) -> None:
    from terminal_world import keep_credentials

    from placet.adapters.tuf.ceremony_box import FolderBox
    from placet.adapters.tuf.exchange import attach_signatures, encode_challenge
    from placet.adapters.tuf.repository import TrustRepository
    from placet.adapters.tuf.signing import pending_roles
    from placet.adapters.tuf.trust import make_administrator
    from placet.ceremony.new_keys import find_new_keys

    key = world.keys[ALICE]
    admin = make_administrator("alice", key.wire, kind="webauthn", origins=[world.origin("t1")], uv=True)
    path = tmp_path / "repository"
    TrustRepository.create(path, files=world.files(), administrators=[admin], threshold=1, now=world.now)
    keep_credentials(world, CredentialStore(state_dir() / "terminal" / "credentials.json"), ALICE)
    stick = tmp_path / "stick"
    FolderBox(stick).write_challenge(encode_challenge(TrustRepository(path)))
    root = TrustRepository(path).draft_bytes("root")
    new_keys = find_new_keys({}, world.files(), [], [root] if root else [])
    with (
        serving("sign-trust", "--challenge", str(stick), "--as", "alice", "--port", str(port)) as served,
        plugged_in(world, chromium, ALICE),
    ):
        page = chromium.page
        page.goto(served.url)
        page.wait_for_selector("#sign-root")
        assert page.is_disabled("#sign-root")
        assert "person alice@example.com" in page.inner_text("main")
        check_for_everyone(page, "trust change")
        page.wait_for_timeout(400)
        # Her key signs; that it is another person's as well is still to be heard.
        others = [key.keyid for key in new_keys if key.holder != "alice"]
        for at, keyid in enumerate(others, 1 + len(new_keys) - len(others)):
            if keyid == others[-1]:
                page.fill("#keys textarea >> nth=0", "aardvark adroitness")
                page.keyboard.press("Enter")
                page.wait_for_selector(".answer .problem")
                check_for_everyone(page, "fingerprints that fit, and one that does not")
            page.fill("#keys textarea >> nth=0", " ".join(fingerprint_words(keyid)).upper())
            page.keyboard.press("Enter")
            page.wait_for_selector('#status[data-state="typed"]', state="attached")
            page.locator("#keys .note.fact").nth(at - 1).wait_for()
        assert page.is_disabled("#sign-root")  # not all was shown yet
        page.evaluate("scrollTo(0, 0)")
        for _ in range(60):
            if page.is_enabled("#sign-root"):
                break
            page.keyboard.press("PageDown")
            page.wait_for_timeout(300)
        page.click("#sign-root")
        page.wait_for_selector('#status[data-state="signed"]')
        page.click("#sign-targets")
        page.wait_for_selector('#status[data-state="done"]')
        code, said, err = served.end()
        assert (code, err) == (0, ""), said
    assert "has signed all that was shown" in said
    assert str(stick / "alice.signatures.json") in said
    attach_signatures(TrustRepository(path), (stick / "alice.signatures.json").read_bytes())
    assert all(item.missing == 0 for item in pending_roles(TrustRepository(path)))
    page.goto("about:blank")

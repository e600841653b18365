"""`placet in-toto`: layouts, links, the gate's link, and in-toto's own tools, as a user calls them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from dead_log import name_dead_log
from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]

from placet.adapters.sqlite.ledger import SqliteLedger, declare_new_birth
from placet.ceremony.link import link_message as message_of
from placet.ceremony.link import link_payload, signed_link
from placet.cli import main
from placet.core.bundle import Answer, IntentRequest, encode_answer, encode_bundle, parse_bundle
from placet.core.dsse import Envelope
from placet.core.encoding import b64decode_strict, encode_canonical
from placet.core.sshsig import NAMESPACE_LINK
from placet.core.statement import parse_statement
from placet.testing.authenticator import SoftWebAuthn
from placet.testing.intoto import WHEEL, Chain, pem
from placet.testing.world import ALICE, BOB, CAROL, GATE, RELEASE_TARGET, World

PLACET = [sys.executable, "-c", "import sys; from placet.cli import main; sys.exit(main())"]
STOCK = Path(sys.executable).with_name("in-toto-verify")


class Shop:
    """Files in a folder: trust snapshot, the owner's keys, artifacts, links."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.chain = folder, Chain()
        self.world = World(now=int(time.time()) - 600)
        self.trust, self.links = folder / "snapshot.json", folder / "links"
        self.links.mkdir()
        self.save_trust()
        self.owner_key, self.owner = folder / "owner.pem", folder / "owner.pub"
        self.owner_key.touch(0o600)
        self.owner_key.write_bytes(self.chain.owner.private_bytes)
        self.owner.write_bytes(pem(self.chain.owner))
        self.layout, self.wheel = folder / "app.layout", folder / "app.whl"
        self.wheel.write_bytes(WHEEL)

    def save_trust(self) -> None:
        """Leaves what a refresh of trust would."""
        self.trust.write_bytes(self.world.snapshot())

    def make_layout(self, *more: str, sign: bool = True) -> int:
        """Runs ``placet in-toto layout`` for two of the group."""
        words = ["in-toto", "layout", "-o", str(self.layout), "--trust", str(self.trust)]
        words += ["--approvers", "group:release", "--threshold", "2", "--artifact", "app.whl"]
        return main([*words, *(["--sign-with", str(self.owner_key)] if sign else []), *more])

    def approve(self, request: IntentRequest, *people: str) -> Path:
        """Returns the bundle of these people's approvals, each with a link."""
        bundle = parse_bundle(self.world.bundle(request, *people))
        bundle = bundle._replace(links=tuple(self.link(request, person) for person in people))
        path = self.folder / "app.intent.json"
        path.write_bytes(encode_bundle(bundle))
        return path

    def link(self, request: IntentRequest, person: str) -> Envelope:
        """Returns the link that a person's terminal makes with the second touch."""
        payload, key = link_payload(parse_statement(request.payload)), self.world.keys[person]
        return signed_link(payload, key.keyid, key.sign(NAMESPACE_LINK, message_of(payload)))

    def write_links(self, intent: Path) -> int:
        """Runs ``placet in-toto links``."""
        return main(["in-toto", "links", "--intent", str(intent), "-d", str(self.links)])

    def verify(self) -> int:
        """Runs ``placet in-toto verify``."""
        return main(self._verify_words())

    def verify_alone(self, *more: str) -> subprocess.CompletedProcess[str]:
        """Runs it in a process of its own: in-toto binds its log to standard error once for all."""
        words = [*PLACET, *self._verify_words(), *more]
        return subprocess.run(words, capture_output=True, text=True, check=False)

    def _verify_words(self) -> list[str]:
        words = ["--layout", str(self.layout), "--verification-keys", str(self.owner)]
        return ["in-toto", "verify", *words, "--link-dir", str(self.links)]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.mark.parametrize("container", ["dsse", "metablock"])
def test_from_the_trust_root_to_in_toto_verify(shop: Shop, container: str) -> None:
    assert shop.make_layout("--format", container) == 0
    assert ("payload" in json.loads(shop.layout.read_bytes())) == (container == "dsse")
    request = shop.world.request_release({"app.whl": WHEEL})
    assert shop.write_links(shop.approve(request, ALICE, CAROL)) == 0
    assert len(list(shop.links.glob("approve.????????.link"))) == 2
    assert shop.verify() == 0


def test_one_approval_is_not_enough_and_the_exit_code_says_so(shop: Shop) -> None:
    shop.make_layout()
    shop.write_links(shop.approve(shop.world.request_release({"app.whl": WHEEL}), ALICE))
    done = shop.verify_alone()
    assert done.returncode == 1
    assert done.stderr.startswith("(in-toto-verify) LinkNotFoundError: Step 'approve' requires '2' link")
    assert shop.verify_alone("--quiet").stderr == ""


def test_a13_approvals_of_two_targets_do_not_add_up(shop: Shop) -> None:
    shop.make_layout()
    for person, target in ((ALICE, RELEASE_TARGET), (BOB, "pkg:pypi/other")):
        request = shop.world.request_release({"app.whl": WHEEL}, target=target)
        shop.write_links(shop.approve(request, person))
    done = shop.verify_alone()
    assert done.returncode == 1
    assert "have different artifacts" in done.stderr


def test_the_stock_tool_knows_no_fido_key(shop: Shop) -> None:
    """Why ``placet in-toto verify`` is there; the day this fails, it can go."""
    shop.make_layout()
    shop.write_links(shop.approve(shop.world.request_release({"app.whl": WHEEL}), ALICE, BOB))
    words = [str(STOCK), "-l", str(shop.layout), "--verification-keys", str(shop.owner)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=shop.links, check=False)
    assert done.returncode == 1
    assert "Unsupported public key ssh" in done.stderr


def test_verify_is_the_stock_tool_in_everything_else(shop: Shop, capfd: pytest.CaptureFixture[str]) -> None:
    """Same arguments, same exit codes: on a layout without our keys, and on wrong usage."""
    (shop.links / "build.layout").write_bytes(shop.chain.signed(shop.chain.layout(), shop.chain.owner))
    for name, data in shop.chain.files().items():
        (shop.links / name).write_bytes(data)
    layout = str(shop.links / "build.layout")
    for words in (
        ["-l", layout, "--verification-keys", str(shop.owner), "--link-dir", str(shop.links)],
        ["-l", layout, "--verification-keys", str(shop.owner), "--link-dir", str(shop.folder)],
        ["-l", layout],
        ["-l", layout, "--verification-keys", str(shop.folder / "nothing.pub")],
        ["--version"],
        ["--nonsense"],
        [],
    ):
        ours = main(["in-toto", "verify", *words])
        assert "Traceback" not in capfd.readouterr().err
        done = subprocess.run([str(STOCK), *words], capture_output=True, check=False)
        assert ours == done.returncode, words


def test_the_step_is_added_to_a_layout_and_all_else_stays(shop: Shop) -> None:
    chain = shop.chain
    layout = chain.layout(chain.step(), chain.step("pack"), readme="ours", expires="2031-02-03T04:05:06Z")
    before = shop.folder / "build.layout"
    before.write_bytes(chain.signed(layout, chain.owner))
    assert shop.make_layout(str(before), "--from", "build") == 0
    old, new = _layout(before), _layout(shop.layout)
    approve = new["steps"].pop(1)
    added = {keyid: key for keyid, key in new["keys"].items() if keyid not in old["keys"]}
    assert new | {"keys": old["keys"]} == old
    assert sorted(key["person"] for key in added.values()) == [ALICE, BOB, CAROL]
    assert {key["namespace"] for key in added.values()} == {NAMESPACE_LINK}
    assert approve["name"] == "approve"
    assert approve["threshold"] == 2
    assert sorted(approve["pubkeys"]) == sorted(added)
    assert approve["expected_materials"] == [
        ["REQUIRE", "app.whl"],
        ["REQUIRE", "intent://action"],
        ["MATCH", "app.whl", "WITH", "PRODUCTS", "FROM", "build"],
        ["ALLOW", "intent://action"],
        ["DISALLOW", "*"],
    ]
    assert approve["expected_products"] == [["DISALLOW", "*"]]
    files = chain.files(chain.link(), chain.link("pack"))
    for name, data in files.items():
        (shop.links / name).write_bytes(data)
    assert shop.verify() == 1  # nobody approved
    shop.write_links(shop.approve(shop.world.request_release({"app.whl": WHEEL}), ALICE, BOB))
    assert shop.verify() == 0
    shop.write_links(shop.approve(shop.world.request_release({"app.whl": b"not built"}), ALICE, BOB))
    assert shop.verify() == 1


def _layout(path: Path) -> Any:
    value = json.loads(path.read_bytes())
    return json.loads(b64decode_strict(value["payload"])) if "payload" in value else value["signed"]


def test_an_unsigned_layout_holds_once_its_owner_signs(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    for container in ("dsse", "metablock"):
        assert shop.make_layout("--format", container, sign=False) == 0
        said = capsys.readouterr().out
        assert f"Next      its owner signs: placet in-toto sign -f {shop.layout} -k OWNER.pem" in said
        shop.write_links(shop.approve(shop.world.request_release({"app.whl": WHEEL}), ALICE, BOB))
        assert shop.verify() == 1
        assert main(["in-toto", "sign", "-f", str(shop.layout), "-k", str(shop.owner_key)]) == 0
        assert shop.verify() == 0
        capsys.readouterr()


def test_a_person_with_two_keys_chooses_one(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    world = shop.world
    second = "alice's second key"
    world.keys[second] = SoftWebAuthn(rp_id=world.rp_id, seed=b"second")
    people = json.loads(world.files()["people.json"])
    people["people"][0]["credentials"] += people["people"].pop()["credentials"]
    world.more_files["people.json"] = encode_canonical(people)
    shop.save_trust()
    assert shop.make_layout() == 1
    assert f"two keys belong to {ALICE}" in capsys.readouterr().err
    assert not shop.layout.exists()
    assert shop.make_layout("--key", world.keys[second].keyid[:12].upper()) == 0
    assert world.keys[second].keyid in str(_layout(shop.layout))
    assert world.keys[ALICE].keyid not in str(_layout(shop.layout))


def test_only_the_named_terminals_pages_count(shop: Shop) -> None:
    shop.make_layout("--terminal", "t2")
    request = shop.world.request_release({"app.whl": WHEEL})
    shop.write_links(shop.approve(request, ALICE, BOB))  # their software keys sign on t1
    assert shop.verify() == 1


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (["--threshold", "4"], 1, "4 of 3 people cannot approve"),
        (["--approvers", "group:nobody"], 2, "knows no group 'nobody'"),
        (["--approvers", "mallory@example.com"], 2, "knows no person 'mallory@example.com'"),
        (["--artifact", "*.whl"], 1, "'*.whl' cannot be an artifact's name"),
        (["--artifact", "intent://action"], 1, "cannot be an artifact's name"),
        (["--from", "build"], 1, "has no step 'build'. It has: none."),
        (["--products-in", "dist"], 2, "Name the step with --from"),
        (["--key", "ffff"], 2, "valid key ffff"),
        (["--terminal", "t9"], 2, "knows no terminal 't9'. It knows: t1, t2."),
        (["--sign-with", "nothing.pem"], 3, "nothing.pem cannot be read"),
        (["nothing.layout"], 2, "nothing.layout cannot be read"),
        (["snapshot.json"], 1, "is not an in-toto layout"),
        (["app.whl"], 1, "is not JSON"),
    ],
)
def test_what_cannot_be_is_refused_in_words(
    shop: Shop,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(shop.folder)
    assert shop.make_layout(*more) == code
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said
    assert not shop.layout.exists()


def test_a_layout_with_members_that_in_toto_drops_is_refused(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.make_layout("--format", "metablock")
    value = json.loads(shop.layout.read_bytes())
    value["signed"]["steps"][0]["name"] = "other"
    value["signed"]["note"] = "what in-toto drops"
    before = shop.folder / "noted.layout"
    before.write_text(json.dumps(value))
    assert shop.make_layout(str(before)) == 1
    assert "members that in-toto leaves out or fills in: note" in capsys.readouterr().err


def test_an_encrypted_key_asks_for_its_password(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(shop.chain.owner.private_bytes, None)
    shop.owner_key.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )
    monkeypatch.setattr("getpass.getpass", lambda _prompt: "wrong")
    assert shop.make_layout() == 1
    monkeypatch.setattr("getpass.getpass", lambda _prompt: "secret")
    assert shop.make_layout() == 0
    shop.owner_key.chmod(0o644)
    assert shop.make_layout() == 3


def test_links_come_out_of_an_answer_too(shop: Shop) -> None:
    request = shop.world.request_release({"app.whl": WHEEL})
    answer = shop.world.approve(request, ALICE)
    path = shop.folder / "answer.json"
    path.write_bytes(encode_answer(Answer(answer.envelope, answer.report, shop.link(request, ALICE))))
    assert shop.write_links(path) == 0
    assert [p.name for p in shop.links.iterdir()] == [f"approve.{shop.world.keys[ALICE].keyid[:8]}.link"]


def test_no_links_and_false_links_are_said(shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    request = shop.world.request_release({"app.whl": WHEEL})
    path = shop.folder / "bare.intent.json"
    path.write_bytes(shop.world.bundle(request, ALICE))
    assert shop.write_links(path) == 2
    assert "carries no in-toto links" in capsys.readouterr().err
    other = shop.link(shop.world.request_release({"app.whl": b"other"}), ALICE)
    bundle = parse_bundle(path.read_bytes())._replace(links=(other,))
    path.write_bytes(encode_bundle(bundle))
    assert shop.write_links(path) == 1
    assert "not the one of its statement" in capsys.readouterr().err
    assert list(shop.links.iterdir()) == []


class GateShop(Shop):
    """A layout that knows nothing of people: its step `gate` is a gate's."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.gate_key = folder / "gate.pem"
        signer = CryptoSigner.generate_ecdsa()
        self.gate_key.touch(0o600)
        self.gate_key.write_bytes(signer.private_bytes)
        self.ledger = folder / "ledger.sqlite3"
        declare_new_birth(self.ledger, now=self.world.now - 100)
        step = self.chain.step(
            "gate",
            pubkeys=[signer.public_key.keyid],
            expected_materials=[
                ["REQUIRE", "intent://action"],
                ["MATCH", "app.whl", "WITH", "PRODUCTS", "FROM", "build"],
                ["ALLOW", "intent://action"],
                ["DISALLOW", "*"],
            ],
        )
        layout = self.chain.layout(self.chain.step(), step)
        layout.keys[signer.public_key.keyid] = {
            **signer.public_key.to_dict(),
            "keyid": signer.public_key.keyid,
        }
        self.layout.write_bytes(self.chain.signed(layout, self.chain.owner))
        for name, data in self.chain.files().items():
            (self.links / name).write_bytes(data)

    def gate_link(self, intent: Path, *more: str) -> int:
        """Runs ``placet in-toto gate-link``."""
        words = ["--intent", str(intent), "--step", "gate", "--key", str(self.gate_key), "--gate", GATE]
        words += [
            "--action",
            "release",
            "--target",
            RELEASE_TARGET,
            "--ledger",
            str(self.ledger),
            "--trust",
            str(self.trust),
        ]
        return main(["in-toto", "gate-link", *words, "-d", str(self.links), *more])


@pytest.fixture
def gate_shop(tmp_path: Path) -> GateShop:
    return GateShop(tmp_path)


def test_a_gates_link_makes_the_layout_hold(gate_shop: GateShop, capsys: pytest.CaptureFixture[str]) -> None:
    """The stock tool accepts it: the gate's key is one that it knows."""
    intent = gate_shop.approve(gate_shop.world.request_release({"app.whl": WHEEL}), ALICE, BOB)
    words = [str(STOCK), "-l", str(gate_shop.layout), "--verification-keys", str(gate_shop.owner)]
    assert subprocess.run(words, capture_output=True, cwd=gate_shop.links, check=False).returncode == 1
    assert gate_shop.gate_link(intent, "--dry-run", "--", str(gate_shop.wheel)) == 0
    assert gate_shop.gate_link(intent, "--", str(gate_shop.wheel)) == 0
    said = capsys.readouterr().out
    assert f"by {ALICE}, {BOB}; INTENT_LEVEL_1" in said
    done = subprocess.run(words, capture_output=True, text=True, cwd=gate_shop.links, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a14_no_link_while_the_log_that_must_hold_the_use_is_down(
    gate_shop: GateShop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    name_dead_log(gate_shop.world, gate_shop.folder / "use.pem")
    gate_shop.trust.write_bytes(gate_shop.world.snapshot())
    intent = gate_shop.approve(gate_shop.world.request_release({"app.whl": WHEEL}), ALICE, BOB)
    assert gate_shop.gate_link(intent, str(gate_shop.wheel)) == 3
    assert "placet ledger use-key" in capsys.readouterr().out
    monkeypatch.setenv("PLACET_USE_KEY", str(gate_shop.folder / "use.pem"))
    for more in ((), ("--dry-run",)):
        assert gate_shop.gate_link(intent, *more, "--", str(gate_shop.wheel)) == 3
        assert "log-unavailable" in capsys.readouterr().out
    assert list(gate_shop.links.glob("gate.*.link")) == []
    with SqliteLedger(gate_shop.ledger) as ledger:
        assert ledger.list_latest(9) == ()


def test_a8_a_gate_links_once(gate_shop: GateShop, capsys: pytest.CaptureFixture[str]) -> None:
    intent = gate_shop.approve(gate_shop.world.request_release({"app.whl": WHEEL}), ALICE, BOB)
    assert gate_shop.gate_link(intent, str(gate_shop.wheel)) == 0
    (link,) = gate_shop.links.glob("gate.*.link")
    link.unlink()
    assert gate_shop.gate_link(intent, str(gate_shop.wheel)) == 1
    assert "already-used" in capsys.readouterr().out
    assert not link.exists()


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (["sha256:" + "ab" * 32], 1, "artifact-mismatch"),
        (["evil.whl"], 1, "artifact-mismatch"),
        ([], 1, "artifact-mismatch"),
        (["--target", "pkg:pypi/other", "app.whl"], 1, "target-mismatch"),
        (["--action", "deploy", "app.whl"], 1, "action-mismatch"),
        (["--gate", "prod-us", "app.whl"], 1, "wrong-audience"),
        (["--step", "approve", "app.whl"], 2, "made by people, on a terminal"),
        (["--step", "../gate", "app.whl"], 2, "cannot be the name of a step"),
        (["--key", "nothing.pem", "app.whl"], 3, "nothing.pem cannot be read"),
        (["--key", "app.whl", "app.whl"], 3, "Others can read the signing key"),
        (["-d", "nowhere", "app.whl"], 2, "does not exist"),
        (["nothing.whl"], 2, "nothing.whl cannot be read"),
        (["sha256:abc"], 2, "is not a whole SHA-256"),
    ],
)
def test_what_was_not_approved_gets_no_link(
    gate_shop: GateShop,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(gate_shop.folder)
    (gate_shop.folder / "evil.whl").write_bytes(b"evil")
    intent = gate_shop.approve(gate_shop.world.request_release({"app.whl": WHEEL}), ALICE, BOB)
    assert gate_shop.gate_link(intent, *more) == code
    said = capsys.readouterr()
    assert words in said.out + said.err
    assert not list(gate_shop.links.glob("gate.*.link"))
    assert gate_shop.gate_link(intent, "app.whl") == 0  # what was refused used nothing up


def test_the_gate_says_which_kind_of_action_it_lets_happen(
    gate_shop: GateShop, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the approval says it, requesters choose the rule: the one for signatures, not for releases."""
    words = ["--intent", "x", "--step", "gate", "--key", "k", "--target", RELEASE_TARGET]
    with pytest.raises(SystemExit) as caught:
        main(["in-toto", "gate-link", *words])
    assert caught.value.code == 2
    assert "--action" in capsys.readouterr().err


def test_another_ledger_than_the_trust_root_names_gives_no_link(
    gate_shop: GateShop, capsys: pytest.CaptureFixture[str]
) -> None:
    world = gate_shop.world
    gates = [{"id": GATE, "ledger": "placet-ledger:another"}, {"id": "prod-us", "ledger": "any"}]
    world.more_files["gates.json"] = encode_canonical({"gates": gates})
    gate_shop.save_trust()
    intent = gate_shop.approve(world.request_release({"app.whl": WHEEL}), ALICE, BOB)
    assert gate_shop.gate_link(intent, str(gate_shop.wheel)) == 3
    assert "ledger-restored" in capsys.readouterr().out


def test_a_quorum_of_one_gets_no_link(gate_shop: GateShop, capsys: pytest.CaptureFixture[str]) -> None:
    intent = gate_shop.approve(gate_shop.world.request_release({"app.whl": WHEEL}), ALICE)
    assert gate_shop.gate_link(intent, str(gate_shop.wheel)) == 1
    assert "quorum-not-met" in capsys.readouterr().out


def test_the_group_alone_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["in-toto"]) == 2
    said = capsys.readouterr().err
    assert all(name in said for name in ("layout", "links", "gate-link", "sign", "verify"))

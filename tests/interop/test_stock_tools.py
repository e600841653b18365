"""What we make verifies with tools that nobody here wrote (INV-9)."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError

from placet.adapters.securesystemslib import SkKey
from placet.core.bundle import encode_bundle, parse_bundle
from placet.core.dsse import PAYLOAD_TYPE, envelope_to_object, pae
from placet.core.sshsig import NAMESPACE_INTENT, NAMESPACE_REPORT, armor, parse_public_key
from placet.testing.authenticator import SoftSk
from placet.testing.world import ALICE, BOB, CAROL, World

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "examples" / "check-with-ssh-keygen.sh"

pytestmark = pytest.mark.interop


def three_ways() -> World:
    """Returns a world whose three people sign in the three ways that there are."""
    world = World(seed=b"interop")
    world.keys[BOB] = SoftSk("ecdsa", seed=b"bob")
    world.keys[CAROL] = SoftSk("ed25519", seed=b"carol")
    return world


def signers_line(principal: str, wire: bytes, namespace: str) -> str:
    key_type = parse_public_key(wire).key_type
    return f'{principal} namespaces="{namespace}" {key_type} {base64.b64encode(wire).decode()}\n'


def signers_file(world: World, folder: Path) -> Path:
    path = folder / "allowed_signers"
    path.write_text(
        "".join(signers_line(person, key.wire, "intent-v1@placet.dev") for person, key in world.keys.items())
    )
    return path


def check(bundle: bytes, signers: Path, folder: Path, threshold: int = 2) -> subprocess.CompletedProcess[str]:
    file = folder / "x.intent.json"
    file.write_bytes(bundle)
    command = ["bash", str(SCRIPT), str(file), str(signers), str(threshold)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def tools(require_tool: Callable[[str], str]) -> None:
    for name in ("ssh-keygen", "jq"):
        require_tool(name)


@pytest.mark.parametrize("people", [(ALICE, BOB), (ALICE, CAROL), (BOB, CAROL), (ALICE, BOB, CAROL)])
def test_ten_lines_of_shell_verify_two_of_three(tools: None, tmp_path: Path, people: tuple[str, ...]) -> None:
    world = three_ways()
    request = world.request_run(argv=["/usr/bin/true"], executable=b"x")
    done = check(world.bundle(request, *people), signers_file(world, tmp_path), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == [
        "Run for host://build-1.example: /usr/bin/true",
        f"{len(people)} of 2 people: {' '.join(sorted(people))}",
    ]


def test_the_shell_refuses_one_of_two_and_tampering(tools: None, tmp_path: Path) -> None:
    world = three_ways()
    request = world.request_run(argv=["/usr/bin/true"], executable=b"x")
    signers = signers_file(world, tmp_path)
    one = check(world.bundle(request, ALICE), signers, tmp_path)
    assert (one.returncode, one.stdout.splitlines()[-1]) == (1, f"1 of 2 people: {ALICE}")
    bundle = parse_bundle(world.bundle(request, ALICE, BOB))
    other = world.request_run(argv=["/usr/bin/false"], executable=b"x")
    swapped = bundle._replace(envelope=bundle.envelope._replace(payload=other.payload))
    done = check(encode_bundle(swapped), signers, tmp_path)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "0 of 2 people: ")


def test_one_person_with_two_keys_is_one_person_in_the_shell_too(tools: None, tmp_path: Path) -> None:
    world = three_ways()
    request = world.request_run(argv=["/usr/bin/true"], executable=b"x")
    signers = signers_file(world, tmp_path)
    signers.write_text(signers.read_text().replace(BOB, ALICE))
    done = check(world.bundle(request, ALICE, BOB), signers, tmp_path)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, f"1 of 2 people: {ALICE}")


def test_the_script_is_about_ten_lines_of_stock_tools() -> None:
    lines = [line for line in SCRIPT.read_text().splitlines() if line and not line.startswith("#")]
    assert len(lines) <= 16
    assert "placet " not in "".join(line for line in lines if not line.lstrip().startswith("#"))


def test_a_report_verifies_with_stock_ssh_keygen(tools: None, tmp_path: Path) -> None:
    world = three_ways()
    request = world.request_run(argv=["/usr/bin/true"], executable=b"x")
    report = world.approve(request, ALICE).report
    signers, signature = tmp_path / "signers", tmp_path / "sig"
    signers.write_text(signers_line("t1", world.terminals["t1"].wire, NAMESPACE_REPORT))
    signature.write_text(armor(report.signatures[0].sig))
    command = ["ssh-keygen", "-Y", "verify", "-n", NAMESPACE_REPORT, "-f", str(signers), "-I", "t1", "-s"]
    message = pae(PAYLOAD_TYPE, report.payload)
    good = subprocess.run([*command, str(signature)], input=message, capture_output=True, check=False)
    assert good.returncode == 0, good.stderr
    bad = subprocess.run([*command, str(signature)], input=message + b" ", capture_output=True, check=False)
    assert bad.returncode != 0


def test_securesystemslib_verifies_our_envelope() -> None:
    world = three_ways()
    request = world.request_run(argv=["/usr/bin/true"], executable=b"x")
    envelope = parse_bundle(world.bundle(request, ALICE, BOB, CAROL)).envelope
    keys = [
        SkKey.from_wire(
            key.wire,
            kind=key.kind,
            origins=(world.origin("t1"), world.origin("t2")),
            namespace=NAMESPACE_INTENT,
        )
        for key in world.keys.values()
    ]
    theirs = Envelope.from_dict(envelope_to_object(envelope))
    assert theirs.pae() == pae(PAYLOAD_TYPE, envelope.payload)
    assert len(theirs.verify(keys, 3)) == 3
    assert len(theirs.verify(keys[:2], 2)) == 2
    two = Envelope.from_dict(envelope_to_object(envelope._replace(signatures=envelope.signatures[:2])))
    with pytest.raises(VerificationError):
        two.verify(keys, 3)
    theirs.payload = envelope.payload.replace(b"true", b"fals")
    with pytest.raises(VerificationError):
        theirs.verify(keys, 1)

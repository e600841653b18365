"""A17: gate, relay, mirror, ledger or log are down.  What is in hand still counts, and nothing else.

That a gate which dies between check and act never gives a second use is shown in tests/gates.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "gates"))
sys.path.insert(0, str(Path(__file__).parents[1] / "adapters"))

from attack_world import judge, refusal
from command_world import GATE, CommandWorld
from tuf_trust_world import ANNA, BEN, DAY, TrustWorld

from placet.core.bundle import encode_bundle, parse_bundle
from placet.core.errors import Reason
from placet.core.trust import parse_trust
from placet.core.verify import Expected, UnsafeAnyAction, verify_for_use
from placet.testing.small_log import SmallLog
from placet.testing.world import ALICE, BOB, CAROL, DEFAULT_POLICY, NOW, World, expected_of
from placet.testing.world import GATE as WORLD_GATE

# Runs placet where every connection, lookup and listening socket is refused.
OFFLINE = """
import sys
def hook(event, args):
    if event.startswith("socket.") and event not in ("socket.__new__", "socket.gethostname"):
        raise OSError(101, f"Network is unreachable ({event})")
sys.addaudithook(hook)
from placet.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def world(tmp_path: Path) -> CommandWorld:
    return CommandWorld(tmp_path)


def offline(world: CommandWorld, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", OFFLINE, *map(str, arguments)],
        env={**os.environ, "XDG_STATE_HOME": str(world.state), "PLACET_RELAY": "http://127.0.0.1:1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def run(world: CommandWorld, bundle: bytes, *more: object) -> subprocess.CompletedProcess[str]:
    common = ["--trust", world.trust_path, "--gate", GATE, "--inputs", world.inputs]
    return offline(world, "run", "--intent", world.save(bundle), *common, *more)


def test_a17_a_bundle_in_hand_is_verified_and_used_with_relay_and_network_gone(world: CommandWorld) -> None:
    bundle = world.approve("echo", "offline")
    verify = ["verify", world.save(bundle), "--trust", world.trust_path, "--gate", GATE]
    assert offline(world, *verify, "--unsafe-any-action").returncode == 0
    done = run(world, bundle)
    assert (done.returncode, done.stdout) == (0, "offline\n"), done.stderr
    assert run(world, bundle).returncode == 125


def test_a17_the_hook_is_armed() -> None:
    probe = OFFLINE.replace(
        "from placet.cli import main", "import socket; socket.create_connection(('127.0.0.1', 1))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert "Network is unreachable" in done.stderr


@pytest.mark.parametrize("what", ["gone", "a folder", "emptied", "half"])
def test_a17_no_ledger_no_act(world: CommandWorld, what: str) -> None:
    bundle = world.approve("echo", "acted")
    path = world.ledger_path
    if what == "half":
        path.write_bytes(path.read_bytes()[:5000])
    else:
        path.unlink()
        if what == "a folder":
            path.mkdir()
        elif what == "emptied":
            path.write_bytes(b"")
    done = run(world, bundle)
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr.startswith("UNDECIDED: ")
    assert "ledger-" in done.stderr


@pytest.mark.parametrize("what", ["gone", "a folder", "emptied", "half"])
def test_a17_no_trust_no_act(world: CommandWorld, what: str) -> None:
    bundle = world.approve("echo", "acted")
    path = world.trust_path
    data = path.read_bytes()
    path.unlink()
    if what == "a folder":
        path.mkdir()
    elif what != "gone":
        path.write_bytes(b"" if what == "emptied" else data[: len(data) // 2])
    done = run(world, bundle)
    assert (done.returncode, done.stdout) == (125, "")
    assert "Traceback" not in done.stderr
    assert world.approval_count(bundle) == 0


def test_a17_the_source_of_trust_is_down_and_the_old_snapshot_decides_until_it_expires(
    tmp_path: Path,
) -> None:
    trust = TrustWorld(tmp_path, now=NOW)
    published = trust.publish(ANNA, BEN)
    trust.refresh(root_sha256=published.root_sha256, now=NOW)
    request = trust.world.request_deploy(now=NOW + 6 * DAY)
    bundle = trust.world.bundle(request)
    for person, terminal in ((ALICE, "t1"), (BOB, "t2")):
        from placet.ceremony.publish import add_answer
        from placet.core.bundle import parse_bundle

        answer = trust.world.approve(request, person, terminal=terminal, decided_at=NOW + 6 * DAY + 60)
        bundle = encode_bundle(add_answer(parse_bundle(bundle), answer))
    trust.public.rename(tmp_path / "unmounted")
    assert refusal(lambda: trust.refresh(now=NOW + 6 * DAY)).reason is Reason.TRUST_UNAVAILABLE

    def decide(now: int) -> object:
        return verify_for_use(
            bundle,
            trust=parse_trust(trust.snapshot.read_bytes()),
            gate=WORLD_GATE,
            expected=expected_of(request),
            now=now,
        )

    decide(NOW + 6 * DAY + 120)
    assert refusal(lambda: decide(NOW + 7 * DAY)).reason is Reason.TRUST_EXPIRED
    (tmp_path / "unmounted").rename(trust.public)
    trust.publish(now=NOW + 7 * DAY)
    trust.refresh(now=NOW + 7 * DAY)


def test_a17_a_mirror_that_refuses_connections(tmp_path: Path) -> None:
    trust = TrustWorld(tmp_path, now=NOW)
    published = trust.publish(ANNA, BEN)
    trust.refresh(root_sha256=published.root_sha256, now=NOW)
    before = trust.snapshot.read_bytes()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    from placet.adapters.tuf.refresh import refresh

    error = refusal(lambda: refresh(address, trust.snapshot, now=NOW))
    assert error.reason is Reason.TRUST_UNAVAILABLE
    assert "refused" in str(error)
    assert trust.snapshot.read_bytes() == before


def test_a17_the_relay_is_down(tmp_path: Path) -> None:
    """Who waits for an answer hears that nothing is decided, in a sentence."""
    done = subprocess.run(
        [sys.executable, "-m", "placet", "request", "wait", "0" * 64, "--relay", "http://127.0.0.1:1"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "XDG_DATA_HOME": str(tmp_path)},
    )
    assert done.returncode not in (0, 1)
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("placet: ")


def test_a17_no_log_no_level_that_needs_it() -> None:
    """Where the trust root names no log, a rule of level 3 refuses on the terminal; less never meets it."""
    world = World(policy=DEFAULT_POLICY.replace("level = 1", "level = 3"))
    world.assurance = dict.fromkeys(world.keys, "attested")
    request = world.request_deploy()
    error = refusal(lambda: world.bundle(request, ALICE, BOB))
    assert error.reason is Reason.LEVEL_NEEDS_LOG


def test_a17_a_log_that_is_down_stops_no_verification_of_what_it_proved_before() -> None:
    """The proof is in the bundle: verifying opens no connection, and needs no log any more."""
    world, log = World(policy=DEFAULT_POLICY.replace("level = 1", "level = 3")), SmallLog()
    world.assurance = dict.fromkeys(world.keys, "attested")
    world.more_files["log-policy"] = log.policy()
    request = world.request_deploy()
    bundle = parse_bundle(world.bundle(request, ALICE, BOB))
    unproven = refusal(lambda: judge(world, encode_bundle(bundle), expected_of(request)))
    assert unproven.reason is Reason.LEVEL_TOO_LOW
    assert "no proof that the decision is in the log" in str(unproven)
    assert judge(world, encode_bundle(log.prove(bundle, at=NOW + 90)), expected_of(request)).level == 3


# -- break-glass: a larger quorum of others, written into the rule beforehand (docs/adr)

BREAK_GLASS = DEFAULT_POLICY.replace(
    'quorum = { threshold = 2, of = ["group:release"] }',
    "quorum = { threshold = 1, of = ["
    '{ threshold = 2, of = ["group:release"] }, { threshold = 3, of = ["group:incident"] }] }',
)
INCIDENT = ("ines@example.com", "igor@example.com", "ivy@example.com")


def broken_glass() -> World:
    from placet.testing.authenticator import SoftWebAuthn

    world = World(policy=BREAK_GLASS)
    for person in INCIDENT:
        world.keys[person] = SoftWebAuthn(
            rp_id=world.rp_id, web_origin=world.origin("t1"), seed=person.encode()
        )
        world.groups[person] = ["incident"]
    return world


@pytest.mark.parametrize(
    ("people", "allowed"),
    [((ALICE, BOB), True), (INCIDENT, True), (INCIDENT[:2], False), ((ALICE, *INCIDENT[:2]), False)],
)
def test_a17_break_glass_is_a_larger_quorum_and_nothing_less(people: tuple[str, ...], allowed: bool) -> None:
    world = broken_glass()
    request = world.request_deploy()
    bundle = world.bundle(request, *people)
    expected: Expected | UnsafeAnyAction = expected_of(request)
    if allowed:
        assert judge(world, bundle, expected).people == tuple(sorted(people))
    else:
        assert refusal(lambda: judge(world, bundle, expected)).reason is Reason.QUORUM_NOT_MET


def test_a17_break_glass_does_not_waive_window_gate_or_single_use() -> None:
    world = broken_glass()
    request = world.request_deploy()
    bundle = world.bundle(request, *INCIDENT)
    expected = expected_of(request)
    assert refusal(lambda: judge(world, bundle, expected, gate="prod-us")).reason is Reason.WRONG_AUDIENCE
    assert refusal(lambda: judge(world, bundle, expected, now=NOW + DAY)).reason is Reason.EXPIRED
    assert CAROL not in judge(world, bundle, expected).people

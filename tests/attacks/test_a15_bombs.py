"""A15: one bad signature, bundle bombs, deep JSON: each is a named refusal, quickly."""

from __future__ import annotations

import time

import pytest
from attack_world import AT, approved_run, judge, refusal

from placet.core.bundle import encode_bundle, parse_bundle
from placet.core.dsse import Signature
from placet.core.encoding import KeyId, b64encode
from placet.core.errors import PlacetError, Reason
from placet.core.verify import verify_for_use
from placet.testing.world import GATE, World

# Of processor time: generous for a loaded machine, far below what a stalled gate would take.
LIMIT_SECONDS = 3

BOMBS = {
    "deep lists": (b"[" * 1_000_000, Reason.TOO_DEEP),
    "deep lists that are closed": (b"[" * 1_000_000 + b"]" * 1_000_000, Reason.TOO_DEEP),
    "deep objects": (b'{"a":' * 500_000, Reason.TOO_DEEP),
    "depth hidden by strings": (b'["]",' * 900 + b'"e"' + b',"["]' * 900, Reason.TOO_DEEP),
    "ten megabytes": (b'"' + b"x" * 10_000_000 + b'"', Reason.TOO_LARGE),
    "an endless number": (b"9" * 4_000_000, Reason.NUMBER_NOT_ALLOWED),
    "many members": (b"{" + b",".join(b'"%d":0' % i for i in range(300_000)) + b"}", Reason.NOT_CANONICAL),
    "nothing": (b"", Reason.NOT_JSON),
    "zeros": (bytes(1_000_000), Reason.NOT_JSON),
}


@pytest.mark.parametrize(("bomb", "reason"), BOMBS.values(), ids=BOMBS.keys())
def test_a15_a_bomb_is_a_named_refusal_soon(bomb: bytes, reason: Reason) -> None:
    world = World()
    _, expected = approved_run(world)
    trust = world.trust()
    started = time.process_time()
    with pytest.raises(PlacetError) as caught:
        verify_for_use(bomb, trust=trust, gate=GATE, expected=expected, now=AT)
    assert caught.value.reason is reason
    assert time.process_time() - started < LIMIT_SECONDS


@pytest.mark.parametrize(
    "blob", [b"", b"SSHSIG", b"\xff" * 8192, b"SSHSIG\0\0\0\1" + b"\xff\xff\xff\xff" * 8]
)
def test_a15_one_malformed_signature_does_not_spoil_the_good_ones(blob: bytes) -> None:
    world = World()
    bundle, expected = approved_run(world)
    parsed = parse_bundle(bundle)
    stray = Signature(KeyId("0" * 64), blob or b"\0")
    more = parsed._replace(envelope=parsed.envelope._replace(signatures=(stray, *parsed.envelope.signatures)))
    approval = judge(world, encode_bundle(more), expected)
    assert len(approval.people) == 2
    assert [ignored.error.reason for ignored in approval.ignored] == [Reason.UNKNOWN_KEY]


def test_a15_garbage_under_an_enrolled_key_is_ignored_and_named() -> None:
    world = World()
    bundle, expected = approved_run(world)
    parsed = parse_bundle(bundle)
    carol = world.keys["carol@example.com"].keyid
    more = parsed._replace(
        envelope=parsed.envelope._replace(
            signatures=(*parsed.envelope.signatures, Signature(carol, b"SSHSIG garbage"))
        )
    )
    approval = judge(world, encode_bundle(more), expected)
    assert [ignored.error.reason for ignored in approval.ignored] == [Reason.BAD_SSHSIG]


def test_a15_a_thousand_signatures_are_refused_before_any_is_checked() -> None:
    world = World()
    bundle, expected = approved_run(world)
    parsed = parse_bundle(bundle)
    many = tuple(Signature(KeyId(f"{i:064x}"), b"x") for i in range(1000))
    flood = encode_bundle(parsed._replace(envelope=parsed.envelope._replace(signatures=many)))
    started = time.process_time()
    assert refusal(lambda: judge(world, flood, expected)).reason is Reason.TOO_MANY
    assert time.process_time() - started < LIMIT_SECONDS


def test_a15_a_signature_of_megabytes_is_refused() -> None:
    world = World()
    bundle, expected = approved_run(world)
    text = b64encode(parse_bundle(bundle).envelope.signatures[0].sig)
    large = bundle.decode().replace(text, b64encode(bytes(1_000_000))).encode()
    assert refusal(lambda: judge(world, large, expected)).reason is Reason.BAD_VALUE

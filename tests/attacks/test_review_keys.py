"""Review: no key is enrolled under which anybody can sign."""

from __future__ import annotations

import pytest

from placet.core.errors import MalformedError, Reason
from placet.core.signature import check_key_usable
from placet.core.sshsig import encode_ed25519_key, encode_sk_ed25519_key, parse_public_key
from placet.testing.authenticator import SoftSk, SoftTerminalKey

PRIME = 2**255 - 19
ORDER_8 = bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")
SMALL = [
    *(y.to_bytes(32, "little") for y in (0, 1, PRIME - 1, PRIME, PRIME + 1)),
    ORDER_8,
    (PRIME - int.from_bytes(ORDER_8, "little")).to_bytes(32, "little"),
]


@pytest.mark.parametrize("sign", [0, 0x80])
@pytest.mark.parametrize("raw", SMALL, ids=lambda raw: raw.hex()[:8])
def test_a_point_of_small_order_is_no_key(raw: bytes, sign: int) -> None:
    point = raw[:31] + bytes([raw[31] | sign])
    for wire in (encode_sk_ed25519_key(point, "ssh:placet:demo"), encode_ed25519_key(point)):
        with pytest.raises(MalformedError) as error:
            check_key_usable(parse_public_key(wire))
        assert error.value.reason is Reason.BAD_KEY


def test_honest_keys_are_keys() -> None:
    for seed in (b"1", b"2", b"3"):
        check_key_usable(parse_public_key(SoftSk("ed25519", seed=seed).wire))
        check_key_usable(parse_public_key(SoftTerminalKey(seed=seed).wire))

"""SSH wire primitives (RFC 4251 section 5; spec/05-signature.md).

Refusals carry the caller's reason; most callers read signatures.
"""

from __future__ import annotations

from placet.core.errors import MalformedError, Reason


def take_strings(data: bytes, count: int, reason: Reason = Reason.BAD_SSHSIG) -> list[bytes]:
    """Takes `count` strings (RFC 4251 section 5) off `data`; returns them and, last, what follows them."""
    taken, at = [], 0
    for _ in range(count):
        start = at + 4
        at = start + int.from_bytes(data[at:start], "big")
        taken.append(data[start:at])
    if at > len(data):
        raise MalformedError(reason, "The SSH data ends too early.")
    taken.append(data[at:])
    return taken


def read_text(name: bytes, reason: Reason = Reason.BAD_SSHSIG) -> str:
    """Reads a name of printable ASCII."""
    text = name.decode("latin-1")
    if not (text.isascii() and text.isprintable()):
        raise MalformedError(reason, "An SSH name must be printable ASCII.")
    return text


def refuse_trailing(rest: bytes, reason: Reason = Reason.BAD_SSHSIG) -> None:
    """Checks that nothing is left over."""
    if rest:
        raise MalformedError(reason, "There are trailing bytes.")  # SIG-05


def read_mpint(data: bytes, reason: Reason = Reason.BAD_SSHSIG) -> int:
    """Reads a positive integer in its one spelling, without a needless leading zero (SIG-06)."""
    if not data or data[0] & 0x80 or (data[0] == 0 and (len(data) == 1 or not data[1] & 0x80)):
        raise MalformedError(reason, "An SSH integer is not in its canonical form.")
    return int.from_bytes(data, "big")


def ssh_string(data: bytes | str) -> bytes:
    """Encodes a string."""
    raw = data.encode("ascii") if isinstance(data, str) else data
    return len(raw).to_bytes(4, "big") + raw


def ssh_mpint(number: int) -> bytes:
    """Encodes a positive integer in its one form."""
    return ssh_string(number.to_bytes(number.bit_length() // 8 + 1, "big"))

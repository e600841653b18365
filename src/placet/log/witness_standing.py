"""How it stands with a log's witnesses: for health, numbers, `placet log show` and people."""

from __future__ import annotations

from typing import NamedTuple

from placet.core.encoding import format_time
from placet.core.errors import PlacetError, VerificationError, visible
from placet.core.tlog.cosignature import verify_cosignature
from placet.core.tlog.log_policy import LogPolicy
from placet.core.tlog.note import parse_note


class WitnessStatus(NamedTuple):
    """How it stands with one witness, as the log that asks it sees it."""

    name: str
    """The log policy's."""
    address: str
    tree_size: int
    """Of the newest checkpoint that it cosigned since the log was started, or 0."""
    signed_at: int | None
    """The time that it signed then."""
    answered_at: int | None
    """When that answer came, by this machine's clock."""
    failures: int
    """How often it failed since."""
    problem: PlacetError | None
    """Why it does not cosign, or None."""


class Cosigned(NamedTuple):
    """What a checkpoint's own cosignatures say, under a policy."""

    times: dict[str, int]
    """When each witness signed it, by the policy's names."""
    missing: tuple[str, ...]
    """The policy's other witnesses."""
    is_quorum: bool


def status_to_object(status: WitnessStatus) -> dict[str, object]:
    """Returns a status as JSON has it."""
    return {
        "name": status.name,
        "address": status.address,
        "treeSize": str(status.tree_size),
        "signedAt": None if status.signed_at is None else format_time(status.signed_at),
        "answeredAt": None if status.answered_at is None else format_time(status.answered_at),
        "failures": status.failures,
        "problem": None if status.problem is None else str(status.problem.reason),
    }


def read_cosigned(checkpoint: bytes, policy: LogPolicy) -> Cosigned:
    """Reads which witnesses of the policy cosigned a checkpoint.

    Raises:
        MalformedError: it is no signed note.
    """
    note = parse_note(checkpoint)
    times = {}
    for witness in policy.witnesses:
        try:
            times[witness.name] = verify_cosignature(note, witness.key)
        except VerificationError:
            continue
    missing = tuple(witness.name for witness in policy.witnesses if witness.name not in times)
    return Cosigned(times, missing, policy.is_quorum(times))


def describe_cosigned(cosigned: Cosigned) -> list[str]:
    """Returns the same for people, a line each."""
    lines = [f"{name}: cosigned {format_time(time)}" for name, time in cosigned.times.items()]
    lines += [f"{name}: has not cosigned this checkpoint" for name in cosigned.missing]
    if not lines:
        return ["The log policy names no witness."]
    lines.append("That is a quorum." if cosigned.is_quorum else "That is no quorum of the log policy.")
    return [visible(line) for line in lines]

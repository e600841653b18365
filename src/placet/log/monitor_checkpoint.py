"""One checkpoint, held against the log policy: who signed and witnessed it, and how fresh it is.  Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

from placet.core.encoding import format_time
from placet.core.errors import PlacetError, PolicyError, Reason
from placet.core.tlog.checkpoint import Checkpoint, verify_parsed
from placet.core.tlog.cosignature import verify_cosignature
from placet.core.tlog.log_policy import LogPolicy
from placet.core.tlog.note import SignedNote, parse_note
from placet.log.monitor_findings import Finding, FindingName, finding

# How far clocks of honest machines are apart.
_CLOCKS_APART = 300

SeenCosignature = Callable[[bytes], "tuple[str, str, int] | None"]
"""Returns witness, log and tree size of a cosignature that was valid before, by its bytes."""


class WitnessSignature(NamedTuple):
    """A cosignature that holds."""

    witness: str
    time: int
    signature: bytes


class CheckedCheckpoint(NamedTuple):
    """A checkpoint that a log of the policy signed.  `data` is the whole note.

    `witnessed_at` is by when a quorum had cosigned it, `not_before` the lower bound of now that it proves;
    both are None without a quorum.
    """

    data: bytes
    checkpoint: Checkpoint
    cosignatures: tuple[WitnessSignature, ...]
    witnessed_at: int | None
    not_before: int | None
    findings: tuple[Finding, ...]


def check_signed(
    data: bytes, policy: LogPolicy, *, origin: str | None = None
) -> tuple[SignedNote, Checkpoint]:
    """Verifies that a log of the policy signed a checkpoint.

    Args:
        data: the signed note.
        policy: which logs count.
        origin: the one log that is meant; None takes any.

    Raises:
        MalformedError: it is no checkpoint.
        PolicyError: LOG_UNKNOWN.
        VerificationError: SIGNATURE_INVALID, KEY_MISMATCH.
    """
    note = parse_note(data)
    for key, _ in policy.logs:
        if key.name == (origin or key.name) and note.signature_by(key) is not None:
            return note, verify_parsed(note, key)
    raise PolicyError(
        Reason.LOG_UNKNOWN,
        f"This checkpoint is not signed by {origin or 'a log of the log policy'}.",
        expected=tuple(log.key.name for log in policy.logs),
    )


def check_checkpoint(
    data: bytes,
    policy: LogPolicy,
    *,
    origin: str | None,
    now: int,
    max_age: int | None,
    seen: SeenCosignature,
) -> CheckedCheckpoint:
    """Verifies a checkpoint, and says what is wrong with its witnesses.

    Args:
        data: the signed note.
        policy: which logs and witnesses count.
        origin: the one log that is meant; None takes any.
        now: Unix seconds.
        max_age: how old its cosignatures may be; None asks for no age.
        seen: knows the cosignatures of earlier checkpoints, so that a copied one is named as such.

    Raises:
        MalformedError, PolicyError, VerificationError: as `check_signed`.
    """
    note, checkpoint = check_signed(data, policy, origin=origin)
    about = checkpoint.log_origin
    good: list[WitnessSignature] = []
    found: list[Finding] = []
    for name, key, _ in policy.witnesses:
        signature = note.signature_by(key)
        if signature is None:
            continue
        try:
            good.append(WitnessSignature(name, verify_cosignature(note, key), signature.signature))
        except PlacetError:
            found.append(_bad_cosignature(name, signature.signature, checkpoint, seen))
    times = {cosignature.witness: cosignature.time for cosignature in good}
    found += _judge_witnesses(times, policy, checkpoint, now)
    not_before = policy.not_before(times)
    if max_age is not None and not_before is not None and now - not_before > max_age:
        text = (
            f"The newest state that {about} shows was witnessed at {format_time(not_before)}, "
            f"{_describe_age(now - not_before)} ago."
        )
        found.append(finding(FindingName.CHECKPOINT_STALE, "age", text, log_origin=about))
    return CheckedCheckpoint(data, checkpoint, tuple(good), policy.seen_by(times), not_before, tuple(found))


def _describe_age(seconds: int) -> str:
    for unit, size in (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1)):
        if seconds >= 2 * size or unit == "second":
            break
    count = seconds // size
    return f"{count} {unit}{'' if count == 1 else 's'}"


def _bad_cosignature(
    witness: str, signature: bytes, checkpoint: Checkpoint, seen: SeenCosignature
) -> Finding:
    origin = checkpoint.log_origin
    subject = f"{witness}:{checkpoint.tree_size}:{checkpoint.root_hash.hex()}"
    if (before := seen(signature)) is not None:
        text = (
            f"Under the state of size {checkpoint.tree_size} stands the cosignature that {before[0]} gave to "
            f"the state of size {before[2]} of {before[1]}."
        )
        return finding(FindingName.COSIGNATURE_REPLAYED, subject, text, log_origin=origin)
    text = (
        f"The cosignature in the name of {witness} under the state of size {checkpoint.tree_size} "
        "does not hold."
    )
    return finding(FindingName.COSIGNATURE_INVALID, subject, text, log_origin=origin)


def _judge_witnesses(
    times: dict[str, int], policy: LogPolicy, checkpoint: Checkpoint, now: int
) -> list[Finding]:
    found, origin = [], checkpoint.log_origin
    if not policy.is_quorum(times):
        missing = _missing(times, policy)
        text = (
            f"The state of size {checkpoint.tree_size} of {origin} is not cosigned by the policy's quorum "
            f"{policy.quorum}; no cosignature by {missing}."
        )
        found.append(finding(FindingName.NOT_WITNESSED, "quorum", text, log_origin=origin))
    for name, time in sorted(times.items()):
        if time > now + _CLOCKS_APART:
            text = (
                f"The witness {name} says {format_time(time)}; this machine's clock says {format_time(now)}."
            )
            found.append(finding(FindingName.WITNESS_TIME_AHEAD, name, text, log_origin=origin))
    return found


def _missing(times: Collection[str], policy: LogPolicy) -> str:
    return ", ".join(w.name for w in policy.witnesses if w.name not in times) or "nobody"

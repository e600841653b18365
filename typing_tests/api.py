"""Checked by mypy, never run: how users' code types against the public API."""

import placet


def gate(bundle: bytes, snapshot: bytes, digest: str, now: int) -> str:
    trust: placet.Trust = placet.parse_trust(snapshot)
    expected = placet.Expected(target="pkg:pypi/app", subjects={digest}, action_type="https://x/v1")
    try:
        approval: placet.VerifiedApproval = placet.verify_for_use(
            bundle, trust=trust, gate="release", expected=expected, now=now
        )
    except placet.IndeterminateError as e:
        return f"undecided: {e.reason.value}"
    except placet.PlacetError as e:
        return f"denied: {e.reason.value}"
    people: tuple[str, ...] = approval.people
    level: int = approval.level
    return f"{people} {level} {approval.text}"


def missing_expectation(bundle: bytes, trust: placet.Trust) -> None:
    placet.verify_for_use(bundle, trust=trust, gate="g", now=0)  # type: ignore[call-arg]


def no_truth_value_is_promised(bundle: bytes, trust: placet.Trust) -> bool:
    return placet.verify_for_audit(bundle, trust=trust, logged_at=None)  # type: ignore[return-value]

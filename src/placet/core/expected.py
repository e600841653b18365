"""What is about to happen, held against what was approved (spec/14-verify.md, VER-07)."""

from __future__ import annotations

from collections.abc import Set
from typing import NamedTuple

from placet.core.actions import ActionDefinition
from placet.core.decode import Object
from placet.core.errors import PolicyError, Reason
from placet.core.statement import IntentStatement


class Expected(NamedTuple):
    """What is about to be done, as the gate sees it itself.

    Args:
        target: the target URI that is about to change.
        subjects: digests, spelled ``sha256:…``, of what is about to be used; empty for an action
            without artifacts.
        action_type: the action's type URI.
        parameters: the action's parameters, or None where the caller will act on the verified
            statement's own parameters and on nothing else.
    """

    target: str
    subjects: Set[str]
    action_type: str
    parameters: Object | None = None


class UnsafeAnyAction(NamedTuple):
    """Accepts an approval of whatever action it is for.  Only for looking at bundles, never for acting."""

    why: str


def check_expected(
    statement: IntentStatement, definition: ActionDefinition, expected: Expected | UnsafeAnyAction
) -> tuple[str, ...]:
    """Checks that the action about to happen is the approved one, and returns the uses that it takes.

    Raises:
        PolicyError: ACTION_MISMATCH, TARGET_MISMATCH, PARAMETERS_MISMATCH, ARTIFACT_MISMATCH.
    """
    if isinstance(expected, UnsafeAnyAction):
        return use_units_of(statement, definition, frozenset(s.digest for s in statement.subjects))
    # VER-07: the digest approved must be the digest about to be used, for this target and no other.
    if statement.action_type != expected.action_type:
        raise PolicyError(
            Reason.ACTION_MISMATCH,
            "The approval is for another kind of action.",
            expected=expected.action_type,
            actual=statement.action_type,
        )
    if statement.target != expected.target:
        raise PolicyError(
            Reason.TARGET_MISMATCH,
            "The approval is for another target.",
            expected=expected.target,
            actual=statement.target,
        )
    if expected.parameters is not None and expected.parameters != statement.parameters:
        raise PolicyError(Reason.PARAMETERS_MISMATCH, "The approval is for other parameters.")
    approved_digests = frozenset(s.digest for s in statement.subjects if statement.has_artifacts)
    whole = expected.subjects == approved_digests
    part = bool(expected.subjects) and expected.subjects <= approved_digests
    if not (whole or (part and definition.use_unit == "subject")):
        raise PolicyError(
            Reason.ARTIFACT_MISMATCH,
            "What is about to be used is not what was approved: the digests differ.",
            path="/subject",
            expected=tuple(sorted(approved_digests)),
            actual=tuple(sorted(expected.subjects)),
        )
    return use_units_of(statement, definition, expected.subjects)


def use_units_of(
    statement: IntentStatement, definition: ActionDefinition, subjects: Set[str]
) -> tuple[str, ...]:
    """Returns what is used up: the action, or each subject where each is a use of its own."""
    # Without artifacts there is the action alone; nothing at all would be an approval that is never used up.
    if definition.use_unit == "subject" and statement.has_artifacts:
        return tuple(sorted(subjects))
    return ("action",)

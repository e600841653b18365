"""What an approval of the sign action says, and whether what is at hand is that (spec/15-use.md).

Pure: digests and bytes go in; what will be signed, piece by piece, comes out.
"""

from __future__ import annotations

from typing import NamedTuple

from placet.core.decode import read_choice, read_object, read_sha256, read_string
from placet.core.encoding import Digest, sha256_hex
from placet.core.errors import PolicyError, Reason
from placet.core.statement import IntentStatement
from placet.documents.signing import Artifact, read_statement
from placet.ports.artifact_signer import SignerIdentity

SIGN_ACTION = "https://placet.dev/actions/sign/v1"

_AT = "/predicate/action/parameters"


class SigningPlan(NamedTuple):
    """What a statement of the sign action says, in full.

    Args:
        artifacts: everything that was approved; fewer may be signed at a time, each once.
        statement_type: the predicate type of the statement to sign, "" where artifacts are signed.
        statement_digest: of the statement's bytes.
        signer: whom signatures must be by, None where the approval leaves that to the gate.
    """

    target: str
    artifacts: tuple[Artifact, ...]
    statement_type: str
    statement_digest: Digest | None
    signer: SignerIdentity | None


class Piece(NamedTuple):
    """What one signature is about: one artifact, or all of them where a statement is signed."""

    artifacts: tuple[Artifact, ...]
    statement: bytes | None


def plan_signing(statement: IntentStatement) -> SigningPlan:
    """Reads what a statement of the sign action says.

    Raises:
        PolicyError: ACTION_MISMATCH, EXECUTION_MISMATCH.
        MalformedError: its parameters are not those of the action.
    """
    if statement.action_type != SIGN_ACTION:
        raise PolicyError(
            Reason.ACTION_MISMATCH,
            "This approval is not for signing.",
            path="/predicate/action/type",
            expected=SIGN_ACTION,
            actual=statement.action_type,
            hint="Ask for the approval of a signature: placet request sign FILE --to TARGET",
        )
    parameters = read_object(statement.parameters, _AT, ["form"], optional=["statement", "signer"])
    form = read_choice(parameters["form"], f"{_AT}/form", ("artifact", "statement"))
    if (form == "statement") != ("statement" in parameters):
        raise mismatch("The approval names a statement if and only if one is signed.", f"{_AT}/statement")
    statement_type, statement_digest = "", None
    if form == "statement":
        at = f"{_AT}/statement"
        members = read_object(parameters["statement"], at, ["predicateType", "digest"])
        statement_type = read_string(members["predicateType"], f"{at}/predicateType")
        statement_digest = read_sha256(members["digest"], f"{at}/digest")
    signer = None
    if "signer" in parameters:
        members = read_object(parameters["signer"], f"{_AT}/signer", ["identity", "issuer"])
        signer = SignerIdentity(
            read_string(members["identity"], f"{_AT}/signer/identity"),
            read_string(members["issuer"], f"{_AT}/signer/issuer"),
        )
    return SigningPlan(statement.target, _read_artifacts(statement), statement_type, statement_digest, signer)


def _read_artifacts(statement: IntentStatement) -> tuple[Artifact, ...]:
    artifacts = []
    for subject in statement.subjects:
        algorithm, _, digest = subject.digest.partition(":")
        if algorithm != "sha256":
            raise mismatch(f"{subject.name!r} is not named by SHA-256, so it cannot be signed.", "/subject")
        artifacts.append(Artifact(subject.name, Digest(digest)))
    return tuple(artifacts)


def mismatch(message: str, path: str = "", expected: object = None, actual: object = None) -> PolicyError:
    """Returns the refusal to sign something else than was approved."""
    return PolicyError(
        Reason.EXECUTION_MISMATCH,
        message,
        path=path,
        expected=expected,
        actual=actual,
        hint="Nothing was signed. Bring what was approved, or request the approval of this.",
    )


def prepare_signing(
    plan: SigningPlan, digests: frozenset[Digest], statement: bytes | None
) -> tuple[Piece, ...]:
    """Returns what will be signed, piece by piece.

    Args:
        digests: of the artifacts at hand.
        statement: the statement's bytes, where one is to be signed.

    Raises:
        PolicyError: ARTIFACT_MISMATCH, EXECUTION_MISMATCH.
        MalformedError: the statement is none.
    """
    approved = frozenset(artifact.digest for artifact in plan.artifacts)
    if not digests or not digests <= approved:
        raise PolicyError(
            Reason.ARTIFACT_MISMATCH,
            "What is about to be signed is not what was approved: the digests differ.",
            path="/subject",
            expected=tuple(sorted(approved)),
            actual=tuple(sorted(digests)),
            hint="Nothing was signed. Bring the approved files, or request the approval of these.",
        )
    if plan.statement_digest is None:
        if statement is not None:
            raise mismatch("The approval is for signing artifacts, not for a statement about them.")
        return tuple(Piece((artifact,), None) for artifact in plan.artifacts if artifact.digest in digests)
    _check_statement(plan, digests, approved, statement)
    return (Piece(plan.artifacts, statement),)


def _check_statement(
    plan: SigningPlan, digests: frozenset[Digest], approved: frozenset[Digest], statement: bytes | None
) -> None:
    if statement is None:
        raise mismatch(
            f"The approval is for a statement of type {plan.statement_type}, and none was given.",
            f"{_AT}/statement",
        )
    if sha256_hex(statement) != plan.statement_digest:
        raise mismatch(
            "The statement is not the approved one: its bytes differ.",
            f"{_AT}/statement/digest",
            expected=f"sha256:{plan.statement_digest}",
            actual=f"sha256:{sha256_hex(statement)}",
        )
    predicate_type, subjects = read_statement(statement)
    if predicate_type != plan.statement_type:
        raise mismatch(
            "The statement is of another type than the approval says.",
            f"{_AT}/statement/predicateType",
            expected=plan.statement_type,
            actual=predicate_type,
        )
    if not subjects == approved == digests:  # people approved one statement about all of them
        raise mismatch(
            "The statement, the approval and the files at hand must be about the same artifacts.",
            "/subject",
            expected=tuple(sorted(approved)),
            actual=tuple(sorted(subjects)),
        )


def check_signer(plan: SigningPlan, signer: SignerIdentity) -> None:
    """Checks that signatures will be by whom people approved.

    Raises:
        PolicyError: EXECUTION_MISMATCH.
    """
    if plan.signer is not None and plan.signer != signer:
        raise PolicyError(
            Reason.EXECUTION_MISMATCH,
            "The signature would be by somebody else than the approval says.",
            path=f"{_AT}/signer",
            expected=f"{plan.signer.identity} ({plan.signer.issuer})",
            actual=f"{signer.identity} ({signer.issuer})",
            hint="Nothing was signed, nothing was used. Sign in as the approved identity.",
        )

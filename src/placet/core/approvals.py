"""From signatures to people: which signatures of a bundle count, and for whom (spec/13-approvals.md).

Unknown keys and failing signatures are ignored and reported, since anyone on the way can
append one.  A report that does not hold refuses the bundle: reports are made by our own
terminals and added by the one who assembles it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from placet.core.bundle import IntentBundle
from placet.core.dsse import Signature, pae
from placet.core.encoding import Digest, KeyId, sha256_hex
from placet.core.errors import PlacetError, PolicyError, Reason, VerificationError
from placet.core.levels import Circumstances, signature_level
from placet.core.people import Credential, Person, Terminal
from placet.core.report import Report, verify_report
from placet.core.signature import SignatureFacts, verify_sshsig
from placet.core.sshsig import NAMESPACE_INTENT
from placet.core.statement import IntentStatement
from placet.core.trust import Trust

if TYPE_CHECKING:
    from placet.core.tlog.decisions import LogFacts, LoggedDecision


class Approver(NamedTuple):
    """One counted signature.

    `decided_at` is in Unix seconds, 0 where no report says it; `logged` is where the log holds it, as proven.
    """

    person_id: str
    groups: tuple[str, ...]
    keyid: KeyId
    kind: str
    assurance: str
    level: int
    missing: tuple[str, ...]
    counter: int
    decided_at: int
    terminal_id: str
    logged: LoggedDecision | None = None


class Ignored(NamedTuple):
    """A signature that does not count, and why."""

    keyid: KeyId
    error: PlacetError


def verify_approvals(
    bundle: IntentBundle, statement: IntentStatement, *, trust: Trust, at: int, log: LogFacts | None = None
) -> tuple[tuple[Approver, ...], tuple[Ignored, ...]]:
    """Verifies every signature and report of a bundle.

    Args:
        at: when the credentials must be valid and the decisions must lie in the past, in Unix seconds.
        log: what the bundle's log proofs prove; without it, nothing is known to be logged.

    Returns:
        The signatures that count, and those that do not.

    Raises:
        MalformedError, VerificationError, PolicyError: a report does not hold.
    """
    digests = [sha256_hex(signature.sig) for signature in bundle.envelope.signatures]
    parsed = log.reports if log else ()
    reports = _verify_reports(bundle, digests, statement, parsed, trust=trust, at=at)
    # INV-1: the message is made from the very bytes that were parsed and rendered.
    message = pae(bundle.envelope.payload_type, statement.payload)
    counted: list[Approver] = []
    ignored: list[Ignored] = []
    evidence = frozenset(reference.digest for reference in statement.evidence)
    for signature, digest in zip(bundle.envelope.signatures, digests, strict=True):
        report, terminal = reports.get(digest, (None, None))
        try:
            facts, (person, credential) = _verify_one(signature, message, terminal, trust, at)
            around = Circumstances(statement.max_uses, evidence, report, log, digest)
            counted.append(_approver(person, credential, facts, around))
        except PlacetError as e:  # APR-01
            ignored.append(Ignored(signature.keyid, e))
    return tuple(counted), tuple(ignored)


def _verify_reports(
    bundle: IntentBundle,
    digests: list[Digest],
    statement: IntentStatement,
    parsed: tuple[Report, ...],
    *,
    trust: Trust,
    at: int,
) -> dict[str, tuple[Report, Terminal]]:
    """Returns the verified reports by the digest of the signature that they are about."""
    present = {digest: s.keyid for digest, s in zip(digests, bundle.envelope.signatures, strict=True)}
    reports: dict[str, tuple[Report, Terminal]] = {}
    versions: dict[str, int] = {}
    for i, envelope in enumerate(bundle.reports):
        known = parsed[i] if parsed else None
        report, terminal = verify_report(
            envelope, trust=trust, payload_digest=statement.payload_digest, parsed=known
        )
        about = report.signature_digest
        if present.get(about) != report.signature_keyid or about in reports:  # RPT-05
            raise VerificationError(
                Reason.REPORT_ORPHAN, "A report is about a signature that is not here, or is here twice."
            )
        if not statement.not_before <= report.decided_at < statement.expires_at or report.decided_at > at:
            raise PolicyError(  # RPT-06
                Reason.DECIDED_OUTSIDE_WINDOW,
                "The terminal says the decision was made outside the request's window, or in the future.",
                hint="Check the clocks of terminal and gate.",
            )
        reports[about] = (report, terminal)
        for role, version in report.trust_versions.items():
            if version > versions.get(role, 0):
                versions[role] = version
    if bundle.trust_versions != versions:  # BND-06
        raise VerificationError(
            Reason.REPORT_INVALID,
            "The bundle names other trust versions than its reports do.",
            path="/trust/versions",
        )
    return reports


def _verify_one(
    signature: Signature, message: bytes, terminal: Terminal | None, trust: Trust, at: int
) -> tuple[SignatureFacts, tuple[Person, Credential]]:
    found = trust.credentials.get(signature.keyid)
    if found is None:
        raise PolicyError(Reason.UNKNOWN_KEY, "No enrolled person has this key (any more).")  # APR-02
    person, credential = found
    _check_credential_time(credential, person, at)
    # RPT-07: a signature made on a page counts for the terminal whose page it was, and for no other.
    origins = trust.origins if terminal is None else terminal.origins
    facts = verify_sshsig(
        signature.sig,
        message=message,
        namespace=NAMESPACE_INTENT,
        key=credential.public_key,
        kind=credential.kind,
        origins=origins,
        require_uv=credential.uv,
        allow_backup=credential.backup == "allow",
    )
    return facts, found


def _check_credential_time(credential: Credential, person: Person, at: int) -> None:
    if not credential.not_before <= at < credential.not_after:  # APR-03
        raise PolicyError(
            Reason.CREDENTIAL_NOT_VALID,
            f"This key of {person.id} is not valid at this time.",
            hint="Enrol a new key with `placet trust enroll`.",
        )


def _approver(
    person: Person, credential: Credential, facts: SignatureFacts, around: Circumstances
) -> Approver:
    level, missing = signature_level(person.id, credential, facts, around)
    report = around.report
    return Approver(
        person_id=person.id,
        groups=person.groups,
        keyid=facts.keyid,
        kind=facts.kind,
        assurance=credential.assurance,
        level=level,
        missing=missing,
        counter=facts.counter,
        decided_at=report.decided_at if report else 0,
        terminal_id=report.terminal_id if report else "",
        logged=around.log.decisions.get(around.signature) if around.log else None,
    )

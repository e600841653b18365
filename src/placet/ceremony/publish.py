"""From answers to the bundle that a gate verifies.

Whoever assembles the bundle drops answers that would not count, so that one bad answer
from a hostile relay cannot spoil the good ones.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, NamedTuple

from placet.ceremony.decide import check_same_request
from placet.ceremony.second_touch import collect_links, layouts_of
from placet.core.approvals import Approver, verify_approvals
from placet.core.bundle import Answer, IntentBundle, IntentRequest, LogProof
from placet.core.dsse import MAX_SIGNATURES, PAYLOAD_TYPE, Envelope
from placet.core.encoding import Digest, sha256_hex
from placet.core.errors import PlacetError, PolicyError, Reason
from placet.core.evidence.requester import verify_requester
from placet.core.policy import Rule
from placet.core.quorum import evaluate_without_requester
from placet.core.report import parse_report
from placet.core.rules import applicable_rules, check_rule_quorum, reached_level
from placet.core.statement import IntentStatement, parse_statement
from placet.core.trust import Trust
from placet.ports.evidence_verifier import NO_EVIDENCE, EvidenceVerifier

if TYPE_CHECKING:
    from placet.core.tlog.decisions import LogFacts, LoggedDecision


class Progress(NamedTuple):
    """How far a request has come, as this machine's own trust sees it.

    `refusal` is why the quorum is not met yet, or None when it is; `dropped` are answers that do not count.
    `without_link` are the people whose approval counts, and whose in-toto link a rule's layout still lacks.
    `unlogged` are those whose approval the trust root's log is not proven to hold yet, as well witnessed as
    its policy asks.
    """

    bundle: IntentBundle
    approvers: tuple[Approver, ...]
    denied_by: tuple[str, ...]
    dropped: tuple[PlacetError, ...]
    refusal: PlacetError | None
    level: int
    without_link: tuple[str, ...] = ()
    unlogged: tuple[str, ...] = ()


def empty_bundle(request: IntentRequest) -> IntentBundle:
    """Returns the bundle of a request that nobody has answered."""
    return IntentBundle(Envelope(request.payload, PAYLOAD_TYPE, ()), (), request.evidence, {})


def add_answer(bundle: IntentBundle, answer: Answer) -> IntentBundle:
    """Adds one approval to a bundle about the same bytes; the same key's earlier approval is replaced.

    Raises:
        PolicyError: TOO_MANY.
        MalformedError: the report is malformed.
    """
    (signature,) = answer.envelope.signatures
    signatures = [s for s in bundle.envelope.signatures if s.keyid != signature.keyid]
    reports = [r for r in bundle.reports if parse_report(r.payload).signature_keyid != signature.keyid]
    if len(signatures) >= MAX_SIGNATURES:
        raise PolicyError(Reason.TOO_MANY, f"A bundle holds at most {MAX_SIGNATURES} signatures.")
    reports.append(answer.report)
    versions: dict[str, int] = {}
    for report in reports:
        for role, version in parse_report(report.payload).trust_versions.items():
            versions[role] = max(version, versions.get(role, 0))
    envelope = bundle.envelope._replace(signatures=(*signatures, signature))
    links = tuple(k for k in bundle.links if signature.keyid not in {s.keyid for s in k.signatures})
    if answer.link is not None:
        links = (*links, answer.link)
    return bundle._replace(envelope=envelope, reports=tuple(reports), trust_versions=versions, links=links)


def split_bundle(bundle: IntentBundle) -> tuple[Answer, ...]:
    """Returns the answers that a bundle was made of; signatures without a report are left out."""
    reports = {parse_report(report.payload).signature_keyid: report for report in bundle.reports}
    links = {signature.keyid: link for link in bundle.links for signature in link.signatures}
    return tuple(
        Answer(
            bundle.envelope._replace(signatures=(signature,)),
            reports[signature.keyid],
            links.get(signature.keyid),
        )
        for signature in bundle.envelope.signatures
        if signature.keyid in reports
    )


def assemble(
    request: IntentRequest,
    answers: Iterable[Answer],
    *,
    trust: Trust,
    now: int,
    evidence: EvidenceVerifier = NO_EVIDENCE,
    proofs: Iterable[LogProof] = (),
) -> Progress:
    """Builds the bundle from all answers that count, and says what is still missing.

    Args:
        answers: as they came from the relay, which may have altered or invented them.
        proofs: log proofs, no more to be trusted; of several that hold for one signature the best stays.
        now: Unix seconds.
        evidence: verifies what the request carries.

    Raises:
        MalformedError, VerificationError, PolicyError: the request itself could never be approved.
    """
    statement = parse_statement(request.payload)
    rules = applicable_rules(statement, trust)
    requester = _verify_requester(request, statement, trust, now, evidence)
    answers = tuple(answers)
    bundle, denied_by, dropped = empty_bundle(request), [], []
    for answer in answers:
        try:
            decision, person = _judge(answer, request, trust, now)
            if decision == "deny":
                denied_by.append(person)
            else:
                bundle = add_answer(bundle, answer)
        except PlacetError as e:
            dropped.append(e)
    bundle, log, refused = add_proofs(bundle, proofs, trust=trust)
    dropped += refused
    approvers, _ = verify_approvals(bundle, statement, trust=trust, at=now, log=log)
    refusal: PlacetError | None = None
    try:
        for rule in rules:
            check_rule_quorum(rule, approvers, (), requester)
    except PolicyError as e:
        refusal = e
    level = reached_level(rules, approvers, requester)
    links, without_link = _links(answers, approvers, rules, statement, trust)
    return Progress(
        bundle=bundle._replace(links=links),
        approvers=approvers,
        denied_by=tuple(dict.fromkeys(denied_by)),
        dropped=tuple(dropped),
        refusal=refusal,
        level=level,
        without_link=without_link,
        unlogged=_unlogged(bundle, approvers, log, trust),
    )


def add_proofs(
    bundle: IntentBundle, proofs: Iterable[LogProof], *, trust: Trust
) -> tuple[IntentBundle, LogFacts | None, list[PlacetError]]:
    """Adds the log proofs that hold under the trust root's log policy.

    Args:
        proofs: of several that hold for one signature the best witnessed stays, the last of equals; those of
            other signatures are left out.

    Returns:
        The bundle, what its proofs prove, and why proofs of its signatures were left out.
    """
    candidates = (*bundle.log, *proofs)
    if trust.log_policy is None or not candidates:
        return bundle, None, []
    from placet.core.tlog.decisions import LogFacts, verify_log

    here = dict.fromkeys(sha256_hex(signature.sig) for signature in bundle.envelope.signatures)
    payload = sha256_hex(bundle.envelope.payload)
    kept: dict[Digest, LogProof] = {}
    decisions: dict[Digest, LoggedDecision] = {}
    refused: list[PlacetError] = []
    for candidate in candidates:
        if candidate.signature_digest not in here:
            continue
        alone = bundle._replace(log=(candidate,))
        try:
            found = verify_log(alone, policy=trust.log_policy, payload_digest=payload)
        except PlacetError as e:  # one bad proof from a relay must not spoil the bundle
            refused.append(e)
            continue
        for digest, decision in found.decisions.items():
            if digest not in decisions or _witnessing(decision) >= _witnessing(decisions[digest]):
                decisions[digest], kept[digest] = decision, candidate
    bundle = bundle._replace(log=tuple(kept[digest] for digest in here if digest in kept))
    # Each was verified alone; together they prove the same.
    return bundle, LogFacts(decisions, {}), refused


def _witnessing(decision: LoggedDecision) -> tuple[bool, int]:
    """Returns how well a decision is witnessed, to be compared."""
    return decision.has_quorum, len(decision.witnesses)


def _unlogged(
    bundle: IntentBundle, approvers: tuple[Approver, ...], log: LogFacts | None, trust: Trust
) -> tuple[str, ...]:
    """Returns whose approval is not in the log yet, as well witnessed as the trust root's policy asks."""
    policy = trust.log_policy
    if policy is None:
        return ()
    signatures = {signature.keyid: sha256_hex(signature.sig) for signature in bundle.envelope.signatures}
    people = set()
    for approver in approvers:
        decision = log.decisions.get(signatures[approver.keyid]) if log else None
        # A policy may name witnesses and ask for no quorum of them; one is what level 3 needs.
        seen = decision is not None and (decision.witnesses or not policy.witnesses)
        if decision is None or not seen or not policy.is_quorum(decision.witnesses):
            people.add(approver.person_id)
    return tuple(sorted(people))


def _judge(answer: Answer, request: IntentRequest, trust: Trust, now: int) -> tuple[str, str]:
    """Returns what an answer decides, and who decided it."""
    decision = check_same_request(answer, request)
    candidate = add_answer(
        empty_bundle(request)._replace(envelope=answer.envelope._replace(signatures=())), answer
    )
    said = parse_statement(answer.envelope.payload)
    counted, ignored = verify_approvals(candidate, said, trust=trust, at=now)
    if ignored:
        raise ignored[0].error
    return decision, counted[0].person_id


def _links(
    answers: tuple[Answer, ...],
    approvers: tuple[Approver, ...],
    rules: tuple[Rule, ...],
    statement: IntentStatement,
    trust: Trust,
) -> tuple[tuple[Envelope, ...], tuple[str, ...]]:
    """Returns the links that hold, and who approved without one, where a rule's layout asks for links."""
    links = collect_links(answers, {a.keyid: a.decided_at for a in approvers}, statement, trust)
    linked = {signature.keyid for link in links for signature in link.signatures}
    missing = {a.person_id for a in approvers if a.keyid not in linked} if layouts_of(rules) else set()
    return links, tuple(sorted(missing))


def can_be_met_without(
    absent: Collection[str],
    request: IntentRequest,
    *,
    trust: Trust,
    now: int,
    evidence: EvidenceVerifier = NO_EVIDENCE,
) -> bool:
    """Returns whether the people who are enrolled, without those absent, could still meet every quorum.

    Levels and terminals are ignored: somebody may yet sign with another key, or elsewhere.

    Args:
        absent: the people who said no.
        now: Unix seconds.
        evidence: verifies what the request carries.

    Raises:
        MalformedError, VerificationError, PolicyError: the request itself could never be approved.
    """
    if not absent:
        return True
    statement = parse_statement(request.payload)
    requester = _verify_requester(request, statement, trust, now, evidence)
    people = {
        person.id: person.groups
        for person in trust.people
        if person.id not in absent and any(c.not_before <= now < c.not_after for c in person.credentials)
    }
    return all(
        evaluate_without_requester(rule, people, requester).met for rule in applicable_rules(statement, trust)
    )


def _verify_requester(
    request: IntentRequest, statement: IntentStatement, trust: Trust, now: int, evidence: EvidenceVerifier
) -> str | None:
    facts = evidence.verify(statement, request.evidence, trust=trust)
    return verify_requester(statement, request.evidence, trust=trust, at=now, facts=facts)

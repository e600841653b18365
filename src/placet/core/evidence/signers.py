"""Whether a fact was signed by somebody whom a rule names (spec/17-evidence.md)."""

from __future__ import annotations

from collections.abc import Iterable

from placet.core.errors import Reason
from placet.core.evidence.facts import EvidenceFact, Signer
from placet.core.evidence.options import DEFAULT_INSTANCES, SignerRule
from placet.core.evidence.refusals import first_that_passes, unmet
from placet.core.patterns import matches


def check_signed_by_any(rules: Iterable[SignerRule], fact: EvidenceFact) -> None:
    """Checks that one of these signed the fact, and that the signature was logged where it must be (EVD-05).

    Raises:
        PolicyError: EVIDENCE_SIGNER, EVIDENCE_NOT_LOGGED.
    """
    first_that_passes(rules, lambda rule: check_signer(rule, fact))


def check_signer(rule: SignerRule, fact: EvidenceFact) -> None:
    """Checks one signer.

    Raises:
        PolicyError: EVIDENCE_SIGNER, EVIDENCE_NOT_LOGGED.
    """
    signer = fact.signer or Signer("")
    if rule.key:
        good = signer.kind == "key" and signer.key_digest == rule.key
    else:
        named = rule.identity == signer.identity if rule.exact else matches(rule.identity, signer.identity)
        good = signer.kind == "certificate" and signer.issuer == rule.issuer and named
    if not good:
        raise unmet(
            Reason.EVIDENCE_SIGNER,
            f"This {fact.kind} was signed by {say_signer(signer)}, whom the rule does not name.",
            expected=rule.key or f"{rule.identity} ({rule.issuer})",
            actual=say_signer(signer),
        )
    check_standing(fact, rule.instance, unlogged=rule.unlogged)


def check_standing(fact: EvidenceFact, instance: str, *, unlogged: bool) -> None:
    """Checks which authorities vouched for a certificate, and that a log has its signature (EVD-05).

    An own Sigstore may name anybody in a certificate, so it speaks only where a rule asks it.

    Raises:
        PolicyError: EVIDENCE_SIGNER, EVIDENCE_NOT_LOGGED.
    """
    signer = fact.signer
    if signer is None or signer.kind != "certificate":
        return
    if signer.instance not in ({instance} if instance else DEFAULT_INSTANCES):
        raise unmet(
            Reason.EVIDENCE_SIGNER,
            f"The certificate of this {fact.kind} is of another Sigstore instance than the rule accepts.",
            expected=instance or "public-good",
            actual=signer.instance,
            hint=f'If that instance should count, the rule says instance = "{signer.instance}".',
        )
    if not fact.logged and not unlogged:
        raise unmet(
            Reason.EVIDENCE_NOT_LOGGED, f"No entry of a transparency log was verified for this {fact.kind}."
        )


def say_signer(signer: Signer) -> str:
    """Names a signer for a message."""
    if signer.kind == "certificate":
        return f"{signer.identity} ({signer.issuer})"
    return f"the key {signer.key_digest}" if signer.kind == "key" else signer.kind or "nobody known"

"""Whether a fact was signed by somebody whom a rule names (spec/17-evidence.md)."""

from __future__ import annotations

from collections.abc import Iterable

from placet.core.errors import PlacetError, PolicyError, Reason
from placet.core.evidence.facts import EvidenceFact, Signer
from placet.core.evidence.options import DEFAULT_INSTANCES, SignerRule
from placet.core.patterns import matches


def check_signed_by_any(rules: Iterable[SignerRule], fact: EvidenceFact) -> None:
    """Checks that one of these signed the fact, and that the signature was logged where it must be (EVD-05).

    Raises:
        PolicyError: EVIDENCE_SIGNER, EVIDENCE_NOT_LOGGED.
    """
    refusals: list[PlacetError] = []
    for rule in rules:
        try:
            check_signer(rule, fact)
        except PolicyError as e:
            refusals.append(e)
        else:
            return
    # Whoever is the right signer with another fault says more than all the wrong ones.
    telling = [e for e in refusals if e.reason is not Reason.EVIDENCE_SIGNER]
    raise (telling or refusals)[0]


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
        raise PolicyError(
            Reason.EVIDENCE_SIGNER,
            f"This {fact.kind} was signed by {say_signer(signer)}, whom the rule does not name.",
            expected=rule.key or f"{rule.identity} ({rule.issuer})",
            actual=say_signer(signer),
            hint="Ask again with evidence by a signer that the rule names; if this one is right, an "
            "administrator adds it to the rule.",
        )
    check_instance(rule.instance, signer, fact.kind)
    check_logged(fact, unlogged=rule.unlogged)


def check_instance(instance: str, signer: Signer, kind: str) -> None:
    """Checks which authorities vouched for a certificate (EVD-05).

    An own Sigstore may name anybody in a certificate, so it speaks only where a rule asks it.

    Raises:
        PolicyError: EVIDENCE_SIGNER.
    """
    if signer.kind == "certificate" and signer.instance not in (
        {instance} if instance else DEFAULT_INSTANCES
    ):
        raise PolicyError(
            Reason.EVIDENCE_SIGNER,
            f"The certificate of this {kind} is of another Sigstore instance than the rule accepts.",
            expected=instance or "public-good",
            actual=signer.instance,
            hint=f'If that instance should count, the rule says instance = "{signer.instance}".',
        )


def check_logged(fact: EvidenceFact, *, unlogged: bool) -> None:
    """Checks that a certificate's signature is in a transparency log, unless the rule does without (EVD-05).

    Raises:
        PolicyError: EVIDENCE_NOT_LOGGED.
    """
    if fact.signer is not None and fact.signer.kind == "certificate" and not fact.logged and not unlogged:
        raise PolicyError(
            Reason.EVIDENCE_NOT_LOGGED,
            f"This {fact.kind} has no verified entry in a transparency log.",
            hint="Use evidence with its log entry. For an instance without a public log, such as GitHub's "
            "own, an administrator writes unlogged = true into the rule.",
        )


def say_signer(signer: Signer) -> str:
    """Names a signer for a message."""
    if signer.kind == "certificate":
        return f"{signer.identity} ({signer.issuer})"
    if signer.kind == "key":
        return f"the key {signer.key_digest[:16]}…"
    if signer.kind == "functionaries":
        return "the functionaries of a layout"
    return "nobody known"

"""Verifies the tokens by which OIDC issuers say who asks (spec/12-requester.md, REQ-05).

Implements `placet.ports.evidence_verifier.EvidenceVerifier` for evidence of the token's media type; other
evidence is left to others.  Nothing of JOSE is imported before there is a token.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from placet.core.errors import IndeterminateError, Reason, VerificationError, visible
from placet.core.evidence.facts import Evidence, EvidenceFact, Identity
from placet.core.evidence.requester import TOKEN_MEDIA_TYPE, TOKEN_NAME, parse_token
from placet.core.statement import IntentStatement
from placet.core.trust import Trust
from placet.documents.issuers import ISSUERS_FILE

# Clocks of issuer and requester differ a little; more would only widen what an old token can do.
_LEEWAY_SECONDS = 60
_MAX_SUBJECT = 500


class TokenVerifier:
    """Verifies requesters' tokens with the issuers' keys that lie beside the trust snapshot."""

    def __init__(self, snapshot: Path) -> None:
        """Names the snapshot; nothing is read before it is needed."""
        self._snapshot = snapshot

    def verify(
        self, statement: IntentStatement, evidence: tuple[Evidence, ...], *, trust: Trust
    ) -> tuple[EvidenceFact, ...]:
        """Returns one fact for each token.

        Raises:
            VerificationError: REQUEST_PROOF_INVALID.
            IndeterminateError: EVIDENCE_NOT_VERIFIED: the issuer's keys are not here.
            MalformedError: the evidence is no token.
        """
        tokens = [item for item in evidence if item.media_type == TOKEN_MEDIA_TYPE]
        return tuple(self._verify(item, statement, trust) for item in tokens)

    def _verify(self, item: Evidence, statement: IntentStatement, trust: Trust) -> EvidenceFact:
        wanted = trust.files.get(ISSUERS_FILE)
        if wanted is None:
            raise VerificationError(
                Reason.REQUEST_PROOF_INVALID,
                "A token says who asks, but the trust root names no issuer.",
                hint="An administrator adds one with `placet trust add-issuer`; or ask without a token.",
            )
        try:
            from placet.adapters.oidc import _jose
        except ModuleNotFoundError as e:
            raise IndeterminateError(
                Reason.EVIDENCE_NOT_VERIFIED,
                "A token says who asks, and the library that verifies tokens is not installed here.",
                hint="Install it with: pip install 'placet[oidc]'",
            ) from e
        from placet.adapters.oidc.keys import load_issuers

        _, token = parse_token(item.content)
        claims, issuer = _jose.verify_token(token, load_issuers(self._snapshot, wanted))
        _check_times(claims, statement.issued_at)
        audience = claims.get("aud")
        if isinstance(audience, list) and len(audience) == 1:
            audience = audience[0]
        subject = claims.get(issuer.person_claim)
        if isinstance(subject, int) and not isinstance(subject, bool):
            subject = str(subject)
        if (
            not isinstance(audience, str)
            or not isinstance(subject, str)
            or not 0 < len(subject) <= _MAX_SUBJECT
        ):
            raise invalid_token(
                f"The token has not exactly one audience, or no claim {issuer.person_claim!r}."
            )
        for name, value in issuer.claims.items():
            if claims.get(name) != value:
                raise invalid_token(
                    f"The token's claim {name!r} is not {value!r}, as the trust root requires."
                )
        return EvidenceFact(TOKEN_NAME, item.digest, frozenset(), Identity(issuer.issuer, subject, audience))


def _check_times(claims: dict[str, Any], issued_at: int) -> None:
    begins, ends = _time(claims, "nbf" if "nbf" in claims else "iat"), _time(claims, "exp")
    if not begins - _LEEWAY_SECONDS <= issued_at < ends + _LEEWAY_SECONDS:
        raise invalid_token("The token was not valid when the request was issued.")


def _time(claims: dict[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise invalid_token(f"The token has no time {name!r}.")
    return value


def invalid_token(message: str) -> VerificationError:
    """Returns the refusal of a token that proves nothing."""
    return VerificationError(
        Reason.REQUEST_PROOF_INVALID, visible(message), hint="Ask again, with a fresh token."
    )

"""JSON Web Signatures, by joserfc: the one place that knows the library."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from placet.adapters.oidc.keys import KnownIssuer
from placet.adapters.oidc.tokens import invalid_token
from placet.core.decode import Object
from placet.core.errors import IndeterminateError, Reason, visible
from placet.documents.issuers import Issuer

_KEY_CLASSES: dict[str, type[RSAKey | ECKey | OKPKey]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}
# Shorter ones can be factored; issuers use 2048 bits and more.
_MIN_RSA_BITS = 2048


def verify_token(token: str, issuers: Sequence[KnownIssuer]) -> tuple[dict[str, Any], Issuer]:
    """Verifies a token's signature and returns its claims, with the issuer that made it.

    Times, audience and required claims are the caller's to check.

    Raises:
        VerificationError: REQUEST_PROOF_INVALID: no signature of a known issuer.
        IndeterminateError: EVIDENCE_NOT_VERIFIED: the issuer's key with that ID is not known here.
    """
    try:
        seen = jws.extract_compact(token.encode())
        claimed = _read_claims(seen.payload)
        header = seen.headers()
    except (JoseError, ValueError, RecursionError) as e:
        raise invalid_token("The token is no signed JWT.") from e
    known = next((item for item in issuers if item.issuer.issuer == claimed.get("iss")), None)
    if known is None:
        raise invalid_token(
            f"The token is of the issuer {claimed.get('iss')!r:.200}, which the trust root does not name."
        )
    keys = [key for key in known.keys if header.get("kid") in (None, key.get("kid"))]
    if not keys:
        raise IndeterminateError(
            Reason.EVIDENCE_NOT_VERIFIED,
            visible(f"The token is signed with a key of {known.issuer.issuer} that is not known here."),
            hint="`placet trust refresh` fetches the issuer's keys.",
        )
    for key in keys:
        try:
            verified = jws.deserialize_compact(token, _import(key), list(known.issuer.algorithms))
            return _read_claims(verified.payload), known.issuer
        except (JoseError, UnsupportedAlgorithm, ValueError, TypeError, KeyError, RecursionError):
            continue  # a key of another kind, or one that the issuer lists and nobody can use
    raise invalid_token(f"The token's signature is not one of {known.issuer.issuer}.")


def _import(key: Object) -> RSAKey | ECKey | OKPKey:
    imported = _KEY_CLASSES[key["kty"]].import_key(key)
    if isinstance(imported, RSAKey) and imported.public_key.key_size < _MIN_RSA_BITS:
        raise ValueError("the RSA key is too short")
    return imported


def _read_claims(payload: bytes) -> dict[str, Any]:
    # A member that stands there twice means different things to different readers.
    value = json.loads(payload, object_pairs_hook=_refuse_duplicates)
    if not isinstance(value, dict):
        raise ValueError("the claims are no object")
    return value


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a claim stands there twice")
    return members

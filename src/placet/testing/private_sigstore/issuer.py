"""OIDC tokens: the issuer's own, and those of GitHub Actions, whose keys this private Sigstore plays."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives import serialization
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from placet.testing.private_sigstore.fulcio import Refused
from placet.testing.private_sigstore.identities import GITHUB_ISSUER
from placet.testing.private_sigstore.keys import Seed

AUDIENCE = "sigstore"
_ALGORITHM = "ES256"
_LIFETIME = 600


class TokenIssuers:
    """The issuers that Fulcio trusts, each with a key of its own.

    A token of one issuer never passes for another's, however its claims read.
    """

    def __init__(self, seed: Seed, clock: Callable[[], float], address: str) -> None:
        self.address = address
        self._clock = clock
        self._keys = {
            issuer: _jwk(seed, f"oidc {number}") for number, issuer in enumerate((address, GITHUB_ISSUER))
        }

    def token(self, claims: dict[str, Any]) -> str:
        """Returns a token valid for ten minutes; `claims` replace ours, `iss` chooses the issuer."""
        now = int(self._clock())
        said = {"iss": self.address, "aud": AUDIENCE, "iat": now, "nbf": now - 5, "exp": now + _LIFETIME}
        said |= claims
        key = self._keys[str(said["iss"])]
        header = {"alg": _ALGORITHM, "kid": str(key.kid)}
        return jws.serialize_compact(header, json.dumps(said).encode(), key, [_ALGORITHM])

    def read(self, token: str) -> dict[str, Any]:
        """Returns the claims of a token for Fulcio.

        Raises:
            Refused: signature, issuer, audience or time are not right.
        """
        try:
            claimed = str(json.loads(jws.extract_compact(token.encode()).payload)["iss"])
            claims = dict(jwt.decode(token, self._keys[claimed], algorithms=[_ALGORITHM]).claims)
            in_time = int(claims.get("nbf", 0)) <= self._clock() < int(claims["exp"])
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise Refused(f"the identity token is false: {type(error).__name__}") from error
        if claims.get("aud") != AUDIENCE or not in_time:
            raise Refused("the identity token is for somebody else, or its time is over")
        return claims

    def jwks(self) -> dict[str, Any]:
        """Returns the public key of the own issuer."""
        return {"keys": [self._keys[self.address].as_dict(private=False, use="sig", alg=_ALGORITHM)]}


def _jwk(seed: Seed, name: str) -> ECKey:
    pem = seed.key(name).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return ECKey.import_key(pem, {"kid": name.replace(" ", "-")})

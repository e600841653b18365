"""What a signing gate signs with, once people have approved.

Obligations of an implementation:

- It holds an identity that was certified already (`open` did so); making a signature needs nothing that
  could have been learned before the use was consumed, so that little can fail afterwards.
- `signer` is what verifiers will read from the certificate, not what a token claimed.
- Nothing is signed before `sign_digest` or `sign_statement` is called, and what they return has been
  verified as others will verify it.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from placet.core.encoding import Digest
from placet.core.errors import IndeterminateError, Reason


class SigningError(IndeterminateError):
    """Signing could not go on; nothing is wrong with the approval."""


class SigningUnavailableError(SigningError):
    """There is no identity or no certificate: nothing was signed, and nothing was used."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(Reason.SIGNING_UNAVAILABLE, message, hint=hint)


class SigningUnfinishedError(SigningError):
    """The use is consumed and no whole signature came of it; a log may hold a part of one."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(Reason.SIGNING_UNFINISHED, message, hint=hint)


class SignerIdentity(NamedTuple):
    """Whom signatures will be by: the certificate's name, and the issuer who vouched for it."""

    identity: str
    issuer: str


class ArtifactSigner(Protocol):
    """An identity that can sign now."""

    @property
    def signer(self) -> SignerIdentity:
        """Whom signatures will be by."""
        ...

    def sign_digest(self, digest: Digest) -> bytes:
        """Signs an artifact by its SHA-256; returns a Sigstore bundle.

        Raises:
            SigningUnfinishedError: no whole signature came of it.
        """
        ...

    def sign_statement(self, payload: bytes) -> bytes:
        """Signs an in-toto statement, these very bytes; returns a Sigstore bundle.

        Raises:
            SigningUnfinishedError: no whole signature came of it.
        """
        ...

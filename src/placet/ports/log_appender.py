"""The log, as a gate needs it: hand in the record of a use, and have it proven (spec/15-use.md).

Obligations of an implementation:

- It may be called again with the same record, whose leaf the log then holds once.
- What it returns is the log's word: the gate verifies checkpoint and proof by the trust root's log policy,
  so an implementation judges neither.
- Every failure is a `PlacetError`: LOG_UNAVAILABLE where nothing is known and trying again makes sense,
  LOG_REFUSED where the log does not take the record and will not.
- It waits for a bounded time; a gate stands still meanwhile.
"""

from __future__ import annotations

from typing import Protocol

from placet.core.verdict.keys import GatePublicKey


class LogAppender(Protocol):
    """One log that takes records."""

    def fetch_checkpoint(self) -> bytes:
        """Returns the newest checkpoint, a signed note.

        Raises:
            PlacetError: LOG_UNAVAILABLE, LOG_REFUSED.
        """
        ...

    def append(self, record: bytes) -> object:
        """Hands in a record; when this returns, the log says that it holds it durably.

        Raises:
            PlacetError: LOG_UNAVAILABLE, LOG_REFUSED.
        """
        ...

    def fetch_proof(self, leaf_hash: bytes) -> str:
        """Returns a leaf's proof as the text of a C2SP tlog-proof.

        Raises:
            PlacetError: LOG_UNAVAILABLE, LOG_REFUSED.
        """
        ...


class LogOpener(Protocol):
    """Opens the log at an address that the trust root names; opening it asks it nothing."""

    def __call__(self, url: str, *, patient: bool) -> LogAppender:
        """Returns the log.

        Args:
            url: as the log policy has it.
            patient: whether somebody waits for the answer before acting; otherwise a log that does not answer
                at once is left for later.

        Raises:
            PlacetError: BAD_VALUE: no log can be at this address.
        """
        ...


class UseSigner(Protocol):
    """The gate's use key."""

    @property
    def public(self) -> GatePublicKey:
        """The public half, as it stands in the trust root."""
        ...

    def sign_message(self, message: bytes) -> bytes:
        """Returns a DER-encoded ECDSA signature with SHA-256."""
        ...

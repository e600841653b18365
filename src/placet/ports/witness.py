"""Witnesses: whoever signs that a log only ever grew, as far as they saw it (C2SP tlog-witness).

Witnesses are other people's machines.  What one answers counts after its cosignature was verified over the
very checkpoint that was sent; its refusals are its word, and no proof of anything.
"""

from __future__ import annotations

from typing import Protocol

from placet.core.errors import IndeterminateError, PolicyError
from placet.core.tlog.note import NoteSignature


class WitnessUnavailableError(IndeterminateError):
    """The witness cannot be reached, is in trouble of its own, or answers with nonsense: LOG_UNAVAILABLE."""


class WitnessRefusedError(PolicyError):
    """The witness does not cosign this, and trying the same again is of no use: WITNESS_REFUSED.

    Attributes:
        status: the HTTP status code.
    """

    status: int = 0

    @property
    def denies_consistency(self) -> bool:
        """Whether it says that the checkpoint contradicts what it saw before."""
        return self.status == 422


class WitnessConflictError(WitnessRefusedError):
    """The witness last saw another size than the proof starts from.

    Attributes:
        tree_size: the size that it saw last, as it says.
    """

    tree_size: int = 0


class Witness(Protocol):
    """One witness.

    Obligations:

    - What is asked is bounded in time, and what comes back in size, whatever the witness does.
    - Nothing of the answer is verified: the caller holds it against the witness's key and the checkpoint.
    - Asking the same again is harmless.
    """

    @property
    def address(self) -> str:
        """Where it is asked, as it may be shown."""
        ...

    async def add_checkpoint(
        self, old_size: int, proof: tuple[bytes, ...], checkpoint: bytes
    ) -> tuple[NoteSignature, ...]:
        """Asks for cosignatures.

        Args:
            old_size: the size that the witness last saw, or 0.
            proof: that the checkpoint's tree starts with the tree of that size.
            checkpoint: the signed note.

        Returns:
            Signature lines, unverified.

        Raises:
            WitnessConflictError: it last saw another size.
            WitnessRefusedError: it does not know the log or its key, or the proof does not hold for it.
            WitnessUnavailableError: no usable answer came in time.
        """
        ...

    async def close(self) -> None:
        """Lets go of the connections."""
        ...

"""What verification of signed evidence finds out, whoever did it."""

from __future__ import annotations

from typing import NamedTuple

from placet.core.evidence.facts import Signer


class Verified(NamedTuple):
    """What was verified: who signed what, when, and whether a log has it.

    Args:
        payload: the envelope's payload, None where an artifact was signed.
        digest: the artifact's SHA-256 in hex, "" for an envelope.
    """

    signer: Signer
    signed_at: int
    logged: bool
    payload_type: str = ""
    payload: bytes | None = None
    digest: str = ""

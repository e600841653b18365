"""Timestamps (RFC 3161) for the lean verifier: rfc3161-client judges them, as it does for sigstore-python.

Leaves out: the authority's accuracy, order and policy, as sigstore-python does.
"""

from __future__ import annotations

from datetime import datetime

from rfc3161_client import Verifier, decode_timestamp_response

from placet.adapters.sigstore.lean_roots import Period


def verify_timestamp(
    stamp: bytes, message: bytes, authorities: tuple[tuple[Period, Verifier], ...]
) -> datetime:
    """Returns when the one authority that counted then has stamped the message.

    Raises:
        Exception: it did not, or the timestamp cannot be read.
    """
    response = decode_timestamp_response(stamp)
    time: datetime = response.tst_info.gen_time
    (verifier,) = (verifier for period, verifier in authorities if time in period)
    verifier.verify_message(response, message)
    return time

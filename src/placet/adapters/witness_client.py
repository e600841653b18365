"""Asks one witness for cosignatures over HTTP (https://c2sp.org/tlog-witness)."""

from __future__ import annotations

import os

from placet.adapters.bounded_async_http import AsyncBoundedHttp
from placet.adapters.bounded_http import HttpError, Reply, check_address
from placet.adapters.witness_protocol import (
    MAX_ANSWER_BYTES,
    SIZE_MEDIA_TYPE,
    AddCheckpoint,
    encode_add_checkpoint,
    parse_conflict,
)
from placet.core.errors import MalformedError, Reason
from placet.core.tlog.note import NoteSignature, parse_signatures
from placet.ports.witness import (
    Witness,
    WitnessConflictError,
    WitnessRefusedError,
    WitnessUnavailableError,
)

# A witness answers in milliseconds; this leaves room for a far one, a cold start and a bastion between.
DEFAULT_SECONDS = 10.0
_ASK_OPERATOR = "Ask the witness's operator."
_REFUSALS = {
    400: ("finds the request malformed", "It may follow another version of the protocol."),
    403: (
        "does not know the key that signed the checkpoint",
        "Its operator enters the log's key: placet witness add-log VKEY",
    ),
    404: ("does not know this log", "Its operator enters the log's key: placet witness add-log VKEY"),
    422: ("says that the checkpoint contradicts what it saw before", _ASK_OPERATOR),
}
# Later, the same request may be answered.
_LATER = frozenset({408, 425, 429})


class WitnessClient(Witness):
    """One witness at a submission prefix.  Close it with `close`.

    Args:
        url: the submission prefix.
        seconds: how long a call may take.
        ca_file: a PEM file with the authorities to believe, where they are your own.

    Raises:
        MalformedError: BAD_VALUE where the address is none.
    """

    def __init__(
        self,
        url: str,
        *,
        seconds: float = DEFAULT_SECONDS,
        ca_file: str | os.PathLike[str] | None = None,
    ) -> None:
        self._url = check_address(url, "a witness", "http://127.0.0.1:8473")
        self._seconds = seconds
        self._http = AsyncBoundedHttp(self._url, ca_file=ca_file)

    @property
    def address(self) -> str:
        """See `Witness`."""
        return self._url

    async def close(self) -> None:
        """See `Witness`."""
        await self._http.close()

    async def add_checkpoint(
        self, old_size: int, proof: tuple[bytes, ...], checkpoint: bytes
    ) -> tuple[NoteSignature, ...]:
        """See `Witness`."""
        try:
            reply = await self._http.send(
                "POST",
                "add-checkpoint",
                seconds=self._seconds,
                max_bytes=MAX_ANSWER_BYTES,
                content=encode_add_checkpoint(AddCheckpoint(old_size, proof, checkpoint)),
            )
        except HttpError as e:
            raise WitnessUnavailableError(Reason.LOG_UNAVAILABLE, str(e), hint=e.hint) from e
        if reply.status != 200:
            raise self._refusal(reply)
        try:
            return parse_signatures(reply.body)
        except MalformedError as e:
            raise self._nonsense(f"something that is no list of signatures: {e.message}") from e

    def _refusal(self, reply: Reply) -> Exception:
        if reply.status == 409:
            return self._conflict(reply)
        if reply.status in _REFUSALS:
            what, hint = _REFUSALS[reply.status]
            refused = WitnessRefusedError(
                Reason.WITNESS_REFUSED,
                f"The witness at {self._url} {what} (status {reply.status}).",
                hint=hint,
            )
            refused.status = reply.status
            return refused
        if reply.status >= 500 or reply.status in _LATER:
            return WitnessUnavailableError(
                Reason.LOG_UNAVAILABLE,
                f"The witness at {self._url} cannot serve this now (status {reply.status}).",
                hint=_ASK_OPERATOR,
            )
        return self._nonsense(f"status {reply.status}.")

    def _conflict(self, reply: Reply) -> Exception:
        kind = reply.headers.get("content-type", "").split(";")[0].strip().lower()
        try:
            if kind != SIZE_MEDIA_TYPE:
                raise MalformedError(Reason.BAD_VALUE, f"a conflict brings a size, as {SIZE_MEDIA_TYPE}")
            size = parse_conflict(reply.body)
        except MalformedError as e:
            return self._nonsense(f"a conflict in which no size can be read: {e.message}")
        conflict = WitnessConflictError(
            Reason.WITNESS_REFUSED, f"The witness at {self._url} cosigned size {size} last."
        )
        conflict.status, conflict.tree_size = reply.status, size
        return conflict

    def _nonsense(self, what: str) -> WitnessUnavailableError:
        return WitnessUnavailableError(
            Reason.LOG_UNAVAILABLE,
            f"The witness at {self._url} answered with {what}",
            hint="Check that the address in the log policy is a witness's submission prefix.",
        )

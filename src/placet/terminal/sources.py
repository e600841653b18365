"""Where requests come from and where answers go.

A source is a courier, trusted with nothing: what it brings is verified on this terminal, what it takes is
signed.  An answer is kept on this disk before it is sent, so a source that is down costs time, never a touch.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol

from placet.adapters.private_file import write_atomically
from placet.ceremony.publish import Progress, assemble, split_bundle
from placet.core.bundle import (
    MAX_BUNDLE_BYTES,
    MAX_REQUEST_BYTES,
    Answer,
    IntentRequest,
    encode_answer,
    encode_bundle,
    parse_bundle,
    parse_request,
)
from placet.core.encoding import Digest
from placet.core.errors import IndeterminateError, PlacetError, Reason
from placet.core.trust import Trust
from placet.ports.evidence_verifier import NO_EVIDENCE, EvidenceVerifier


class Pending(NamedTuple):
    """A request with the answers that the source has."""

    request: IntentRequest
    answers: tuple[Answer, ...]


class Trouble(NamedTuple):
    """What is wrong with the source, what to do, and what it means for approvals."""

    message: str
    hint: str
    meaning: str = "Requests may be missing here. Nothing is approved without your key."


class Delivery(NamedTuple):
    """What became of an answer: `state` is sent, kept (sent later) or refused."""

    state: str
    text: str


class Source(Protocol):
    """Brings requests and takes answers.

    Obligations:

    - `pending` returns at once; whatever waits for a network does so in the background.
    - `deliver` keeps the answer durably before it returns, unless the other side has it.
    """

    @property
    def name(self) -> str:
        """Where requests come from, in words."""
        ...

    def destination(self, request: IntentRequest) -> str:
        """Where the answers to a request go, in words."""
        ...

    def start(self) -> None:
        """Begins to fetch."""
        ...

    def stop(self) -> None:
        """Ends what `start` began."""
        ...

    def pending(self) -> dict[Digest, Pending]:
        """Returns the requests that wait for decisions."""
        ...

    def troubles(self) -> tuple[Trouble, ...]:
        """Returns what is wrong just now."""
        ...

    def unsent(self) -> int:
        """Returns how many answers are still to be sent."""
        ...

    def deliver(self, request: IntentRequest, answer: Answer, *, trust: Trust, now: int) -> Delivery:
        """Sends an answer.

        Raises:
            PlacetError, OSError: it could not even be kept.
        """
        ...


class FileSource:
    """Requests in files, for a terminal without a network; approvals are put into bundle files."""

    def __init__(
        self,
        paths: list[Path],
        bundle: Path | None = None,
        *,
        evidence: EvidenceVerifier = NO_EVIDENCE,
    ) -> None:
        """Names the request files.

        Args:
            paths: the ``*.request.json`` files.
            bundle: where the bundle goes; only for one request.  By default it lies beside the request.
            evidence: verifies what requests carry.
        """
        self._paths, self._bundle, self._evidence = paths, bundle, evidence

    @property
    def name(self) -> str:
        """Where requests come from, in words."""
        more = f" and {len(self._paths) - 3} more" if len(self._paths) > 3 else ""
        return ", ".join(str(path) for path in self._paths[:3]) + more

    def destination(self, request: IntentRequest) -> str:
        """Where the answers to a request go, in words."""
        return str(self.bundle_path(self._path_of(request)))

    def _path_of(self, request: IntentRequest) -> Path:
        """Finds the file of a request that `pending` returned; it may be gone since."""
        for path in self._paths:
            try:
                if read_request_file(path).id == request.id:
                    return path
            except PlacetError:
                continue
        raise IndeterminateError(
            Reason.BAD_VALUE, "The request's file is gone.", hint="Put it back, and open the request again."
        )

    def start(self) -> None:
        """Nothing to do: files are read when they are asked for."""

    def stop(self) -> None:
        """Nothing to do."""

    def bundle_path(self, path: Path) -> Path:
        """Returns the bundle's path of a request file."""
        stem = path.name.removesuffix(".json").removesuffix(".request")
        return self._bundle or path.with_name(f"{stem}.intent.json")

    def pending(self) -> dict[Digest, Pending]:
        """Returns the requests that can be read."""
        found = {}
        for path in self._paths:
            try:
                pending = self._read(path)
            except PlacetError:
                continue
            found[pending.request.id] = pending
        return found

    def troubles(self) -> tuple[Trouble, ...]:
        """Returns one trouble for each file that cannot be used."""
        said = []
        for path in self._paths:
            try:
                self._read(path)
            except PlacetError as e:
                said.append(Trouble(f"{path}: {e}", e.hint))
        return tuple(said)

    def unsent(self) -> int:
        """Returns 0: an answer is in its file, or delivering it failed."""
        return 0

    def deliver(self, request: IntentRequest, answer: Answer, *, trust: Trust, now: int) -> Delivery:
        """Extends the bundle file, or writes the denial beside it.

        Raises:
            PlacetError: the bundle file is about something else.
            OSError: the file cannot be written.
        """
        target = self.bundle_path(self._path_of(request))
        if answer.envelope.payload != request.payload:
            (signature,) = answer.envelope.signatures
            stem = target.name.removesuffix(".json").removesuffix(".intent")
            target = target.with_name(f"{stem}.denied-{signature.keyid[:8]}.answer.json")
            write_atomically(target, encode_answer(answer), mode=0o644)
            return Delivery("sent", f"The denial was written to {target}.")
        progress = extend_bundle_file(target, request, answer, trust=trust, now=now, evidence=self._evidence)
        count = len(progress.approvers)
        return Delivery("sent", f"Written to {target}, which now holds {count} approval{'s'[: count != 1]}.")

    def _read(self, path: Path) -> Pending:
        request = read_request_file(path)
        return Pending(request, read_bundle_answers(self.bundle_path(path), request))


def read_request_file(path: Path) -> IntentRequest:
    """Reads a ``*.request.json`` file.

    Raises:
        IndeterminateError: BAD_VALUE where it cannot be read.
        MalformedError, VerificationError: it is no request.
    """
    return parse_request(_read_bytes(path, "request", MAX_REQUEST_BYTES))


def _read_bytes(path: Path, what: str, max_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(max_bytes + 1)
    except OSError as e:
        raise IndeterminateError(Reason.BAD_VALUE, f"The {what} {path} cannot be read: {e.strerror}.") from e


def read_bundle_answers(path: Path, request: IntentRequest) -> tuple[Answer, ...]:
    """Reads the approvals out of a bundle file; none where there is no such file.

    Raises:
        IndeterminateError: BAD_VALUE where the file is about another request.
        PlacetError: it is no bundle.
    """
    if not path.exists():
        return ()
    bundle = parse_bundle(_read_bytes(path, "bundle", MAX_BUNDLE_BYTES))
    if bundle.envelope.payload != request.payload:
        raise IndeterminateError(
            Reason.SUBJECT_MISMATCH,
            f"The bundle {path} is about another request; it is not overwritten.",
            hint="Move it away, or name another file with --bundle.",
        )
    return split_bundle(bundle)


def extend_bundle_file(
    path: Path,
    request: IntentRequest,
    answer: Answer,
    *,
    trust: Trust,
    now: int,
    evidence: EvidenceVerifier = NO_EVIDENCE,
) -> Progress:
    """Adds an approval to a bundle file, making it where there is none.

    Raises:
        PlacetError: the file is about something else.
        OSError: it cannot be written; the old one is untouched.
    """
    answers = (*read_bundle_answers(path, request), answer)
    progress = assemble(request, answers, trust=trust, now=now, evidence=evidence)
    write_atomically(path, encode_bundle(progress.bundle), mode=0o644)
    return progress

"""Decisions on their way to a relay, one file each, until the relay has them.

    REQUEST.ANSWER.answer.json    to be sent
    REQUEST.ANSWER.refused        the relay will not take it; kept until the request expires
    REQUEST.ANSWER.why            what to tell the person about that
    REQUEST.ANSWER.unusable       no answer of ours, or damaged; for an operator to look at

A touch is never asked for twice because a courier failed, and a decision that reached nobody is not passed
over in silence: whoever made it believes that it counts.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import NamedTuple

from placet.adapters.private_file import write_atomically
from placet.core.bundle import MAX_ANSWER_BYTES, Answer, encode_answer, parse_answer
from placet.core.encoding import Digest, is_hex, sha256_hex
from placet.core.errors import MalformedError, PlacetError, Reason
from placet.core.statement import parse_statement

_TO_SEND, _REFUSED, _WHY, _UNUSABLE = ".answer.json", ".refused", ".why", ".unusable"


class Refused(NamedTuple):
    """A decision that the relay will not take: what was decided about, why, and what to do."""

    text: str
    message: str
    hint: str


class Outbox:
    """A folder of letters.  Several processes may use it: each step is one rename."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def letter(self, request_id: Digest, answer: Answer) -> Path:
        """Returns where an answer is kept."""
        return self._folder / f"{request_id}.{sha256_hex(encode_answer(answer))}{_TO_SEND}"

    def keep(self, letter: Path, answer: Answer) -> None:
        """Keeps an answer; when this returns, it survives a crash.

        Raises:
            OSError: it could not be kept.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomically(letter, encode_answer(answer))

    def letters(self) -> list[Path]:
        """Returns what is to be sent."""
        return sorted(self._folder.glob(f"*{_TO_SEND}")) if self._folder.is_dir() else []

    def read(self, letter: Path) -> tuple[Digest, Answer]:
        """Returns a letter's request and answer.

        Raises:
            FileNotFoundError: somebody else has sent it.
            PlacetError, OSError: it is no answer of ours, or cannot be read.
        """
        request_id = letter.name.partition(".")[0]
        if not is_hex(request_id, 64):
            raise MalformedError(Reason.BAD_DIGEST, "The letter does not name its request.")
        with letter.open("rb") as file:
            return Digest(request_id), parse_answer(file.read(MAX_ANSWER_BYTES + 1))

    def done(self, letter: Path) -> None:
        """Forgets a letter that the relay has."""
        letter.unlink(missing_ok=True)

    def set_aside(self, letter: Path) -> None:
        """Moves a letter that cannot be read to where an operator can look at it."""
        with contextlib.suppress(FileNotFoundError):
            letter.rename(_with(letter, _UNUSABLE))

    def refuse(self, letter: Path, message: str, hint: str) -> None:
        """Keeps a letter that the relay will not take, and what to tell the person."""
        why = json.dumps({"message": message, "hint": hint}).encode()
        with contextlib.suppress(OSError):
            # The letter matters, its reason less: a full disk must not keep it where it is tried for ever.
            write_atomically(_with(letter, _WHY), why)
        with contextlib.suppress(FileNotFoundError):
            letter.rename(_with(letter, _REFUSED))

    def refused(self, now: int) -> list[Refused]:
        """Returns what the relay would not take, and forgets what is expired: the history has it still.

        Args:
            now: Unix seconds.
        """
        found = []
        for path in sorted(self._folder.glob(f"*{_REFUSED}")):
            try:
                statement = parse_statement(parse_answer(path.read_bytes()).envelope.payload)
            except (PlacetError, OSError):
                continue
            if now >= statement.expires_at:
                path.unlink(missing_ok=True)
                path.with_suffix(_WHY).unlink(missing_ok=True)
                continue
            found.append(Refused(statement.text, *_read_why(path.with_suffix(_WHY))))
        return found


def _with(letter: Path, suffix: str) -> Path:
    return letter.with_name(letter.name.removesuffix(_TO_SEND) + suffix)


def _read_why(path: Path) -> tuple[str, str]:
    try:
        value = json.loads(path.read_bytes())
        return str(value["message"]), str(value["hint"])
    except (OSError, ValueError, KeyError, TypeError):
        return "The relay refused it.", "Ask the relay's operator."

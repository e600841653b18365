"""Which logs and witnesses count, and how many of them (https://c2sp.org/tlog-policy; LOG-12, LOG-13).

    log <vkey> [<url>]
    witness <name> <vkey> [<url>]
    group <name> all|any|<k> <name>...
    quorum <name>|none

Groups name what stands above them, and a name is a member once, so a policy is a tree and is read from top to
bottom.  White space and comments are free, as people write this file; values are not.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from placet.core.errors import MalformedError, PolicyError, Reason
from placet.core.tlog.checkpoint import parse_number
from placet.core.tlog.note import COSIGNATURE_ED25519, ED25519, VerifierKey, parse_verifier_key

MAX_POLICY_BYTES = 64 * 1024
# Every reader of such policies takes 32 of each; more would not fit a note's signatures.
MAX_OF_EACH = 32
MAX_URL = 1024
NO_QUORUM = "none"
_ALLOWED = frozenset({9, 10, *range(0x20, 0x7F), *range(0x80, 0x100)})


class LogEntryKey(NamedTuple):
    """A log by its key; `url` is "" where none is given."""

    key: VerifierKey
    url: str = ""


class Witness(NamedTuple):
    """A witness by its name in the policy and its key; `url` is "" where none is given."""

    name: str
    key: VerifierKey
    url: str = ""


class Group(NamedTuple):
    """A group counts as witness where `threshold` of its members do."""

    name: str
    threshold: int
    members: tuple[str, ...]


class LogPolicy(NamedTuple):
    """A policy.  Groups stand in the order in which they may name each other."""

    logs: tuple[LogEntryKey, ...]
    witnesses: tuple[Witness, ...] = ()
    groups: tuple[Group, ...] = ()
    quorum: str = NO_QUORUM

    def is_quorum(self, names: Collection[str]) -> bool:
        """Tells whether cosignatures by these witnesses are enough."""
        return self.quorum == NO_QUORUM or self._rank(dict.fromkeys(names, 0), latest=False) is not None

    def seen_by(self, times: Mapping[str, int]) -> int | None:
        """Returns the earliest time by which a quorum had cosigned: for audits.

        Args:
            times: Unix seconds by the witness's name.

        Returns:
            None without a quorum, or where the policy asks for none.
        """
        return self._rank(times, latest=False)

    def not_before(self, times: Mapping[str, int]) -> int | None:
        """Returns the latest time at or after which a quorum cosigned: no clock that is right shows less.

        Args, Returns: as `seen_by`.
        """
        return self._rank(times, latest=True)

    def _rank(self, times: Mapping[str, int], *, latest: bool) -> int | None:
        """Returns the quorum's time; a group's is that of its member by which its threshold is reached."""
        values = {witness.name: times[witness.name] for witness in self.witnesses if witness.name in times}
        for group in self.groups:
            known = sorted(values[name] for name in group.members if name in values)
            if len(known) >= group.threshold:
                values[group.name] = known[-group.threshold if latest else group.threshold - 1]
        return values.get(self.quorum)


def check_quorum(policy: LogPolicy, names: Collection[str]) -> None:
    """Checks that the policy's quorum has cosigned.

    Raises:
        PolicyError: LOG_NOT_WITNESSED.
    """
    if not policy.is_quorum(names):
        raise PolicyError(
            Reason.LOG_NOT_WITNESSED,
            "Not enough witnesses have cosigned the log's checkpoint.",
            expected=policy.quorum,
            actual=tuple(sorted(names)),
            hint="Try again in a moment; if it stays so, ask the log's operator which witness is down.",
        )


class _Reader:
    """What was read so far; each line may name what stands above it."""

    def __init__(self) -> None:
        self.logs: list[LogEntryKey] = []
        self.witnesses: list[Witness] = []
        self.groups: list[Group] = []
        self.quorum: str | None = None
        self.names: set[str] = set()
        self.free: set[str] = set()  # names that no group has as its member yet

    def read(self, words: list[str]) -> None:
        match words:
            case ["log", vkey, *url] if len(url) <= 1:
                self.logs.append(LogEntryKey(_read_key(vkey, ED25519), _read_url(url)))
            case ["witness", name, vkey, *url] if len(url) <= 1:
                self._define(name)
                key = _read_key(vkey, COSIGNATURE_ED25519)
                self.witnesses.append(Witness(name, key, _read_url(url)))
            case ["group", name, threshold, *members] if members:
                self._take(members)
                self._define(name)
                self.groups.append(Group(name, _read_threshold(threshold, len(members)), tuple(members)))
            case ["quorum", name]:
                if self.quorum is not None:
                    raise _refuse("There is one quorum.")
                if name != NO_QUORUM and name not in self.names:
                    raise _refuse(f"The quorum {name[:64]!r} is not defined above.")
                self.quorum = name
            case _:
                raise _refuse("A line is a log, a witness, a group or the quorum.")

    def _define(self, name: str) -> None:
        if name == NO_QUORUM or name in self.names:
            raise _refuse(f"The name {name[:64]!r} is defined twice, or is `none`.", Reason.DUPLICATE_VALUE)
        self.names.add(name)
        self.free.add(name)

    def _take(self, members: list[str]) -> None:
        for name in members:
            if name not in self.free:  # each witness counts in one way only
                raise _refuse(f"The member {name[:64]!r} is not defined above, or is in a group already.")
            self.free.remove(name)

    def finish(self) -> LogPolicy:
        if self.quorum is None:
            raise _refuse("The quorum is missing.")
        for items in (self.logs, self.witnesses, self.groups):
            if len(items) > MAX_OF_EACH:
                raise _refuse(f"At most {MAX_OF_EACH} of a kind are accepted.", Reason.TOO_MANY)
        keys = [log.key for log in self.logs] + [witness.key for witness in self.witnesses]
        # A log that is its own witness would prove nothing twice.
        if len({key.public_key for key in keys}) != len(keys):
            raise _refuse("One key is named twice.", Reason.DUPLICATE_VALUE)
        # Four bytes can be made to match: then one's signature is found for the other, and fails.
        if len({(key.name, key.key_id) for key in keys}) != len(keys):
            raise _refuse("Two keys have the same name and ID.", Reason.DUPLICATE_VALUE)
        return LogPolicy(tuple(self.logs), tuple(self.witnesses), tuple(self.groups), self.quorum)


def parse_log_policy(data: bytes) -> LogPolicy:
    """Parses a log policy.

    Raises:
        MalformedError: TOO_LARGE, NOT_UTF8, TEXT_NOT_ALLOWED, BAD_VALUE, DUPLICATE_VALUE, TOO_MANY; what
            `parse_verifier_key` raises for a key.
    """
    if len(data) > MAX_POLICY_BYTES:
        raise _refuse("The log policy is too long.", Reason.TOO_LARGE)
    if not _ALLOWED.issuperset(data):
        raise _refuse("Of control characters only tab and newline are accepted.", Reason.TEXT_NOT_ALLOWED)
    try:
        text = data.decode("utf-8", "strict")
    except UnicodeDecodeError as e:
        raise _refuse("The log policy is not UTF-8 text.", Reason.NOT_UTF8) from e
    *lines, rest = text.split("\n")
    if rest:
        raise _refuse("The log policy does not end with a newline.")
    reader = _Reader()
    for number, line in enumerate(lines, 1):
        # Space and tab alone separate; other white space of Unicode may stand in names.
        words = [word for word in line.replace("\t", " ").split(" ") if word]
        if words and not words[0].startswith("#"):
            try:
                reader.read(words)
            except MalformedError as error:
                error.path = error.path or f"line {number}"
                raise
    return reader.finish()


def encode_log_policy(policy: LogPolicy) -> bytes:
    """Encodes a policy in its plainest form."""
    lines = [f"log {key} {url}".rstrip(" ") for key, url in policy.logs]
    lines += [f"witness {name} {key} {url}".rstrip(" ") for name, key, url in policy.witnesses]
    lines += [f"group {name} {threshold} {' '.join(members)}" for name, threshold, members in policy.groups]
    return "".join(f"{line}\n" for line in (*lines, f"quorum {policy.quorum}")).encode()


def _read_key(vkey: str, algorithm: int) -> VerifierKey:
    key = parse_verifier_key(vkey)
    if key.algorithm != algorithm:
        raise _refuse(
            f"The key of {key.name} is for another use: logs sign with algorithm 1, witnesses with 4.",
            Reason.UNSUPPORTED_TYPE,
        )
    return key


def _read_url(words: list[str]) -> str:
    url = words[0] if words else ""
    if url and (not url.startswith(("https://", "http://")) or len(url) > MAX_URL):
        raise _refuse("An address begins with https:// or http://.")
    return url


def _read_threshold(text: str, members: int) -> int:
    threshold = {"any": 1, "all": members}.get(text)
    if threshold is None:
        threshold = parse_number(text, "group's threshold")
    if not 1 <= threshold <= members:
        raise _refuse("A group's threshold is from 1 to the number of its members.")
    return threshold


def _refuse(message: str, reason: Reason = Reason.BAD_VALUE) -> MalformedError:
    return MalformedError(reason, message, hint="The form is https://c2sp.org/tlog-policy.")

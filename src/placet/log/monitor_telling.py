"""Telling people: each what their own keys did, groups what their members did, operators what was found.

    # audit-notify.toml
    [[person]]
    id = "alice@example.com"                # as in the trust root
    urls = ["mailtos://…"]                  # as apprise spells them; they hold secrets

    [[group]]
    name = "release"                        # a group of the trust root
    urls = ["slack://…"]

    [[operators]]
    name = "on call"
    severity = "warning"                    # and worse; the default
    urls = ["jsons://…"]

What to tell is stored together with what was found, and marked before and after it is sent: whoever is
killed in between tells it again, with a word that it may be a repetition, and never forgets it.
"""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from placet.adapters.notice_text import neutralise
from placet.core.encoding import format_time
from placet.log.monitor_events import APPROVED, DECISIONS, Event
from placet.log.monitor_findings import SEVERITIES, Finding, Severity
from placet.ports.notifier import Notice, Notifier, NotifierError

MAX_TELL_BYTES = 256 * 1024
_MAX_RECIPIENTS = 1000
_MAX_NAME = 254
# More lines than that nobody reads on a telephone.
_SHOWN = 10
_SENDING = "sending"

_NOT_YOU = (
    "Was this not you? Tell your administrators at once, by telephone: they revoke the key "
    "(placet trust revoke)."
)
_REPEATED = "You may have been told of some of this before."


class TellingError(Exception):
    """The file that says whom to tell is malformed; the text says where, without the addresses."""


class Recipient(NamedTuple):
    """One address of somebody who is told.  `key` names it in the monitor's state, without the address."""

    kind: str
    name: str
    number: int
    url: str
    severity: Severity = Severity.WARNING

    @property
    def key(self) -> str:
        """Such as ``person/alice@example.com/1``."""
        return f"{self.kind}/{self.name}/{self.number}"


class Outbox(Protocol):
    """What telling needs of the monitor's state."""

    def enqueue(self, recipient: str, about: str, line: str) -> None:
        """Notes what to tell, once."""

    def messages_for(self, recipient: str) -> tuple[tuple[str, str, str], ...]:
        """Returns about, line and state of what is to be told."""

    def mark_messages(self, recipient: str, abouts: Sequence[str], state: str) -> None:
        """Marks messages, durably."""


class Told(NamedTuple):
    """How telling went: how many lines reached somebody, and why others did not."""

    sent: int
    failures: tuple[str, ...]


def parse_recipients(data: bytes) -> tuple[Recipient, ...]:
    """Parses the file that says whom to tell.

    Raises:
        TellingError: it is malformed.
    """
    try:
        top = tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as e:
        raise TellingError(str(e)) from e
    kinds = {"person": "id", "group": "name", "operators": "name"}
    _refuse_unknown(top, set(kinds), "at the top")
    found: list[Recipient] = []
    for kind, name in kinds.items():
        items = top.get(kind, [])
        if not isinstance(items, list) or len(items) > _MAX_RECIPIENTS:
            raise TellingError(f"write [[{kind}]], at most {_MAX_RECIPIENTS} times")
        for i, item in enumerate(items, start=1):
            found += _read_recipient(item, kind, name, f"in [[{kind}]] number {i}")
    if not found:
        raise TellingError("it names nobody: write [[person]], [[group]] or [[operators]]")
    if len({recipient.key for recipient in found}) != len(found):
        raise TellingError("somebody stands there twice; give one list of urls to each")
    return tuple(found)


def _read_recipient(item: Any, kind: str, name: str, where: str) -> list[Recipient]:
    if not isinstance(item, dict):
        raise TellingError(f"{where}: not a table")
    _refuse_unknown(item, {name, "urls"} | ({"severity"} if kind == "operators" else set()), where)
    value, urls = item.get(name), item.get("urls")
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_NAME or not value.isprintable():
        raise TellingError(f"{where}: {name} must be 1 to {_MAX_NAME} printable characters")
    if not isinstance(urls, list) or not urls or not all(isinstance(url, str) and url for url in urls):
        raise TellingError(f"{where}: urls must name at least one address")
    severity = item.get("severity", Severity.WARNING.value)
    if severity not in SEVERITIES:
        raise TellingError(f"{where}: severity must be one of {', '.join(SEVERITIES)}")
    return [Recipient(kind, value, i, url, Severity(severity)) for i, url in enumerate(urls, start=1)]


def _refuse_unknown(table: Mapping[str, Any], names: set[str], where: str) -> None:
    if unknown := sorted(table.keys() - names):
        raise TellingError(f"{where}: there is no {unknown[0]}. There are: {', '.join(sorted(names))}")


def enqueue_event(event: Event, recipients: Sequence[Recipient], outbox: Outbox) -> None:
    """Notes for a person, and for the groups that they are in, what their key did."""
    if event.kind not in DECISIONS or not event.person:
        return
    for recipient in recipients:
        is_theirs = recipient.kind == "person" and recipient.name == event.person
        if is_theirs or (recipient.kind == "group" and recipient.name in event.groups):
            about = f"{event.log_origin}#{event.leaf_hash}"
            outbox.enqueue(recipient.key, about, describe(event, own=is_theirs))


def enqueue_finding(finding: Finding, recipients: Sequence[Recipient], outbox: Outbox) -> None:
    """Notes a finding for the operators who want to hear of its severity."""
    for recipient in recipients:
        bad = SEVERITIES.index(finding.severity)
        if recipient.kind == "operators" and bad <= SEVERITIES.index(recipient.severity):
            line = f"{finding.severity.upper()} {finding.name}: {_plain(finding.message)}"
            outbox.enqueue(recipient.key, finding_subject(finding.id), line)


def finding_subject(finding_id: str) -> str:
    """Returns how a finding is named among what people are told about."""
    return f"finding:{finding_id}"


def describe(event: Event, *, own: bool) -> str:
    """Returns one line about what a key did."""
    did = "approved" if event.kind == APPROVED else "denied"
    who = "Your key" if own else f"The key of {event.person}"
    # A requester chose what is quoted, and a person approved it: it must be no link in either case.
    what = f'"{neutralise(event.text)}"' if event.text else f"the request {event.payload[:16]}"
    when = f"at {format_time(event.at)}" if event.at else f"before {format_time(event.seen_at)}"
    where = f" on terminal {neutralise(event.terminal)}" if event.terminal else ""
    verified = "" if event.verified else " (the log's record of it was not verified)"
    return f"{who} {did} {what} {when}{where}, log entry {event.leaf_index}.{verified}"


def _plain(message: str) -> str:
    # Quoted parts of a message are others' words.
    parts = message.split('"')
    return '"'.join(neutralise(part) if i % 2 else part for i, part in enumerate(parts))


def compose(recipient: Recipient, lines: Sequence[str], *, is_repeated: bool) -> Notice:
    """Writes one notice about everything that somebody is to be told now."""
    shown = [*lines[:_SHOWN]]
    if len(lines) > _SHOWN:
        shown.append(f"and {len(lines) - _SHOWN} more: placet audit report lists them.")
    if is_repeated:
        shown.append(_REPEATED)
    count = len(lines)
    if recipient.kind == "operators":
        title = (
            "placet: the audit found something" if count == 1 else f"placet: {count} findings of the audit"
        )
        return Notice(title, "\n".join([*shown, "What to do: placet audit findings"]))
    title = "placet: your key was used" if recipient.kind == "person" else f"placet: keys of {recipient.name}"
    if count > 1:
        title = f"{title} {count} times" if recipient.kind == "person" else f"{title}, {count} decisions"
    return Notice(title, "\n".join([*shown, _NOT_YOU]))


def tell(
    recipients: Sequence[Recipient],
    outbox: Outbox,
    notifier: Notifier,
    *,
    tries: int = 3,
    pause: Callable[[int], float] = lambda attempt: float(2**attempt),
) -> Told:
    """Sends what is to be told; the rest stays for the next run.

    Args:
        notifier: its groups are the recipients' keys.
        tries: how often each address is tried.
        pause: seconds to wait after an attempt.
    """
    return asyncio.run(_tell(recipients, outbox, notifier, tries, pause))


async def _tell(
    recipients: Sequence[Recipient],
    outbox: Outbox,
    notifier: Notifier,
    tries: int,
    pause: Callable[[int], float],
) -> Told:
    sent, failures = 0, []
    for recipient in recipients:
        messages = outbox.messages_for(recipient.key)
        if not messages:
            continue
        abouts = [about for about, _, _ in messages]
        is_repeated = any(state == _SENDING for _, _, state in messages)
        notice = compose(recipient, [line for _, line, _ in messages], is_repeated=is_repeated)
        outbox.mark_messages(recipient.key, abouts, _SENDING)
        why = await _send(notifier, recipient, notice, tries, pause)
        outbox.mark_messages(recipient.key, abouts, "waiting" if why else "sent")
        if why:
            failures.append(why)
        else:
            sent += len(messages)
    return Told(sent, tuple(failures))


async def _send(
    notifier: Notifier, recipient: Recipient, notice: Notice, tries: int, pause: Callable[[int], float]
) -> str:
    """Returns why somebody could not be told, or ""."""
    why = ""
    for attempt in range(tries):
        try:
            await notifier.notify(recipient.key, notice)
            return ""
        except NotifierError as e:
            why = str(e)
        if attempt + 1 < tries:
            await asyncio.sleep(pause(attempt))
    return why

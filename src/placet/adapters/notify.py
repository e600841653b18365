"""Notices to people through apprise, which knows some hundred chat, mail and paging services.

    # notify.toml
    seconds_between = 60                         # a group's peace after a notice; what comes is summed up

    [[group]]
    name = "release approvers"
    targets = ["pkg:pypi/*"]                     # shell patterns; absent: every target
    gates = ["release"]                          # absent: every gate
    urls = ["mailtos://…", "slack://…"]          # as apprise spells them; they hold secrets

Whether a group hears of a request follows what the requester claims: a liar can spare people
a notice, or cause one.  Nobody approves because of it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import tomllib
import warnings
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import apprise

from placet.ports.notifier import Notice, NotifierError

MAX_NOTIFY_BYTES = 256 * 1024
_MAX_GROUPS = 100
_DEFAULT_SECONDS_BETWEEN = 60
# Longer than any service needs, shorter than the pause before the next notice.
_GIVE_UP_SECONDS = 30.0


class Group(NamedTuple):
    """Whom to tell of what."""

    name: str
    targets: tuple[str, ...]
    gates: tuple[str, ...]
    urls: tuple[str, ...]


class NotifyConfig(NamedTuple):
    """The notify file, read."""

    groups: tuple[Group, ...]
    seconds_between: int


class NotifyConfigError(Exception):
    """The notify file is malformed; the text says where, without the addresses."""


class AppriseNotifier:
    """A `placet.ports.notifier.Notifier` through apprise.

    Raises:
        NotifyConfigError: apprise does not know one of the addresses.
    """

    def __init__(self, groups: Sequence[Group]) -> None:
        # What apprise logs may hold addresses, and with them tokens.
        logging.getLogger("apprise").disabled = True
        self._groups = {group.name: group for group in groups}
        self._services = {group.name: _open_services(group) for group in groups}
        self._busy: set[str] = set()

    @property
    def groups(self) -> tuple[str, ...]:
        """See `Notifier.groups`."""
        return tuple(self._groups)

    def groups_for(self, *, target: str, gate: str) -> tuple[str, ...]:
        """See `Notifier.groups_for`."""
        return tuple(
            group.name
            for group in self._groups.values()
            if _matches(target, group.targets) and _matches(gate, group.gates)
        )

    async def notify(self, group: str, notice: Notice) -> None:
        """See `Notifier.notify`."""
        if group in self._busy:
            raise NotifierError(f"The group {group} is still being told of what came before.")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[bool] = loop.create_future()

        def tell() -> None:
            result = _send(self._services[group], notice)
            # The loop may be gone: then nobody asks any more.
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._finish, group, done, result)

        self._busy.add(group)
        # A daemon of its own: neither a slow service nor a hanging one keeps the relay from ending.
        threading.Thread(target=tell, name="placet-notifier", daemon=True).start()
        try:
            async with asyncio.timeout(_GIVE_UP_SECONDS):
                sent = await done
        except TimeoutError as e:
            raise NotifierError(f"The group {group} could not be told within {_GIVE_UP_SECONDS:g} s.") from e
        if not sent:
            raise NotifierError(f"The group {group} could not be told; a service refused or did not answer.")

    def _finish(self, group: str, done: asyncio.Future[bool], result: bool) -> None:
        self._busy.discard(group)
        if not done.done():
            done.set_result(result)


def _open_services(group: Group) -> apprise.Apprise:
    asset = apprise.AppriseAsset(
        app_id="placet",
        app_desc="placet",
        # Services show these as links and pictures; a notice has nothing to click.
        app_url="",
        image_url_mask="",
        image_url_logo="",
        # Or text of the requester's could become a character that was taken out of it.
        interpret_escapes=False,
        interpret_emojis=False,
        # Both would use a thread pool, which keeps an ending process until the slowest service has answered.
        async_mode=False,
        service_timeout=0,
        secure_logging=True,
        storage_mode=apprise.PersistentStoreMode.MEMORY,
    )
    services = apprise.Apprise(asset=asset)
    for i, url in enumerate(group.urls, start=1):
        with warnings.catch_warnings():
            # The first address loads every plugin, and what those say of Python's future helps no operator.
            warnings.simplefilter("ignore", DeprecationWarning)
            known = services.add(url)
        if not known:
            raise NotifyConfigError(f"apprise does not understand address number {i} of {group.name}")
    return services


def _send(services: apprise.Apprise, notice: Notice) -> bool:
    try:
        return bool(services.notify(title=notice.title, body=notice.body, body_format="text"))
    except Exception:
        # A hundred plugins raise what they like; for us there is only told and not told.
        return False


def _matches(text: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(fnmatchcase(text, pattern) for pattern in patterns)


def parse_notify(data: bytes) -> NotifyConfig:
    """Parses a notify file.

    Raises:
        NotifyConfigError: it is malformed.
    """
    try:
        top = tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as e:
        raise NotifyConfigError(str(e)) from e
    _refuse_unknown(top, {"group", "seconds_between"}, "at the top")
    seconds = top.get("seconds_between", _DEFAULT_SECONDS_BETWEEN)
    if not isinstance(seconds, int) or isinstance(seconds, bool) or not 1 <= seconds <= 86_400:
        raise NotifyConfigError("seconds_between must be a whole number from 1 to 86400")
    items = top.get("group", [])
    if not isinstance(items, list) or not 0 < len(items) <= _MAX_GROUPS:
        raise NotifyConfigError(f"there must be 1 to {_MAX_GROUPS} groups: write [[group]]")
    groups = tuple(_read_group(item, f"in [[group]] number {i}") for i, item in enumerate(items, start=1))
    if len({group.name for group in groups}) != len(groups):
        raise NotifyConfigError("two groups have the same name")
    return NotifyConfig(groups, seconds)


def _read_group(item: Any, where: str) -> Group:
    if not isinstance(item, dict):
        raise NotifyConfigError(f"{where}: not a table")
    _refuse_unknown(item, {"name", "targets", "gates", "urls"}, where)
    name = item.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= 60 or not name.isprintable():
        raise NotifyConfigError(f"{where}: name must be 1 to 60 printable characters")
    urls = _read_texts(item, "urls", where)
    if not urls:
        raise NotifyConfigError(f"{where}: urls must name at least one address")
    return Group(name, _read_texts(item, "targets", where), _read_texts(item, "gates", where), urls)


def _read_texts(item: Mapping[str, Any], name: str, where: str) -> tuple[str, ...]:
    value = item.get(name, [])
    if not isinstance(value, list) or not all(isinstance(text, str) and text for text in value):
        raise NotifyConfigError(f"{where}: {name} must be a list of texts")
    return tuple(value)


def _refuse_unknown(table: Mapping[str, Any], names: set[str], where: str) -> None:
    if unknown := sorted(table.keys() - names):
        raise NotifyConfigError(f"{where}: there is no {unknown[0]}. There are: {', '.join(sorted(names))}")

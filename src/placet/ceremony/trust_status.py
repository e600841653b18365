"""How long a trust root is good for, and who must act before it is not: plain data in, sentences out.

Warnings begin when half of a role's time has passed, so that a missed week is no outage.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from placet.core.encoding import format_time
from placet.core.people import Person
from placet.documents.role_dates import RoleDates

OK, ATTENTION, EXPIRED = "ok", "attention", "expired"
DAY = 86_400
# What each role is made for, where its metadata does not say when it was signed.
USUAL_SECONDS = {"root": 365 * DAY, "targets": 90 * DAY, "snapshot": 30 * DAY, "timestamp": 7 * DAY}
SCOPE_SECONDS = 30 * DAY
# Gates take up no rules of owners that end sooner.
SCOPE_LEAST_LEFT_SECONDS = 2 * DAY
# A person needs some days to come by a new key, and administrators to sign it.
KEY_WARNING_SECONDS = 30 * DAY
_SCOPE_ROLE = re.compile(r"scope-(.+)")


class RoleStatus(NamedTuple):
    """A role with its judgment: `OK`, `ATTENTION` or `EXPIRED`."""

    dates: RoleDates
    state: str


class TrustStatus(NamedTuple):
    """The whole judgment.  `warnings` say what is wrong, what it means and who must act."""

    deployment: str
    state: str
    roles: tuple[RoleStatus, ...]
    warnings: tuple[str, ...]


def judge_trust(
    deployment: str,
    roles: Sequence[RoleDates],
    people: Iterable[Person],
    *,
    now: int,
    at_gate: bool,
    soon: int | None = None,
) -> TrustStatus:
    """Judges the dates of a trust root.

    Args:
        deployment: its name.
        roles: what is published, or what a gate goes by.
        people: those whose keys end at some time.
        now: Unix seconds.
        at_gate: whether the sentences are for a gate's operator, who can only refresh.
        soon: seconds; warnings begin when less than this is left, by default half of a role's time.
    """
    judged = tuple(RoleStatus(dates, _judge(dates, now, soon)) for dates in roles)
    warnings = [_say_role(item, now, at_gate) for item in judged if item.state != OK]
    warnings += _find_keys_that_end(people, now)
    expired = any(item.state == EXPIRED and not _scope_of(item.dates.role) for item in judged)
    state = EXPIRED if expired else ATTENTION if warnings or not judged else OK
    return TrustStatus(deployment, state, judged, tuple(warnings))


def summary_line(status: TrustStatus, *, now: int) -> str:
    """Returns what somebody must know who reads one line."""
    name = f"The trust root of {status.deployment}"
    core = [item for item in status.roles if not _scope_of(item.dates.role)]
    first = min(core, key=lambda item: item.dates.expires_at, default=None)
    if first is None:
        return f"{name} is not published yet."
    when = f"{first.dates.role}, {time_left(first.dates.expires_at, now)}"
    if status.state == EXPIRED:
        return f"EXPIRED: gates decide nothing by the trust root of {status.deployment} ({when})."
    if status.state == ATTENTION:
        count = len(status.warnings)
        things = "one thing needs" if count == 1 else f"{count} things need"
        return f"ATTENTION: {things} somebody soon. {name} is valid; first to expire: {when}."
    return f"All is well: {name[0].lower()}{name[1:]} is valid; first to expire: {when}."


def status_lines(status: TrustStatus, *, now: int) -> list[str]:
    """Returns every role with its dates, then every warning."""
    lines = []
    width = max((len(item.dates.role) for item in status.roles), default=0)
    for item in status.roles:
        mark = {OK: " ", ATTENTION: "!", EXPIRED: "X"}[item.state]
        lines.append(
            f"{mark} {item.dates.role:<{max(width, 10)}} version {item.dates.version:<4} until "
            f"{format_time(item.dates.expires_at)}, {time_left(item.dates.expires_at, now)}"
        )
    return lines + [f"! {warning}" for warning in status.warnings]


def status_object(status: TrustStatus, *, now: int) -> dict[str, Any]:
    """Returns the judgment as JSON."""
    return {
        "deployment": status.deployment,
        "state": status.state,
        "summary": summary_line(status, now=now),
        "roles": [
            {
                "role": item.dates.role,
                "version": item.dates.version,
                "expiresAt": format_time(item.dates.expires_at),
                "secondsLeft": item.dates.expires_at - now,
                "state": item.state,
            }
            for item in status.roles
        ],
        "warnings": list(status.warnings),
    }


def time_left(expires_at: int, now: int) -> str:
    """Returns the time that is left, in the unit in which people think of it."""
    seconds = abs(expires_at - now)
    for unit, size in (("day", DAY), ("hour", 3600), ("minute", 60)):
        if seconds >= size:
            count = seconds // size
            text = f"{count} {unit}{'' if count == 1 else 's'}"
            break
    else:
        text = "less than a minute"
    return f"{text} left" if expires_at > now else f"expired {text} ago"


def _judge(dates: RoleDates, now: int, soon: int | None) -> str:
    if dates.expires_at - (SCOPE_LEAST_LEFT_SECONDS if _scope_of(dates.role) else 0) <= now:
        return EXPIRED
    if soon is None:
        usual = SCOPE_SECONDS if _scope_of(dates.role) else USUAL_SECONDS.get(dates.role, SCOPE_SECONDS)
        whole = usual if dates.issued_at is None else max(0, dates.expires_at - dates.issued_at)
        soon = whole // 2
    return ATTENTION if dates.expires_at - now < soon else OK


def _say_role(item: RoleStatus, now: int, at_gate: bool) -> str:
    role, left = item.dates.role, time_left(item.dates.expires_at, now)
    scope = _scope_of(role)
    if scope:
        closed = "gates refuse everything in that scope" if item.state == EXPIRED else "it is closed then"
        return (
            f"The rules of the scope {scope}: {left}; {closed}. Its owners renew them: "
            f"`placet trust renew-scope {scope}`, sign, publish."
        )
    means = "Gates decide nothing by it" if item.state == EXPIRED else "Gates decide nothing by it then"
    if at_gate:
        return (
            f"{role}: {left}. {means}. Run `placet trust refresh`; if that brings no later date, ask an "
            "administrator to renew it."
        )
    if role in ("snapshot", "timestamp"):
        return f"{role}: {left}. {means}. `placet trust publish` renews it, or `placet trust keep-fresh`."
    return (
        f"{role}: {left}. {means}. Administrators renew it: `placet trust sign --renew`, each signs, then "
        "`placet trust publish`."
    )


def _find_keys_that_end(people: Iterable[Person], now: int) -> list[str]:
    """Finds people whose last key ends soon, or has ended."""
    found = []
    for person in people:
        last = max((credential.not_after for credential in person.credentials), default=None)
        if last is not None and last - now < KEY_WARNING_SECONDS:
            found.append(
                f"{person.id}: their last key, {time_left(last, now)}. They enrol another, or the same anew: "
                f"`placet trust replace-key {person.id}`."
            )
    return found


def _scope_of(role: str) -> str:
    match = _SCOPE_ROLE.fullmatch(role)
    return match[1] if match else ""

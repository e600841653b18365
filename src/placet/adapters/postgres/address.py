"""Addresses of PostgreSQL databases: told from paths, read, and shown without their secrets.

Knows no driver: a command that was given a path must not pay for one.
"""

from __future__ import annotations

import re

SCHEMES = ("postgresql://", "postgres://")
UNCLEAR = "postgresql://…"
MISSING_DRIVER = "Install placet with PostgreSQL: pip install 'placet[postgres]'"

# What may stand in a name that is shown; anything else in an address could be part of a password.
_NAME = r"[A-Za-z0-9_.~%+-]*"
_SHOWN = re.compile(
    rf"(?:(?P<user>{_NAME})(?::[^@/?]*)?@)?(?P<host>[A-Za-z0-9_.,:\[\]%-]*)(?:/(?P<name>{_NAME}))?"
)


def is_postgres(place: object) -> bool:
    """Tells whether this is the address of a PostgreSQL database, and not a path."""
    return isinstance(place, str) and place.startswith(SCHEMES)


def show_address(address: str) -> str:
    """Returns an address as it may be printed and logged: user, hosts and database, nothing else.

    What cannot be read with certainty is left out: a password with an unescaped "@" looks like a host.
    """
    rest, _, options = address.partition("://")[2].partition("?")
    found = _SHOWN.fullmatch(rest)
    if found is None or "@" in options:
        return UNCLEAR
    user = f"{found['user']}@" if found["user"] else ""
    return f"postgresql://{user}{found['host'] or ''}/{found['name'] or ''}"

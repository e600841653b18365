"""What several commands share: reading files with clear errors, settings, trust, the time."""

from __future__ import annotations

import os
import time

from placet.adapters.paths import config_dir, snapshot_path
from placet.cli import UserError
from placet.core.errors import IndeterminateError, Reason
from placet.core.people import Gate
from placet.core.trust import MAX_SNAPSHOT_BYTES, Trust, parse_trust

_DURATIONS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def now() -> int:
    """Returns Unix seconds."""
    return int(time.time())


def read_file(path: str | os.PathLike[str], what: str, max_bytes: int) -> bytes:
    """Reads a file of bounded size.

    Raises:
        UserError: it cannot be read, or is larger than any file of its kind.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as e:
        raise UserError(f"The {what} {path} cannot be read: {e.strerror}.") from e
    if len(data) > max_bytes:
        raise UserError(f"The {what} {path} is larger than {max_bytes} bytes; this is not one.")
    return data


def load_trust(path: str | os.PathLike[str] | None) -> Trust:
    """Loads the verified trust snapshot, by default the one that `placet trust refresh` leaves.

    Raises:
        IndeterminateError: TRUST_UNAVAILABLE where there is none.
        MalformedError: it is not a snapshot.
    """
    chosen = path or snapshot_path()
    try:
        data = read_file(chosen, "trust snapshot", MAX_SNAPSHOT_BYTES)
    except UserError as e:
        raise IndeterminateError(
            Reason.TRUST_UNAVAILABLE,
            str(e),
            hint="Run `placet trust refresh`, or name the snapshot with --trust.",
        ) from e
    return parse_trust(data)


def setting(value: str | None, name: str) -> str | None:
    """Returns a setting: flag over environment (``PLACET_<NAME>``) over configuration file.

    Raises:
        UserError: the configuration file is malformed.
    """
    if value is not None:
        return value
    if from_environment := os.environ.get(f"PLACET_{name.upper()}"):
        return from_environment
    path = config_dir() / "config.toml"
    if not path.exists():
        return None
    import tomllib

    try:
        found = tomllib.loads(path.read_text(encoding="utf-8")).get(name)
    except (ValueError, RecursionError, OSError) as e:  # bad TOML or UTF-8, an endless number, or depth
        raise UserError(f"The configuration file {path} cannot be used: {e}.") from e
    if found is not None and not isinstance(found, str):
        raise UserError(f"In {path}, {name} must be a string.")
    return found


def choose_gate(trust: Trust, name: str | None) -> Gate:
    """Returns the gate of that name, or the only one there is.

    Raises:
        UserError: none was named and there are several, or none of that name.
    """
    chosen = setting(name, "gate")
    known = ", ".join(sorted(trust.gates)) or "none"
    if chosen is None:
        if len(trust.gates) == 1:
            return next(iter(trust.gates.values()))
        raise UserError(f"Which gate is this? The trust root knows: {known}.", "Name it with --gate.")
    if chosen not in trust.gates:
        raise UserError(f"The trust root knows no gate {chosen!r}. It knows: {known}.")
    return trust.gates[chosen]


def parse_duration(text: str) -> int:
    """Reads ``90s``, ``15m``, ``1h`` or ``1d``; returns seconds.

    Raises:
        UserError: another spelling.
    """
    if text and text[-1] in _DURATIONS and text[:-1].isdigit() and int(text[:-1]) > 0:
        return int(text[:-1]) * _DURATIONS[text[-1]]
    raise UserError(f"{text!r} is not a duration.", 'Write it like "90s", "15m", "1h" or "1d".')


def say_duration(seconds: int) -> str:
    """Returns seconds as people and `parse_duration` write them: ``90s``, ``15m``, ``1h``."""
    for unit in ("d", "h", "m"):
        if seconds >= _DURATIONS[unit] and seconds % _DURATIONS[unit] == 0:
            return f"{seconds // _DURATIONS[unit]}{unit}"
    return f"{seconds}s"


def action_uri(name: str) -> str:
    """Returns the type URI of a shipped action's short name, and any URI as it is."""
    return name if "/" in name else f"https://placet.dev/actions/{name}/v1"

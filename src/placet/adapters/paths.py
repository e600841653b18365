"""Where placet keeps its files, by the XDG base directory specification.

``pathlib`` is imported when a path is asked for: a cold `placet verify` that was given its
paths needs none, and saves a twentieth of its time.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def _home(variable: str, fallback: str) -> Path:
    from pathlib import Path

    # The specification says to ignore relative values.
    value = Path(os.environ.get(variable, ""))
    return (value if value.is_absolute() else Path.home() / fallback) / "placet"


def state_dir() -> Path:
    """Ledger, relay database, history: what this machine remembers."""
    return _home("XDG_STATE_HOME", ".local/state")


def data_dir() -> Path:
    """The verified trust snapshot and the administrators' repository."""
    return _home("XDG_DATA_HOME", ".local/share")


def config_dir() -> Path:
    """The configuration file."""
    return _home("XDG_CONFIG_HOME", ".config")


def snapshot_path() -> Path:
    """The gate's verified trust snapshot."""
    return data_dir() / "trust" / "snapshot.json"

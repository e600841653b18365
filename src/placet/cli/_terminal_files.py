"""Where the terminal keeps its own files."""

from __future__ import annotations

from pathlib import Path

from placet.adapters.paths import snapshot_path, state_dir
from placet.adapters.terminal_identity import FileTerminalIdentity
from placet.terminal.credentials import CredentialStore
from placet.terminal.history import History


def terminal_folder() -> Path:
    """The terminal's own state: identity, credential IDs, history, outbox."""
    return state_dir() / "terminal"


def load_identity() -> FileTerminalIdentity:
    """Loads this terminal's identity.

    Raises:
        IndeterminateError: TERMINAL_UNKNOWN where there is none.
    """
    return FileTerminalIdentity.load(terminal_folder() / "identity.json")


def trust_path(path: Path | None) -> Path:
    """Returns the snapshot's path."""
    return path or snapshot_path()


def outbox() -> Path:
    """Answers that are signed and not sent yet."""
    return terminal_folder() / "outbox"


def open_history() -> History:
    """What was decided on this terminal."""
    return History(terminal_folder() / "history.jsonl")


def open_credentials() -> CredentialStore:
    """The credential IDs of this terminal."""
    return CredentialStore(terminal_folder() / "credentials.json")

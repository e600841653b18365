"""The key by which this gate signs the records of its uses for the log, and nothing else."""

from __future__ import annotations

from pathlib import Path

from placet.adapters.gate_key import GateKey, KeyPurpose
from placet.adapters.paths import state_dir


def use_key_path() -> Path:
    """Returns where this machine's gate keeps its use key."""
    return state_dir() / "gate" / "use.pem"


class UseKey(GateKey):
    """A gate's private use key; satisfies `placet.ports.log_appender.UseSigner`."""

    PURPOSE = KeyPurpose("use key", "the uses in its name", "placet ledger use-key")

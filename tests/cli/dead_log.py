"""A trust root that names a log which is down, for commands that must then refuse."""

from __future__ import annotations

from pathlib import Path

from placet.adapters.use_key import UseKey
from placet.core.encoding import b64encode, encode_canonical
from placet.testing.small_log import SmallLog
from placet.testing.world import World

# A port that nobody serves: it belongs to a service of 1988.
DEAD = "http://127.0.0.1:1"


def name_dead_log(world: World, key_file: Path) -> None:
    """Has the world's trust root name the log, and the use key in a new file as its first gate's."""
    key = UseKey.create(key_file)
    first, *others = world.gates
    gates = [{"id": first, "ledger": first, "useKeys": [b64encode(key.public.der)]}]
    gates += [{"id": gate, "ledger": gate} for gate in others]
    world.more_files["gates.json"] = encode_canonical({"gates": gates})
    world.more_files["log-policy"] = SmallLog(url=DEAD, quorum=0).policy()

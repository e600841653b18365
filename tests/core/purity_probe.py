"""Imports the core and decides once, under an audit hook and without clock and dice; run by test_purity.py.

Prints one JSON object: the events that were seen outside of importing modules, and the modules loaded.
"""

# ruff: noqa: E402
from __future__ import annotations

import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

BUNDLE, TRUST, EXPECTED, NOW = sys.argv[1:]
bundle, snapshot = Path(BUNDLE).read_bytes(), Path(TRUST).read_bytes()
wanted = json.loads(Path(EXPECTED).read_text())


def forbidden(*_: Any, **__: Any) -> NoReturn:
    raise RuntimeError("the core asked for time or chance")


for module, names in (
    (time, ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "localtime", "gmtime", "sleep")),
    (random, ("random", "randrange", "getrandbits", "Random", "SystemRandom")),
    (os, ("urandom", "getrandom", "system", "environ")),
):
    for name in names:
        setattr(module, name, forbidden)

QUIET = ("import", "compile", "exec", "marshal.", "object.__", "sys._getframe", "os.listdir", "code.__new__")
seen: list[str] = []


def hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event.startswith(QUIET):
        return
    if (
        event == "open"
        and str(arguments[0]).endswith((".py", ".pyc", ".so"))
        and arguments[1] in ("r", "rb", None)
    ):
        return  # a module of the core or of what it may import
    seen.append(f"{event} {arguments!r}"[:200])


before = set(sys.modules)
sys.addaudithook(hook)

from placet.core.errors import PlacetError
from placet.core.trust import parse_trust
from placet.core.verify import Expected, verify_for_audit, verify_for_use

trust = parse_trust(snapshot)
expected = Expected(
    wanted["target"], frozenset(wanted["subjects"]), wanted["actionType"], wanted["parameters"]
)
approval = verify_for_use(bundle, trust=trust, gate="prod-eu", expected=expected, now=int(NOW))
verify_for_audit(bundle, trust=trust, logged_at=int(NOW))
try:
    verify_for_use(bundle[:-1], trust=trust, gate="prod-eu", expected=expected, now=int(NOW))
except PlacetError as e:
    refused = e.reason.value

judged = list(seen)
print(
    json.dumps(
        {
            "people": approval.people,
            "refused": refused,
            "seen": judged,
            "loaded": sorted(set(sys.modules) - before),
        }
    )
)

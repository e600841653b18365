"""``placet in-toto verify`` and ``sign``: in-toto's own tools, in a process that knows our key type.

Arguments, output and exit codes are theirs; the stock tools have no hook by which they could learn of a
key type.  What verifies is `in_toto_verify`, unchanged.  One thing more is read: an owner's key as JSON,
where the stock tool reads PEM, so that a FIDO key can own a layout.

`in_toto_verify` executes the inspections of a layout: here as there, since whoever types this command asks
for it.  Gates and terminals never do.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import Any

from placet.cli import EXIT_ALLOW


def run(args: argparse.Namespace) -> int:
    """Runs the stock tool's own main with these words; returns its exit code."""
    from placet.adapters.securesystemslib import register

    register()
    tool = importlib.import_module(f"in_toto.in_toto_{args.in_toto_command}")
    tool.load_public_key_from_file = _read_key  # type: ignore[attr-defined]
    before = sys.argv
    sys.argv = [f"placet in-toto {args.in_toto_command}", *args.words]
    try:
        tool.main()
    except SystemExit as e:
        return e.code if isinstance(e.code, int) else EXIT_ALLOW if e.code is None else 1
    finally:
        sys.argv = before
    return EXIT_ALLOW


def _read_key(path: str) -> dict[str, Any]:
    from placet.adapters.intoto.keys import MAX_KEY_BYTES, read_owner_key

    with open(path, "rb") as file:
        return read_owner_key(file.read(MAX_KEY_BYTES + 1), path)

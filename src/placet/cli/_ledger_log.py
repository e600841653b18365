"""``placet ledger use-key`` and ``flush``: what a gate needs to have its uses in the log."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from pathlib import Path

from placet.adapters.places import open_ledger
from placet.cli import EXIT_ALLOW, EXIT_UNDECIDED, UserError
from placet.cli._shared import load_trust, setting
from placet.cli._use_log import choose_use_key, describe_backlog, log_access
from placet.core.errors import visible
from placet.gates.use_log import Flushed, flush_uses
from placet.ports.use_ledger import Backlog


def make_use_key(args: argparse.Namespace) -> int:
    """Makes this gate's use key; returns the exit code.

    Raises:
        IndeterminateError: BAD_VALUE where there is one already.
        UserError: the files cannot be written.
    """
    from placet.adapters.use_key import UseKey

    path = choose_use_key(args.key)
    try:
        key = UseKey.create(path)
    except OSError as e:
        raise UserError(f"The key cannot be written to {path}: {e.strerror}.") from e
    public = path.with_suffix(".pub")
    print(f"This gate's use key is {path}; whoever can read it can log uses in this gate's name.")
    print(f"Its public half is {public}, SHA-256 {key.public.digest}.")
    print(f"Have an administrator enter it: placet trust set-gate GATE --use-key {public}")
    print("Once the trust root names a log, this gate signs each use with it and has the log hold that.")
    return EXIT_ALLOW


def flush(args: argparse.Namespace, place: str | Path) -> int:
    """Hands in what waits; returns the exit code.

    Raises:
        PlacetError: trust or ledger cannot be used.
        UserError: something waits, and the trust root names no log.
    """
    with closing(open_ledger(place)) as ledger:
        waiting = ledger.count_unlogged()
        if not waiting.uses:
            if not args.quiet:
                print("No use waits for the log.")
            return EXIT_ALLOW
        access = log_access(load_trust(setting(args.trust, "trust")))
        if access is None:
            raise UserError(
                f"{describe_backlog(waiting)}, and the trust root names none with an address.",
                "Refresh trust. If the log was given up, an administrator says where these uses go: "
                "placet trust set-file log-policy FILE.",
            )
        return _say_flushed(flush_uses(ledger, access), waiting, quiet=args.quiet)


def _say_flushed(flushed: Flushed, before: Backlog, *, quiet: bool) -> int:
    done = "1 use was handed in" if flushed.appended == 1 else f"{flushed.appended} uses were handed in"
    if flushed.trouble is None and not flushed.left.uses:
        if not quiet:
            print(f"{done}. None waits any more.")
        return EXIT_ALLOW
    left = flushed.left if flushed.left.uses else before
    print(visible(f"{done}. {describe_backlog(left)}."), file=sys.stderr)
    if flushed.trouble is not None:
        print(visible(f"{flushed.trouble.reason}: {flushed.trouble}"), file=sys.stderr)
        if flushed.trouble.hint:
            print(visible(f"  Next      {flushed.trouble.hint}"), file=sys.stderr)
    return EXIT_UNDECIDED

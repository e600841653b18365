"""What `placet log serve` puts together: the log's store, its door, witnesses, static files."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from placet.cli import UserError
from placet.cli._listening import describe_address, open_listener
from placet.cli._log_parts import KEY_NAME, LogParts, build_log, follow_trust
from placet.cli._log_store import open_store
from placet.cli._relay_serve import make_gatekeeper, reload_callers, set_up_output
from placet.core.errors import visible

if TYPE_CHECKING:
    from placet.relay.gatekeeper import Gatekeeper


def serve(args: argparse.Namespace, folder: Path) -> None:
    """Runs the log until it is told to stop.

    Raises:
        UserError: something that was given cannot be used.
        PlacetError: the log cannot be used.
    """
    from placet.adapters.note_key import load_note_key
    from placet.adapters.serving.server import serve as serve_on
    from placet.adapters.system_clock import SystemClock
    from placet.core.tlog.note import ED25519

    key = args.key or folder / KEY_NAME
    if not key.exists():
        raise UserError(f"There is no log in {folder} yet.", "Make one: placet log init NAME")
    signer = load_note_key(key, ED25519)
    followed = None if args.trust_snapshot is None else follow_trust(args.trust_snapshot, "log")
    gatekeeper = make_gatekeeper(args)
    listener = open_listener(args, "log", "they could see who decided when, and keep it from you")
    with listener:
        observers = set_up_output(args.log_format, "log")
        store, place = open_store(args, folder, signer)
        parts = build_log(
            args,
            store,
            SystemClock(),
            gatekeeper=gatekeeper,
            followed=followed,
            observers=observers,
            close=store.close,
        )
        ready = (
            f"placet log listens on {describe_address(args.host, listener)}, "
            f"signs as {visible(signer.name)}, keeps its state in {place}"
        )
        serve_on(
            parts.app,
            listener,
            # Flushed: whoever starts the log from a script reads this line from a pipe.
            on_start=lambda: print(ready, flush=True),
            on_stop=parts.service.stop_waiting,
            on_hangup=partial(_reload, args, gatekeeper, parts),
            trusted_proxies=args.trusted_proxy,
        )
    print("placet log has stopped; everything that it acknowledged is stored", flush=True)


def _reload(args: argparse.Namespace, gatekeeper: Gatekeeper, parts: LogParts) -> None:
    reload_callers(args, gatekeeper, "log")
    parts.readers.reload()

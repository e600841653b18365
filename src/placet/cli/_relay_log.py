"""The log of `placet relay serve`: its own, in the file of its requests, or one elsewhere, or none."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from placet.cli import UserError
from placet.cli._log_parts import (
    KEY_NAME,
    LogParts,
    build_log,
    fewest_cosignatures,
    load_or_make_key,
    read_log_policy,
)
from placet.cli._shared import setting
from placet.core.errors import visible

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from placet.adapters.followed_trust import FollowedTrust
    from placet.adapters.log_client import AsyncLogClient
    from placet.adapters.serving.door import Observer
    from placet.core.tlog.note import NoteSigner
    from placet.log.witness_standing import WitnessStatus
    from placet.ports.clock import Clock
    from placet.ports.request_store import RequestStore
    from placet.relay.decision_log import DecisionLog
    from placet.relay.gatekeeper import Gatekeeper

log = logging.getLogger("placet.relay")


class RelayLog(NamedTuple):
    """What the relay does about the log."""

    said: str
    """Where decisions are logged, for the line with which the relay starts."""
    decisions: DecisionLog | None = None
    app: ASGIApp | None = None
    parts: LogParts | None = None
    client: AsyncLogClient | None = None

    @property
    def background(self) -> Sequence[Callable[[], Coroutine[Any, Any, None]]]:
        """What runs beside the relay."""
        return self.parts.background if self.parts else ()

    def witnesses(self) -> Sequence[WitnessStatus]:
        """Returns how it stands with the witnesses of the relay's own log."""
        cosigning = None if self.parts is None else self.parts.cosigning
        return () if cosigning is None else cosigning.statuses()

    def stop_waiting(self) -> None:
        """Sends home whoever waits for a proof."""
        if self.parts is not None:
            self.parts.service.stop_waiting()

    def reload(self) -> None:
        """Reads the monitors again."""
        if self.parts is not None:
            self.parts.readers.reload()

    async def close(self) -> None:
        """Lets go of connections; the store is closed by the relay."""
        if self.parts is not None:
            await self.parts.close()
        if self.client is not None:
            await self.client.close()


def load_log_key(args: argparse.Namespace, place: str | Path) -> NoteSigner | None:
    """Returns the key of the relay's own log, made at its first start; None where it has no log of its own.

    Raises:
        UserError: the options contradict each other or the place.
        PlacetError: the key cannot be used.
    """
    if args.no_log or args.log is not None or not isinstance(place, Path):
        given = [("--log-name", args.log_name), ("--tiles", args.tiles), ("--monitors", args.monitors)]
        for option, value in given:
            if value is not None:
                raise UserError(
                    f"{option} is about a log of the relay's own, and this one has none.",
                    "Leave it out. A log of its own goes with --state, without --no-log and --log.",
                )
        return None
    return load_or_make_key(place.parent / KEY_NAME, args.log_name)


def make_relay_log(
    args: argparse.Namespace,
    store: RequestStore,
    clock: Clock,
    *,
    gatekeeper: Gatekeeper,
    followed: FollowedTrust | None,
    observers: Sequence[Observer],
) -> RelayLog:
    """Puts together what the relay does about the log.

    Raises:
        UserError: something that was given cannot be used.
    """
    if args.log is not None:
        from placet.adapters.log_client import AsyncLogClient
        from placet.relay.decision_log import ExternalLog

        # All answers reach it from this one address; a token of the relay's own gives it limits of its own.
        token = os.environ.get("PLACET_LOG_TOKEN") or None
        client = AsyncLogClient(args.log, ca_file=setting(None, "log_ca_file"), token=token)
        cosignatures = fewest_cosignatures(read_log_policy(args.log_policy, followed))
        decisions = ExternalLog(client, cosignatures=cosignatures)
        return RelayLog(f"logs decisions at {visible(client.url)}", decisions, client=client)
    own = getattr(store, "log", None)
    if own is None:
        return RelayLog("logs nothing")
    from placet.relay.decision_log import EmbeddedLog

    parts = build_log(args, own, clock, gatekeeper=gatekeeper, followed=followed, observers=observers)
    embedded = EmbeddedLog(partial(_prove_now, parts), cosignatures=parts.service.cosignatures)
    return RelayLog(f"logs decisions as {visible(own.log_origin)}", embedded, parts.app, parts)


async def _prove_now(parts: LogParts, leaf_hash: bytes) -> str | None:
    index = await parts.service.store.find(leaf_hash)
    return None if index is None else await parts.service.prove_now(index, parts.service.cosignatures)

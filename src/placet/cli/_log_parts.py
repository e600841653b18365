"""What a log is put together from, whether it runs alone or inside the relay."""

from __future__ import annotations

import argparse
import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from placet.cli import UserError
from placet.cli._shared import read_file
from placet.core.errors import PlacetError, visible

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request

    from placet.adapters.followed_trust import FollowedTrust
    from placet.adapters.serving.door import Observer
    from placet.adapters.tuf.logged_changes import TrustChain
    from placet.core.tlog.log_policy import LogPolicy
    from placet.core.tlog.note import NoteSigner
    from placet.log.app import Wants
    from placet.log.cosigning import Cosigning
    from placet.log.readers import ReaderBook
    from placet.log.service import LogService
    from placet.ports.clock import Clock
    from placet.ports.log_store import LogStore
    from placet.relay.callers import Caller
    from placet.relay.gatekeeper import Gatekeeper

log = logging.getLogger("placet.log")

KEY_NAME = "log.key"
STORE_NAME = "log.sqlite3"
# Told apart by chance: two relays that were set up alike must not sign as one log.
_NAME_BYTES = 8


class LogParts(NamedTuple):
    """A log that is ready to be served."""

    service: LogService
    app: Starlette
    background: list[Callable[[], Coroutine[Any, Any, None]]]
    cosigning: Cosigning | None
    readers: _Readers

    async def close(self) -> None:
        """Lets go of the connections to witnesses; the store is its opener's."""
        if self.cosigning is not None:
            await self.cosigning.close()


class _Readers:
    """The monitors of now; exchanged on SIGHUP."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.book = _read_readers(path)

    def reload(self) -> None:
        """Reads the file again; one that cannot be used leaves the monitors as they were."""
        if self._path is None:
            return
        try:
            self.book = _read_readers(self._path)
        except UserError as e:
            log.error("the monitors stay as they were: %s", e)
        else:
            log.warning("the monitors were read again; %d are known", len(self.book.known))


def add_log_options(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Declares what is said of a log wherever it runs; returns the group, for more of the kind."""
    group = parser.add_argument_group("the log")
    group.add_argument(
        "--log-policy",
        type=Path,
        metavar="FILE",
        help="the log policy whose witnesses are asked (default: the trust snapshot's)",
    )
    group.add_argument(
        "--tiles",
        type=Path,
        metavar="DIR",
        help="keep the log there as static files, too, which any web server can serve",
    )
    group.add_argument(
        "--monitors",
        type=Path,
        metavar="FILE",
        help="who may read what people decided, not only that they did (TOML); read again on SIGHUP",
    )
    return group


def load_or_make_key(path: Path, name: str | None) -> NoteSigner:
    """Returns the log's key; makes one where there is none.

    Args:
        path: the key's file.
        name: what the log is to be called; None leaves an existing key as it is, and takes a random name.

    Raises:
        UserError: the key is another log's, or cannot be written.
        PlacetError: it cannot be used.
    """
    from placet.adapters.note_key import create_note_key, load_note_key
    from placet.core.tlog.note import ED25519

    if not path.exists():
        chosen = name or f"placet.localhost/log/{secrets.token_hex(_NAME_BYTES)}"
        try:
            return create_note_key(path, chosen, ED25519)
        except OSError as e:
            raise UserError(
                f"The folder {path.parent} cannot be used: {e.strerror}.",
                "Make it belong to the user who runs this, or name another one with --state.",
            ) from e
    signer = load_note_key(path, ED25519)
    if name is not None and signer.name != name:
        raise UserError(
            f"The log in {path.parent} is called {visible(signer.name)}, not {visible(name)}.",
            "A log keeps its name: proofs and witnesses know it by that. Leave the name out, or start "
            "another log in another folder.",
        )
    return signer


def follow_trust(path: Path, service: str) -> FollowedTrust:
    """Loads a trust snapshot that is followed.

    Raises:
        UserError: it cannot be used.
    """
    from placet.adapters.followed_trust import FollowedTrust

    try:
        return FollowedTrust.load(path, service=service)
    except OSError as e:
        raise UserError(
            f"The trust snapshot {path} cannot be read: {e.strerror}.",
            "`placet trust refresh` makes one on this machine.",
        ) from e
    except PlacetError as e:
        raise UserError(f"{path} is no trust snapshot: {e.message}", e.hint) from e


def read_log_policy(path: Path | None, followed: FollowedTrust | None) -> LogPolicy | None:
    """Returns the log policy of a file, else the snapshot's, else None.

    Raises:
        UserError: the file cannot be used.
    """
    from placet.core.tlog.log_policy import MAX_POLICY_BYTES, parse_log_policy

    if path is None:
        return None if followed is None else followed.trust.log_policy
    try:
        return parse_log_policy(read_file(path, "log policy", MAX_POLICY_BYTES))
    except PlacetError as e:
        raise UserError(f"{path} is no log policy: {e.message}", e.hint) from e


def fewest_cosignatures(policy: LogPolicy | None) -> int:
    """Returns how many cosignatures the smallest quorum has; 1 where none is asked for."""
    if policy is None:
        return 0
    counts = {witness.name: 1 for witness in policy.witnesses}
    for group in policy.groups:
        counts[group.name] = sum(sorted(counts[name] for name in group.members)[: group.threshold])
    return counts.get(policy.quorum, 1 if policy.witnesses else 0)


def build_log(
    args: argparse.Namespace,
    store: LogStore,
    clock: Clock,
    *,
    gatekeeper: Gatekeeper,
    followed: FollowedTrust | None,
    observers: Sequence[Observer] = (),
    close: Callable[[], Awaitable[None]] | None = None,
) -> LogParts:
    """Puts a log together around its store.

    Args:
        args: has what `add_log_options` declared.
        store: keeps it.
        clock: tells the time of day.
        gatekeeper: tells callers apart and holds them to their rates.
        followed: the trust snapshot, or None.
        observers: told of each call.
        close: closes the store of a log that runs alone; None for one that is part of another service,
            which then runs `background` and calls `LogParts.close`.

    Raises:
        UserError: something that was given cannot be used.
    """
    from placet.log.app import create_app
    from placet.log.service import LogService, no_trust

    policy = read_log_policy(args.log_policy, followed)
    _check_named(policy, store.log_origin)
    cosigning = _make_cosigning(store, policy, clock)
    service = LogService(
        store,
        clock,
        trust=no_trust if followed is None else followed.current,
        verify_change=_verify_change(followed),
        cosignatures=fewest_cosignatures(policy) if cosigning else 0,
    )
    readers = _Readers(args.monitors)
    background: list[Callable[[], Coroutine[Any, Any, None]]] = [] if cosigning is None else [cosigning.run]
    if args.tiles is not None:
        background.append(partial(_export, service, args.tiles))
    app = create_app(
        service,
        admit=_admit_by(gatekeeper),
        # With a snapshot, what is logged was signed by somebody enrolled.
        spend=gatekeeper.spend_log if followed is None else _spend_nothing,
        readers=lambda: readers.book,
        witnesses=tuple if cosigning is None else cosigning.statuses,
        observers=observers,
        background=() if close is None else background,
        close=None if close is None else partial(_close_alone, cosigning, close),
    )
    return LogParts(service, app, background, cosigning, readers)


async def _close_alone(cosigning: Cosigning | None, close: Callable[[], Awaitable[None]]) -> None:
    if cosigning is not None:
        await cosigning.close()
    await close()


def _check_named(policy: LogPolicy | None, log_origin: str) -> None:
    if policy is not None and log_origin not in {entry.key.name for entry in policy.logs}:
        log.warning(
            "the log policy does not name this log, %s: proofs by it count nowhere until an administrator "
            "names it",
            visible(log_origin),
        )


def _make_cosigning(store: LogStore, policy: LogPolicy | None, clock: Clock) -> Cosigning | None:
    from placet.adapters.witness_client import WitnessClient
    from placet.log.cosigning import AskedWitness, Cosigning

    reachable = [] if policy is None else [witness for witness in policy.witnesses if witness.url]
    if not reachable:
        return None
    asked = [AskedWitness(it.name, it.key, WitnessClient(it.url)) for it in reachable]
    return Cosigning(store, asked, clock)


def _verify_change(followed: FollowedTrust | None) -> Callable[[bytes], object]:
    chain: list[TrustChain] = []

    def verify(metadata: bytes) -> None:
        if not chain:
            # Imported when it is needed: most logs see a few trust changes a year.
            from placet.adapters.tuf.logged_changes import TrustChain

            chain.append(TrustChain(None if followed is None else followed.path))
        chain[0].verify(metadata)

    return verify


def _spend_nothing(caller: Caller, size: int) -> None:
    """Where records are not limited."""


def _admit_by(gatekeeper: Gatekeeper) -> Callable[[Request, Wants], Caller]:
    from placet.log.app import Wants
    from placet.relay.gatekeeper import Kind

    kinds = {Wants.READ: Kind.READ, Wants.APPEND: Kind.ANSWER, Wants.FREE: Kind.FREE}
    return lambda request, wants: gatekeeper.admit(request, kinds[wants])


async def _export(service: LogService, folder: Path) -> None:
    from placet.log.tiles_export import keep_exporting

    await keep_exporting(service, folder)


def _read_readers(path: Path | None) -> ReaderBook:
    from placet.adapters.serving.tokens import TokenFileError
    from placet.log.readers import MAX_READERS_BYTES, ReaderBook, parse_readers

    if path is None:
        return ReaderBook()
    try:
        return parse_readers(read_file(path, "monitors file", MAX_READERS_BYTES))
    except TokenFileError as e:
        raise UserError(
            f"The monitors file {path} cannot be used: {e}.",
            "docs/how-to-run-a-log.md shows what stands in it.",
        ) from e

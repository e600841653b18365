"""What `placet relay serve` puts together: store, door, cleaning up, numbers, notices."""

from __future__ import annotations

import argparse
import logging
import socket
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from placet.cli import UserError
from placet.cli._listening import describe_address
from placet.cli._log_parts import follow_trust
from placet.cli._relay_log import RelayLog, load_log_key, make_relay_log
from placet.cli._shared import read_file
from placet.ports.request_store import NO_LIMIT, NewRequest, RequestStore, RequestStoreError

if TYPE_CHECKING:
    from placet.adapters.serving.door import Observer
    from placet.core.tlog.note import NoteSigner
    from placet.ports.clock import Clock
    from placet.relay.announcer import Announcer
    from placet.relay.answer_filter import AnswerFilter
    from placet.relay.callers import CallerBook
    from placet.relay.courier import Courier
    from placet.relay.gatekeeper import Gatekeeper
    from placet.relay.metrics import Metrics


# What the containers may take of the room: rows, indexes, the write-ahead log and unused pages need the rest.
_PART_FOR_CONTAINERS = 0.75


class _Parts(NamedTuple):
    """What can be refused before anything is opened."""

    clock: Clock
    max_kept_bytes: int
    gatekeeper: Gatekeeper
    admission: AnswerFilter | None
    metrics: Metrics | None
    announcer: Announcer | None


def serve(args: argparse.Namespace, listener: socket.socket, place: str | Path) -> None:
    """Runs the relay on `listener`, with its store at `place`, until it is told to stop.

    Raises:
        UserError: something that was given cannot be used.
    """
    from placet.adapters.places import show_place

    parts = _prepare(args)
    stop_metrics = _listen_for_metrics(args.metrics_listen, parts.metrics)
    where = describe_address(args.host, listener)
    ready = f"placet relay listens on {where}, keeps its state in {show_place(place)}"
    try:
        _run(args, parts, _open_store(args, place, load_log_key(args, place)), listener, ready)
    finally:
        stop_metrics()
    print("placet relay has stopped; everything that it acknowledged is stored", flush=True)


def _prepare(args: argparse.Namespace) -> _Parts:
    from placet.adapters.system_clock import SystemClock

    clock = SystemClock()
    max_kept_bytes = int(args.max_bytes * _PART_FOR_CONTAINERS)
    metrics = _make_metrics() if args.metrics_listen else None
    return _Parts(
        clock,
        max_kept_bytes,
        make_gatekeeper(args, max_kept_bytes),
        _load_filter(args.trust_snapshot) if args.trust_snapshot else None,
        metrics,
        _make_announcer(args.notify, clock, metrics) if args.notify else None,
    )


def _run(
    args: argparse.Namespace, parts: _Parts, store: RequestStore, listener: socket.socket, ready: str
) -> None:
    from placet.adapters.serving.server import serve as serve_on
    from placet.relay.app import create_app
    from placet.relay.janitor import Janitor, Retention

    observers = set_up_output(args.log_format, "relay")
    janitor = Janitor(store, parts.clock, Retention(args.keep, parts.max_kept_bytes))
    relay_log = make_relay_log(
        args,
        store,
        parts.clock,
        gatekeeper=parts.gatekeeper,
        followed=parts.admission.followed if parts.admission else None,
        observers=observers,
    )
    courier = _make_courier(parts, store, relay_log, on_full=janitor.hurry)
    background: list[Callable[[], Coroutine[Any, Any, None]]] = [janitor.run, *relay_log.background]
    if parts.announcer is not None:
        background.append(parts.announcer.run)
    if parts.metrics is not None:
        observers.append(parts.metrics)
        parts.metrics.watch(waiters=lambda: courier.waiters, deleted=lambda: janitor.deleted)
        parts.metrics.watch_commits(store)
        parts.metrics.watch_witnesses(relay_log.witnesses)
        background.append(partial(parts.metrics.look_at, store, parts.clock))
    app = create_app(
        courier,
        gatekeeper=parts.gatekeeper,
        observers=observers,
        background=background,
        close=partial(_close, relay_log, store),
        log_app=relay_log.app,
    )
    serve_on(
        app,
        listener,
        # Flushed: whoever starts the relay from a script reads this line from a pipe.
        on_start=lambda: print(f"{ready}, {relay_log.said}", flush=True),
        on_stop=partial(_stop_waiting, courier, relay_log),
        on_hangup=partial(_reload, args, parts, relay_log),
        trusted_proxies=args.trusted_proxy,
    )


def _make_courier(
    parts: _Parts, store: RequestStore, relay_log: RelayLog, *, on_full: Callable[[], None]
) -> Courier:
    from placet.relay.courier import Courier

    return Courier(
        store,
        parts.clock,
        admission=parts.admission,
        decision_log=relay_log.decisions,
        spend=parts.gatekeeper.spend_log,
        on_new=parts.announcer.note if parts.announcer else _tell_nobody,
        on_full=on_full,
    )


async def _close(relay_log: RelayLog, store: RequestStore) -> None:
    await relay_log.close()
    await store.close()


def _stop_waiting(courier: Courier, relay_log: RelayLog) -> None:
    courier.stop_waiting()
    relay_log.stop_waiting()


def _reload(args: argparse.Namespace, parts: _Parts, relay_log: RelayLog) -> None:
    reload_callers(args, parts.gatekeeper, "relay", parts.max_kept_bytes)
    relay_log.reload()


def _tell_nobody(request: NewRequest) -> None:
    """Without --notify."""


def _open_store(args: argparse.Namespace, place: str | Path, log_signer: NoteSigner | None) -> RequestStore:
    from placet.adapters.places import open_store

    try:
        return open_store(place, max_bytes=args.max_bytes, log_signer=log_signer)
    except RequestStoreError as e:
        raise UserError(e.message, e.hint) from e


def set_up_output(log_format: str, service: str) -> list[Observer]:
    """Sends what the service has to say to where its operator reads it; returns who must be told of calls."""
    from placet.relay.logs import set_up_json_log, set_up_log

    if log_format == "json":
        return [set_up_json_log()]
    set_up_log(service)
    return []


def make_gatekeeper(args: argparse.Namespace, max_kept_bytes: int = NO_LIMIT) -> Gatekeeper:
    """Returns who holds callers to their rates.

    Raises:
        UserError: the callers file cannot be used.
    """
    from placet.relay.gatekeeper import Gatekeeper

    return Gatekeeper(
        _read_callers(args, max_kept_bytes),
        require_caller=args.require_caller,
        trusted_proxies=args.trusted_proxy,
    )


def _read_callers(args: argparse.Namespace, max_kept_bytes: int) -> CallerBook:
    from placet.relay.callers import MAX_CALLERS_BYTES, UNLIMITED_BOOK, CallersError, parse_callers

    if args.no_limits:
        return UNLIMITED_BOOK
    data = read_file(args.callers, "callers file", MAX_CALLERS_BYTES) if args.callers else b""
    try:
        book = parse_callers(data, max_kept_bytes=max_kept_bytes)
    except CallersError as e:
        raise UserError(
            f"The callers file {args.callers} cannot be used: {e}.",
            "docs/how-to-run-a-relay.md shows what stands in it.",
        ) from e
    if args.require_caller and not book.known:
        raise UserError(
            "With --require-caller nobody could call: there is no known caller.",
            "Name the callers in a file, and give it with --callers.",
        )
    return book


def reload_callers(
    args: argparse.Namespace, gatekeeper: Gatekeeper, service: str, max_kept_bytes: int = NO_LIMIT
) -> None:
    """Reads the callers file of a service again; one that cannot be used leaves the callers as they were."""
    log = logging.getLogger(f"placet.{service}")
    try:
        book = gatekeeper.book = _read_callers(args, max_kept_bytes)
    except UserError as e:
        log.error("the callers stay as they were: %s", e)
    else:
        # The log has nothing below warnings; who reloads wants to see that it happened.
        log.warning("the callers were read again; %d are known by a token", len(book.known))


def _load_filter(path: Path) -> AnswerFilter:
    from placet.relay.answer_filter import AnswerFilter

    return AnswerFilter(follow_trust(path, "relay"))


def _make_metrics() -> Metrics:
    try:
        from placet.relay.metrics import Metrics
    except ModuleNotFoundError as e:
        raise UserError(
            f"Metrics need the Python package {e.name}.", "Install it: pip install 'placet[relay]'."
        ) from e
    return Metrics()


def _listen_for_metrics(address: tuple[str, int] | None, metrics: Metrics | None) -> Callable[[], None]:
    if address is None or metrics is None:
        return lambda: None
    from prometheus_client import start_http_server

    host, port = address
    try:
        server, _ = start_http_server(port, host, registry=metrics.registry)
    except OSError as e:
        raise UserError(
            f"Metrics cannot be offered on {host} port {port}: {e.strerror}.",
            "Give another address with --metrics-listen.",
        ) from e

    def stop() -> None:
        server.shutdown()
        server.server_close()

    return stop


def _make_announcer(path: Path, clock: Clock, metrics: Metrics | None) -> Announcer:
    try:
        from placet.adapters.notify import MAX_NOTIFY_BYTES, AppriseNotifier, NotifyConfigError, parse_notify
    except ModuleNotFoundError as e:
        raise UserError(
            f"Notices need the Python package {e.name}.", "Install it: pip install 'placet[notify]'."
        ) from e
    from placet.relay.announcer import Announcer

    try:
        config = parse_notify(read_file(path, "notify file", MAX_NOTIFY_BYTES))
        notifier = AppriseNotifier(config.groups)
    except NotifyConfigError as e:
        raise UserError(
            f"The notify file {path} cannot be used: {e}.",
            "docs/how-to-run-a-relay.md shows what stands in it.",
        ) from e
    saw = metrics.saw_notification if metrics else lambda outcome, count: None
    return Announcer(notifier, clock, seconds_between=config.seconds_between, saw=saw)

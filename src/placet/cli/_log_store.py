"""Where `placet log serve` keeps its log: in a file, or in a bucket of object storage."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from placet.adapters.object_log.address import MISSING_CLIENT, SCHEME, is_bucket, parse_address
from placet.cli import UserError
from placet.cli._log_parts import STORE_NAME
from placet.core.errors import MalformedError

if TYPE_CHECKING:
    from placet.adapters.object_log.store import ObjectLog
    from placet.adapters.sqlite.log import SqliteLog
    from placet.core.tlog.note import NoteSigner

# As the AWS command line has them, in its order.
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


class OpenStore(NamedTuple):
    """A log's store, and how people are told where it is."""

    log: SqliteLog | ObjectLog
    place: str


def add_store_options(group: argparse._ArgumentGroup) -> None:
    """Declares where the log is kept."""
    group.add_argument(
        "--store",
        metavar="URL",
        help=f"keep the log in object storage, {SCHEME}BUCKET/PREFIX (default: a file in its folder)",
    )
    group.add_argument(
        "--endpoint",
        metavar="URL",
        help="the storage's address where it is not AWS (default: AWS_ENDPOINT_URL_S3)",
    )
    group.add_argument(
        "--moved-from",
        metavar="URL",
        help="the log was copied here from that bucket, whole, and will never run there again",
    )


def open_store(args: argparse.Namespace, folder: Path, signer: NoteSigner) -> OpenStore:
    """Opens the store that was asked for.

    Raises:
        UserError: what was given is no place for a log.
        PlacetError: the log there cannot be used.
    """
    if args.store is None:
        if args.endpoint or args.moved_from:
            raise UserError("--endpoint and --moved-from belong to --store s3://…", "Give --store, too.")
        from placet.adapters.sqlite.log import SqliteLog

        return OpenStore(SqliteLog.open(folder / STORE_NAME, signer), str(folder / STORE_NAME))
    if not is_bucket(args.store):
        raise UserError(
            f"{args.store} is no bucket.", "A file needs no --store: --state DIR names its folder."
        )
    endpoint = args.endpoint or next(filter(None, map(os.environ.get, _ENDPOINTS)), "")
    try:
        address = parse_address(args.store, endpoint)
        moved_from = "" if args.moved_from is None else str(parse_address(args.moved_from))
    except MalformedError as e:
        raise UserError(f"{e.message} This was given: {e.actual}", e.hint) from e
    try:
        from placet.adapters.object_log.store import ObjectLog
    except ModuleNotFoundError as e:
        raise UserError(f"The Python package {e.name} is not installed.", MISSING_CLIENT) from e
    import asyncio

    # Opened before anybody is let in; the server's own loop goes on with it.
    log = asyncio.run(ObjectLog.open(address, signer, moved_from=moved_from))
    return OpenStore(log, str(address))

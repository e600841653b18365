"""``placet log timestamp`` and ``verify-timestamp``: an authority's signed time on a checkpoint."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from placet.cli import EXIT_ALLOW, UserError
from placet.cli._log_checkpoints import (
    configure_checkpoint,
    describe_signature,
    read_checkpoint,
    verify_log_signature,
)
from placet.cli._shared import read_file
from placet.cli.verify import GREEN, print_json, print_refusal, verdict_line
from placet.core.encoding import format_time
from placet.core.errors import PlacetError, visible
from placet.core.tlog.checkpoint import Checkpoint, parse_checkpoint
from placet.core.tlog.note import parse_note
from placet.documents.checkpoints import stamped_form

if TYPE_CHECKING:
    from placet.adapters.timestamp import StampedTime, TimestampAuthority

_MAX_ROOT_BYTES = 1024 * 1024
_MAX_STAMP_BYTES = 64 * 1024

DESCRIPTION = """\
Have a timestamp authority (RFC 3161) put its time on a log's checkpoint.

It proves that the log was in this state by then, also where the log has no witnesses. The authority learns
nothing: it gets a hash. What was stamped, the checkpoint without cosignatures, is written beside it.
"""
EXAMPLES = """\
examples:
  placet log timestamp --log https://relay.example/log --tsa https://tsa.example/api/v1/timestamp \\
    --trusted-root trusted_root.json -o log-2026-11.tsr
  placet log verify-timestamp log-2026-11.tsr log-2026-11.checkpoint --trusted-root trusted_root.json

exit codes: 0 stamped, 1 refused or false, 2 wrong usage, 3 the log or the authority cannot be asked
"""
VERIFY_EXAMPLES = """\
examples:
  placet log verify-timestamp log-2026-11.tsr log-2026-11.checkpoint --trusted-root trusted_root.json
  openssl ts -verify -in log-2026-11.tsr -data log-2026-11.checkpoint -CAfile root.pem      (says the same)

exit codes: 0 it holds, 1 it does not, 2 wrong usage, 3 undecided
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of ``placet log timestamp``."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    configure_checkpoint(parser, may_fetch=True)
    parser.add_argument("--tsa", required=True, metavar="URL", help="the authority's whole address")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="FILE.tsr", help="where it goes")
    parser.add_argument("--ca-file", metavar="FILE", help="PEM file with the authority of their certificates")
    _configure_both(parser)


def configure_verify(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of ``placet log verify-timestamp``."""
    parser.epilog = VERIFY_EXAMPLES
    parser.add_argument("stamp", metavar="FILE.tsr", help="the timestamp")
    configure_checkpoint(parser, may_fetch=False)
    _configure_both(parser)


def _configure_both(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--trusted-root",
        required=True,
        metavar="FILE",
        help="a Sigstore trusted root with timestamp authorities, or one authority's PEM chain",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Runs ``placet log timestamp``; returns its exit code."""
    return _run(_stamp, args)


def run_verify(args: argparse.Namespace) -> int:
    """Runs ``placet log verify-timestamp``; returns its exit code."""
    return _run(_verify, args)


def _run(command: Callable[[argparse.Namespace], int], args: argparse.Namespace) -> int:
    if importlib.util.find_spec("rfc3161_client") is None:
        raise UserError(
            "Timestamps need rfc3161-client, which is not installed here.",
            "Install it with: pip install 'placet[sigstore,client]'",
        )
    try:
        return command(args)
    except PlacetError as refusal:
        if not args.json:
            raise
        return print_refusal(refusal, as_json=True)


def _stamp(args: argparse.Namespace) -> int:
    from placet.adapters.private_file import write_atomically
    from placet.adapters.timestamp import fetch_timestamp

    authorities = _read_authorities(args.trusted_root)
    beside = args.output.with_suffix(".checkpoint")
    if beside == args.output:
        raise UserError("The timestamp would be written over what it stamps.", "Name it FILE.tsr.")
    note = read_checkpoint(args)
    signature, message = describe_signature(note, args), stamped_form(note)
    stamp, stamped = fetch_timestamp(message, args.tsa, authorities, ca_file=args.ca_file)
    write_atomically(beside, message, mode=0o644)
    write_atomically(args.output, stamp, mode=0o644)
    checkpoint = parse_checkpoint(parse_note(note).text)
    if args.json:
        files = {"timestamp": str(args.output), "checkpoint": str(beside)}
        print_json(_to_object(checkpoint, stamped) | {"files": files, "logSignature": signature})
        return EXIT_ALLOW
    print(f"Stamped: {_describe(checkpoint)} existed by {format_time(stamped.time)}.")
    print(f"  Authority     {visible(stamped.authority)}")
    print(f"  Timestamp     {visible(str(args.output))}")
    print(f"  Of this file  {visible(str(beside))}")
    print(f"  Log's own signature: {signature}")
    return EXIT_ALLOW


def _verify(args: argparse.Namespace) -> int:
    from placet.adapters.timestamp import verify_timestamp

    authorities = _read_authorities(args.trusted_root)
    note = read_checkpoint(args)
    stamp = read_file(args.stamp, "timestamp", _MAX_STAMP_BYTES)
    checkpoint = verify_log_signature(note, args)
    stamped = verify_timestamp(stamp, stamped_form(note), authorities)
    if args.json:
        print_json({"verdict": "holds", **_to_object(checkpoint, stamped)})
        return EXIT_ALLOW
    sentence = f"{_describe(checkpoint)} existed by {format_time(stamped.time)}."
    print(verdict_line("HOLDS", GREEN, sentence))
    print(f"  Authority  {visible(stamped.authority)}")
    print("  Means      whatever is proven to stand in this state of the log was there by then")
    return EXIT_ALLOW


def _describe(checkpoint: Checkpoint) -> str:
    return f"{visible(checkpoint.log_origin)} with {checkpoint.tree_size} entries"


def _to_object(checkpoint: Checkpoint, stamped: StampedTime) -> dict[str, object]:
    return {
        "log": checkpoint.log_origin,
        "treeSize": str(checkpoint.tree_size),
        "rootHash": checkpoint.root_hash.hex(),
        "time": format_time(stamped.time),
        "authority": stamped.authority,
    }


def _read_authorities(path: str) -> tuple[TimestampAuthority, ...]:
    from placet.adapters.timestamp import read_authorities

    return read_authorities(read_file(path, "trusted root", _MAX_ROOT_BYTES))

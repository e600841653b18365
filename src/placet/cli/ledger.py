"""``placet ledger``: make a gate's use ledger, look into it, declare its new birth."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from placet.adapters.places import declare_birth, ledger_exists, migrate_ledger, open_ledger, show_place
from placet.adapters.postgres.address import is_postgres
from placet.adapters.system_clock import SystemClock
from placet.cli import EXIT_DENY, EXIT_UNDECIDED, UserError
from placet.cli._shared import describe_migration
from placet.cli._use_log import describe_backlog
from placet.cli.run import PINNED_LEDGER, choose_ledger
from placet.core.decode import read_hex_digest
from placet.core.encoding import format_time
from placet.core.errors import IndeterminateError, PlacetError, visible
from placet.ports.use_ledger import NOT_EXECUTED, Backlog, Birth, UseLedger, UseRecord

_DEFAULT_LIMIT = 50

_CONSEQUENCES = """\
A new birth of the ledger at {place}:

  * Every approval that was requested up to now can no longer be used. Open requests must be made again.
  * Recorded uses are kept; those that a restored backup has forgotten stay forgotten.
  * Declare it after restoring or copying the ledger, or the whole machine, from a backup or a snapshot.
{more}"""
_CONSEQUENCES_ON_POSTGRES = """\
  * Declare it after a failover too: the server that took over may not have seen the latest uses.
  * Make sure that no gate still reaches the server that was left: name the new ledger in the trust root.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.description = "The gate's use ledger: which approvals were used here, and how it ended."
    commands = parser.add_subparsers(dest="ledger_command", required=True, metavar="COMMAND")
    create = commands.add_parser("create", help="make the ledger of a new gate")
    show = commands.add_parser("show", help="show uses, and those whose outcome is not known")
    reborn = commands.add_parser(
        "reborn", help="declare that a restored, copied or damaged ledger starts anew"
    )
    migrate = commands.add_parser("migrate", help="upgrade a ledger that an earlier version made")
    flush = commands.add_parser("flush", help="hand the log the uses that it does not hold yet")
    use_key = commands.add_parser("use-key", help="make the key by which this gate logs its uses")
    for command in (create, show, reborn, migrate, flush):
        command.add_argument(
            "--ledger",
            metavar="PLACE",
            help="the ledger: a file, or a database (postgresql://…; default: this gate's)",
        )
    show.add_argument("payload_digest", nargs="?", metavar="REQUEST", help="only uses of this request ID")
    show.add_argument("--unknown", action="store_true", help="only uses whose outcome is not known")
    show.add_argument(
        "--limit", type=int, default=_DEFAULT_LIMIT, metavar="N", help="at most N uses, newest first"
    )
    show.add_argument("--json", action="store_true", help="for programs")
    flush.add_argument("--trust", metavar="SNAPSHOT", help="the trust snapshot that names the log")
    flush.add_argument("--quiet", action="store_true", help="print nothing while all is well")
    use_key.add_argument(
        "--key", type=Path, metavar="FILE", help="where to keep it (default: use.pem in the gate's folder)"
    )
    reborn.add_argument("--yes", action="store_true", help="do not ask")
    reborn.add_argument(
        "--clock-was-wrong",
        action="store_true",
        help="accept a time before the latest that the ledger has seen",
    )


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    if args.ledger_command == "use-key":
        from placet.cli._ledger_log import make_use_key

        return make_use_key(args)
    place = choose_ledger(args.ledger)
    match args.ledger_command:
        case "flush":
            from placet.cli._ledger_log import flush

            return flush(args, place)
        case "create":
            return _create(place)
        case "reborn":
            return _reborn(place, yes=args.yes, clock_was_wrong=args.clock_was_wrong)
        case "migrate":
            return _migrate(place)
        case _:
            return _show(place, args)


def _create(place: str | Path) -> int:
    if ledger_exists(place):
        raise UserError(
            f"There is a ledger at {show_place(place)} already.",
            "`placet ledger show` looks into it; after a restore, `placet ledger reborn` starts it anew.",
        )
    _say_birth(place, declare_birth(place, now=SystemClock().now()))
    return 0


def _reborn(place: str | Path, *, yes: bool, clock_was_wrong: bool) -> int:
    if not ledger_exists(place):
        raise UserError(f"There is no ledger at {show_place(place)}.", "`placet ledger create` makes one.")
    more = _CONSEQUENCES_ON_POSTGRES if is_postgres(place) else ""
    print(_CONSEQUENCES.format(place=show_place(place), more=more), file=sys.stderr)
    if not yes and not _confirmed():
        print("Nothing was changed.", file=sys.stderr)
        return EXIT_DENY
    birth = declare_birth(place, now=SystemClock().now(), clock_was_wrong=clock_was_wrong)
    _say_birth(place, birth, replaces=True)
    return 0


def _migrate(place: str | Path) -> int:
    if not is_postgres(place) and not ledger_exists(place):
        raise UserError(f"There is no ledger at {show_place(place)}.", "`placet ledger create` makes one.")
    print(describe_migration(show_place(place), *migrate_ledger(place)))
    return 0


def _confirmed() -> bool:
    if not sys.stdin.isatty():
        raise UserError("This needs a confirmation, and there is no terminal to ask at.", "Add --yes.")
    print("Type `reborn` to declare it: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip() == "reborn"


def _say_birth(place: str | Path, birth: Birth, *, replaces: bool = False) -> None:
    print(f"Ledger {birth.ledger_id} was born at {format_time(birth.born_at)}: {show_place(place)}")
    print("Approvals requested from the next second on can be used here.")
    if replaces:
        print("Where the trust root names a ledger for the gate, an administrator changes it:")
    else:
        print("To bind the gate to it, an administrator names it in the trust root:")
    command = "set-gate" if replaces else "add-gate"
    print(f"  placet trust {command} GATE --ledger {PINNED_LEDGER}{birth.ledger_id}")


def _show(place: str | Path, args: argparse.Namespace) -> int:
    with closing(open_ledger(place)) as ledger:
        trouble = _find_trouble(ledger)
        if args.unknown:
            records = ledger.list_unknown()
        elif args.payload_digest:
            records = ledger.uses(read_hex_digest(args.payload_digest, ""))
        else:
            records = ledger.list_latest(args.limit)
        birth = ledger.birth()
        unknown, unlogged = len(ledger.list_unknown()), ledger.count_unlogged()
    shown = _Shown(show_place(place), birth, records, unknown, unlogged)
    if args.json:
        print(json.dumps(_to_object(shown, trouble), indent=2))
    else:
        _print_uses(shown)
    if trouble is not None:
        print(f"{trouble.reason}: {trouble}\n{trouble.hint}", file=sys.stderr)
        return EXIT_UNDECIDED
    return 0


def _find_trouble(ledger: UseLedger) -> PlacetError | None:
    try:
        ledger.check_undisturbed()
    except IndeterminateError as error:
        return error
    return None


class _Shown(NamedTuple):
    """What is shown of a ledger."""

    place: str
    birth: Birth
    records: tuple[UseRecord, ...]
    unknown: int
    unlogged: Backlog


def _print_uses(shown: _Shown) -> None:
    birth = shown.birth
    print(f"Ledger {birth.ledger_id}, born at {format_time(birth.born_at)}: {shown.place}")
    if not shown.records:
        print("No uses to show.")
    for record in shown.records:
        event = f", event {record.event_id}" if record.event_id else ""
        print(f"{format_time(record.used_at)}  {record.payload_digest}  {record.use_unit}{visible(event)}")
        if record.summary:
            print(f"    {visible(record.summary)}")
        print(f"    use {record.ordinal}: {_describe_outcome(record)}{_describe_leaf(record)}")
    if shown.unknown:
        print(
            f"{shown.unknown} of unknown outcome: still running, or the gate was stopped. They are never run"
            " again by themselves; find out what happened, then request a new approval if it is needed."
        )
    if shown.unlogged.uses:
        print(f"{describe_backlog(shown.unlogged)}: `placet ledger flush` hands in what waits.")


def _describe_leaf(record: UseRecord) -> str:
    if record.is_unlogged:
        return "; waits for the log"
    return "" if record.leaf_index is None else f"; leaf {record.leaf_index} of the log"


def _describe_outcome(record: UseRecord) -> str:
    if record.exit_code is None or record.finished_at is None:
        return "OUTCOME UNKNOWN"
    if record.exit_code == NOT_EXECUTED:
        return f"NOTHING WAS DONE at {format_time(record.finished_at)}: the log did not take the use"
    return f"exit code {record.exit_code} at {format_time(record.finished_at)}"


def _to_object(shown: _Shown, trouble: PlacetError | None) -> dict[str, object]:
    birth, since = shown.birth, shown.unlogged.since
    return {
        "ledger": {"id": birth.ledger_id, "bornAt": format_time(birth.born_at), "path": shown.place},
        "trouble": None if trouble is None else {"reason": trouble.reason, "message": str(trouble)},
        "unknownOutcomes": shown.unknown,
        "unlogged": {
            "uses": shown.unlogged.uses,
            "since": None if since is None else format_time(since),
        },
        "uses": [
            {
                "request": record.payload_digest,
                "summary": record.summary,
                "unit": record.use_unit,
                "use": record.ordinal,
                "usedAt": format_time(record.used_at),
                "eventId": record.event_id,
                "exitCode": None if record.exit_code == NOT_EXECUTED else record.exit_code,
                "executed": None if record.exit_code is None else record.exit_code != NOT_EXECUTED,
                "finishedAt": None if record.finished_at is None else format_time(record.finished_at),
                "leafIndex": None if record.leaf_index is None else str(record.leaf_index),
                "waitsForLog": record.is_unlogged,
            }
            for record in shown.records
        ],
    }

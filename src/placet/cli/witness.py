"""``placet witness``: cosign the checkpoints of logs, so that none of them can show two histories."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from placet.adapters.paths import state_dir
from placet.cli import EXIT_ALLOW, EXIT_DENY, UserError
from placet.cli._listening import add_listen_options, check_policy_url, describe_address, open_listener
from placet.cli._shared import read_file
from placet.core.encoding import b64encode, format_time
from placet.core.errors import PlacetError, visible

if TYPE_CHECKING:
    from placet.adapters.sqlite.witness import Evidence, WitnessedLog, WitnessState
    from placet.core.tlog.note import NoteSigner, VerifierKey

DEFAULT_PORT = 8473
_KEY_NAME = "witness.key"
_STATE_NAME = "witness.sqlite3"

EXAMPLES = """\
examples:
  placet witness init witness.example.com/w1 --url https://witness.example.com >> log-policy
  placet witness add-log log.example.com+0a1b2c3d+AX…
  placet witness serve
  placet witness show

exit codes: 0 done, 1 `show` has proof that a log forked, 2 wrong usage, 3 undecided
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the commands and their arguments."""
    parser.description = (
        "A witness sees that a log only ever grows. Run it where the log's operator does not."
    )
    parser.epilog = EXAMPLES
    commands = parser.add_subparsers(dest="witness_command", required=True, metavar="COMMAND")
    init = commands.add_parser("init", help="make the key and the memory of a new witness")
    init.add_argument("name", metavar="NAME", help="its name in cosignatures, such as witness.example.com/w1")
    init.add_argument("--url", default="", metavar="URL", help="where logs will reach it")
    serve = commands.add_parser("serve", help="run the witness")
    listening = add_listen_options(serve, DEFAULT_PORT)
    listening.add_argument(
        "--log-format", choices=("text", "json"), default="text", help="json: a line for each call, too"
    )
    add_log = commands.add_parser("add-log", help="cosign for a log from now on, also while it runs")
    chosen = add_log.add_mutually_exclusive_group(required=True)
    chosen.add_argument("key", nargs="?", metavar="VKEY", help="the log's key, as its operator shows it")
    chosen.add_argument("--policy", metavar="FILE", help="instead, all logs of a log policy")
    add_log.add_argument("--origin", metavar="TEXT", help="its origin, where that is not the key's name")
    show = commands.add_parser("show", help="show the key, the logs, and what they did wrong")
    show.add_argument("--json", action="store_true", help="print one JSON object")
    show.add_argument("--save-evidence", type=Path, metavar="DIR", help="write the signed notes as files")
    moved = commands.add_parser("moved", help="say that the memory was moved to this place whole")
    for command in (init, serve, add_log, show, moved):
        command.add_argument(
            "--state", type=Path, metavar="DIR", help="the folder of key and memory (default: the user's)"
        )


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    folder: Path = args.state or state_dir() / "witness"
    match args.witness_command:
        case "init":
            return _init(folder, args.name, args.url)
        case "serve":
            return _serve(folder, args)
        case "add-log":
            return _add_log(folder, args)
        case "moved":
            return _accept_move(folder)
        case _:
            return _show(folder, args)


def _init(folder: Path, name: str, url: str) -> int:
    from placet.adapters.note_key import create_note_key
    from placet.adapters.sqlite.witness import WitnessState
    from placet.core.tlog.note import COSIGNATURE_ED25519

    check_policy_url(url, "https://witness.example.com")
    if (folder / _STATE_NAME).exists():
        raise UserError(f"There is a witness in {folder} already.", "Choose another folder with --state.")
    signer = create_note_key(folder / _KEY_NAME, name, COSIGNATURE_ED25519)
    with closing(WitnessState.create(folder / _STATE_NAME, signer.verifier_key, url)):
        pass
    # Alone on standard output, for `>> log-policy`.
    print(_policy_line(signer.verifier_key, url))
    for line in (
        f"The witness's key is {folder / _KEY_NAME}; whoever can read it can cosign in its name.",
        "The line above goes into the log policy of those who trust this witness.",
        "Next: placet witness add-log VKEY, then placet witness serve",
    ):
        print(line, file=sys.stderr)
    return EXIT_ALLOW


def _serve(folder: Path, args: argparse.Namespace) -> int:
    listener = open_listener(args, "witness", "they could keep its answers from the log")
    from placet.adapters.serving.server import serve
    from placet.adapters.system_clock import SystemClock
    from placet.cli._relay_serve import set_up_output
    from placet.log.witness import Witness
    from placet.log.witness_app import create_app

    with listener:
        state, signer = _open(folder)
        observers = set_up_output(args.log_format, "witness")
        where = describe_address(args.host, listener)
        ready = f"placet witness listens on {where}, keeps its memory in {folder / _STATE_NAME}"
        witness = Witness(state, signer, SystemClock())
        serve(
            create_app(witness, observers=observers, close=state.close),
            listener,
            # Flushed: whoever starts the witness from a script reads this line from a pipe.
            on_start=lambda: print(ready, flush=True),
        )
    print("placet witness has stopped", flush=True)
    return EXIT_ALLOW


def _open(folder: Path) -> tuple[WitnessState, NoteSigner]:
    from placet.adapters.note_key import load_note_key
    from placet.adapters.sqlite.witness import WitnessState
    from placet.core.tlog.note import COSIGNATURE_ED25519

    signer = load_note_key(folder / _KEY_NAME, COSIGNATURE_ED25519)
    state = WitnessState.open(folder / _STATE_NAME)
    if state.key != signer.verifier_key:
        state.close()
        # A key that signed elsewhere, with a memory that does not know what: it could sign two histories.
        raise UserError(
            f"The memory in {folder} is not that of the key beside it, but of {state.key}.",
            "Put the two back together that `placet witness init` made.",
        )
    return state, signer


def _add_log(folder: Path, args: argparse.Namespace) -> int:
    from placet.adapters.sqlite.witness import WitnessState

    if args.policy and args.origin:
        raise UserError("--origin goes with one key, and --policy names several.")
    keys = _read_log_keys(args)
    with closing(WitnessState.open(folder / _STATE_NAME)) as state:
        for key in keys:
            origin = args.origin or key.name
            known = state.find_log(origin)
            if not state.add_log(origin, key):
                print(f"This witness cosigns for {visible(origin)} already.")
            elif known is not None:
                print(
                    f"This witness takes another key of {visible(origin)}, beside {len(known.keys)} before."
                )
            else:
                print(f"This witness cosigns for {visible(origin)} from now on.")
    return EXIT_ALLOW


def _read_log_keys(args: argparse.Namespace) -> tuple[VerifierKey, ...]:
    from placet.core.tlog.log_policy import MAX_POLICY_BYTES, parse_log_policy
    from placet.core.tlog.note import ED25519, parse_verifier_key

    try:
        if args.policy:
            policy = parse_log_policy(read_file(args.policy, "log policy", MAX_POLICY_BYTES))
            keys = tuple(log.key for log in policy.logs)
        else:
            keys = (parse_verifier_key(args.key),)
    except PlacetError as e:
        hint = e.hint or "The log's operator has its key: placet log key"
        raise UserError(f"No log's key can be read there: {e}", hint) from e
    if not keys:
        raise UserError(f"The log policy {args.policy} names no log.")
    if any(key.algorithm != ED25519 for key in keys):
        raise UserError("This key is no log's.", "Logs sign with Ed25519 (algorithm 1); 4 is a witness's.")
    return keys


def _accept_move(folder: Path) -> int:
    from placet.adapters.sqlite.witness import WitnessState

    with closing(WitnessState.open(folder / _STATE_NAME, moved=True)) as state:
        print(f"The memory of {visible(state.key.name)} lives in {folder} from now on.")
        print("If a newer one is in use anywhere else, stop this: two memories can cosign two histories.")
    return EXIT_ALLOW


def _show(folder: Path, args: argparse.Namespace) -> int:
    from placet.adapters.sqlite.witness import EvidenceKind, WitnessState

    with closing(WitnessState.open(folder / _STATE_NAME)) as state:
        key, url, logs, evidence = state.key, state.url, state.list_logs(), state.list_evidence()
    if args.save_evidence:
        _save(args.save_evidence, evidence)
    if args.json:
        from placet.cli.verify import print_json

        print_json(_to_object(key, url, logs, evidence))
    else:
        _print(key, url, logs, evidence)
    forked = any(item.kind is EvidenceKind.FORK for item in evidence)
    return EXIT_DENY if forked else EXIT_ALLOW


def _print(
    key: VerifierKey, url: str, logs: tuple[WitnessedLog, ...], evidence: tuple[Evidence, ...]
) -> None:
    lines = [_policy_line(key, url), ""]
    if not logs:
        lines.append("It cosigns for no log yet: placet witness add-log VKEY")
    for log in logs:
        seen = log.seen
        if seen.checkpoint:
            when, root = format_time(seen.cosigned_at), b64encode(seen.root_hash)
            lines += [f"{log.origin}: size {seen.tree_size}, cosigned {when}", f"  root {root}"]
        else:
            lines.append(f"{log.origin}: nothing cosigned yet")
    for item in evidence:
        lines += ["", *_describe_evidence(item)]
    if evidence:
        lines += ["", "The signed notes: placet witness show --save-evidence DIR"]
    for line in lines:
        print(visible(line))


def _describe_evidence(item: Evidence) -> list[str]:
    when = format_time(item.seen_at)
    if item.kind == "fork":
        return [
            f"FORK: {item.origin} signed two root hashes for size {item.tree_size} (seen {when}).",
            "  The two signed notes prove it to anybody. Tell everybody who relies on this log.",
        ]
    return [
        f"Not proven: {item.origin}, size {item.tree_size}, came with a wrong proof (seen {when}).",
        "  The log may have forked, or whoever sent it erred. Ask its operator.",
    ]


def _to_object(
    key: VerifierKey, url: str, logs: tuple[WitnessedLog, ...], evidence: tuple[Evidence, ...]
) -> dict[str, object]:
    return {
        "name": key.name,
        "key": str(key),
        "url": url,
        "logs": [
            {
                "origin": log.origin,
                "keys": [str(known) for known in log.keys],
                "treeSize": str(log.seen.tree_size),
                "rootHash": b64encode(log.seen.root_hash),
                "cosignedAt": format_time(log.seen.cosigned_at) if log.seen.checkpoint else None,
            }
            for log in logs
        ],
        "evidence": [
            {
                "kind": str(item.kind),
                "origin": item.origin,
                "treeSize": str(item.tree_size),
                "seenAt": format_time(item.seen_at),
                "submitted": item.submitted.decode("utf-8", "replace"),
                "known": item.known.decode("utf-8", "replace"),
            }
            for item in evidence
        ],
    }


def _save(folder: Path, evidence: tuple[Evidence, ...]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for item in evidence:
        for name, note in (("submitted", item.submitted), ("known", item.known)):
            (folder / f"{item.number}-{item.kind}-{name}.note").write_bytes(note)
    print(f"{2 * len(evidence)} signed notes are in {folder}.", file=sys.stderr)


def _policy_line(key: VerifierKey, url: str) -> str:
    return f"witness {key.name} {key} {url}".rstrip()

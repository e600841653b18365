"""``placet log``: run a log of decisions, uses and trust changes; ask one for proofs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from placet.adapters.paths import state_dir
from placet.cli import EXIT_ALLOW, HelpFormatter, UserError, _log_export, _log_ots, _log_timestamp
from placet.cli._listening import check_policy_url
from placet.cli._log_parts import KEY_NAME, STORE_NAME, add_log_options
from placet.cli._log_store import add_store_options
from placet.cli._relay_options import add_limits, add_listening
from placet.core.errors import visible
from placet.ports.request_store import RequestStoreError

if TYPE_CHECKING:
    from placet.core.tlog.note import NoteSigner

DEFAULT_PORT = 8472
# What other people's logs and clocks are asked for; each has a module of its own.
_FOR_OTHERS = {
    "export": ("have other tools' logs hold what was signed here", _log_export.configure, _log_export.run),
    "timestamp": (
        "have a timestamp authority stamp a checkpoint",
        _log_timestamp.configure,
        _log_timestamp.run,
    ),
    "verify-timestamp": (
        "check such a timestamp",
        _log_timestamp.configure_verify,
        _log_timestamp.run_verify,
    ),
    "opentimestamps": ("bring a checkpoint into Bitcoin", _log_ots.configure, _log_ots.run),
}

EXAMPLES = """\
examples:
  placet log init log.example.com/placet --url https://log.example.com >> log-policy
  placet log serve --trust-snapshot snapshot.json --tiles /srv/www/log
  placet log show --log http://127.0.0.1:8472
  placet log attach app.intent.json

exit codes: 0 done, 1 something does not hold or is refused, 2 wrong usage, 3 the log cannot be asked
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the commands and their arguments."""
    parser.description = "A log keeps a trace of decisions, uses and trust changes that nobody can rewrite."
    parser.epilog = EXAMPLES
    commands = parser.add_subparsers(dest="log_command", required=True, metavar="COMMAND")
    init = commands.add_parser("init", help="make the key of a new log")
    init.add_argument("name", metavar="NAME", help="its name in checkpoints, such as log.example.com/placet")
    key = commands.add_parser(
        "key",
        help="print the line of a log policy that names a log",
        description="Prints what `init` printed, for whoever relies on the log; also for a relay's own log, "
        "which makes its key at its first start (--key ~/.local/state/placet/relay/log.key).",
    )
    key.add_argument("--key", type=Path, metavar="FILE", help=f"its key (default: {KEY_NAME} in its folder)")
    for command in (init, key):
        command.add_argument("--url", default="", metavar="URL", help="where gates and people will reach it")
    serve = commands.add_parser(
        "serve",
        help="run the log",
        description="Runs the log until it is stopped. A relay runs one by itself, below /log.",
    )
    add_listening(serve, DEFAULT_PORT)
    kept = serve.add_argument_group("what it keeps")
    keeping = kept.add_argument
    keeping("--key", type=Path, metavar="FILE", help=f"the log's key (default: {KEY_NAME} in its folder)")
    for add in (init.add_argument, key.add_argument, keeping):
        add("--state", type=Path, metavar="DIR", help="the folder of the log (default: the user's state)")
    add_store_options(kept)
    add_limits(serve, "take records of enrolled keys, terminals and gates only")
    add_log_options(serve)
    serve.add_argument(
        "--log-format", choices=("text", "json"), default="text", help="json: a line for each call, too"
    )
    _configure_declare(commands)
    _configure_asking(commands)
    for name, (summary, configure_other, _) in _FOR_OTHERS.items():
        configure_other(commands.add_parser(name, help=summary, formatter_class=HelpFormatter))


def _configure_declare(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    declare = commands.add_parser(
        "declare",
        help="say that a log which was moved or restored may go on",
        description="A log that finds itself in another file than it was in signs nothing more: it may have "
        "signed something that it has lost since, and would fork. This says that it may go on.",
    )
    declare.add_argument("--state", type=Path, metavar="DIR", help="its folder (default: the user's state)")
    declare.add_argument(
        "--database", type=Path, metavar="FILE", help="its file, where it is another, such as a relay's"
    )
    declare.add_argument("--key", type=Path, metavar="FILE", help="its key, or that of a log to go on as")
    declare.add_argument(
        "--nothing-later-was-signed",
        action="store_true",
        help="you vouch that this key has signed no checkpoint beyond what is in the file",
    )


def _configure_asking(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    show = commands.add_parser("show", help="fetch a log's checkpoint, and check it")
    show.add_argument("--json", action="store_true", help="print one JSON object")
    proof = commands.add_parser("proof", help="fetch proofs that decisions are in a log")
    chosen = proof.add_mutually_exclusive_group(required=True)
    chosen.add_argument("leaf", nargs="?", metavar="LEAF", help="a leaf's hash, 64 hexadecimal characters")
    chosen.add_argument("--bundle", type=Path, metavar="FILE", help="the approval whose decisions are meant")
    attach = commands.add_parser(
        "attach",
        help="put the log's proofs into an approval",
        description="Fetches the proofs of an approval's decisions, checks them by the trust root's log "
        "policy, and puts them into the approval. A decision that is not in the log yet is handed in.",
    )
    attach.add_argument("bundle", type=Path, metavar="BUNDLE", help="the approval")
    attach.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="where to write it (default: in its place)"
    )
    append = commands.add_parser("append", help="hand records in: answers, uses, trust changes")
    append.add_argument("records", nargs="+", type=Path, metavar="FILE", help="a record's file")
    changes = commands.add_parser(
        "publish-trust",
        help="log a published trust root",
        description="Logs each version of root, targets and owners' rules that is published. What is logged "
        "already stays as it is, so calling this again is harmless.",
    )
    changes.add_argument("folder", type=Path, metavar="DIR", help="what `placet trust publish` made")
    tiles = commands.add_parser(
        "tiles",
        help="copy a log as static files that any web server can serve",
        description="Copies what is new of a log to a folder, in the layout of C2SP tlog-tiles, and nothing "
        "that the log did not sign. Call it again to go on. `placet log serve --tiles` does it by itself.",
    )
    tiles.add_argument("folder", type=Path, metavar="DIR", help="where to")
    for command in (show, tiles):
        command.add_argument(
            "--key", metavar="VKEY", help="the log's key (default: those of the trust root's policy)"
        )
    for command in (show, proof, attach, append, changes, tiles):
        command.add_argument(
            "--log", metavar="URL", help="the log (default: PLACET_LOG, configuration, or the trust root's)"
        )
        command.add_argument("--trust", metavar="FILE", help="the trust snapshot (default: this machine's)")
        command.add_argument("--ca-file", metavar="FILE", help="PEM file of the server's authority")
    for command in (proof, attach):
        command.add_argument(
            "--wait", type=int, default=10, metavar="SECONDS", help="for witnesses, at most 60 (10)"
        )


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    if args.log_command in _FOR_OTHERS:
        return _FOR_OTHERS[args.log_command][2](args)
    if args.log_command in ("init", "key", "serve", "declare"):
        folder: Path = args.state or state_dir() / "log"
        match args.log_command:
            case "init":
                return _init(folder, args.name, args.url)
            case "key":
                return _show_key(args.key or folder / KEY_NAME, args.url)
            case "serve":
                return _serve(folder, args)
            case _:
                return _declare(folder, args)
    from placet.cli import _log_ask

    return _log_ask.run(args)


def _init(folder: Path, name: str, url: str) -> int:
    from placet.adapters.note_key import create_note_key
    from placet.core.tlog.note import ED25519

    check_policy_url(url, "https://log.example.com")
    if (folder / KEY_NAME).exists():
        raise UserError(
            f"There is already a key in {folder / KEY_NAME}.",
            "Whoever relies on it would have to learn a new one. `placet log key` prints its line; for "
            "another log, choose another folder with --state.",
        )
    signer = create_note_key(folder / KEY_NAME, name, ED25519)
    # Alone on standard output, for `>> log-policy`.
    print(_policy_line(signer, url))
    for line in (
        f"The log's key is {folder / KEY_NAME}; whoever can read it can sign another history in its name.",
        "The line above goes into the log policy of those who rely on this log.",
        "Next: placet log serve",
    ):
        print(line, file=sys.stderr)
    return EXIT_ALLOW


def _show_key(path: Path, url: str) -> int:
    from placet.adapters.note_key import load_note_key
    from placet.core.tlog.note import ED25519

    check_policy_url(url, "https://log.example.com")
    print(_policy_line(load_note_key(path, ED25519), url))
    return EXIT_ALLOW


def _policy_line(signer: NoteSigner, url: str) -> str:
    return f"log {signer.verifier_key}{f' {url}' if url else ''}"


def _serve(folder: Path, args: argparse.Namespace) -> int:
    try:
        from placet.cli._log_serve import serve
    except ModuleNotFoundError as e:
        raise UserError(
            f"The log needs the Python package {e.name}, which is not installed.",
            "Install placet with its log: pip install 'placet[relay]'.",
        ) from e
    serve(args, folder)
    return EXIT_ALLOW


def _declare(folder: Path, args: argparse.Namespace) -> int:
    from placet.adapters.note_key import load_note_key
    from placet.adapters.sqlite._log_open import declare_log
    from placet.core.tlog.checkpoint import parse_checkpoint
    from placet.core.tlog.note import ED25519, parse_note

    database = args.database or folder / STORE_NAME
    if not database.exists():
        raise UserError(f"There is no log in {database}.", "Name its file with --database.")
    if not args.nothing_later_was_signed:
        raise UserError(
            "If this key has signed more than is in the file, going on would fork the log, and every witness "
            "and monitor would see it.",
            "Compare with the newest checkpoint that a witness, a monitor or the exported tiles have. If the "
            "file has all of it, say so with --nothing-later-was-signed. If leaves are lost, go on as "
            "another log: placet log init NEW-NAME, and name that key with --key.",
        )
    signer = load_note_key(args.key or database.parent / KEY_NAME, ED25519)
    try:
        note = declare_log(database, signer)
    except RequestStoreError as e:
        raise UserError(e.message, e.hint) from e
    size = parse_checkpoint(parse_note(note).text).tree_size
    print(f"The log {visible(signer.name)} in {database} goes on from {size} leaves.")
    return EXIT_ALLOW

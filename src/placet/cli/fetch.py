"""``placet fetch``: get the approval that hangs on an image, for the gate that is about to act."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from placet.adapters.bounded_http import HttpError
from placet.adapters.oci.intents import AttachedIntent, list_intents
from placet.adapters.oci.referrers import find_subject
from placet.adapters.private_file import write_atomically
from placet.cli import EXIT_ALLOW, UndecidedError, UserError
from placet.cli._registry import configure_registry, open_image, registry_failed
from placet.cli._shared import now
from placet.core.encoding import format_time
from placet.core.errors import visible

EXAMPLES = """\
examples:
  placet fetch registry.example/app@sha256:97e9… -o app.intent.json
  placet fetch registry.example/app:1.0 --list

Nothing is verified here. What is fetched is for `placet verify`, or for the gate.

exit codes: 0 fetched or listed, 2 wrong usage, or several are there, 3 none is there, or no registry
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.epilog = EXAMPLES
    parser.add_argument("image", metavar="IMAGE", help="the image: NAME@sha256:… or NAME:TAG")
    parser.add_argument("-o", "--output", type=Path, metavar="BUNDLE", help="where the approval is written")
    parser.add_argument("--request", default="", metavar="ID", help="the approval of this request")
    parser.add_argument("--gate", default="", metavar="ID", help="approvals for this gate only")
    parser.add_argument("--all", action="store_true", help="those that have expired, too")
    parser.add_argument("--list", action="store_true", help="only say what is there")
    parser.add_argument("--json", action="store_true", help="say it as JSON")
    configure_registry(parser)


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    notes: list[str] = []
    intents: list[AttachedIntent] = []
    try:
        with open_image(args.image, args) as registry:
            image = find_subject(registry, registry.image.digest, registry.image.tag)
            for found in list_intents(registry, image.digest):
                if isinstance(found, HttpError):
                    notes.append(str(found))
                elif _is_asked_for(found, args):
                    intents.append(found)
    except HttpError as e:
        raise registry_failed(e, "Nothing was fetched.") from e
    for note in notes:
        print(f"Note: left out: {visible(note)}", file=sys.stderr)
    name = f"{registry.image.name}@{image.digest}"
    # The registry's order means nothing; the newest request comes first.
    intents.sort(key=lambda intent: intent.statement.issued_at, reverse=True)
    if args.list or args.json:
        _print(name, intents, as_json=args.json)
    if args.list:
        return EXIT_ALLOW
    return _write(_the_one(name, intents, args), args)


def _is_asked_for(found: AttachedIntent, args: argparse.Namespace) -> bool:
    statement = found.statement
    if statement.decision != "approve" or not statement.payload_digest.startswith(args.request):
        return False
    if args.gate and statement.audience != f"gate:{args.gate}":
        return False
    return bool(args.all or args.request or now() < statement.expires_at)


def _the_one(name: str, intents: list[AttachedIntent], args: argparse.Namespace) -> AttachedIntent:
    if not intents:
        raise UndecidedError(
            f"No approval hangs on {name} that is asked for here.",
            f"`placet fetch {name} --all --list` shows those for every gate, expired ones too; "
            "`placet attach` attaches one.",
        )
    if len(intents) > 1:
        if not args.json:
            _print(name, intents, as_json=False)
        raise UserError(
            f"{len(intents)} approvals hang on {name}; which one?", "Name it by its request: --request ID."
        )
    return intents[0]


def _write(intent: AttachedIntent, args: argparse.Namespace) -> int:
    path = args.output or Path(f"{intent.statement.payload_digest[:16]}.intent.json")
    try:
        write_atomically(path, intent.content, mode=0o644)
    except OSError as e:
        raise UserError(f"The approval cannot be written to {path}: {e.strerror}.") from e
    if not args.json:
        print(f"Fetched into {path}; not verified: placet verify {path}")
        print(f"  {visible(intent.statement.text)}")
    return EXIT_ALLOW


def _print(name: str, intents: list[AttachedIntent], *, as_json: bool) -> None:
    items = [
        {
            "request": intent.statement.payload_digest,
            "text": intent.statement.text,
            "issuedAt": format_time(intent.statement.issued_at),
            "expiresAt": format_time(intent.statement.expires_at),
            "audience": intent.statement.audience,
            "digest": intent.digest,
        }
        for intent in intents
    ]
    if as_json:
        print(json.dumps({"image": name, "verified": False, "approvals": items}))
        return
    many = "1 approval hangs" if len(items) == 1 else f"{len(items) or 'No'} approvals hang"
    print(f"{many} on {visible(name)}{' (not verified)' if items else ''}")
    for item in items:
        print(f"  {item['request'][:16]}  valid until {item['expiresAt']} at {visible(item['audience'])}")
        print(f"    {visible(item['text'])}")

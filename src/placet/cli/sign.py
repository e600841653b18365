"""``placet sign``: verify, use up, and sign exactly what was approved, with Sigstore."""

from __future__ import annotations

import argparse
from pathlib import Path

from placet.cli import UserError
from placet.cli._shared import add_identity_options

DESCRIPTION = """\
Signs files with Sigstore, or a statement about them, after people have approved just that; never before.

placet sign --intent BUNDLE FILE…      on the approval terminal, or on a machine that is a gate
placet sign serve                      the same as a small service, for those who bring an approval
placet sign --service URL --intent …   asks such a service; this is what a pipeline does
placet sign check FILE --intent …      tells whether file, signature and approval belong together

Beside each file: FILE.sigstore.json (the signature) and FILE.reference.sigstore.json (a second statement,
signed the same way, that names the approval). The intent bundle then names both.
"""

EXAMPLES = """\
examples:
  placet sign --intent app.intent.json dist/app-1.0.whl
  placet sign --intent app.intent.json --sign-in device --sigstore-config our-sigstore.json dist/app-1.0.whl
  placet sign --intent sbom.intent.json --predicate app.cdx.json dist/app-1.0.whl
  placet sign serve --identity-token-file /var/run/secrets/token --sigstore-config our-sigstore.json
  placet sign check dist/app-1.0.whl --intent app.intent.json --identity signer@example.com --issuer https://…

exit codes: 0 signed, 1 denied, 2 wrong usage, 3 undecided
"""

DEFAULT_PORT = 8474


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.description = DESCRIPTION
    parser.epilog = EXAMPLES
    parser.usage = "placet sign [serve | check] [options] [FILE …]"
    parser.add_argument("words", nargs="*", metavar="FILE", help="what is signed; or: serve, check FILE")
    parser.add_argument("--intent", type=Path, metavar="BUNDLE", help="the *.intent.json file")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    _configure_gate(parser.add_argument_group("as a gate"))
    add_identity_options(parser.add_argument_group("who signs, and where"))
    files = parser.add_argument_group("files")
    files.add_argument("--predicate", type=Path, metavar="FILE", help="the predicate, for a statement")
    files.add_argument("--statement", type=Path, metavar="FILE", help="the whole statement, byte for byte")
    files.add_argument("-o", "--output", type=Path, metavar="DIR", help="where signatures go")
    files.add_argument(
        "--intent-url", metavar="URL", help="where the intent bundle will be found, for the reference"
    )
    service = parser.add_argument_group("with a signing service")
    service.add_argument("--service", metavar="URL", help="have this service sign")
    service.add_argument("--ca-file", type=Path, metavar="PEM", help="the service's certificate authority")
    service.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="serve: where to listen")
    service.add_argument(
        "--port", type=int, default=DEFAULT_PORT, metavar="N", help=f"serve: default {DEFAULT_PORT}"
    )
    check = parser.add_argument_group("check")
    check.add_argument("--identity", metavar="NAME", help="whom the signatures must be by")
    check.add_argument("--issuer", metavar="URL", help="who must have vouched for that identity")
    check.add_argument("--bundle", type=Path, metavar="FILE", help="default FILE.sigstore.json")
    check.add_argument("--reference", type=Path, metavar="FILE", help="default FILE.reference.sigstore.json")


def _configure_gate(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--trust", type=Path, metavar="SNAPSHOT", help="the gate's trust snapshot")
    group.add_argument("--gate", metavar="ID", help="this gate's ID (default: the only one there is)")
    group.add_argument("--ledger", metavar="PLACE", help="the use ledger: a file, or postgresql://…")
    group.add_argument(
        "--target", metavar="PATTERN", help="sign for these targets only, written as in rules: pkg:pypi/**"
    )
    group.add_argument("--event-id", metavar="ID", help="sign once for this event, however often it is asked")
    group.add_argument(
        "--dry-run", action="store_true", help="check everything; sign in, use up and sign nothing"
    )


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    mode = args.words[0] if args.words[:1] and args.words[0] in ("serve", "check") else "files"
    files = [Path(word) for word in args.words[0 if mode == "files" else 1 :]]
    if mode == "serve":
        if files or args.intent:
            raise UserError("A service signs for whoever asks it; name no files here.")
        from placet.cli._sign_serve import serve

        return serve(args)
    if args.intent is None:
        raise UserError("Which approval? No bundle is named.", "Name it with --intent BUNDLE.")
    if not files:
        raise UserError("Which file? None is named.", "placet sign --intent BUNDLE FILE")
    if mode == "check":
        from placet.cli._sign_check import check

        return check(args, files)
    from placet.cli._sign_files import sign_files

    return sign_files(args, files)

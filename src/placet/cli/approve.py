"""``placet approve``: read a request in full on the command line, and decide with an OpenSSH FIDO key."""

from __future__ import annotations

import argparse
from pathlib import Path

DESCRIPTION = """\
Shows a request in full, in the same order as the approval page, and asks for a decision. Only the word
`approve` (or `deny`, with --deny), typed in full, leads to the touch; anything else signs nothing.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "request", metavar="REQUEST.json|ID", help="a request file, or a request's ID at the relay"
    )
    parser.add_argument(
        "--key", type=Path, metavar="FILE", help="your OpenSSH FIDO key (default: ~/.ssh/id_*_sk)"
    )
    parser.add_argument("--relay", metavar="URL", help="where a request given by ID is")
    parser.add_argument(
        "--bundle",
        type=Path,
        metavar="OUT.intent.json",
        help="where the approval of a file goes; extended where it is there (default: beside the request)",
    )
    parser.add_argument("--deny", action="store_true", help="deny instead")
    parser.add_argument("--trust", type=Path, metavar="SNAPSHOT", help="the trust snapshot")


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    # Imported here: `placet approve --help` must be quick, and needs none of it.
    from placet.cli import _approve

    return _approve.run(args)

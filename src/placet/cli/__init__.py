"""The command ``placet``: one module per command, imported only when it is called.

A module of a command has two functions: ``configure(parser)`` declares its arguments,
``run(args)`` does the work and returns the exit code.  Exit codes: 0 allowed or done,
1 denied, 2 wrong usage, 3 undecidable; `placet run` has its own.
"""

from __future__ import annotations

import argparse
import errno
import gc
import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Any

from placet.core.errors import IndeterminateError, PlacetError, visible

EXIT_ALLOW, EXIT_DENY, EXIT_USAGE, EXIT_UNDECIDED = 0, 1, 2, 3
EXIT_INTERRUPTED = 130  # as shells say it

VERSION = "0.1.0"

_HELP_COLUMNS = 100

COMMANDS = {
    "request": "ask for the approval of one exact action",
    "withdraw": "take a request back",
    "terminal": "show requests to a person and let them decide",
    "approve": "decide about a request on the command line, with an OpenSSH FIDO key",
    "verify": "check an approval against what is about to be done",
    "run": "verify an approval, use it up, and run exactly the approved command",
    "attach": "attach an approval or a verdict to an image in its registry",
    "fetch": "fetch the approval that is attached to an image",
    "sign": "verify an approval, use it up, and sign exactly the approved artifacts with Sigstore",
    "ledger": "show what this gate has used",
    "relay": "store and forward requests and answers",
    "log": "keep a trace of decisions, uses and trust changes that nobody can rewrite",
    "witness": "cosign what logs show, so that none can show two histories",
    "audit": "follow the log, hold what was done against what was allowed, tell people",
    "verdict": "make the key of a gate's verdicts; check a verdict",
    "in-toto": "make approval a step of in-toto layouts, and verify them",
    "trust": "say who may approve what, signed by the administrators",
    "lab": "run real attacks against the frameworks and against a gate",
}

# The lab may import what no other command may, so it stands beside this room and not in it.
_ELSEWHERE = {"lab": "placet.lab.command"}

# Alone, these do nothing; whoever types one wants to know what there is.
_GROUPS = ("request", "ledger", "relay", "log", "witness", "trust", "verdict", "in-toto", "lab")


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Help of one width everywhere; asking for the terminal's would import `shutil` on every start."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_HELP_COLUMNS)


class UserError(Exception):
    """The command cannot go on as it was called; the text says why, `hint` what to do."""

    exit_code = EXIT_USAGE

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UndecidedError(UserError):
    """The command was called rightly, and something that it needs is not there: a relay, say."""

    exit_code = EXIT_UNDECIDED


class Parser(argparse.ArgumentParser):
    """A parser whose commands say themselves what they do not know.

    argparse would leave it to the outermost one, whose usage names no option of the command.
    """

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parses; nothing may be left over."""
        found, left = super().parse_known_args(args, namespace)
        if left:
            self.error(f"unrecognized arguments: {' '.join(left)}")
        return found, left


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; no traceback ever reaches the user."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file's name need not be text that this locale can write; that is no reason to fail.
        sys.stdout.reconfigure(errors="backslashreplace")
    parser, command = _parser(arguments)
    if argv is None:
        # What is loaded by now stays until the end, where nobody needs to search it for garbage.
        gc.freeze()
    if not arguments or (len(arguments) == 1 and arguments[0] in _GROUPS):
        (command or parser).print_help(sys.stderr)
        return EXIT_USAGE
    args = parser.parse_args(arguments)
    try:
        return int(args.run(args))
    except UserError as e:
        _explain(f"placet: {e}", e.hint)
        return e.exit_code
    except PlacetError as e:
        _explain(f"placet: {e} [{e.reason}]", *describe_difference(e), e.hint)
        return EXIT_UNDECIDED if isinstance(e, IndeterminateError) else EXIT_DENY
    except KeyboardInterrupt:
        _explain("placet: interrupted.", "")
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader went away (`| head`); there is nobody to tell.
        sys.stderr.close()
        return EXIT_UNDECIDED
    except OSError as e:
        full = "Free disk space, then try again." if e.errno == errno.ENOSPC else ""
        _explain(f"placet: {e.strerror or e}{f': {e.filename}' if e.filename else ''}.", full)
        return EXIT_UNDECIDED
    except Exception as e:  # a bug of ours: the user still gets a sentence, and the gate still denies
        if os.environ.get("PLACET_DEBUG"):
            raise
        _explain(
            f"placet: a bug of placet stopped this command ({type(e).__name__}: {e}). Nothing was allowed.",
            "Please report it, with what it prints under PLACET_DEBUG=1.",
        )
        return EXIT_UNDECIDED


def _parser(arguments: Sequence[str]) -> tuple[argparse.ArgumentParser, argparse.ArgumentParser | None]:
    """Builds the parser, and that of the called command; only its part is built and imported."""
    parser = Parser(
        prog="placet",
        description="Per-action human approval, signed by FIDO2 hardware, checked where it counts.",
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"placet {VERSION}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    called, called_command = arguments[0] if arguments else None, None
    for name in [called] if called in COMMANDS else COMMANDS:
        summary = COMMANDS[name]
        command = commands.add_parser(
            name, help=summary, description=f"{summary.capitalize()}.", formatter_class=HelpFormatter
        )
        if name == called:
            module = importlib.import_module(_ELSEWHERE.get(name, f"placet.cli.{name.replace('-', '_')}"))
            module.configure(command)
            command.set_defaults(run=module.run)
            called_command = command
    return parser, called_command


def differences(refusal: PlacetError) -> list[tuple[str, str]]:
    """Returns what a refusal expected and what was there instead, as far as it says so."""
    found = []
    for name, value in (("expected", refusal.expected), ("found", refusal.actual)):
        if value is not None:
            text = ", ".join(map(str, value)) or "nothing" if isinstance(value, tuple | list) else str(value)
            found.append((name, text))
    return found


def describe_difference(refusal: PlacetError) -> list[str]:
    """Returns the same for people, a line each."""
    return [f"{name.capitalize():<9} {text}" for name, text in differences(refusal)]


def _explain(message: str, *more: str) -> None:
    # Names of files may come from others, and move a cursor.
    print(visible(message), file=sys.stderr)
    for line in filter(None, more):
        print(f"  {visible(line)}", file=sys.stderr)

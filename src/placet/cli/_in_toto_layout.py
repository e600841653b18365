"""``placet in-toto layout``: a layout that asks for human approval, new or from one that there is."""

from __future__ import annotations

import argparse
import getpass
from pathlib import Path
from typing import TYPE_CHECKING

from placet.adapters.private_file import write_atomically
from placet.cli import EXIT_ALLOW, HelpFormatter, UserError
from placet.cli._shared import load_trust, now, parse_duration, read_file, setting
from placet.core.encoding import format_time
from placet.core.errors import visible
from placet.core.people import Credential, Person
from placet.core.trust import Trust
from placet.documents.approve_step import STEP

if TYPE_CHECKING:
    from placet.adapters.intoto.new_layout import ApproveStep, Functionary, LayoutFile

DESCRIPTION = """\
Writes an in-toto layout with a step that only enough people can make: the approval. Their hardware keys are
its functionaries, as the trust root lists them now. With LAYOUT, adds that step to it and leaves everything
else as it is; its old signatures no longer hold then.

in-toto counts keys, not people: name one key of each person.
"""
_EXAMPLES = """\
examples:
  placet in-toto layout -o app.layout --approvers group:release --threshold 2 --artifact app.whl
  placet in-toto layout build.layout -o app.layout --approvers group:release --threshold 2 \\
      --artifact app.whl --from build --sign-with owner.pem
"""
_DEFAULT_LIFE = "90d"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.description, parser.epilog, parser.formatter_class = DESCRIPTION, _EXAMPLES, HelpFormatter
    parser.add_argument("layout", nargs="?", type=Path, metavar="LAYOUT", help="add the step to this layout")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="where to write it")
    parser.add_argument(
        "--approvers",
        action="append",
        required=True,
        metavar="group:NAME|PERSON",
        help="who may approve; repeat for several",
    )
    parser.add_argument("--threshold", type=int, required=True, metavar="N", help="how many of them must")
    parser.add_argument(
        "--artifact",
        action="append",
        required=True,
        metavar="NAME",
        help="what must be approved, by the name it has in requests; repeat for several",
    )
    parser.add_argument("--from", dest="source", metavar="STEP", help="the step that must have made it")
    parser.add_argument(
        "--products-in", default="", metavar="DIR", help="the folder in which that step has it"
    )
    parser.add_argument(
        "--key", action="append", default=[], metavar="KEYID", help="of a person with several keys, take this"
    )
    parser.add_argument(
        "--terminal",
        action="append",
        default=[],
        metavar="ID",
        help="only approvals on this terminal count (default: on any of the deployment)",
    )
    parser.add_argument(
        "--expires", metavar="TIME", help=f"of a new layout: such as 30d (default: {_DEFAULT_LIFE})"
    )
    parser.add_argument("--readme", metavar="TEXT", help="of a new layout: what it is for")
    parser.add_argument(
        "--format", choices=("dsse", "metablock"), help="in-toto's container (default: dsse, or LAYOUT's own)"
    )
    parser.add_argument(
        "--sign-with",
        action="append",
        type=Path,
        default=[],
        metavar="PEM",
        help="the owner's private key; without it, the layout is left unsigned",
    )
    parser.add_argument("--trust", metavar="SNAPSHOT", help="the trust snapshot (default: the refreshed one)")


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    from placet.adapters.intoto.new_layout import encode_layout_file
    from placet.adapters.intoto.signing import load_pem_signer

    trust = load_trust(setting(args.trust, "trust"))
    signers = [load_pem_signer(path, _ask_password).signer for path in args.sign_with]
    step = _read_step(args, trust)
    file = _layout(args, step)
    data = encode_layout_file(file, str(args.layout or args.output), signers)
    write_atomically(args.output, data, mode=0o644)
    _say(args, step, file, trust)
    return EXIT_ALLOW


def _ask_password() -> str:
    return getpass.getpass("Password of the signing key: ")


def _read_step(args: argparse.Namespace, trust: Trust) -> ApproveStep:
    from placet.adapters.intoto.new_layout import ApproveStep

    if args.products_in and not args.source:
        raise UserError("--products-in is the folder of a step's products.", "Name the step with --from.")
    return ApproveStep(
        name=STEP,
        functionaries=tuple(_functionaries(args, trust)),
        threshold=args.threshold,
        artifacts=tuple(dict.fromkeys(args.artifact)),
        source=args.source or "",
        folder=args.products_in,
    )


def _functionaries(args: argparse.Namespace, trust: Trust) -> list[Functionary]:
    from placet.adapters.intoto.new_layout import functionary_of

    people = _people(args.approvers, trust)
    origins = _origins(args.terminal, trust)
    at, chosen = now(), [key.lower() for key in args.key]
    keys = {person.id: _keys_of(person, chosen, at) for person in people}
    for wanted in chosen:
        if not any(c.keyid.startswith(wanted) for found in keys.values() for c in found):
            raise UserError(
                f"None of these people has a valid key {wanted}.", "`placet trust show` lists keys."
            )
    if missing := [person for person, found in keys.items() if not found]:
        raise UserError(
            f"{missing[0]} has no key that is valid now.",
            "Enrol one, or leave that person out of --approvers.",
        )
    # Several keys of a person go through all the same: the layout refuses them, and says why.
    return [functionary_of(person, key, origins) for person in people for key in keys[person.id]]


def _keys_of(person: Person, chosen: list[str], at: int) -> list[Credential]:
    valid = [c for c in person.credentials if c.not_before <= at < c.not_after]
    named = [c for c in valid if any(c.keyid.startswith(key) for key in chosen)]
    return named or valid


def _people(approvers: list[str], trust: Trust) -> list[Person]:
    found: dict[str, Person] = {}
    for name in approvers:
        kind, _, rest = name.partition(":")
        group, person = (rest, "") if kind == "group" else ("", name.removeprefix("person:"))
        matching = [p for p in trust.people if p.id == person or group in p.groups]
        if not matching:
            what = f"group {group!r}" if group else f"person {person!r}"
            raise UserError(
                f"The trust root knows no {what}.", "`placet trust show` lists people and groups."
            )
        found |= {p.id: p for p in matching}
    return list(found.values())


def _origins(terminals: list[str], trust: Trust) -> list[str]:
    known = {terminal.id: terminal for terminal in trust.terminals.values()}
    if unknown := [name for name in terminals if name not in known]:
        listed = ", ".join(sorted(known)) or "none"
        raise UserError(f"The trust root knows no terminal {unknown[0]!r}. It knows: {listed}.")
    chosen = [known[name] for name in terminals or sorted(known)]
    return sorted(origin for terminal in chosen for origin in terminal.origins)


def _layout(args: argparse.Namespace, step: ApproveStep) -> LayoutFile:
    from placet.adapters.intoto.new_layout import (
        MAX_LAYOUT_BYTES,
        LayoutFile,
        add_step,
        new_layout,
        parse_layout_file,
    )

    if args.layout is None:
        expires = format_time(now() + parse_duration(args.expires or _DEFAULT_LIFE))
        layout = new_layout(step, expires=expires, readme=args.readme or "")
        return LayoutFile(layout, args.format != "metablock")
    if args.expires or args.readme:
        raise UserError("--expires and --readme are for a new layout.", f"Those of {args.layout} are kept.")
    found = parse_layout_file(read_file(args.layout, "layout", MAX_LAYOUT_BYTES), str(args.layout))
    enveloped = found.enveloped if args.format is None else args.format == "dsse"
    return LayoutFile(add_step(found.layout, step), enveloped)


def _say(args: argparse.Namespace, step: ApproveStep, file: LayoutFile, trust: Trust) -> None:
    people = ", ".join(f"{f.person} ({f.keyid[:8]})" for f in step.functionaries)
    count = f"{step.threshold} of {len(step.functionaries)}"
    lines = [f"{args.output}: the step {step.name!r} wants {count}: {people}."]
    software = [f.person for f in step.functionaries if _is_software(trust, f.keyid)]
    if software:
        lines.append(f"  Careful   software keys, which prove no touch: {', '.join(software)}")
    if file.layout["inspect"]:
        lines.append("  Careful   it has inspections: gates and terminals refuse it as evidence")
    if args.sign_with:
        lines.append(f"  Signed    with {', '.join(map(str, args.sign_with))}")
    else:
        lines.append(f"  Next      its owner signs: placet in-toto sign -f {args.output} -k OWNER.pem")
    print("\n".join(visible(line) for line in lines))


def _is_software(trust: Trust, keyid: str) -> bool:
    return any(c.keyid == keyid and c.assurance == "software" for _, c in trust.credentials.values())

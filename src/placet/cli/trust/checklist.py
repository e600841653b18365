"""``placet trust checklist``: the sheet of paper for a ceremony, filled in."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from placet.cli.trust.shared import add_repository, open_repository

if TYPE_CHECKING:
    from placet.adapters.tuf.repository import TrustRepository
    from placet.ceremony.checklist import Sheet


def configure(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command's arguments."""
    parser = commands.add_parser("checklist", help="print the sheet of paper for a ceremony")
    parser.description = (
        "Prints one page for a ceremony: what is to be done, with boxes to tick and lines to sign, filled in "
        "with this deployment's administrators and its root's digest."
    )
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="write it for a printer instead (A4, one page)"
    )
    add_repository(parser)


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    from placet.adapters.private_file import write_atomically
    from placet.ceremony.checklist import sheet_html, sheet_text

    sheet = _read_sheet(open_repository(args))
    if args.html is None:
        print(sheet_text(sheet), end="")
        return 0
    write_atomically(args.html, sheet_html(sheet).encode(), mode=0o644)
    print(f"The sheet is {args.html}. Next: open it in a browser, and print it.")
    return 0


def _read_sheet(repository: TrustRepository) -> Sheet:
    from placet.adapters.tuf.trust import ROOT, TARGETS, administrators_of, encode_signed
    from placet.ceremony.checklist import Sheet
    from placet.ceremony.new_keys import find_new_keys
    from placet.ceremony.trust_edit import read_deployment
    from placet.core.encoding import format_time, parse_json, sha256_hex
    from placet.core.gates import parse_gates
    from placet.core.trust import GATES_FILE, MAX_FILE_BYTES

    root, files = repository.current_root(), repository.draft_files()
    targets, published = repository.current_targets(), repository.published_root_bytes()
    old_root, old_targets = repository.published_root(), repository.published_targets()
    deployment = read_deployment(files)
    new_keys = find_new_keys(
        repository.published_files(),
        files,
        [encode_signed(item) for item in (old_root, old_targets) if item is not None],
        [encode_signed(item) for item in (root, targets) if item is not None],
    )
    gates = parse_gates(parse_json(files[GATES_FILE], max_bytes=MAX_FILE_BYTES, what=GATES_FILE))
    draft = repository.draft_bytes(ROOT)
    until = [(role, item) for role, item in ((ROOT, root), (TARGETS, targets)) if item is not None]
    return Sheet(
        deployment=deployment.name,
        rp_id=deployment.rp_id,
        administrators=tuple(sorted(administrators_of(root).values())),
        threshold=root.roles[ROOT].threshold,
        draft_root="" if draft is None else sha256_hex(draft),
        published_root="" if published is None or draft is not None else sha256_hex(published),
        new_keys=tuple(dict.fromkeys(key.holder for key in new_keys)),
        gates=tuple(sorted(gate.id for gate in gates)),
        valid_until=tuple((role, format_time(int(item.expires.timestamp()))) for role, item in until),
    )

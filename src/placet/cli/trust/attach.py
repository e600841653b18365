"""``placet trust attach``: put the trust of its time into an approval, so that it can be audited for ever."""

from __future__ import annotations

import argparse
from pathlib import Path

from placet.cli._shared import root_digest


def configure(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command's arguments."""
    parser = commands.add_parser("attach", help="put the trust of its time into an approval, for auditors")
    parser.description = (
        "Puts the published files of the trust root, as they were when the approvers decided, into an "
        "approval bundle, so that `placet verify --audit` can judge it in years. Gates do not read them. "
        "The files name all people of the deployment: give such a bundle to auditors, not to a registry."
    )
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="the *.intent.json file")
    parser.add_argument("-o", "--out", required=True, type=Path, metavar="FILE", help="where to write it")
    parser.add_argument(
        "--from",
        dest="source",
        metavar="DIR|URL",
        help="where the trust root is published (default: where this machine refreshes from)",
    )
    parser.add_argument("--snapshot", type=Path, metavar="FILE", help="this machine's snapshot")
    parser.add_argument(
        "--root-sha256",
        type=root_digest,
        metavar="HEX",
        help="the first root's SHA-256 (default: the one this machine knows)",
    )


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    from placet.adapters.paths import snapshot_path
    from placet.adapters.private_file import write_atomically
    from placet.adapters.tuf.audit import attach_trust
    from placet.cli import UserError
    from placet.cli._shared import name_file, read_file, setting
    from placet.cli.trust.gate import read_source
    from placet.core.bundle import MAX_BUNDLE_BYTES, parse_bundle
    from placet.core.errors import PlacetError

    snapshot = args.snapshot or snapshot_path()
    bundle = read_file(args.bundle, "bundle", MAX_BUNDLE_BYTES)
    source = setting(args.source, "trust_source") or read_source(snapshot)
    try:
        attached = attach_trust(bundle, snapshot=snapshot, source=source, root_sha256=args.root_sha256)
    except PlacetError as e:
        raise name_file(e, args.bundle) from e
    try:
        write_atomically(args.out, attached)
    except OSError as e:
        raise UserError(f"{args.out} cannot be written: {e.strerror}.") from e
    print(f"Wrote {args.out}: {len(attached):,} bytes, with the trust under which it was approved.")
    print("It names all people of the deployment: give it to auditors, and to nobody else.")
    # With the log's proofs in it, the time is theirs to say.
    at = "" if parse_bundle(attached).log else "--at TIME "
    print(f"Next: placet verify {args.out} --audit {at}--root-sha256 HEX")
    return 0

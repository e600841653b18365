"""``placet log export``: have an approval's signatures logged in a Rekor, and check such exports."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from placet.cli import EXIT_ALLOW, EXIT_DENY, HelpFormatter, UserError
from placet.cli._shared import name_file, now, read_file
from placet.cli.verify import GREEN, print_json, print_refusal, verdict_line
from placet.core.bundle import MAX_BUNDLE_BYTES, IntentBundle, parse_bundle
from placet.core.encoding import format_time
from placet.core.errors import PlacetError, visible
from placet.core.statement import parse_statement

if TYPE_CHECKING:
    from placet.adapters.rekor import RekorLog, VerifiedExport
    from placet.adapters.timestamp import TimestampAuthority
    from placet.documents.rekor import LoggableSignature, NotLoggable

_MAX_ROOT_BYTES = 1024 * 1024
_MAX_SIGSTORE_BYTES = 256 * 1024

DESCRIPTION = """\
Have other tools' logs hold what people signed here.

An approval's P-256 signatures are ordinary ECDSA signatures, so that a Rekor v2 can log them, and Sigstore's
tools can check the result. Nothing is ever exported unless this command is called.
"""
EXAMPLES = """\
examples:
  placet log export rekor app.intent.json --rekor https://rekor.example --trusted-root trusted_root.json \\
    -o exported --publish-public-keys
  placet log export verify exported/3f2a….sigstore.json app.intent.json --trusted-root trusted_root.json

exit codes: 0 done or holds, 1 refused or does not hold, 2 wrong usage, 3 no Rekor could be asked
"""
_WARNING = (
    "A log keeps what it is given, and anybody may read it: the approvers' public keys become public for "
    "good, and what one key signs there can be linked. The approval itself stays private."
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the commands and their arguments."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    commands = parser.add_subparsers(dest="export_command", metavar="COMMAND", required=True)
    rekor = commands.add_parser(
        "rekor", help="log an approval's signatures in a Rekor v2", formatter_class=HelpFormatter
    )
    rekor.add_argument("bundle", metavar="BUNDLE", help="the approval")
    rekor.add_argument("--rekor", required=True, metavar="URL", help="the Rekor, version 2")
    rekor.add_argument("-o", "--output", required=True, type=Path, metavar="DIR", help="where files go")
    rekor.add_argument(
        "--publish-public-keys", action="store_true", help="yes, the approvers' public keys may become public"
    )
    rekor.add_argument(
        "--tsa", metavar="URL", help="have this authority stamp each signature: Rekor itself says no time"
    )
    rekor.add_argument("--ca-file", metavar="FILE", help="PEM file with the authority of their certificates")
    check = commands.add_parser("verify", help="check an export", formatter_class=HelpFormatter)
    check.add_argument("export", metavar="EXPORT", help="the Sigstore bundle that `rekor` wrote")
    check.add_argument("bundle", metavar="BUNDLE", help="the approval that it is about")
    for command in (rekor, check):
        command.add_argument(
            "--trusted-root", required=True, metavar="FILE", help="Sigstore trusted root that names the log"
        )
        command.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    for package in ("httpx", "rfc3161_client"):
        if importlib.util.find_spec(package) is None:
            raise UserError(
                f"This needs {package}, which is not installed here.",
                "Install it with: pip install 'placet[sigstore,client]'",
            )
    try:
        return _export(args) if args.export_command == "rekor" else _verify(args)
    except PlacetError as refusal:
        if not args.json:
            raise
        return print_refusal(refusal, as_json=True)


def _export(args: argparse.Namespace) -> int:
    logs, authorities = _read_root(args.trusted_root)
    able, unable = _read_signatures(args.bundle)
    if not able:
        raise unable[0].error
    if not args.publish_public_keys:
        raise UserError(
            f"{_WARNING} Nothing was sent.",
            "If the approvers agree, say it with --publish-public-keys.",
        )
    try:
        args.output.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise UserError(f"{args.output} cannot be made: {e.strerror}. Nothing was sent.") from e
    done = []
    for signature in able:
        try:
            # Written at once: the next one may fail, and this one is public by now.
            done.append(_export_one(signature, args, logs, authorities))
        except PlacetError as e:
            e.message += f" {len(done)} of {len(able)} were logged and written before that." if done else ""
            raise
    if args.json:
        left = [{"keyid": item.keyid, "reason": str(item.error.reason)} for item in unable]
        print_json({"exported": done, "left": left})
    else:
        _say(args, done, unable)
    return EXIT_DENY if unable else EXIT_ALLOW


def _export_one(
    signature: LoggableSignature,
    args: argparse.Namespace,
    logs: dict[bytes, RekorLog],
    authorities: tuple[TimestampAuthority, ...],
) -> dict[str, object]:
    from placet.adapters.private_file import write_atomically
    from placet.adapters.rekor import VerifiedExport, submit
    from placet.adapters.timestamp import fetch_timestamp
    from placet.documents.rekor import encode_sigstore_bundle

    stamp = stamped = None
    if args.tsa:
        stamp, stamped = fetch_timestamp(signature.signature, args.tsa, authorities, ca_file=args.ca_file)
    logged = submit(signature, args.rekor, logs, now=now(), ca_file=args.ca_file)
    # The signature's digest names the files: one key may sign many approvals.
    stem = signature.sshsig_digest[:16]
    contents = {
        ".sigstore.json": encode_sigstore_bundle(signature, logged.entry, stamp),
        ".signed": signature.signed,
        ".pub": signature.public_key_pem,
    }
    for suffix, content in contents.items():
        write_atomically(args.output / f"{stem}{suffix}", content, mode=0o644)
    file = str(args.output / f"{stem}.sigstore.json")
    return {"file": file, **_to_object(VerifiedExport(signature, logged, stamped))}


def _verify(args: argparse.Namespace) -> int:
    from placet.adapters.rekor import verify_export

    logs, authorities = _read_root(args.trusted_root)
    able, _ = _read_signatures(args.bundle)
    content = read_file(args.export, "export", _MAX_SIGSTORE_BYTES)
    found = verify_export(content, able, logs, authorities)
    if args.json:
        print_json({"verdict": "holds", **_to_object(found)})
        return EXIT_ALLOW
    log = visible(found.logged.log.base_url)
    print(verdict_line("HOLDS", GREEN, f"the log of {log} has this signature."))
    print(f"  Key       {found.signature.keyid}")
    print(f"  Entry     {found.logged.leaf_index} of {found.logged.tree_size}")
    if found.stamped:
        print(f"  Signed    by {format_time(found.stamped.time)}, says {visible(found.stamped.authority)}")
    print("  Who       not asked here: `placet verify` says whose key it is, and whether that is enough")
    return EXIT_ALLOW


def _say(args: argparse.Namespace, done: list[dict[str, object]], unable: tuple[NotLoggable, ...]) -> None:
    print(f"Logged {len(done)} of {len(done) + len(unable)} signatures of {visible(args.bundle)}.")
    for item in done:
        print(f"  {visible(str(item['file']))}")
        print(f"    entry {item['leafIndex']} of {visible(str(item['log']))}, key {item['keyid']}")
    for left in unable:
        print(f"  left out: key {left.keyid}")
        print(f"    {left.error.message}")
        print(f"    {left.error.hint}")
    if done:
        stem = str(done[0]["file"]).removesuffix(".sigstore.json")
        print("Sigstore's tools check one of them with:")
        print(f"  cosign verify-blob --key {visible(stem)}.pub --bundle {visible(stem)}.sigstore.json \\")
        print(f"    --trusted-root {visible(args.trusted_root)} {visible(stem)}.signed")


def _to_object(export: VerifiedExport) -> dict[str, object]:
    return {
        "keyid": export.signature.keyid,
        "signature": {"sha256": export.signature.sshsig_digest},
        "log": export.logged.log.base_url,
        "leafIndex": str(export.logged.leaf_index),
        "treeSize": str(export.logged.tree_size),
        **({"time": format_time(export.stamped.time)} if export.stamped else {}),
    }


def _read_root(path: str) -> tuple[dict[bytes, RekorLog], tuple[TimestampAuthority, ...]]:
    from placet.adapters.rekor import read_rekor_logs
    from placet.adapters.timestamp import read_authorities

    content = read_file(path, "trusted root", _MAX_ROOT_BYTES)
    try:
        logs = dict(read_rekor_logs(content))
    except PlacetError as e:
        raise name_file(e, path) from e
    try:
        return logs, read_authorities(content)
    except PlacetError:  # it names none; a timestamp is then by nobody who counts
        return logs, ()


def _read_signatures(path: str) -> tuple[tuple[LoggableSignature, ...], tuple[NotLoggable, ...]]:
    from placet.documents.rekor import loggable_signatures

    try:
        bundle: IntentBundle = parse_bundle(read_file(path, "approval", MAX_BUNDLE_BYTES))
        parse_statement(bundle.envelope.payload)
    except PlacetError as e:
        raise name_file(e, path) from e
    return loggable_signatures(bundle)

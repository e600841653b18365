"""``placet trust refresh`` and ``verify``: what a gate does, and the rehearsal of it."""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from placet.adapters.paths import snapshot_path
from placet.adapters.private_file import write_atomically
from placet.adapters.tuf.refresh import Refreshed, refresh
from placet.adapters.tuf.repository import TrustRepository
from placet.cli import UserError
from placet.cli._shared import now, read_file, setting
from placet.core.encoding import format_time, sha256_hex
from placet.core.errors import IndeterminateError, PlacetError, Reason, visible
from placet.core.trust import MAX_SNAPSHOT_BYTES, parse_trust

_MAX_ROOT_BYTES = 512_000
_MAX_SOURCE_BYTES = 4096


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    return _refresh(args) if args.trust_command == "refresh" else _verify(args)


def _refresh(args: argparse.Namespace) -> int:
    snapshot = args.to or snapshot_path()
    source = setting(args.source, "trust_source") or read_source(snapshot)
    if source is None:
        raise UserError(
            "Where is the trust root published?",
            "Name the folder or address with --from; after the first success it is remembered.",
        )
    root = None if args.root is None else read_file(args.root, "root", _MAX_ROOT_BYTES)
    first = not snapshot.exists()
    try:
        refreshed = refresh(source, snapshot, root=root, root_sha256=args.root_sha256)
    except PlacetError:
        print(_say_kept(snapshot), file=sys.stderr)
        raise
    _keep_source(snapshot, source)
    trust = refreshed.trust
    word = ("is here" if first else "was updated") if refreshed.changed else "was fresh already"
    print(f"The trust of {trust.deployment.name} {word}: {_versions(refreshed)}.")
    print(
        f"People: {len(trust.people)}, keys: {len(trust.credentials)}, terminals: {len(trust.terminals)}, "
        f"gates: {len(trust.gates)}, rules: {len(trust.rules)}. "
        f"Valid until {format_time(refreshed.expires_at)}."
    )
    for note in refreshed.notes:
        print(f"Note: {visible(note)}", file=sys.stderr)
    print(f"The snapshot is {snapshot}. Next: `placet verify` and `placet run` decide by it; refresh daily.")
    return 0


def _source_path(snapshot: Path) -> Path:
    return snapshot.with_suffix(".source")


def read_source(snapshot: Path) -> str | None:
    """Returns where this snapshot was refreshed from last, if that is known."""
    try:
        return _source_path(snapshot).read_bytes()[:_MAX_SOURCE_BYTES].decode("utf-8").strip() or None
    except (OSError, ValueError):
        return None


def _keep_source(snapshot: Path, source: str) -> None:
    """Keeps where the trust came from, so that later refreshes need no words.

    It is a convenience and no secret: whoever wrote another source there could withhold news until the
    snapshot expires, as whoever owns the source can, and nothing more.
    """
    remembered = source if "://" in source else str(Path(source).absolute())
    with suppress(OSError):
        write_atomically(_source_path(snapshot), remembered.encode("utf-8") + b"\n")


def _say_kept(snapshot: Path) -> str:
    """Returns what a failed refresh means for the gate."""
    try:
        kept = parse_trust(read_file(snapshot, "trust snapshot", MAX_SNAPSHOT_BYTES))
    except (UserError, PlacetError):
        return "The refresh failed, and there is no earlier snapshot: this gate decides nothing yet."
    until = format_time(kept.expires_at)
    if kept.expires_at <= now():
        return f"The refresh failed. The earlier snapshot expired at {until} and decides nothing."
    return f"The refresh failed. The earlier snapshot is unchanged and valid until {until}."


def _verify(args: argparse.Namespace) -> int:
    digest = args.root_sha256
    repository = TrustRepository(args.repository)
    if digest is None:
        root = repository.published_root_bytes()
        if root is None:
            raise IndeterminateError(
                Reason.TRUST_UNAVAILABLE,
                f"Nothing is published in {args.repository} yet.",
                hint="Have the administrators sign, then run `placet trust publish`.",
            )
        digest = sha256_hex(root)
    with tempfile.TemporaryDirectory(prefix="placet-trust-") as folder:
        refreshed = refresh(str(args.repository), Path(folder) / "snapshot.json", root_sha256=digest)
    print(f"A fresh gate accepts what is published in {repository.public_folder}: {_versions(refreshed)}.")
    print("Checked: signatures and thresholds, one key per person, versions, expiry, every file, every rule.")
    if args.root_sha256 is None:
        print(
            f"Root SHA-256, taken from the repository itself: {digest}. Compare it with what gates were told."
        )
    for note in refreshed.notes:
        print(f"Note: {visible(note)}", file=sys.stderr)
    print(f"Valid until {format_time(refreshed.expires_at)}.")
    return 0


def _versions(refreshed: Refreshed) -> str:
    return ", ".join(f"{role} {version}" for role, version in refreshed.versions.items())

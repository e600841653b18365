"""``placet trust publish``: what is signed goes to where gates read."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from placet.cli import UndecidedError, UserError
from placet.cli._shared import now
from placet.cli.trust.shared import add_repository, open_repository
from placet.core.errors import PlacetError

if TYPE_CHECKING:
    from placet.adapters.tuf.publish import Published
    from placet.cli._log_trust import LoggedTrust


def configure(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command's arguments."""
    publish = commands.add_parser("publish", help="publish what is signed, or renew the timestamp")
    publish.add_argument("--to", type=Path, metavar="DIR", help="copy what is published there, too")
    publish.add_argument(
        "--commit", action="store_true", help="where --to lies in a git checkout: commit it, and nothing else"
    )
    publish.add_argument(
        "--closing",
        nargs="+",
        action="extend",
        default=[],
        metavar="SCOPE",
        help="publish although a scope's owners have not signed: gates refuse everything in it until they do",
    )
    publish.add_argument(
        "--log", metavar="URL", help="log there what people signed, once it is published (placet log)"
    )
    publish.add_argument("--json", action="store_true", help="for programs")
    add_repository(publish)


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    from placet.adapters.tuf.anchor import TrustAnchors
    from placet.adapters.tuf.git import is_working_tree
    from placet.adapters.tuf.publish import mirror, publish
    from placet.adapters.tuf.review import remember_published
    from placet.core.encoding import format_time

    checked_out = args.to is not None and is_working_tree(args.to)
    if args.commit and not checked_out:
        raise UserError("--commit needs --to with a folder of a git checkout.", "Make one with: git clone")
    repository = open_repository(args)
    published = publish(repository, now=now(), closing=args.closing)
    try:
        remember_published(repository, TrustAnchors())
    except PlacetError as e:
        # It is out already; but who signs here next must know that this is another trust root.
        print(f"Note: this is not the trust root that this machine follows. {e}", file=sys.stderr)
    if args.to is not None:
        mirror(repository, args.to)
    place = args.to or repository.public_folder
    committed = args.commit and _commit(args.to, published)
    logged = None if args.log is None else _log(args.log, repository.public_folder)
    if args.json:
        more = {"committed": committed} | ({} if logged is None else logged._asdict())
        print(json.dumps(_to_object(published, str(place)) | more, indent=2))
        return _exit_code(published)
    print(f"Published in {place}: {_versions(published)}.")
    if checked_out:
        print(f"It is {'committed' if committed else 'not committed'}. Next: git -C {place} push")
    if logged is not None:
        print(f"The log has {logged.versions} published versions; {logged.new} of them are new there.")
    role = min(published.expires_at, key=lambda name: published.expires_at[name])
    print(f"It is valid until {format_time(published.expires_at[role])} ({role}); publish again before then.")
    print(f"Root SHA-256, to be told to each gate once: {published.root_sha256}")
    _say_scopes(published)
    print("Next, at gates and terminals that have trust already: placet trust refresh")
    print(f"At new ones: placet trust refresh --from {place} --root-sha256 {published.root_sha256}")
    return _exit_code(published)


def _log(url: str, folder: Path) -> LoggedTrust:
    """Logs what was published.

    Raises:
        UndecidedError: it is published, and not logged.
    """
    from placet.cli._log_ask import open_log
    from placet.cli._log_trust import log_versions

    try:
        return log_versions(open_log(url, trust=None, ca_file=None), folder)
    except PlacetError as e:
        raise UndecidedError(
            f"The trust root is published, but not logged: {e}",
            f"{e.hint} Log it with: placet log publish-trust {folder} --log {url}".strip(),
        ) from e


def _exit_code(published: Published) -> int:
    """Whoever published for the sake of a draft must notice that it stayed where it was."""
    return 1 if published.waiting and not published.going else 0


def _say_scopes(published: Published) -> None:
    from placet.adapters.tuf.state import state_lines

    for line in state_lines(published.waiting):
        print(f"Not published yet: {line}")
    for scope, why in published.closed.items():
        print(f"CLOSED: gates refuse everything in the scope {scope}: {why}.")


def _commit(folder: Path, published: Published) -> bool:
    from placet.adapters.tuf.git import commit_published

    return commit_published(folder, f"Trust root: {_versions(published)}")


def _versions(published: Published) -> str:
    return ", ".join(f"{role} {version}" for role, version in published.versions.items())


def _to_object(published: Published, place: str) -> dict[str, object]:
    from placet.adapters.tuf.state import state_object
    from placet.core.encoding import format_time

    return {
        "published": place,
        "versions": published.versions,
        "expiresAt": {role: format_time(at) for role, at in published.expires_at.items()},
        "rootSha256": published.root_sha256,
        "waiting": state_object(published.waiting),
        "closed": published.closed,
    }

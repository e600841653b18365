"""``placet trust sign`` and ``publish``."""

from __future__ import annotations

import argparse
import json
import sys

from placet.adapters.private_file import write_atomically
from placet.adapters.ssh_keygen import SshKeygenAuthenticator
from placet.adapters.tuf_anchor import TrustAnchors
from placet.adapters.tuf_exchange import attach_signatures, encode_challenge
from placet.adapters.tuf_publish import Published, mirror, publish
from placet.adapters.tuf_repository import TrustRepository
from placet.adapters.tuf_review import Review, remember_published, review, sign_reviewed
from placet.adapters.tuf_signing import PendingRole, pending_roles
from placet.ceremony.trust_change import change_lines, group_digits, root_diff, semantic_diff
from placet.cli import UserError
from placet.cli._shared import now, read_file
from placet.core.encoding import format_time, sha256_hex
from placet.core.errors import PlacetError

_MAX_SIGNATURES_BYTES = 1024 * 1024


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    repository = TrustRepository(args.repository)
    return _sign(repository, args) if args.trust_command == "sign" else _publish(repository, args)


def _sign(repository: TrustRepository, args: argparse.Namespace) -> int:
    if (args.key is None) != (args.person is None):
        raise UserError("Signing needs both the administrator and their key.", "As in: --as alice --key FILE")
    if args.renew:
        repository.renew(now=now())
    if args.signatures is not None:
        data = read_file(args.signatures, "signature file", _MAX_SIGNATURES_BYTES)
        for item in attach_signatures(repository, data):
            if item.refusal is not None:
                raise item.refusal
            print(f"{item.person} has signed {item.role}.")
        return _say_next(repository)
    if not pending_roles(repository):
        print("Nothing waits for signatures. Next: `placet trust publish` renews the timestamp, if need be.")
        return 0
    anchors = TrustAnchors()
    shown = review(repository, anchors, root_sha256=args.root_sha256)
    _show_change(shown)
    if args.export is not None:
        write_atomically(args.export, encode_challenge(repository))
        print(
            f"The challenge is in {args.export}. Next: sign it on the other terminal, then --import its file."
        )
    elif args.key is not None:
        authenticator = SshKeygenAuthenticator(args.key)
        if not args.yes and not _confirmed(args.person):
            print("Nothing was signed.")
            return 1
        signed = sign_reviewed(repository, shown, args.person, authenticator, anchors)
        print(f"{args.person} has signed {' and '.join(signed)}." if signed else f"{args.person} had signed.")
    return _say_next(repository)


def _show_change(shown: Review) -> None:
    """Prints what the bytes that are about to be signed mean."""
    for item in shown.pending:
        print(f"{item.role} version {item.version}, valid until {format_time(item.expires_at)}")
        print(f"    SHA-256 of what is signed: {group_digits(sha256_hex(item.message))}")
    changes = semantic_diff(shown.old_files, shown.new_files)
    if shown.new_root is not None:
        changes = root_diff(shown.old_root, shown.new_root) + changes
    print()
    for sentence in shown.compared_with:
        print(sentence)
    print("What changes (+ new, - gone, ~ different):")
    for line in change_lines(changes) or ["nothing but versions and dates"]:
        print(f"  {line}")
    print()


def _confirmed(person: str) -> bool:
    if not sys.stdin.isatty():
        raise UserError("This needs a confirmation, and there is no terminal to ask at.", "Add --yes.")
    print(f"Sign exactly this as {person}? Type `sign`, then touch your key: ", end="", flush=True)
    return sys.stdin.readline().strip() == "sign"


def _say_next(repository: TrustRepository) -> int:
    pending = pending_roles(repository)
    for item in pending:
        print(_describe_signing(item))
    if any(item.missing for item in pending):
        print("Next: each who is missing runs `placet trust sign --as ID --key FILE`.")
    else:
        print("Next: `placet trust publish`.")
    return 0


def _describe_signing(item: PendingRole) -> str:
    signed = ", ".join(item.signed) or "nobody"
    if not item.missing:
        return f"{item.role} {item.version}: signed by {signed}; {item.threshold} are enough."
    return (
        f"{item.role} {item.version}: signed by {signed}; {item.missing} more needed of "
        f"{', '.join(item.unsigned)}."
    )


def _publish(repository: TrustRepository, args: argparse.Namespace) -> int:
    published = publish(repository, now=now())
    try:
        remember_published(repository, TrustAnchors())
    except PlacetError as e:
        # It is out already; but who signs here next must know that this is another trust root.
        print(f"Note: this is not the trust root that this machine follows. {e}", file=sys.stderr)
    if args.to is not None:
        mirror(repository, args.to)
    place = args.to or repository.public_folder
    if args.json:
        print(json.dumps(_to_object(published, str(place)), indent=2))
        return 0
    versions = ", ".join(f"{role} {version}" for role, version in published.versions.items())
    role = min(published.expires_at, key=lambda name: published.expires_at[name])
    print(f"Published in {place}: {versions}.")
    print(f"It is valid until {format_time(published.expires_at[role])} ({role}); publish again before then.")
    print(f"Root SHA-256, to be told to each gate once: {published.root_sha256}")
    print("Next, at gates and terminals that have trust already: placet trust refresh")
    print(f"At new ones: placet trust refresh --from {place} --root-sha256 {published.root_sha256}")
    return 0


def _to_object(published: Published, place: str) -> dict[str, object]:
    return {
        "published": place,
        "versions": published.versions,
        "expiresAt": {role: format_time(at) for role, at in published.expires_at.items()},
        "rootSha256": published.root_sha256,
    }

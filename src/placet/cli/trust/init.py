"""``placet trust init``: a new trust root with its first administrators, not yet signed."""

from __future__ import annotations

import argparse
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from placet.ceremony import trust_edit
from placet.cli import UserError
from placet.cli._shared import now
from placet.cli.trust.shared import add_admin_keys, add_repository, kind_of
from placet.core.people import Deployment
from placet.core.sshsig import parse_public_key

if TYPE_CHECKING:
    from placet.adapters.tuf.trust import Administrator


def configure(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command's arguments."""
    init = commands.add_parser("init", help="make a new trust root, not yet signed")
    init.add_argument("--deployment", required=True, metavar="NAME", help="its name, as in a host name")
    init.add_argument("--rp-id", metavar="HOST", help="its RP ID (default: NAME.placet.localhost)")
    add_administrators(init)
    add_repository(init)


def add_administrators(parser: argparse.ArgumentParser) -> None:
    """Declares who the administrators are, all of them."""
    parser.add_argument(
        "--admin",
        required=True,
        nargs="+",
        action="extend",
        metavar="ID=PUBKEYFILE",
        help="an administrator with the one key that counts for them",
    )
    parser.add_argument(
        "--threshold", required=True, type=int, metavar="K", help="how many of them must sign"
    )
    add_admin_keys(parser)


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    from placet.adapters.tuf.anchor import TrustAnchors
    from placet.adapters.tuf.repository import TrustRepository
    from placet.adapters.tuf.signing import root_digests

    rp_id = args.rp_id or f"{args.deployment}.placet.localhost"
    initial = trust_edit.initial_files(deployment=args.deployment, rp_id=rp_id, actions=shipped_actions())
    deployment = Deployment(args.deployment, rp_id)
    administrators = [read_administrator(text, deployment, args) for text in args.admin]
    anchors = TrustAnchors()
    anchors.check_unused(args.deployment)
    repository = TrustRepository.create(
        args.repository, files=initial, administrators=administrators, threshold=args.threshold, now=now()
    )
    (digest,) = root_digests(repository)
    anchors.begin(args.deployment, digest)
    count = len(administrators)
    print(f"The trust root of {args.deployment} is drafted in {args.repository}; nobody has signed it yet.")
    print(f"{args.threshold} of {count} administrators sign: {', '.join(a.person for a in administrators)}.")
    if args.threshold == 1 or args.threshold == count > 1:
        print(
            "Note: one lost or stolen key is enough to "
            + ("change everything." if args.threshold == 1 else "stop every change; 2 of 3 is safer.")
        )
    print(f"Draft root SHA-256, for the other administrators and for enrolling the first people: {digest}")
    print("Next: add people, keys, terminals, gates and rules; then each administrator signs.")
    return 0


def shipped_actions() -> dict[str, bytes]:
    found = {}
    for folder in files("placet.actions").iterdir():
        if folder.is_dir():
            for file in folder.iterdir():
                if file.name.endswith(".json"):
                    found[f"actions/{folder.name}/{file.name}"] = file.read_bytes()
    return found


def read_administrator(text: str, deployment: Deployment, args: argparse.Namespace) -> Administrator:
    """Reads ``ID=PUBKEYFILE``.

    Raises:
        UserError: it is spelled otherwise, or the key is not of this deployment.
        MalformedError: it is no FIDO key.
    """
    from placet.adapters.fido.ssh_keygen import read_public_key_file
    from placet.adapters.tuf.trust import make_administrator

    person, equals, file = text.partition("=")
    if not (person and equals and file):
        raise UserError(f"{text!r} is not ID=PUBKEYFILE.", "As in: --admin alice@example.com=alice.pub")
    path = Path(file)
    if path.is_file() and path.read_bytes()[:1] == b"{":
        raise UserError(
            f"{path} is a proof, which is verified with the invite that it answers, one at a time.",
            f"Use .pub files here; then: placet trust add-administrator {person} (or replace-administrator) "
            f"--key {path} --invite TEXT",
        )
    key = parse_public_key(read_public_key_file(path))
    kind = kind_of(key, deployment, file)
    return make_administrator(
        person,
        key.wire,
        kind=kind,
        origins=args.admin_origin if kind == "webauthn" else (),
        uv=not args.admin_no_uv,
    )

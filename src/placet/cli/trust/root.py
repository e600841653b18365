"""``placet trust …-administrator(s)`` and ``rotate-online-keys``: a new root, for two quorums."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from placet.ceremony.enrol import MAX_ENROLMENT_BYTES, parse_enrolment, verify_enrolment
from placet.ceremony.fingerprint import spoken_fingerprint
from placet.ceremony.trust_edit import read_deployment, read_terminals
from placet.cli import UserError
from placet.cli._shared import now, read_file
from placet.cli.trust.init import add_administrators, read_administrator
from placet.cli.trust.revoke import add_reason
from placet.cli.trust.shared import (
    add_admin_keys,
    add_repository,
    open_repository,
    people_who_signed,
    say_who_signs_again,
)
from placet.core.encoding import KeyId

if TYPE_CHECKING:
    from placet.adapters.tuf.administrators import RootChange
    from placet.adapters.tuf.repository import TrustRepository
    from placet.adapters.tuf.trust import Administrator

_ONE = {
    "add-administrator": "let one more person sign root and targets",
    "remove-administrator": "let a person no longer sign root and targets",
    "replace-administrator": "give an administrator another key, such as for a lost one",
}


def configure(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the commands' arguments."""
    everyone = commands.add_parser("set-administrators", help="say anew who all the administrators are")
    add_administrators(everyone)
    parsers = [everyone]
    for name, text in _ONE.items():
        parser = commands.add_parser(name, help=text)
        parser.description = (
            f"Drafts a new root, to {text}. It is signed by the quorum of the root before and by its own."
        )
        parser.add_argument("person", metavar="ID", help="such as alice@example.com")
        if name != "remove-administrator":
            parser.add_argument(
                "--key", required=True, type=Path, metavar="FILE", help=".pub or .enrolment.json"
            )
            parser.add_argument("--invite", metavar="TEXT", help="the invite that you gave to the person")
        parser.add_argument(
            "--threshold", type=int, metavar="K", help="how many must sign (default: as many as now)"
        )
        add_admin_keys(parser)
        parsers.append(parser)
    online = commands.add_parser(
        "rotate-online-keys", help="make new keys for snapshot and timestamp, named by a new root"
    )
    online.add_argument("--role", choices=["snapshot", "timestamp"], help="only this one (default: both)")
    for parser in (*parsers, online):
        add_reason(parser)
        add_repository(parser)


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    from placet.adapters.tuf import administrators

    repository = open_repository(args)
    signed = people_who_signed(repository)
    before, threshold = administrators.current_administrators(repository)
    if args.trust_command == "rotate-online-keys":
        roles = [args.role] if args.role else ["snapshot", "timestamp"]
        change = administrators.rotate_online_keys(repository, now=now(), roles=roles)
        said = (
            f"There is a new online key for {' and '.join(roles)}. The old one signs along until the new "
            "root is published, and is removed then."
        )
    else:
        people = _new_administrators(args, repository, before)
        wanted = threshold if args.threshold is None else args.threshold
        change = administrators.stage_administrators(repository, people, threshold=wanted, now=now())
        said = _describe(before, people, wanted)
    return _say(args, repository, change, said, signed)


def _new_administrators(
    args: argparse.Namespace, repository: TrustRepository, before: tuple[Administrator, ...]
) -> list[Administrator]:
    deployment = read_deployment(repository.draft_files())
    if args.trust_command == "set-administrators":
        return [read_administrator(text, deployment, args) for text in args.admin]
    known = [administrator.person for administrator in before]
    adding = args.trust_command == "add-administrator"
    if adding == (args.person in known):
        raise UserError(
            f"{args.person} is {'an administrator already' if adding else 'no administrator'}.",
            f"Administrators are: {', '.join(known)}."
            + (
                f" To give them another key: placet trust replace-administrator {args.person}"
                if adding
                else ""
            ),
        )
    if args.trust_command == "remove-administrator":
        return [administrator for administrator in before if administrator.person != args.person]
    new = _read_new(args, repository)
    if adding:
        return [*before, new]
    return [new if administrator.person == args.person else administrator for administrator in before]


def _read_new(args: argparse.Namespace, repository: TrustRepository) -> Administrator:
    """Reads an administrator's new key, from a .pub file or a terminal's proof that it answers the invite."""
    from placet.adapters.tuf.signing import root_digests
    from placet.adapters.tuf.trust import make_administrator

    files = repository.draft_files()
    deployment = read_deployment(files)
    data = read_file(args.key, "key", MAX_ENROLMENT_BYTES)
    if not data.lstrip().startswith(b"{"):
        return read_administrator(f"{args.person}={args.key}", deployment, args)
    if args.invite is None:
        raise UserError(
            "An enrolment file answers an invite, and none was given.",
            "Give it as --invite, as you gave it to the person; the key could be anybody's otherwise.",
        )
    enrolment = parse_enrolment(data)
    facts = verify_enrolment(
        enrolment,
        person=args.person,
        deployment=deployment,
        invite=args.invite.strip(),
        root_digests=root_digests(repository),
        origins={origin for terminal in read_terminals(files) for origin in terminal.origins},
        require_uv=not args.admin_no_uv,
    )
    # Unless other pages are named, the key signs where it was enrolled.
    origins = args.admin_origin or ([facts.web_origin] if facts.web_origin else [])
    return make_administrator(
        args.person, enrolment.public_key.wire, kind=enrolment.kind, origins=origins, uv=not args.admin_no_uv
    )


def _describe(before: tuple[Administrator, ...], after: list[Administrator], threshold: int) -> str:
    old = {administrator.person: administrator.key.keyid for administrator in before}
    now_key = {administrator.person: administrator.key.keyid for administrator in after}
    parts = [f"{person} is new" for person in now_key if person not in old]
    parts += [f"{person} goes" for person in old if person not in now_key]
    parts += [f"{person} has another key" for person, key in now_key.items() if old.get(person, key) != key]
    who = f"{threshold} of {len(now_key)} administrators sign: {', '.join(now_key)}."
    if threshold == 1 or threshold == len(now_key) > 1:
        who += "\nNote: one lost or stolen key is enough to " + (
            "change everything." if threshold == 1 else "stop every change; 2 of 3 is safer."
        )
    fresh = [administrator for administrator in after if administrator.key.keyid not in old.values()]
    aloud = "".join(
        f"\nHave {new.person} read the new key's fingerprint aloud; everybody who signs types it: "
        f"{spoken_fingerprint(KeyId(new.key.keyid))}"
        for new in fresh
    )
    return f"{'; '.join(parts) or 'The same people'}. {who}{aloud}"


def _say(
    args: argparse.Namespace,
    repository: TrustRepository,
    change: RootChange,
    said: str,
    signed: dict[str, tuple[str, ...]],
) -> int:
    from placet.adapters.tuf.history import record
    from placet.adapters.tuf.signing import pending_roles

    if not change.changed:
        print("The trust root says so already; nothing was changed.")
        return 0
    text = f"root {change.version}: {said.partition('. ')[0]}"
    record(repository, "staged", text, now=now(), reason=args.reason)
    print(said)
    print(f"Root {change.version} is in the draft. What it needs:")
    for item in pending_roles(repository):
        for quorum in item.quorums:
            people = ", ".join(sorted((*quorum.signed, *quorum.unsigned)))
            print(f"  {item.role} {item.version}: {quorum.threshold} of {people} (keys of {quorum.of})")
    if change.targets_again:
        print(
            "The targets are to be signed again too, with the same files: too few of the new administrators "
            "had signed what is published."
        )
    say_who_signs_again(repository, signed)
    if "has another key" in said:
        print("Who still has the old key may sign with both; each quorum counts each person once.")
    print("Next: each of them runs `placet trust sign --as ID --key FILE`; then `placet trust publish`.")
    return 0

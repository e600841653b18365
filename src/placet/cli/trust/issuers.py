"""``placet trust add-issuer`` and ``remove-issuer``: whose tokens say who asks."""

from __future__ import annotations

import argparse
from pathlib import Path

from placet.cli import UserError
from placet.cli._shared import read_file
from placet.cli.trust.shared import add_repository, open_repository, stage
from placet.core.encoding import parse_json
from placet.documents.issuers import (
    ALGORITHMS,
    ISSUERS_FILE,
    PRESETS,
    Issuer,
    add_issuer,
    parse_keys,
    remove_issuer,
)

_MAX_KEYS_BYTES = 256 * 1024


def configure(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the commands' arguments."""
    add = commands.add_parser("add-issuer", help="believe an OIDC issuer about who asks")
    add.description = (
        "Requests may then carry that issuer's token as proof of who asks; link its accounts to people with "
        "`placet trust add-person --account`. A requester who is proven cannot approve their own request, "
        "where a rule excludes requesters."
    )
    add.add_argument("issuer", metavar="ISSUER", help=f"its https address, or {' or '.join(PRESETS)}")
    add.add_argument("--person-claim", metavar="CLAIM", help="the claim that names the person (default: sub)")
    add.add_argument(
        "--claim",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a claim that tokens must have, such as repository_owner_id=4711",
    )
    add.add_argument(
        "--algorithm", action="append", default=[], choices=ALGORITHMS, help="how it signs (default: RS256)"
    )
    add.add_argument(
        "--keys", type=Path, metavar="JWKS", help="pin these keys (default: fetch them at each refresh)"
    )
    remove = commands.add_parser("remove-issuer", help="no longer believe an OIDC issuer")
    remove.add_argument("issuer", metavar="ISSUER", help=f"its https address, or {' or '.join(PRESETS)}")
    for command in (add, remove):
        add_repository(command)


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    repository = open_repository(args)
    before = repository.draft_files().get(ISSUERS_FILE)
    preset = PRESETS.get(args.issuer)
    if args.trust_command == "remove-issuer":
        address = preset.issuer if preset else args.issuer
        said = f"Tokens of {address} will no longer say who asks."
        return stage(repository, {ISSUERS_FILE: remove_issuer(before, address)}, said)
    issuer = _issuer(args, preset)
    said = f"Tokens of {issuer.issuer} will say who asks, by their claim {issuer.person_claim!r}."
    if preset and not issuer.claims:
        # Everybody's jobs run there: a job that the same person started for somebody else would count.
        raise UserError(
            f"{issuer.issuer} makes tokens for everybody's jobs, and no --claim says which are yours.",
            "Name your organisation: --claim repository_owner_id=NUMBER"
            if args.issuer == "github"
            else "Name your group: --claim namespace_id=NUMBER",
        )
    return stage(repository, {ISSUERS_FILE: add_issuer(before, issuer)}, said)


def _issuer(args: argparse.Namespace, preset: Issuer | None) -> Issuer:
    claims = {}
    for word in args.claim:
        name, equals, value = word.partition("=")
        if not (name and equals and value):
            raise UserError(f"--claim takes NAME=VALUE, not {word!r}.")
        claims[name] = value
    default = preset or Issuer(args.issuer, "sub", {}, ("RS256",), None)
    return default._replace(
        person_claim=args.person_claim or default.person_claim,
        claims=claims,
        algorithms=tuple(args.algorithm) or default.algorithms,
        keys=None if args.keys is None else _read_keys(args.keys),
    )


def _read_keys(path: Path) -> tuple[dict[str, object], ...]:
    value = parse_json(read_file(path, "key set", _MAX_KEYS_BYTES), max_bytes=_MAX_KEYS_BYTES, what="key set")
    if not isinstance(value, dict) or "keys" not in value:
        raise UserError(f"{path} is no JWK set.", 'It is an object with a member "keys" (RFC 7517).')
    return parse_keys(value["keys"], "/keys")

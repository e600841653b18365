"""What the commands of ``placet trust`` share.  Nothing heavy is imported before a command runs."""

from __future__ import annotations

import argparse
import base64
import binascii
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from placet.adapters.paths import data_dir
from placet.ceremony import trust_edit
from placet.ceremony.trust_consequences import find_consequences
from placet.cli import UserError
from placet.cli._shared import now, read_file
from placet.core.people import Deployment
from placet.core.sshsig import PublicKey, parse_public_key

if TYPE_CHECKING:
    from placet.adapters.tuf.repository import TrustRepository

MAX_KEY_FILE_BYTES = 64 * 1024
NEXT = "Next: more changes, or each of those who sign runs `placet trust sign --as ID --key FILE`."


def default_repository() -> Path:
    """Where the administrators' repository lies unless another is named."""
    return data_dir() / "trust-repository"


def add_admin_keys(parser: argparse.ArgumentParser) -> None:
    """Declares how administrators' keys may sign."""
    parser.add_argument(
        "--admin-origin",
        nargs="+",
        action="extend",
        default=[],
        metavar="URL",
        help="pages on which administrators' browser keys may sign",
    )
    parser.add_argument(
        "--admin-no-uv",
        action="store_true",
        help="accept administrators' signatures without PIN or fingerprint (not advised)",
    )


def add_repository(parser: argparse.ArgumentParser) -> None:
    """Declares ``--repository``."""
    parser.add_argument(
        "--repository", type=Path, default=default_repository(), metavar="DIR", help="the working repository"
    )


def open_repository(args: argparse.Namespace) -> TrustRepository:
    """Opens the working repository that the arguments name.

    Raises:
        IndeterminateError: TRUST_UNAVAILABLE where there is none.
    """
    from placet.adapters.tuf.repository import TrustRepository

    return TrustRepository(args.repository)


def stage(
    repository: TrustRepository,
    changes: Mapping[str, bytes],
    said: str,
    *,
    removals: Collection[str] = (),
    reason: str = "",
) -> int:
    """Says what a change brings about, puts it into the draft, and says what comes next.

    Returns:
        The exit code.
    """
    from placet.adapters.tuf.history import record

    before = repository.draft_files()
    after = {name: data for name, data in (before | dict(changes)).items() if name not in removals}
    follows = find_consequences(before, after, now=now())
    if follows:
        print("What follows from it, once it is in force:")
        for sentence in follows:
            print(f"  {sentence}")
    signed = people_who_signed(repository)
    if not repository.stage(changes, now=now(), removals=removals):
        print("The trust root says so already; nothing was changed.")
        return 0
    text = said.partition("\n")[0].rstrip(".")
    record(repository, "staged", text, now=now(), reason=reason)
    print(said)
    say_who_signs_again(repository, signed)
    if not follows:
        for gap in trust_edit.find_policy_gaps(after):
            print(f"Note: {gap}")
    print(NEXT)
    return 0


def people_who_signed(repository: TrustRepository) -> dict[str, tuple[str, ...]]:
    """Returns who has signed the draft so far, by role."""
    from placet.adapters.tuf.signing import pending_roles

    return {item.role: item.signed for item in pending_roles(repository)}


def say_who_signs_again(repository: TrustRepository, before: Mapping[str, tuple[str, ...]]) -> None:
    """Names whose signatures on the earlier draft are void now."""
    now_signed = people_who_signed(repository)
    lost = {
        person
        for role, people in before.items()
        for person in people
        if role in now_signed and person not in now_signed[role]
    }
    if lost:
        print(
            f"Signatures over the earlier draft no longer count: {', '.join(sorted(lost))} must sign again."
        )


def kind_of(key: PublicKey, deployment: Deployment, where: object) -> str:
    """Returns how a key signs, from what it was made for.

    Raises:
        UserError: it was made for something else.
    """
    if key.application == deployment.rp_id:
        return "webauthn"
    if key.application == deployment.ssh_application:
        return "sk"
    raise UserError(
        f"The key in {where} was made for {key.application!r}, not for this deployment.",
        "Make one with: ssh-keygen -t ed25519-sk -O verify-required "
        f"-O application={deployment.ssh_application}",
    )


def read_plain_key(text: str) -> PublicKey:
    path, what = Path(text), f"{text[:80]!r} is neither a file nor a public key."
    if path.is_file():
        text = read_file(path, "public key", MAX_KEY_FILE_BYTES).decode("utf-8", "replace")
        what = f"The file {path} holds no public key."
    fields = text.split()
    try:
        # An OpenSSH public key line, or its middle part alone.
        return parse_public_key(base64.b64decode(fields[1 if len(fields) > 1 else 0], validate=True))
    except (binascii.Error, IndexError) as e:
        raise UserError(what, "`placet terminal init` prints the terminal's, with the whole line.") from e

"""What the commands of ``placet trust`` share.  Nothing heavy is imported before a command runs."""

from __future__ import annotations

import argparse
import base64
import binascii
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from placet.adapters.paths import data_dir
from placet.ceremony import trust_edit
from placet.cli import UserError
from placet.cli._shared import now, read_file
from placet.core.people import Deployment
from placet.core.sshsig import PublicKey, parse_public_key

if TYPE_CHECKING:
    from placet.adapters.tuf_repository import TrustRepository

MAX_KEY_FILE_BYTES = 64 * 1024
NEXT = "Next: more changes, or each administrator runs `placet trust sign --as ID --key FILE`."


def default_repository() -> Path:
    """Where the administrators' repository lies unless another is named."""
    return data_dir() / "trust-repository"


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
    from placet.adapters.tuf_repository import TrustRepository

    return TrustRepository(args.repository)


def stage(
    repository: TrustRepository,
    changes: Mapping[str, bytes],
    said: str,
    *,
    removals: Collection[str] = (),
    notes: Iterable[str] = (),
) -> int:
    """Puts a change into the draft, and says what it means and what comes next; returns the exit code."""
    from placet.adapters.tuf_signing import pending_roles

    void = sorted({person for role in pending_roles(repository) for person in role.signed})
    if not repository.stage(changes, now=now(), removals=removals):
        print("The trust root says so already; nothing was changed.")
        return 0
    print(said)
    lost = {person for role in pending_roles(repository) for person in role.unsigned}
    if again := [person for person in void if person in lost]:
        print(f"Signatures over the earlier draft no longer count: {', '.join(again)} must sign again.")
    for gap in (*notes, *trust_edit.find_policy_gaps(repository.draft_files())):
        print(f"Note: {gap}")
    print(NEXT)
    return 0


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

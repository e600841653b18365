"""Collecting administrators' signatures over a prepared root and targets.

Two ways lead here: a key on this machine signs `PendingRole.message` at once, or the messages travel to
another terminal in a challenge file and detached signatures come back.  Both end in `attach_signature`,
which verifies before it keeps.
"""

from __future__ import annotations

from typing import NamedTuple

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Signature  # type: ignore[attr-defined]

from placet.adapters.private_file import write_atomically
from placet.adapters.sk_key import SkKey
from placet.adapters.tuf_repository import TrustRepository
from placet.adapters.tuf_trust import (
    ROOT,
    SIGNED_BY_PEOPLE,
    parse_signed,
    person_of,
)
from placet.core.encoding import (
    Digest,
    KeyId,
    sha256_hex,
)
from placet.core.errors import PolicyError, Reason


class PendingRole(NamedTuple):
    """A prepared role: `message` are the exact bytes that administrators sign.

    `signed` and `unsigned` are people; `missing` is how many of them must still sign.
    """

    role: str
    version: int
    expires_at: int
    message: bytes
    threshold: int
    signed: tuple[str, ...]
    unsigned: tuple[str, ...]
    missing: int


def pending_roles(repository: TrustRepository) -> tuple[PendingRole, ...]:
    """Returns the prepared roles with who signed and who is missing, `root` first."""
    drafts = [(role, repository.draft_bytes(role)) for role in SIGNED_BY_PEOPLE]
    return tuple(_pending_role(repository, role, message) for role, message in drafts if message is not None)


def pending_messages(repository: TrustRepository) -> list[tuple[str, bytes]]:
    """Returns each prepared role with the bytes that administrators sign, in `NAMESPACE_TRUST`."""
    return [(pending.role, pending.message) for pending in pending_roles(repository)]


def signing_keys(repository: TrustRepository, role: str) -> dict[KeyId, SkKey]:
    """Returns the keys that may sign a prepared role; for a new root those of the old one too."""
    roots = [repository.delegator()]
    if role == ROOT and (published := repository.published_root()) is not None:
        roots.append(published)
    keys = {keyid: root.keys[keyid] for root in roots for keyid in root.roles[role].keyids}
    return {KeyId(keyid): key for keyid, key in keys.items() if isinstance(key, SkKey)}


def signatures(repository: TrustRepository, role: str) -> dict[KeyId, bytes]:
    """Returns the good signatures over a prepared role, as SSHSIGs."""
    message, keys = repository.draft_bytes(role), signing_keys(repository, role)
    good: dict[KeyId, bytes] = {}
    for path in sorted(repository.signatures_folder(role).glob("*.sshsig")):
        key, blob = keys.get(KeyId(path.stem)), path.read_bytes()
        if key is None or message is None:
            continue
        try:
            key.verify_signature(Signature(key.keyid, blob.hex()), message)
        except UnverifiedSignatureError:
            continue  # over an earlier draft
        good[KeyId(key.keyid)] = blob
    return good


def attach_signature(repository: TrustRepository, role: str, keyid: KeyId, sshsig: bytes) -> None:
    """Verifies an administrator's signature over a prepared role and keeps it.

    Raises:
        PolicyError: nothing is prepared, the key is no administrator's, or it was not used as it must be.
        MalformedError: it is not an SSHSIG.
        VerificationError: it is not a signature over the prepared bytes, such as one over an earlier draft.
    """
    with repository.lock():
        message = repository.draft_bytes(role)
        if message is None:
            raise PolicyError(Reason.BAD_TRUST, f"No {role} is waiting for signatures.")
        key = signing_keys(repository, role).get(keyid)
        if key is None:
            raise PolicyError(
                Reason.UNKNOWN_KEY, f"The key {keyid[:16]} belongs to no administrator of {role}."
            )
        key.check_sshsig(sshsig, message)
        folder = repository.signatures_folder(role)
        folder.mkdir(exist_ok=True)
        write_atomically(folder / f"{keyid}.sshsig", sshsig)


def root_digests(repository: TrustRepository) -> frozenset[Digest]:
    """Returns the digests by which a person's terminal may name this trust root when a key is enrolled.

    Those of every published root's file, which gates are started with, and of the prepared root's signed
    bytes, so that the first people can enrol before anything is published.
    """
    folder = repository.public_folder / "metadata"
    digests = {sha256_hex(path.read_bytes()) for path in folder.glob("*.root.json")}
    message = repository.draft_bytes(ROOT)
    return frozenset(digests | ({sha256_hex(message)} if message is not None else set()))


def check_complete(repository: TrustRepository) -> None:
    """Refuses a draft that lacks signatures, and names who could still sign.

    Raises:
        PolicyError: QUORUM_NOT_MET.
    """
    for pending in pending_roles(repository):
        if pending.missing:
            people = ", ".join(pending.unsigned)
            have = ", ".join(pending.signed) or "nobody"
            raise PolicyError(
                Reason.QUORUM_NOT_MET,
                f"{pending.role} version {pending.version} needs {pending.missing} more of these signatures: "
                f"{people}. Signed so far: {have}.",
                hint="Each of them runs `placet trust sign --as ID --key FILE`.",
            )


def _pending_role(repository: TrustRepository, role: str, message: bytes) -> PendingRole:
    signed = parse_signed(message, role)
    delegator = repository.delegator()
    collected = {str(k): Signature(k, blob.hex()) for k, blob in signatures(repository, role).items()}
    results = [delegator.get_verification_result(role, message, collected)]
    if role == ROOT and (published := repository.published_root()) is not None:
        results.append(published.get_verification_result(role, message, collected))
    have = {person_of(key) for result in results for key in result.signed.values()}
    lack = {person_of(key) for result in results for key in result.unsigned.values()} - have
    return PendingRole(
        role=role,
        version=signed.version,
        expires_at=int(signed.expires.timestamp()),
        message=message,
        threshold=delegator.roles[role].threshold,
        signed=tuple(sorted(have)),
        unsigned=tuple(sorted(lack)),
        missing=max(max(0, result.missing) for result in results),
    )

"""Collecting administrators' signatures over a prepared root and targets.

Two ways lead here: a key on this machine signs `PendingRole.message` at once, or the messages travel to
another terminal in a challenge file and detached signatures come back.  Both end in `attach_signature`,
which verifies before it keeps.
"""

from __future__ import annotations

from typing import NamedTuple, cast

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Signature  # type: ignore[attr-defined]
from tuf.api.metadata import Root, Targets  # type: ignore[attr-defined]  # re-exported without saying so

from placet.adapters.private_file import write_atomically
from placet.adapters.sk_key import SkKey
from placet.adapters.tuf_repository import TrustRepository
from placet.adapters.tuf_trust import (
    ROOT,
    SIGNED_BY_PEOPLE,
    TARGETS,
    encode_signed,
    named_errors,
    parse_metadata,
    parse_signed,
    person_of,
)
from placet.core.encoding import (
    Digest,
    KeyId,
    sha256_hex,
)
from placet.core.errors import MalformedError, PolicyError, Reason
from placet.core.sshsig import NAMESPACE_TRUST, key_id
from placet.ports.authenticator import Authenticator


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


class Review(NamedTuple):
    """What an administrator looks at: the bytes to be signed and the files they name, before and after.

    `old_root` is the signed part of the published root, `new_root` the one in force after publishing.
    """

    pending: tuple[PendingRole, ...]
    old_files: dict[str, bytes]
    new_files: dict[str, bytes]
    old_root: bytes | None
    new_root: bytes | None


def pending_roles(repository: TrustRepository) -> tuple[PendingRole, ...]:
    """Returns the prepared roles with who signed and who is missing, `root` first."""
    drafts = [(role, repository.draft_bytes(role)) for role in SIGNED_BY_PEOPLE]
    return tuple(_pending_role(repository, role, message) for role, message in drafts if message is not None)


def pending_messages(repository: TrustRepository) -> list[tuple[str, bytes]]:
    """Returns each prepared role with the bytes that administrators sign, in `NAMESPACE_TRUST`."""
    return [(pending.role, pending.message) for pending in pending_roles(repository)]


def review(repository: TrustRepository) -> Review:
    """Returns everything that is needed to show a trust change; the files are those that the bytes name.

    Raises:
        VerificationError: the published side is not what administrators signed, so the difference would lie.
        MalformedError: the bytes to be signed say something that would not be shown.
    """
    pending = pending_roles(repository)
    messages = {item.role: item.message for item in pending}
    published = repository.published_root()
    published_targets = _check_published(repository)
    if TARGETS in messages:
        check_nothing_hidden(messages[TARGETS], published_targets)
    old_files = repository.published_files()
    return Review(
        pending=pending,
        old_files=old_files,
        new_files=repository.files_named_by(messages[TARGETS]) if TARGETS in messages else old_files,
        old_root=None if published is None else encode_signed(published),
        new_root=messages.get(ROOT),
    )


def _check_published(repository: TrustRepository) -> Targets | None:
    """Verifies the published roots, each by the one before, and returns the targets, verified too."""
    newest, before = repository.published_root(), None
    if newest is None:
        return None
    with named_errors(str(repository.public_folder)):
        for version in range(1, newest.version + 1):
            metadata = parse_metadata(repository.published_root_bytes(version) or b"", ROOT)
            for root in (before, metadata.signed):
                if root is not None:
                    root.verify_delegate(ROOT, metadata.signed_bytes, metadata.signatures)
            before = cast(Root, metadata.signed)
        data = repository.published_targets_bytes()
        if before is None or data is None:
            return None
        targets = parse_metadata(data, TARGETS)
        before.verify_delegate(TARGETS, targets.signed_bytes, targets.signatures)
    return cast(Targets, targets.signed)


def check_nothing_hidden(message: bytes, published: Targets | None) -> None:
    """Refuses targets that say more than the names and digests of files: that would be signed unseen.

    Raises:
        MalformedError: BAD_TRUST.
    """
    targets = cast(Targets, parse_signed(message, TARGETS))
    old = None if published is None or published.delegations is None else published.delegations.to_dict()
    new = None if targets.delegations is None else targets.delegations.to_dict()
    extra = [targets.unrecognized_fields, *(info.unrecognized_fields for info in targets.targets.values())]
    if new != old or any(extra):
        raise MalformedError(
            Reason.BAD_TRUST,
            "The prepared targets hold delegations or members that this version cannot show.",
            hint="Nobody signs what is not shown. Make the draft anew with this version's commands.",
        )


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


def sign_reviewed(
    repository: TrustRepository, reviewed: Review, person: str, authenticator: Authenticator
) -> tuple[str, ...]:
    """Signs what was shown, one touch for each prepared role that this person has not yet signed.

    Returns:
        The roles that were signed now.

    Raises:
        PolicyError: UNKNOWN_KEY where the key is not this administrator's.
        AuthenticatorError: the key gave no signature; roles signed before stay signed.
        VerificationError: the draft changed after it was shown, or the signature is not good.
    """
    keyid = key_id(authenticator.wire)
    signed = []
    for item in reviewed.pending:
        key = signing_keys(repository, item.role).get(keyid)
        if key is None or person_of(key) != person:
            whose = "nobody who may sign" if key is None else person_of(key)
            raise PolicyError(
                Reason.UNKNOWN_KEY,
                f"This key belongs to {whose}, not to the administrator {person}.",
                hint="`placet trust show` lists the administrators and their keys.",
            )
        if person not in item.signed:
            blob = authenticator.sign(NAMESPACE_TRUST, item.message)
            attach_signature(repository, item.role, keyid, blob)
            signed.append(item.role)
    return tuple(signed)


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

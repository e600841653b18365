"""Collecting administrators' signatures over a prepared root and targets.

Two ways lead here: a key on this machine signs `PendingRole.message` at once, or the messages travel to
another terminal in a challenge file and detached signatures come back.  Both end in `attach_signature`,
which verifies before it keeps.
"""

from __future__ import annotations

from typing import NamedTuple

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Signature  # type: ignore[attr-defined]
from tuf.api.metadata import Root, Targets  # type: ignore[attr-defined]  # re-exported without saying so

from placet.adapters.private_file import write_atomically
from placet.adapters.securesystemslib import SkKey
from placet.adapters.tuf.repository import TrustRepository
from placet.adapters.tuf.trust import (
    ROOT,
    check_one_key_each,
    parse_signed,
    person_of,
    role_keys,
)
from placet.core.encoding import (
    Digest,
    KeyId,
    sha256_hex,
)
from placet.core.errors import PolicyError, Reason


class QuorumState(NamedTuple):
    """One quorum that must sign a prepared role.

    `of` says whose it is, such as ``root 3``; `signed` and `unsigned` are people, one key each.
    """

    of: str
    threshold: int
    signed: tuple[str, ...]
    unsigned: tuple[str, ...]

    @property
    def missing(self) -> int:
        """How many of them must still sign."""
        return max(0, self.threshold - len(self.signed))


class PendingRole(NamedTuple):
    """A prepared role: `message` are the exact bytes that are signed, and *every* quorum must be met.

    A new root has two, its own and that of the root before.  `signed_keys` hold a good signature already.
    """

    role: str
    version: int
    expires_at: int
    message: bytes
    quorums: tuple[QuorumState, ...] = ()
    signed_keys: frozenset[KeyId] = frozenset()

    @property
    def threshold(self) -> int:
        """The threshold of the newest quorum."""
        return self.quorums[0].threshold if self.quorums else 0

    @property
    def missing(self) -> int:
        """How many people must still sign, at least."""
        return max((quorum.missing for quorum in self.quorums), default=0)

    @property
    def signed(self) -> tuple[str, ...]:
        """Who has signed, in any of the quorums."""
        return tuple(sorted({person for quorum in self.quorums for person in quorum.signed}))

    @property
    def unsigned(self) -> tuple[str, ...]:
        """Who could still sign: with a key of a quorum that is not met, or not having signed at all."""
        have = set(self.signed)
        return tuple(
            sorted(
                person
                for person in {person for quorum in self.quorums for person in quorum.unsigned}
                if person not in have
                or any(quorum.missing and person in quorum.unsigned for quorum in self.quorums)
            )
        )


def pending_roles(repository: TrustRepository) -> tuple[PendingRole, ...]:
    """Returns the prepared roles with who signed and who is missing: root, targets, then delegated ones."""
    drafts = [(role, repository.draft_bytes(role)) for role in repository.draft_roles()]
    return tuple(_pending_role(repository, role, message) for role, message in drafts if message is not None)


def pending_messages(repository: TrustRepository) -> list[tuple[str, bytes]]:
    """Returns each prepared role with the bytes that administrators sign, in `NAMESPACE_TRUST`."""
    return [(pending.role, pending.message) for pending in pending_roles(repository)]


def signing_keys(repository: TrustRepository, role: str) -> dict[KeyId, SkKey]:
    """Returns the keys that may sign a prepared role, those of every quorum that it needs.

    Raises:
        PolicyError: BAD_TRUST where a person holds two keys in one of them, or a key belongs to nobody.
    """
    found: dict[KeyId, SkKey] = {}
    for delegator in repository.delegators(role):
        keys = role_keys(delegator, role)
        check_one_key_each(role, list(keys.values()))
        found |= {keyid: key for keyid, key in keys.items() if isinstance(key, SkKey)}
    return found


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
        for quorum in pending.quorums:
            if quorum.missing:
                raise PolicyError(
                    Reason.QUORUM_NOT_MET,
                    f"{pending.role} version {pending.version} needs {quorum.missing} more of these "
                    f"signatures{name_quorum(pending, quorum)}: {', '.join(quorum.unsigned)}. "
                    f"Signed so far: {', '.join(quorum.signed) or 'nobody'}.",
                    hint="Each of them runs `placet trust sign --as ID --key FILE`.",
                )


def name_quorum(pending: PendingRole, quorum: QuorumState) -> str:
    """Returns whose signatures these are, where there could be a doubt, as the end of a phrase."""
    return f", by the keys of {quorum.of}" if len(pending.quorums) > 1 else ""


def _pending_role(repository: TrustRepository, role: str, message: bytes) -> PendingRole:
    signed = parse_signed(message, role)
    collected = {str(k): Signature(k, blob.hex()) for k, blob in signatures(repository, role).items()}
    return PendingRole(
        role=role,
        version=signed.version,
        expires_at=int(signed.expires.timestamp()),
        message=message,
        quorums=tuple(
            _quorum_state(delegator, role, message, collected) for delegator in repository.delegators(role)
        ),
        signed_keys=frozenset(KeyId(keyid) for keyid in collected),
    )


def _quorum_state(
    delegator: Root | Targets, role: str, message: bytes, collected: dict[str, Signature]
) -> QuorumState:
    result = delegator.get_verification_result(role, message, collected)
    return QuorumState(
        of=f"{delegator.type} {delegator.version}",
        threshold=result.threshold,
        signed=tuple(sorted(person_of(key) for key in result.signed.values())),
        unsigned=tuple(sorted(person_of(key) for key in result.unsigned.values())),
    )

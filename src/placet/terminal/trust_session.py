"""One administrator in front of one change of the trust root: what is shown, typed, and signed.

The page and the text command both go through here.  Three things stand before a signature, whoever asks for
it: the change was judged and rendered from the bytes to be signed, every newly enrolled key's fingerprint was
typed here, and the evidence of keys that count as attested verified here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from placet.adapters.tuf.anchor import TrustAnchors
from placet.adapters.tuf.repository import TrustRepository
from placet.adapters.tuf.review import Review, check_key_is_for, keep_signature, review
from placet.adapters.tuf.signing import PendingRole, pending_roles, signing_keys
from placet.adapters.tuf.trust import person_of
from placet.ceremony.enrol_review import verify_again
from placet.ceremony.new_keys import Fingerprints, NewKey, find_new_keys
from placet.ceremony.trust_change import Change, root_diff, semantic_diff, visible
from placet.ceremony.trust_scopes import delegation_diff, scope_diff
from placet.core.encoding import KeyId, parse_json
from placet.core.errors import PlacetError, PolicyError, Reason, VerificationError
from placet.core.people import Credential, parse_deployment, parse_people
from placet.core.sshsig import NAMESPACE_TRUST, key_id
from placet.core.trust import DEPLOYMENT_FILE, MAX_FILE_BYTES, PEOPLE_FILE
from placet.ports.attestation_verifier import AttestationVerifier
from placet.ports.authenticator import Authenticator


class Evidence(NamedTuple):
    """What this terminal found out about a person's key: one phrase, and what stands behind it."""

    kind: str
    sentences: tuple[str, ...]


_BY_WORD = Evidence(
    "vouched by word", ("An administrator says that they saw the hardware. Nothing proves it.",)
)
_SOFTWARE = Evidence("software", ("A key in software never exceeds intent level 1.",))


class TrustSession:
    """What one administrator was shown of one change, and signs."""

    def __init__(
        self,
        repository: TrustRepository,
        person: str | None,
        *,
        anchors: TrustAnchors,
        verifier: AttestationVerifier,
        now: int,
        root_sha256: str | None = None,
    ) -> None:
        """Judges the change and renders it once; this very rendering is what is signed.

        Args:
            repository: the administrators' repository, or what a challenge became; others wrote it.
            person: the administrator who signs; None to look only.
            anchors: what this machine holds on to about trust roots.
            verifier: verifies the attestation objects of newly enrolled keys, again, here.
            now: Unix seconds.
            root_sha256: the root's SHA-256, by hand; needed once, see `review`.

        Raises:
            PlacetError: as `review`; a file in the draft is not what its name says; or a key that is recorded
                as attested is not proven to be one.
        """
        self.repository, self.person = repository, person
        self._anchors = anchors
        self.review: Review = review(repository, anchors, root_sha256=root_sha256, person=person)
        shown = self.review
        self._changes = _changes(shown)
        self.fingerprints = Fingerprints(
            find_new_keys(
                shown.old_files,
                shown.new_files,
                [m for m in (shown.old_root, shown.old_targets) if m is not None],
                [m for m in (shown.new_root, shown.new_targets) if m is not None],
            ),
            person,
        )
        self.evidence = _verify_evidence(repository, shown, verifier, now)

    def pending(self) -> tuple[PendingRole, ...]:
        """Returns every prepared role, those of others too, with who has signed it by now."""
        return pending_roles(self.repository)

    def left(self) -> tuple[str, ...]:
        """Returns the roles that this administrator has still to sign, of those that were shown."""
        shown = {item.role for item in self.review.pending}
        return tuple(i.role for i in self.pending() if i.role in shown and self.person in i.unsigned)

    def keys_of(self, role: str) -> frozenset[KeyId]:
        """Returns the keys with which this administrator may sign a role."""
        keys = signing_keys(self.repository, role)
        return frozenset(keyid for keyid, key in keys.items() if person_of(key) == self.person)

    def changes(self, own: KeyId | None = None) -> tuple[Change, ...]:
        """Returns what changes; without the fingerprints that are still to be typed."""
        mine = frozenset() if own is None else frozenset({own})
        hide = self.fingerprints.hide
        return tuple(Change(*(visible(hide(text, mine)) for text in change)) for change in self._changes)

    def evidence_of(self, key: NewKey) -> Evidence | None:
        """Returns what was found out about a person's new key; None for keys of other kinds."""
        return self.evidence.get(key.keyid)

    def check_may_sign(self, own: KeyId) -> None:
        """Refuses to sign with a key while another new key's fingerprint was not typed.

        Raises:
            PolicyError: KEY_MISMATCH.
        """
        self.fingerprints.check_all_typed({own})

    def sign(self, authenticator: Authenticator) -> tuple[str, ...]:
        """Signs what was shown, one touch for each prepared role that this key has not yet signed.

        Returns:
            The roles that were signed now.

        Raises:
            PolicyError: the key is not this administrator's, is of another deployment, or a fingerprint is
                missing.
            AuthenticatorError: the key gave no signature; roles signed before stay signed.
            VerificationError: the draft changed after it was shown, or the signature is not good.
        """
        own = self.check_key(authenticator.wire)
        signed = []
        for item in self.review.pending:
            if own in self.keys_of(item.role) and own not in item.signed_keys:
                self.keep(item, own, authenticator.sign(NAMESPACE_TRUST, item.message))
                signed.append(item.role)
        return tuple(signed)

    def check_key(self, wire: bytes) -> KeyId:
        """Returns the ID of a key with which this administrator may sign something that was shown.

        Raises:
            PolicyError: UNKNOWN_KEY.
        """
        own, whose = key_id(wire), "nobody who may sign"
        for item in self.review.pending:
            key = signing_keys(self.repository, item.role).get(own)
            if key is not None:
                whose = person_of(key)
        if whose != self.person:
            raise PolicyError(
                Reason.UNKNOWN_KEY,
                f"This key belongs to {whose}, not to the administrator {self.person}.",
                hint="`placet trust show` lists the administrators and their keys.",
            )
        check_key_is_for(self.review.deployment, wire)
        return own

    def keep(self, item: PendingRole, own: KeyId, sshsig: bytes) -> None:
        """Keeps a signature over what was shown.

        Raises:
            PolicyError: KEY_MISMATCH where a fingerprint is missing.
            PlacetError: as `keep_signature`.
        """
        self.check_may_sign(own)
        keep_signature(self.repository, self.review, item, own, sshsig, self._anchors)


def _changes(shown: Review) -> tuple[Change, ...]:
    changes = semantic_diff(shown.old_files, shown.new_files)
    if shown.new_targets is not None:
        changes = delegation_diff(shown.old_targets, shown.new_targets) + changes
    for scope in shown.scopes.values():
        changes += scope_diff(shown.deployment, scope.old, scope.new)
    if shown.new_root is not None:
        changes = root_diff(shown.old_root, shown.new_root) + changes
    return changes


def _verify_evidence(
    repository: TrustRepository, shown: Review, verifier: AttestationVerifier, now: int
) -> dict[KeyId, Evidence]:
    """Verifies what is known of each person's key that the change enrols or records anew."""
    before, enrolments = _credentials(shown.old_files), repository.enrolments()
    found = {}
    for keyid, (person, credential) in _credentials(shown.new_files).items():
        if before.get(keyid) != (person, credential):
            try:
                found[keyid] = _judge(enrolments.get(keyid), credential, shown.new_files, verifier, now)
            except PlacetError as e:
                raise PolicyError(
                    e.reason,
                    f"A key of {person} is in the draft as {credential.assurance}, and that does not hold on "
                    f"this terminal: {e.message}",
                    hint="Sign nothing. Ask whoever enrolled the key; have the person enrol again, by voice.",
                    causes=(e,),
                ) from e
    return found


def _judge(
    data: bytes | None,
    credential: Credential,
    files: Mapping[str, bytes],
    verifier: AttestationVerifier,
    now: int,
) -> Evidence:
    if data is None:
        if credential.assurance == "attested":
            raise PolicyError(Reason.EVIDENCE_REQUIRED, "its enrolment did not come along.")
        return _BY_WORD if credential.assurance == "vouched" else _SOFTWARE
    judged = verify_again(data, files=files, verifier=verifier, at=now)
    if judged.keyid != credential.keyid:
        # Or one genuine key's enrolment would make every other key of that person attested.
        raise VerificationError(
            Reason.KEY_MISMATCH, "the enrolment that came along is another key's.", actual=judged.keyid
        )
    if credential.assurance == "attested" and judged.model is not None:
        return Evidence(f"attested: {judged.model.description}", judged.sentences)
    known = _BY_WORD if credential.assurance == "vouched" else _SOFTWARE
    return Evidence(known.kind, (*known.sentences, *judged.sentences))


def _credentials(files: Mapping[str, bytes]) -> dict[KeyId, tuple[str, Credential]]:
    if not files:
        return {}
    deployment, people = (
        parse_json(files[name], max_bytes=MAX_FILE_BYTES, what=name)
        for name in (DEPLOYMENT_FILE, PEOPLE_FILE)
    )
    return {
        credential.keyid: (person.id, credential)
        for person in parse_people(people, parse_deployment(deployment))
        for credential in person.credentials
    }

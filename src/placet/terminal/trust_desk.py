"""The one-shot desk on which an administrator reads a change of the trust root and signs it.

The change is rendered from the files whose digests stand in the bytes to be signed.  A signature over an
earlier draft never counts: it is verified against the draft as it is when the signature arrives.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

from placet.adapters.tuf_anchor import TrustAnchors
from placet.adapters.tuf_repository import TrustRepository
from placet.adapters.tuf_review import Review, check_key_is_for, keep_signature, review
from placet.adapters.tuf_signing import PendingRole, pending_roles, signing_keys
from placet.adapters.tuf_trust import person_of
from placet.ceremony.trust_change import Change, root_diff, semantic_diff, visible
from placet.core.encoding import KeyId, b64url_encode
from placet.core.sshsig import NAMESPACE_TRUST, encode_webauthn_sshsig, parse_public_key, signed_data
from placet.terminal.credentials import CredentialStore, KnownCredential
from placet.terminal.desk import Assertion, DeskError, Touch

_TOUCH_SECONDS = 120


class ShownChange(NamedTuple):
    """What the administrator is shown: the roles to be signed, what changes, and compared with what."""

    pending: tuple[PendingRole, ...]
    compared_with: tuple[str, ...]
    changes: tuple[Change, ...]


class TrustDesk:
    """One administrator's signing session; `on_done` is called when nothing is left to sign."""

    def __init__(
        self,
        repository: TrustRepository,
        person: str,
        *,
        anchors: TrustAnchors,
        root_sha256: str | None = None,
        web_origin: str,
        credentials: CredentialStore,
        on_done: Callable[[], None],
    ) -> None:
        """Renders the change once; this very rendering is what is signed.

        Args:
            anchors: what this machine holds on to about trust roots.
            root_sha256: the root's SHA-256, by hand; needed once, see `review`.

        Raises:
            PlacetError: as `review`; or a file in the draft is not what its name says.
        """
        self.person, self.web_origin = person, web_origin
        self._repository, self._credentials, self._on_done = repository, credentials, on_done
        self._anchors = anchors
        self._review: Review = review(repository, anchors, root_sha256=root_sha256)
        changes = semantic_diff(self._review.old_files, self._review.new_files)
        if self._review.new_root is not None:
            changes = root_diff(self._review.old_root, self._review.new_root) + changes
        shown = tuple(Change(*(visible(text) for text in change)) for change in changes)
        self.shown = ShownChange(self._review.pending, self._review.compared_with, shown)

    def left(self) -> tuple[str, ...]:
        """Returns the roles that this administrator has still to sign, of those that were shown."""
        roles = {item.role for item in self._review.pending}
        return tuple(
            item.role
            for item in pending_roles(self._repository)
            if item.role in roles and self.person in item.unsigned
        )

    def begin(self, role: str, seen: Collection[int]) -> Touch:
        """Returns what the key is to sign for one role.

        Raises:
            DeskError: not everything was shown, nothing waits, or no key here may sign.
        """
        item = self._shown_role(role)
        missing = set(range(len(self.shown.changes))) - set(seen)
        if missing:
            raise DeskError(
                "not-all-shown",
                f"{len(missing)} of {len(self.shown.changes)} changes were not shown yet.",
                "Scroll through the change to its end; then sign.",
            )
        _, known, application = self._key(role)
        return Touch(
            challenge=b64url_encode(signed_data(NAMESPACE_TRUST, item.message)),
            rp_id=application,
            credentials=((known.credential_id, known.transports),),
            timeout_seconds=_TOUCH_SECONDS,
            text=f"{role} version {item.version}",
        )

    def finish(self, role: str, assertion: Assertion) -> tuple[str, ...]:
        """Checks and keeps the signature; returns the roles that are left.

        Raises:
            DeskError: another key answered.
            PlacetError: the signature is not good, or the draft changed after it was shown.
        """
        item = self._shown_role(role)
        keyid, known, _ = self._key(role)
        if assertion.credential_id != known.credential_id:
            raise DeskError("unknown-credential", "Another key answered.", f"Use the key of {self.person}.")
        sshsig = encode_webauthn_sshsig(
            key_wire=signing_keys(self._repository, role)[keyid].wire,
            namespace=NAMESPACE_TRUST,
            authenticator_data=assertion.authenticator_data,
            client_data_json=assertion.client_data_json,
            der_signature=assertion.signature,
            web_origin=self.web_origin,
        )
        keep_signature(self._repository, self._review, item, keyid, sshsig, self._anchors)
        left = self.left()
        if not left:
            self._on_done()
        return left

    def _shown_role(self, role: str) -> PendingRole:
        for item in self._review.pending:
            if item.role == role:
                return item
        raise DeskError("nothing-to-sign", f"No {role} waits for signatures.", "Start the command again.")

    def _key(self, role: str) -> tuple[KeyId, KnownCredential, str]:
        """Finds the administrator's browser key among those that this terminal knows."""
        known = self._credentials.all()
        for keyid, key in signing_keys(self._repository, role).items():
            if person_of(key) == self.person and key.kind == "webauthn" and keyid in known:
                check_key_is_for(self._review.deployment, key.wire)
                return keyid, known[keyid], parse_public_key(key.wire).application
        raise DeskError(
            "no-key-here",
            f"This terminal knows no browser key with which {self.person} may sign {role}.",
            "Enrol it with `placet terminal enroll`, or use `placet trust sign` and an OpenSSH key.",
        )

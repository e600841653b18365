"""The one-shot desk on which an administrator reads a change of the trust root and signs it.

What is judged, shown and demanded is `trust_session`'s part; this adds what a page needs: it keeps account of
what was shown, asks the browser for the key's touch, and turns the answer into a signature.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from placet.adapters.tuf.review import check_key_is_for
from placet.adapters.tuf.signing import PendingRole, signing_keys
from placet.adapters.tuf.trust import person_of
from placet.ceremony.trust_change import Change
from placet.core.encoding import KeyId, b64url_encode
from placet.core.sshsig import NAMESPACE_TRUST, parse_public_key, signed_data
from placet.terminal.credentials import CredentialStore, KnownCredential
from placet.terminal.touch import TOUCH_SECONDS, Assertion, DeskError, Touch, pack_assertion
from placet.terminal.trust_session import TrustSession


class TrustDesk:
    """One administrator's signing session; `on_done` is called when nothing is left to sign."""

    def __init__(
        self,
        session: TrustSession,
        person: str,
        *,
        web_origin: str,
        credentials: CredentialStore,
        on_done: Callable[[], None],
        command: str = "placet trust sign --as ADMIN --key FILE",
    ) -> None:
        """Takes over a change that was judged and rendered.

        `command` is what signs the same with an OpenSSH key.
        """
        self._command = command
        self.session, self.person, self.web_origin = session, person, web_origin
        self._credentials, self._on_done = credentials, on_done

    def left(self) -> tuple[str, ...]:
        """Returns the roles that this administrator has still to sign, of those that were shown."""
        return self.session.left()

    def changes(self) -> tuple[Change, ...]:
        """Returns what changes, without fingerprints that are still to be typed."""
        return self.session.changes(self.own_key())

    def own_key(self) -> KeyId | None:
        """Returns the key that signs here; where it is a new one, its signature proves it."""
        for item in self.session.review.pending:
            found = self._find_key(item.role)
            if found is not None:
                return found[0]
        return None

    def find_obstacles(self) -> dict[str, DeskError]:
        """Returns why no key here can sign, for each role that is left and that none can sign."""
        return {role: self._no_key(role) for role in self.left() if self._find_key(role) is None}

    def type_fingerprint(self, index: int, typed: str) -> None:
        """Takes what was typed for one of the new keys.

        Raises:
            DeskError: there is no such key.
            PlacetError: it is not that key's fingerprint.
        """
        keys = self.session.fingerprints.keys
        if not 0 <= index < len(keys):
            raise DeskError(
                "bad-call", "The page named a key that is not in this change.", "Reload the page."
            )
        self.session.fingerprints.type(keys[index], typed)

    def begin(self, role: str, seen: Collection[int]) -> Touch:
        """Returns what the key is to sign for one role.

        Raises:
            DeskError: not everything was shown, nothing waits, or no key here may sign.
            PolicyError: a fingerprint was not typed.
        """
        item = self._shown_role(role)
        changes = self.changes()
        missing = set(range(len(changes))) - set(seen)
        if missing:
            raise DeskError(
                "not-all-shown",
                f"{len(missing)} of {len(changes)} changes were not shown yet.",
                "Scroll through the change to its end; then sign.",
            )
        own, known, application = self._key(role)
        self.session.check_may_sign(own)
        return Touch(
            challenge=b64url_encode(signed_data(NAMESPACE_TRUST, item.message)),
            rp_id=application,
            credentials=((known.credential_id, known.transports),),
            timeout_seconds=TOUCH_SECONDS,
            text=f"{role} version {item.version}",
        )

    def finish(self, role: str, assertion: Assertion) -> tuple[str, ...]:
        """Checks and keeps the signature; returns the roles that are left.

        Raises:
            DeskError: another key answered.
            PlacetError: the signature is not good, or the draft changed after it was shown.
        """
        item = self._shown_role(role)
        own, known, _ = self._key(role)
        if assertion.credential_id != known.credential_id:
            raise DeskError("unknown-credential", "Another key answered.", f"Use the key of {self.person}.")
        sshsig = pack_assertion(
            assertion,
            key_wire=signing_keys(self.session.repository, role)[own].wire,
            namespace=NAMESPACE_TRUST,
            web_origin=self.web_origin,
        )
        self.session.keep(item, own, sshsig)
        left = self.left()
        if not left:
            self._on_done()
        return left

    def _shown_role(self, role: str) -> PendingRole:
        for item in self.session.review.pending:
            if item.role == role:
                return item
        raise DeskError("nothing-to-sign", f"No {role} waits for signatures.", "Start the command again.")

    def _find_key(self, role: str) -> tuple[KeyId, KnownCredential] | None:
        """Finds the administrator's browser key among those that this terminal knows."""
        known = self._credentials.all()
        for keyid, key in signing_keys(self.session.repository, role).items():
            if person_of(key) == self.person and key.kind == "webauthn" and keyid in known:
                return keyid, known[keyid]
        return None

    def _key(self, role: str) -> tuple[KeyId, KnownCredential, str]:
        found = self._find_key(role)
        if found is None:
            raise self._no_key(role)
        wire = signing_keys(self.session.repository, role)[found[0]].wire
        check_key_is_for(self.session.review.deployment, wire)
        return *found, parse_public_key(wire).application

    def _no_key(self, role: str) -> DeskError:
        keys = signing_keys(self.session.repository, role).values()
        kinds = {key.kind for key in keys if person_of(key) == self.person}
        if kinds == {"sk"}:
            return DeskError(
                "no-key-here",
                f"{self.person} signs {role} with an OpenSSH key, and no browser can use such a key.",
                f"On the machine with the key, run `{self._command}`.",
            )
        return DeskError(
            "no-key-here",
            f"This terminal knows no browser key with which {self.person} may sign {role}.",
            "Sign on the terminal on which it was enrolled.",
        )

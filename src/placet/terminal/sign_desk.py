"""The one-shot desk on which a person reads what another tool wants signed, and signs it or does not.

For TUF and in-toto tools that sign through securesystemslib (`placet.securesystemslib`).  As on every desk
the challenge is computed here, from the very bytes that were put into lines.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from typing import Any

from starlette.types import ASGIApp

from placet.adapters.securesystemslib import SkKey
from placet.core.encoding import b64url_encode, sha256_hex
from placet.core.errors import PlacetError, PolicyError, Reason
from placet.core.sshsig import NAMESPACE_LINK, NAMESPACE_TRUST, signed_data
from placet.documents.approve_step import ACTION_MATERIAL
from placet.terminal.credentials import KnownCredential
from placet.terminal.desk_app import describe_line, read_assertion, read_seen, request_options
from placet.terminal.screen import group_digest, make_line
from placet.terminal.signable import read_signable
from placet.terminal.touch import TOUCH_SECONDS, Assertion, DeskError, Touch, pack_assertion
from placet.terminal.web import Guard, api, create_app

NOTHING = "Nothing was signed."
_ACTION = f"/materials/{ACTION_MATERIAL.replace('/', '~1')}/"
PURPOSES = {
    NAMESPACE_TRUST: "trust metadata: who may sign what for those who rely on it",
    NAMESPACE_LINK: "an in-toto link: that this step was done as it says",
}
# Here stand raw lines; what they change, and fingerprints to type, stand there.
_OWN_TRUST = (
    "If this is the trust root of your own deployment, stop: placet terminal sign-trust shows what changes "
    "in it, and no other tool has to ask for your signature on it."
)


class SignDesk:
    """One message, one key.  `done` is set once it was signed or declined; `sshsig` is what was signed."""

    def __init__(self, message: bytes, key: SkKey, known: KnownCredential, web_origin: str) -> None:
        """Puts a message into lines.

        Raises:
            MalformedError: it cannot be shown.
            PolicyError: DISPLAY_INCOMPLETE: it is the link of an approval.
        """
        self.message, self.key, self._known, self.web_origin = message, key, known, web_origin
        self.signable = read_signable(message)
        if key.namespace == NAMESPACE_LINK and any(r.pointer.startswith(_ACTION) for r in self.signable.rows):
            # Of the action there is only a digest here: nobody can read what they would agree to.
            raise PolicyError(
                Reason.DISPLAY_INCOMPLETE,
                "This link says that an action was approved, and names it by digest alone.",
                hint="Such links are signed with the approval itself: placet terminal, or placet approve.",
            )
        self.sshsig: bytes | None = None
        self.done = threading.Event()
        self._begun = False

    def begin(self, seen: Collection[int]) -> Touch:
        """Returns what the key is to sign, once every line was shown.

        Raises:
            DeskError: not everything was shown, or it is over.
        """
        self._check_open()
        left = set(range(len(self.signable.rows))) - set(seen)
        if left:
            raise DeskError(
                "not-all-shown",
                f"{len(left)} of {len(self.signable.rows)} lines were not shown yet.",
                "Scroll through the document to its end; then sign.",
                meaning=NOTHING,
            )
        self._begun = True
        return Touch(
            challenge=b64url_encode(signed_data(self.key.namespace, self.message)),
            rp_id=self.key.application,
            credentials=((self._known.credential_id, self._known.transports),),
            timeout_seconds=TOUCH_SECONDS,
            text=self.signable.title,
        )

    def finish(self, assertion: Assertion) -> None:
        """Checks and keeps the signature.

        Raises:
            DeskError: the key was not asked, another one answered, or the signature would not count.
        """
        self._check_open()
        if not self._begun or assertion.credential_id != self._known.credential_id:
            raise DeskError(
                "not-begun", "This key was not asked for this.", "Sign on the page.", meaning=NOTHING
            )
        try:
            blob = pack_assertion(
                assertion, key_wire=self.key.wire, namespace=self.key.namespace, web_origin=self.web_origin
            )
            self.key.check_sshsig(blob, self.message)
        except PlacetError as e:
            raise DeskError(e.reason, str(e), e.hint or "Touch the key again.", meaning=NOTHING) from e
        self.sshsig = blob
        self._end()

    def decline(self) -> None:
        """Signs nothing."""
        self._check_open()
        self._end()

    def _check_open(self) -> None:
        if self.sshsig is not None or self.done.is_set():
            raise DeskError("over", "This is decided already.", "Close the page.", meaning=NOTHING)

    def _end(self) -> None:
        # The page needs a moment to fetch the answer before the server goes away.
        timer = threading.Timer(0.3, self.done.set)
        timer.daemon = True
        timer.start()


def create_sign_app(desk: SignDesk, guard: Guard) -> ASGIApp:
    """Builds the page of a desk."""
    return create_app(
        guard,
        "sign.html",
        [
            api("/api/document", "GET", lambda request, body: _describe(desk), meaning=NOTHING),
            api("/api/begin", "POST", lambda request, body: _begin(desk, body), meaning=NOTHING),
            api("/api/finish", "POST", lambda request, body: _finish(desk, body), meaning=NOTHING),
            api("/api/decline", "POST", lambda request, body: _decline(desk), meaning=NOTHING),
        ],
    )


def _describe(desk: SignDesk) -> dict[str, Any]:
    shown = desk.signable
    return {
        "title": shown.title,
        "purpose": PURPOSES[desk.key.namespace],
        "namespace": desk.key.namespace,
        "payloadType": shown.payload_type,
        "keyGroups": group_digest(desk.key.keyid),
        "digestGroups": group_digest(sha256_hex(desk.message)),
        "warning": _OWN_TRUST if desk.key.namespace == NAMESPACE_TRUST else "",
        "lines": [describe_line(make_line(index, row)) for index, row in enumerate(shown.rows)],
    }


def _begin(desk: SignDesk, body: dict[str, Any]) -> dict[str, Any]:
    touch = desk.begin(read_seen(body))
    return {"text": touch.text, "publicKey": request_options(touch)}


def _finish(desk: SignDesk, body: dict[str, Any]) -> dict[str, Any]:
    desk.finish(read_assertion(body.get("assertion")))
    return {}


def _decline(desk: SignDesk) -> dict[str, Any]:
    desk.decline()
    return {}

"""A trust root with three administrators, their software keys, and one gate that follows it."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from placet.adapters.fido.attestation import FidoAttestationVerifier
from placet.adapters.tuf.anchor import TrustAnchors
from placet.adapters.tuf.exchange import encode_challenge, open_challenge
from placet.adapters.tuf.publish import Published, publish
from placet.adapters.tuf.refresh import Refreshed, refresh
from placet.adapters.tuf.repository import TrustRepository
from placet.adapters.tuf.review import Review, review
from placet.adapters.tuf.signing import attach_signature, pending_messages, root_digests
from placet.adapters.tuf.trust import Administrator, make_administrator
from placet.core.sshsig import NAMESPACE_TRUST
from placet.terminal.trust_session import TrustSession
from placet.testing.authenticator import DEFAULT_WEB_ORIGIN, SoftSk, SoftWebAuthn
from placet.testing.world import World

DAY = 86_400
ANNA, BEN, CLEO = "anna@example.com", "ben@example.com", "cleo@example.com"


# Arguments: the repository, how many changes of the file system it survives, the time.
_KILLED = """
import os, signal, sys
from pathlib import Path
from placet.adapters.tuf.administrators import *
from placet.adapters.tuf.publish import mirror, publish
from placet.adapters.tuf.repository import TrustRepository
repository, left, now = TrustRepository(Path(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3])
def hook(event, arguments):
    global left
    if event in ("os.rename", "os.remove", "os.rmdir", "shutil.rmtree"):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
"""


def killed_script(*lines: str) -> str:
    """Returns a program that does `lines` and is killed on the way; see above for its arguments."""
    return _KILLED + "\n".join(lines) + "\n"


def administrator(person: str, key: SoftSk | SoftWebAuthn) -> Administrator:
    origins = (DEFAULT_WEB_ORIGIN,) if key.kind == "webauthn" else ()
    return make_administrator(person, key.wire, kind=key.kind, origins=origins, uv=True)


class TrustWorld:
    """Two of three administrators sign; each kind of key is among them."""

    def __init__(self, folder: Path, *, now: int | None = None) -> None:
        self.folder, self.world = folder, World()
        self.now = int(time.time()) if now is None else now
        self.keys: dict[str, SoftSk | SoftWebAuthn] = {
            ANNA: SoftSk("ecdsa"),
            BEN: SoftWebAuthn(),
            CLEO: SoftSk("ed25519"),
        }
        self.repository = TrustRepository.create(
            folder / "repository",
            files=self.world.files(),
            administrators=[administrator(person, key) for person, key in self.keys.items()],
            threshold=2,
            now=self.now,
        )
        self.snapshot = folder / "gate" / "snapshot.json"
        # This machine made the trust root, as `init` does.
        self.anchors = TrustAnchors(folder / "anchors")
        self.anchors.begin(self.world.deployment, *root_digests(self.repository))

    @property
    def public(self) -> Path:
        return self.repository.public_folder

    def sign(self, *people: str) -> None:
        for person in people:
            for role, message in pending_messages(self.repository):
                self.attach(person, role, message)

    def attach(self, person: str, role: str, message: bytes, **knobs: Any) -> None:
        key = self.keys[person]
        attach_signature(self.repository, role, key.keyid, key.sign(NAMESPACE_TRUST, message, **knobs))

    def publish(self, *people: str, now: int | None = None) -> Published:
        self.sign(*people)
        return publish(self.repository, now=self.now if now is None else now)

    def review(self, **more: Any) -> Review:
        return review(self.repository, self.anchors, **more)

    def stage_policy(self, text: str) -> None:
        self.repository.stage({"policy/default.toml": text.encode()}, now=self.now)

    def carry(self, data: bytes | None = None) -> TrustRepository:
        """Opens a challenge as on another machine; this repository's own where none is given."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        return open_challenge(encode_challenge(self.repository) if data is None else data, folder)

    def session(
        self,
        person: str | None,
        repository: TrustRepository | None = None,
        anchors: TrustAnchors | None = None,
    ) -> TrustSession:
        """Opens what a person signs, with every new key's fingerprint typed as its holder read it."""
        session = TrustSession(
            repository or self.repository,
            person,
            anchors=anchors or self.anchors,
            verifier=FidoAttestationVerifier(),
            now=self.now,
        )
        for key in session.fingerprints.keys:
            session.fingerprints.type(key, key.keyid)
        return session

    def copy_public(self, name: str) -> Path:
        return Path(shutil.copytree(self.public, self.folder / name))

    def refresh(self, source: Path | None = None, **more: Any) -> Refreshed:
        return refresh(str(source or self.public), self.snapshot, **more)

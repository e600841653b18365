"""A terminal on this machine, in one process with the test: desk, page, relay or files, soft keys."""

from __future__ import annotations

import base64
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from placet.adapters.paths import state_dir
from placet.adapters.terminal_identity import FileTerminalIdentity
from placet.core.bundle import IntentRequest, encode_request
from placet.core.decode import Object
from placet.core.encoding import b64url_encode, format_time
from placet.core.sshsig import key_id
from placet.terminal.credentials import CredentialStore, KnownCredential
from placet.terminal.desk import Desk
from placet.terminal.desk_app import create_desk_app
from placet.terminal.history import History
from placet.terminal.server import TerminalServer, bind_loopback
from placet.terminal.sources import FileSource, Source
from placet.terminal.trust_file import TrustFile
from placet.terminal.web import Guard
from placet.testing.authenticator import SoftWebAuthn
from placet.testing.chromium import ChromiumSession, VirtualAuthenticator
from placet.testing.world import ALICE, BOB, World

SCALARS = {ALICE: 0xA11CE, BOB: 0xB0B}


class PageWorld(World):
    """A world whose first terminal has its page at `port`, whose times are around now, and whose keys a
    browser can hold."""

    def __init__(self, port: int, **options: Any) -> None:
        self.port = port
        super().__init__(**options)
        self.now = int(time.time())
        self.expires_at = self.now + 7 * 86_400
        for person, scalar in SCALARS.items():
            self.keys[person] = SoftWebAuthn(
                rp_id=self.rp_id, web_origin=self.origin("t1"), private_scalar=scalar
            )

    def origin(self, terminal: str) -> str:
        return f"http://{terminal}.{self.rp_id}:{self.port}"

    def credential(self, person: str) -> Object:
        times = {
            "notBefore": format_time(self.now - 86_400),
            "notAfter": format_time(self.now + 86_400),
        }
        return super().credential(person) | times | self.credential_members.get(person, {})

    def ask(self, action_type: str, target: str, parameters: Object, subjects: Sequence[Object], **more: Any):
        return super().ask(action_type, target, parameters, subjects, **({"now": self.now - 5} | more))

    def plug_in(self, session: ChromiumSession, person: str) -> VirtualAuthenticator:
        """Plugs a person's key into the browser."""
        key = self.keys[person]
        assert isinstance(key, SoftWebAuthn)
        authenticator = session.add_authenticator()
        private = ec.derive_private_key(SCALARS[person], ec.SECP256R1())
        authenticator.add_credential(
            credential_id=base64.b64encode(key.credential_id).decode(),
            rp_id=self.rp_id,
            pkcs8=base64.b64encode(
                private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
            ).decode(),
            sign_count=int(time.time()) % 1000,
        )
        return authenticator


class OwnIdentity:
    """This machine's identity, as the world names it in its trust root."""

    def __init__(self, identity: FileTerminalIdentity) -> None:
        self.terminal_id, self.wire, self.sign = identity.terminal_id, identity.wire, identity.sign
        self.keyid = key_id(identity.wire)


def make_identity(world: World) -> None:
    """Makes this machine the world's first terminal, as `placet terminal init t1` does."""
    path = state_dir() / "terminal" / "identity.json"
    world.terminals["t1"] = OwnIdentity(FileTerminalIdentity.create(path, "t1"))  # type: ignore[assignment]


class MovableClock:
    """The machine's clock, moved by `offset` seconds."""

    def __init__(self) -> None:
        self.offset = 0

    def now(self) -> int:
        return int(time.time()) + self.offset


class RunningTerminal:
    """A terminal with its page at `url`."""

    def __init__(self, desk: Desk, guard: Guard, clock: MovableClock, folder: Path) -> None:
        self.desk, self.guard, self.clock, self.folder = desk, guard, clock, folder

    @property
    def url(self) -> str:
        return self.guard.launch_url


@contextmanager
def free_port() -> Iterator[list[socket.socket]]:
    """Listens on a free port, closing it in the end."""
    sockets = bind_loopback(0)
    try:
        yield sockets
    finally:
        for listener in sockets:
            listener.close()


def keep_credentials(world: World, store: CredentialStore, *people: str) -> None:
    for person in people:
        key = world.keys[person]
        assert isinstance(key, SoftWebAuthn)
        store.add(key.keyid, KnownCredential(b64url_encode(key.credential_id), ("usb",)))


def write_request(folder: Path, name: str, request: IntentRequest) -> Path:
    path = folder / f"{name}.request.json"
    path.write_bytes(encode_request(request))
    return path


@contextmanager
def running(
    world: PageWorld,
    sockets: list[socket.socket],
    folder: Path,
    source: Source | list[Path],
    *,
    people: Sequence[str] = (ALICE, BOB),
) -> Iterator[RunningTerminal]:
    """Runs the first terminal of a world, its state in `folder`."""
    snapshot = folder / "snapshot.json"
    snapshot.write_bytes(world.snapshot())
    chosen = FileSource(source) if isinstance(source, list) else source
    store = CredentialStore(folder / "credentials.json")
    keep_credentials(world, store, *people)
    clock = MovableClock()
    desk = Desk(
        source=chosen,
        trust_file=TrustFile(snapshot),
        identity=world.terminals["t1"],
        credentials=store,
        history=History(folder / "history.jsonl"),
        clock=clock,
        web_origin=world.origin("t1"),
    )
    guard = Guard(world.origin("t1"))
    with ExitStack() as stack:
        stack.enter_context(TerminalServer(create_desk_app(desk, guard), sockets))
        chosen.start()
        stack.callback(chosen.stop)
        yield RunningTerminal(desk, guard, clock, folder)

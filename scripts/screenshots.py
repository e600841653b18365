"""Takes the pictures in docs/screenshots/ from the real pages, in a real Chromium.

    python scripts/screenshots.py [FOLDER]

Everything on them is what the terminal shows for a small example world; only the clock stands still, so that
the pictures change when the pages do and not with the day.
"""

from __future__ import annotations

import base64
import socket
import sys
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from playwright.sync_api import Page

from placet.adapters.fido.attestation import FidoAttestationVerifier
from placet.adapters.tuf.anchor import TrustAnchors
from placet.adapters.tuf.publish import publish
from placet.adapters.tuf.repository import TrustRepository
from placet.adapters.tuf.signing import attach_signature, pending_messages, root_digests
from placet.adapters.tuf.trust import make_administrator
from placet.ceremony import trust_edit
from placet.ceremony.enrol import evidence_digest, parse_enrolment
from placet.ceremony.fingerprint import fingerprint_words
from placet.ceremony.models import put_models
from placet.ceremony.publish import assemble
from placet.ceremony.request import attach_proof, requester_message
from placet.core.bundle import Answer, IntentRequest
from placet.core.encoding import Digest, b64url_encode
from placet.core.people import Deployment
from placet.core.sshsig import NAMESPACE_REQUEST, NAMESPACE_TRUST, parse_public_key
from placet.core.trust import Trust
from placet.documents.models import Model
from placet.lab.stage import ARTIFACT, Stage
from placet.terminal.credentials import CredentialStore, KnownCredential
from placet.terminal.desk import Desk
from placet.terminal.desk_app import create_desk_app
from placet.terminal.enrol_app import create_enrol_app
from placet.terminal.enrol_desk import EnrolDesk, Invitation
from placet.terminal.history import Decision, History
from placet.terminal.server import DEFAULT_PORT, PortUnavailableError, TerminalServer, bind_loopback
from placet.terminal.sources import Delivery, Pending, Trouble
from placet.terminal.trust_app import create_trust_app
from placet.terminal.trust_desk import TrustDesk
from placet.terminal.trust_file import TrustFile
from placet.terminal.trust_session import TrustSession
from placet.terminal.web import Guard
from placet.testing.authenticator import SoftSk, SoftTerminalKey, SoftWebAuthn
from placet.testing.chromium import ChromiumSession, VirtualAuthenticator, launch_chromium
from placet.testing.ctap import AttestationCa, SoftAuthenticator
from placet.testing.private_sigstore import PrivateSigstore
from placet.testing.registration import SoftEnrolment
from placet.testing.world import ALICE, BOB, CAROL, NOW, World, artifact

SCALAR = 0xA11CE
ZOE = "zoe@example.com"
REASON = "Fix for the rounding error at checkout, ticket 1187. Rolled out in staging since Friday."


class StillClock:
    """The moment at which the pictures are taken."""

    def __init__(self) -> None:
        self.time = NOW + 420

    def now(self) -> int:
        return self.time


class ExampleRelay:
    """A relay with the example's requests; satisfies `placet.terminal.sources.Source`."""

    name = "the relay at https://relay.example"

    def __init__(self) -> None:
        self.found: dict[Digest, Pending] = {}
        self.trouble: tuple[Trouble, ...] = ()

    def add(self, request: IntentRequest, *answers: Answer) -> None:
        self.found[request.id] = Pending(request, answers)

    def destination(self, request: IntentRequest) -> str:
        return self.name

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def pending(self) -> dict[Digest, Pending]:
        return self.found

    def troubles(self) -> tuple[Trouble, ...]:
        return self.trouble

    def unsent(self) -> int:
        return 0

    def deliver(self, request: IntentRequest, answer: Answer, *, trust: Trust, now: int) -> Delivery:
        self.add(request, *self.found[request.id].answers, answer)
        return Delivery("sent", f"Sent to {self.name}.")


class Example:
    """The example: a deployment with a request from a verified colleague, and two others."""

    def __init__(self, folder: Path) -> None:
        self.world = World(seed=b"screenshots")
        self.world.keys[ALICE] = SoftWebAuthn(
            rp_id=self.world.rp_id, web_origin=self.world.origin("t1"), private_scalar=SCALAR
        )
        self.relay, self.clock = ExampleRelay(), StillClock()
        self.history = History(folder / "history.jsonl")
        (folder / "snapshot.json").write_bytes(self.world.snapshot())
        self.store = CredentialStore(folder / "credentials.json")
        key = self.world.keys[ALICE]
        assert isinstance(key, SoftWebAuthn)
        self.credential_id = key.credential_id
        self.store.add(key.keyid, KnownCredential(b64url_encode(key.credential_id), ("usb",)))
        self.desk = Desk(
            source=self.relay,
            trust_file=TrustFile(folder / "snapshot.json"),
            identity=self.world.terminals["t1"],
            credentials=self.store,
            history=self.history,
            clock=self.clock,
            web_origin=self.world.origin("t1"),
        )

    def fill(self) -> IntentRequest:
        """Puts the requests into the relay; returns the one that is opened."""
        before = self.world.request_deploy(b"release 41", parameters={"strategy": "rolling", "replicas": "4"})
        made = self.world.approve(before, ALICE, decided_at=NOW)
        self.history.append(
            Decision(NOW, "approve", ALICE, self.world.keys[ALICE].keyid, before.id, self.relay.name, made)
        )
        asked = self.world.request_deploy(b"release 42", reason=REASON)
        key = self.world.keys[CAROL]
        asked = attach_proof(
            asked, keyid=key.keyid, sshsig=key.sign(NAMESPACE_REQUEST, requester_message(asked))
        )
        self.relay.add(asked, self.world.approve(asked, BOB, terminal="t2", decided_at=NOW + 200))
        wheel = artifact("dist/shop-4.2.0-py3-none-any.whl", b"wheel")
        argv = ["/usr/bin/twine", "upload", wheel["name"]]
        self.relay.add(self.world.request_run(argv=argv, executable=b"twine", inputs=[wheel], lifetime=1800))
        self.relay.add(self.world.request_release({"shop-4.2.0.tar.gz": b"source", "shop.whl": b"wheel"}))
        progress = assemble(
            asked, self.relay.found[asked.id].answers, trust=self.world.trust(), now=self.clock.now()
        )
        assert len(progress.approvers) == 1
        return asked

    def plug_in(self, session: ChromiumSession) -> VirtualAuthenticator:
        """Plugs Alice's key into the browser; nobody touches it yet."""
        private = ec.derive_private_key(SCALAR, ec.SECP256R1())
        pkcs8 = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        authenticator = session.add_authenticator(automatic_presence=False)
        authenticator.add_credential(
            credential_id=base64.b64encode(self.credential_id).decode(),
            rp_id=self.world.rp_id,
            pkcs8=base64.b64encode(pkcs8).decode(),
        )
        return authenticator


def read_to_the_end(page: Page) -> None:
    """Scrolls as a person does: what flies past does not count as shown."""
    page.wait_for_timeout(500)
    for _ in range(60):
        if page.is_enabled("#approve"):
            return
        page.keyboard.press("PageDown")
        page.wait_for_timeout(600)
    raise RuntimeError("the request was never shown in full")


def take(page: Page, folder: Path, name: str) -> None:
    """Takes one picture of the whole page."""
    page.screenshot(path=folder / f"{name}.png", full_page=True)
    print(folder / f"{name}.png")


def open_request(page: Page, guard: Guard, request: IntentRequest) -> None:
    """Opens a request afresh."""
    page.goto("about:blank")
    page.goto(guard.launch_url)
    page.click(f'[data-request="{request.id}"]')
    page.wait_for_selector("#approve")


def picture_desk(session: ChromiumSession, example: Example, guard: Guard, folder: Path) -> None:
    """Pictures of the approval page, in the order of a decision."""
    page = session.page
    page.goto(guard.launch_url)
    page.wait_for_selector("#quiet")
    take(page, folder, "empty")
    request = example.fill()
    page.wait_for_selector("#requests")
    take(page, folder, "inbox")
    open_request(page, guard, request)
    take(page, folder, "request-light")
    page.emulate_media(color_scheme="dark")
    take(page, folder, "request-dark")
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 320, "height": 640})
    take(page, folder, "request-320px")
    page.set_viewport_size({"width": 1000, "height": 800})
    read_to_the_end(page)
    key = example.plug_in(session)
    page.click("#approve")
    page.wait_for_selector('#status[data-state="touch"]')
    page.screenshot(path=folder / "touch.png")
    page.click("#cancel")
    page.wait_for_selector('#status[data-state="error"]')
    page.screenshot(path=folder / "error.png")
    key.set_automatic_presence(True)
    page.click("#approve")
    page.wait_for_selector('#status[data-state="approved"]', state="attached")
    take(page, folder, "approved")
    page.click("#back")
    page.wait_for_selector("#done")
    take(page, folder, "inbox-decided")
    page.click("#to-history")
    page.wait_for_selector('h1:text("History")')
    take(page, folder, "history")


def picture_trouble(session: ChromiumSession, example: Example, guard: Guard, folder: Path) -> None:
    """A terminal whose trust has expired."""
    example.clock.time = example.world.expires_at
    session.page.goto(f"{guard.web_origin}/#/")
    session.page.wait_for_selector(".problem")
    take(session.page, folder, "trust-expired")


def picture_enrolment(
    session: ChromiumSession, example: Example, folder: Path, sockets: Sequence[socket.socket]
) -> None:
    """The page on which a person makes a credential."""
    deployment = Deployment(example.world.deployment, example.world.rp_id)
    desk = EnrolDesk(
        Invitation(BOB, deployment, Digest("5e" * 32), "maple-otter-42-quiet-harbour"),
        web_origin=example.world.origin("t1"),
        verifier=FidoAttestationVerifier(),
        credentials=example.store,
        out=folder / "bob.enrolment.json",
        on_done=lambda: None,
    )
    guard = Guard(example.world.origin("t1"))
    with TerminalServer(create_enrol_app(desk, guard), list(sockets)):
        session.page.goto("about:blank")
        session.page.goto(guard.launch_url)
        session.page.wait_for_selector("#create")
        take(session.page, folder, "enrolment")


def picture_evidence(
    session: ChromiumSession, folder: Path, state: Path, sockets: Sequence[socket.socket]
) -> None:
    """A release whose SLSA provenance the terminal verified."""
    sigstore = PrivateSigstore(b"screenshots", clock=lambda: NOW)
    state.mkdir()
    stage = Stage(state, now=NOW, sigstore=sigstore, seed=b"screenshots")
    relay, wheel = ExampleRelay(), b"wheel"
    request = stage.request_release(ARTIFACT, wheel, stage.provenance(ARTIFACT, wheel))
    relay.add(request)
    desk = Desk(
        source=relay,
        trust_file=TrustFile(stage.snapshot),
        identity=stage.world.terminals["t1"],
        credentials=CredentialStore(state / "credentials.json"),
        history=History(state / "history.jsonl"),
        clock=StillClock(),
        web_origin=stage.world.origin("t1"),
    )
    guard = Guard(stage.world.origin("t1"))
    with TerminalServer(create_desk_app(desk, guard), list(sockets)):
        page = session.page
        open_request(page, guard, request)
        take(page, folder, "evidence-light")
        page.emulate_media(color_scheme="dark")
        take(page, folder, "evidence-dark")
        page.emulate_media(color_scheme="light")
    stage.close()


class ExampleCeremony:
    """A published trust root of three administrators, and a change that one of them reads."""

    def __init__(self, example: Example, folder: Path) -> None:
        world, now = example.world, NOW
        key = world.keys[ALICE]
        people = {
            "ann@example.com": key,
            "ben@example.com": SoftSk("ed25519"),
            "cy@example.com": SoftSk("ed25519"),
        }
        self.keys = people
        origins = [world.origin("t1")]
        self.repository = TrustRepository.create(
            folder / "repository",
            files=world.files(),
            administrators=[
                make_administrator(person, k.wire, kind=k.kind, origins=origins if k is key else [], uv=True)
                for person, k in people.items()
            ],
            threshold=2,
            now=now,
        )
        self.anchors = TrustAnchors(folder / "anchors")
        self.anchors.begin(world.deployment, *root_digests(self.repository))
        self.sign("ann@example.com", "ben@example.com")
        publish(self.repository, now=now)
        self._draft(world, now)
        self.sign("ben@example.com")
        self.session = TrustSession(
            self.repository,
            "ann@example.com",
            anchors=self.anchors,
            verifier=FidoAttestationVerifier(),
            now=now,
        )

    def sign(self, *people: str) -> None:
        """Signs whatever waits."""
        for person in people:
            key = self.keys[person]
            for role, message in pending_messages(self.repository):
                attach_signature(self.repository, role, key.keyid, key.sign(NAMESPACE_TRUST, message))

    def _draft(self, world: World, now: int) -> None:
        files = self.repository.draft_files()
        stricter = files["policy/default.toml"].replace(b"threshold = 2", b"threshold = 3")
        vendor = AttestationCa("Acme Keys")
        model = uuid.UUID("a0a0a0a0-0000-4000-8000-000000000007")
        files |= {"policy/default.toml": stricter}
        files |= put_models(files, [Model(str(model), (), "Acme Key 7", "allowed", (vendor.root_der,))])
        files |= trust_edit.add_person(files, ZOE, groups=["release"])
        authenticator = SoftAuthenticator(aaguid=model.bytes, attestation_ca=vendor, verify_user=lambda: True)
        made = SoftEnrolment(
            authenticator,
            person=ZOE,
            root_sha256=sorted(root_digests(self.repository))[0],
            invite="maple-otter-42-quiet-harbour",
            web_origin=world.origin("t1"),
            rp_id=world.rp_id,
        )
        data = made.file()
        enrolled = parse_enrolment(data)
        files |= trust_edit.add_credential(
            files,
            ZOE,
            key=enrolled.public_key,
            kind="webauthn",
            uv=True,
            assurance="attested",
            aaguid=enrolled.aaguid,
            attestation=None if enrolled.evidence is None else evidence_digest(enrolled.evidence),
            not_before=now,
            not_after=now + 365 * 86_400,
        )
        self.repository.keep_enrolment(enrolled.public_key.keyid, data)
        terminal = parse_public_key(SoftTerminalKey().wire)
        files |= trust_edit.add_terminal(files, "t9", key=terminal, origins=[])
        self.repository.stage(files, now=now)


def picture_trust(
    session: ChromiumSession, example: Example, folder: Path, state: Path, sockets: Sequence[socket.socket]
) -> None:
    """The page on which an administrator signs a change."""
    ceremony = ExampleCeremony(example, state)
    desk = TrustDesk(
        ceremony.session,
        "ann@example.com",
        web_origin=example.world.origin("t1"),
        credentials=example.store,
        on_done=lambda: None,
    )
    guard = Guard(example.world.origin("t1"))
    with TerminalServer(create_trust_app(desk, guard), list(sockets)):
        page = session.page
        page.goto("about:blank")
        page.goto(guard.launch_url)
        page.wait_for_selector("#decision")
        take(page, folder, "trust-light")
        page.set_viewport_size({"width": 320, "height": 640})
        take(page, folder, "trust-320px")
        page.set_viewport_size({"width": 1280, "height": 900})
        page.emulate_media(color_scheme="dark")
        keys = ceremony.session.fingerprints.keys
        page.fill("#keys textarea >> nth=0", " ".join(fingerprint_words(keys[1].keyid)))
        page.keyboard.press("Enter")
        page.wait_for_selector(".answer .problem")
        take(page, folder, "trust-wrong-fingerprint")
        page.fill("#keys textarea >> nth=0", " ".join(fingerprint_words(keys[0].keyid)))
        page.keyboard.press("Enter")
        page.wait_for_selector("#keys .note.fact")
        take(page, folder, "trust-dark")
        page.emulate_media(color_scheme="light")
        page.set_viewport_size({"width": 1000, "height": 800})


def main() -> None:
    """Takes all pictures."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as state,
        launch_chromium(viewport={"width": 1000, "height": 800}) as session,
    ):
        example = Example(Path(state))
        guard = Guard(example.world.origin("t1"))
        with TerminalServer(create_desk_app(example.desk, guard), bind_loopback(DEFAULT_PORT)):
            picture_desk(session, example, guard, folder)
            picture_trouble(session, example, guard, folder)
        picture_evidence(session, folder, Path(state) / "stage", bind_loopback(DEFAULT_PORT))
        picture_enrolment(session, example, folder, bind_loopback(DEFAULT_PORT))
        picture_trust(session, example, folder, Path(state), bind_loopback(DEFAULT_PORT))


if __name__ == "__main__":
    try:
        main()
    except PortUnavailableError as e:
        sys.exit(f"{e} The pictures need it, because it is part of the page's address.")

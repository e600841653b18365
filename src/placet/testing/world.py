"""A whole small world in memory: trust, people, a terminal, a gate, and approvals between them.

For tests of gates and integrations: everything is real except the hardware, and every
credential says `software` unless a test deliberately claims otherwise.

    world = World(seed=b"example")
    request = world.request_run(argv=["/bin/true"])
    bundle = world.bundle(request, "alice@example.com", "bob@example.com")
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from placet.ceremony.decide import make_answer, message, prepare
from placet.ceremony.publish import add_answer, empty_bundle
from placet.ceremony.request import Ask, build_request
from placet.core.bundle import Answer, IntentRequest, encode_bundle
from placet.core.decode import Object
from placet.core.encoding import b64encode, encode_canonical, format_time, parse_time
from placet.core.evidence.facts import Evidence
from placet.core.sshsig import NAMESPACE_INTENT
from placet.core.trust import Trust, compile_trust, parse_trust
from placet.core.verify import Expected
from placet.ports.evidence_verifier import NO_EVIDENCE, EvidenceVerifier
from placet.testing.authenticator import SoftSk, SoftTerminalKey, SoftWebAuthn

DEPLOY = "https://placet.dev/actions/deploy/v1"
RELEASE = "https://placet.dev/actions/release/v1"
RUN = "https://placet.dev/actions/run/v1"

ALICE, BOB, CAROL = "alice@example.com", "bob@example.com", "carol@example.com"
NOW = parse_time("2026-11-23T10:00:00Z")
# The model that a test's `attested` keys claim to be; nobody makes it.
MODEL = "706c6163-6574-0000-4000-8000000000ff"
_MODEL_MEMBERS: Object = {"description": "A model of tests", "roots": ["AA=="], "source": {"kind": "vendor"}}
GATE = "prod-eu"
TARGET = "host://build-1.example"
DEPLOY_TARGET = "k8s://prod-eu/ns/shop/deploy/app"
RELEASE_TARGET = "pkg:pypi/placet"

DEFAULT_POLICY = """
[[rule]]
action = "https://placet.dev/actions/run/v1"
target = "host://**"
level = 1
quorum = { threshold = 2, of = ["group:release"] }
exclude_requester = false
max_window = "1h"

[[rule]]
action = "https://placet.dev/actions/deploy/v1"
target = "k8s://**"
level = 1
quorum = { threshold = 2, of = ["group:release"] }
exclude_requester = false
max_window = "1h"

[[rule]]
action = "https://placet.dev/actions/release/v1"
target = "pkg:**"
level = 1
quorum = { threshold = 2, of = ["group:release"] }
exclude_requester = false
max_window = "1h"
"""


class SoftTerminal:
    """A terminal identity in memory; satisfies `placet.ports.terminal_identity.TerminalIdentity`."""

    def __init__(self, terminal_id: str, *, seed: bytes | None = None) -> None:
        self._id, self._key = terminal_id, SoftTerminalKey(seed=seed)
        self.keyid = self._key.keyid

    @property
    def terminal_id(self) -> str:
        """The terminal's ID."""
        return self._id

    @property
    def wire(self) -> bytes:
        """The public key in SSH wire form."""
        return self._key.wire

    def sign(self, namespace: str, message: bytes) -> bytes:
        """Returns a binary SSHSIG over `message`."""
        return self._key.sign(namespace, message)


class World:
    """A deployment with three people, two terminals and two gates.

    Attributes:
        keys: person ID → software key; replace or add to make attackers.
        accounts: person ID → identities at OIDC issuers.
        more_files: further target files of the trust root, or other contents of ours.
        evidence: what terminals verify evidence with.
        assurance: person ID → assurance written into the trust root; `software` unless a test says otherwise.
        terminals: terminal ID → identity.
        policy: the text of ``policy/default.toml``.
        now: when everything happens, in Unix seconds; the same in every run unless a test says otherwise.

    Change the attributes, then call `trust` again: each call compiles a new snapshot.
    """

    def __init__(
        self,
        *,
        seed: bytes | None = b"world",
        deployment: str = "demo",
        policy: str = DEFAULT_POLICY,
        now: int | None = None,
    ) -> None:
        self.now = NOW if now is None else now
        self.deployment = deployment
        self.rp_id = f"{deployment}.placet.localhost"
        self.policy = policy
        self._seed = seed
        self._counter = 0
        self.keys: dict[str, SoftWebAuthn | SoftSk] = {
            person: SoftWebAuthn(
                rp_id=self.rp_id, web_origin=self.origin("t1"), seed=seed and seed + person.encode()
            )
            for person in (ALICE, BOB, CAROL)
        }
        self.groups: dict[str, list[str]] = {person: ["release"] for person in (ALICE, BOB, CAROL)}
        self.accounts: dict[str, list[Object]] = {}
        self.more_files: dict[str, bytes] = {}
        self.evidence: EvidenceVerifier = NO_EVIDENCE
        self.assurance: dict[str, str] = {}
        self.credential_members: dict[str, Object] = {}
        self.terminals = {
            name: SoftTerminal(name, seed=seed and seed + name.encode()) for name in ("t1", "t2")
        }
        self.gates = [GATE, "prod-us"]
        self.versions = {"root": 1, "targets": 1, "snapshot": 1, "timestamp": 1}
        self.expires_at = self.now + 7 * 86_400

    def origin(self, terminal: str) -> str:
        """Returns the origin of a terminal's page."""
        return f"http://{terminal}.{self.rp_id}:8470"

    def credential(self, person: str) -> Object:
        """Returns a person's credential as it stands in ``people.json``."""
        key = self.keys[person]
        return {
            "keyid": key.keyid,
            "publicKey": b64encode(key.wire),
            "kind": key.kind,
            "uv": True,
            "backup": "forbid",
            "assurance": self.assurance.get(person, key.assurance),
            "notBefore": format_time(self.now - 86_400),
            "notAfter": format_time(self.now + 365 * 86_400),
            **({"aaguid": MODEL} if self.assurance.get(person) == "attested" else {}),
        } | self.credential_members.get(person, {})

    def files(self) -> dict[str, bytes]:
        """Returns the trust root's target files."""
        people = [
            {
                "id": p,
                "groups": self.groups.get(p, []),
                "accounts": self.accounts.get(p, []),
                "credentials": [self.credential(p)],
            }
            for p in self.keys
        ]
        terminals = [
            {"id": name, "keyid": t.keyid, "publicKey": b64encode(t.wire), "origins": [self.origin(name)]}
            for name, t in self.terminals.items()
        ]
        documents: dict[str, Any] = {
            "deployment.json": {"name": self.deployment, "rpId": self.rp_id},
            "people.json": {"people": people},
            "terminals.json": {"terminals": terminals},
            "gates.json": {"gates": [{"id": gate, "ledger": f"{gate}-ledger"} for gate in self.gates]},
            "scopes.json": {"scopes": {"default": ["**"]}},
        }
        if "attested" in self.assurance.values():
            documents["models.json"] = {"models": [{"aaguid": MODEL, "status": "allowed"} | _MODEL_MEMBERS]}
        return {name: encode_canonical(value) for name, value in documents.items()} | {
            "policy/default.toml": self.policy.encode(),
            **shipped_actions(),
            **self.more_files,
        }

    def snapshot(self) -> bytes:
        """Compiles the gate's trust snapshot."""
        return compile_trust(files=self.files(), versions=self.versions, expires_at=self.expires_at)

    def trust(self) -> Trust:
        """Returns the loaded trust."""
        return parse_trust(self.snapshot())

    def ask(
        self, action_type: str, target: str, parameters: Object, subjects: Sequence[Object], **more: Any
    ) -> Ask:
        """Returns an ask with this world's defaults and a nonce of its own."""
        self._counter += 1
        unique = hashlib.sha256((self._seed or b"") + str(self._counter).encode()).hexdigest()
        fields: dict[str, Any] = {
            "gate": GATE,
            "requested_by": "https://ci.example/run/4711",
            "request_id": f"018f3e9e-8c2b-7cc0-9b5e-{unique[:12]}",
            "nonce": bytes.fromhex(unique[:32]),
            "now": self.now,
            "lifetime": 3600,
        }
        return Ask(action_type, target, parameters, subjects, **(fields | more))

    def request_run(
        self,
        *,
        argv: Sequence[str],
        inputs: Sequence[Object] = (),
        executable: bytes | None = None,
        **more: Any,
    ) -> IntentRequest:
        """Requests a `run` action.  `executable` are the program's bytes; None reads ``argv[0]``."""
        if executable is None:
            with open(argv[0], "rb") as file:
                executable = file.read()
        parameters = {
            "argv": list(argv),
            "workingDirectory": more.pop("working_directory", "."),
            "environment": more.pop("environment", {"LANG": "C.UTF-8"}),
            "executable": {
                "path": more.pop("path", argv[0]),
                "digest": {"sha256": hashlib.sha256(executable).hexdigest()},
            },
        }
        ask = self.ask(RUN, more.pop("target", TARGET), parameters, inputs, **more)
        return build_request(ask, trust=self.trust())

    def request_deploy(self, image: bytes = b"image", **more: Any) -> IntentRequest:
        """Requests a `deploy` of one artifact with these bytes."""
        parameters = more.pop("parameters", {"strategy": "rolling", "replicas": "6"})
        target = more.pop("target", DEPLOY_TARGET)
        ask = self.ask(DEPLOY, target, parameters, [artifact("registry.example/app", image)], **more)
        return build_request(ask, trust=self.trust())

    def request_release(self, artifacts: dict[str, bytes], **more: Any) -> IntentRequest:
        """Requests a `release` of several artifacts."""
        subjects = [artifact(name, data) for name, data in artifacts.items()]
        target = more.pop("target", RELEASE_TARGET)
        ask = self.ask(RELEASE, target, {"version": "1.0.0"}, subjects, **more)
        return build_request(ask, trust=self.trust())

    def approve(
        self,
        request: IntentRequest,
        person: str,
        *,
        terminal: str = "t1",
        decided_at: int | None = None,
        **knobs: Any,
    ) -> Answer:
        """Approves as an honest terminal would; `knobs` go to the software key's `sign`."""
        trust = self.trust()
        decided_at = self.now + 60 if decided_at is None else decided_at
        review = prepare(request, trust=trust, now=decided_at, evidence=self.evidence)
        key = self.keys[person]
        if isinstance(key, SoftWebAuthn):
            knobs.setdefault("web_origin", self.origin(terminal))
        answer, _, _ = make_answer(
            review,
            sshsig=key.sign(NAMESPACE_INTENT, message(review), **knobs),
            trust=trust,
            terminal=self.terminals[terminal],
            decided_at=decided_at,
            seconds_on_screen=12,
            renderer="placet-testing/1",
            changes="first time for this target",
        )
        return answer

    def bundle(self, request: IntentRequest, *people: str, terminals: Sequence[str] = ("t1", "t2")) -> bytes:
        """Returns the encoded bundle of these people's approvals, each on the next terminal in turn."""
        bundle = empty_bundle(request)
        for i, person in enumerate(people):
            answer = self.approve(request, person, terminal=terminals[i % len(terminals)])
            bundle = add_answer(bundle, answer)
        return encode_bundle(bundle)


def artifact(name: str, data: bytes) -> Object:
    """Returns the resource descriptor of a file with these bytes."""
    return {"name": name, "digest": {"sha256": hashlib.sha256(data).hexdigest()}}


def evidence(content: bytes, media_type: str = "text/plain") -> Evidence:
    """Returns evidence with its digest."""
    from placet.core.encoding import sha256_hex

    return Evidence(sha256_hex(content), media_type, content)


def expected_of(request: IntentRequest) -> Expected:
    """Returns what a gate would see if it were about to do exactly what was requested."""
    from placet.core.statement import parse_statement

    statement = parse_statement(request.payload)
    return Expected(
        target=statement.target,
        subjects=frozenset(s.digest for s in statement.subjects if statement.has_artifacts),
        action_type=statement.action_type,
        parameters=statement.parameters,
    )


def shipped_actions() -> dict[str, bytes]:
    """Returns the action definitions that placet ships, by their name in the trust root."""
    root = files("placet.actions")
    return {
        f"actions/{name}/v1.json": root.joinpath(name, "v1.json").read_bytes()
        for name in ("deploy", "release", "run")
    }

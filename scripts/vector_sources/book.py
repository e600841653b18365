"""Collects vectors, and makes the small worlds that they come from."""

from __future__ import annotations

from typing import Any, NamedTuple

from placet.core.bundle import IntentBundle, IntentRequest, encode_bundle, parse_bundle
from placet.core.dsse import PAYLOAD_TYPE, Envelope, Signature, pae
from placet.core.encoding import b64encode, encode_canonical, format_time, parse_json, sha256_hex
from placet.core.report import Report, encode_report
from placet.core.sshsig import NAMESPACE_INTENT, NAMESPACE_REPORT
from placet.core.verify import Expected
from placet.testing.authenticator import SoftWebAuthn
from placet.testing.world import NOW, World, expected_of

SEED = b"placet vectors"
AT = NOW + 120


class Book:
    """One file of vectors."""

    def __init__(self, area: str) -> None:
        self.area = area
        self.vectors: list[dict[str, Any]] = []

    def _add(
        self, kind: str, name: str, ids: str, description: str, inputs: Any, expect: Any, now: int
    ) -> None:
        self.vectors.append(
            {
                "id": f"{kind}/{name}",
                "kind": kind,
                "description": description,
                "requirements": ids.split(),
                "now": format_time(now),
                "inputs": inputs,
                "expect": expect,
            }
        )

    def accept(
        self, kind: str, name: str, ids: str, description: str, inputs: Any, *, now: int = AT, **facts: Any
    ) -> None:
        """Adds a vector that must be accepted with these facts."""
        self._add(kind, name, ids, description, inputs, {"outcome": "accept", "facts": facts}, now)

    def refuse(
        self,
        kind: str,
        name: str,
        ids: str,
        description: str,
        inputs: Any,
        reason: str,
        *,
        now: int = AT,
        **more: Any,
    ) -> None:
        """Adds a vector that must be refused for this reason; `more` are category, path and causes."""
        self._add(kind, name, ids, description, inputs, {"outcome": "refuse", "reason": reason, **more}, now)


def b64(data: bytes | str) -> str:
    """Returns standard base64."""
    return b64encode(data.encode() if isinstance(data, str) else data)


def world(**attributes: Any) -> World:
    """Returns a fresh world, with some attributes changed, whose every byte follows from the seed."""
    made = World(seed=SEED)
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


REMOVED = object()


def altered(document: bytes | Any, changes: dict[str, Any]) -> bytes:
    """Returns the canonical form of a JSON document after some members, by JSON pointer, were changed."""
    value = (
        parse_json(document, max_bytes=1 << 24, what="source") if isinstance(document, bytes) else document
    )
    value = parse_json(encode_canonical(value), max_bytes=1 << 24, what="source")  # a copy of its own
    for pointer, new in changes.items():
        *way, last = pointer.split("/")[1:]
        parent = value
        for step in way:
            parent = parent[int(step)] if isinstance(parent, list) else parent[step.replace("~1", "/")]
        key: Any = int(last) if isinstance(parent, list) and last != "-" else last.replace("~1", "/")
        if new is REMOVED:
            del parent[key]
        elif key == "-":
            parent.append(new)
        else:
            parent[key] = new
    return encode_canonical(value)


def run_request(source: World, **more: Any) -> IntentRequest:
    """Returns a request for a harmless command."""
    return source.request_run(argv=["/usr/bin/true"], executable=b"a program", **more)


class Voice(NamedTuple):
    """One signature, with its report, as a hostile or an honest terminal would make them.

    `knobs` go to the software key; `report` changes members of the report, None leaves it out.
    """

    person: str
    terminal: str = "t1"
    knobs: dict[str, Any] = {}  # noqa: RUF012 -- never mutated
    report: dict[str, Any] | None = {}  # noqa: RUF012 -- never mutated
    sign_report_with: str = ""
    namespace: str = NAMESPACE_INTENT
    message: bytes | None = None


def sign(source: World, payload: bytes, voice: Voice) -> tuple[Signature, Envelope | None]:
    """Returns a signature and its report; nothing is checked, so attackers can be played."""
    key, knobs = source.keys[voice.person], dict(voice.knobs)
    if isinstance(key, SoftWebAuthn):
        knobs.setdefault("web_origin", source.origin(voice.terminal))
    message = pae(PAYLOAD_TYPE, payload) if voice.message is None else voice.message
    signature = Signature(key.keyid, key.sign(voice.namespace, message, **knobs))
    if voice.report is None:
        return signature, None
    report = Report(
        terminal_id=voice.terminal,
        payload_digest=sha256_hex(payload),
        signature_keyid=key.keyid,
        signature_digest=sha256_hex(signature.sig),
        decided_at=NOW + 60,
        seconds_on_screen=12,
        renderer="placet-testing/1",
        changes="first time for this target",
        evidence=(),
        trust_versions=source.versions,
    )._replace(**voice.report)
    return signature, report_envelope(source, report, voice.sign_report_with or voice.terminal)


def report_envelope(
    source: World, report: Report, terminal: str, *, namespace: str = NAMESPACE_REPORT
) -> Envelope:
    """Returns a report signed by a terminal."""
    said = encode_report(report)
    signer = source.terminals[terminal]
    blob = signer.sign(namespace, pae(PAYLOAD_TYPE, said))
    return Envelope(said, PAYLOAD_TYPE, (Signature(signer.keyid, blob),))


def bundle_of(
    source: World, request: IntentRequest, *voices: Voice | str, versions: dict[str, int] | None = None
) -> IntentBundle:
    """Returns the bundle of these voices; a name alone approves honestly, on the next terminal in turn."""
    signatures, reports = [], []
    named: dict[str, int] = {}
    for i, voice in enumerate(voices):
        said = Voice(voice, ("t1", "t2")[i % 2]) if isinstance(voice, str) else voice
        signature, report = sign(source, request.payload, said)
        signatures.append(signature)
        if report is not None:
            reports.append(report)
            named = source.versions | (said.report or {}).get("trust_versions", {})
    return IntentBundle(
        Envelope(request.payload, PAYLOAD_TYPE, tuple(signatures)),
        tuple(reports),
        request.evidence,
        named if versions is None else versions,
    )


def expected_object(expected: Expected) -> dict[str, Any]:
    """Returns a gate's expectation as it stands in a vector."""
    return {
        "actionType": expected.action_type,
        "target": expected.target,
        "subjects": sorted(expected.subjects),
        "parameters": expected.parameters,
    }


def use_inputs(
    bundle: bytes | IntentBundle, *, trust: str = "default", gate: str = "prod-eu", **changes: Any
) -> dict[str, Any]:
    """Returns the inputs of a `verify-for-use` vector; `changes` are to what the gate expects."""
    data = encode_bundle(bundle) if isinstance(bundle, IntentBundle) else bundle
    parsed = bundle if isinstance(bundle, IntentBundle) else parse_bundle(data)
    expected = expected_object(expected_of(IntentRequest(parsed.envelope.payload, ())))
    return {"bundle": b64(data), "trust": trust, "gate": gate, "expected": expected | changes}

"""Writes layouts that ask for human approval, and adds that step to layouts of others (spec/19-in-toto.md).

A layout is changed as the JSON that it is: in-toto's own classes would drop what they do not know.  What is
written is held against those classes all the same, so that what is signed is what is read.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from placet.adapters.intoto.layouts import check_distinct_keys
from placet.adapters.securesystemslib import SkKey, register
from placet.core.decode import Object
from placet.core.dsse import PAYLOAD_TYPE
from placet.core.encoding import b64decode_strict, parse_json
from placet.core.errors import MalformedError, PolicyError, Reason
from placet.core.people import MAX_ORIGINS, Credential, Person
from placet.core.sshsig import NAMESPACE_LINK
from placet.documents.approve_step import ACTION_MATERIAL

MAX_LAYOUT_BYTES = 4 * 1024 * 1024
_GLOB = frozenset("*?[")


class Functionary(NamedTuple):
    """A person's key as a layout lists it."""

    person: str
    key: Object

    @property
    def keyid(self) -> str:
        """The key's ID."""
        return str(self.key["keyid"])


class ApproveStep(NamedTuple):
    """The step by which a layout asks for human approval.

    Args:
        name: of the step, and of its links.
        functionaries: who may approve.
        threshold: how many must.
        artifacts: the names that the approved artifacts have in statements.
        source: the earlier step whose products they must be, or "".
        folder: where that step has them, or "".
    """

    name: str
    functionaries: tuple[Functionary, ...]
    threshold: int
    artifacts: tuple[str, ...]
    source: str = ""
    folder: str = ""


class LayoutFile(NamedTuple):
    """A layout, and whether its file is a DSSE envelope."""

    layout: Object
    enveloped: bool


def functionary_of(person: Person, credential: Credential, origins: Sequence[str]) -> Functionary:
    """Returns a credential as a functionary's key, for links alone.

    Args:
        origins: the terminals' pages on which it may sign.

    Raises:
        PolicyError: BAD_KEY: a software key, or more pages than one key may list.
    """
    if credential.kind == "webauthn" and len(origins) > MAX_ORIGINS:
        raise PolicyError(
            Reason.BAD_KEY,
            f"A key in a layout lists at most {MAX_ORIGINS} pages on which it signs, not {len(origins)}.",
            hint="Name those where these people approve: --terminal NAME.",
        )
    key = SkKey.from_wire(
        credential.public_key.wire,
        kind=credential.kind,
        origins=tuple(origins) if credential.kind == "webauthn" else (),
        uv=credential.uv,
        backup=credential.backup,
        namespace=NAMESPACE_LINK,
        person=person.id,
    )
    return Functionary(person.id, {**key.to_dict(), "keyid": credential.keyid})


def new_layout(step: ApproveStep, *, expires: str, readme: str = "") -> Object:
    """Returns a layout with this step alone.

    Raises:
        PolicyError: the step cannot be met, or one person could meet it alone.
    """
    empty: Object = {
        "_type": "layout",
        "expires": expires,
        "inspect": [],
        "keys": {},
        "readme": readme,
        "steps": [],
    }
    return add_step(empty, step)


def add_step(layout: Object, step: ApproveStep) -> Object:
    """Returns a layout with this step behind the one that it takes its artifacts from, or at the end.

    Nothing else of the layout changes.

    Raises:
        PolicyError: EVIDENCE_LAYOUT: the step cannot be met, one person could meet it alone, or the layout
            has it already.
    """
    names = [str(existing.get("name")) for existing in layout["steps"]]
    if step.name in names:
        raise _refused(
            f"The layout has a step {step.name!r} already.",
            "Remove it from the layout, or rename it where it means something else.",
        )
    if step.source and step.source not in names:
        raise _refused(
            f"The layout has no step {step.source!r}. It has: {', '.join(names) or 'none'}.",
            "Name with --from the step that makes what is approved.",
        )
    keys = dict(layout["keys"])
    for functionary in step.functionaries:
        if keys.setdefault(functionary.keyid, functionary.key) != functionary.key:
            raise _refused(
                f"The layout lists the key {functionary.keyid[:16]} of {functionary.person} otherwise.",
                "Remove it there, or write a new layout.",
            )
    place = names.index(step.source) + 1 if step.source else len(names)
    steps = [*layout["steps"][:place], _step_object(step), *layout["steps"][place:]]
    return {**layout, "keys": keys, "steps": steps}


def _step_object(step: ApproveStep) -> Object:
    people = {f.keyid: f.person for f in step.functionaries}
    keyids = [f.keyid for f in step.functionaries]
    check_distinct_keys(step.name, keyids, {f.keyid: f.key for f in step.functionaries}, people)
    if not 1 <= step.threshold <= len(keyids):
        raise _refused(
            f"{step.threshold} of {len(keyids)} people cannot approve.",
            "Name more people with --approvers, or lower --threshold.",
        )
    for name in step.artifacts:
        # REQUIRE takes a name as it is, ALLOW and MATCH take a pattern; it must mean the same to both.
        if set(name) & _GLOB or name == ACTION_MATERIAL:
            raise _refused(
                f"{name!r} cannot be an artifact's name in a layout: in-toto would read it otherwise.",
                "Name each artifact in full, as `placet request` does.",
            )
    required = [["REQUIRE", name] for name in (*step.artifacts, ACTION_MATERIAL)]
    accepted = [_accept(name, step) for name in step.artifacts]
    return {
        "_type": "step",
        "name": step.name,
        "pubkeys": keyids,
        "threshold": step.threshold,
        "expected_command": [],
        # in-toto compares nothing but artifacts across a threshold, so the action is one (A13).
        "expected_materials": [*required, *accepted, ["ALLOW", ACTION_MATERIAL], ["DISALLOW", "*"]],
        "expected_products": [["DISALLOW", "*"]],
    }


def _accept(name: str, step: ApproveStep) -> list[str]:
    if not step.source:
        return ["ALLOW", name]
    where = ["IN", step.folder] if step.folder else []
    return ["MATCH", name, "WITH", "PRODUCTS", *where, "FROM", step.source]


def parse_layout_file(data: bytes, name: str) -> LayoutFile:
    """Reads a layout to change it: bare, or in either of in-toto's containers.

    Raises:
        MalformedError: it is none, or has members that in-toto does not know and would not sign.
    """
    top = parse_json(data, max_bytes=MAX_LAYOUT_BYTES, what=name)
    if not isinstance(top, dict):
        raise _no_layout(name)
    if "payload" in top and top.get("payloadType") == PAYLOAD_TYPE and isinstance(top["payload"], str):
        payload = b64decode_strict(top["payload"], "/payload")
        layout = parse_json(payload, max_bytes=MAX_LAYOUT_BYTES, what=name)
        enveloped = True
    else:
        layout, enveloped = top.get("signed", top), False
    if not isinstance(layout, dict) or layout.get("_type") != "layout":
        raise _no_layout(name)
    _check_known(layout, name)
    return LayoutFile(layout, enveloped)


def _check_known(layout: Object, name: str) -> None:
    read = _read(layout, name)
    if read != layout:
        unknown = sorted(layout.keys() ^ read.keys()) or ["in its steps"]
        raise MalformedError(
            Reason.UNKNOWN_MEMBER,
            f"{name} has members that in-toto leaves out or fills in: {', '.join(unknown)}.",
            hint="Correct the layout first; a signature would not cover what in-toto does not read.",
        )


def _read(layout: Object, name: str) -> Object:
    import attr
    from in_toto.models.layout import Layout  # type: ignore[import-untyped]

    register()  # in-toto checks every key that it reads
    try:
        # A copy, because in-toto's reader changes what it reads.
        return dict(attr.asdict(Layout.read(json.loads(json.dumps(layout)))))
    except Exception as e:  # in-toto's own errors, and whatever odd members make it raise
        raise MalformedError(
            Reason.BAD_VALUE, f"{name} is not a layout that in-toto reads: {str(e)[:200]}."
        ) from e


def _no_layout(name: str) -> MalformedError:
    return MalformedError(
        Reason.UNSUPPORTED_TYPE, f"{name} is not an in-toto layout.", hint="It has `_type`: `layout`."
    )


def encode_layout_file(file: LayoutFile, name: str, signers: Sequence[Any] = ()) -> bytes:
    """Encodes a layout in its container, signed by these securesystemslib signers, or by nobody yet.

    Raises:
        MalformedError: it is not a layout that in-toto reads.
    """
    from in_toto.models.layout import Layout
    from in_toto.models.metadata import Envelope, Metablock  # type: ignore[import-untyped]

    _read(file.layout, name)
    if file.enveloped:
        payload = json.dumps(file.layout, sort_keys=True).encode()
        metadata = Envelope(payload, PAYLOAD_TYPE, {})
    else:
        metadata = Metablock(signed=Layout.read(json.loads(json.dumps(file.layout))))
    for signer in signers:
        metadata.create_signature(signer)
    return json.dumps(metadata.to_dict(), indent=1, sort_keys=True).encode() + b"\n"


def _refused(message: str, hint: str) -> PolicyError:
    return PolicyError(Reason.EVIDENCE_LAYOUT, message, hint=hint)

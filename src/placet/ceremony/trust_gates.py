"""Edits of the trust root's gates, as `placet.ceremony.trust_edit` edits the rest."""

from __future__ import annotations

from collections.abc import Sequence

from placet.ceremony.trust_edit import Files, decode_file, encode_file, refuse_known
from placet.core.decode import Object
from placet.core.encoding import b64encode
from placet.core.errors import MalformedError, Reason
from placet.core.gates import parse_gates
from placet.core.trust import GATES_FILE

# Everybody who asks types it, and it stands in every statement's audience.
_GATE_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-")


def add_gate(
    files: Files,
    gate_id: str,
    *,
    ledger: str,
    verdict_keys: Sequence[bytes] = (),
    use_keys: Sequence[bytes] = (),
) -> dict[str, bytes]:
    """Adds a gate with the name of its ledger, and the public keys by which it signs.

    Args:
        verdict_keys: those that sign its verdicts, DER SubjectPublicKeyInfo of each.
        use_keys: those that sign the records of its uses.

    Raises:
        MalformedError: the gate is there already, a name is wrong, or a key is none that a gate can have.
    """
    if not gate_id or set(gate_id) - _GATE_LETTERS:
        raise MalformedError(
            Reason.BAD_VALUE,
            f"{gate_id!r} cannot be a gate's ID: lower-case letters, digits, dots and hyphens only.",
            hint="As in: prod-eu",
        )
    value = decode_file(files, GATES_FILE)
    refuse_known([gate["id"] for gate in value["gates"]], gate_id, "gate")
    keys = _keys("verdictKeys", verdict_keys) | _keys("useKeys", use_keys)
    value["gates"].append({"id": gate_id, "ledger": ledger} | keys)
    parse_gates(value)
    return {GATES_FILE: encode_file(value)}


def _keys(member: str, keys: Sequence[bytes]) -> Object:
    return {member: [b64encode(key) for key in keys]} if keys else {}


def set_gate(
    files: Files,
    gate_id: str,
    *,
    ledger: str | None = None,
    verdict_keys: Sequence[bytes] | None = None,
    use_keys: Sequence[bytes] | None = None,
) -> dict[str, bytes]:
    """Gives a gate another ledger, or other keys; None leaves what is there.

    Raises:
        MalformedError: there is no such gate, or the ledger's name or a key is wrong.
    """
    value = decode_file(files, GATES_FILE)
    gate = next((gate for gate in value["gates"] if gate["id"] == gate_id), None)
    if gate is None:
        known = ", ".join(gate["id"] for gate in value["gates"]) or "none yet"
        raise MalformedError(
            Reason.BAD_VALUE,
            f"The trust root has no gate {gate_id}. It knows: {known}.",
            hint=f"Add it: placet trust add-gate {gate_id} --ledger {ledger or 'NAME'}",
        )
    if ledger is not None:
        gate["ledger"] = ledger
    for member, keys in (("verdictKeys", verdict_keys), ("useKeys", use_keys)):
        if keys is not None:
            gate.pop(member, None)
            gate.update(_keys(member, keys))
    parse_gates(value)
    return {GATES_FILE: encode_file(value)}

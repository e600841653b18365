"""Gates: the audiences of approvals, as ``gates.json`` of the trust root names them (spec/08-trust.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from placet.core.decode import Object, read_ascii, read_list, read_object, refuse_duplicates

if TYPE_CHECKING:
    from placet.core.verdict.keys import GatePublicKey

MAX_GATES = 1_000


class Gate(NamedTuple):
    """A gate: the one audience of an approval, named with its ledger and the keys by which it signs.

    Args:
        verdict_keys: sign its verdicts.
        use_keys: sign the records of its uses, for the log.
    """

    id: str
    ledger: str
    verdict_keys: tuple[GatePublicKey, ...] = ()
    use_keys: tuple[GatePublicKey, ...] = ()


def parse_gates(value: Any) -> tuple[Gate, ...]:
    """Reads the decoded ``gates.json``.

    Raises:
        MalformedError: a member is missing or wrong, or two gates share an ID or a key.
    """
    items = read_list(read_object(value, "", required=["gates"])["gates"], "/gates", max_items=MAX_GATES)
    gates = tuple(_parse_gate(item, f"/gates/{i}") for i, item in enumerate(items))
    # PPL-06: single use is a property of one gate and its ledger.
    refuse_duplicates([gate.id for gate in gates], "/gates", "two gates have the same ID")
    # VSA-09, PPL-07: a key speaks for one gate, and says one kind of thing.
    keys = [key for gate in gates for key in (*gate.verdict_keys, *gate.use_keys)]
    refuse_duplicates(keys, "/gates", "one key stands for two gates, or for verdicts and uses")
    return gates


def _parse_gate(value: Any, path: str) -> Gate:
    members: Object = read_object(value, path, required=["id", "ledger"], optional=["verdictKeys", "useKeys"])
    gate_id = read_ascii(members["id"], f"{path}/id", max_length=190)
    gate = Gate(gate_id, read_ascii(members["ledger"], f"{path}/ledger", max_length=200))
    if "verdictKeys" not in members and "useKeys" not in members:
        return gate
    from placet.core.verdict.keys import read_gate_keys  # many gates sign nothing

    return gate._replace(
        verdict_keys=read_gate_keys(members.get("verdictKeys", []), f"{path}/verdictKeys"),
        use_keys=read_gate_keys(members.get("useKeys", []), f"{path}/useKeys"),
    )

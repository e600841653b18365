"""People, terminals and gates at their limits (PPL)."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from placet.core import people
from placet.core.encoding import b64decode_strict, b64encode, sha256_hex
from placet.core.errors import MalformedError, Reason
from placet.core.gates import MAX_GATES, parse_gates
from placet.core.people import parse_deployment, parse_people, parse_terminals
from placet.testing.authenticator import SoftSk, SoftWebAuthn
from placet.testing.world import ALICE, BOB, World

DEPLOYMENT = parse_deployment({"name": "demo", "rpId": "demo.placet.localhost"})
FILES = {name: json.loads(data) for name, data in World(seed=b"p").files().items() if "/" not in name}


def document(name: str) -> Any:
    return json.loads(json.dumps(FILES[name]))


def refusal(call: Callable[[], object]) -> tuple[Reason, str]:
    with pytest.raises(MalformedError) as caught:
        call()
    return caught.value.reason, caught.value.path


def credential(key: SoftWebAuthn | SoftSk, **changes: Any) -> Any:
    base = document("people.json")["people"][0]["credentials"][0]
    return base | {"publicKey": b64encode(key.wire), "keyid": key.keyid, "kind": key.kind} | changes


def staff(*credentials: Any, **changes: Any) -> Any:
    person = {"id": ALICE, "groups": [], "accounts": [], "credentials": list(credentials)} | changes
    return {"people": [person]}


def test_a_whole_person() -> None:
    account = {"issuer": "https://issuer.example", "subject": "1"}
    key = SoftSk("ed25519", seed=b"k")
    whole = credential(key, aaguid="00000000-0000-0000-0000-000000000000", attestation={"sha256": "0" * 64})
    (person,) = parse_people(staff(whole, groups=["a", "b"], accounts=[account]), DEPLOYMENT)
    (found,) = person.credentials
    assert (found.aaguid, found.attestation, found.kind) == (whole["aaguid"], "0" * 64, "sk")
    assert (person.groups, person.accounts[0].subject) == (("a", "b"), "1")
    assert DEPLOYMENT.ssh_application == "ssh:placet:demo"


@pytest.mark.parametrize("name", ["a b", "group:a", ":", "", "é", "x" * 255])
def test_an_id_is_a_plain_word(name: str) -> None:
    reason, path = refusal(lambda: parse_people(staff(id=name), DEPLOYMENT))
    assert (reason, path) == (Reason.BAD_VALUE, "/people/0/id")


@pytest.mark.parametrize(
    "key",
    [
        credential(SoftSk("ed25519", application="demo.placet.localhost", seed=b"k"), kind="webauthn"),
        credential(SoftSk("ecdsa", application="ssh:", seed=b"k")),
        credential(SoftSk("ecdsa", application="ssh:placet:other", seed=b"k")),
        credential(SoftWebAuthn(seed=b"k"), kind="sk"),
        credential(SoftSk("ecdsa", seed=b"k"), kind="webauthn"),
    ],
)
def test_a_key_of_another_kind_or_deployment(key: Any) -> None:
    reason, path = refusal(lambda: parse_people(staff(key), DEPLOYMENT))
    assert (reason, path) == (Reason.BAD_KEY, "/people/0/credentials/0/publicKey")


@pytest.mark.parametrize(
    ("member", "value", "reason"),
    [
        ("kind", "usb", Reason.BAD_VALUE),
        ("uv", "true", Reason.WRONG_TYPE),
        ("backup", "maybe", Reason.BAD_VALUE),
        ("assurance", "", Reason.BAD_VALUE),
        ("aaguid", "x" * 37, Reason.BAD_VALUE),
        ("attestation", {"sha512": "0"}, Reason.MISSING_MEMBER),
        ("notBefore", 0, Reason.WRONG_TYPE),
        ("publicKey", "x", Reason.BAD_BASE64),
        ("note", "x", Reason.UNKNOWN_MEMBER),
    ],
)
def test_a_credentials_members(member: str, value: Any, reason: Reason) -> None:
    bad = credential(SoftWebAuthn(seed=b"k"), **{member: value})
    assert refusal(lambda: parse_people(staff(bad), DEPLOYMENT))[0] is reason


def test_limits_on_numbers() -> None:
    assert (people.MAX_PEOPLE, people.MAX_CREDENTIALS, people.MAX_TERMINALS) == (10_000, 16, 1_000)
    assert (MAX_GATES, people.MAX_ORIGINS) == (1_000, 8)
    keys = [credential(SoftSk("ed25519", seed=bytes([i]))) for i in range(17)]
    assert len(parse_people(staff(*keys[:16]), DEPLOYMENT)[0].credentials) == 16
    assert refusal(lambda: parse_people(staff(*keys), DEPLOYMENT))[0] is Reason.TOO_MANY
    gates = [{"id": f"g{i}", "ledger": "l"} for i in range(1001)]
    assert len(parse_gates({"gates": gates[:1000]})) == 1000
    assert refusal(lambda: parse_gates({"gates": gates}))[0] is Reason.TOO_MANY
    crowd = [{"id": f"p{i}", "groups": [], "accounts": [], "credentials": []} for i in range(10_001)]
    assert len(parse_people({"people": crowd[:10_000]}, DEPLOYMENT)) == 10_000
    assert refusal(lambda: parse_people({"people": crowd}, DEPLOYMENT))[0] is Reason.TOO_MANY
    for field, limit in (("groups", 64), ("accounts", 16)):
        item: Any = "g" if field == "groups" else {"issuer": "i", "subject": "s"}
        many = [item if field == "groups" else item | {"subject": str(i)} for i in range(limit + 1)]
        parse_people(staff(**{field: many[:limit]}), DEPLOYMENT)
        assert (
            refusal(lambda f=field, m=many: parse_people(staff(**{f: m}), DEPLOYMENT))[0] is Reason.TOO_MANY
        )


def test_a_terminals_origins() -> None:
    value = document("terminals.json")
    many = [f"http://t1.demo.placet.localhost:{8000 + i}" for i in range(9)]
    value["terminals"][0]["origins"] = many[:8]
    assert len(parse_terminals(value, DEPLOYMENT)[0].origins) == 8
    value["terminals"][0]["origins"] = many
    assert refusal(lambda: parse_terminals(value, DEPLOYMENT))[0] is Reason.TOO_MANY
    value["terminals"][0]["origins"] = ["http://demo.placet.localhost", "https://a.b.demo.placet.localhost:1"]
    assert parse_terminals(value, DEPLOYMENT)[0].origins[1].endswith(":1")
    for bad in (
        "http://xdemo.placet.localhost",
        "http://t#.demo.placet.localhost",
        "demo.placet.localhost",
        "http://",
    ):
        value["terminals"][0]["origins"] = [bad]
        assert refusal(lambda: parse_terminals(value, DEPLOYMENT))[0] is Reason.BAD_VALUE
    assert len({t["id"] for t in value["terminals"]}) == 2


def test_a_gate_has_nothing_but_its_ledger_and_verdict_keys() -> None:
    gate = {"id": "g", "ledger": "l", "verdictKeys": []}
    assert parse_gates({"gates": [gate]})[0].ledger == "l"
    assert refusal(lambda: parse_gates({"gates": [gate | {"verdictKeys": {}}]}))[0] is Reason.WRONG_TYPE
    assert refusal(lambda: parse_gates({"gates": [gate | {"verdictKeys": ["AAAA"]}]}))[0] is Reason.BAD_KEY
    assert refusal(lambda: parse_gates({"gates": [gate | {"note": "x"}]}))[0] is Reason.UNKNOWN_MEMBER


def test_a_gate_s_key_speaks_for_one_gate_and_says_one_kind_of_thing() -> None:
    """PPL-07: a verdict's key that also logs uses, or another gate's, would let one gate speak as another."""
    keys = [
        b64encode(
            ec.derive_private_key(number, ec.SECP256R1())
            .public_key()
            .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        )
        for number in (2, 3, 4)
    ]
    one, two, three = keys

    def gates(*members: dict[str, list[str]]) -> object:
        return parse_gates(
            {"gates": [{"id": f"g{i}", "ledger": "l"} | member for i, member in enumerate(members)]}
        )

    (gate, _) = gates({"useKeys": [one, two]}, {"verdictKeys": [three]})  # type: ignore[misc]
    assert [key.digest for key in gate.use_keys] == [sha256_hex(b64decode_strict(key)) for key in (one, two)]
    assert gate.verdict_keys == ()
    for members in (
        ({"useKeys": [one]}, {"useKeys": [one]}),
        ({"useKeys": [one]}, {"verdictKeys": [one]}),
        ({"useKeys": [one], "verdictKeys": [one]},),
        ({"useKeys": [one, one]},),
    ):
        assert refusal(lambda m=members: gates(*m))[0] is Reason.DUPLICATE_VALUE
    assert refusal(lambda: gates({"useKeys": ["AAAA"]})) == (Reason.BAD_KEY, "/gates/0/useKeys/0")


def test_one_person_cannot_have_one_key_twice() -> None:
    key = credential(SoftSk("ed25519", seed=b"k"))
    assert refusal(lambda: parse_people(staff(key, key), DEPLOYMENT)) == (Reason.DUPLICATE_VALUE, "/people")
    two = staff(key)
    two["people"].append({"id": BOB, "groups": [], "accounts": [], "credentials": [key]})
    assert refusal(lambda: parse_people(two, DEPLOYMENT))[0] is Reason.DUPLICATE_VALUE


def test_plain_http_is_for_loopback_names_only() -> None:
    own = parse_deployment({"name": "demo", "rpId": "approve.example.com"})
    value = document("terminals.json")
    del value["terminals"][1]
    value["terminals"][0]["origins"] = ["https://t1.approve.example.com"]
    assert parse_terminals(value, own)[0].id == "t1"
    value["terminals"][0]["origins"] = ["http://t1.approve.example.com"]
    assert refusal(lambda: parse_terminals(value, own))[0] is Reason.BAD_VALUE

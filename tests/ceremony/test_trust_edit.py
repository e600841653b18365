"""Edits of the trust root's files: what they write compiles, and what is wrong is named."""

import pytest

from placet.ceremony import trust_edit as edit
from placet.ceremony import trust_gates as gates
from placet.core.encoding import Digest
from placet.core.errors import MalformedError, PlacetError, Reason
from placet.core.sshsig import parse_public_key
from placet.core.trust import Trust, compile_trust, parse_trust
from placet.testing.authenticator import SoftSk, SoftTerminalKey, SoftWebAuthn
from placet.testing.world import DEFAULT_POLICY, shipped_actions

NOW = 1_800_000_000


@pytest.fixture
def files() -> dict[str, bytes]:
    return edit.initial_files(
        deployment="demo", rp_id="demo.placet.localhost", actions=shipped_actions()
    ) | edit.add_person(
        edit.initial_files(deployment="demo", rp_id="demo.placet.localhost", actions={}),
        "alice@example.com",
        groups=["release", "release"],
        accounts=[("https://issuer.example", "alice")],
    )


def trust_of(files: dict[str, bytes]) -> Trust:
    return parse_trust(compile_trust(files=files, versions={"root": 1}, expires_at=NOW))


def enrol(files: dict[str, bytes], key: SoftSk | SoftWebAuthn, **more: object) -> dict[str, bytes]:
    fields = {"kind": key.kind, "uv": True, "assurance": "software", "not_before": NOW, "not_after": NOW + 9}
    public = parse_public_key(key.wire)
    return files | edit.add_credential(files, "alice@example.com", key=public, **(fields | more))  # type: ignore[arg-type]


def test_a_trust_root_from_nothing(files: dict[str, bytes]) -> None:
    web, sk, terminal = SoftWebAuthn(), SoftSk("ed25519"), SoftTerminalKey()
    files = enrol(enrol(files, web), sk, assurance="vouched", uv=False, aaguid="aa")
    files |= edit.add_terminal(files, "t1", key=parse_public_key(terminal.wire))
    files |= gates.add_gate(files, "prod-eu", ledger="ledger-1")
    files |= edit.set_policy(files, "default", DEFAULT_POLICY.encode())
    governed = ["k8s://**", "host://**", "pkg:*", "pkg:**"]
    files |= edit.set_policy(files, "payments", DEFAULT_POLICY.encode(), targets=governed)
    trust = trust_of(files)
    (alice,) = trust.people
    assert alice.groups == ("release",)
    assert [c.kind for c in alice.credentials] == ["webauthn", "sk"]
    assert (alice.credentials[1].uv, alice.credentials[1].aaguid) == (False, "aa")
    assert trust.origins == {"http://t1.demo.placet.localhost:8470"}
    assert trust.gates["prod-eu"].ledger == "ledger-1"
    assert trust.scopes == {"default": ("**",), "payments": tuple(governed)}
    assert len(trust.rules) == 6
    short = [
        f"policy/{s}.toml asks for 2 of group:release, and there is only 1 so far." for s in trust.scopes
    ]
    assert edit.find_policy_gaps(files) == tuple(short)
    files |= edit.add_person(files, "zoe@example.com", groups=["release"])
    assert edit.find_policy_gaps(files) == ()


def test_a_rule_outside_of_its_scope_is_refused_with_its_line(files: dict[str, bytes]) -> None:
    """A rule matches only inside its own scope, whoever signed it; nobody is to sign one that reaches out."""
    with pytest.raises(
        MalformedError, match=r"starts at line 2: the target host://\*\* reaches out"
    ) as error:
        edit.set_policy(files, "payments", DEFAULT_POLICY.encode(), targets=["k8s://**"])
    assert "set-scope payments" in error.value.hint
    inside = DEFAULT_POLICY[DEFAULT_POLICY.index("[[rule]]", 10) : DEFAULT_POLICY.rindex("[[rule]]")]
    files |= edit.set_policy(files, "payments", inside.encode(), targets=["k8s://**"])
    with pytest.raises(MalformedError, match="reaches out"):
        edit.set_policy(files, "payments", inside.encode(), targets=["k8s://pay/**"])
    assert edit.set_policy(files, "payments", inside.encode()).keys() == {"policy/payments.toml"}


def test_names_are_taken_once(files: dict[str, bytes]) -> None:
    terminal = parse_public_key(SoftTerminalKey().wire)
    files |= edit.add_terminal(files, "t1", key=terminal)
    files |= gates.add_gate(files, "prod-eu", ledger="x")
    for again in (
        lambda: edit.add_person(files, "alice@example.com", groups=[]),
        lambda: edit.add_terminal(files, "t1", key=parse_public_key(SoftTerminalKey().wire)),
        lambda: edit.add_terminal(files, "t2", key=terminal),
        lambda: gates.add_gate(files, "prod-eu", ledger="x"),
    ):
        with pytest.raises(MalformedError) as error:
            again()
        assert error.value.reason is Reason.DUPLICATE_VALUE


def test_one_key_is_one_person_s(files: dict[str, bytes]) -> None:
    key = SoftSk()
    files = enrol(files, key)
    with pytest.raises(MalformedError) as error:
        enrol(files, key)
    assert error.value.reason is Reason.DUPLICATE_VALUE


def test_wrong_keys_and_names(files: dict[str, bytes]) -> None:
    approver, terminal = parse_public_key(SoftSk().wire), parse_public_key(SoftTerminalKey().wire)
    wrong = [
        lambda: edit.add_terminal(files, "t1", key=approver),
        lambda: edit.add_terminal(files, "t1", key=terminal, origins=["http://localhost:8470"]),
        lambda: edit.add_terminal(files, "t1", key=terminal, origins=["http://t1.other.example"]),
        lambda: edit.add_person(files, "a b", groups=[]),
        lambda: edit.add_person(files, "b", groups=["\u202e"]),
        lambda: edit.initial_files(deployment="demo", rp_id="localhost", actions={}),
        lambda: edit.initial_files(deployment="De mo", rp_id="demo.placet.localhost", actions={}),
        lambda: enrol(files, SoftSk(application="ssh:placet:other")),
        lambda: enrol(files, SoftSk(), kind="webauthn"),
        lambda: enrol(files, SoftWebAuthn(rp_id="login.example.com")),
    ]
    for make in wrong:
        with pytest.raises(MalformedError):
            make()


def test_an_unknown_person_is_named_with_those_who_are_known(files: dict[str, bytes]) -> None:
    key = parse_public_key(SoftSk().wire)
    with pytest.raises(MalformedError, match=r"no person carol.*knows: alice@example\.com") as error:
        edit.add_credential(
            files, "carol", key=key, kind="sk", uv=True, assurance="software", not_before=0, not_after=1
        )
    assert "add-person carol" in error.value.hint


def test_attested_comes_with_what_the_authenticator_said_and_only_then(files: dict[str, bytes]) -> None:
    for assurance, digest in (("attested", None), ("vouched", Digest("ab" * 32))):
        with pytest.raises(MalformedError, match="what its authenticator said"):
            enrol(files, SoftSk(), assurance=assurance, attestation=digest)
    made = enrol(files, SoftSk(), assurance="attested", attestation=Digest("ab" * 32), aaguid="aa")
    assert b'"attestation"' in made["people.json"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("level = 1", "level = 9", "line 10"),
        ("threshold = 2", "threshold = 0", "line 10"),
        ('"1h"', '"soon"', "line 10"),
        ("level = 1", "levle = 1", "line 10"),
        ("level = 1", "level = ", r"at line 13, column"),
    ],
)
def test_a_malformed_policy_is_refused_with_its_line(
    files: dict[str, bytes], old: str, new: str, message: str
) -> None:
    first, second = DEFAULT_POLICY.split("\n\n[[rule]]", 1)
    policy = f"{first}\n\n[[rule]]{second.replace(old, new, 1)}"
    with pytest.raises(MalformedError, match=message) as error:
        edit.set_policy(files, "default", policy.encode())
    assert "policy/default.toml" in str(error.value)


def test_a_policy_that_is_no_policy(files: dict[str, bytes]) -> None:
    for data in (b"", b"\xff", b"rule = 3", b"x = 1", b"[[rule]]\n" * 2000):
        with pytest.raises(PlacetError):
            edit.set_policy(files, "default", data)


def test_a_new_scope_says_what_it_governs(files: dict[str, bytes]) -> None:
    with pytest.raises(MalformedError, match="which targets"):
        edit.set_policy(files, "payments", DEFAULT_POLICY.encode())


def test_rules_that_nobody_could_satisfy_are_pointed_out(files: dict[str, bytes]) -> None:
    policy = DEFAULT_POLICY.replace("group:release", "group:zoo")
    files |= edit.set_policy(files, "default", policy.encode())
    del files["actions/run/v1.json"]
    gaps = edit.find_policy_gaps(files)
    assert any("actions/run/v1" in gap for gap in gaps)
    assert any("counts on group:zoo" in gap for gap in gaps)
    assert any("asks for 2 of group:zoo, and there is only 0 so far" in gap for gap in gaps)


def test_a_rule_for_an_action_that_there_is_not_is_refused(files: dict[str, bytes]) -> None:
    for wrong in ("run", "https://placet.dev/actions/runn/v1"):
        policy = DEFAULT_POLICY.replace("https://placet.dev/actions/run/v1", wrong)
        with pytest.raises(MalformedError, match="no action of the trust root") as error:
            edit.set_policy(files, "default", policy.encode(), shown_as="mine.toml")
        assert "mine.toml" in str(error.value)
        assert error.value.hint == "Did you mean https://placet.dev/actions/run/v1?"


def test_what_is_there_twice_says_how_to_change_it(files: dict[str, bytes]) -> None:
    files |= gates.add_gate(files, "prod-eu", ledger="l")
    with pytest.raises(MalformedError, match="already has a gate prod-eu") as error:
        gates.add_gate(files, "prod-eu", ledger="l")
    assert error.value.hint == "To give it another ledger: placet trust set-gate prod-eu --ledger NAME"
    key = parse_public_key(SoftTerminalKey().wire)
    files |= edit.add_terminal(files, "t1", key=key)
    with pytest.raises(MalformedError, match="already has a terminal t1") as error:
        edit.add_terminal(files, "t1", key=key)
    assert error.value.hint == "To take it out: placet trust revoke terminal t1"


def test_a_gate_gets_another_ledger_and_no_other_gate_does(files: dict[str, bytes]) -> None:
    files |= gates.add_gate(files, "prod-eu", ledger="l1")
    files |= gates.add_gate(files, "prod-us", ledger="l2")
    after = trust_of(files | gates.set_gate(files, "prod-eu", ledger="placet-ledger:01"))
    assert {name: gate.ledger for name, gate in after.gates.items()} == {
        "prod-eu": "placet-ledger:01",
        "prod-us": "l2",
    }
    with pytest.raises(MalformedError, match=r"no gate prod-asia\. It knows: prod-eu, prod-us") as error:
        gates.set_gate(files, "prod-asia", ledger="l3")
    assert error.value.hint == "Add it: placet trust add-gate prod-asia --ledger l3"


@pytest.mark.parametrize("gate", ["", "prod eu", "Prod", "prod_eu", "prod/eu"])
def test_a_gate_s_id_is_easy_to_type(files: dict[str, bytes], gate: str) -> None:
    with pytest.raises(MalformedError, match="lower-case letters"):
        gates.add_gate(files, gate, ledger="l")

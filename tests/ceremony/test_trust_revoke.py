"""Taking out of the trust root, and what is said to follow from it."""

import json

import pytest

from placet.ceremony import trust_revoke as revoke
from placet.ceremony.trust_consequences import find_consequences
from placet.ceremony.trust_edit import add_person
from placet.core.errors import MalformedError
from placet.core.people import parse_people
from placet.core.trust import Trust, compile_trust, parse_trust
from placet.documents.issuers import PRESETS
from placet.testing.world import ALICE, BOB, CAROL, GATE, NOW, World

RULES = """
[[rule]]
action = "https://placet.dev/actions/run/v1"
target = "host://**"
level = {level}
quorum = {quorum}
exclude_requester = {exclude}
"""


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def files(world: World) -> dict[str, bytes]:
    return dict(world.files())


def trust(files: dict[str, bytes]) -> Trust:
    return parse_trust(compile_trust(files=files, versions={"root": 1}, expires_at=NOW))


def with_rule(
    files: dict[str, bytes], quorum: str, *, level: int = 1, exclude: str = "false"
) -> dict[str, bytes]:
    rule = RULES.format(level=level, quorum=quorum, exclude=exclude)
    return {name: data for name, data in files.items() if not name.startswith("policy/")} | {
        "policy/default.toml": rule.encode(),
        "scopes.json": b'{"scopes":{"default":["**"]}}',
    }


# -- what goes


def test_a_person_goes_with_all_their_keys(files: dict[str, bytes]) -> None:
    after = trust(files | revoke.remove_person(files, ALICE))
    assert ALICE not in {person.id for person in after.people}
    assert ALICE not in {person.id for person, _ in after.credentials.values()}
    assert BOB in {person.id for person in after.people}


def test_one_key_goes_and_the_person_stays(files: dict[str, bytes]) -> None:
    (credential, *rest) = next(p for p in trust(files).people if p.id == ALICE).credentials
    key = revoke.find_key(files, credential.keyid)
    after = next(p for p in trust(files | revoke.remove_key(files, key)).people if p.id == ALICE)
    assert after.credentials == tuple(rest)


def test_a_key_is_found_by_its_digits_and_by_openssh_s_fingerprint(files: dict[str, bytes]) -> None:
    import base64

    credential = next(p for p in trust(files).people if p.id == BOB).credentials[0]
    openssh = "SHA256:" + base64.b64encode(bytes.fromhex(credential.keyid)).decode().rstrip("=")
    spaced = " ".join(credential.keyid[i : i + 4] for i in range(0, 64, 4))
    for named in (credential.keyid, credential.keyid[:8], credential.keyid[:12].upper(), spaced, openssh):
        assert revoke.find_key(files, named) == (BOB, credential.keyid)
        assert revoke.find_key(files, named, person=BOB).person == BOB
    with pytest.raises(MalformedError, match=f"{ALICE} has no key"):
        revoke.find_key(files, credential.keyid, person=ALICE)
    for wrong in ("", credential.keyid[:7], "not hexadecimal", "SHA256:!", "f" * 65):
        with pytest.raises(MalformedError):
            revoke.find_key(files, wrong)


def test_digits_that_begin_two_keys_name_neither(files: dict[str, bytes]) -> None:
    value = json.loads(files["people.json"])
    first, second = (value["people"][i]["credentials"][0] for i in (0, 1))
    second["keyid"] = first["keyid"][:10] + second["keyid"][10:]
    made = files | {"people.json": json.dumps(value).encode()}
    with pytest.raises(MalformedError, match="2 keys that begin with") as error:
        revoke.find_key(made, first["keyid"][:10])
    assert ALICE in error.value.hint
    assert revoke.find_key(made, first["keyid"][:12]).person == ALICE


def test_groups_and_accounts_change_and_nothing_else(files: dict[str, bytes]) -> None:
    changed = files | revoke.edit_person(
        files, ALICE, add_groups=["ops", "ops"], add_accounts=[("https://issuer.example", "alice")]
    )
    before, after = (next(p for p in trust(f).people if p.id == ALICE) for f in (files, changed))
    assert after.groups == (*before.groups, "ops")
    assert after.accounts[-1] == ("https://issuer.example", "alice")
    assert after.credentials == before.credentials
    again = changed | revoke.edit_person(
        changed, ALICE, remove_groups=["ops"], remove_accounts=[("https://issuer.example", "alice")]
    )
    assert next(p for p in trust(again).people if p.id == ALICE) == before


def test_what_is_not_there_is_named_with_what_is(files: dict[str, bytes]) -> None:
    for change, known in (
        (lambda: revoke.remove_person(files, "zoe@example.com"), ALICE),
        (lambda: revoke.remove_terminal(files, "kiosk"), "It knows:"),
        (lambda: revoke.remove_gate(files, "prod-moon"), GATE),
        (lambda: revoke.remove_policy(files, "nope"), "It knows:"),
        (lambda: revoke.edit_person(files, ALICE, remove_groups=["nope"]), "placet trust show"),
        (lambda: revoke.edit_person(files, ALICE, remove_accounts=[("https://a", "b")]), "placet trust show"),
    ):
        with pytest.raises(MalformedError) as error:
            change()
        assert known in error.value.hint


def test_a_terminal_and_a_gate_go(files: dict[str, bytes]) -> None:
    terminal = next(iter(trust(files).terminals.values())).id
    after = trust(files | revoke.remove_terminal(files, terminal) | revoke.remove_gate(files, GATE))
    assert terminal not in {item.id for item in after.terminals.values()}
    assert GATE not in after.gates


def test_a_scope_goes_with_its_rules(files: dict[str, bytes]) -> None:
    (scope, *_) = trust(files).scopes
    changes, removals = revoke.remove_policy(files, scope)
    after = {name: data for name, data in (files | changes).items() if name not in removals}
    assert removals == (f"policy/{scope}.toml",)
    assert scope not in trust(after).scopes


# -- what follows


def test_a_rule_that_can_no_longer_be_satisfied_is_said(files: dict[str, bytes]) -> None:
    files = with_rule(files, '{ threshold = 2, of = ["group:release"] }')
    one = files | revoke.remove_person(files, ALICE)
    left = {person.id for person in trust(one).people if "release" in person.groups}
    assert len(left) == 2, "the world has three people who release"
    assert not [said for said in find_consequences(files, one, now=NOW) if "The rule" in said]
    two = one | revoke.remove_person(one, BOB)
    (said, *_) = find_consequences(one, two, now=NOW)
    assert said == (
        "The rule in policy/default.toml for https://placet.dev/actions/run/v1 on host://** needs 2 of "
        "group:release; only 1 person with a key is left."
    )
    # It is said once: what was so already is no consequence of the next change.
    three = two | revoke.remove_gate(two, GATE)
    assert not [said for said in find_consequences(two, three, now=NOW) if "The rule" in said]


def test_a_key_that_has_ended_or_is_software_does_not_count_where_it_would_not(world: World) -> None:
    files = with_rule(dict(world.files()), '{ threshold = 3, of = ["group:release"] }', level=2)
    gone = files | revoke.remove_person(files, ALICE)
    assert not [s for s in find_consequences(files, gone, now=NOW) if "The rule" in s], "software never could"
    files = with_rule(dict(world.files()), '{ threshold = 3, of = ["group:release"] }')
    after = files | revoke.remove_person(files, CAROL)
    assert [s for s in find_consequences(files, after, now=NOW) if "only 2 people with a key are left" in s]
    much_later = NOW + 50 * 365 * 86_400
    assert not [s for s in find_consequences(files, after, now=much_later) if "The rule" in s]


def test_who_is_left_and_cannot_both_ask_and_approve_is_said(files: dict[str, bytes]) -> None:
    files = with_rule(files, '{ threshold = 2, of = ["group:release"] }', exclude="true")
    (said, *_) = find_consequences(files, files | revoke.remove_person(files, ALICE), now=NOW)
    assert "none of them can ask and have it approved" in said


def test_open_requests_and_rules_that_go_are_said(files: dict[str, bytes]) -> None:
    terminal = next(iter(trust(files).terminals.values())).id
    (scope, *_) = trust(files).scopes
    changes, removals = revoke.remove_policy(files, scope)
    for after, said in (
        (files | revoke.remove_person(files, CAROL), "Approvals by a key that goes"),
        (files | revoke.remove_terminal(files, terminal), f"approved on the terminal {terminal}"),
        (files | revoke.remove_gate(files, GATE), f"Requests for the gate {GATE}"),
        ({n: d for n, d in (files | changes).items() if n not in removals}, "has no rules any more"),
    ):
        assert said in "\n".join(find_consequences(files, after, now=NOW))
    assert find_consequences(files, files, now=NOW) == ()


def test_nothing_follows_from_what_only_adds(files: dict[str, bytes]) -> None:
    after = files | revoke.edit_person(files, ALICE, add_groups=["ops"])
    assert find_consequences(files, after, now=NOW) == ()
    assert parse_people(json.loads(after["people.json"]), trust(files).deployment)


def test_an_account_is_at_an_issuer_that_tokens_can_name(files: dict[str, bytes]) -> None:
    """The short name of `add-issuer` means the same here; kept as it is typed, it would fit no token."""
    added = files | revoke.edit_person(files, ALICE, add_accounts=[("github", "123456")])
    address = PRESETS["github"].issuer
    assert next(p for p in trust(added).people if p.id == ALICE).accounts[-1] == (address, "123456")
    again = trust(added | revoke.edit_person(added, ALICE, remove_accounts=[("github", "123456")]))
    assert again.people == trust(files).people
    zoe = add_person(files, "zoe@example.com", groups=["release"], accounts=[("gitlab", "7")])
    assert trust(files | zoe).people[-1].accounts == (("https://gitlab.com", "7"),)
    for wrong in ("http://issuer.example", "GitHub", "issuer.example"):
        with pytest.raises(MalformedError, match="https address") as error:
            revoke.edit_person(files, ALICE, add_accounts=[(wrong, "1")])
        assert "github, gitlab" in error.value.hint
        with pytest.raises(MalformedError, match="https address"):
            add_person(files, "zoe@example.com", groups=[], accounts=[(wrong, "1")])


def test_an_account_that_an_earlier_version_took_as_it_was_typed_can_go(files: dict[str, bytes]) -> None:
    value = json.loads(files["people.json"])
    (alice,) = (p for p in value["people"] if p["id"] == ALICE)
    alice["accounts"].append({"issuer": "github", "subject": "123456"})
    made = files | {"people.json": json.dumps(value).encode()}
    after = trust(made | revoke.edit_person(made, ALICE, remove_accounts=[("github", "123456")]))
    assert next(p for p in after.people if p.id == ALICE).accounts == trust(files).people[0].accounts

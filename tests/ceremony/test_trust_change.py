"""What administrators are shown: complete, in words, with nothing hidden."""

import base64
import hashlib
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from placet.ceremony.models import put_models
from placet.ceremony.trust_change import (
    Change,
    change_lines,
    group_digits,
    root_diff,
    semantic_diff,
    split_facts,
    title_of,
    titles,
)
from placet.core.errors import MalformedError
from placet.documents.models import Model
from placet.testing.authenticator import SoftWebAuthn
from placet.testing.world import ALICE, DEFAULT_POLICY, World


def edited(files: dict[str, bytes], name: str, old: str, new: str) -> dict[str, bytes]:
    text = files[name].decode()
    assert old in text
    return files | {name: text.replace(old, new).encode()}


def test_nothing_changes() -> None:
    files = World().files()
    assert semantic_diff(files, files) == ()
    assert change_lines(()) == []


def test_a_first_draft_shows_everything_as_new() -> None:
    changes = semantic_diff({}, World().files())
    assert all(change.before == "" for change in changes)
    kinds = {change.kind for change in changes}
    assert kinds == {"deployment", "person", "key of", "terminal", "gate", "rule", "scope", "action"}


# A point of P-256, as DER SubjectPublicKeyInfo.
VERDICT_KEY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEjlM7b6C/e0YluzBmfAH7YH75+LioD+9bMAYocDGHsqNz6x294DMYNm0Gn4Om9ZAA"
    "U8c2M8sEGyHFXhqGwfQAtA=="
)


def test_a_gates_verdict_key_is_shown_by_its_digest() -> None:
    old = World().files() | {"gates.json": b'{"gates":[{"id":"prod-eu","ledger":"l"}]}'}
    gate = {"id": "prod-eu", "ledger": "l", "verdictKeys": [VERDICT_KEY]}
    (row,) = semantic_diff(old, old | {"gates.json": json.dumps({"gates": [gate]}).encode()})
    assert row.before == "ledger l; verdict keys none"
    digest = hashlib.sha256(base64.b64decode(VERDICT_KEY)).hexdigest()
    assert row.after == f"ledger l; verdict keys {group_digits(digest)}"
    uses = {"id": "prod-eu", "ledger": "l", "useKeys": [VERDICT_KEY]}
    (row,) = semantic_diff(old, old | {"gates.json": json.dumps({"gates": [uses]}).encode()})
    assert row.after == f"ledger l; verdict keys none; keys that log its uses {group_digits(digest)}"


def test_a_new_key_of_a_person_is_shown_with_its_fingerprint() -> None:
    world = World()
    old = world.files()
    world.keys[ALICE] = SoftWebAuthn()
    (added, removed) = semantic_diff(old, world.files())
    assert added.name == f"{ALICE}, {group_digits(world.keys[ALICE].keyid)}"
    assert "software" in added.after
    assert (added.before, removed.after) == ("", "")


def test_every_member_of_every_document_is_shown() -> None:
    """Changing any leaf of any file changes what is shown."""
    world = World()
    world.credential_members[ALICE] = {"aaguid": "model", "attestation": {"sha256": "ab" * 32}}
    files = world.files()
    account = b'"accounts":[{"issuer":"https://issuer.example","subject":"alice"}]'
    files["people.json"] = files["people.json"].replace(b'"accounts":[]', account, 1)
    gate = {"id": "prod-eu", "ledger": "l", "verdictKeys": [VERDICT_KEY]}
    files["gates.json"] = json.dumps({"gates": [gate]}).encode()
    seen = 0
    for name in sorted(files):
        if not name.endswith(".json") or name.startswith("actions/"):
            continue
        for pointer in leaves(json.loads(files[name])):
            changed = change_leaf(json.loads(files[name]), pointer)
            try:
                rows = semantic_diff(files, files | {name: json.dumps(changed).encode()})
            except MalformedError:
                continue  # not signable at all
            assert rows, (name, pointer)
            assert any(row.kind != "file" for row in rows), (name, pointer)
            seen += 1
    assert seen > 30, seen


def leaves(value: object, at: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in leaves(item, (*at, key))]
    if isinstance(value, list):
        return [leaf for i, item in enumerate(value) for leaf in leaves(item, (*at, i))]
    return [at]


def change_leaf(value: object, pointer: tuple[str | int, ...]) -> object:
    holder = value
    for step in pointer[:-1]:
        holder = holder[step]  # type: ignore[index]
    leaf = holder[pointer[-1]]  # type: ignore[index]
    choices = {"forbid": "allow", "software": "vouched"}
    if isinstance(leaf, bool):
        changed: object = not leaf
    elif leaf in choices:
        changed = choices[leaf]
    elif len(leaf) == 64:
        changed = "0" + leaf[1:]
    elif leaf.endswith("Z"):
        changed = leaf.replace("T10", "T11")
    else:
        changed = leaf + "x"
    holder[pointer[-1]] = changed  # type: ignore[index]
    return value


SIGNER = f'signers = [{{ key = "{"c" * 64}" }}]'


@pytest.mark.parametrize(
    ("old", "new", "shown"),
    [
        ("level = 1", "level = 2", "level 2"),
        ("threshold = 2", "threshold = 3", "3 of group:release"),
        ("exclude_requester = false", "exclude_requester = true", "the requester does not count"),
        ('max_window = "1h"', 'max_window = "2d"', "2 days"),
        ('max_window = "1h"', 'max_window = "1h"\ndistinct_terminals = true', "another terminal"),
        ('max_window = "1h"', f'max_window = "1h"\nevidence = [{{ kind = "sbom", {SIGNER} }}]', "c" * 64),
        ('max_window = "1h"', 'max_window = "1h"\nlayout = "layouts/app.layout"', "layouts/app.layout"),
        ('["group:release"]', '["group:release", "person:dana"]', "person:dana"),
        ('max_window = "1h"', 'max_window = "1h"\nuses = "queued"', "USES MAY BE LOGGED LATER"),
    ],
)
def test_every_part_of_a_rule_is_shown(old: str, new: str, shown: str) -> None:
    files = World().files()
    changes = semantic_diff(files, edited(files, "policy/default.toml", old, new))
    assert len(changes) == 3
    assert all(shown in change.after and shown not in change.before for change in changes)


def test_a_rule_that_moves_to_another_target_is_one_gone_and_one_new() -> None:
    files = World().files()
    changes = semantic_diff(files, edited(files, "policy/default.toml", '"host://**"', '"host://a/**"'))
    assert [bool(change.before) for change in changes] == [False, True]


def test_two_rules_about_the_same_are_both_shown() -> None:
    files = World().files()
    changes = semantic_diff(files, files | {"policy/default.toml": (DEFAULT_POLICY * 2).encode()})
    assert len(changes) == 3
    assert all("(2)" in change.name for change in changes)


def test_a_file_whose_meaning_stays_is_still_listed() -> None:
    files = World().files()
    changed = files | {"policy/default.toml": b"# a comment\n" + files["policy/default.toml"]}
    (change,) = semantic_diff(files, changed)
    assert (change.kind, change.name) == ("file", "policy/default.toml")
    assert "meaning the same" in change.after


def test_what_is_not_understood_is_shown_by_its_digest() -> None:
    files = World().files()
    (change,) = semantic_diff(files, files | {"layouts/release.json": b"{}"})
    assert (change.kind, change.before) == ("file", "")
    assert change.after.startswith("SHA-256 4413 6fa3")


def test_hidden_text_cannot_reach_the_screen() -> None:
    files = World().files()
    hostile = files | {"layouts/\u202ea\n.json": b"{}"}
    text = "".join(change_lines(semantic_diff(files, hostile)))
    assert text.isascii()
    assert text.isprintable()
    assert "\\u202e" in text


@pytest.mark.parametrize("option", ['note = "x"', 'predicate_type = "\u202eevil\\u001b[2K"'])
def test_options_that_no_verifier_reads_are_refused_before_they_are_shown(option: str) -> None:
    files = World().files()
    evidence = f'max_window = "1h"\nevidence = [{{ kind = "attestation", {SIGNER}, {option} }}]'
    policy = DEFAULT_POLICY.replace('max_window = "1h"', evidence, 1)
    with pytest.raises(MalformedError) as caught:
        semantic_diff(files, files | {"policy/default.toml": policy.encode()})
    assert str(caught.value).isascii() and str(caught.value).isprintable()


def test_a_draft_that_is_malformed_cannot_be_shown_and_so_not_signed() -> None:
    files = World().files()
    with pytest.raises(MalformedError):
        semantic_diff(files, files | {"people.json": b'{"people":[{}]}'})
    with pytest.raises(MalformedError):
        semantic_diff(files, {name: data for name, data in files.items() if name != "deployment.json"})


ROOT = {
    "_type": "root",
    "expires": "2027-01-01T00:00:00Z",
    "keys": {
        "ab" * 32: {
            "keytype": "ssh",
            "scheme": "sk",
            "keyval": {"public": "AA"},
            "person": "anna",
            "uv": True,
        },
        "cd" * 32: {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": "00"}},
    },
    "roles": {
        "root": {"keyids": ["ab" * 32], "threshold": 1},
        "timestamp": {"keyids": ["cd" * 32], "threshold": 1},
    },
    "version": 1,
}


def test_a_root_shows_administrators_thresholds_and_expiry() -> None:
    old = json.dumps(ROOT).encode()
    assert {change.kind for change in root_diff(None, old)} == {
        "root",
        "signatures for",
        "administrator",
        "online key",
    }
    assert root_diff(old, old) == ()
    for change, kind in [
        (("expires",), "root"),
        (("roles", "root", "threshold"), "signatures for"),
        (("keys", "ab" * 32, "uv"), "administrator"),
        (("keys", "ab" * 32, "person"), "administrator"),
    ]:
        new = json.loads(old)
        holder = new
        for step in change[:-1]:
            holder = holder[step]
        holder[change[-1]] = {"expires": "2028", "threshold": 2, "uv": False, "person": "mallory"}[change[-1]]
        rows = root_diff(old, json.dumps(new).encode())
        assert kind in {row.kind for row in rows}
    with pytest.raises(MalformedError):
        root_diff(None, b'{"roles":[]}')


def test_rows_say_what_is_new_gone_and_different() -> None:
    rows = (Change("gate", "a", "", "x"), Change("gate", "b", "x", ""), Change("gate", "c", "x", "y"))
    assert [line[0] for line in change_lines(rows) if line[0] != " "] == ["+", "-", "~"]


def test_models_and_issuers_are_shown_by_what_they_mean() -> None:
    files = World().files()
    model = Model("a0a0a0a0-0000-4000-8000-000000000007", (), 'x"; REVOKED; "', "allowed", (b"root",))
    issuer = {
        "issuer": "https://issuer.example",
        "personClaim": "sub",
        "algorithms": ["RS256"],
        "claims": {"repository": "o'x; y"},
        "keys": "fetch",
    }
    issuers = json.dumps({"issuers": [issuer]}).encode()
    changes = semantic_diff(files, files | put_models(files, [model]) | {"issuers.json": issuers})
    assert {change.kind for change in changes} == {"authenticator model", "issuer"}
    (shown,) = (change for change in changes if change.kind == "authenticator model")
    # A vendor's words make no fact of their own.
    assert split_facts(shown.after)[:2] == ("ALLOWED", '"x\\"; REVOKED; \\""')
    (shown,) = (change for change in changes if change.kind == "issuer")
    assert any("o'x; y" in fact for fact in split_facts(shown.after))
    assert "keys fetched at each refresh" in split_facts(shown.after)


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("", ()),
        ("level 1", ("level 1",)),
        ("level 1; 2 of group:release", ("level 1", "2 of group:release")),
        ('groups "a; b", c; accounts none', ('groups "a; b", c', "accounts none")),
        ('say "a\\"; b"; c', ('say "a\\"; b"', "c")),
        ("used on a terminal's page; valid", ("used on a terminal's page", "valid")),
        ("claim 'a; b'; c", ("claim 'a; b'", "c")),
        ('open "; c', ('open "; c',)),
    ],
)
def test_facts_end_at_semicolons_and_not_inside_a_value(text: str, facts: tuple[str, ...]) -> None:
    assert split_facts(text) == facts


@given(st.lists(st.text(max_size=20), max_size=4))
@example(["", "'"])
def test_a_value_never_makes_a_fact(values: list[str]) -> None:
    """Whatever groups are called, the row about them has the same number of facts."""
    world = World()
    names = [f"{value}g{n}" if n % 2 else f"g{n}{value}" for n, value in enumerate(values)]
    try:
        world.groups[ALICE] = names
        changes = semantic_diff({}, world.files())
    except MalformedError:
        return
    (person,) = (change for change in changes if (change.kind, change.name) == ("person", ALICE))
    assert len(split_facts(person.after)) == 2


def test_every_kind_of_row_has_a_heading() -> None:
    files = World().files()
    for change in semantic_diff({}, files):
        assert title_of(change.kind) in titles()
    assert title_of("something new") == titles()[-1] == "Everything else"

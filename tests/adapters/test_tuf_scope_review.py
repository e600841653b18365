"""What owners and administrators are shown before they sign."""

import json
import shutil
from pathlib import Path
from typing import Any, cast

import pytest
from scope_world import (
    DEPLOY,
    FILE,
    OLGA,
    PAY,
    PIA,
    ROLE,
    RUTH,
    ScopeWorld,
    refused,
    rules,
)
from tuf.api.metadata import (
    Targets,
)
from tuf_trust_world import ANNA, BEN, CLEO

from placet.adapters.fido.attestation import FidoAttestationVerifier
from placet.adapters.tuf.chain import published_side, verify_published
from placet.adapters.tuf.delegations import read_delegations
from placet.adapters.tuf.owners import renew_scope, undelegate
from placet.adapters.tuf.publish import publish
from placet.adapters.tuf.repository import TrustRepository
from placet.adapters.tuf.review import review
from placet.adapters.tuf.trust import encode_signed, parse_signed
from placet.ceremony.trust_change import group_digits
from placet.ceremony.trust_scopes import delegation_diff
from placet.core.encoding import encode_canonical
from placet.core.errors import PlacetError, Reason
from placet.terminal.trust_session import TrustSession


@pytest.fixture
def trust(tmp_path: Path) -> ScopeWorld:
    return ScopeWorld(tmp_path)


def rows(trust: ScopeWorld, person: str | None) -> list[str]:
    session = TrustSession(
        trust.repository, person, anchors=trust.anchors, verifier=FidoAttestationVerifier(), now=trust.now
    )
    return [f"{c.kind} {c.name}: {c.before} -> {c.after}" for c in session.changes()]


def roles(trust: ScopeWorld, person: str) -> list[str]:
    return [item.role for item in trust.review(person=person).pending]


def test_an_owner_sees_and_signs_their_own_rules_alone(trust: ScopeWorld) -> None:
    trust.begin()
    trust.stage_rules(rules(threshold=3))
    trust.repository.stage({"policy/default.toml": rules(target="**")}, now=trust.now)
    assert (roles(trust, OLGA), roles(trust, ANNA)) == ([ROLE], ["targets"])
    theirs = rows(trust, OLGA)
    assert len(theirs) == 1
    assert "rule in payments" in theirs[0]
    assert "1 of group:release" in theirs[0].split("->")[0]
    assert "3 of group:release" in theirs[0].split("->")[1]
    assert not any("in payments" in row for row in rows(trust, ANNA))
    assert rows(trust, None) == [*rows(trust, ANNA), *theirs]
    shown = trust.review(person=OLGA)
    assert f"{ROLE} 1" in shown.compared_with[0]
    assert trust.session(OLGA).sign(trust.keys[OLGA]) == (ROLE,)
    with refused(Reason.UNKNOWN_KEY):
        trust.session(CLEO).sign(trust.keys[PIA])


def test_administrators_see_who_owns_what_by_person_and_fingerprint(trust: ScopeWorld) -> None:
    trust.delegate(OLGA, PIA, RUTH)
    trust.sign_all()
    shown = rows(trust, ANNA)
    (row,) = (row for row in shown if row.startswith("delegation"))
    assert row == (
        f"delegation {ROLE}:  -> 2 of 3 owners sign {FILE} from then on, without the administrators; and "
        "nothing else"
    )
    trust.publish()
    trust.delegate(PIA, RUTH, threshold=1)
    lines = delegation_lines(trust)
    assert [line.split(" -> ")[1][:4] for line in lines if line.startswith("delegation")] == ["1 of"]
    (gone,) = (line for line in lines if line.endswith("-> "))
    assert gone.startswith(f"owner of {ROLE}: {OLGA} {group_digits(trust.keys[OLGA].keyid)}")


def delegation_lines(trust: ScopeWorld) -> list[str]:
    shown = trust.review(person=ANNA)
    assert shown.new_targets is not None
    changes = delegation_diff(shown.old_targets, shown.new_targets)
    return [f"{c.kind} {c.name}: {c.before} -> {c.after}" for c in changes]


def test_every_member_of_a_delegation_is_shown(trust: ScopeWorld) -> None:
    """Changing anything in it changes what is shown, or is refused."""
    trust.begin()
    targets = trust.repository.published_targets()
    assert targets is not None
    old = encode_signed(targets)
    value = json.loads(old)["delegations"]
    seen = 0
    for pointer in leaves(value):
        changed = json.loads(old)
        change_leaf(changed["delegations"], pointer)
        new = encode_canonical(changed)
        try:
            read_delegations(cast(Targets, parse_signed(new, "targets")))
        except PlacetError:
            continue  # not signable at all
        assert delegation_diff(old, new), pointer
        seen += 1
    assert seen > 5, seen


def leaves(value: Any, at: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [leaf for key, item in items for leaf in leaves(item, (*at, key))]
    return found or [at]


def change_leaf(value: Any, pointer: tuple[str | int, ...]) -> None:
    for step in pointer[:-1]:
        value = value[step]
    leaf = value[pointer[-1]]
    value[pointer[-1]] = {bool: lambda x: not x, int: lambda x: x - 1, list: lambda x: ["x"]}.get(
        type(leaf), lambda x: f"{x}x"
    )(leaf)


def test_owners_sign_nothing_that_would_not_be_shown(trust: ScopeWorld) -> None:
    trust.begin()
    for change in (
        lambda t: t.unrecognized_fields.__setitem__("more", 1),
        lambda t: t.targets[FILE].unrecognized_fields.__setitem__("custom", {"more": 1}),
        lambda t: t.targets.clear(),
    ):
        renew_scope(trust.repository, PAY, now=trust.now)
        targets = trust.repository.current_targets(ROLE)
        change(targets)
        assert targets is not None
        trust.repository.write_draft(ROLE, targets)
        with refused(Reason.BAD_TRUST):
            trust.review(person=OLGA)
        trust.repository.stage({"policy/default.toml": rules(target="**")}, now=trust.now)
        assert roles(trust, ANNA) == ["targets"], "what owners prepared keeps administrators from nothing"


def test_new_owners_see_all_rules_where_their_scope_was_closed_before(trust: ScopeWorld) -> None:
    """What other people signed is not what they signed: it is no base of a difference for them."""
    trust.begin()
    trust.delegate(PIA, RUTH)
    trust.sign_role("targets", ANNA, BEN)
    publish(trust.repository, now=trust.now, closing=[PAY])
    (row,) = rows(trust, RUTH)
    assert row.startswith(f"rule in payments: {DEPLOY} on k8s://pay/**:  -> level 1")
    assert ROLE not in trust.review(person=RUTH).compared_with[0]


def test_a_draft_that_leaves_versions_out_is_not_signed(trust: ScopeWorld) -> None:
    """Those would have been published, and are not shown."""
    trust.begin()
    renew_scope(trust.repository, PAY, now=trust.now)
    targets = trust.repository.current_targets(ROLE)
    assert targets is not None
    targets.version = 5
    trust.repository.write_draft(ROLE, targets)
    with pytest.raises(PlacetError, match=rf"draft is {ROLE} 5, and after what is published comes 2"):
        trust.review(person=OLGA)


def test_owners_who_published_nonsense_keep_administrators_from_nothing(trust: ScopeWorld) -> None:
    trust.begin()
    people = trust.repository.published_files()["people.json"]
    trust.repository.keep_objects({"people.json": people, FILE: rules(threshold=3)})
    trust.publish_as_owners(lambda t: None, contents={"people.json": people})
    undelegate(trust.repository, PAY, keep_rules=False, now=trust.now)
    assert rows(trust, ANNA)
    trust.sign_role("targets", ANNA, BEN)
    trust.publish()
    assert trust.refresh().notes == ()


def test_published_rules_are_those_that_owners_signed_or_nothing_is_shown(trust: ScopeWorld) -> None:
    trust.begin()
    anchor, side = trust.anchors.load("demo"), published_side(trust.repository)
    assert anchor is not None
    assert verify_published(side, anchor) is not None
    for files in ({FILE: rules(threshold=3)}, {}, {FILE: rules(), "x": b""}):
        false = {ROLE: side.scopes[ROLE]._replace(rules=files)}
        with pytest.raises(PlacetError, match="not those that its owners signed"):
            verify_published(side._replace(scopes=false), anchor)


def test_a_machine_that_has_seen_a_scope_goes_on_after_it_was_taken_back(trust: ScopeWorld) -> None:
    trust.begin()
    trust.review_once()
    undelegate(trust.repository, PAY, keep_rules=True, now=trust.now)
    assert any("owner of" in row and row.endswith("-> ") for row in rows(trust, ANNA))
    trust.sign_role("targets", ANNA, BEN)
    trust.publish()
    trust.repository.stage({FILE: rules(threshold=2)}, now=trust.now)
    assert rows(trust, ANNA)
    known = trust.anchors.load("demo")
    assert known is not None
    assert known.published[ROLE].version == 1


def test_an_owner_is_not_shown_an_old_copy(trust: ScopeWorld) -> None:
    """Versions that this machine has seen of a scope are not forgotten."""
    trust.begin()
    trust.review_once()
    old = trust.folder / "old"
    shutil.copytree(trust.repository.path, old)
    trust.stage_rules(rules(threshold=3))
    trust.sign_role(ROLE, OLGA, PIA)
    trust.publish()
    trust.review_once()
    stale = TrustRepository(old)
    stale.stage({FILE: rules(threshold=2)}, now=trust.now)
    with pytest.raises(PlacetError, match=rf"this machine has seen {ROLE} 2 already"):
        review(stale, trust.anchors, person=OLGA)

"""Scopes with owners: who owns what, and what goes out when."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scope_world import (
    DEFAULT,
    FILE,
    INSIDE,
    OLGA,
    PAY,
    PIA,
    ROLE,
    RUTH,
    SCOPES,
    ScopeWorld,
    demands,
    is_closed,
    publish_targets,
    refresh_new,
    refused,
    rules,
)
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    TargetFile,
    Targets,
)
from tuf_trust_world import ANNA, BEN, CLEO, DAY, administrator

from placet.adapters.tuf.delegations import ScopeOwners, read_delegations, set_owners
from placet.adapters.tuf.owners import delegate, renew_scope, scope_owners, undelegate
from placet.adapters.tuf.publish import publish
from placet.adapters.tuf.signing import pending_roles
from placet.adapters.tuf.trust import utc
from placet.core.errors import IndeterminateError, PolicyError, Reason
from placet.testing.authenticator import SoftSk


@pytest.fixture
def trust(tmp_path: Path) -> ScopeWorld:
    return ScopeWorld(tmp_path)


# -- what works


def test_owners_change_their_rules_without_the_administrators(trust: ScopeWorld) -> None:
    trust.begin()
    trust.stage_rules(rules(threshold=3))
    (pending,) = pending_roles(trust.repository)
    assert (pending.role, pending.version, pending.threshold, pending.missing) == (ROLE, 2, 2, 2)
    assert pending.unsigned == (OLGA, PIA, RUTH)
    assert pending.expires_at == trust.now + 30 * DAY
    trust.sign_role(ROLE, OLGA, RUTH)
    published = trust.publish()
    assert published.versions == {"root": 1, "targets": 1, ROLE: 2, "snapshot": 2, "timestamp": 2}
    refreshed = trust.refresh()
    assert demands(refreshed.trust, INSIDE) == {"payments: 3 of group:release", DEFAULT}
    assert refreshed.versions[ROLE] == 2
    assert refreshed.notes == ()


def test_the_file_leaves_the_administrators_targets(trust: ScopeWorld) -> None:
    trust.begin()
    targets = trust.repository.published_targets()
    assert targets is not None
    assert FILE not in targets.targets
    (owners,) = read_delegations(targets).values()
    assert (owners.scope, owners.role, owners.file, owners.threshold) == (PAY, ROLE, FILE, 2)
    assert [owner.person for owner in owners.owners] == [OLGA, PIA, RUTH]
    assert targets.delegations is not None and targets.delegations.roles is not None
    assert targets.delegations.roles[ROLE].terminating


def test_administrators_and_owners_do_not_wait_for_each_other(trust: ScopeWorld) -> None:
    trust.begin()
    trust.stage_rules(rules(threshold=3))
    trust.repository.stage({"policy/default.toml": rules(target="**")}, now=trust.now)
    with refused(Reason.QUORUM_NOT_MET):
        trust.publish()
    trust.sign_role(ROLE, OLGA, PIA)
    first = trust.publish()
    assert [item.role for item in first.waiting] == ["targets"]
    assert (first.versions["targets"], first.versions[ROLE]) == (1, 2)
    trust.stage_rules(rules(threshold=2))
    trust.sign_role("targets", ANNA, BEN)
    second = trust.publish()
    assert [item.role for item in second.waiting] == [ROLE]
    assert (second.versions["targets"], second.versions[ROLE]) == (2, 2)
    assert demands(trust.refresh().trust, INSIDE) == {
        "payments: 3 of group:release",
        "default: 1 of group:release",
    }


def test_the_expiry_of_owners_counts_and_they_renew_alone(trust: ScopeWorld, tmp_path: Path) -> None:
    trust.begin()
    trust.now += 20 * DAY
    trust.publish()  # renews the timestamp
    renew_scope(trust.repository, PAY, now=trust.now)
    trust.sign_role(ROLE, PIA, RUTH)
    published = trust.publish()
    assert published.versions[ROLE] == 2
    assert published.expires_at[ROLE] == trust.now + 30 * DAY
    trust.publish_as_owners(lambda t: setattr(t, "expires", utc(trust.now + 4 * DAY)))
    refreshed = trust.refresh(now=trust.now)
    assert refreshed.expires_at == trust.now + 4 * DAY


# -- who owns what


def test_two_keys_of_one_owner_are_refused_when_drafted(trust: ScopeWorld) -> None:
    two = (administrator(OLGA, SoftSk()), administrator(OLGA, SoftSk()))
    with pytest.raises(PolicyError, match=rf"Two keys of {OLGA} may sign the rules of payments"):
        delegate(trust.repository, ScopeOwners(PAY, 2, two), now=trust.now)
    one = trust.keys[OLGA]
    twice = (administrator(OLGA, one), administrator(PIA, one))
    with pytest.raises(PolicyError, match="same key"):
        delegate(trust.repository, ScopeOwners(PAY, 2, twice), now=trust.now)
    assert scope_owners(trust.repository) == {}


def test_two_keys_of_one_owner_are_refused_when_signed_and_at_the_gate(trust: ScopeWorld) -> None:
    """Administrators with a tool of their own: every later place refuses it again."""
    digest = trust.begin()
    before = trust.snapshot.read_bytes()
    targets = trust.repository.published_targets()
    assert targets is not None
    spare = SoftSk()
    targets.add_key(administrator(OLGA, spare).key, ROLE)
    publish_targets(trust, targets)
    with pytest.raises(PolicyError, match=rf"Two keys of {OLGA}"):
        trust.refresh()
    with pytest.raises(PolicyError, match=rf"Two keys of {OLGA}"):
        refresh_new(trust, digest)
    assert trust.snapshot.read_bytes() == before
    with pytest.raises(PolicyError, match=rf"Two keys of {OLGA}"):
        renew_scope(trust.repository, PAY, now=trust.now)
    trust.repository.prepare_targets({FILE: rules()}, now=trust.now, role=ROLE)
    with pytest.raises(PolicyError, match=rf"Two keys of {OLGA}"):
        pending_roles(trust.repository)


STRAY = administrator("x@example.com", SoftSk()).key


def _reshape(targets: Targets) -> DelegatedRole:
    assert targets.delegations is not None and targets.delegations.roles is not None
    return targets.delegations.roles[ROLE]


@pytest.mark.parametrize(
    "change",
    [
        lambda t: setattr(_reshape(t), "paths", ["policy/*"]),
        lambda t: setattr(_reshape(t), "paths", [FILE, "people.json"]),
        lambda t: setattr(_reshape(t), "paths", ["policy/default.toml"]),
        lambda t: setattr(_reshape(t), "paths", ["people.json"]),
        lambda t: setattr(_reshape(t), "paths", []),
        lambda t: setattr(_reshape(t), "terminating", False),
        lambda t: setattr(_reshape(t), "threshold", 4),
        lambda t: t.targets.__setitem__(FILE, TargetFile.from_data(FILE, rules(), ["sha256"])),
        lambda t: t.delegations.roles.__setitem__("x", DelegatedRole("x", [], 1, True, paths=[FILE])),
        lambda t: t.delegations.unrecognized_fields.__setitem__("more", 1),
        lambda t: t.delegations.keys.__setitem__(STRAY.keyid, STRAY),
    ],
)
def test_no_gate_reads_any_other_delegation(trust: ScopeWorld, change: Callable[[Any], None]) -> None:
    trust.begin()
    before = trust.snapshot.read_bytes()
    targets = trust.repository.published_targets()
    assert targets is not None
    change(targets)
    publish_targets(trust, targets)
    with refused(Reason.BAD_TRUST):
        trust.refresh()
    assert trust.snapshot.read_bytes() == before


def test_a_revoked_owner_signs(trust: ScopeWorld) -> None:
    trust.begin()
    trust.stage_rules(rules(threshold=3))
    trust.sign_role(ROLE, OLGA)
    trust.delegate(PIA, RUTH)  # Olga is gone; her signature in the draft goes with her
    by_role = {item.role: item for item in pending_roles(trust.repository)}
    assert by_role[ROLE].signed == ()
    with refused(Reason.UNKNOWN_KEY):
        trust.sign_role(ROLE, OLGA)
    trust.sign_role("targets", ANNA, CLEO)
    trust.sign_role(ROLE, PIA, RUTH)
    trust.publish()
    refreshed = trust.refresh()
    assert demands(refreshed.trust, INSIDE) == {"payments: 3 of group:release", DEFAULT}
    trust.publish_as_owners(lambda t: None, by=(OLGA, PIA))
    assert is_closed(trust.refresh().trust)


def test_changed_owners_must_sign_again_or_the_scope_is_closed_knowingly(trust: ScopeWorld) -> None:
    trust.begin()  # signed by Olga and Pia
    trust.delegate(PIA, RUTH)
    assert [item.role for item in pending_roles(trust.repository)] == ["targets", ROLE]
    trust.sign_role("targets", ANNA, BEN)
    with pytest.raises(PolicyError, match=r"refuse everything in the scope payments.*pia.*ruth") as error:
        trust.publish()
    assert "--closing payments" in (error.value.hint or "")
    published = publish(trust.repository, now=trust.now, closing=[PAY])
    assert published.closed.keys() == {PAY}
    assert [item.role for item in published.waiting] == [ROLE]
    assert is_closed(trust.refresh().trust)
    trust.publish()  # the timestamp can be renewed meanwhile, and nothing asks again
    trust.sign_role(ROLE, PIA, RUTH)
    trust.publish()
    assert demands(trust.refresh().trust, INSIDE) == {"payments: 1 of group:release", DEFAULT}


def test_owners_who_stay_need_not_sign_again(trust: ScopeWorld) -> None:
    trust.begin()  # signed by Olga and Pia
    trust.delegate(OLGA, PIA)
    assert [item.role for item in pending_roles(trust.repository)] == ["targets"]
    trust.sign_role("targets", ANNA, BEN)
    trust.publish()
    assert trust.refresh().notes == ()


def test_a_scope_is_not_delegated_before_its_owners_signed(trust: ScopeWorld) -> None:
    trust.delegate(OLGA, PIA)
    trust.sign_role("root", ANNA, BEN)
    trust.sign_role("targets", ANNA, BEN)
    with refused(Reason.QUORUM_NOT_MET):
        trust.publish()
    digest = publish(trust.repository, now=trust.now, closing=[PAY]).root_sha256
    assert is_closed(trust.refresh(root_sha256=digest).trust)


@pytest.mark.parametrize("keep", [True, False])
def test_administrators_take_a_scope_back(trust: ScopeWorld, keep: bool) -> None:
    trust.begin()
    trust.stage_rules(rules(threshold=3))  # drafted by the owners, never signed
    undelegate(trust.repository, PAY, keep_rules=keep, now=trust.now)
    assert [item.role for item in pending_roles(trust.repository)] == ["targets"]
    trust.sign_role("targets", ANNA, BEN)
    trust.publish()
    refreshed = trust.refresh()
    expected = {"payments: 1 of group:release", DEFAULT} if keep else {DEFAULT}
    assert demands(refreshed.trust, INSIDE) == expected
    assert refreshed.versions[ROLE] == 1, "a version once seen is remembered"
    with refused(Reason.BAD_TRUST):
        undelegate(trust.repository, PAY, keep_rules=keep, now=trust.now)
    # Given away again, what the owners signed before does not come back.
    trust.repository.stage({FILE: rules(threshold=2)}, now=trust.now)
    trust.delegate(OLGA, PIA)
    trust.sign_all()
    assert trust.publish().versions[ROLE] == 2
    assert demands(trust.refresh().trust, INSIDE) == {"payments: 2 of group:release", DEFAULT}


def test_administrators_narrow_a_scope(trust: ScopeWorld) -> None:
    trust.begin()
    narrow = SCOPES.replace(b"k8s://pay/**", b"k8s://pay/ns/other/**")
    trust.repository.stage({"scopes.json": narrow}, now=trust.now)
    assert [item.role for item in pending_roles(trust.repository)] == ["targets"]
    trust.sign_role("targets", ANNA, BEN)
    trust.publish()
    after = trust.refresh().trust
    assert demands(after, INSIDE) == {DEFAULT}
    assert demands(after, "k8s://pay/ns/other/x") == {"payments: 1 of group:release", DEFAULT}


def test_more_delegations_than_a_trust_root_can_have_scopes() -> None:
    targets, key = Targets(expires=utc(0)), administrator(OLGA, SoftSk())
    targets.delegations = Delegations(
        {key.key.keyid: key.key},
        {
            f"scope-s{i}": DelegatedRole(f"scope-s{i}", [key.key.keyid], 1, True, paths=[f"policy/s{i}.toml"])
            for i in range(257)
        },
    )
    with pytest.raises(PolicyError, match="more than 256"):
        read_delegations(targets)


def test_one_key_is_one_person_s_in_every_scope(trust: ScopeWorld) -> None:
    targets = Targets(expires=utc(trust.now))
    key = SoftSk()
    set_owners(targets, ScopeOwners("a", 1, (administrator(OLGA, key),)))
    with pytest.raises(PolicyError, match="in another scope"):
        set_owners(targets, ScopeOwners("b", 1, (administrator(PIA, key),)))
    set_owners(targets, ScopeOwners("b", 1, (administrator(OLGA, key),)))
    assert read_delegations(targets).keys() == {"scope-a", "scope-b"}


# -- the working repository


def test_a_draft_of_owners_cannot_smuggle_files_into_the_administrators(trust: ScopeWorld) -> None:
    trust.begin()
    mallory = trust.repository.published_files()["people.json"].replace(b"carol", b"mallo")
    trust.repository.keep_objects({"people.json": mallory})
    message = Targets(version=2, expires=utc(trust.now + DAY))
    message.targets = {"people.json": TargetFile.from_data("people.json", mallory, ["sha256"])}
    trust.repository.write_draft(ROLE, message)
    assert trust.repository.draft_files()["people.json"] != mallory
    trust.sign_role(ROLE, OLGA, PIA)
    with pytest.raises(PolicyError, match=r"people\.json; they may write"):
        trust.publish()


def test_what_owners_signed_and_left_lying_is_not_published(trust: ScopeWorld) -> None:
    trust.begin()
    trust.stage_rules(rules(threshold=3))
    trust.sign_role(ROLE, OLGA, PIA)
    with pytest.raises(IndeterminateError, match="expired before it was published"):
        trust.publish(now=trust.now + 31 * DAY)

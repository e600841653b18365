"""Owners of a scope who want more, break things or forget; and couriers between them and the gate."""

import json
import shutil
from pathlib import Path

import pytest
from scope_world import (
    DEFAULT,
    DEPLOY,
    FILE,
    INSIDE,
    OLGA,
    OUTSIDE,
    PAY,
    PIA,
    ROLE,
    RUN,
    RUTH,
    SCOPES,
    ScopeWorld,
    demands,
    is_closed,
    refresh_new,
    refused,
    rules,
)
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    MetaFile,
    Targets,
)
from tuf_trust_world import ANNA, BEN, CLEO, DAY, administrator

from placet.adapters.tuf.owners import delegate, renew_scope
from placet.adapters.tuf.refresh import refresh
from placet.adapters.tuf.trust import utc
from placet.core.errors import PlacetError, PolicyError, Reason
from placet.core.policy import Rule, select_rules
from placet.core.trust import Trust
from placet.core.verify import VerifiedApproval, verify_for_use
from placet.testing.authenticator import SoftSk
from placet.testing.world import ALICE, BOB, GATE, NOW, expected_of


@pytest.fixture
def trust(tmp_path: Path) -> ScopeWorld:
    return ScopeWorld(tmp_path)


# -- owners who want more


@pytest.mark.parametrize("target", ["**", "k8s://**", OUTSIDE, "host://**"])
def test_scope_owner_writes_a_rule_outside(trust: ScopeWorld, target: str) -> None:
    """It is validly signed, and it is no rule there: the gate matches it inside its own scope alone."""
    trust.begin()
    for action in (DEPLOY, RUN):
        policy = rules(target=target, group="sre").replace(DEPLOY.encode(), action.encode())
        trust.publish_as_owners(lambda t: None, contents={FILE: policy})
        after = trust.refresh().trust
        for outside in (OUTSIDE, "host://a", "k8s://payroll/x", "pkg:a"):
            found = select_rules(after.rules, after.scopes, action=action, target=outside)
            assert {rule.scope for rule in found} <= {"default"}


def test_scope_owner_weakens_nothing_that_others_ask_for(trust: ScopeWorld) -> None:
    trust.begin()
    trust.publish_as_owners(lambda t: None, contents={FILE: b"rule = []"})
    assert demands(trust.refresh().trust, INSIDE) == {DEFAULT}


@pytest.mark.parametrize(
    "name",
    [
        "people.json",
        "terminals.json",
        "gates.json",
        "scopes.json",
        "deployment.json",
        "models.json",
        "policy/default.toml",
        "policy/other.toml",
        "actions/evil/v1.json",
    ],
)
def test_scope_owner_adds_a_person_or_any_other_file(trust: ScopeWorld, name: str) -> None:
    trust.begin()
    before = trust.refresh().trust
    mallory = trust.world.files()["people.json"].replace(b"carol@example.com", b"mallory@example.com")
    trust.publish_as_owners(lambda t: None, contents={name: mallory})
    refreshed = trust.refresh()
    after = refreshed.trust
    assert is_closed(after)
    assert f"want to say what is in {name}" in refreshed.notes[0]
    same = ("people", "credentials", "terminals", "gates", "scopes", "deployment", "actions")
    assert all(getattr(after, member) == getattr(before, member) for member in same)
    assert {n: d for n, d in after.files.items() if n != FILE} == {
        n: d for n, d in before.files.items() if n != FILE
    }


def test_scope_owner_signs_for_another_scope_or_for_the_administrators(trust: ScopeWorld) -> None:
    """TUF metadata does not say which role it is: owners of two scopes must not sign one for the other."""
    trust.repository.stage(
        {"scopes.json": SCOPES.replace(b"}}", b',"other":["k8s://o/**"]}}')}, now=trust.now
    )
    for scope in (PAY, "other"):
        owners = trust.owners(ANNA, BEN)._replace(scope=scope)
        delegate(trust.repository, owners, now=trust.now)
    trust.sign(ANNA, BEN)
    trust.refresh(root_sha256=trust.publish().root_sha256)
    trust.repository.stage({FILE: rules(threshold=2)}, now=trust.now)
    trust.sign(ANNA, BEN)
    trust.publish()
    data = (trust.public / "metadata" / f"2.{ROLE}.json").read_bytes()
    trust.publish_role("scope-other", 2, data, {})
    refreshed = trust.refresh()
    assert "The scope other is closed" in refreshed.notes[0]
    trust.publish_role("targets", 2, data, {})
    before = trust.snapshot.read_bytes()
    with refused(Reason.BAD_TRUST):
        trust.refresh()
    assert trust.snapshot.read_bytes() == before


def test_scope_owner_below_the_threshold(trust: ScopeWorld) -> None:
    trust.begin()
    trust.stage_rules(rules(threshold=3))
    trust.sign_role(ROLE, OLGA)
    published = trust.publish()
    assert [(item.role, item.missing, item.unsigned) for item in published.waiting] == [
        (ROLE, 1, (PIA, RUTH))
    ]
    assert published.versions[ROLE] == 1
    trust.publish_as_owners(lambda t: None, by=(OLGA,))
    refreshed = trust.refresh()
    assert is_closed(refreshed.trust)
    assert "too few of its owners" in refreshed.notes[0]


def test_administrators_cannot_sign_for_the_owners(trust: ScopeWorld) -> None:
    trust.begin()
    trust.stage_rules(rules(threshold=3))
    with refused(Reason.UNKNOWN_KEY):
        trust.sign_role(ROLE, ANNA)
    trust.publish_as_owners(lambda t: None, by=(ANNA, BEN, CLEO))
    assert is_closed(trust.refresh().trust)


def test_an_owner_cannot_sign_for_the_administrators(trust: ScopeWorld) -> None:
    trust.begin()
    trust.repository.stage({"policy/default.toml": rules(target="**")}, now=trust.now)
    with refused(Reason.UNKNOWN_KEY):
        trust.sign_role("targets", OLGA)


# -- rollback and replay


def test_scope_owner_replays_old_rules(trust: ScopeWorld) -> None:
    """Whoever has the online keys and the old signatures: the version that the gate has seen counts."""
    trust.begin()
    old = (trust.public / "metadata" / f"1.{ROLE}.json").read_bytes()
    trust.stage_rules(rules(threshold=3))
    trust.sign_role(ROLE, OLGA, PIA)
    trust.publish()
    trust.refresh()
    before = trust.snapshot.read_bytes()
    trust.publish_role(ROLE, 1, old, {})
    with refused(Reason.BAD_TRUST) as error:
        trust.refresh()
    assert "older" in str(error.value)
    trust.publish_role(ROLE, 3, old, {})  # under another number
    with refused(Reason.BAD_TRUST) as error:
        trust.refresh()
    assert trust.snapshot.read_bytes() == before


def test_delegated_role_rollback_after_the_client_s_record_was_removed(trust: ScopeWorld) -> None:
    digest = trust.begin()
    old = trust.copy_public("old")
    trust.stage_rules(rules(threshold=3))
    trust.sign_role(ROLE, OLGA, PIA)
    trust.publish()
    trust.refresh()
    shutil.rmtree(trust.snapshot.with_suffix(".tuf"))
    with refused(Reason.BAD_TRUST) as error:
        trust.refresh(old, root_sha256=digest)
    assert "has 2 already" in str(error.value)


def test_a_courier_cannot_close_a_scope(trust: ScopeWorld) -> None:
    """Bytes that the snapshot does not name are the source's fault: the gate keeps what it has."""
    digest = trust.begin()
    before = trust.snapshot.read_bytes()
    trust.stage_rules(rules(threshold=3))
    trust.sign_role(ROLE, OLGA, PIA)
    trust.publish()
    path = trust.public / "metadata" / f"2.{ROLE}.json"
    good = path.read_bytes()
    for bad in (b"{}", good.replace(b'"version": 2', b'"version": 3'), b"", None):
        path.unlink()
        if bad is not None:
            path.write_bytes(bad)
        with pytest.raises(PlacetError):
            trust.refresh()
        with pytest.raises(PlacetError):  # nor for a gate that comes new
            refresh_new(trust, digest)
        path.write_bytes(good)
        assert trust.snapshot.read_bytes() == before
    assert trust.refresh().notes == ()


def test_a_snapshot_without_digests_closes_nothing(trust: ScopeWorld) -> None:
    trust.begin()
    trust.sign_online({f"{ROLE}.json": MetaFile(1)})
    with refused(Reason.BAD_TRUST) as error:
        trust.refresh()
    assert "by digest" in str(error.value)


def test_a_scope_that_is_left_out_of_the_snapshot(trust: ScopeWorld) -> None:
    """Its rules may ask for more than others do, so leaving them out must not open anything."""
    digest = trust.begin()
    trust.sign_online({}, without=ROLE)
    with refused(Reason.BAD_TRUST):
        trust.refresh()
    fresh = refresh(str(trust.public), trust.folder / "new" / "snapshot.json", root_sha256=digest)
    assert is_closed(fresh.trust)
    assert "have not signed any rules yet" in fresh.notes[0]


# -- owners who break things, or forget


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        (b"[[rule]", "not TOML"),
        (b"\xff", "not TOML"),
        (b"[[rule]]\nlevel = 9\n", "rule"),
        (rules().replace(b"level = 1", b"level = 1\nmax_window = '9999999d'"), "whole number"),
        (rules() + b"evidence = [{ kind = 'signature', signers = [2026-01-01] }]\n", "object"),
        (rules() * 1001, "1000"),
        (b"# " + b"x" * 300_000, "too large"),
    ],
)
def test_a_malformed_policy_that_owners_signed_closes_their_scope_alone(
    trust: ScopeWorld, policy: bytes, why: str
) -> None:
    trust.begin()
    trust.publish_as_owners(lambda t: None, contents={FILE: policy})
    refreshed = trust.refresh()
    assert is_closed(refreshed.trust)
    assert "The scope payments is closed" in refreshed.notes[0]
    assert why in refreshed.notes[0]
    assert f"({OLGA}, {PIA}, {RUTH})" in refreshed.notes[0]


def test_owners_who_forget_to_sign_stop_nobody_else(trust: ScopeWorld) -> None:
    trust.begin()
    start = trust.now
    for days, closed in ((14, False), (27, False), (29, True), (31, True), (45, True)):
        trust.now = start + days * DAY
        published = trust.publish()
        assert (PAY in published.closed) is closed
        refreshed = trust.refresh(now=trust.now)
        assert bool(refreshed.notes) is closed
        assert is_closed(refreshed.trust) is closed
        # The gate never has to stop before it refreshes again, nor for a day that it missed.
        assert refreshed.expires_at >= trust.now + 2 * DAY
    renew_scope(trust.repository, PAY, now=trust.now)
    trust.sign_role(ROLE, OLGA, PIA)
    trust.publish()
    refreshed = trust.refresh(now=trust.now)
    assert demands(refreshed.trust, INSIDE) == {"payments: 1 of group:release", DEFAULT}


def test_owners_who_forget_to_sign_keep_administrators_from_nothing(trust: ScopeWorld) -> None:
    trust.begin()
    trust.now += 40 * DAY
    trust.repository.stage({"policy/default.toml": rules(target="**")}, now=trust.now)
    trust.sign_role("targets", ANNA, BEN)
    published = trust.publish()
    assert (published.versions["targets"], published.closed.keys()) == (2, {PAY})
    after = trust.refresh(now=trust.now).trust
    assert demands(after, OUTSIDE) == {"default: 1 of group:release"}


def test_owners_who_sign_for_an_hour_do_not_stop_the_gate(trust: ScopeWorld) -> None:
    trust.begin()
    trust.publish_as_owners(lambda t: setattr(t, "expires", utc(trust.now + 3600)))
    refreshed = trust.refresh()
    assert is_closed(refreshed.trust)
    assert refreshed.expires_at == trust.now + 7 * DAY
    assert "within two days" in refreshed.notes[0]


def test_owners_who_sign_a_file_of_many_gigabytes_make_nobody_fetch_it(trust: ScopeWorld) -> None:
    trust.begin()

    def huge(targets: Targets) -> None:
        targets.targets[FILE].length = 10**12
        targets.targets[FILE].hashes["sha256"] = "0" * 64

    trust.publish_as_owners(huge)
    refreshed = trust.refresh()
    assert is_closed(refreshed.trust)
    assert "too large" in refreshed.notes[0]


def test_metadata_of_owners_that_is_no_metadata(trust: ScopeWorld) -> None:
    trust.begin()
    trust.publish_as_owners(lambda t: None, metadata=b'{"signed":3}')
    refreshed = trust.refresh()
    assert is_closed(refreshed.trust)
    assert "malformed" in refreshed.notes[0]


def test_owners_who_delegate_further(trust: ScopeWorld) -> None:
    trust.begin()

    def further(targets: Targets) -> None:
        targets.delegations = Delegations({}, {"x": DelegatedRole("x", [], 1, True, paths=[FILE])})
        targets.add_key(administrator("m@example.com", SoftSk()).key, "x")

    trust.publish_as_owners(further)
    refreshed = trust.refresh()
    assert is_closed(refreshed.trust)
    assert "delegate further" in refreshed.notes[0]


def test_owners_who_sign_nothing(trust: ScopeWorld) -> None:
    trust.begin()
    trust.publish_as_owners(lambda t: t.targets.clear())
    assert is_closed(trust.refresh().trust)


# -- what the gate decides


def decide(trust: ScopeWorld, by: Trust, target: str, monkeypatch: pytest.MonkeyPatch) -> VerifiedApproval:
    """Requests a deployment, has two people approve it, and asks a gate that goes by this trust."""
    world = trust.world
    monkeypatch.setattr(world, "trust", lambda: by)
    request = world.request_deploy(target=target)
    bundle = world.bundle(request, ALICE, BOB)
    return verify_for_use(bundle, trust=by, gate=GATE, expected=expected_of(request), now=NOW + 120)


def test_a_closed_scope_is_refused_in_words_and_all_else_is_decided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust = ScopeWorld(tmp_path, now=NOW)
    trust.stage_rules(rules() + b"exclude_requester = false\n")
    trust.delegate(OLGA, PIA, RUTH)
    trust.sign_all()
    before = trust.refresh(root_sha256=trust.publish().root_sha256, now=NOW).trust
    assert decide(trust, before, INSIDE, monkeypatch).people == (ALICE, BOB)
    trust.publish_as_owners(lambda t: None, contents={FILE: b"[[rule]"})
    closed = trust.refresh(now=NOW).trust
    with pytest.raises(
        PolicyError, match="The scope payments is closed, since its rules are malformed"
    ) as error:
        decide(trust, closed, INSIDE, monkeypatch)
    assert error.value.reason is Reason.QUORUM_NOT_MET
    assert decide(trust, closed, OUTSIDE, monkeypatch).people == (ALICE, BOB)

    # A requester who asks all the same is refused by terminals and gates.
    def rules_of(trust: Trust, *, action: str, target: str) -> tuple[Rule, ...]:
        return select_rules(trust.rules, trust.scopes, action=action, target=target)

    monkeypatch.setattr("placet.ceremony.request.find_open_rules", rules_of)
    with pytest.raises(PolicyError) as error:
        decide(trust, closed, INSIDE, monkeypatch)
    assert error.value.reason is Reason.QUORUM_NOT_MET
    assert "the owners of the scope payments, since its rules are malformed" in str(error.value)


def test_nobody_can_be_enrolled_under_the_name_that_closes_a_scope(trust: ScopeWorld) -> None:
    trust.begin()
    trust.publish_as_owners(lambda t: t.targets.clear())
    closed = trust.refresh().trust
    (rule,) = (r for r in closed.rules if r.scope == PAY and r.action == DEPLOY)
    (name,) = rule.quorum.of
    assert isinstance(name, str)
    people = json.loads(trust.repository.published_files()["people.json"])
    people["people"][0]["id"] = name.removeprefix("person:")
    with refused(Reason.BAD_VALUE):
        trust.repository.stage({"people.json": json.dumps(people).encode()}, now=trust.now)

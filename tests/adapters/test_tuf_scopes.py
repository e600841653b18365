"""Scopes with owners: what they may sign, what they may not, and what they cannot break."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer
from tuf_trust_world import ANNA, BEN, CLEO, DAY, TrustWorld, administrator

from placet.adapters.attestation import FidoAttestationVerifier
from placet.adapters.tuf_chain import published_side, verify_published
from placet.adapters.tuf_delegations import ScopeOwners, read_delegations, set_owners
from placet.adapters.tuf_owners import delegate, renew_scope, scope_owners, undelegate
from placet.adapters.tuf_publish import publish
from placet.adapters.tuf_refresh import refresh
from placet.adapters.tuf_repository import TrustRepository
from placet.adapters.tuf_review import review, sign_reviewed
from placet.adapters.tuf_signing import pending_messages, pending_roles
from placet.adapters.tuf_trust import assemble, encode_signed, parse_signed, utc
from placet.ceremony.trust_change import group_digits
from placet.ceremony.trust_scopes import delegation_diff
from placet.core.encoding import encode_canonical, sha256_hex
from placet.core.errors import IndeterminateError, PlacetError, PolicyError, Reason
from placet.core.policy import select_rules
from placet.core.sshsig import NAMESPACE_TRUST
from placet.core.trust import Trust
from placet.core.verify import VerifiedApproval, verify_for_use
from placet.terminal.trust_session import TrustSession
from placet.testing.authenticator import SoftSk
from placet.testing.world import ALICE, BOB, GATE, NOW, expected_of

OLGA, PIA, RUTH = "olga@example.com", "pia@example.com", "ruth@example.com"
PAY, FILE, ROLE = "payments", "policy/payments.toml", "scope-payments"
RUN = "https://placet.dev/actions/run/v1"
DEPLOY = "https://placet.dev/actions/deploy/v1"
INSIDE, OUTSIDE = "k8s://pay/ns/shop", "k8s://prod-eu/ns/shop"
SCOPES = b'{"scopes":{"default":["**"],"payments":["k8s://pay/**"]}}'


def rules(*, threshold: int = 1, target: str = "k8s://pay/**", group: str = "release") -> bytes:
    return (
        f'[[rule]]\naction = "{DEPLOY}"\ntarget = "{target}"\nlevel = 1\n'
        f'quorum = {{ threshold = {threshold}, of = ["group:{group}"] }}\n'
    ).encode()


class ScopeWorld(TrustWorld):
    """The scope `payments`, of which two of Olga, Pia and Ruth say the rules, once it is delegated."""

    def __init__(self, folder: Path, **more: Any) -> None:
        super().__init__(folder, **more)
        self.keys |= {OLGA: SoftSk(), PIA: SoftSk("ed25519"), RUTH: SoftSk()}
        self.repository.stage({"scopes.json": SCOPES, FILE: rules()}, now=self.now)

    def owners(self, *people: str, threshold: int = 2) -> ScopeOwners:
        return ScopeOwners(PAY, threshold, tuple(administrator(p, self.keys[p]) for p in people))

    def delegate(self, *people: str, threshold: int = 2) -> None:
        delegate(self.repository, self.owners(*people, threshold=threshold), now=self.now)

    def sign_role(self, role: str, *people: str) -> None:
        message = dict(pending_messages(self.repository))[role]
        for person in people:
            self.attach(person, role, message)

    def sign_all(self) -> None:
        for role in ("root", "targets"):
            if role in dict(pending_messages(self.repository)):
                self.sign_role(role, ANNA, BEN)
        if ROLE in dict(pending_messages(self.repository)):
            self.sign_role(ROLE, OLGA, PIA)

    def begin(self) -> str:
        """Publishes the delegated scope; returns the root's digest, and lets the gate follow."""
        self.delegate(OLGA, PIA, RUTH)
        self.sign_all()
        published = self.publish()
        self.refresh(root_sha256=published.root_sha256)
        return published.root_sha256

    def stage_rules(self, policy: bytes) -> None:
        self.repository.stage({FILE: policy}, now=self.now)

    def review_once(self) -> None:
        """This machine looks at what is published, as before any signature."""
        renew_scope(self.repository, PAY, now=self.now)
        self.review()
        self.repository.clear_drafts([ROLE])

    # -- owners with tools of their own

    def publish_as_owners(
        self,
        change: Callable[[Targets], None],
        *,
        by: tuple[str, ...] = (OLGA, PIA),
        contents: dict[str, bytes] | None = None,
        metadata: bytes | None = None,
    ) -> None:
        """Publishes whatever the owners signed, as somebody would who has the online keys and no scruples."""
        theirs = Targets(version=9, expires=utc(self.now + 30 * DAY))
        files = {FILE: rules(threshold=3)} | (contents or {})
        theirs.targets = {name: TargetFile.from_data(name, data, ["sha256"]) for name, data in files.items()}
        change(theirs)
        message = encode_signed(theirs)
        made = {self.keys[p].keyid: self.keys[p].sign(NAMESPACE_TRUST, message) for p in by}
        self.publish_role(ROLE, theirs.version, metadata or assemble(theirs, made), files)

    def publish_role(self, role: str, version: int, metadata: bytes, files: dict[str, bytes]) -> None:
        (self.public / "metadata" / f"{version}.{role}.json").write_bytes(metadata)
        for name, data in files.items():
            folder, _, base = name.rpartition("/")
            path = self.public / "targets" / folder / f"{sha256_hex(data)}.{base}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        self.sign_online({f"{role}.json": MetaFile.from_data(version, metadata, ["sha256"])})

    def sign_online(self, meta: dict[str, MetaFile], *, without: str = "") -> None:
        old = self.repository.published_snapshot()
        assert old is not None
        all_meta = {name: item for name, item in (old.meta | meta).items() if name != f"{without}.json"}
        snapshot = Snapshot(version=old.version + 1, expires=utc(self.now + 30 * DAY), meta=all_meta)
        data = self._signed_online(snapshot)
        (self.public / "metadata" / f"{snapshot.version}.snapshot.json").write_bytes(data)
        timestamp = self.repository.published_timestamp()
        assert timestamp is not None
        timestamp.version += 1
        timestamp.snapshot_meta = MetaFile.from_data(snapshot.version, data, ["sha256"])
        (self.public / "metadata" / "timestamp.json").write_bytes(self._signed_online(timestamp))

    def _signed_online(self, signed: Snapshot | Timestamp) -> bytes:
        metadata: Metadata[Any] = Metadata(cast(Any, signed))
        for signer in self.repository.online_signers(signed.type):
            metadata.sign(signer, append=True)
        return bytes(metadata.to_bytes(JSONSerializer()))


@pytest.fixture
def trust(tmp_path: Path) -> ScopeWorld:
    return ScopeWorld(tmp_path)


def refused(reason: Reason) -> "pytest.RaisesExc[PlacetError]":
    return pytest.raises(PlacetError, check=lambda e: e.reason is reason)


def demands(trust: Trust, target: str) -> set[str]:
    """What the rules that apply to a deployment there demand, in words."""
    found = select_rules(trust.rules, trust.scopes, action=DEPLOY, target=target)
    return {
        f"{rule.scope}: {rule.quorum.threshold} of {', '.join(map(str, rule.quorum.of))}" for rule in found
    }


DEFAULT = "default: 2 of group:release"


def is_closed(trust: Trust) -> bool:
    """Nothing in the scope is allowed, whatever the action; everything outside is as it was."""
    everywhere = [
        select_rules(trust.rules, trust.scopes, action=action, target=INSIDE) for action in trust.actions
    ]
    people = {f"person:{p.id}" for p in trust.people} | {f"group:{g}" for p in trust.people for g in p.groups}
    assert demands(trust, OUTSIDE) == {DEFAULT}
    return all(any(not set(rule.quorum.of) & people for rule in found) for found in everywhere)


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
            tuf_refresh_new(trust, digest)
        path.write_bytes(good)
        assert trust.snapshot.read_bytes() == before
    assert trust.refresh().notes == ()


def tuf_refresh_new(trust: ScopeWorld, digest: str) -> None:
    refresh(str(trust.public), trust.folder / "new" / "snapshot.json", root_sha256=digest)


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
        (rules() + b"evidence = [{ kind = 'a', when = 2026-01-01 }]\n", "hold"),
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
        tuf_refresh_new(trust, digest)
    assert trust.snapshot.read_bytes() == before
    with pytest.raises(PolicyError, match=rf"Two keys of {OLGA}"):
        renew_scope(trust.repository, PAY, now=trust.now)
    trust.repository.prepare_targets({FILE: rules()}, now=trust.now, role=ROLE)
    with pytest.raises(PolicyError, match=rf"Two keys of {OLGA}"):
        pending_roles(trust.repository)


def publish_targets(trust: ScopeWorld, targets: Targets) -> None:
    targets.version += 1
    message = encode_signed(targets)
    made = {trust.keys[p].keyid: trust.keys[p].sign(NAMESPACE_TRUST, message) for p in (ANNA, BEN)}
    trust.publish_role("targets", targets.version, assemble(targets, made), {})


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


# -- what is shown to whom


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
    assert sign_reviewed(trust.repository, shown, OLGA, trust.keys[OLGA], trust.anchors) == (ROLE,)
    with refused(Reason.UNKNOWN_KEY):
        sign_reviewed(trust.repository, trust.review(), CLEO, trust.keys[PIA], trust.anchors)


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
    with pytest.raises(PolicyError) as error:
        decide(trust, closed, INSIDE, monkeypatch)
    assert error.value.reason is Reason.QUORUM_NOT_MET
    assert "the owners of the scope payments, since its rules are malformed" in str(error.value)
    assert decide(trust, closed, OUTSIDE, monkeypatch).people == (ALICE, BOB)


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

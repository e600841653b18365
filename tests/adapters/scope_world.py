"""A trust root with a scope whose rules two of three owners sign, and owners with tools of their own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from tuf.api.metadata import (
    Metadata,
    MetaFile,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer
from tuf_trust_world import ANNA, BEN, DAY, TrustWorld, administrator

from placet.adapters.tuf.delegations import ScopeOwners
from placet.adapters.tuf.owners import delegate, renew_scope
from placet.adapters.tuf.refresh import refresh
from placet.adapters.tuf.signing import pending_messages
from placet.adapters.tuf.trust import assemble, encode_signed, utc
from placet.core.encoding import sha256_hex
from placet.core.errors import PlacetError, Reason
from placet.core.policy import select_rules
from placet.core.sshsig import NAMESPACE_TRUST
from placet.core.trust import Trust
from placet.testing.authenticator import SoftSk

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


def refresh_new(trust: ScopeWorld, digest: str) -> None:
    refresh(str(trust.public), trust.folder / "new" / "snapshot.json", root_sha256=digest)


def publish_targets(trust: ScopeWorld, targets: Targets) -> None:
    targets.version += 1
    message = encode_signed(targets)
    made = {trust.keys[p].keyid: trust.keys[p].sign(NAMESPACE_TRUST, message) for p in (ANNA, BEN)}
    trust.publish_role("targets", targets.version, assemble(targets, made), {})

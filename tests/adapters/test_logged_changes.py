"""Trust changes on their way into a log: taken where the known administrators signed them, just so."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tuf.api.metadata import Metadata, Root  # type: ignore[attr-defined]  # re-exported without saying so
from tuf.api.serialization.json import JSONSerializer
from tuf_trust_world import ANNA, BEN, CLEO, TrustWorld

from placet.adapters.tuf.logged_changes import TrustChain
from placet.adapters.tuf.trust import assemble, encode_signed
from placet.core.encoding import sha256_hex
from placet.core.errors import PlacetError, Reason
from placet.core.sshsig import NAMESPACE_TRUST, encode_sshsig, parse_sshsig
from placet.core.sshwire import ssh_mpint

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@pytest.fixture
def published(tmp_path: Path) -> TrustWorld:
    world = TrustWorld(tmp_path)
    world.publish(ANNA, BEN)
    return world


def metadata(world: TrustWorld, name: str) -> bytes:
    return (world.repository.metadata_folder / name).read_bytes()


def test_a_trust_root_is_taken_version_by_version(published: TrustWorld) -> None:
    root, targets = metadata(published, "1.root.json"), metadata(published, "1.targets.json")
    published.stage_policy(published.world.policy + "\n# another\n")
    published.publish(BEN, CLEO)
    chain = TrustChain(None)
    with pytest.raises(PlacetError) as caught:
        chain.verify(targets)
    assert caught.value.reason is Reason.BAD_TRUST
    for data in (root, targets, metadata(published, "2.targets.json"), targets, root):
        chain.verify(data)


def respelled(data: bytes) -> bytes:
    return json.dumps(json.loads(data)).encode()


def with_junk_signature(data: bytes) -> bytes:
    parsed: Metadata[Any] = Metadata.from_bytes(data)
    value = parsed.to_dict()
    value["signatures"].append({"keyid": "0" * 64, "sig": "00"})
    return bytes(Metadata.from_dict(value).to_bytes(JSONSerializer()))


def of_one_person(data: bytes) -> bytes:
    parsed: Metadata[Any] = Metadata.from_bytes(data)
    parsed.signatures.pop(sorted(parsed.signatures)[0])
    return bytes(parsed.to_bytes(JSONSerializer()))


def longer_lived(data: bytes) -> bytes:
    parsed: Metadata[Any] = Metadata.from_bytes(data)
    parsed.signed.expires += datetime.timedelta(days=1)
    return bytes(parsed.to_bytes(JSONSerializer()))


@pytest.mark.parametrize("name", ["1.root.json", "1.targets.json"])
@pytest.mark.parametrize("change", [respelled, with_junk_signature, of_one_person, longer_lived])
@pytest.mark.parametrize("has_snapshot", [True, False])
def test_what_administrators_did_not_sign_like_this_is_refused(
    published: TrustWorld, name: str, change: Callable[[bytes], bytes], has_snapshot: bool
) -> None:
    chain = TrustChain(published.snapshot if has_snapshot else None)
    if has_snapshot:
        published.refresh(root_sha256=sha256_hex(metadata(published, "1.root.json")))
    elif name != "1.root.json":
        chain.verify(metadata(published, "1.root.json"))
    with pytest.raises(PlacetError) as caught:
        chain.verify(change(metadata(published, name)))
    assert caught.value.reason is Reason.BAD_TRUST
    chain.verify(metadata(published, name))


def test_with_a_snapshot_another_root_is_refused(published: TrustWorld, tmp_path: Path) -> None:
    published.refresh(root_sha256=sha256_hex(metadata(published, "1.root.json")))
    other = TrustWorld(tmp_path / "other")
    other.publish(ANNA, BEN)
    chain = TrustChain(published.snapshot)
    for name in ("1.root.json", "1.targets.json"):
        with pytest.raises(PlacetError) as caught:
            chain.verify(metadata(other, name))
        assert caught.value.reason is Reason.BAD_TRUST


def test_what_machines_renew_is_not_logged(published: TrustWorld) -> None:
    chain = TrustChain(None)
    chain.verify(metadata(published, "1.root.json"))
    for name in ("1.snapshot.json", "timestamp.json"):
        with pytest.raises(PlacetError) as caught:
            chain.verify(metadata(published, name))
        assert caught.value.reason is Reason.BAD_TRUST


@pytest.mark.parametrize(
    "junk", [b"", b"{}", b"[]", b'{"signed":1,"signatures":[]}', b"[" * 100_000, b"\xff"]
)
def test_junk_is_no_metadata(junk: bytes) -> None:
    with pytest.raises(PlacetError) as caught:
        TrustChain(None).verify(junk)
    assert caught.value.reason is Reason.BAD_TRUST


def next_root(world: TrustWorld, *people: str, days: int = 30) -> bytes:
    """Returns root 2 with the same administrators, signed by these people."""
    root: Root = Metadata.from_bytes(metadata(world, "1.root.json")).signed
    root.version += 1
    root.expires += datetime.timedelta(days=days)
    return signed_by(world, root, *people)


def signed_by(world: TrustWorld, root: Root, *people: str) -> bytes:
    message = encode_signed(root)
    keys = [world.keys[person] for person in people]
    return assemble(root, {key.keyid: key.sign(NAMESPACE_TRUST, message) for key in keys})


def refusal(chain: TrustChain, data: bytes) -> Reason:
    with pytest.raises(PlacetError) as caught:
        chain.verify(data)
    return caught.value.reason


def test_a_root_follows_the_one_before_by_its_quorum(published: TrustWorld, tmp_path: Path) -> None:
    chain = TrustChain(None)
    chain.verify(metadata(published, "1.root.json"))
    other = TrustWorld(tmp_path / "other")
    other.publish(ANNA, BEN)
    # Signed by its own people, and by one of those who may say who comes next.
    assert refusal(chain, next_root(other, ANNA, BEN)) is Reason.BAD_TRUST
    assert refusal(chain, next_root(published, ANNA)) is Reason.BAD_TRUST
    second = next_root(published, ANNA, BEN)
    chain.verify(second)
    chain.verify(second)
    # The same quorum signs another second root: an equivocation, and no second version.
    assert refusal(chain, next_root(published, BEN, CLEO, days=31)) is Reason.BAD_TRUST
    # A root that skips one has nobody to judge it.
    root: Root = Metadata.from_bytes(second).signed
    root.version += 2
    assert refusal(chain, signed_by(published, root, ANNA, BEN)) is Reason.BAD_TRUST


def in_other_forms(data: bytes) -> bytes:
    """Returns a file with the other ECDSA signatures that anybody can compute from those in it."""
    value = json.loads(data)
    for signature in value["signatures"]:
        sshsig = parse_sshsig(bytes.fromhex(signature["sig"]))
        if sshsig.numbers is not None:
            r, s = sshsig.numbers
            other = sshsig._replace(signature=ssh_mpint(r) + ssh_mpint(P256_ORDER - s))
            signature["sig"] = encode_sshsig(other).hex()
    return bytes(Metadata.from_dict(value).to_bytes(JSONSerializer()))


@pytest.mark.parametrize("has_snapshot", [True, False])
def test_a14_nobody_logs_a_version_again_by_changing_the_form_of_its_signatures(
    published: TrustWorld, has_snapshot: bool
) -> None:
    if has_snapshot:
        published.refresh(root_sha256=sha256_hex(metadata(published, "1.root.json")))
    chain = TrustChain(published.snapshot if has_snapshot else None)
    for name in ("1.root.json", "1.targets.json"):
        genuine = metadata(published, name)
        other = in_other_forms(genuine)
        assert other != genuine
        if not has_snapshot:
            chain.verify(genuine)
        assert refusal(chain, other) is Reason.BAD_TRUST
        chain.verify(genuine)

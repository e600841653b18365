"""A15 for trust files: metadata and targets made to exhaust or to crash whoever reads them."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trust_simulator import ALL, PEOPLE, Gate, Simulator
from tuf.api.metadata import DelegatedRole, Delegations, MetaFile  # type: ignore[attr-defined]

from placet.adapters.tuf.refresh import refresh
from placet.adapters.tuf.trust import ROOT, SNAPSHOT, TARGETS, TIMESTAMP
from placet.core.encoding import sha256_hex
from placet.core.errors import PlacetError, Reason

CHANGED = (TARGETS, SNAPSHOT, TIMESTAMP)
# Of processor time: generous for a loaded machine, far below what a stalled gate would take.
LIMIT_SECONDS = 4

BYTES = {
    "deep lists": b"[" * 14_000,
    "deep lists that are closed": b"[" * 7000 + b"]" * 7000,
    "deep objects": b'{"a":' * 2500 + b"1" + b"}" * 2500,
    "an endless number": b'{"signed":' + b"9" * 15_000 + b"}",
    "no text": b"\xff\xfe\xfd",
    "zeros": bytes(10_000),
    "nothing": b"",
    "null": b"null",
    "a list": b"[]",
    "a login page": b"<html>Log in</html>",
    "not a number": b'{"signed":{"version":NaN}}',
}


@pytest.mark.parametrize("data", BYTES.values(), ids=BYTES)
@pytest.mark.parametrize("role", ALL)
def test_a15_bytes_that_are_no_metadata(repo: Simulator, http_client: Gate, role: str, data: bytes) -> None:
    http_client.refresh()
    repo.publish(*ALL)
    good = repo.tree()
    path = "timestamp.json" if role == TIMESTAMP else f"2.{role}.json"
    repo.fetch = (good | {f"metadata/{path}": data}).get  # type: ignore[method-assign]
    started = time.process_time()
    http_client.refuses(Reason.BAD_TRUST)
    assert time.process_time() - started < LIMIT_SECONDS


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


EDITS: dict[str, Callable[[dict[str, Any]], object]] = {
    "deep unknown member": lambda v: v["signed"].update(x=deep(900)),
    "unknown float": lambda v: v["signed"].update(x=0.5),
    "unknown null": lambda v: v["signed"].update(x=None),
    "version zero": lambda v: v["signed"].update(version=0),
    "version negative": lambda v: v["signed"].update(version=-1),
    "version text": lambda v: v["signed"].update(version="2"),
    "version true": lambda v: v["signed"].update(version=True),
    "version endless": lambda v: v["signed"].update(version=10**3000),
    "expires never": lambda v: v["signed"].update(expires="9999-99-99T00:00:00Z"),
    "expires number": lambda v: v["signed"].update(expires=1),
    "no expiry": lambda v: v["signed"].pop("expires"),
    "no type": lambda v: v["signed"].pop("_type"),
    "no signatures": lambda v: v.pop("signatures"),
    "signatures of nobody": lambda v: v.update(signatures=[]),
    "signatures of another form": lambda v: v.update(signatures={"a": 1}),
    "a signature that is a number": lambda v: v["signatures"][0].update(sig=5),
    "a key ID that is a number": lambda v: v["signatures"][0].update(keyid=5),
    "a thousand signatures": lambda v: v["signatures"].extend(
        {"keyid": f"{i:064x}", "sig": "00"} for i in range(100)
    ),
    "another member at the top": lambda v: v.update(x=1),
}
# What does no harm: unknown signatures are passed over, unknown members at the top are not read.
HARMLESS = {"a thousand signatures", "another member at the top"}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
@pytest.mark.parametrize("role", ALL)
def test_a15_edited_metadata(
    repo: Simulator, http_client: Gate, role: str, edit: Any, request: pytest.FixtureRequest
) -> None:
    http_client.refresh()
    for signers in (repo.signers[ROOT], repo.signers[TARGETS]):
        signers.popitem()  # no more than are needed: a spoilt signature is one too few
    repo.publish(*ALL)
    repo.edit(role, edit)
    good = repo.tree()
    path = "timestamp.json" if role == TIMESTAMP else f"2.{role}.json"
    repo.fetch = (good | {f"metadata/{path}": repo.metadata[role][-1]}).get  # type: ignore[method-assign]
    if any(name in request.node.name for name in HARMLESS):
        assert http_client.refresh().changed
    else:
        http_client.refuses(Reason.BAD_TRUST)


def test_a15_metadata_of_random_changes_never_crashes_the_client(repo: Simulator, tmp_path: Path) -> None:
    """Whatever is exchanged in metadata, the client accepts it or refuses it by name."""
    chance = random.Random(15)
    values: list[Any] = [None, True, -1, 0, 2**63, 0.5, "", "x", "\x00", [], {}, [[]], {"a": {}}, "9" * 200]
    answers = set()
    for number in range(60):
        role = chance.choice(ALL)
        value = json.loads(repo.metadata[role][0])
        place = value
        while True:
            keys = list(place.keys()) if isinstance(place, dict) else list(range(len(place)))
            key = chance.choice(keys)
            if isinstance(place[key], dict | list) and place[key] and chance.random() < 0.8:
                place = place[key]
                continue
            if chance.random() < 0.3:
                del place[key]
            else:
                place[key] = chance.choice(values)
            break
        attacked = Simulator.__new__(Simulator)
        attacked.__dict__ |= repo.__dict__
        attacked.metadata = repo.metadata | {role: [json.dumps(value).encode()]}
        attacked.write(tmp_path / "published")
        if role != TIMESTAMP:  # under its own name, whatever it says now
            path = tmp_path / "published" / "metadata" / f"1.{role}.json"
            path.write_bytes(attacked.metadata[role][0])
        try:
            refresh(
                str(tmp_path / "published"),
                tmp_path / f"gate-{number}" / "snapshot.json",
                root_sha256=sha256_hex(attacked.metadata[ROOT][0]),
                now=repo.now,
            )
            answers.add("accepted")
        except PlacetError as refusal:
            answers.add(str(refusal.reason))
            assert str(refusal).endswith("."), refusal
    assert Reason.BAD_TRUST in answers


def test_a15_many_delegations(repo: Simulator, http_client: Gate) -> None:
    """Thousands of roles, each of them one more file to fetch, signed by those who may sign targets."""
    http_client.refresh()
    roles = {
        f"scope-{i}": DelegatedRole(f"scope-{i}", [PEOPLE[0].public_key.keyid], 1, True, [f"policy/{i}.toml"])
        for i in range(2000)
    }
    repo.top.delegations = Delegations({PEOPLE[0].public_key.keyid: PEOPLE[0].public_key}, roles)
    repo.publish(*CHANGED)
    repo.requests.clear()
    started = time.process_time()
    http_client.refuses(Reason.BAD_TRUST)
    assert len(repo.requests) < 300
    assert time.process_time() - started < LIMIT_SECONDS


def test_a15_a_snapshot_of_many_roles(repo: Simulator, http_client: Gate) -> None:
    """Ten thousand names in the snapshot cost nothing but their bytes: nobody asks for them."""
    repo.publish(TARGETS, SNAPSHOT)
    repo.metadata[SNAPSHOT].pop()
    for number in range(10_000):
        repo.snapshot.meta[f"role-{number}.json"] = MetaFile(1)
    repo.republish(SNAPSHOT)
    repo.publish(TIMESTAMP)
    http_client.refresh()
    assert len(repo.requests) < 20


def test_a15_too_many_files(repo: Simulator, http_client: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("placet.adapters.tuf.refresh._MAX_FILES", 12)
    for number in range(10):
        repo.add_file(f"layouts/{number}", b"x")
    repo.publish(*CHANGED)
    repo.requests.clear()
    http_client.refuses(Reason.TOO_MANY, "12 files")
    assert not any(path.startswith("targets/") for path in repo.requests)


TARGET_BOMBS = {
    "deep JSON": ("people.json", b'{"people":' + b"[" * 200_000 + b"]" * 200_000 + b"}", Reason.TOO_DEEP),
    "no JSON": ("people.json", b"people: []", Reason.NOT_JSON),
    "a member twice": ("people.json", b'{"people":[],"people":[]}', Reason.DUPLICATE_MEMBER),
    "an endless number": ("gates.json", b'{"gates":' + b"9" * 100_000 + b"}", Reason.NUMBER_NOT_ALLOWED),
    "too many people": (
        "people.json",
        b'{"people":['
        + b",".join(b'{"id":"p%d","groups":[],"accounts":[],"credentials":[]}' % i for i in range(10_001))
        + b"]}",
        Reason.TOO_MANY,
    ),
    "deep TOML": ("policy/default.toml", b"a = " + b"[" * 100_000, Reason.BAD_POLICY),
    "TOML of many tables": ("policy/default.toml", b"".join(b"[a%d]\n" % i for i in range(30_000)), None),
    "an endless pattern": (
        "policy/default.toml",
        b'[[rule]]\naction = "a"\ntarget = "' + b"*" * 50_000 + b'"\n',
        None,
    ),
}


@pytest.mark.parametrize(("name", "data", "reason"), TARGET_BOMBS.values(), ids=TARGET_BOMBS)
def test_a15_target_files(
    repo: Simulator, http_client: Gate, name: str, data: bytes, reason: Reason | None
) -> None:
    """Signed by the quorum itself: a gate that would choke on it keeps what it has."""
    http_client.refresh()
    before = http_client.snapshot.read_bytes()
    repo.add_file(name, data)
    repo.publish(*CHANGED)
    started = time.process_time()
    with pytest.raises(PlacetError) as caught:
        http_client.refresh()
    assert reason is None or caught.value.reason is reason, caught.value
    assert time.process_time() - started < LIMIT_SECONDS
    assert http_client.snapshot.read_bytes() == before

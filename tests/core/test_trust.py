"""Compiling and loading trust: whatever a gate would refuse is refused before it replaces a good snapshot."""

from __future__ import annotations

import json
from typing import Any

import pytest

from placet.core import trust as trust_module
from placet.core.encoding import encode_canonical
from placet.core.errors import MalformedError, Reason
from placet.core.trust import MAX_FILE_BYTES, MAX_SNAPSHOT_BYTES, compile_trust, parse_trust
from placet.testing.world import NOW, World


def compiled(files: dict[str, bytes], versions: Any = None) -> bytes:
    return compile_trust(files=files, versions=versions or {"root": 1}, expires_at=NOW)


def refusal(files: dict[str, bytes], versions: Any = None) -> MalformedError:
    with pytest.raises(MalformedError) as caught:
        compiled(files, versions)
    return caught.value


@pytest.mark.parametrize(
    "name", ["people.json", "terminals.json", "gates.json", "scopes.json", "deployment.json"]
)
@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"people":1}', b"\xff"])
def test_compiling_refuses_what_loading_would(name: str, content: bytes) -> None:
    refusal(World().files() | {name: content})


def test_only_policy_files_are_policies() -> None:
    files = World().files() | {
        "policy/notes.txt": b"x",
        "layouts/x.toml": b"[",
        "sigstore/trusted_root.json": b"{}",
    }
    trust = parse_trust(compiled(files))
    assert len(trust.rules) == 3
    assert {"policy/notes.txt", "layouts/x.toml"} <= set(trust.files)


def test_a_policy_names_its_scope_by_its_file() -> None:
    trust = parse_trust(compiled(World().files()))
    assert {(rule.scope, rule.file) for rule in trust.rules} == {("default", "policy/default.toml")}
    assert refusal(World().files() | {"policy/ghost.toml": b""}).reason is Reason.BAD_TRUST


@pytest.mark.parametrize(
    "options",
    ["after = 2026-11-23", "after = 10:00:00", "x = nan", "x = inf", "x = 1.5", "x = 9007199254740993"],
)
def test_a_value_that_json_cannot_hold_is_a_named_refusal(options: str) -> None:
    needed = 'kind = "slsa-provenance", builders = ["https://github.com/actions/runner"], any_source = true'
    policy = World().policy + f"evidence = [{{ {needed}, parameters = {{ {options} }} }}]\n"
    error = refusal(World().files() | {"policy/default.toml": policy.encode()})
    assert error.reason in (Reason.BAD_POLICY, Reason.NUMBER_NOT_ALLOWED)


def test_half_a_surrogate_pair_is_a_named_refusal() -> None:
    files = World().files()
    files["people.json"] = files["people.json"].replace(b'"groups":["release"]', b'"groups":["\\ud800"]')
    assert refusal(files).reason is Reason.BAD_TRUST


@pytest.mark.parametrize(
    "versions", [{"root": 0}, {"root": True}, {"root": "1"}, {"": 1}, {"é": 1}, {"root": -1}]
)
def test_versions_are_whole_numbers_from_one(versions: Any) -> None:
    error = refusal(World().files(), versions)
    assert (error.reason, error.path.split("/")[1]) == (Reason.BAD_VALUE, "versions")


def test_origins_and_credentials_can_be_looked_up() -> None:
    world = World()
    trust = world.trust()
    assert trust.origins == {world.origin("t1"), world.origin("t2")}
    assert {person.id for person, _ in trust.credentials.values()} == set(world.keys)
    assert sorted(trust.gates) == ["prod-eu", "prod-us"]
    assert trust.gates["prod-eu"].ledger == "prod-eu-ledger"


def test_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (MAX_SNAPSHOT_BYTES, MAX_FILE_BYTES) == (1 << 25, 1 << 24)
    snapshot = World().snapshot()
    for limit, ok in ((len(snapshot), True), (len(snapshot) - 1, False)):
        monkeypatch.setattr(trust_module, "MAX_SNAPSHOT_BYTES", limit)
        if ok:
            assert parse_trust(snapshot)
        else:
            with pytest.raises(MalformedError) as caught:
                parse_trust(snapshot)
            assert caught.value.reason is Reason.TOO_LARGE


def test_a_snapshot_is_canonical_and_reads_back() -> None:
    snapshot = World().snapshot()
    assert encode_canonical(json.loads(snapshot)) == snapshot
    assert parse_trust(snapshot).expires_at == World().expires_at

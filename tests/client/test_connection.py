"""What a client is given: addresses, tokens, authorities, proxies; and what is public."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import placet.client
from placet.cli._relay import relay_settings
from placet.client import AsyncRelayClient, RelayClient, _connection
from placet.core.errors import MalformedError, Reason
from placet.testing.hostile_relay import HostileRelay, lies

SECRET = "s3cret-token"


@pytest.fixture
def relay() -> Iterator[HostileRelay]:
    with HostileRelay("http://127.0.0.1:9", lambda seen, forward: lies.said(200, {"status": "ok"})) as relay:
        yield relay


def options(url: str, **given: Any) -> dict[str, Any]:
    chosen = {"token": None, "verify": None, "trust_env": True, "unsafe_token_in_clear": False} | given
    return dict(_connection.prepare(url, **chosen).options)


def test_the_token_is_sent_and_not_shown(relay: HostileRelay) -> None:
    with RelayClient(relay.url, token=SECRET) as client:
        client.health()
        relay.turn(lies.refused("health", 401, "unknown-caller", "Who?"))
        with pytest.raises(placet.client.RelayRefusedError) as error:
            client.health()
        assert SECRET not in f"{error.value!r}{error.value}{error.value.hint}{client!r}{client.address}"
        assert "PLACET_RELAY_TOKEN" in error.value.hint
    assert {seen.who for seen in relay.seen} == {SECRET}


def test_the_token_does_not_travel_in_clear() -> None:
    with pytest.raises(MalformedError, match="everybody on the way could read") as error:
        RelayClient("http://relay.example", token=SECRET)
    assert error.value.reason is Reason.BAD_VALUE
    assert "Authorization" in options("https://relay.example", token=SECRET)["headers"]
    assert "Authorization" in options("http://127.0.0.1:1", token=SECRET)["headers"]
    allowed = options("http://relay.example", token=SECRET, unsafe_token_in_clear=True)
    assert "Authorization" in allowed["headers"]


@pytest.mark.parametrize("token", ["", "a b", "a\nX-Evil: 1", "gr\u00fc\u00df", "x" * 513])
def test_a_token_that_is_none_is_refused_unseen(token: str) -> None:
    with pytest.raises(MalformedError) as error:
        RelayClient("https://relay.example", token=token)
    assert not token or token not in str(error.value)


def test_proxies_of_the_environment_serve_other_machines_only() -> None:
    assert options("https://relay.example")["trust_env"] is True
    assert options("https://relay.example", trust_env=False)["trust_env"] is False
    for here in ("http://127.0.0.1:8471", "https://localhost", "http://[::1]:8471"):
        assert options(here)["trust_env"] is False


def test_an_authority_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    bad = tmp_path / "ca.pem"
    with pytest.raises(MalformedError, match="No such file"):
        RelayClient("https://relay.example", verify=bad)
    bad.write_text("no certificate")
    with pytest.raises(MalformedError, match=r"ca\.pem cannot be used"):
        RelayClient("https://relay.example", verify=bad)


def test_the_commands_find_the_token_in_its_variable_or_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from placet.adapters.paths import config_dir

    assert relay_settings(None).token is None
    (tmp_path / "token").write_text(f"{SECRET}\n")
    config = config_dir() / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(f'relay_token_file = "{tmp_path / "token"}"\nrelay_ca_file = "ca.pem"\n')
    assert relay_settings("https://x.example") == ("https://x.example", SECRET, "ca.pem")
    monkeypatch.setenv("PLACET_RELAY_TOKEN", "other")
    assert relay_settings(None).token == "other"


def test_what_is_public_is_listed_and_documented() -> None:
    tree = ast.parse(Path(placet.client.__file__).read_text())
    imported = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert set(placet.client.__all__) == imported
    assert all(
        inspect.getdoc(getattr(placet.client, name)) for name in placet.client.__all__ if name[0].islower()
    )


def test_both_clients_have_the_same_calls() -> None:
    def calls(client: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(member).parameters)
            for name, member in vars(client).items()
            if not name.startswith("_") and inspect.isfunction(member) and name not in ("close", "aclose")
        }

    assert calls(RelayClient) == calls(AsyncRelayClient)
    assert len(calls(RelayClient)) == 11

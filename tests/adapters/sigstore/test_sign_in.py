"""Whoever signs says who they are: a browser, another device, a file, the machine; tokens stay secret."""

from __future__ import annotations

import gc
import json
import threading
import urllib.request
import webbrowser
from collections.abc import Iterator
from pathlib import Path

import pytest
from sigstore.oidc import IdentityToken

from placet.adapters.sigstore import sign_in
from placet.adapters.sigstore.sign_in import DevicePrompt
from placet.ports.artifact_signer import SigningUnavailableError
from placet.testing.private_sigstore import PrivateSigstoreServer

ALICE = "alice@example.com"


# sigstore-python leaves the socket that the browser comes back to, to the garbage collector.
LEAKS = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def server() -> Iterator[PrivateSigstoreServer]:
    with PrivateSigstoreServer(b"sign in") as running:
        yield running


def device_token(server: PrivateSigstoreServer, tell: object = None, who: str | None = ALICE) -> str:
    """Signs in; a person types the code on another device as soon as it is shown."""
    shown: list[DevicePrompt] = []
    waited: list[float] = []

    def person(prompt: DevicePrompt) -> None:
        shown.append(prompt)
        server.people.enter_code(prompt.code, who)

    found = sign_in.device_token(server.address, person, sleep=waited.append)
    assert shown[0].address == f"{server.address}/activate"
    assert waited and waited[0] == server.people.interval
    return found


def identity_of(token: str) -> str:
    # An issuer that sigstore-python does not know has the subject as identity.
    return str(IdentityToken(token).identity)


def test_a_person_signs_in_on_another_device(server: PrivateSigstoreServer) -> None:
    assert identity_of(device_token(server)) == ALICE


def test_no_code_that_counts_is_shown(server: PrivateSigstoreServer) -> None:
    """The page's code alone gets no token: the device's own code, and its proof, stay here."""
    prompts: list[DevicePrompt] = []

    def person(prompt: DevicePrompt) -> None:
        prompts.append(prompt)
        server.people.enter_code(prompt.code, ALICE)

    token = sign_in.device_token(server.address, person, sleep=lambda s: None)
    assert token not in str(prompts)
    poll = {"grant_type": sign_in._DEVICE_GRANT, "device_code": prompts[0].code}
    assert server.people.answer("/token", poll)[1] == {"error": "expired_token"}


def test_a_device_waits_and_slows_down_when_it_is_told_to(server: PrivateSigstoreServer) -> None:
    waited: list[float] = []
    codes: list[str] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 4:
            server.people.enter_code(codes[0], ALICE)

    server.people.slow_down = 1
    token = sign_in.device_token(server.address, lambda prompt: codes.append(prompt.code), sleep=sleep)
    assert identity_of(token) == ALICE
    assert waited == [1.0, 6.0, 6.0, 6.0]


def test_a_person_who_declines_or_never_comes_leaves_no_token(server: PrivateSigstoreServer) -> None:
    with pytest.raises(SigningUnavailableError, match="declined"):
        device_token(server, who=None)
    clock = iter(range(0, 100_000, 100))
    with pytest.raises(SigningUnavailableError, match="nobody signed in"):
        sign_in.device_token(
            server.address, lambda prompt: None, sleep=lambda s: None, clock=lambda: float(next(clock))
        )


def test_an_issuer_without_a_device_page_is_named(server: PrivateSigstoreServer) -> None:
    with pytest.raises(SigningUnavailableError, match="HTTP 404"):
        sign_in.device_token(f"{server.address}/elsewhere", lambda prompt: None)
    with pytest.raises(SigningUnavailableError, match="reached"):
        sign_in.device_token("http://127.0.0.1:9", lambda prompt: None)


@pytest.fixture
def browser(monkeypatch: pytest.MonkeyPatch) -> None:
    """A browser that goes where it is sent."""

    def browse(url: str) -> bool:
        def follow() -> None:
            with urllib.request.urlopen(url) as page:
                page.read()

        threading.Thread(target=follow).start()
        return True

    monkeypatch.setattr(webbrowser, "open", browse)


@LEAKS
@pytest.mark.usefixtures("browser")
def test_a_person_signs_in_with_this_machine_s_browser(
    server: PrivateSigstoreServer, capfd: pytest.CaptureFixture[str]
) -> None:
    server.people.signed_in = ALICE
    token = sign_in.browser_token(server.address)
    assert identity_of(token) == ALICE
    assert token not in "".join(capfd.readouterr())
    gc.collect()


@LEAKS
@pytest.mark.usefixtures("browser")
def test_a_person_who_says_no_in_the_browser_leaves_no_token(server: PrivateSigstoreServer) -> None:
    with pytest.raises(SigningUnavailableError, match="access_denied"):
        sign_in.browser_token(server.address)
    gc.collect()


def test_a_token_is_read_from_a_file(server: PrivateSigstoreServer, tmp_path: Path) -> None:
    path = tmp_path / "token"
    token = server.sigstore.token(ALICE)
    path.write_text(token + "\n")
    assert sign_in.read_token_file(path) == token
    secret = "only.two-parts-of-a-secret"
    path.write_text(secret)
    with pytest.raises(SigningUnavailableError) as caught:
        sign_in.read_token_file(path)
    assert secret not in str(caught.value)
    with pytest.raises(SigningUnavailableError, match="No such file"):
        sign_in.read_token_file(tmp_path / "none")


def test_a_machine_without_an_identity_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITHUB_ACTIONS", "GITLAB_CI", "CIRCLECI", "BUILDKITE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(SigningUnavailableError, match="no identity of its own"):
        sign_in.ambient_token()


def test_an_issuer_over_tls_does_not_lead_to_an_address_without(monkeypatch: pytest.MonkeyPatch) -> None:
    document = {
        "device_authorization_endpoint": "http://elsewhere.example/device",
        "token_endpoint": "https://issuer.example/token",
    }
    monkeypatch.setattr(sign_in, "_get", lambda url: json.loads(json.dumps(document)))
    with pytest.raises(SigningUnavailableError, match="without TLS"):
        sign_in.device_token("https://issuer.example", lambda prompt: None)

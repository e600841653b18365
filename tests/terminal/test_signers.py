"""securesystemslib signers: ssh-keygen and the page sign what stock python-tuf and in-toto then verify."""

from __future__ import annotations

import functools
import http.server
import json
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from in_toto.exceptions import LinkNotFoundError, ThresholdVerificationError
from in_toto.models.layout import Layout, Step
from in_toto.models.link import Link
from in_toto.models.metadata import Envelope
from in_toto.verifylib import in_toto_verify
from page_driver import Reader, check_for_everyone, plugged_in
from securesystemslib.signer import CryptoSigner, Signer
from terminal_world import PageWorld, free_port, keep_credentials
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.ngclient import Updater

from placet.adapters.terminal_identity import FileTerminalIdentity
from placet.core.display import iter_leaves
from placet.core.dsse import PAYLOAD_TYPE, pae
from placet.core.errors import PlacetError
from placet.securesystemslib import (
    NAMESPACE_INTENT,
    NAMESPACE_LINK,
    AuthenticatorError,
    AuthenticatorSigner,
    SkKey,
    SshSkSigner,
    register,
)
from placet.terminal.credentials import CredentialStore
from placet.terminal.signable import read_signable
from placet.terminal.webauthn_signer import WebAuthnSigner
from placet.testing import openssh
from placet.testing.authenticator import SoftSk, SoftWebAuthn
from placet.testing.chromium import ChromiumSession
from placet.testing.world import ALICE

LATER = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)


@pytest.fixture(autouse=True)
def registered() -> None:
    register()


# -- ssh-sk:


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> openssh.Provider:
    found = openssh.sk_dummy()
    for name, value in found.variables.items():
        monkeypatch.setenv(name, value)
    return found


def ssh_signer(provider: openssh.Provider, path: Path, **options: object) -> Signer:
    openssh.generate_sk_key(provider, path, verify_required=True)
    uri, key = SshSkSigner.import_(path, **options)
    return Signer.from_priv_key_uri(uri, key)


@pytest.mark.interop
def test_stock_updater_follows_roles_that_ssh_keys_signed(provider: openssh.Provider, tmp_path: Path) -> None:
    people = [ssh_signer(provider, tmp_path / name) for name in ("anna", "ben b", "cleo")]
    online = CryptoSigner.generate_ed25519()
    root = Root(expires=LATER)
    for role in ("root", "targets"):
        for person in people:
            root.add_key(person.public_key, role)
        root.roles[role].threshold = 2
    for role in ("snapshot", "timestamp"):
        root.add_key(online.public_key, role)
    targets = Targets(expires=LATER)
    targets.targets["app"] = TargetFile.from_data("app", b"the app")
    snapshot = Snapshot(expires=LATER, meta={"targets.json": MetaFile(1)})
    timestamp = Timestamp(expires=LATER, snapshot_meta=MetaFile(1))
    folder = tmp_path / "repository"
    (folder / "metadata").mkdir(parents=True)
    by_two = {"1.root": Metadata(root), "1.targets": Metadata(targets)}
    by_machine = {"1.snapshot": Metadata(snapshot), "timestamp": Metadata(timestamp)}
    for name, metadata in {**by_two, **by_machine}.items():
        for signer in people[:2] if name in by_two else [online]:
            metadata.sign(signer, append=True)
        metadata.to_file(str(folder / "metadata" / f"{name}.json"))
    with serving(folder) as address:
        found = client(tmp_path / "good", folder, address).get_targetinfo("app")
        assert found is not None
        assert found.length == len(b"the app")
        # A third signature that is rubbish takes nothing from the two good ones.
        spoil(folder / "metadata" / "1.targets.json", people[2].public_key.keyid)
        assert client(tmp_path / "spoilt", folder, address).get_targetinfo("app") is not None


def client(cache: Path, folder: Path, address: str) -> Updater:
    cache.mkdir()
    root = (folder / "metadata" / "1.root.json").read_bytes()
    updater = Updater(str(cache), f"{address}/metadata/", str(cache), f"{address}/targets/", bootstrap=root)
    updater.refresh()
    return updater


def spoil(path: Path, keyid: str) -> None:
    value = json.loads(path.read_text())
    value["signatures"].append({"keyid": keyid, "sig": "00" * 40})
    path.write_text(json.dumps(value))


class serving:  # noqa: N801 -- reads as a statement
    """A plain file server over a folder; gives its address."""

    def __init__(self, folder: Path) -> None:
        class Quiet(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

        handler = functools.partial(Quiet, directory=str(folder))
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> str:
        self._thread.start()
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.mark.interop
def test_in_toto_verify_counts_links_that_ssh_keys_signed(provider: openssh.Provider, tmp_path: Path) -> None:
    owner = ssh_signer(provider, tmp_path / "owner")
    people = [ssh_signer(provider, tmp_path / n, namespace=NAMESPACE_LINK) for n in ("anna", "ben")]
    keys = {s.public_key.keyid: {**s.public_key.to_dict(), "keyid": s.public_key.keyid} for s in people}
    step = Step(name="test", threshold=2, pubkeys=list(keys), expected_products=[["ALLOW", "*"]])
    layout = Envelope.from_signable(Layout(steps=[step], keys=keys, expires="2099-01-01T00:00:00Z"))
    layout.create_signature(owner)
    owner_key = {**owner.public_key.to_dict(), "keyid": owner.public_key.keyid}

    def verify(folder: Path, *signers: Signer) -> None:
        folder.mkdir()
        for keyid, signer in zip(keys, signers, strict=False):
            link = Envelope.from_signable(Link(name="test", products={"app": {"sha256": "ab" * 32}}))
            link.create_signature(signer)
            link.dump(str(folder / f"test.{keyid[:8]}.link"))
        in_toto_verify(layout, {owner.public_key.keyid: owner_key}, link_dir_path=str(folder))

    verify(tmp_path / "both", *people)
    with pytest.raises(LinkNotFoundError):
        verify(tmp_path / "one", people[0])
    # What the same key signed as trust metadata is no link.
    trust = [Signer.from_priv_key_uri(*SshSkSigner.import_(tmp_path / name)) for name in ("anna", "ben")]
    with pytest.raises(ThresholdVerificationError):
        verify(tmp_path / "other purpose", *trust)


@pytest.mark.interop
def test_uri_names_the_file_and_never_another_key(provider: openssh.Provider, tmp_path: Path) -> None:
    anna, ben = ssh_signer(provider, tmp_path / "an na?#%"), ssh_signer(provider, tmp_path / "ben")
    uri, key = SshSkSigner.import_(tmp_path / "an na?#%.pub")
    assert key == anna.public_key
    assert Signer.from_priv_key_uri(uri, key).public_key == key
    for wrong in (uri, "ssh-sk:", "ssh-sk:/nowhere"):
        with pytest.raises((ValueError, AuthenticatorError)):
            Signer.from_priv_key_uri(wrong, ben.public_key)


def test_key_whose_purpose_is_approving_signs_nothing_through_a_signer() -> None:
    soft = SoftSk()
    key = SkKey.from_wire(soft.wire, kind="sk", namespace=NAMESPACE_INTENT)
    with pytest.raises(ValueError, match="placet terminal"):
        AuthenticatorSigner(soft, key)
    with pytest.raises(ValueError, match="register"):
        AuthenticatorSigner(soft, CryptoSigner.generate_ed25519().public_key)


def test_signature_that_would_not_count_is_never_handed_out() -> None:
    class Untouched(SoftSk):
        def sign(self, namespace: str, message: bytes, **knobs: object) -> bytes:
            return super().sign(namespace, message, flags=0)

    soft = Untouched()
    signer = AuthenticatorSigner(soft, SkKey.from_wire(soft.wire, kind="sk"))
    with pytest.raises(AuthenticatorError, match="touched"):
        signer.sign(b"{}")


# -- webauthn:


@pytest.fixture
def page_place(tmp_path: Path) -> Iterator[tuple[PageWorld, Path, SkKey]]:
    with free_port() as sockets:
        port = sockets[0].getsockname()[1]
    world = PageWorld(port)
    FileTerminalIdentity.create(tmp_path / "identity.json", "t1")
    keep_credentials(world, CredentialStore(tmp_path / "credentials.json"), ALICE)
    soft = world.keys[ALICE]
    assert isinstance(soft, SoftWebAuthn)
    yield world, tmp_path, SkKey.from_wire(soft.wire, kind="webauthn", origins=(world.origin("t1"),))


class Signing:
    """A tool that signs in a thread, while the test is the person before the browser."""

    def __init__(self, place: tuple[PageWorld, Path, SkKey], message: bytes) -> None:
        world, folder, key = place
        self.uri = f"webauthn:{folder}?port={world.port}"
        signer = Signer.from_priv_key_uri(self.uri, key)
        assert isinstance(signer, WebAuthnSigner)
        self.url, self.done = "", threading.Event()
        self.result: object = None
        ready = threading.Event()

        def announce(url: str) -> None:
            self.url = url
            ready.set()

        def sign() -> None:
            try:
                self.result = signer.sign(message)
            except AuthenticatorError as e:
                self.result = e
            self.done.set()
            ready.set()

        signer._authenticator._announce = announce  # type: ignore[attr-defined]
        threading.Thread(target=sign, daemon=True).start()
        assert ready.wait(10)


def open_page(session: ChromiumSession, signing: Signing) -> Reader:
    reader = Reader(session, None)  # type: ignore[arg-type]
    session.page.goto("about:blank")
    session.page.goto(signing.url)
    session.page.wait_for_selector("#sign, .problem")
    return reader


def read_document(reader: Reader) -> None:
    reader.page.wait_for_timeout(300)
    for _ in range(30):
        if reader.page.is_enabled("#sign"):
            return
        reader.page.keyboard.press("PageDown")
        reader.page.wait_for_timeout(400)
    raise AssertionError(f"never finished reading: {reader.page.text_content('#left')}")


@pytest.mark.browser
def test_page_shows_a_role_in_full_and_signs_it(
    chromium: ChromiumSession, page_place: tuple[PageWorld, Path, SkKey]
) -> None:
    world, _, key = page_place
    root = Metadata(Root(expires=LATER))
    root.signed.add_key(key, "root")
    message = root.signed_bytes
    signing = Signing(page_place, message)
    with plugged_in(world, chromium, ALICE):
        reader = open_page(chromium, signing)
        assert "root version 1" in reader.page.inner_text("h1")
        assert "sign-trust" in reader.page.inner_text("main")
        assert reader.page.is_disabled("#sign")
        check_for_everyone(reader.page, "sign")
        shown = reader.page.evaluate(
            """() => [...document.querySelectorAll("[data-index] dd code")].map((e) => e.textContent)"""
        )
        assert sorted(shown) == sorted(value for _, value in iter_leaves(json.loads(message)))
        read_document(reader)
        reader.page.click("#sign")
        assert "Signed." in reader.wait_state("done", "error")
    assert signing.done.wait(10)
    key.verify_signature(signing.result, message)  # type: ignore[arg-type]
    chromium.page.goto("about:blank")


@pytest.mark.browser
def test_person_who_declines_signs_nothing(
    chromium: ChromiumSession, page_place: tuple[PageWorld, Path, SkKey]
) -> None:
    signing = Signing(page_place, b'{"_type":"root"}')
    reader = open_page(chromium, signing)
    reader.page.click("#decline")
    assert "Nothing was signed" in reader.wait_state("done")
    assert signing.done.wait(10)
    assert "declined" in str(signing.result)
    chromium.page.goto("about:blank")


def test_what_cannot_be_shown_is_not_asked_for(page_place: tuple[PageWorld, Path, SkKey]) -> None:
    for message in (b"\x00\x01", b"[]", b"{}", b'{"a":1}x', b'{"a":1,"a":2}', b'DSSEv1 1 a 9 {"a":1}'):
        signing = Signing(page_place, message)
        assert signing.done.wait(10)
        assert isinstance(signing.result, AuthenticatorError), message
        assert "Nothing was signed" in str(signing.result)


def test_webauthn_uri_is_refused_where_its_signature_would_not_count(
    page_place: tuple[PageWorld, Path, SkKey], tmp_path_factory: pytest.TempPathFactory
) -> None:
    world, folder, key = page_place
    empty = tmp_path_factory.mktemp("empty")
    stranger = SkKey.from_wire(SoftSk().wire, kind="sk")
    for uri, wanted, words in (
        (f"webauthn:{folder}?port=1", key, "do not count"),
        (f"webauthn:{folder}?port=x", key, "is not webauthn"),
        (f"webauthn:{folder}?door=1", key, "is not webauthn"),
        (f"webauthn:{empty}?port={world.port}", key, "no terminal identity"),
        (f"webauthn:{folder}?port={world.port}", stranger, "none that a browser"),
    ):
        with pytest.raises(ValueError, match=words):
            Signer.from_priv_key_uri(uri, wanted)


def test_port_that_is_taken_is_said_in_words(page_place: tuple[PageWorld, Path, SkKey]) -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", page_place[0].port))
        taken.listen()
        signing = Signing(page_place, b'{"_type":"root"}')
        assert signing.done.wait(10)
    assert "already in use" in str(signing.result)


# -- What is shown


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=6), JSON, min_size=1, max_size=4), st.booleans())
def test_every_leaf_has_a_line_of_its_own(value: dict[str, object], enveloped: bool) -> None:
    document = json.dumps(value).encode()
    message = pae(PAYLOAD_TYPE, document) if enveloped else document
    try:
        shown = read_signable(message)
    except PlacetError:
        return
    assert [(row.pointer, row.value) for row in shown.rows] == iter_leaves(json.loads(document))
    assert len({row.label for row in shown.rows}) == len(shown.rows)
    assert all(row.label.isascii() and row.value.isascii() for row in shown.rows)


def test_line_ends_inside_a_pem_key_are_shown_and_signed_as_they_are() -> None:
    """OLPC's canonical JSON, in which TUF signs, leaves them raw."""
    shown = read_signable(b'{"public":"-----BEGIN\nabc\n"}')
    assert [row.value for row in shown.rows] == ["-----BEGIN\\u{a}abc\\u{a}"]


@pytest.mark.interop
def test_the_guide_runs_as_it_is_written(
    provider: openssh.Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (Path(__file__).parents[2] / "docs/how-to-use-hardware-keys-in-tuf-and-in-toto.md").read_text()
    shell = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    python = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert (len(shell), len(python)) == (3, 3)
    monkeypatch.chdir(tmp_path)
    for line in shell[1:]:  # the first one installs this very package
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, input="", check=False)
        assert done.returncode == 0, done.stderr
    names: dict[str, object] = {}
    for block in python:
        exec(compile(block, "guide", "exec"), names)

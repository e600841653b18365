"""What a hostile registry can do to whoever reads evidence from it or attaches approvals to it: nothing.

It may withhold; that is all.  Each attack is one that real clients of registries fell for, or could.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from placet.adapters.bounded_http import BoundedHttp, HttpError
from placet.adapters.evidence_sources.documents import Found, Unusable
from placet.adapters.evidence_sources.registry import look_in_registry
from placet.adapters.oci.client import RegistryClient
from placet.adapters.oci.credentials import Credential
from placet.adapters.oci.login import Login
from placet.adapters.oci.reference import Reference, parse_reference
from placet.adapters.oci.referrers import attach, find_subject, list_referrers
from placet.testing.registry import INDEX, MANIFEST, Asked, SoftRegistry, Told, image_manifest

REPOSITORY = "team/app"
SIGSTORE = "application/vnd.dev.sigstore.bundle.v0.3+json"
DSSE = {"payloadType": "application/vnd.in-toto+json", "payload": "e30=", "signatures": [{"sig": "AA=="}]}
LOGIN = Credential("user", "secret")


@contextmanager
def opened(
    registry: SoftRegistry, *, seconds: float = 10, credential: Credential | None = None
) -> Iterator[RegistryClient]:
    with BoundedHttp(seconds=seconds) as http:
        yield RegistryClient(parse_reference(f"{registry.host}/{REPOSITORY}"), http, credential=credential)


def add_referrer(registry: SoftRegistry, image: str, content: bytes, **changes: object) -> str:
    value = image_manifest(registry.add_blob(b"{}"), registry.add_blob(content))
    value["layers"][0]["mediaType"] = value["artifactType"] = SIGSTORE
    value["subject"] = {"mediaType": MANIFEST, "digest": image, "size": 1}
    return registry.add_manifest(REPOSITORY, value | changes)


@pytest.fixture
def registry() -> Iterator[SoftRegistry]:
    with SoftRegistry() as registry:
        yield registry


@pytest.fixture
def stranger() -> Iterator[SoftRegistry]:
    """Another server, which must never see anything of ours."""
    with SoftRegistry() as stranger:
        yield stranger


def test_other_bytes_under_a_digest(registry: SoftRegistry) -> None:
    """Of an image, of a manifest and of a blob: what does not have the digest is not read."""
    image = registry.add_image(REPOSITORY)
    referrer = add_referrer(registry, image, json.dumps(DSSE).encode())
    with opened(registry) as client:
        (found,) = look_in_registry(client, image, {"attestation"})
        assert isinstance(found, Found)
        registry.manifests[REPOSITORY, image] = (MANIFEST, b'{"evil": true}')
        with pytest.raises(HttpError, match="other bytes than sha256:"):
            find_subject(client, image)
        blob = next(d for d, content in registry.blobs.items() if content.startswith(b'{"payloadType'))
        registry.blobs[blob] = json.dumps(DSSE).replace("AA==", "BB==").encode()
        (unusable,) = look_in_registry(client, image, {"attestation"})
        assert isinstance(unusable, Unusable)
        assert "other bytes" in unusable.why
        registry.manifests[REPOSITORY, referrer] = (MANIFEST, registry.manifests[REPOSITORY, image][1])
        registry.hostile = lambda asked: None
        assert all(isinstance(found, Unusable) for found in look_in_registry(client, image, {"attestation"}))


def test_a_referrer_of_another_image(registry: SoftRegistry) -> None:
    """A listing may name what hangs on other images; it must not count for this one."""
    image, other = registry.add_image(REPOSITORY), registry.add_image(REPOSITORY, b"other")
    foreign = add_referrer(registry, other, json.dumps(DSSE).encode())
    index = {"manifests": [{"mediaType": MANIFEST, "digest": foreign, "size": 1, "artifactType": SIGSTORE}]}

    def answer(asked: Asked) -> Told | None:
        if "/referrers/" in asked.path:
            return Told(200, {"Content-Type": INDEX}, json.dumps(index).encode())
        return None

    registry.hostile = answer
    with opened(registry) as client:
        (found,) = look_in_registry(client, image, {"attestation"})
    assert isinstance(found, Unusable)
    assert "does not refer to" in found.why


@pytest.mark.parametrize("path", ["/manifests/", "/blobs/", "/referrers/"])
def test_an_endless_body(registry: SoftRegistry, path: str) -> None:
    image = registry.add_image(REPOSITORY)
    add_referrer(registry, image, json.dumps(DSSE).encode())
    endless = Told(200, {"Content-Type": INDEX}, b"[" * (5 * 1024 * 1024))
    registry.hostile = lambda asked: endless if path in asked.path else None
    with opened(registry) as client:
        try:
            found = [*look_in_registry(client, image, {"attestation"})]
        except HttpError as e:
            assert "answers with more than" in str(e)
        else:
            assert found
            assert all(isinstance(f, Unusable) and "answers with more than" in f.why for f in found)


class _Drip(BaseHTTPRequestHandler):
    """Sends one byte at a time: of its head, so that no body ever begins."""

    def do_GET(self) -> None:
        try:
            for _ in range(200):
                self.wfile.write(b"H")
                self.wfile.flush()
                time.sleep(0.05)
        except OSError:
            pass

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_bytes_that_drip() -> None:
    """Every byte would start a timeout between bytes anew; one deadline stands over all."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Drip) as server:
        server.daemon_threads, server.block_on_close = True, False
        threading.Thread(target=server.serve_forever, daemon=True).start()
        started = time.monotonic()
        with BoundedHttp(seconds=0.4) as http:
            client = RegistryClient(parse_reference(f"127.0.0.1:{server.server_port}/app"), http)
            with pytest.raises(HttpError, match=r"did not answer in full within 0\.4 seconds"):
                client.get_tag("latest")
            # What is left of the time is nothing: the next question is not asked.
            with pytest.raises(HttpError, match="did not answer"):
                client.get_tag("latest")
        assert time.monotonic() - started < 5
        server.shutdown()


def test_redirects_in_circles(registry: SoftRegistry) -> None:
    registry.hostile = lambda asked: Told(307, {"Location": asked.path})
    with opened(registry) as client, pytest.raises(HttpError, match="round in circles"):
        client.get_tag("latest")
    assert len(registry.asked) <= 4


def test_a_redirect_gets_no_login(stranger: SoftRegistry) -> None:
    """Storage behind a registry is elsewhere, and gets neither password nor token."""
    with SoftRegistry(login="basic") as registry:
        image = registry.add_image(REPOSITORY)
        stranger.add_image(REPOSITORY)

        def answer(asked: Asked) -> Told | None:
            if "/manifests/" in asked.path and asked.authorization:
                return Told(307, {"Location": f"{stranger.url}{asked.path}"})
            return None

        registry.hostile = answer
        with opened(registry, credential=LOGIN) as client:
            find_subject(client, image)
        assert any(asked.authorization for asked in registry.asked)
    assert [asked.authorization for asked in stranger.asked] == [""]


@pytest.mark.parametrize(
    "location",
    [
        "http://registry.example/v2/",
        "http://127.0.0.1:1/v2/",
        "https://127.0.0.1/v2/",
        "https://localhost/v2/",
        "https://user:secret@registry.example/",
        "file:///etc/passwd",
        "ftp://registry.example/",
        "https://[broken/",
        "",
    ],
)
def test_redirects_from_tls_to_none_or_into_this_machine(location: str) -> None:
    with BoundedHttp(seconds=1) as http:
        client = RegistryClient(parse_reference("registry.example/app"), http)
        with pytest.raises(HttpError, match="redirects to where we do not go"):
            client._check_redirect("https://registry.example/v2/app/blobs/x", location)
        good = "https://storage.example/x"
        assert client._check_redirect("https://registry.example/v2/app/blobs/x", good) == good


def login_at(host: str, *, credential: Credential | None = LOGIN, token_host: str = "") -> Login:
    image = Reference(host, "team/app", "", "")
    http = BoundedHttp(seconds=1)
    return Login(image, http, credential, root=f"https://{image.server}", token_host=token_host)


@pytest.mark.parametrize("credential", [LOGIN, None])
@pytest.mark.parametrize(
    "realm",
    [
        "https://evil.example/token",
        "https://registry.example.evil.example/token",
        "https://evil-registry.example/token",
        "https://example/token",
        "https://user@registry.example/token",
        "https://registry.example@evil.example/token",
        "http://169.254.169.254/latest/meta-data/",
        "https://[::1]/token",
        "file:///etc/passwd",
        "https://[broken/",
        "",
    ],
)
def test_a_token_service_that_is_a_stranger(realm: str, credential: Credential | None) -> None:
    """A password sent there is lost; an answer fetched there would be handed to the registry as a token."""
    with pytest.raises(HttpError, match="Nothing was sent there"):
        login_at("registry.example", credential=credential).answer(f'Bearer realm="{realm}"', "pull")


@pytest.mark.parametrize(
    ("host", "realm", "token_host"),
    [
        ("registry.example.com", "https://registry.example.com:8443/token", ""),
        ("registry.example.com", "https://example.com/jwt/auth", ""),
        ("docker.io", "https://auth.docker.io/token", ""),
        ("registry.example", "https://login.example/token", "login.example"),
    ],
)
def test_a_token_service_that_is_none(host: str, realm: str, token_host: str) -> None:
    login_at(host, token_host=token_host)._check_service(realm)


def test_an_ip_address_has_no_parent_domain() -> None:
    with pytest.raises(HttpError, match="another host"):
        login_at("10.0.0.1")._check_service("https://0.0.1/token")


def test_a_login_without_tls() -> None:
    """A registry that is asked over TLS must not have the password sent in clear."""
    with pytest.raises(HttpError, match="without TLS"):
        login_at("registry.example")._check_service("http://registry.example/token")
    image = Reference("registry.example", "team/app", "", "")
    plain = Login(image, BoundedHttp(seconds=1), LOGIN, root="http://registry.example", token_host="")
    for challenge in ('Basic realm="x"', 'Bearer realm="http://registry.example/token"'):
        with pytest.raises(HttpError, match="over plain HTTP"):
            plain.answer(challenge, "pull")


def test_a_token_for_more_than_we_need() -> None:
    """The registry names the scope of the token that we ask for; we ask for our own."""
    with SoftRegistry(login="token") as registry:
        image = registry.add_image(REPOSITORY)
        with opened(registry, credential=LOGIN) as client:
            find_subject(client, image)
            attach(client, find_subject(client, image), b"{}", artifact_type="application/json")
        scopes = [asked.query["scope"] for asked in registry.asked if asked.path == "/token"]
    assert scopes == [[f"repository:{REPOSITORY}:pull"], [f"repository:{REPOSITORY}:pull,push"]]


def test_uploads_that_go_elsewhere(registry: SoftRegistry, stranger: SoftRegistry) -> None:
    image = registry.add_image(REPOSITORY)

    def answer(asked: Asked) -> Told | None:
        if asked.method == "POST":
            return Told(202, {"Location": f"{stranger.url}/v2/{REPOSITORY}/blobs/uploads/1"})
        return None

    registry.hostile = answer
    with opened(registry) as client:
        subject = find_subject(client, image)
        with pytest.raises(HttpError, match="sends uploads to another address"):
            attach(client, subject, b"[]", artifact_type="application/json")
    assert not stranger.asked


@pytest.mark.parametrize(
    "link", ["http://127.0.0.1:1/v2/x", "/v2/other/referrers/sha256:00", "../../../token"]
)
def test_pages_that_lead_elsewhere(registry: SoftRegistry, link: str) -> None:
    image = registry.add_image(REPOSITORY)
    body = json.dumps({"manifests": []}).encode()
    headers = {"Content-Type": INDEX, "Link": f'<{link}>; rel="next"'}
    registry.hostile = lambda asked: Told(200, headers, body) if "/referrers/" in asked.path else None
    with opened(registry) as client, pytest.raises(HttpError, match="another place than its own"):
        list_referrers(client, image)


def test_pages_without_end(registry: SoftRegistry) -> None:
    image = registry.add_image(REPOSITORY)
    body = json.dumps({"manifests": []}).encode()
    path = f"/v2/{REPOSITORY}/referrers/{image}"
    headers = {"Content-Type": INDEX, "Link": f'<{path}?last=1>; rel="next"'}
    registry.hostile = lambda asked: Told(200, headers, body) if "/referrers/" in asked.path else None
    with opened(registry) as client:
        assert list_referrers(client, image) == ()
    assert len(registry.asked) <= 16


def test_an_index_of_a_million(registry: SoftRegistry) -> None:
    """Thousands of referrers are listed up to a bound, and looked at up to a smaller one."""
    image = registry.add_image(REPOSITORY)
    item = {"mediaType": MANIFEST, "digest": f"sha256:{'0' * 64}", "size": 1, "artifactType": SIGSTORE}
    body = json.dumps({"manifests": [item] * 10_000}).encode()
    told = Told(200, {"Content-Type": INDEX}, body)
    registry.hostile = lambda asked: told if "/referrers/" in asked.path else None
    with opened(registry) as client:
        assert len(list_referrers(client, image)) == 1000
        found = [*look_in_registry(client, image, {"attestation"})]
    assert len(found) == 49
    assert isinstance(found[-1], Unusable)
    assert "only 48 of its 1000 referrers" in found[-1].why


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"manifests": {"a": 1}}',
        b'{"manifests": [1, null, {"digest": 5}, {"mediaType": "x", "digest": "sha256:..", "size": 1}]}',
        b'{"manifests": [{"mediaType": "x", "digest": "md5:00", "size": -1}]}',
        b"\xff\xfe",
        b"",
    ],
)
def test_an_index_of_nonsense(registry: SoftRegistry, body: bytes) -> None:
    image = registry.add_image(REPOSITORY)
    told = Told(200, {"Content-Type": INDEX}, body)
    registry.hostile = lambda asked: told if "/referrers/" in asked.path else None
    with opened(registry) as client:
        assert list_referrers(client, image) == ()


def test_an_answer_that_unfolds(registry: SoftRegistry) -> None:
    """Compression is not asked for, and what comes compressed all the same is not unfolded."""
    import zlib

    bomb = zlib.compress(b"\0" * 50_000_000)
    registry.hostile = lambda asked: Told(200, {"Content-Encoding": "deflate"}, bomb)
    with opened(registry) as client:
        found = client.get_tag("latest")
    assert found is not None
    assert found[1] == bomb


def test_a_helper_that_is_a_path(tmp_path: Path) -> None:
    """The name of a credential helper is part of a program's name; a path would run anything."""
    from placet.adapters.oci.credentials import find_credential

    (tmp_path / "config.json").write_text('{"credsStore": "../../../bin/sh"}')
    with pytest.raises(HttpError, match="not the name of a credential helper"):
        find_credential("registry.example", environ={"DOCKER_CONFIG": str(tmp_path)}, home=tmp_path)

"""Names of images, logins and referrers, against a registry in memory and the real one of Debian."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from placet.adapters.bounded_http import BoundedHttp, HttpError
from placet.adapters.oci.client import RegistryClient
from placet.adapters.oci.credentials import Credential, find_credential
from placet.adapters.oci.login import RegistryRefused
from placet.adapters.oci.reference import BadReference, parse_reference
from placet.adapters.oci.referrers import (
    Attached,
    attach,
    fetch_manifest,
    find_subject,
    list_referrers,
    tag_of,
)
from placet.testing.registry import INDEX, MANIFEST, SoftRegistry, debian_registry, image_manifest

TYPE = "application/vnd.example.note.v1+json"
DIGEST = f"sha256:{'ab' * 32}"
# The password "secret", hashed by bcrypt.
HTPASSWD = "user:$2b$05$xdLGDt2vJPW.ZWIJuL.AxeRjcxwOteLwwoFIN40owI.t6ugB2L4S2\n"


@pytest.mark.parametrize(
    ("text", "host", "repository", "tag", "digest"),
    [
        (f"registry.example/app@{DIGEST}", "registry.example", "app", "", DIGEST),
        ("registry.example:5000/team/app:1.0", "registry.example:5000", "team/app", "1.0", ""),
        (f"oci://registry.example/a/b/c:x@{DIGEST}", "registry.example", "a/b/c", "x", DIGEST),
        ("localhost/app", "localhost", "app", "", ""),
        ("app", "docker.io", "library/app", "", ""),
        ("team/app:1", "docker.io", "team/app", "1", ""),
        ("index.docker.io/team/app", "docker.io", "team/app", "", ""),
        ("[::1]:5000/app", "[::1]:5000", "app", "", ""),
    ],
)
def test_names_of_images(text: str, host: str, repository: str, tag: str, digest: str) -> None:
    assert parse_reference(text) == (host, repository, tag, digest)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "registry.example/",
        "registry.example/App",
        "registry.example/../x",
        "registry.example/a//b",
        "registry.example/app:",
        "registry.example/app@sha256:12",
        "registry.example/app@md5:00",
        "user@registry.example/app",
        "reg istry.example/app",
        "registry.example/app?x=1",
        "registry.example/app#x",
        "registry.example:port/app",
        "https://registry.example/app",
        f"registry.example/{'a' * 300}",
    ],
)
def test_what_names_no_image(text: str) -> None:
    with pytest.raises(BadReference):
        parse_reference(text)


def test_a_registry_on_this_machine_alone_is_asked_without_tls() -> None:
    with BoundedHttp(seconds=1) as http:
        assert RegistryClient(parse_reference("localhost:5000/app"), http)._base.startswith("http://")
        assert RegistryClient(parse_reference("registry.example/app"), http)._base.startswith("https://")
        assert RegistryClient(parse_reference("app"), http)._root == "https://registry-1.docker.io"
    assert not parse_reference("localhost.example/app").is_here


def write_config(folder: Path, value: object) -> dict[str, str]:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(value))
    return {"DOCKER_CONFIG": str(folder)}


def test_logins_are_found_where_docker_keeps_them(tmp_path: Path) -> None:
    auth = b64encode(b"user:se:cret").decode()
    environ = write_config(
        tmp_path,
        {
            "auths": {
                "registry.example:5000": {"auth": auth},
                "https://index.docker.io/v1/": {"identitytoken": "token"},
                "empty.example": {},
            }
        },
    )
    assert find_credential("registry.example:5000", environ=environ) == Credential("user", "se:cret")
    assert find_credential("docker.io", environ=environ) == Credential(identity_token="token")
    for other in ("registry.example", "example:5000", "empty.example", "registry.example:5000.evil.example"):
        assert find_credential(other, environ=environ) is None


def test_logins_are_found_where_podman_keeps_them(tmp_path: Path) -> None:
    (tmp_path / "auth.json").write_text(
        json.dumps({"auths": {"registry.example": {"auth": b64encode(b"a:b").decode()}}})
    )
    environ = {"REGISTRY_AUTH_FILE": str(tmp_path / "auth.json")}
    assert find_credential("registry.example", environ=environ, home=tmp_path) == Credential("a", "b")
    assert find_credential("registry.example", environ={}, home=tmp_path) is None


def test_a_credential_helper_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = tmp_path / "docker-credential-test"
    helper.write_text(
        '#!/bin/sh\nread host\n[ "$host" = registry.example ] || exit 1\n'
        'echo \'{"Username": "user", "Secret": "secret"}\'\n'
    )
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    environ = write_config(tmp_path / "docker", {"credHelpers": {"registry.example": "test"}})
    assert find_credential("registry.example", environ=environ) == Credential("user", "secret")
    assert find_credential("other.example", environ=environ) is None
    environ = write_config(tmp_path / "docker", {"credsStore": "test"})
    assert find_credential("registry.example", environ=environ) == Credential("user", "secret")
    assert find_credential("other.example", environ=environ) is None
    environ = write_config(tmp_path / "docker", {"credsStore": "missing"})
    with pytest.raises(HttpError, match="docker-credential-missing is not installed"):
        find_credential("registry.example", environ=environ)


@pytest.mark.parametrize("value", ["[]", "no json", '{"auths": {"registry.example": {"auth": "%%"}}}'])
def test_a_configuration_that_is_broken(tmp_path: Path, value: str) -> None:
    (tmp_path / "config.json").write_text(value)
    with pytest.raises(HttpError):
        find_credential("registry.example", environ={"DOCKER_CONFIG": str(tmp_path)})


@pytest.fixture(params=["referrers", "tags", "debian"])
def host(
    request: pytest.FixtureRequest, tmp_path: Path, require_tool: Callable[[str], str]
) -> Iterator[tuple[str, bool]]:
    """A registry's host, and whether it knows referrers."""
    if request.param == "debian":
        require_tool("docker-registry")
        with debian_registry(tmp_path) as address:
            yield address, False
        return
    with SoftRegistry(referrers=request.param == "referrers", page=1) as registry:
        yield registry.host, request.param == "referrers"


def push_image(client: RegistryClient, layer: bytes = b"layer", *, tag: str = "1.0") -> str:
    value = image_manifest(client.put_blob(b"{}"), client.put_blob(layer))
    client.put_manifest(json.dumps(value).encode(), media_type=MANIFEST, tag=tag)
    return find_subject(client, "", tag).digest


def test_what_is_attached_is_listed_and_read(host: tuple[str, bool]) -> None:
    address, knows_referrers = host
    with BoundedHttp(seconds=30) as http:
        client = RegistryClient(parse_reference(f"{address}/team/app"), http)
        image = push_image(client)
        subject = find_subject(client, image)
        assert list_referrers(client, image) == ()
        done = [
            attach(client, subject, b'{"n": %d}' % n, artifact_type=TYPE, annotations={"n": str(n)})
            for n in range(3)
        ]
        assert [bool(d.by_tag) for d in done] == [not knows_referrers] * 3
        # The same again changes nothing.
        again = attach(client, subject, b'{"n": 1}', artifact_type=TYPE, annotations={"n": "1"})
        assert again == done[1]
        listed = list_referrers(client, image)
        assert sorted(d.digest for d in listed) == sorted(d.digest for d in done)
        assert {d.artifact_type for d in listed} == {TYPE}
        assert sorted(d.annotations["n"] for d in listed) == ["0", "1", "2"]
        contents = set()
        for descriptor in listed:
            (layer,) = fetch_manifest(client, descriptor, subject=image).layers
            contents.add(client.get_blob(layer.digest, max_bytes=100))
        assert contents == {b'{"n": 0}', b'{"n": 1}', b'{"n": 2}'}
        other = push_image(client, b"other", tag="2.0")
        assert list_referrers(client, other) == ()


def test_an_index_of_others_keeps_what_they_wrote() -> None:
    with SoftRegistry(referrers=False) as registry, BoundedHttp(seconds=10) as http:
        image = registry.add_image("app")
        theirs = {"mediaType": MANIFEST, "digest": DIGEST, "size": 5, "x-theirs": 1.5}
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [theirs], "annotations": {"a": "b"}}
        registry.add_manifest("app", index, tag=tag_of(image), media_type=INDEX)
        client = RegistryClient(parse_reference(f"{registry.host}/app"), http)
        attach(client, find_subject(client, image), b"[]", artifact_type=TYPE)
        written = json.loads(registry.manifests["app", tag_of(image)][1])
    assert written["manifests"][0] == theirs
    assert written["annotations"] == {"a": "b"}
    assert len(written["manifests"]) == 2


def test_a_tag_that_is_no_index_is_left_alone() -> None:
    with SoftRegistry(referrers=False) as registry, BoundedHttp(seconds=10) as http:
        image = registry.add_image("app")
        registry.add_image("app", b"other", tag=tag_of(image))
        client = RegistryClient(parse_reference(f"{registry.host}/app"), http)
        with pytest.raises(HttpError, match="taken by something that is no index"):
            attach(client, find_subject(client, image), b"[]", artifact_type=TYPE)


def test_two_who_attach_at_once_by_a_tag() -> None:
    """Whoever writes last wins; so each reads again, and adds itself again where it was lost."""
    with SoftRegistry(referrers=False) as registry, BoundedHttp(seconds=10) as http:
        image = registry.add_image("app")
        client = RegistryClient(parse_reference(f"{registry.host}/app"), http)
        writes = []

        def forget_the_first(asked: object) -> None:
            if getattr(asked, "method", "") == "GET" and len(writes) == 0:
                key = ("app", tag_of(image))
                if key in registry.manifests:  # the other one, who had read before us, writes its own
                    writes.append(registry.manifests.pop(key))

        registry.hostile = forget_the_first
        done = attach(client, find_subject(client, image), b"[]", artifact_type=TYPE)
        assert len(writes) == 1
        assert [d.digest for d in list_referrers(client, image)] == [done.digest]


@pytest.mark.parametrize("login", ["basic", "token"])
def test_logins_of_both_kinds(login: str) -> None:
    with SoftRegistry(login=login) as registry, BoundedHttp(seconds=10) as http:
        image = parse_reference(f"{registry.host}/app")
        registry.add_image("app", tag="1.0")
        client = RegistryClient(image, http, credential=Credential("user", "secret"))
        subject = find_subject(client, "", "1.0")
        assert isinstance(attach(client, subject, b"[]", artifact_type=TYPE), Attached)
        for wrong in (Credential("user", "wrong"), None):
            with pytest.raises(RegistryRefused) as refused:
                find_subject(RegistryClient(image, http, credential=wrong), subject.digest)
            assert "docker login" in refused.value.hint


def test_a_login_at_debians_registry(tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    require_tool("docker-registry")
    with debian_registry(tmp_path, htpasswd=HTPASSWD) as address, BoundedHttp(seconds=30) as http:
        image = parse_reference(f"{address}/app")
        push_image(RegistryClient(image, http, credential=Credential("user", "secret")))
        with pytest.raises(RegistryRefused, match=r"refuses to give the tag 1\.0 \(401\)"):
            RegistryClient(image, http).get_tag("1.0")
        with pytest.raises(RegistryRefused, match="refuses to store"):
            push_image(RegistryClient(image, http, credential=Credential("user", "wrong")))

"""What lies where evidence lies: told by its form, whole, and never taken for more than it is."""

from __future__ import annotations

import hashlib
import json
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from placet.adapters.bounded_http import BoundedHttp, HttpError
from placet.adapters.evidence_sources.documents import MAX_DOCUMENTS, Found, Unusable, read_documents
from placet.adapters.evidence_sources.near import list_beside, read_evidence_file, read_links
from placet.adapters.evidence_sources.pypi import look_at_index, project_of
from placet.adapters.intoto.link_set import parse_link_set
from placet.core.evidence.facts import (
    DSSE_MEDIA_TYPE,
    LINKS_MEDIA_TYPE,
    PYPI_MEDIA_TYPE,
    SIGSTORE_MEDIA_TYPES,
)

V01 = "application/vnd.dev.sigstore.bundle+json;version=0.1"
NEW = "application/vnd.dev.sigstore.bundle.v0.3+json"


def found_in(data: bytes) -> list[Found]:
    items = [*read_documents(data, "here")]
    assert all(isinstance(item, Found) for item in items), items
    return [item for item in items if isinstance(item, Found)]


def test_real_files_of_others(test_data: Path) -> None:
    """What cosign, GitHub, npm, SLSA's builders, PyPI and Google wrote."""
    expected = {
        "github/custom-issuer.sigstore.json": [(NEW, "slsa-provenance")],
        "github/sigstore-js-2.1.0_with_2_bundles.jsonl": [(NEW, "slsa-provenance"), (NEW, "slsa-provenance")],
        "slsa/npm/gha/supreme-googles-cli-v02-tag.tgz.json": [(V01, "attestation"), (V01, "slsa-provenance")],
        "slsa/gha_go/v1.10.0/binary-linux-amd64-push-v14.intoto.jsonl": [
            (DSSE_MEDIA_TYPE, "slsa-provenance")
        ],
        "slsa/vsa/gce/v1/gke-gce-pre.bcid-vsa.jsonl": [(DSSE_MEDIA_TYPE, "slsa-vsa")],
        "pep740/pypi_attestations-0.0.19.tar.gz.provenance": [(PYPI_MEDIA_TYPE, "attestation")],
        "pep740/pypi_attestations-0.0.19.tar.gz.slsa.attestation": [(PYPI_MEDIA_TYPE, "slsa-provenance")],
        "pep740/rfc8785-0.1.2-py3-none-any.whl.publish.attestation": [(PYPI_MEDIA_TYPE, "attestation")],
        "pep740/rfc8785-0.1.2-py3-none-any.whl.sigstore": [(NEW, "attestation")],
    }
    for name, kinds in expected.items():
        data = (test_data / name).read_bytes()
        found = found_in(data)
        assert [(f.evidence.media_type, f.kind) for f in found] == kinds, name
        for item in found:
            assert item.evidence.digest == hashlib.sha256(item.evidence.content).hexdigest()
            # A document that stands alone, or in a line of its own, keeps its bytes.
            if not name.endswith((".tgz.json", ".provenance")):
                assert item.evidence.content in data
    count = 0
    for path in sorted(test_data.rglob("*.sigstore.json")) + sorted(test_data.rglob("*.intoto.jsonl")):
        items = [*read_evidence_file(path)]
        assert items, path
        count += sum(
            isinstance(item, Found) and item.evidence.media_type in SIGSTORE_MEDIA_TYPES for item in items
        )
    assert count > 60


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"_type": "https://in-toto.io/Statement/v1", "subject": []}, "not signed"),
        ({"bomFormat": "CycloneDX"}, "the SBOM is not signed"),
        ({"spdxVersion": "SPDX-2.3"}, "the SBOM is not signed"),
        ({"signed": {"_type": "link"}, "signatures": []}, "--links"),
        ({"base64Signature": "", "cert": "", "rekorBundle": {}}, "old cosign"),
        ({"payloadType": "application/json", "payload": "e30=", "signatures": []}, "no in-toto statement"),
        ({"mediaType": "application/vnd.dev.sigstore.bundle+json;version=9"}, "no form of evidence"),
        ({}, "no form of evidence"),
        (5, "no document"),
    ],
)
def test_what_is_no_evidence_says_what_it_is(value: object, why: str) -> None:
    (item,) = read_documents(json.dumps(value).encode(), "here")
    assert isinstance(item, Unusable)
    assert why in item.why


def test_lines_that_are_broken_spoil_no_others() -> None:
    good = json.dumps({"payloadType": "application/vnd.in-toto+json", "payload": "e30=", "signatures": []})
    items = [*read_documents(f"{good}\n\nbroken\r\n{good}\n".encode(), "a.jsonl")]
    assert [type(item) for item in items] == [Found, Unusable, Found]
    assert items[1].place == "a.jsonl, line 2"
    twice = '{"a": 1, "a": 2}'
    (item,) = read_documents(twice.encode(), "a.json")
    assert isinstance(item, Unusable)


def test_a_file_of_very_many_documents() -> None:
    line = json.dumps({"payloadType": "application/vnd.in-toto+json", "payload": "e30=", "signatures": []})
    items = [*read_documents("\n".join([line] * 1000).encode(), "here")]
    assert len(items) == MAX_DOCUMENTS + 1
    assert isinstance(items[-1], Unusable)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "mediaType",
                    "attestations",
                    "attestation_bundles",
                    "bundle",
                    "payloadType",
                    "payload",
                    "signatures",
                    "verification_material",
                    "envelope",
                    "statement",
                    "dsseEnvelope",
                    "messageSignature",
                ]
            )
            | st.text(max_size=3),
            inner | st.sampled_from([NEW, "application/vnd.in-toto+json", "e30=", "bnVsbA=="]),
            max_size=6,
        )
    ),
    max_leaves=12,
)


@given(_json)
def test_any_json_is_told_apart(value: object) -> None:
    for item in read_documents(json.dumps(value).encode(), "here"):
        assert isinstance(item, Found | Unusable)


@given(st.binary(max_size=200))
def test_any_bytes_are_told_apart(data: bytes) -> None:
    assert [*read_documents(data, "here")]


def test_what_lies_beside_a_file(tmp_path: Path) -> None:
    artifact = tmp_path / "app-1.0.whl"
    mine = [
        ".sigstore",
        ".sigstore.json",
        ".sigstore.jsonl",
        ".intoto.jsonl",
        ".att",
        ".attestation",
        ".publish.attestation",
        ".slsa.attestation",
        ".provenance",
        ".provenance.json",
        ".sbom.json",
        ".sbom.cdx.json",
        ".cyclonedx.sbom",
        ".vsa.json",
        ".bundle",
    ]
    others = ["", ".asc", ".sig", ".json", ".sigstore.json.bak", "x.sigstore.json", ".txt", ".a.b.c.sigstore"]
    for suffix in mine + others:
        (tmp_path / f"app-1.0.whl{suffix}").write_text("{}")
    (tmp_path / "app-1.0.whl.d.bundle").mkdir()
    (tmp_path / "app-1.whl.sigstore.json").write_text("{}")
    (tmp_path / f"sha256:{'ab' * 32}.jsonl").write_text("{}")
    (tmp_path / f"sha256:{'cd' * 32}.jsonl").write_text("{}")
    (tmp_path / "multiple.intoto.jsonl").write_text("{}")
    names = {path.name for path in list_beside(artifact, "ab" * 32)}
    assert names == {f"app-1.0.whl{suffix}" for suffix in mine} | {
        f"sha256:{'ab' * 32}.jsonl",
        "multiple.intoto.jsonl",
    }


def test_links_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "build.2f89b927.link").write_text('{"signed": {}}')
    (tmp_path / "build.2f89b927").mkdir()
    (tmp_path / "build.2f89b927" / "compile.0c6f5a31.link").write_text("{}")
    (tmp_path / ".build.link-unfinished").write_text("")
    (tmp_path / "root.layout").write_text("{}")
    found = read_links(tmp_path)
    assert isinstance(found, Found)
    assert (found.evidence.media_type, found.kind) == (LINKS_MEDIA_TYPE, "in-toto")
    assert parse_link_set(found.evidence.content) == {
        "build.2f89b927.link": b'{"signed": {}}',
        "build.2f89b927/compile.0c6f5a31.link": b"{}",
    }
    assert isinstance(read_links(tmp_path / "nothing"), Unusable)
    (tmp_path / "huge.0c6f5a31.link").write_bytes(b"x" * (2 * 1024 * 1024))
    assert isinstance(read_links(tmp_path), Unusable)


@pytest.mark.parametrize(
    ("name", "project"),
    [
        ("rfc8785-0.1.2-py3-none-any.whl", ("rfc8785", "0.1.2")),
        ("Foo_Bar.baz-1.0-1-py3-none-any.whl", ("foo-bar-baz", "1.0")),
        ("pypi_attestations-0.0.19.tar.gz", ("pypi-attestations", "0.0.19")),
        ("old-style-name-1.0rc1.tar.gz", ("old-style-name", "1.0rc1")),
        ("app.exe", None),
        ("../x-1.0.tar.gz", None),
    ],
)
def test_projects_by_their_files(name: str, project: tuple[str, str] | None) -> None:
    assert project_of(name) == project


@contextmanager
def index(answers: dict[str, tuple[int, bytes]]) -> Iterator[str]:
    """A package index on this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers.get(self.path, (404, b""))
            if self.headers["Accept"] != "application/vnd.pypi.integrity.v1+json":
                status = 406
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Location", "https://evil.example/")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_provenance_of_a_package_index() -> None:
    statement = b64encode(b'{"predicateType": "https://docs.pypi.org/attestations/publish/v1"}').decode()
    attestation = {
        "version": 1,
        "verification_material": {},
        "envelope": {"statement": statement, "signature": ""},
    }
    provenance = {"version": 1, "attestation_bundles": [{"publisher": {}, "attestations": [attestation] * 2}]}
    name = "app-1.0-py3-none-any.whl"
    path = f"/integrity/app/1.0/{name}/provenance"
    with index({path: (200, json.dumps(provenance).encode())}) as url, BoundedHttp(seconds=10) as http:
        found = [*look_at_index(http, name, index=url)]
        assert [(f.kind, f.evidence.media_type) for f in found if isinstance(f, Found)] == [
            ("attestation", PYPI_MEDIA_TYPE)
        ] * 2
        assert [*look_at_index(http, "other-1.0.tar.gz", index=url)] == []
        with pytest.raises(HttpError, match="not the name of a wheel"):
            [*look_at_index(http, "app.exe", index=url)]


@pytest.mark.parametrize("status", [302, 403, 500])
def test_an_index_that_does_not_answer(status: int) -> None:
    path = "/integrity/app/1.0/app-1.0.tar.gz/provenance"
    with (
        index({path: (status, b"")}) as url,
        BoundedHttp(seconds=10) as http,
        pytest.raises(HttpError, match=str(status)),
    ):
        [*look_at_index(http, "app-1.0.tar.gz", index=url)]


@pytest.mark.parametrize(
    "url", ["http://pypi.example", "ftp://x", "x", "https://user:secret@pypi.example", ""]
)
def test_addresses_that_are_no_index(url: str) -> None:
    with BoundedHttp(seconds=1) as http, pytest.raises(HttpError) as refused:
        [*look_at_index(http, "app-1.0.tar.gz", index=url)]
    assert "secret" not in str(refused.value)

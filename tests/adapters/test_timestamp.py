"""Timestamps of checkpoints: asked for over HTTP, verified with pinned certificates, refused when false."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asn1crypto import tsp
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

from placet.adapters.timestamp import (
    TimestampAuthority,
    fetch_timestamp,
    read_authorities,
    verify_timestamp,
)
from placet.core.errors import PlacetError, Reason
from placet.testing.private_sigstore import PrivateSigstore, PrivateSigstoreServer
from placet.testing.private_sigstore.keys import (
    Authority,
    Seed,
    as_time,
    common_name,
    issue,
    pem,
    start_certificate,
)
from placet.testing.private_sigstore.timestamps import TimestampAuthority as PrivateTimestamps
from placet.testing.world import NOW

MESSAGE = b"log.example\n7\ncm9vdA==\n"
SIGSTORE = PrivateSigstore(b"timestamps", clock=lambda: NOW)


@pytest.fixture(scope="module")
def server() -> Iterator[PrivateSigstoreServer]:
    with PrivateSigstoreServer(b"timestamps", clock=lambda: NOW) as running:
        yield running


def authorities(
    sigstore: PrivateSigstore = SIGSTORE, change: Callable[[Any], object] = lambda root: None
) -> tuple[TimestampAuthority, ...]:
    root = sigstore.trusted_root()
    change(root)
    return read_authorities(json.dumps(root).encode())


def test_the_authority_s_time_comes_back(server: PrivateSigstoreServer) -> None:
    pinned = authorities(server.sigstore)
    url = f"{server.address}/api/v1/timestamp"
    stamp, stamped = fetch_timestamp(MESSAGE, url, pinned)
    assert (stamped.time, stamped.authority) == (NOW, server.address)
    assert verify_timestamp(stamp, MESSAGE, pinned) == stamped


@pytest.mark.parametrize("first", [0, 1])
def test_one_authority_s_certificates_in_pem_are_enough(first: int) -> None:
    """Its own first, or only the root above it; then the timestamp has to bring its own."""
    chain = "".join(pem(certificate) for certificate in SIGSTORE.tsa.chain[first:]).encode()
    pinned = read_authorities(chain)
    assert verify_timestamp(SIGSTORE.tsa.timestamp(MESSAGE), MESSAGE, pinned).time == NOW


def test_openssl_agrees(tmp_path: Path, require_tool: Callable[[str], str]) -> None:
    openssl = require_tool("openssl")
    (tmp_path / "stamp.tsr").write_bytes(SIGSTORE.tsa.timestamp(MESSAGE))
    (tmp_path / "root.pem").write_text(pem(SIGSTORE.tsa.chain[-1]))
    (tmp_path / "message").write_bytes(MESSAGE)
    (tmp_path / "other").write_bytes(MESSAGE + b"\n")
    for name, word in (("message", "Verification: OK"), ("other", "Verification: FAILED")):
        command = [openssl, "ts", "-verify", "-in", "stamp.tsr", "-data", name, "-CAfile", "root.pem"]
        command += ["-attime", str(NOW)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert word in done.stdout + done.stderr


def test_a_timestamp_of_something_else_is_refused() -> None:
    with pytest.raises(PlacetError) as refused:
        verify_timestamp(SIGSTORE.tsa.timestamp(MESSAGE), MESSAGE + b"\n", authorities())
    assert refused.value.reason is Reason.LOG_PROOF_INVALID


def test_a_timestamp_by_an_authority_that_is_not_pinned_is_refused() -> None:
    other = PrivateSigstore(b"another", clock=lambda: NOW)
    for pinned in (authorities(other), read_authorities(pem(other.tsa.chain[-1]).encode())):
        with pytest.raises(PlacetError) as refused:
            verify_timestamp(SIGSTORE.tsa.timestamp(MESSAGE), MESSAGE, pinned)
        assert refused.value.reason is Reason.LOG_PROOF_INVALID


def test_another_certificate_under_the_same_root_is_refused_where_one_is_pinned() -> None:
    """One authority's root may have issued many; only a file with the root alone takes them all."""
    seed = Seed(b"timestamps")
    other = PrivateTimestamps(Seed(b"other leaf"), lambda: NOW, not_before=NOW - 86_400)
    root = Authority(seed, "tsa root", not_before=NOW - 86_400)
    certificate = issue(
        start_certificate(other.key.public_key(), root.key)
        .subject_name(common_name("another tsa"))
        .issuer_name(root.certificate.subject)
        .serial_number(4711)
        .not_valid_before(as_time(NOW - 86_400))
        .not_valid_after(as_time(NOW + 86_400))
        .add_extension(x509.BasicConstraints(False, None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True),
        root.key,
    )
    other.chain = (certificate, *root.chain)
    assert root.certificate == SIGSTORE.tsa.chain[-1]
    stamp = other.timestamp(MESSAGE)
    assert verify_timestamp(stamp, MESSAGE, read_authorities(pem(root.certificate).encode())).time == NOW
    chain = "".join(pem(link) for link in SIGSTORE.tsa.chain).encode()
    for pinned in (authorities(), read_authorities(chain)):
        with pytest.raises(PlacetError) as refused:
            verify_timestamp(stamp, MESSAGE, pinned)
        assert refused.value.reason is Reason.LOG_PROOF_INVALID


@pytest.mark.parametrize(
    "period",
    [
        {"start": "2026-11-23T10:00:01Z"},
        {"start": "2026-01-01T00:00:00Z", "end": "2026-11-23T09:59:59Z"},
    ],
)
def test_an_authority_that_did_not_count_then_is_refused(period: dict[str, str]) -> None:
    def change(root: Any) -> None:
        root["timestampAuthorities"][0]["validFor"] = period

    with pytest.raises(PlacetError) as refused:
        verify_timestamp(SIGSTORE.tsa.timestamp(MESSAGE), MESSAGE, authorities(change=change))
    assert refused.value.reason is Reason.LOG_PROOF_INVALID
    assert "counted at its time" in refused.value.message


def test_the_second_authority_may_be_the_one() -> None:
    other = PrivateSigstore(b"another", clock=lambda: NOW).trusted_root()["timestampAuthorities"]

    def change(root: Any) -> None:
        root["timestampAuthorities"] = other + root["timestampAuthorities"]

    assert verify_timestamp(SIGSTORE.tsa.timestamp(MESSAGE), MESSAGE, authorities(change=change)).time == NOW


def test_no_altered_timestamp_says_another_time() -> None:
    stamp, pinned = SIGSTORE.tsa.timestamp(MESSAGE), authorities()
    for at in range(0, len(stamp), 3):
        changed = bytearray(stamp)
        changed[at] ^= 0x10
        with contextlib.suppress(PlacetError):
            assert verify_timestamp(bytes(changed), MESSAGE, pinned).time == NOW


def test_an_inaccurate_authority_proves_the_end_of_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log was in this state by then at the latest."""
    sigstore = PrivateSigstore(b"inaccurate", clock=lambda: NOW)
    info = tsp.TSTInfo

    def inaccurate(value: dict[str, Any]) -> Any:
        return info(value | {"accuracy": {"seconds": 2, "millis": 1}})

    with monkeypatch.context() as patch:
        patch.setattr("placet.testing.private_sigstore.timestamps.tsp.TSTInfo", inaccurate)
        stamp = sigstore.tsa.timestamp(MESSAGE)
    assert verify_timestamp(stamp, MESSAGE, authorities(sigstore)).time == NOW + 3


class _Tsa:
    """Answers as a test says."""

    def __init__(self, server: PrivateSigstoreServer, monkeypatch: pytest.MonkeyPatch) -> None:
        self.url = f"{server.address}/api/v1/timestamp"
        self._server, self._patch = server, monkeypatch

    def answers(self, answer: Callable[[bytes], bytes]) -> None:
        self._patch.setattr(self._server.sigstore.tsa, "answer", answer)


@pytest.fixture
def tsa(server: PrivateSigstoreServer, monkeypatch: pytest.MonkeyPatch) -> _Tsa:
    return _Tsa(server, monkeypatch)


def refused_by(server: PrivateSigstoreServer, url: str) -> PlacetError:
    with pytest.raises(PlacetError) as refused:
        fetch_timestamp(MESSAGE, url, authorities(server.sigstore), seconds=5)
    assert refused.value.hint
    return refused.value


def test_an_old_answer_is_not_taken_for_a_new_one(server: PrivateSigstoreServer, tsa: _Tsa) -> None:
    """The same message stamped long ago would hold; the nonce says that it is no answer to this request."""
    builder = TimestampRequestBuilder().data(MESSAGE).hash_algorithm(HashAlgorithm.SHA256)
    old = server.sigstore.tsa.answer(builder.nonce(nonce=True).build().as_bytes())
    tsa.answers(lambda request: old)
    refusal = refused_by(server, tsa.url)
    assert refusal.reason is Reason.LOG_PROOF_INVALID
    assert "Nonce" in refusal.message


def test_whatever_the_authority_answers_the_refusal_has_a_name(
    server: PrivateSigstoreServer, tsa: _Tsa
) -> None:
    tsa.answers(lambda request: b"<html>")
    assert refused_by(server, tsa.url).reason is Reason.BAD_VALUE
    tsa.answers(lambda request: bytes(100_000))
    assert refused_by(server, tsa.url).reason is Reason.LOG_UNAVAILABLE
    tsa.answers(lambda request: bytes.fromhex("30053003020102"))  # a status alone: rejected
    assert refused_by(server, tsa.url).reason is Reason.LOG_REFUSED
    tsa.answers(lambda request: bytes.fromhex("30053003020100"))  # granted, and no timestamp
    assert refused_by(server, tsa.url).reason is Reason.LOG_PROOF_INVALID
    assert refused_by(server, f"{server.address}/elsewhere").reason is Reason.LOG_UNAVAILABLE
    assert refused_by(server, "http://127.0.0.1:9/").reason is Reason.LOG_UNAVAILABLE


def test_an_endless_timestamp_is_not_read() -> None:
    with pytest.raises(PlacetError) as refused:
        verify_timestamp(bytes(100_000), MESSAGE, authorities())
    assert refused.value.reason is Reason.TOO_LARGE


def no_start(root: Any) -> None:
    root["timestampAuthorities"][0]["validFor"] = {}


def another_issuer(root: Any) -> None:
    other = PrivateSigstore(b"another").trusted_root()["timestampAuthorities"][0]
    chain = root["timestampAuthorities"][0]["certChain"]["certificates"]
    chain[-1] = other["certChain"]["certificates"][-1]


@pytest.mark.parametrize(
    "change", [no_start, another_issuer, lambda root: root.update(timestampAuthorities=[])]
)
def test_a_root_that_cannot_be_used_is_refused(change: Callable[[Any], object]) -> None:
    with pytest.raises(PlacetError) as refused:
        authorities(change=change)
    assert refused.value.reason is Reason.BAD_TRUST


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"-----BEGIN CERTIFICATE-----\nAA==\n", b"\x30\x03"])
def test_what_is_no_root_is_refused(content: bytes) -> None:
    with pytest.raises(PlacetError) as refused:
        read_authorities(content)
    assert refused.value.reason is Reason.BAD_TRUST

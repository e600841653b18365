"""A Rekor v2 on loopback, and what it may answer: the truth, lies, and nonsense."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from placet.adapters.rekor import RekorLog, read_rekor_logs, submit, verify_entry, verify_export
from placet.adapters.timestamp import read_authorities
from placet.core.bundle import parse_bundle
from placet.core.errors import PlacetError, Reason
from placet.documents.rekor import (
    LoggableSignature,
    encode_request,
    encode_sigstore_bundle,
    loggable_signatures,
)
from placet.testing import world as worlds
from placet.testing.authenticator import SoftSk
from placet.testing.private_sigstore import PrivateSigstore, PrivateSigstoreServer
from placet.testing.world import ALICE, BOB, World

NOW = worlds.NOW
Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def server() -> Iterator[PrivateSigstoreServer]:
    with PrivateSigstoreServer(b"rekor export", clock=lambda: NOW) as running:
        yield running


@pytest.fixture(scope="module")
def signatures() -> tuple[LoggableSignature, ...]:
    world = World(seed=b"rekor")
    world.keys[BOB] = SoftSk("ecdsa", seed=b"bob")
    able, _ = loggable_signatures(parse_bundle(world.bundle(world.request_deploy(), ALICE, BOB)))
    return able


def logs_of(sigstore: PrivateSigstore, change: Change = lambda root: None) -> Mapping[bytes, RekorLog]:
    root = sigstore.trusted_root()
    change(root)
    return read_rekor_logs(json.dumps(root).encode())


def answer_of(server: PrivateSigstoreServer, signature: LoggableSignature) -> dict[str, Any]:
    return server.sigstore.rekor_v2.add(json.loads(encode_request(signature)))


@contextmanager
def answering(body: bytes, status: int = 201) -> Iterator[str]:
    """Something that answers every request with these bytes."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Location", "http://127.0.0.1:9/")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: Any) -> None:
            """Says nothing."""

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{httpd.server_port}"
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()


def test_each_signature_gets_an_entry_of_its_own(
    server: PrivateSigstoreServer, signatures: tuple[LoggableSignature, ...]
) -> None:
    logs = logs_of(server.sigstore)
    found = [submit(signature, server.address, logs, now=NOW) for signature in signatures]
    assert found[1].leaf_index == found[0].leaf_index + 1
    assert {entry.log.base_url for entry in found} == {server.address}
    for signature, entry in zip(signatures, found, strict=True):
        export = encode_sigstore_bundle(signature, entry.entry)
        assert verify_export(export, signatures, logs) == (signature, entry, None)


def test_a_rekor_that_signs_with_ed25519_is_read(
    server: PrivateSigstoreServer, signatures: tuple[LoggableSignature, ...]
) -> None:
    """As rekor-tiles does by default; its ID is then that of C2SP's notes."""
    from hashlib import sha256

    key = ed25519.Ed25519PrivateKey.from_private_bytes(b"k" * 32)
    log_id = sha256(b"rekor.example\n\x01" + key.public_key().public_bytes_raw()).digest()
    entry = answer_of(server, signatures[0])
    proof = entry["inclusionProof"]
    note = f"rekor.example\n{proof['treeSize']}\n{proof['rootHash']}\n"
    line = base64.b64encode(log_id[:4] + key.sign(note.encode())).decode()
    proof["checkpoint"]["envelope"] = f"{note}\n— rekor.example {line}\n"
    entry["logId"]["keyId"] = base64.b64encode(log_id).decode()
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    public = base64.b64encode(key.public_key().public_bytes(*form)).decode()

    def name_key(root: dict[str, Any]) -> None:
        log = root["tlogs"][0]
        log["logId"]["keyId"] = entry["logId"]["keyId"]
        log["publicKey"] |= {"keyDetails": "PKIX_ED25519", "rawBytes": public}
        # A trusted root with nothing but logs is enough.
        root["certificateAuthorities"] = []

    assert verify_entry(entry, signatures[0], logs_of(server.sigstore, name_key)).tree_size > 1


def test_what_protobuf_leaves_out_is_put_back(signatures: tuple[LoggableSignature, ...]) -> None:
    """The first entry of a log has index 0 and no hashes, and Go's JSON says neither."""
    sigstore = PrivateSigstore(b"a fresh log", clock=lambda: NOW)
    log = sigstore.rekor_v2.log
    log.bodies.clear()
    log._hashes.clear()
    answer = sigstore.rekor_v2.add(json.loads(encode_request(signatures[0])))
    assert (answer["logIndex"], answer["inclusionProof"]["hashes"]) == ("0", [])
    for members, name in ((answer, "logIndex"), (answer["inclusionProof"], "logIndex")):
        del members[name]
    del answer["inclusionProof"]["hashes"]
    answer |= {"integratedTime": "0", "inclusionPromise": None}
    with answering(json.dumps(answer).encode()) as address:
        found = submit(signatures[0], address, logs_of(sigstore), now=NOW)
    assert (found.leaf_index, found.tree_size) == (0, 1)


def lie(name: str, *path: str) -> Any:
    """A change of one byte somewhere in the answer."""

    def change(answer: dict[str, Any]) -> None:
        place: Any = answer
        for step in path[:-1]:
            place = place[step]
        value = place[path[-1]]
        if isinstance(value, list):
            value[0] = base64.b64encode(bytes(32)).decode()
        else:
            data = bytearray(base64.b64decode(value))
            data[-1] ^= 1
            place[path[-1]] = base64.b64encode(data).decode()

    return pytest.param(change, id=name)


def other_size(answer: dict[str, Any]) -> None:
    answer["inclusionProof"]["treeSize"] = str(int(answer["inclusionProof"]["treeSize"]) + 1)


def other_index(answer: dict[str, Any]) -> None:
    answer["logIndex"] = "1"


def false_signature(answer: dict[str, Any]) -> None:
    head, _, line = answer["inclusionProof"]["checkpoint"]["envelope"].rstrip("\n").rpartition(" ")
    data = bytearray(base64.b64decode(line))
    data[-1] ^= 1
    answer["inclusionProof"]["checkpoint"]["envelope"] = f"{head} {base64.b64encode(data).decode()}\n"


LIES = [
    lie("another leaf", "canonicalizedBody"),
    lie("another proof", "inclusionProof", "hashes"),
    lie("another root", "inclusionProof", "rootHash"),
    pytest.param(other_size, id="another size"),
    pytest.param(other_index, id="two indexes"),
    pytest.param(false_signature, id="a checkpoint that the log did not sign"),
]


@pytest.mark.parametrize("change", LIES)
def test_a_rekor_that_lies_is_caught_before_anything_is_kept(
    server: PrivateSigstoreServer, signatures: tuple[LoggableSignature, ...], change: Change
) -> None:
    answer = answer_of(server, signatures[0])
    change(answer)
    with answering(json.dumps(answer).encode()) as address, pytest.raises(PlacetError) as refused:
        submit(signatures[0], address, logs_of(server.sigstore), now=NOW)
    assert refused.value.reason is Reason.LOG_PROOF_INVALID


@pytest.mark.parametrize("change", LIES)
def test_an_export_that_was_altered_is_refused(
    server: PrivateSigstoreServer, signatures: tuple[LoggableSignature, ...], change: Change
) -> None:
    answer = answer_of(server, signatures[0])
    logs = logs_of(server.sigstore)
    verify_export(encode_sigstore_bundle(signatures[0], answer), signatures, logs)
    change(answer)
    with pytest.raises(PlacetError) as refused:
        verify_export(encode_sigstore_bundle(signatures[0], answer), signatures, logs)
    assert refused.value.reason is Reason.LOG_PROOF_INVALID


def test_a_rekor_that_answers_with_the_entry_of_another_signature_is_caught(
    server: PrivateSigstoreServer, signatures: tuple[LoggableSignature, ...]
) -> None:
    answer = answer_of(server, signatures[1])
    with answering(json.dumps(answer).encode()) as address, pytest.raises(PlacetError) as refused:
        submit(signatures[0], address, logs_of(server.sigstore), now=NOW)
    assert refused.value.reason is Reason.LOG_PROOF_INVALID


def test_a_log_that_the_trusted_root_does_not_name_proves_nothing(
    server: PrivateSigstoreServer, signatures: tuple[LoggableSignature, ...]
) -> None:
    with pytest.raises(PlacetError) as refused:
        submit(signatures[0], server.address, logs_of(PrivateSigstore(b"another")), now=NOW)
    assert refused.value.reason is Reason.LOG_UNKNOWN


def test_a_log_whose_key_was_retired_proves_nothing_about_now(
    server: PrivateSigstoreServer, signatures: tuple[LoggableSignature, ...]
) -> None:
    def retire(root: dict[str, Any]) -> None:
        for log in root["tlogs"]:
            log["publicKey"]["validFor"]["end"] = "2026-01-01T00:00:00Z"
            log["publicKey"]["validFor"]["start"] = "2025-01-01T00:00:00Z"

    with pytest.raises(PlacetError) as refused:
        submit(signatures[0], server.address, logs_of(server.sigstore, retire), now=NOW)
    assert refused.value.reason is Reason.LOG_UNKNOWN


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (201, b"[]", Reason.LOG_UNAVAILABLE),
        (201, b"{}", Reason.LOG_UNAVAILABLE),
        (201, b"[" * 100_000, Reason.LOG_UNAVAILABLE),
        (201, b'{"inclusionProof": 7}', Reason.LOG_UNAVAILABLE),
        (201, b" " * 200_000, Reason.LOG_UNAVAILABLE),
        (302, b"", Reason.LOG_UNAVAILABLE),
        (400, b'{"code": 3, "message": "no \\"such\\" \\u001b[2J key"}', Reason.LOG_REFUSED),
        (404, b"<html>", Reason.LOG_REFUSED),
        (409, b'{"message": 7}', Reason.LOG_REFUSED),
        (429, b"", Reason.LOG_UNAVAILABLE),
        (503, b"{}", Reason.LOG_UNAVAILABLE),
    ],
)
def test_whatever_it_answers_the_refusal_has_a_name(
    server: PrivateSigstoreServer,
    signatures: tuple[LoggableSignature, ...],
    status: int,
    body: bytes,
    reason: Reason,
) -> None:
    with answering(body, status) as address, pytest.raises(PlacetError) as refused:
        submit(signatures[0], address, logs_of(server.sigstore), now=NOW)
    assert refused.value.reason is reason
    assert refused.value.hint
    assert refused.value.message.isprintable()


@pytest.mark.parametrize(
    "more", [{"integratedTime": "5"}, {"inclusionPromise": {"signedEntryTimestamp": "AA=="}}]
)
def test_what_only_version_1_says_is_not_read_over(
    server: PrivateSigstoreServer, signatures: tuple[LoggableSignature, ...], more: dict[str, Any]
) -> None:
    answer = json.dumps(answer_of(server, signatures[0]) | more).encode()
    with answering(answer) as address, pytest.raises(PlacetError) as refused:
        submit(signatures[0], address, logs_of(server.sigstore), now=NOW)
    assert refused.value.reason is Reason.LOG_UNAVAILABLE


def test_a_rekor_that_is_not_there_is_named(signatures: tuple[LoggableSignature, ...]) -> None:
    logs = logs_of(PrivateSigstore(b"any"))
    for address, reason in (
        ("http://127.0.0.1:9", Reason.LOG_UNAVAILABLE),
        ("ftp://rekor.example", Reason.BAD_VALUE),
    ):
        with pytest.raises(PlacetError) as refused:
            submit(signatures[0], address, logs, now=NOW)
        assert refused.value.reason is reason


def test_a_timestamp_over_the_signature_says_by_when(
    server: PrivateSigstoreServer, signatures: tuple[LoggableSignature, ...]
) -> None:
    logs, tsa = logs_of(server.sigstore), server.sigstore.tsa
    pinned = read_authorities(json.dumps(server.sigstore.trusted_root()).encode())
    answer = answer_of(server, signatures[0])
    stamped = encode_sigstore_bundle(signatures[0], answer, tsa.timestamp(signatures[0].signature))
    found = verify_export(stamped, signatures, logs, pinned).stamped
    assert found is not None
    assert found.time == NOW
    other = encode_sigstore_bundle(signatures[0], answer, tsa.timestamp(signatures[1].signature))
    for content, authorities in ((other, pinned), (stamped, ())):
        with pytest.raises(PlacetError) as refused:
            verify_export(content, signatures, logs, authorities)
        assert refused.value.reason is Reason.LOG_PROOF_INVALID

    def retire(root: dict[str, Any]) -> None:
        for log in root["tlogs"]:
            log["publicKey"]["validFor"] = {"start": "2025-01-01T00:00:00Z", "end": "2026-01-01T00:00:00Z"}

    with pytest.raises(PlacetError) as refused:
        verify_export(stamped, signatures, logs_of(server.sigstore, retire), pinned)
    assert refused.value.reason is Reason.LOG_UNKNOWN


OTHER_FORMS: dict[str, Change] = {
    "version": lambda b: b.update(mediaType="application/vnd.dev.sigstore.bundle+json;version=0.2"),
    "another hint": lambda b: b["verificationMaterial"]["publicKey"].update(hint="other"),
    "no entry": lambda b: b["verificationMaterial"]["tlogEntries"].clear(),
    "a certificate": lambda b: b["verificationMaterial"].update(certificate={"rawBytes": "AA=="}),
    "another signature": lambda b: b["messageSignature"].update(signature="AA=="),
    "another digest": lambda b: b["messageSignature"]["messageDigest"].update(digest="AA=="),
    "more than an entry": lambda b: b["verificationMaterial"]["tlogEntries"][0].update(more="x"),
}


@pytest.mark.parametrize("change", OTHER_FORMS.values(), ids=OTHER_FORMS)
def test_a_bundle_of_another_form_is_refused(
    server: PrivateSigstoreServer, signatures: tuple[LoggableSignature, ...], change: Change
) -> None:
    bundle = json.loads(encode_sigstore_bundle(signatures[0], answer_of(server, signatures[0])))
    change(bundle)
    with pytest.raises(PlacetError) as refused:
        verify_export(json.dumps(bundle).encode(), signatures, logs_of(server.sigstore))
    assert refused.value.reason in (Reason.BAD_VALUE, Reason.LOG_PROOF_INVALID)


def test_a_trusted_root_without_a_usable_log_is_refused() -> None:
    root = PrivateSigstore(b"any").trusted_root()
    for log in root["tlogs"]:
        log["publicKey"]["keyDetails"] = "PKIX_ECDSA_P521_SHA_512"
    for content in (json.dumps(root).encode(), b"[]", b"{}"):
        with pytest.raises(PlacetError) as refused:
            read_rekor_logs(content)
        assert refused.value.reason is Reason.BAD_TRUST

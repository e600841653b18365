"""Files that the administrators pin: named, bounded, described, or refused."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from placet.ceremony.trust_change import split_facts
from placet.core.encoding import sha256_hex
from placet.core.errors import PlacetError, Reason
from placet.core.tlog.note import COSIGNATURE_ED25519, ED25519, NoteSigner
from placet.documents.pinned import (
    MAX_PINNED_BYTES,
    check_pinned,
    describe_pinned,
    is_pinned,
    missing_of_log_policy,
    public_key_digest,
)

KEY = ec.generate_private_key(ec.SECP256R1()).public_key()
PEM = KEY.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
ROOT = {
    "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
    "certificateAuthorities": [{"uri": "https://ca.example"}],
    "tlogs": [{"baseUrl": "https://log.example"}],
}
LAYOUT = {
    "signed": {
        "_type": "layout",
        "expires": "2027-01-01T00:00:00Z",
        "steps": [{"name": "approve", "threshold": 2, "pubkeys": ["a", "b", "c"]}],
    },
    "signatures": [],
}


def test_each_kind_is_described_by_what_it_is() -> None:
    digest = sha256_hex(KEY.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    assert public_key_digest(PEM) == digest
    assert describe_pinned("keys/builder.pub", PEM) == f"public key {digest}"
    said = describe_pinned("sigstore/own.json", json.dumps(ROOT).encode())
    assert "https://ca.example" in said and "https://log.example" in said and "no timestamp" in said
    assert "approve (2 of 3 keys)" in describe_pinned("layouts/app.layout", json.dumps(LAYOUT).encode())


@pytest.mark.parametrize(
    "name",
    [
        "sigstore/../people.json",
        "sigstore/a.toml",
        "layouts/a",
        "keys/A.pub",
        "people.json",
        "keys/a/b.pub",
        "keys/a.pub\n",
    ],
)
def test_other_names_are_refused(name: str) -> None:
    assert not is_pinned(name)
    with pytest.raises(PlacetError) as caught:
        check_pinned(name, PEM)
    assert caught.value.reason is Reason.BAD_VALUE


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("keys/a.pub", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
        ("keys/a.pub", PEM + PEM),
        ("keys/a.pub", b"\xff"),
        ("sigstore/a.json", b"{}"),
        ("sigstore/a.json", b"[]"),
        ("sigstore/a.json", json.dumps(LAYOUT).encode()),
        ("sigstore/a.json", json.dumps({**ROOT, "tlogs": [1]}).encode()),
        ("layouts/a.layout", json.dumps(ROOT).encode()),
        ("layouts/a.layout", json.dumps({"payload": "!", "signatures": []}).encode()),
        ("layouts/a.layout", b"{" * 5000),
        ("layouts/a.layout", b" " * (MAX_PINNED_BYTES + 1)),
    ],
)
def test_what_does_not_belong_there_is_refused(name: str, data: bytes) -> None:
    with pytest.raises(PlacetError):
        check_pinned(name, data)


LOG_VKEY = str(NoteSigner("log.example", ED25519, Ed25519PrivateKey.generate()).verifier_key)
WITNESS_VKEY = str(NoteSigner("w1", COSIGNATURE_ED25519, Ed25519PrivateKey.generate()).verifier_key)


def log_policy(*lines: str) -> bytes:
    return "\n".join((*lines, "")).encode()


def test_a_log_policy_is_described_by_the_keys_that_count() -> None:
    """Who signs it compares keys; a count would be the same for a witness of the attacker's."""
    data = log_policy(f"log {LOG_VKEY} https://log.example", f"witness w1; {WITNESS_VKEY}", "quorum w1;")
    *facts, digest = split_facts(describe_pinned("log-policy", data))
    assert facts == [
        f"log {LOG_VKEY} at https://log.example",
        f'witness "w1;" {WITNESS_VKEY} without an address',
        'quorum "w1;"',
    ]
    assert digest == f"SHA-256 {sha256_hex(data)}"
    assert missing_of_log_policy(data) == ()


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ((f"witness w {WITNESS_VKEY}", "quorum w"), ("address", "level 3")),
        ((f"log {LOG_VKEY}", f"witness w {WITNESS_VKEY}", "quorum w"), ("address",)),
        ((f"log {LOG_VKEY} https://log.example", "quorum none"), ("level 3",)),
        ((f"log {LOG_VKEY} https://log.example", f"witness w {WITNESS_VKEY}", "quorum none"), ("level 4",)),
    ],
)
def test_what_a_log_policy_leaves_out_is_said(lines: tuple[str, ...], said: tuple[str, ...]) -> None:
    notes = missing_of_log_policy(log_policy(*lines))
    assert len(notes) == len(said) and all(word in note for word, note in zip(said, notes, strict=True))

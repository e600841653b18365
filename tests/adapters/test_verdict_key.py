"""The gate's verdict key on disk."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from placet.adapters.gate_key import read_public_key
from placet.adapters.verdict_key import VerdictKey
from placet.core.errors import PlacetError, Reason


def refusal(call: Callable[[], object]) -> PlacetError:
    with pytest.raises(PlacetError) as caught:
        call()
    return caught.value


def write_key(path: Path, key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> Path:
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.touch(mode=0o600)
    path.write_bytes(pem)
    return path


def test_a_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "gate" / "verdict.pem"
    made = VerdictKey.create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert VerdictKey.load(path).public == made.public == read_public_key(path.with_suffix(".pub"))
    before = path.read_bytes()
    error = refusal(lambda: VerdictKey.create(path))
    assert "already a verdict key" in error.message
    assert path.read_bytes() == before


def test_a_key_that_others_can_read_signs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "verdict.pem"
    VerdictKey.create(path)
    path.chmod(0o640)
    error = refusal(lambda: VerdictKey.load(path))
    assert error.reason is Reason.TRUST_UNAVAILABLE
    assert f"chmod 600 {path}" in error.hint


def test_a_missing_key_says_how_to_make_one(tmp_path: Path) -> None:
    error = refusal(lambda: VerdictKey.load(tmp_path / "verdict.pem"))
    assert (error.reason, "placet verdict init" in error.hint) == (Reason.TRUST_UNAVAILABLE, True)
    assert refusal(lambda: read_public_key(tmp_path / "verdict.pub")).reason is Reason.TRUST_UNAVAILABLE


@pytest.mark.parametrize("name", ["p384", "ed25519", "text", "encrypted"])
def test_other_keys_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "verdict.pem"
    if name == "p384":
        write_key(path, ec.generate_private_key(ec.SECP384R1()))
    elif name == "ed25519":
        write_key(path, ed25519.Ed25519PrivateKey.generate())
    else:
        path.touch(mode=0o600)
        path.write_bytes(
            b"no key"
            if name == "text"
            else ec.generate_private_key(ec.SECP256R1()).private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"secret"),
            )
        )
    assert refusal(lambda: VerdictKey.load(path)).reason is Reason.BAD_KEY


def test_a_private_key_is_not_taken_for_the_public_one(tmp_path: Path) -> None:
    VerdictKey.create(tmp_path / "verdict.pem")
    error = refusal(lambda: read_public_key(tmp_path / "verdict.pem"))
    assert (error.reason, "*.pub" in error.hint) == (Reason.BAD_KEY, True)
    public = tmp_path / "p384.pub"
    key = ec.generate_private_key(ec.SECP384R1()).public_key()
    public.write_bytes(
        key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    assert refusal(lambda: read_public_key(public)).reason is Reason.BAD_KEY

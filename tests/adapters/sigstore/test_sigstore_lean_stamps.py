"""Timestamps that the lean verifier reads by itself: rfc3161-client agrees with every yes."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from asn1crypto import cms, core, tsp, x509
from evidence_world import JOB, STATEMENT
from rfc3161_client import decode_timestamp_response

from placet.adapters.sigstore import lean_stamps
from placet.adapters.sigstore.lean_roots import TimestampAuthority, load_lean_instance
from placet.adapters.sigstore.lean_shapes import Unusual
from placet.adapters.sigstore.lean_stamps import check_plain, verify_timestamp
from placet.testing.private_sigstore import PrivateSigstore
from placet.testing.private_sigstore.keys import der, sign

MESSAGE = b"a signature"
_YEAR = 365 * 86_400


class Stamped(NamedTuple):
    """A timestamp over a message, and the authorities of the root that goes with it."""

    stamp: bytes
    message: bytes
    authorities: tuple[TimestampAuthority, ...]

    def check_plain(self) -> None:
        """Checks it by itself."""
        check_plain(self.stamp, decode_timestamp_response(self.stamp), self.message, self.authorities[0])

    def is_true(self) -> bool:
        """Tells whether rfc3161-client takes it."""
        try:
            response = decode_timestamp_response(self.stamp)
            self.authorities[0].verifier.verify_message(response, self.message)
        except Exception:  # it names no closed set
            return False
        return True

    def is_plain(self) -> bool:
        """Tells whether it is taken without rfc3161-client, once the authority is known."""
        try:
            self.check_plain()
        except Exception:
            return False
        return True


def private(sigstore: PrivateSigstore | None = None) -> Stamped:
    sigstore = sigstore or PrivateSigstore(b"stamps")
    return Stamped(sigstore.tsa.timestamp(MESSAGE), MESSAGE, authorities_of(sigstore.trusted_root()))


def authorities_of(root: dict[str, Any]) -> tuple[TimestampAuthority, ...]:
    instance = load_lean_instance("x", json.dumps(root).encode())
    assert instance is not None
    return instance.timestamps


def real(data: Path, name: str) -> Stamped:
    folder = data / "sigstore-conformance" / "bundle-verify" / name
    bundle = json.loads((folder / "bundle.sigstore.json").read_bytes())
    stamps = bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]
    signed = bundle.get("messageSignature") or bundle["dsseEnvelope"]["signatures"][0]
    return Stamped(
        base64.b64decode(stamps[0]["signedTimestamp"]),
        base64.b64decode(signed.get("signature") or signed["sig"]),
        authorities_of(json.loads((folder / "trusted_root.json").read_bytes())),
    )


REAL = ["rekor2-timestamp-with-embedded-cert", "rekor2-timestamp-without-embedded-cert"]


def test_every_bit_of_a_plain_timestamp_counts() -> None:
    _check_every_bit(private(), bits=8)


@pytest.mark.parametrize("name", REAL)
def test_every_byte_of_sigstores_own_timestamps_counts(test_data: Path, name: str) -> None:
    _check_every_bit(real(test_data, name), bits=2)


def _check_every_bit(stamped: Stamped, *, bits: int) -> None:
    assert stamped.is_true() and stamped.is_plain()
    for at in range(len(stamped.stamp)):
        for bit in range(bits):
            raw = bytearray(stamped.stamp)
            raw[at] ^= 1 << (bit * 3 + at) % 8 if bits < 8 else 1 << bit
            assert not stamped._replace(stamp=bytes(raw)).is_plain(), (at, bit)


def test_bytes_more_and_bytes_less_are_not_plain() -> None:
    stamped = private()
    for size in range(len(stamped.stamp)):
        assert not stamped._replace(stamp=stamped.stamp[:size]).is_plain()
    assert not stamped._replace(stamp=stamped.stamp + b"\0").is_plain()


def test_the_message_is_what_was_stamped() -> None:
    stamped = private()._replace(message=b"another")
    assert not stamped.is_true()
    assert not stamped.is_plain()


def test_another_authority_of_the_same_name_is_not_this_one() -> None:
    stamped = private()._replace(authorities=private(PrivateSigstore(b"stranger")).authorities)
    assert not stamped.is_true()
    assert not stamped.is_plain()


Change = Callable[[Any, Any], object]


def _attributes(kind: str, *values: Any) -> Change:
    """Returns what gives an attribute these values, or takes it away."""

    def change(signed: Any, signer: Any) -> None:
        kept = [a for a in signer["signed_attrs"] if a["type"].native != kind]
        own = [cms.CMSAttribute({"type": kind, "values": list(values)})] if values else []
        signer["signed_attrs"] = cms.CMSAttributes(kept + own)

    return change


def _add(kind: str, value: Any, times: int = 1) -> Change:
    def change(signed: Any, signer: Any) -> None:
        more = [cms.CMSAttribute({"type": kind, "values": [value]})] * times
        signer["signed_attrs"] = cms.CMSAttributes([*signer["signed_attrs"], *more])

    return change


def _signed(name: str, value: Any) -> Change:
    return lambda signed, signer: signed.__setitem__(name, value)


def _signer(name: str, value: Any) -> Change:
    return lambda signed, signer: signer.__setitem__(name, value)


def _certificates(*places: int) -> Change:
    chain = [x509.Certificate.load(der(c)) for c in _sigstore().tsa.chain]
    return _signed("certificates", [chain[place] for place in places])


@functools.cache
def _sigstore() -> PrivateSigstore:
    return PrivateSigstore(b"stamps")


ELSE = hashlib.sha256(b"else").digest()
# Forms that the authority itself could have signed: they go to rfc3161-client, whatever it says of them.
OTHER_FORMS: dict[str, Change] = {
    "content type of something else": _attributes("content_type", "data"),
    "two content types": _attributes("content_type", "tst_info", "data"),
    "no content type": _attributes("content_type"),
    "no digest": _attributes("message_digest"),
    "digest of something else": _attributes("message_digest", ELSE),
    "a second digest": _add("message_digest", ELSE),
    "a second signing time": _add("signing_time", cms.Time({"utc_time": datetime.now(UTC)})),
    "many attributes": lambda signed, signer: [
        _add(f"1.2.3.{i}", core.Null())(signed, signer) for i in range(5)
    ],
    "another version": _signed("version", "v1"),
    "another version of the signer": _signer("version", "v3"),
    "another digest algorithm": _signer("digest_algorithm", {"algorithm": "sha512"}),
    "other digest algorithms": _signed("digest_algorithms", [{"algorithm": "sha384"}]),
    "another signature algorithm": _signer("signature_algorithm", {"algorithm": "sha384_ecdsa"}),
    "another serial number": lambda signed, signer: signer["sid"].chosen.__setitem__("serial_number", 7),
    "unsigned attributes": _signer("unsigned_attrs", [{"type": "1.2.3.4", "values": [core.Null()]}]),
    "two signers": lambda signed, signer: signed["signer_infos"].append(signer.copy()),
    "the root's certificate": _certificates(0, 1),
    "only the root's certificate": _certificates(1),
}


def changed(change: Change) -> Stamped:
    """Returns a timestamp of another form, signed by the authority."""
    sigstore = _sigstore()
    stamped = private(sigstore)
    response = tsp.TimeStampResp.load(stamped.stamp).copy()
    signed = response["time_stamp_token"]["content"]
    signer = signed["signer_infos"][0]
    change(signed, signer)
    attributes = cms.CMSAttributes(list(signer["signed_attrs"]))
    signer["signed_attrs"] = attributes
    signer["signature"] = sign(sigstore.tsa.key, attributes.dump(force=True))
    return stamped._replace(stamp=response.dump(force=True))


def test_a_plain_timestamp_may_carry_no_certificate() -> None:
    stamped = changed(_signed("certificates", None))
    assert stamped.is_true() and stamped.is_plain()


@pytest.mark.parametrize("algorithm", ["sha384", "sha512"])
def test_other_digests_of_the_message_go_to_rfc3161_client(algorithm: str) -> None:
    digest = hashlib.new(algorithm, MESSAGE).digest()
    imprint = {"hash_algorithm": {"algorithm": algorithm}, "hashed_message": digest}
    request = tsp.TimeStampReq({"version": "v1", "message_imprint": imprint, "cert_req": True}).dump()
    stamped = private(_sigstore())._replace(stamp=_sigstore().tsa.answer(request))
    assert stamped.is_true() and not stamped.is_plain()


def test_a_digest_under_another_algorithms_name_is_none() -> None:
    imprint = {
        "hash_algorithm": {"algorithm": "sha3_256"},
        "hashed_message": hashlib.sha256(MESSAGE).digest(),
    }
    request = tsp.TimeStampReq({"version": "v1", "message_imprint": imprint, "cert_req": True}).dump()
    stamped = private(_sigstore())._replace(stamp=_sigstore().tsa.answer(request))
    assert not stamped.is_true() and not stamped.is_plain()


def test_signing_again_without_a_change_stays_plain() -> None:
    stamped = changed(lambda signed, signer: None)
    assert stamped.is_true() and stamped.is_plain()


@pytest.mark.parametrize("name", OTHER_FORMS)
def test_other_forms_go_to_rfc3161_client(name: str) -> None:
    assert not changed(OTHER_FORMS[name]).is_plain()


def test_the_first_timestamp_is_judged_by_rfc3161_client_and_what_is_not_plain_always(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stamped = private(_sigstore())
    (authority,) = stamped.authorities
    asked = []

    class Asked:
        def verify_message(self, response: Any, message: bytes) -> bool:
            asked.append(message)
            return bool(verifier.verify_message(response, message))

    verifier, authority.verifier = authority.verifier, Asked()
    helped = changed(OTHER_FORMS["the root's certificate"])
    verify_timestamp(helped.stamp, helped.message, stamped.authorities)
    assert not authority.is_proven  # certificates that came with it could have helped
    verify_timestamp(stamped.stamp, MESSAGE, stamped.authorities)
    assert authority.is_proven and len(asked) == 2
    verify_timestamp(stamped.stamp, MESSAGE, stamped.authorities)
    assert len(asked) == 2
    verify_timestamp(helped.stamp, helped.message, stamped.authorities)
    assert len(asked) == 3
    with pytest.raises(Exception, match="Mismatch"):
        verify_timestamp(stamped.stamp, b"another", stamped.authorities)


def test_a_false_first_timestamp_proves_no_authority() -> None:
    """Its certificates are those of the root, and do not lead to each other."""
    root = _sigstore().trusted_root()
    other = PrivateSigstore(b"stranger").trusted_root()
    (authority,) = authorities_of(root)
    (stranger,) = authorities_of(other)
    authority.verifier = stranger.verifier
    stamped = private(_sigstore())
    for _ in range(2):
        with pytest.raises(Exception, match=r".+"):
            verify_timestamp(stamped.stamp, MESSAGE, (authority,))
        assert not authority.is_proven


def test_a_proven_authority_counts_only_while_its_certificates_are_valid() -> None:
    """The authority's certificate lives nine years, and the root names no end."""
    now = time.time()
    sigstore = PrivateSigstore(b"later", clock=lambda: now)
    authorities = authorities_of(sigstore.trusted_root())
    verify_timestamp(sigstore.tsa.timestamp(MESSAGE), MESSAGE, authorities)
    assert authorities[0].is_proven
    now += 8 * _YEAR
    verify_timestamp(sigstore.tsa.timestamp(MESSAGE), MESSAGE, authorities)
    now += 1.5 * _YEAR
    late = Stamped(sigstore.tsa.timestamp(MESSAGE), MESSAGE, authorities)
    assert not late.is_true()
    with pytest.raises(Exception, match=r".+"):
        verify_timestamp(late.stamp, MESSAGE, authorities)


def test_a_timestamp_of_a_time_in_which_no_authority_counts_is_left_alone() -> None:
    sigstore = PrivateSigstore(b"stamps")
    root = sigstore.trusted_root()
    stamp = sigstore.tsa.timestamp(MESSAGE)
    root["timestampAuthorities"][0]["validFor"] = {
        "start": "2001-01-01T00:00:00Z",
        "end": "2002-01-01T00:00:00Z",
    }
    with pytest.raises(ValueError, match="not enough values"):
        verify_timestamp(stamp, MESSAGE, authorities_of(root))


def test_a_bundles_statement_is_stamped_over_its_signature() -> None:
    sigstore = PrivateSigstore(b"stamps")
    bundle = json.loads(sigstore.sign_statement(JOB, STATEMENT))
    stamps = bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]
    stamp = base64.b64decode(stamps[0]["signedTimestamp"])
    message = base64.b64decode(bundle["dsseEnvelope"]["signatures"][0]["sig"])
    assert Stamped(stamp, message, authorities_of(sigstore.trusted_root())).is_plain()


@pytest.mark.parametrize(
    "data",
    [
        b"\x04\x01a\x00",  # more after it
        b"\x04\x02a",
        b"\x05\x01a",
        b"\x04\x81\x01a",  # a longer form than its length needs
        b"\x04\x82\x00\x80" + bytes(128),
        b"\x04\x83\x00\x00\x01a",
        b"\x04\x80a\x00\x00",  # without a length
        b"\x04",
        b"",
    ],
)
def test_other_encodings_than_der_are_not_read(data: bytes) -> None:
    assert lean_stamps._inside(b"\x04\x01a", 4) == b"a"
    assert lean_stamps._inside(b"\x04\x81\x80" + bytes(128), 4) == bytes(128)
    with pytest.raises((Unusual, IndexError)):
        lean_stamps._inside(data, 4)

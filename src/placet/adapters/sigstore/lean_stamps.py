"""Timestamps (RFC 3161) for the lean verifier.

rfc3161-client takes most of its time for the authority's own certificates, each time anew; they never change.
So it judges the first timestamp of an authority, and with it these certificates.  Of later ones, made while
all of them were valid, this checks what differs: the authority signed it, and signed it for this message.

Only the plainest form is read here, which Sigstore's authorities write: DER, one signer, no certificate but
the signer's.  Whatever else, and whatever is false, goes to rfc3161-client, as every timestamp does in
sigstore-python.

Leaves out: the authority's accuracy, order and policy, as sigstore-python does.
"""

from __future__ import annotations

import hashlib
from datetime import datetime

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from rfc3161_client import TimeStampResponse, decode_timestamp_response

from placet.adapters.sigstore.lean_roots import TimestampAuthority
from placet.adapters.sigstore.lean_shapes import require

_SEQUENCE, _SET, _INTEGER, _OCTETS, _TAGGED = 0x30, 0x31, 0x02, 0x04, 0xA0
_GRANTED = bytes.fromhex("3003020100")
_SIGNED_DATA = bytes.fromhex("06092a864886f70d010702")
_TST_INFO = bytes.fromhex("060b2a864886f70d0109100104")
_CONTENT_TYPE = bytes.fromhex("06092a864886f70d010903")
_MESSAGE_DIGEST = bytes.fromhex("06092a864886f70d010904")
_VERSION_1, _VERSION_3 = bytes.fromhex("020101"), bytes.fromhex("020103")
_SHA256 = "2.16.840.1.101.3.4.2.1"
_MAX_ATTRIBUTES = 8
# By the digest algorithm, with NULL for parameters or none: the hash, and what must then have signed.
_ALGORITHMS = {
    bytes.fromhex(digest + parameters): (name, bytes.fromhex(signature), ec.ECDSA(algorithm))
    for digest, name, signature, algorithm in (
        ("0609608648016503040201", "sha256", "06082a8648ce3d040302", hashes.SHA256()),
        ("0609608648016503040202", "sha384", "06082a8648ce3d040303", hashes.SHA384()),
    )
    for parameters in ("", "0500")
}


def verify_timestamp(stamp: bytes, message: bytes, authorities: tuple[TimestampAuthority, ...]) -> datetime:
    """Returns when the one authority that counted then has stamped the message.

    Raises:
        Exception: it did not, or the timestamp cannot be read.
    """
    response = decode_timestamp_response(stamp)
    time: datetime = response.tst_info.gen_time
    (authority,) = (authority for authority in authorities if time in authority.period)
    try:
        check_plain(stamp, response, message, authority)
        is_plain = True
    except Exception:  # of another form, hostile or false
        is_plain = False
    if not (is_plain and authority.is_proven):
        authority.verifier.verify_message(response, message)
        # A timestamp of another form could bring certificates that helped.
        authority.is_proven = authority.is_proven or is_plain
    return time


def check_plain(
    stamp: bytes, response: TimeStampResponse, message: bytes, authority: TimestampAuthority
) -> None:
    """Checks all of a plain timestamp but the authority's certificates.

    Raises:
        Exception: it is of another form, or false.
    """
    info = response.tst_info
    require(info.gen_time in authority.while_valid)
    require(info.message_imprint.hash_algorithm.dotted_string == _SHA256)
    require(info.message_imprint.message == hashlib.sha256(message).digest())
    status, token = _parts(_inside(stamp, _SEQUENCE), 2)
    require(status == _GRANTED)
    kind, data = _parts(_inside(token, _SEQUENCE), 2)
    require(kind == _SIGNED_DATA)
    version, digests, content, *certificates, signers = _parts(_inside(_inside(data, _TAGGED), _SEQUENCE), 5)
    require(version == _VERSION_3)
    require(all(_inside(item, _TAGGED) in (b"", authority.certificate) for item in certificates))
    content_type, octets = _parts(_inside(content, _SEQUENCE), 2)
    require(content_type == _TST_INFO)
    _check_signer(signers, digests, _inside(_inside(octets, _TAGGED), _OCTETS), authority)


def _check_signer(signers: bytes, digests: bytes, content: bytes, authority: TimestampAuthority) -> None:
    """Checks that the authority is the one signer, and that it signed the content (RFC 5652, section 5.4)."""
    version, name, digest, attributes, algorithm, signature = _parts(
        _inside(_inside(signers, _SET), _SEQUENCE), 6
    )
    require(version == _VERSION_1)
    issuer, serial = _parts(_inside(name, _SEQUENCE), 2)
    require(issuer == authority.issuer)
    require(int.from_bytes(_inside(serial, _INTEGER), "big") == authority.serial)
    require(_inside(digests, _SET) == digest)
    hash_name, signs_with, ecdsa = _ALGORITHMS[_inside(digest, _SEQUENCE)]
    require(_inside(algorithm, _SEQUENCE) == signs_with)
    items = _parts(_inside(attributes, _TAGGED), _MAX_ATTRIBUTES)
    found = dict(_attribute(item) for item in items)
    require(len(found) == len(items))  # none twice
    require(found[_CONTENT_TYPE] == _TST_INFO)
    require(_inside(found[_MESSAGE_DIGEST], _OCTETS) == hashlib.new(hash_name, content).digest())
    # Attributes are signed under the tag of a set, and carried under another.
    authority.key.verify(_inside(signature, _OCTETS), bytes([_SET]) + attributes[1:], ecdsa)


def _attribute(item: bytes) -> tuple[bytes, bytes]:
    """Returns an attribute's name and its one value."""
    name, values = _parts(_inside(item, _SEQUENCE), 2)
    (value,) = _parts(_inside(values, _SET), 1)
    return name, value


def _inside(data: bytes, tag: int) -> bytes:
    """Returns what the one DER value with this tag holds, which `data` is."""
    start, end = _bounds(data, 0)
    require(data[0] == tag and end == len(data))
    return data[start:]


def _parts(data: bytes, most: int) -> list[bytes]:
    """Returns the DER values that follow one another in `data`."""
    parts: list[bytes] = []
    at = 0
    while at < len(data):
        require(len(parts) < most)
        _, end = _bounds(data, at)
        parts.append(data[at:end])
        at = end
    return parts


def _bounds(data: bytes, at: int) -> tuple[int, int]:
    """Returns where a DER value's content begins and ends; its length has the shortest form."""
    length, start = data[at + 1], at + 2
    if length > 0x7F:
        size = length - 0x80
        require(size in (1, 2))
        start += size
        length = int.from_bytes(data[at + 2 : start], "big")
        require(length > (0x7F if size == 1 else 0xFF))
    require(start + length <= len(data))
    return start, start + length

"""Timestamps (RFC 3161) of checkpoints: asked for at an authority, and verified with pinned certificates.

They say by when a log was in a state, also where it has no witnesses.  Which authorities count is said by a
Sigstore trusted root, or by the PEM file of one authority's certificates.

Leaves out: that the log signed the checkpoint (`placet.core.tlog.checkpoint`); whether an entry stands in it.
"""

from __future__ import annotations

import itertools
import math
import re
from datetime import UTC, datetime
from typing import Any, NamedTuple

from cryptography.x509 import (
    BasicConstraints,
    Certificate,
    ExtensionNotFound,
    load_der_x509_certificate,
    load_pem_x509_certificates,
)
from rfc3161_client import (
    HashAlgorithm,
    PKIStatus,
    TimestampRequestBuilder,
    TimeStampResponse,
    VerifierBuilder,
    decode_timestamp_response,
)

from placet.adapters.bounded_http import BoundedHttp, HttpError
from placet.core.decode import Object, read_ascii, read_list, read_map
from placet.core.encoding import b64decode_strict, parse_json
from placet.core.errors import (
    IndeterminateError,
    MalformedError,
    PlacetError,
    PolicyError,
    Reason,
    VerificationError,
)

MAX_STAMP_BYTES = 64 * 1024
MAX_ROOT_BYTES = 1024 * 1024
STAMP_SECONDS = 30.0
_MAX_AUTHORITIES = 32
_MAX_CERTIFICATES = 8
_time = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z").fullmatch
_NEXT = "Check that --trusted-root is of the authority that made the timestamp."


class TimestampAuthority(NamedTuple):
    """An authority that counts.  `start` and `end` bound its time; both ends belong to it.

    `chain` has its own certificate first and its root last; `own` is None where only those above are pinned.
    """

    name: str
    chain: tuple[Certificate, ...]
    own: Certificate | None
    start: datetime | None = None
    end: datetime | None = None

    def counts_at(self, time: datetime) -> bool:
        """Tells whether the authority counted then."""
        return (self.start is None or self.start <= time) and (self.end is None or time <= self.end)


class StampedTime(NamedTuple):
    """A verified timestamp: the message existed by `time`, in Unix seconds, says this authority."""

    time: int
    authority: str


def read_authorities(content: bytes) -> tuple[TimestampAuthority, ...]:
    """Reads a Sigstore trusted root's timestamp authorities, or one authority's certificates in PEM.

    Raises:
        MalformedError: BAD_TRUST: it names no authority that can be used.
    """
    try:
        if content.lstrip()[:1] == b"{":
            top = parse_json(content, max_bytes=MAX_ROOT_BYTES, what="trusted root")
            items = read_list(
                top.get("timestampAuthorities", []), "", max_items=_MAX_AUTHORITIES, min_items=1
            )
            return tuple(map(_read_authority, items))
        return (_from_chain("the authority of the PEM file", load_pem_x509_certificates(content)),)
    except Exception as e:  # JSON of any shape, certificates of any kind
        raise MalformedError(
            Reason.BAD_TRUST,
            "The file names no timestamp authority that can be used.",
            hint="Name a Sigstore trusted root (JSON) with timestampAuthorities, or the authority's "
            "certificates in PEM, its own first and its root last.",
        ) from e


def _read_authority(value: Any) -> TimestampAuthority:
    members = read_map(value, "", max_items=8)
    items = read_list(members["certChain"]["certificates"], "", max_items=_MAX_CERTIFICATES, min_items=1)
    chain = [load_der_x509_certificate(b64decode_strict(item["rawBytes"])) for item in items]
    name = members.get("uri") or members["subject"]["commonName"]
    valid_for: Object = members["validFor"]
    start, end = (_read_time(valid_for.get(which)) for which in ("start", "end"))
    if start is None:
        raise ValueError("an authority counts from some time on")
    return _from_chain(read_ascii(name, ""), chain)._replace(start=start, end=end)


def _read_time(value: Any) -> datetime | None:
    if value is None:
        return None
    if not isinstance(value, str) or not _time(value):
        raise ValueError("this is no time")
    return datetime.fromisoformat(value)


def _from_chain(name: str, chain: list[Certificate]) -> TimestampAuthority:
    if not 0 < len(chain) <= _MAX_CERTIFICATES:
        raise ValueError("an authority has some certificates")
    for certificate, issuer in itertools.pairwise(chain):
        certificate.verify_directly_issued_by(issuer)
    return TimestampAuthority(name, tuple(chain), None if _is_ca(chain[0]) else chain[0])


def _is_ca(certificate: Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(BasicConstraints).value.ca
    except ExtensionNotFound:
        return False


def fetch_timestamp(
    message: bytes,
    url: str,
    authorities: tuple[TimestampAuthority, ...],
    *,
    seconds: float = STAMP_SECONDS,
    ca_file: str | None = None,
) -> tuple[bytes, StampedTime]:
    """Has an authority put its time on a message; what it answers is verified before it leaves here.

    Args:
        url: the whole address, such as ``https://tsa.example/api/v1/timestamp``.
        authorities: those that count.

    Returns:
        The timestamp response in DER, and what it says.

    Raises:
        PolicyError: LOG_REFUSED: the authority does not stamp it.
        VerificationError: LOG_PROOF_INVALID.
        IndeterminateError: LOG_UNAVAILABLE.
    """
    builder = TimestampRequestBuilder().data(message).hash_algorithm(HashAlgorithm.SHA256)
    request = builder.nonce(nonce=True).cert_request(cert_request=True).build()
    try:
        with BoundedHttp(seconds=seconds, ca_file=ca_file) as http:
            reply = http.send(
                "POST",
                url,
                max_bytes=MAX_STAMP_BYTES,
                headers={"Content-Type": "application/timestamp-query"},
                content=request.as_bytes(),
            )
    except HttpError as e:
        raise _unavailable(f"The timestamp authority cannot be asked: {e}", e.hint) from e
    if reply.status not in (200, 201):
        raise _unavailable(
            f"The timestamp authority answered with status {reply.status}.",
            "Check the address, with its path: https://tsa.example/api/v1/timestamp.",
        )
    response = _decode(reply.body)
    if PKIStatus(response.status) is not PKIStatus.GRANTED:
        raise PolicyError(
            Reason.LOG_REFUSED,
            "The timestamp authority does not stamp this.",
            hint="It may want another hash, or callers that it knows. Try another authority.",
        )
    return reply.body, _verify(response, message, authorities, nonce=request.nonce)


def verify_timestamp(
    stamp: bytes, message: bytes, authorities: tuple[TimestampAuthority, ...]
) -> StampedTime:
    """Verifies that an authority that counted then has stamped a message.

    Args:
        stamp: the timestamp response in DER.

    Raises:
        MalformedError: BAD_VALUE, TOO_LARGE.
        VerificationError: LOG_PROOF_INVALID.
    """
    return _verify(_decode(stamp), message, authorities, nonce=None)


def _decode(stamp: bytes) -> TimeStampResponse:
    if len(stamp) > MAX_STAMP_BYTES:
        raise MalformedError(Reason.TOO_LARGE, "The timestamp is too long.", expected=MAX_STAMP_BYTES)
    try:
        return decode_timestamp_response(stamp)
    except Exception as e:  # the library's own, of every kind
        raise MalformedError(
            Reason.BAD_VALUE,
            "This is no timestamp (RFC 3161).",
            hint="`placet log timestamp` and `openssl ts -reply` write what is read here: a response in DER.",
        ) from e


def _verify(
    response: TimeStampResponse,
    message: bytes,
    authorities: tuple[TimestampAuthority, ...],
    *,
    nonce: int | None,
) -> StampedTime:
    why: Exception | None = None
    for authority in authorities:
        try:
            time = response.tst_info.gen_time.astimezone(UTC)
            if not authority.counts_at(time):
                continue
            _verify_by(authority, response, message, nonce)
            return StampedTime(_latest(time, response.tst_info.accuracy), authority.name)
        except Exception as e:  # the library's own, and others on certificates that it does not know
            why = e
    raise _false(why) from why


def _verify_by(
    authority: TimestampAuthority, response: TimeStampResponse, message: bytes, nonce: int | None
) -> None:
    builder = VerifierBuilder().add_root_certificate(authority.chain[-1])
    above = authority.chain[:-1]
    if authority.own is not None:
        builder, above = builder.tsa_certificate(authority.own), above[1:]
    for certificate in above:
        builder = builder.add_intermediate_certificate(certificate)
    if nonce is not None:
        builder = builder.nonce(nonce)
    builder.build().verify_message(response, message)


def _latest(time: datetime, accuracy: Any) -> int:
    """Returns the end of the time that the authority means, in whole seconds: by then it had been stamped."""
    slack = 0.0
    if accuracy is not None:
        slack = (accuracy.seconds or 0) + (accuracy.millis or 0) / 1e3 + (accuracy.micros or 0) / 1e6
    return math.ceil(time.timestamp() + slack)


def _unavailable(message: str, hint: str) -> PlacetError:
    return IndeterminateError(Reason.LOG_UNAVAILABLE, message, hint=hint or "Try again later.")


def _false(why: Exception | None) -> VerificationError:
    said = str(why).split("\n", 1)[0].strip(" .")[:200] if why else ""
    detail = f": {said}" if said else ", or none of them counted at its time"
    return VerificationError(
        Reason.LOG_PROOF_INVALID,
        f"No timestamp authority that you name has stamped this checkpoint{detail}.",
        hint=_NEXT,
    )

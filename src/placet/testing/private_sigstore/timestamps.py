"""The timestamp authority (RFC 3161), in DER and in the JSON that sigstore-js sends."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from hashlib import sha256

from asn1crypto import cms, core, tsp  # type: ignore[import-untyped]
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from placet.testing.private_sigstore.fulcio import Refused
from placet.testing.private_sigstore.keys import (
    Authority,
    Seed,
    as_time,
    common_name,
    der,
    issue,
    key_usage,
    sign,
    start_certificate,
)

_POLICY = "1.3.6.1.4.1.57264.2"
_YEAR = 365 * 86_400


class TimestampAuthority:
    """Signs the time over a hash.

    Attributes:
        chain: its own certificate first, its root last.
        key: what it signs with.
    """

    def __init__(self, seed: Seed, clock: Callable[[], float], *, not_before: float) -> None:
        self._clock = clock
        self._seed = seed
        self._count = 0
        root = Authority(seed, "tsa root", not_before=not_before)
        self.key = seed.key("tsa")
        certificate = issue(
            start_certificate(self.key.public_key(), root.key)
            .subject_name(common_name("tsa"))
            .issuer_name(root.certificate.subject)
            .serial_number(seed.number("serial tsa", 120) + 1)
            .not_valid_before(as_time(not_before))
            .not_valid_after(as_time(not_before + 9 * _YEAR))
            .add_extension(x509.BasicConstraints(False, None), critical=True)
            .add_extension(key_usage("digital_signature"), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True),
            root.key,
        )
        self.chain = (certificate, *root.chain)

    def answer(self, request: bytes) -> bytes:
        """Answers POST /api/v1/timestamp.

        Raises:
            Refused: this is no timestamp request.
        """
        try:
            query = tsp.TimeStampReq.load(_der_from_json(request) if request[:1] == b"{" else request)
            imprint, nonce = query["message_imprint"], query["nonce"].native
            with_certificate = bool(query["cert_req"].native)
        except (ValueError, KeyError, TypeError) as error:
            raise Refused(f"no timestamp request can be read: {error}") from error
        token = {"content_type": "signed_data", "content": self._sign(imprint, nonce, with_certificate)}
        answer: bytes = tsp.TimeStampResp({"status": {"status": "granted"}, "time_stamp_token": token}).dump()
        return answer

    def timestamp(self, signature: bytes) -> bytes:
        """Returns the timestamp response over a signature."""
        return self.answer(_request(sha256(signature).digest(), "sha256", None, True))

    def _sign(self, imprint: object, nonce: int | None, with_certificate: bool) -> object:
        now = as_time(self._clock())
        self._count += 1
        info = tsp.TSTInfo(
            {
                "version": "v1",
                "policy": _POLICY,
                "message_imprint": imprint,
                "serial_number": self._seed.number(f"timestamp {self._count}", 56) + 1,
                "gen_time": now,
                **({} if nonce is None else {"nonce": nonce}),
            }
        ).dump()
        own = der(self.chain[0])
        certificate = asn1_x509.Certificate.load(own)
        # The hash algorithm of this attribute is SHA-256 where none is named.
        signer = tsp.SigningCertificateV2({"certs": [{"cert_hash": sha256(own).digest()}]})
        attributes = cms.CMSAttributes(
            [
                {"type": "content_type", "values": ["tst_info"]},
                {"type": "signing_time", "values": [cms.Time({"utc_time": now})]},
                {"type": "message_digest", "values": [sha256(info).digest()]},
                {"type": "signing_certificate_v2", "values": [signer]},
            ]
        )
        name = {"issuer": certificate.issuer, "serial_number": certificate.serial_number}
        signer_info = {
            "version": "v1",
            "sid": {"issuer_and_serial_number": name},
            "digest_algorithm": {"algorithm": "sha256"},
            "signed_attrs": attributes,
            "signature_algorithm": {"algorithm": "sha256_ecdsa"},
            "signature": sign(self.key, attributes.dump()),
        }
        return cms.SignedData(
            {
                "version": "v3",
                "digest_algorithms": [{"algorithm": "sha256"}],
                "encap_content_info": {
                    "content_type": "tst_info",
                    "content": core.ParsableOctetString(info),
                },
                "certificates": [certificate] if with_certificate else None,
                "signer_infos": [signer_info],
            }
        )


def _der_from_json(request: bytes) -> bytes:
    asked = json.loads(request)
    algorithm = asked.get("hashAlgorithm", "sha256").replace("-", "")
    digest = base64.b64decode(asked["artifactHash"])
    nonce = asked.get("nonce")
    certificates = bool(asked.get("certificates"))
    return _request(digest, algorithm, None if nonce is None else int(nonce), certificates)


def _request(digest: bytes, algorithm: str, nonce: int | None, with_certificate: bool) -> bytes:
    imprint = {"hash_algorithm": {"algorithm": algorithm}, "hashed_message": digest}
    asked = {"version": "v1", "message_imprint": imprint, "cert_req": with_certificate}
    request: bytes = tsp.TimeStampReq(asked if nonce is None else asked | {"nonce": nonce}).dump()
    return request

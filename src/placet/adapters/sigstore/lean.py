"""The lean verifier: the common forms of Sigstore bundles, on the gates' hot path (ADR 0031).

It may only ever say yes, and only where sigstore-python says yes as well.  Whatever is false, and whatever is
unusual in any way (unknown members, other versions, several entries or timestamps, another spelling, a time
at the end of a period), is left to the verifier in `verifier`, which decides and names the reason.  So
nothing here explains; each check is one line that holds, or everything is left.

What it reads: bundles of version 0.3 and PyPI's attestations, with a certificate on P-256, and one in-toto
envelope or one artifact's signature; one entry of Rekor v2 (hashedrekord 0.0.2, with a timestamp) or of Rekor
v1 (dsse or hashedrekord 0.0.1, with the log's promise, with or without a timestamp), with its proof.

It imports nothing of sigstore-python's, whose models, HTTP and TUF are most of a cold verification.

Leaves out: who signed; rules say whom they accept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.x509 import load_der_x509_certificate

from placet.adapters.sigstore.certificates import read_signer
from placet.adapters.sigstore.lean_certificates import check_certificate, find_instance
from placet.adapters.sigstore.lean_logs import ENTRY_V1, ENTRY_V2, Content, check_body, check_entry
from placet.adapters.sigstore.lean_roots import LeanInstance
from placet.adapters.sigstore.lean_shapes import just, raw, read, require, text
from placet.adapters.sigstore.lean_stamps import verify_timestamp
from placet.adapters.sigstore.verified import Verified
from placet.core.dsse import PAYLOAD_TYPE, pae

_MATERIAL = {
    "certificate": {"rawBytes": raw},
    "tlogEntries": [lambda entry: read(entry, ENTRY_V1 if "inclusionPromise" in entry else ENTRY_V2)],
    "timestampVerificationData?": {"rfc3161Timestamps?": [{"signedTimestamp": raw}]},
}
_ENVELOPE = {
    "payload": raw,
    "payloadType": just(PAYLOAD_TYPE),
    "signatures": [{"sig": raw, "keyid?": text}],
}
_MESSAGE = {"messageDigest": {"algorithm": just("SHA2_256"), "digest": raw}, "signature": raw}
_BUNDLE = {
    "mediaType": just(
        "application/vnd.dev.sigstore.bundle.v0.3+json",
        "application/vnd.dev.sigstore.bundle+json;version=0.3",
    ),
    "verificationMaterial": _MATERIAL,
    "dsseEnvelope?": _ENVELOPE,
    "messageSignature?": _MESSAGE,
}
_ECDSA = ec.ECDSA(Prehashed(hashes.SHA256()))


def verify_lean(bundle: Any, instances: Sequence[LeanInstance]) -> Verified | None:
    """Verifies a bundle; None where sigstore-python is to decide.

    Args:
        bundle: its JSON, as `parse_json` read it.
        instances: every Sigstore instance of the trust root.
    """
    try:
        return _verify(read(bundle, _BUNDLE), instances)
    except Exception:  # false, hostile or unusual: the other verifier finds the words
        return None


def _verify(bundle: dict[str, Any], instances: Sequence[LeanInstance]) -> Verified:
    material = bundle["verificationMaterial"]
    (entry,) = material["tlogEntries"]
    content = _content(bundle)
    certificate = content.certificate
    instance, authority = find_instance(certificate, instances)
    period, log_key = instance.logs[entry["logId"]["keyId"]]
    stamps = material.get("timestampVerificationData", {}).get("rfc3161Timestamps", [])
    require(len(stamps) <= 1)
    times = [
        verify_timestamp(stamp["signedTimestamp"], content.signature, instance.timestamps) for stamp in stamps
    ]
    if "inclusionPromise" in entry:
        times.append(datetime.fromtimestamp(entry["integratedTime"], tz=UTC))
    require(all(time in period for time in times))
    check_certificate(certificate, authority, times, instance.certificate_logs)
    check_entry(entry, log_key)
    key = cast(ec.EllipticCurvePublicKey, certificate.public_key())
    require(isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1))
    key.verify(content.signature, content.digest, _ECDSA)
    check_body(entry, content)
    signer, signed_at = read_signer(certificate, instance.name), int(min(times).timestamp())
    if content.payload is None:
        return Verified(signer, signed_at, True, digest=content.digest.hex())
    return Verified(signer, signed_at, True, PAYLOAD_TYPE, content.payload)


def _content(bundle: dict[str, Any]) -> Content:
    require(len(bundle) == 3)  # one of both contents
    certificate = load_der_x509_certificate(bundle["verificationMaterial"]["certificate"]["rawBytes"])
    if "messageSignature" in bundle:
        message = bundle["messageSignature"]
        return Content(certificate, message["signature"], message["messageDigest"]["digest"], None)
    envelope = bundle["dsseEnvelope"]
    (signature,) = envelope["signatures"]
    payload = envelope["payload"]
    digest = hashlib.sha256(pae(PAYLOAD_TYPE, payload)).digest()
    return Content(certificate, signature["sig"], digest, payload)

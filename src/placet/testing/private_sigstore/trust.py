"""What others need to trust and to find this private Sigstore: trusted root, signing config, both in one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from placet.core.encoding import format_time
from placet.testing.private_sigstore.keys import b64, der, key_id, spki

TRUSTED_ROOT = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
SIGNING_CONFIG = "application/vnd.dev.sigstore.signingconfig.v0.2+json"
CLIENT_TRUST_CONFIG = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"


def describe_log(key: ec.EllipticCurvePrivateKey, base_url: str, start: int) -> dict[str, Any]:
    """Returns a log's entry in a trusted root."""
    public_key = {
        "rawBytes": b64(spki(key)),
        "keyDetails": "PKIX_ECDSA_P256_SHA_256",
        "validFor": {"start": format_time(start)},
    }
    return {
        "baseUrl": base_url,
        "hashAlgorithm": "SHA2_256",
        "publicKey": public_key,
        "logId": {"keyId": b64(key_id(key))},
    }


def describe_authority(chain: Sequence[x509.Certificate], uri: str, start: int) -> dict[str, Any]:
    """Returns the entry of a certificate or timestamp authority in a trusted root."""
    return {
        "subject": {"organization": "private sigstore", "commonName": "private sigstore"},
        "uri": uri,
        "certChain": {"certificates": [{"rawBytes": b64(der(link))} for link in chain]},
        "validFor": {"start": format_time(start)},
    }


def signing_config(base_url: str, rekor: Literal[1, 2], start: int) -> dict[str, Any]:
    """Returns where to sign: Fulcio, the issuer, the timestamp authority, and Rekor of one version."""

    def service(url: str, version: int) -> dict[str, Any]:
        return {
            "url": url,
            "majorApiVersion": version,
            "validFor": {"start": format_time(start)},
            "operator": "private sigstore",
        }

    return {
        "mediaType": SIGNING_CONFIG,
        "caUrls": [service(base_url, 1)],
        "oidcUrls": [service(base_url, 1)],
        "rekorTlogUrls": [service(base_url, rekor)],
        "tsaUrls": [service(f"{base_url}/api/v1/timestamp", 1)],
        "rekorTlogConfig": {"selector": "ANY"},
        "tsaConfig": {"selector": "ANY"},
    }

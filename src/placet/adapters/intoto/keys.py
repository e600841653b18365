"""The keys of layouts: those of owners, read from files, and those of functionaries, read from layouts.

An owner's file holds a public key in PEM form, as `in-toto-verify` reads it, or a key as it stands in a
layout: a JSON object with ``keyid``, ``keytype``, ``scheme`` and ``keyval``.  The latter is how a FIDO key
owns a layout.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from placet.core.decode import Object
from placet.core.encoding import parse_json
from placet.core.errors import MalformedError, PlacetError, Reason

MAX_KEY_BYTES = 64 * 1024
_GPG_MEMBERS = frozenset({"type", "method", "hashes", "keyval"})


def read_owner_key(data: bytes, name: str) -> Object:
    """Reads the public key of a layout's owner, as in-toto takes it.

    Args:
        name: the file's name, for refusals.

    Raises:
        MalformedError: it is no public key that can be used here.
    """
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.signer import Key, SSlibKey  # type: ignore[attr-defined]

    from placet.adapters.securesystemslib import register

    register()
    try:
        if data.lstrip().startswith(b"-----BEGIN"):
            key = SSlibKey.from_crypto(load_pem_public_key(data))
            return {**key.to_dict(), "keyid": key.keyid}
        value = parse_json(data, max_bytes=MAX_KEY_BYTES, what=name)
        if not isinstance(value, dict) or not isinstance(value.get("keyid"), str):
            raise ValueError("a PEM public key, or a JSON object with a keyid, was expected")
        check_key_types({value["keyid"]: value}, name)
        Key.from_dict(value["keyid"], {k: v for k, v in value.items() if k != "keyid"})
    except (ValueError, TypeError, KeyError, AttributeError, PlacetError) as e:
        raise MalformedError(
            Reason.BAD_KEY,
            f"{name} is not a layout owner's public key: {e}.",
            hint="It is a PEM file, or a key as it stands in a layout.",
        ) from e
    return value


def check_key_types(keys: Mapping[str, Any], where: str) -> None:
    """Refuses keys that could not be judged here and now, off line.

    Raises:
        MalformedError: BAD_KEY.
    """
    from securesystemslib.signer import (  # type: ignore[attr-defined]
        KEY_FOR_TYPE_AND_SCHEME,
        SSlibKey,
    )

    from placet.adapters.securesystemslib import SkKey

    for keyid, key in keys.items():
        if isinstance(key, dict):
            found = KEY_FOR_TYPE_AND_SCHEME.get((str(key.get("keytype")), str(key.get("scheme"))))
            # Of the kinds that securesystemslib knows, others ask a network whether a signature is good.
            known = found in (SSlibKey, SkKey) or key.keys() >= _GPG_MEMBERS
            subkeys = key.get("subkeys") or {}
            # Their names become parts of file names.
            if known and key.get("keyid") == keyid and all(_is_hex(sub) for sub in subkeys):
                continue
        raise MalformedError(
            Reason.BAD_KEY,
            f"{where} lists a key of a kind that placet does not verify: {str(keyid)[:16]}.",
            hint="Keys of layouts are RSA, ECDSA, Ed25519, ML-DSA, GPG or FIDO keys.",
        )


def _is_hex(text: object) -> bool:
    return isinstance(text, str) and bool(text) and not set(text) - set("0123456789abcdefABCDEF")

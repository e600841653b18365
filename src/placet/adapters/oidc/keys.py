"""The keys of OIDC issuers: fetched when trust is refreshed, kept beside the snapshot.

    <snapshot>.issuers.json
    {"issuersSha256": digest of the trust root's issuers.json,
     "issuers": [{"issuer", "personClaim", "claims", "algorithms", "keys": [{"jwk", "seenAt"}]}]}

A gate decides offline, so it cannot ask an issuer.  What is fetched here rests on TLS and the issuer's own
name; which issuers are asked at all is signed by the administrators.  The file counts only together with
the `issuers.json` that its digest names.

A key that an issuer no longer lists is kept for `KEEP_SECONDS`, so that a request that waits for its people
over a key rotation is not cut off.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from placet.adapters.bounded_http import BoundedHttp, HttpError
from placet.adapters.private_file import write_atomically
from placet.core.decode import Object, read_list, read_object, read_sha256, read_string, read_time
from placet.core.encoding import Digest, encode_canonical, format_time, parse_json, sha256_hex
from placet.core.errors import IndeterminateError, PlacetError, Reason, visible
from placet.documents.issuers import (
    KEY_TYPES,
    SECRET_MEMBERS,
    Issuer,
    issuer_to_object,
    parse_issuers,
    parse_keys,
)

KEEP_SECONDS = 30 * 86_400
_MAX_KEPT_BYTES = 8 * 1024 * 1024
_MAX_DOCUMENT_BYTES = 256 * 1024
# Of one issuer, so that no issuer's keys make the file too large for those of all others.
_MAX_ISSUER_KEYS, _MAX_ISSUER_BYTES = 256, 96 * 1024
# Everything together: whoever answers byte by byte would keep a gate from its next snapshot.
_SECONDS = 10.0
# What verifies a signature (RFC 7517, 7518, 8037); anything else a key may have is the issuer's own business,
# and could be what no file of ours can hold.
_MEMBERS = ("kty", "use", "alg", "kid", "n", "e", "crv", "x", "y")
_MAX_MEMBER = 4096
_DISCOVERY = "/.well-known/openid-configuration"


class KnownIssuer(NamedTuple):
    """An issuer with the keys that this machine knows of it."""

    issuer: Issuer
    keys: tuple[Object, ...]


def issuers_path(snapshot: Path) -> Path:
    """Returns where the issuers' keys lie beside a snapshot."""
    return snapshot.with_suffix(".issuers.json")


def load_issuers(snapshot: Path, wanted: Digest) -> tuple[KnownIssuer, ...]:
    """Loads the issuers that go with a snapshot.

    Args:
        snapshot: where the gate's snapshot lies.
        wanted: the digest of ``issuers.json`` in that snapshot.

    Raises:
        IndeterminateError: EVIDENCE_NOT_VERIFIED: there are none, or they belong to another trust root.
    """
    path = issuers_path(snapshot)
    try:
        found, issuers = _parse(path.read_bytes())
    except (OSError, PlacetError) as e:
        raise IndeterminateError(
            Reason.EVIDENCE_NOT_VERIFIED,
            f"The issuers' keys cannot be read from {path}: {e}",
            hint="`placet trust refresh` fetches them.",
        ) from e
    if found != wanted:
        raise IndeterminateError(
            Reason.EVIDENCE_NOT_VERIFIED,
            "The issuers' keys beside the trust snapshot are of another version of the trust root.",
            hint="`placet trust refresh` fetches them anew.",
        )
    return tuple(KnownIssuer(issuer, tuple(jwk for jwk, _ in keys)) for issuer, keys in issuers)


def refresh_issuers(snapshot: Path, issuers_file: bytes, *, now: int) -> tuple[str, ...]:
    """Fetches the keys of every issuer that is not pinned, and keeps them beside the snapshot.

    Args:
        snapshot: where the gate's snapshot lies.
        issuers_file: the trust root's verified ``issuers.json``.
        now: Unix seconds.

    Returns:
        Sentences about issuers that could not be asked; their earlier keys stay.

    Raises:
        MalformedError: ``issuers.json`` is not well-formed.
        OSError: the file cannot be written.
    """
    path = issuers_path(snapshot)
    known = _read_known(path)
    kept: list[Object] = []
    notes: list[str] = []
    for issuer in parse_issuers(issuers_file):
        old = [(jwk, at) for jwk, at in known.get(issuer.issuer, ()) if now - at < KEEP_SECONDS]
        if issuer.keys is not None:
            keys = [(jwk, now) for jwk in issuer.keys]
        else:
            try:
                keys = _merge(fetch_keys(issuer.issuer), old, now)
            except IndeterminateError as e:
                notes.append(f"{e.message} The {len(old)} keys that are known of it stay. {e.hint}")
                keys = old
        listed = [{"jwk": jwk, "seenAt": format_time(at)} for jwk, at in keys]
        kept.append({**issuer_to_object(issuer), "keys": listed})
    write_atomically(
        path, encode_canonical({"issuersSha256": {"sha256": sha256_hex(issuers_file)}, "issuers": kept})
    )
    return tuple(notes)


def _merge(
    fetched: Iterable[Object], old: Sequence[tuple[Object, int]], now: int
) -> list[tuple[Object, int]]:
    merged = [(jwk, now) for jwk in fetched]
    listed = [jwk for jwk, _ in merged]
    merged += [(jwk, at) for jwk, at in old if jwk not in listed]
    size, kept = 0, []
    for jwk, at in merged[:_MAX_ISSUER_KEYS]:
        size += len(encode_canonical(jwk))
        if size <= _MAX_ISSUER_BYTES:
            kept.append((jwk, at))
    return kept


def fetch_keys(issuer: str) -> tuple[Object, ...]:
    """Fetches an issuer's public keys (OpenID Connect Discovery 1.0, section 4).

    Raises:
        IndeterminateError: EVIDENCE_NOT_VERIFIED: it cannot be reached, or answers something else.
    """
    try:
        listed = _listed_keys(issuer)
    except (HttpError, ValueError, RecursionError) as e:
        raise IndeterminateError(
            Reason.EVIDENCE_NOT_VERIFIED,
            visible(f"The keys of {issuer} cannot be fetched: {str(e).rstrip('.')}."),
            hint="Try `placet trust refresh` again later.",
        ) from e
    keys = [public for jwk in listed if (public := _public_part(jwk))] if isinstance(listed, list) else []
    try:
        return parse_keys(keys, "/keys")
    except PlacetError as e:
        raise IndeterminateError(
            Reason.EVIDENCE_NOT_VERIFIED, visible(f"The keys of {issuer} cannot be used: {e}")
        ) from e


def _listed_keys(issuer: str) -> object:
    with BoundedHttp(seconds=_SECONDS) as http:
        discovered = _fetch_json(http, issuer.rstrip("/") + _DISCOVERY)
        if discovered.get("issuer") != issuer:
            raise ValueError("its discovery document is of another issuer")
        place = discovered.get("jwks_uri")
        secure = "https://" if issuer.startswith("https://") else "http://127.0.0.1:"
        if not isinstance(place, str) or not place.startswith(secure):
            raise ValueError(f"its keys are not at an {secure} address")
        return _fetch_json(http, place).get("keys")


def _fetch_json(http: BoundedHttp, url: str) -> dict[str, Any]:
    reply = http.send("GET", url, max_bytes=_MAX_DOCUMENT_BYTES)
    if reply.status != 200:
        raise ValueError(f"{url} answered {reply.status}")
    value = json.loads(reply.body)
    if not isinstance(value, dict):
        raise ValueError(f"{url} answers with something else")
    return value


def _public_part(jwk: object) -> Object:
    """Returns what verifies signatures of a published key; nothing where it is for something else."""
    if not isinstance(jwk, dict) or jwk.get("use", "sig") != "sig" or jwk.get("kty") not in KEY_TYPES:
        return {}
    # A private key is not made public by leaving out the half of it: `parse_keys` refuses it.
    public = {name: value for name, value in jwk.items() if name in _MEMBERS or name in SECRET_MEMBERS}
    plain = (isinstance(v, str) and v.isascii() and len(v) <= _MAX_MEMBER for v in public.values())
    return public if all(plain) else {}


def _read_known(path: Path) -> dict[str, list[tuple[Object, int]]]:
    try:
        return {issuer.issuer: keys for issuer, keys in _parse(path.read_bytes())[1]}
    except (OSError, PlacetError):
        return {}  # none yet, or damaged: they are fetched anew


def _parse(data: bytes) -> tuple[Digest, list[tuple[Issuer, list[tuple[Object, int]]]]]:
    value = parse_json(data, max_bytes=_MAX_KEPT_BYTES, what="file of issuers' keys")
    top = read_object(value, "", required=["issuersSha256", "issuers"])
    found = []
    for i, item in enumerate(read_list(top["issuers"], "/issuers", max_items=64)):
        at = f"/issuers/{i}"
        members = read_object(item, at, required=["issuer", "personClaim", "claims", "algorithms", "keys"])
        keys = []
        for j, kept in enumerate(read_list(members["keys"], f"{at}/keys", max_items=1024)):
            fields = read_object(kept, f"{at}/keys/{j}", required=["jwk", "seenAt"])
            keys.append((fields["jwk"], read_time(fields["seenAt"], f"{at}/keys/{j}/seenAt")))
        read_string(members["issuer"], f"{at}/issuer", max_length=200)
        (issuer,) = parse_issuers(encode_canonical({"issuers": [{**members, "keys": "fetch"}]}))
        found.append((issuer, keys))
    return read_sha256(top["issuersSha256"], "/issuersSha256"), found

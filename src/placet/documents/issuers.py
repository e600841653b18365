"""``issuers.json``: whose tokens prove who asks for an approval (spec/12-requester.md).

A target of the trust root, so that nobody but the administrators says which issuer is believed, about
whom, and by which claim.  `describe_issuers` shows it by meaning where administrators sign a change.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from placet.core.decode import (
    Object,
    read_ascii,
    read_choice,
    read_list,
    read_map,
    read_object,
    read_string,
)
from placet.core.encoding import encode_canonical, parse_json, sha256_hex
from placet.core.errors import MalformedError, PolicyError, Reason

ISSUERS_FILE = "issuers.json"
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "Ed25519")
FETCH = "fetch"

_MAX_BYTES = 512 * 1024
_MAX_ISSUERS = 32
_MAX_CLAIMS = 16
# Issuers list a handful, old and new; GitHub has listed nine.
MAX_KEYS = 64
KEY_TYPES = ("RSA", "EC", "OKP")
# What a private or symmetric JWK has and a public one has not (RFC 7518, section 6).
SECRET_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "k", "oth"})
# Plain http only where no network is crossed; such an issuer runs beside the gate, as in tests.
_ISSUER = re.compile(r"(https://[a-z0-9.-]+(:[0-9]+)?|http://127\.0\.0\.1:[0-9]+)(/[A-Za-z0-9._~/-]*)?")


class Issuer(NamedTuple):
    """An OIDC issuer.

    Args:
        issuer: its address, exactly as it stands in tokens.
        person_claim: the claim that is compared with people's accounts.
        claims: claims that a token must have, with these values.
        algorithms: how it may sign.
        keys: its pinned public keys as JWKs; None where they are fetched when trust is refreshed.
    """

    issuer: str
    person_claim: str
    claims: dict[str, str]
    algorithms: tuple[str, ...]
    keys: tuple[Object, ...] | None


# The two that everybody asks about: who caused the job, not which job it is.
PRESETS = {
    "github": Issuer("https://token.actions.githubusercontent.com", "actor_id", {}, ("RS256",), None),
    "gitlab": Issuer("https://gitlab.com", "user_id", {}, ("RS256",), None),
}


def find_issuer(name: str) -> str:
    """Returns the address of an issuer that a person named by its address, or as one of `PRESETS`.

    Raises:
        MalformedError: BAD_VALUE: no token could ever name such an issuer.
    """
    address = PRESETS[name].issuer if name in PRESETS else name
    _check_address(address, "")
    return address


def _check_address(address: str, path: str) -> None:
    if _ISSUER.fullmatch(address) is None:
        raise MalformedError(
            Reason.BAD_VALUE,
            "An issuer is an https address.",
            path=path,
            actual=address,
            hint=f"Write it exactly as it stands in its tokens, or use a short name: {', '.join(PRESETS)}.",
        )


def parse_issuers(data: bytes) -> tuple[Issuer, ...]:
    """Reads ``issuers.json``.

    Raises:
        MalformedError: a member is missing or wrong, or an issuer stands there twice.
    """
    top = read_object(parse_json(data, max_bytes=_MAX_BYTES, what=ISSUERS_FILE), "", required=["issuers"])
    items = read_list(top["issuers"], "/issuers", max_items=_MAX_ISSUERS)
    issuers = tuple(_parse_issuer(item, f"/issuers/{i}") for i, item in enumerate(items))
    if len({issuer.issuer for issuer in issuers}) != len(issuers):
        raise MalformedError(Reason.DUPLICATE_VALUE, "An issuer is named twice.", path="/issuers")
    return issuers


def _parse_issuer(value: Any, path: str) -> Issuer:
    members = read_object(value, path, required=["issuer", "personClaim", "claims", "algorithms", "keys"])
    issuer = read_ascii(members["issuer"], f"{path}/issuer", max_length=200)
    _check_address(issuer, f"{path}/issuer")
    claims = {
        read_ascii(name, f"{path}/claims", max_length=80): read_string(
            text, f"{path}/claims/{name}", max_length=500
        )
        for name, text in read_map(members["claims"], f"{path}/claims", max_items=_MAX_CLAIMS).items()
    }
    algorithms = read_list(
        members["algorithms"], f"{path}/algorithms", max_items=len(ALGORITHMS), min_items=1
    )
    keys = members["keys"]
    return Issuer(
        issuer=issuer,
        person_claim=read_ascii(members["personClaim"], f"{path}/personClaim", max_length=80),
        claims=claims,
        algorithms=tuple(read_choice(name, f"{path}/algorithms", ALGORITHMS) for name in algorithms),
        keys=None if keys == FETCH else parse_keys(keys, f"{path}/keys"),
    )


def parse_keys(value: Any, path: str) -> tuple[Object, ...]:
    """Reads a list of public JWKs (RFC 7517); how each is used is the JOSE library's business.

    Raises:
        MalformedError: a key is not public, or of an unknown type.
    """
    keys = []
    for i, item in enumerate(read_list(value, path, max_items=MAX_KEYS, min_items=1)):
        members = read_map(item, f"{path}/{i}", max_items=32)
        read_choice(members.get("kty"), f"{path}/{i}/kty", KEY_TYPES)
        if secret := sorted(members.keys() & SECRET_MEMBERS):
            raise MalformedError(
                Reason.BAD_VALUE,
                f"This is a private key: it has the member {secret[0]!r}.",
                path=f"{path}/{i}",
                hint="Give the issuer's public keys, as it publishes them.",
            )
        keys.append(members)
    return tuple(keys)


def encode_issuers(issuers: Sequence[Issuer]) -> bytes:
    """Encodes ``issuers.json``."""
    return encode_canonical({"issuers": [issuer_to_object(issuer) for issuer in issuers]})


def issuer_to_object(issuer: Issuer) -> Object:
    """Returns one issuer as it stands in the file."""
    return {
        "issuer": issuer.issuer,
        "personClaim": issuer.person_claim,
        "claims": issuer.claims,
        "algorithms": list(issuer.algorithms),
        "keys": FETCH if issuer.keys is None else list(issuer.keys),
    }


def add_issuer(data: bytes | None, issuer: Issuer) -> bytes:
    """Returns the file with one issuer more, or with that issuer's new settings.

    Raises:
        MalformedError: the file, or the issuer, is not well-formed.
    """
    others = [i for i in parse_issuers(data) if i.issuer != issuer.issuer] if data is not None else []
    added = encode_issuers([*others, issuer])
    parse_issuers(added)
    return added


def remove_issuer(data: bytes | None, issuer: str) -> bytes:
    """Returns the file without one issuer.

    Raises:
        PolicyError: BAD_VALUE: it is not there.
    """
    issuers = parse_issuers(data) if data is not None else ()
    left = [i for i in issuers if i.issuer != issuer]
    if len(left) == len(issuers):
        known = ", ".join(i.issuer for i in issuers) or "none"
        raise PolicyError(Reason.BAD_VALUE, f"There is no issuer {issuer!r}. There are: {known}.")
    return encode_issuers(left)


def describe_issuers(data: bytes) -> dict[str, str]:
    """Returns issuer → what it is believed about, in words, for whoever signs the trust root.

    Raises:
        MalformedError: the file is not well-formed.
    """
    described = {}
    for issuer in parse_issuers(data):
        needs = ", ".join(f"{name!r} = {value!r}" for name, value in sorted(issuer.claims.items()))
        keys = "keys fetched at each refresh"
        if issuer.keys is not None:
            digest = sha256_hex(encode_canonical(list(issuer.keys)))
            keys = f"{len(issuer.keys)} pinned keys, SHA-256 {digest}"
        described[issuer.issuer] = (
            f"proves who asks by the claim {issuer.person_claim!r}; requires {needs or 'no other claim'}; "
            f"signs with {', '.join(issuer.algorithms)}; {keys}"
        )
    return described

"""Who there is: people with their credentials, terminals, the deployment (spec/08-trust.md).

These files are targets of the trust root.  A key belongs to one person, or to one
terminal, and to nobody else: thresholds count people, so no key may serve two.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from placet.core.decode import (
    read_ascii,
    read_bool,
    read_choice,
    read_hex_digest,
    read_key_id,
    read_list,
    read_name,
    read_object,
    read_string,
    read_time,
    refuse_duplicates,
)
from placet.core.encoding import Digest, KeyId, b64decode_strict
from placet.core.errors import MalformedError, Reason
from placet.core.signature import check_key_usable
from placet.core.sshsig import SK_ECDSA, SSH_ED25519, PublicKey, parse_public_key

MAX_PEOPLE = 10_000
MAX_CREDENTIALS = 16
MAX_TERMINALS = 1_000
MAX_ORIGINS = 8

_HOST_NAME = re.compile("[a-z0-9-]+([.][a-z0-9-]+)*")

KINDS = ("webauthn", "sk")
ASSURANCES = ("attested", "vouched", "software")


class Deployment(NamedTuple):
    """The deployment's name and the RP ID that its credentials are bound to."""

    name: str
    rp_id: str

    @property
    def ssh_application(self) -> str:
        """The application string of keys used without a browser; no browser can ask for it."""
        return f"ssh:placet:{self.name}"


class Credential(NamedTuple):
    """One key of one person.  Times are Unix seconds, `not_after` exclusive."""

    keyid: KeyId
    public_key: PublicKey
    kind: str
    uv: bool
    backup: str
    assurance: str
    aaguid: str
    attestation: Digest | None
    not_before: int
    not_after: int


class Account(NamedTuple):
    """An identity at an OIDC issuer that is this person."""

    issuer: str
    subject: str


class Person(NamedTuple):
    """A person; `id` is what thresholds count."""

    id: str
    groups: tuple[str, ...]
    accounts: tuple[Account, ...]
    credentials: tuple[Credential, ...]


class Terminal(NamedTuple):
    """An approval terminal: its identity key and the origins of its page."""

    id: str
    keyid: KeyId
    public_key: PublicKey
    origins: tuple[str, ...]


def parse_deployment(value: Any) -> Deployment:
    """Reads the decoded ``deployment.json``.

    Raises:
        MalformedError: a member is missing or wrong, or the RP ID is one that others share (PPL-05).
    """
    members = read_object(value, "", required=["name", "rpId"])
    name = read_name(members["name"], "/name")
    rp_id = read_ascii(members["rpId"], "/rpId", max_length=253)
    # PPL-05: every development server shares `localhost`; a page there could ask for our signatures.
    if "." not in rp_id or rp_id == "placet.localhost" or _HOST_NAME.fullmatch(rp_id) is None:
        raise MalformedError(
            Reason.BAD_VALUE,
            "The RP ID must be this deployment's own host name.",
            path="/rpId",
            expected=f"{name}.placet.localhost",
            actual=rp_id,
        )
    return Deployment(name, rp_id)


def parse_people(value: Any, deployment: Deployment) -> tuple[Person, ...]:
    """Reads the decoded ``people.json``.

    Raises:
        MalformedError: a member is missing or wrong, or two people share an ID, an account or a key (PPL-01).
    """
    items = read_list(read_object(value, "", required=["people"])["people"], "/people", max_items=MAX_PEOPLE)
    people = tuple(_parse_person(item, f"/people/{i}", deployment) for i, item in enumerate(items))
    refuse_duplicates([person.id for person in people], "/people", "two people have the same ID")
    accounts = [account for person in people for account in person.accounts]
    refuse_duplicates(accounts, "/people", "two people have the same account")
    keys = [credential.keyid for person in people for credential in person.credentials]
    refuse_duplicates(keys, "/people", "one key belongs to two people, or to one person twice")
    # The same key under another application has another key ID, and would be a second voice.
    points = [credential.public_key.raw for person in people for credential in person.credentials]
    refuse_duplicates(points, "/people", "one key stands twice, made for two applications")
    return people


def _parse_person(value: Any, path: str, deployment: Deployment) -> Person:
    members = read_object(value, path, required=["id", "groups", "accounts", "credentials"])
    person_id = read_ascii(members["id"], f"{path}/id", max_length=254)
    if " " in person_id or ":" in person_id:
        raise MalformedError(Reason.BAD_VALUE, "A person's ID has no space and no colon.", path=f"{path}/id")
    groups = read_list(members["groups"], f"{path}/groups", max_items=64)
    accounts = read_list(members["accounts"], f"{path}/accounts", max_items=16)
    credentials = read_list(members["credentials"], f"{path}/credentials", max_items=MAX_CREDENTIALS)
    return Person(
        id=person_id,
        groups=tuple(read_ascii(g, f"{path}/groups/{i}", max_length=80) for i, g in enumerate(groups)),
        accounts=tuple(_parse_account(a, f"{path}/accounts/{i}") for i, a in enumerate(accounts)),
        credentials=tuple(
            parse_credential(c, f"{path}/credentials/{i}", deployment) for i, c in enumerate(credentials)
        ),
    )


def _parse_account(value: Any, path: str) -> Account:
    members = read_object(value, path, required=["issuer", "subject"])
    return Account(
        read_ascii(members["issuer"], f"{path}/issuer"), read_ascii(members["subject"], f"{path}/subject")
    )


def parse_credential(value: Any, path: str, deployment: Deployment) -> Credential:
    """Reads one credential of ``people.json``.

    Raises:
        MalformedError: a member is missing or wrong; the key ID is not the key's (PPL-02); the key is
            of a type or application that does not fit its kind and deployment (PPL-03).
    """
    names = ["keyid", "publicKey", "kind", "uv", "backup", "assurance", "notBefore", "notAfter"]
    members = read_object(value, path, required=names, optional=["aaguid", "attestation"])
    public_key = _read_public_key(members["publicKey"], f"{path}/publicKey")
    keyid = _read_own_key_id(members["keyid"], public_key, f"{path}/keyid")
    kind = read_choice(members["kind"], f"{path}/kind", KINDS)
    application = deployment.rp_id if kind == "webauthn" else deployment.ssh_application
    fits = public_key.key_type == SK_ECDSA if kind == "webauthn" else public_key.key_type != SSH_ED25519
    if not fits or public_key.application != application:
        raise MalformedError(
            Reason.BAD_KEY,
            f"A key of kind {kind} in this deployment must be a FIDO key made for {application!r}.",
            path=f"{path}/publicKey",
            expected=application,
            actual=public_key.application,
        )
    attestation = None
    if "attestation" in members:
        digests = read_object(members["attestation"], f"{path}/attestation", required=["sha256"])
        attestation = read_hex_digest(digests["sha256"], f"{path}/attestation/sha256")
    return Credential(
        keyid=keyid,
        public_key=public_key,
        kind=kind,
        uv=read_bool(members["uv"], f"{path}/uv"),
        backup=read_choice(members["backup"], f"{path}/backup", ("forbid", "allow")),
        assurance=read_choice(members["assurance"], f"{path}/assurance", ASSURANCES),
        aaguid=read_ascii(members["aaguid"], f"{path}/aaguid", max_length=36) if "aaguid" in members else "",
        attestation=attestation,
        not_before=read_time(members["notBefore"], f"{path}/notBefore"),
        not_after=read_time(members["notAfter"], f"{path}/notAfter"),
    )


def _read_public_key(value: Any, path: str) -> PublicKey:
    key = parse_public_key(b64decode_strict(read_string(value, path, max_length=2048), path))
    check_key_usable(key)
    return key


def _read_own_key_id(value: Any, key: PublicKey, path: str) -> KeyId:
    keyid = read_key_id(value, path)
    if keyid != key.keyid:
        raise MalformedError(Reason.BAD_KEY, "The key ID is not the SHA-256 of the key.", path=path)
    return keyid


def parse_terminals(value: Any, deployment: Deployment) -> tuple[Terminal, ...]:
    """Reads the decoded ``terminals.json``.

    Raises:
        MalformedError: a member is missing or wrong; an origin is outside the RP ID or belongs to two
            terminals (PPL-04).
    """
    top = read_object(value, "", required=["terminals"])
    items = read_list(top["terminals"], "/terminals", max_items=MAX_TERMINALS)
    terminals = tuple(_parse_terminal(item, f"/terminals/{i}", deployment) for i, item in enumerate(items))
    refuse_duplicates([t.id for t in terminals], "/terminals", "two terminals have the same ID")
    refuse_duplicates([t.keyid for t in terminals], "/terminals", "two terminals have the same key")
    origins = [origin for t in terminals for origin in t.origins]
    refuse_duplicates(origins, "/terminals", "two terminals have the same origin")
    return terminals


def _parse_terminal(value: Any, path: str, deployment: Deployment) -> Terminal:
    members = read_object(value, path, required=["id", "keyid", "publicKey", "origins"])
    public_key = _read_public_key(members["publicKey"], f"{path}/publicKey")
    if public_key.key_type != SSH_ED25519:
        raise MalformedError(Reason.BAD_KEY, "A terminal's key is plain Ed25519.", path=f"{path}/publicKey")
    origins = read_list(members["origins"], f"{path}/origins", max_items=MAX_ORIGINS)
    return Terminal(
        id=read_ascii(members["id"], f"{path}/id", max_length=80),
        keyid=_read_own_key_id(members["keyid"], public_key, f"{path}/keyid"),
        public_key=public_key,
        origins=tuple(_read_origin(o, f"{path}/origins/{i}", deployment) for i, o in enumerate(origins)),
    )


def _read_origin(value: Any, path: str, deployment: Deployment) -> str:
    origin = read_ascii(value, path, max_length=300)
    scheme, _, authority = origin.partition("://")
    host, _, port = authority.partition(":")
    own = host == deployment.rp_id or host.endswith(f".{deployment.rp_id}")
    # Browsers grant WebAuthn to plain http on loopback names only; everywhere else it is TLS.
    secure = scheme == "https" or (scheme == "http" and host.endswith(".localhost"))
    plain = host == host.lower() and not set(authority) & set('/?#@"\\ ') and (port == "" or port.isdigit())
    if not (own and secure and plain and authority == (f"{host}:{port}" if port else host)):
        raise MalformedError(
            Reason.BAD_VALUE,
            "A terminal's origin is https, or http on a .localhost name, under the deployment's RP ID.",
            path=path,
            expected=f"http://<terminal>.{deployment.rp_id}:8470",
            actual=origin,
        )
    return origin

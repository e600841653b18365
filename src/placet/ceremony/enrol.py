"""Enrolment: a new key proves that it is held by the person whom an administrator invited.

The administrator gives an invite to the person out of band (spoken, on paper).  On the person's own terminal
the new key signs the enrolment statement, which commits to the invite, the person, the deployment and the
trust root.  The file may travel over anything, because the invite is not in it: a relay that puts in a key of
its own cannot sign a statement that names the invite.

    *.enrolment.json
    {"mediaType", "person", "deployment", "publicKey", "kind", "rootSha256", "sig", "aaguid"?}

The authenticator's model (AAGUID) is signed, too: a courier cannot take away that it is software.
The signature is an SSHSIG in namespace ``enrol-v1@placet.dev``, so it can never be taken for an approval.

Leaves out: attestation.  Who vouches for the hardware is decided by the administrator who records the key.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from typing import NamedTuple

from placet.core.decode import read_ascii, read_choice, read_hex_digest, read_name, read_object, read_string
from placet.core.encoding import Digest, b64decode_strict, b64encode, encode_canonical, parse_json
from placet.core.errors import MalformedError, PolicyError, Reason, VerificationError
from placet.core.people import KINDS, Deployment
from placet.core.signature import SignatureFacts, verify_sshsig
from placet.core.sshsig import NAMESPACE_ENROL, PublicKey, parse_public_key

MEDIA_TYPE = "application/vnd.placet.enrolment.v1+json"
STATEMENT_TYPE = "https://placet.dev/enrolment/v1"
_MAX_BYTES = 64 * 1024
# Whoever carries the file can try invites against the signature at leisure; 16 random letters outlast that.
MIN_INVITE = 16
# Random letters are never this few; words that somebody made up, or sixteen times the same, can be.
MIN_DISTINCT = 6
# Without letters and digits that are taken for each other, in writing or by ear.
_INVITE_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
_INVITE_GROUPS, _INVITE_GROUP_LENGTH = 5, 4

# Authenticator models that are software and say so; they can be enrolled as `software` only.
SOFTWARE_AAGUIDS = frozenset(
    {
        "01020304-0506-0708-0102-030405060708",  # Chromium's virtual authenticator
        "706c6163-6574-0000-4000-800000000001",  # placet.testing's software authenticator
    }
)


class Enrolment(NamedTuple):
    """A new key's proof.  `sig` is a binary SSHSIG, `root_sha256` the digest of the root that was pinned."""

    person: str
    deployment: str
    public_key: PublicKey
    kind: str
    root_sha256: Digest
    aaguid: str
    sig: bytes


def enrolment_message(
    person: str, deployment: str, public_key: bytes, root_sha256: str, invite: str, *, aaguid: str
) -> bytes:
    """Returns the bytes that the new key signs in namespace ``enrol-v1@placet.dev``.

    Args:
        person: the person's ID.
        deployment: the deployment's name.
        public_key: the new key in SSH wire form.
        root_sha256: digest of the root that the person's terminal was told.
        invite: the words that the administrator gave to the person.
        aaguid: the authenticator's model, "" where it is not known.
    """
    return encode_canonical(
        {
            "_type": STATEMENT_TYPE,
            "aaguid": aaguid,
            "deployment": deployment,
            "invite": invite,
            "person": person,
            "publicKey": b64encode(public_key),
            "rootSha256": root_sha256,
        }
    )


def encode_enrolment(enrolment: Enrolment) -> bytes:
    """Encodes the enrolment file."""
    value = {
        "mediaType": MEDIA_TYPE,
        "person": enrolment.person,
        "deployment": enrolment.deployment,
        "publicKey": b64encode(enrolment.public_key.wire),
        "kind": enrolment.kind,
        "rootSha256": enrolment.root_sha256,
        "sig": b64encode(enrolment.sig),
    }
    return encode_canonical(value | ({"aaguid": enrolment.aaguid} if enrolment.aaguid else {}))


def parse_enrolment(data: bytes) -> Enrolment:
    """Reads an enrolment file; `verify_enrolment` judges it.

    Raises:
        MalformedError: a member is missing or wrong.
    """
    names = ["mediaType", "person", "deployment", "publicKey", "kind", "rootSha256", "sig"]
    value = parse_json(data, max_bytes=_MAX_BYTES, what="enrolment file")
    members = read_object(value, "", required=names, optional=["aaguid"])
    if members["mediaType"] != MEDIA_TYPE:
        raise MalformedError(Reason.UNSUPPORTED_TYPE, "This is no enrolment file.", path="/mediaType")
    wire = b64decode_strict(read_string(members["publicKey"], "/publicKey", max_length=2048), "/publicKey")
    return Enrolment(
        person=read_ascii(members["person"], "/person", max_length=254),
        deployment=read_name(members["deployment"], "/deployment"),
        public_key=parse_public_key(wire),
        kind=read_choice(members["kind"], "/kind", KINDS),
        root_sha256=read_hex_digest(members["rootSha256"], "/rootSha256"),
        aaguid=read_ascii(members["aaguid"], "/aaguid", max_length=36) if "aaguid" in members else "",
        sig=b64decode_strict(read_string(members["sig"], "/sig", max_length=16_384), "/sig"),
    )


def verify_enrolment(
    enrolment: Enrolment,
    *,
    person: str,
    deployment: Deployment,
    invite: str,
    root_digests: Collection[str],
    origins: Collection[str],
    require_uv: bool,
) -> SignatureFacts:
    """Verifies that the new key answers this invite, for this person, under this trust root.

    Args:
        enrolment: the parsed file.
        person: whom the administrator invited.
        deployment: the deployment that the key is for.
        invite: the words that the administrator gave to the person.
        root_digests: digests of the roots that the person's terminal may have been told.
        origins: the web origins of enrolled terminals.
        require_uv: whether the user must have been verified.

    Raises:
        PolicyError: it is for somebody else, or presence, verification or origin are not acceptable.
        VerificationError: it answers another invite or trust root, or the signature does not verify.
        MalformedError: the signature is not an SSHSIG, or the invite can be guessed.
    """
    check_invite(invite)
    _check_addressee(enrolment, person, deployment, root_digests)
    message = enrolment_message(
        person,
        deployment.name,
        enrolment.public_key.wire,
        enrolment.root_sha256,
        invite,
        aaguid=enrolment.aaguid,
    )
    try:
        return verify_sshsig(
            enrolment.sig,
            message=message,
            namespace=NAMESPACE_ENROL,
            key=enrolment.public_key,
            kind=enrolment.kind,
            origins=origins,
            require_uv=require_uv,
        )
    except VerificationError as e:
        raise _not_the_invite(person, e) from e


def _check_addressee(
    enrolment: Enrolment, person: str, deployment: Deployment, root_digests: Collection[str]
) -> None:
    if enrolment.person != person or enrolment.deployment != deployment.name:
        raise PolicyError(
            Reason.BAD_VALUE,
            "The enrolment is for somebody else.",
            expected=(person, deployment.name),
            actual=(enrolment.person, enrolment.deployment),
        )
    if enrolment.root_sha256 not in root_digests:
        raise VerificationError(
            Reason.CHALLENGE_MISMATCH,
            "The enrolment was made under another trust root.",
            expected=tuple(root_digests),
            actual=enrolment.root_sha256,
        )


def _not_the_invite(person: str, cause: VerificationError) -> VerificationError:
    return VerificationError(
        cause.reason,
        f"This key does not answer the invite that {person} was given: {cause.message}",
        hint="Check the invite's spelling. If it is right, somebody changed the file or put in a key of "
        "their own: ask the person, by voice, to enrol again.",
    )


def make_invite() -> str:
    """Returns a fresh invite, in groups that can be read aloud; nobody guesses 99 bits."""
    return "-".join(
        "".join(secrets.choice(_INVITE_ALPHABET) for _ in range(_INVITE_GROUP_LENGTH))
        for _ in range(_INVITE_GROUPS)
    )


def check_invite(invite: str) -> None:
    """Refuses an invite that could be guessed from the signature.

    Raises:
        MalformedError: BAD_VALUE.
    """
    if len(invite) < MIN_INVITE:
        raise MalformedError(
            Reason.BAD_VALUE,
            f"An invite has at least {MIN_INVITE} random characters.",
            hint="Make one with: placet trust invite",
        )
    if len(set(invite)) < MIN_DISTINCT:
        raise MalformedError(
            Reason.BAD_VALUE,
            f"This invite can be guessed: it has fewer than {MIN_DISTINCT} different characters.",
            hint="Make one with: placet trust invite",
        )


def check_assurance(assurance: str, aaguid: str) -> None:
    """Refuses an assurance that the authenticator's own model contradicts.

    Raises:
        PolicyError: BAD_VALUE: a software authenticator is not enrolled as software.
    """
    if aaguid.lower() in SOFTWARE_AAGUIDS and assurance != "software":
        raise PolicyError(
            Reason.BAD_VALUE,
            f"The authenticator says that it is software (AAGUID {aaguid}).",
            hint="Record it with --assurance software; it then reaches intent level 1 at most.",
        )

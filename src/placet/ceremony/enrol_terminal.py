"""Enrolment of a terminal: its identity key answers an invite, as a person's key does.

A terminal's key is software, so there is no attestation; what is proven is that the machine whose owner was
told the invite holds this very key.  A courier who puts in the key of a terminal of their own would have to
know the invite (see `placet.ceremony.enrol` for why a code under the invite is signed, and not its digest).

    *.terminal.json
    {"mediaType", "terminal", "deployment", "publicKey", "origins": […], "rootSha256", "inviteMac", "sig"}
"""

from __future__ import annotations

import hmac
from collections.abc import Collection
from typing import Any, NamedTuple

from placet.ceremony.enrol import check_invite, check_root, invite_code
from placet.core.decode import read_ascii, read_hex_digest, read_list, read_name, read_object, read_string
from placet.core.encoding import Digest, b64decode_strict, b64encode, encode_canonical, parse_json
from placet.core.errors import MalformedError, PolicyError, Reason, VerificationError
from placet.core.people import MAX_ORIGINS, Deployment
from placet.core.signature import verify_terminal_signature
from placet.core.sshsig import NAMESPACE_ENROL, PublicKey, parse_public_key

MEDIA_TYPE = "application/vnd.placet.terminal-enrolment.v1+json"
STATEMENT_TYPE = "https://placet.dev/terminal-enrolment/v1"
_MAX_BYTES = 64 * 1024


class TerminalEnrolment(NamedTuple):
    """A terminal's proof.  `sig` is a binary SSHSIG by its identity key."""

    terminal: str
    deployment: str
    public_key: PublicKey
    origins: tuple[str, ...]
    root_sha256: Digest
    invite_mac: Digest
    sig: bytes


def draft_terminal_enrolment(
    *,
    terminal: str,
    deployment: str,
    public_key: PublicKey,
    origins: tuple[str, ...],
    root_sha256: Digest,
    invite: str,
) -> TerminalEnrolment:
    """Returns an enrolment that the terminal's key has yet to sign: its `terminal_message`, into `sig`."""
    none_yet = Digest("")
    made = TerminalEnrolment(terminal, deployment, public_key, origins, root_sha256, none_yet, b"")
    return made._replace(invite_mac=invite_code(_claim(made), invite))


def terminal_message(enrolment: TerminalEnrolment) -> bytes:
    """Returns the bytes that the terminal signs in namespace ``enrol-v1@placet.dev``."""
    return encode_canonical(_claim(enrolment) | {"inviteMac": enrolment.invite_mac})


def _claim(enrolment: TerminalEnrolment) -> dict[str, Any]:
    return {
        "_type": STATEMENT_TYPE,
        "deployment": enrolment.deployment,
        "origins": list(enrolment.origins),
        "publicKey": b64encode(enrolment.public_key.wire),
        "rootSha256": enrolment.root_sha256,
        "terminal": enrolment.terminal,
    }


def encode_terminal_enrolment(enrolment: TerminalEnrolment) -> bytes:
    """Encodes the file."""
    claim = {name: value for name, value in _claim(enrolment).items() if name != "_type"}
    rest = {"mediaType": MEDIA_TYPE, "inviteMac": enrolment.invite_mac, "sig": b64encode(enrolment.sig)}
    return encode_canonical(claim | rest)


def parse_terminal_enrolment(data: bytes) -> TerminalEnrolment:
    """Reads the file; `verify_terminal_enrolment` judges it.

    Raises:
        MalformedError: a member is missing or wrong.
    """
    names = ["mediaType", "terminal", "deployment", "publicKey", "origins", "rootSha256", "inviteMac", "sig"]
    members = read_object(parse_json(data, max_bytes=_MAX_BYTES, what="terminal enrolment"), "", names)
    if members["mediaType"] != MEDIA_TYPE:
        raise MalformedError(Reason.UNSUPPORTED_TYPE, "This is no terminal's enrolment.", path="/mediaType")
    wire = b64decode_strict(read_string(members["publicKey"], "/publicKey", max_length=2048), "/publicKey")
    origins = read_list(members["origins"], "/origins", max_items=MAX_ORIGINS, min_items=1)
    return TerminalEnrolment(
        terminal=read_name(members["terminal"], "/terminal"),
        deployment=read_name(members["deployment"], "/deployment"),
        public_key=parse_public_key(wire),
        origins=tuple(read_ascii(o, f"/origins/{i}", max_length=300) for i, o in enumerate(origins)),
        root_sha256=read_hex_digest(members["rootSha256"], "/rootSha256"),
        invite_mac=read_hex_digest(members["inviteMac"], "/inviteMac"),
        sig=b64decode_strict(read_string(members["sig"], "/sig", max_length=4096), "/sig"),
    )


def verify_terminal_enrolment(
    enrolment: TerminalEnrolment,
    *,
    terminal: str,
    deployment: Deployment,
    invite: str,
    root_digests: Collection[str],
) -> None:
    """Verifies that a terminal's key answers this invite, under this trust root.

    Raises:
        PolicyError: it is for another terminal or deployment.
        VerificationError: it answers another invite or trust root, or the signature does not verify.
        MalformedError: the signature is not an SSHSIG, or the invite can be guessed.
    """
    check_invite(invite)
    if (enrolment.terminal, enrolment.deployment) != (terminal, deployment.name):
        raise PolicyError(
            Reason.BAD_VALUE,
            "The enrolment is for another terminal.",
            expected=(terminal, deployment.name),
            actual=(enrolment.terminal, enrolment.deployment),
        )
    check_root(enrolment.root_sha256, root_digests)
    if not hmac.compare_digest(enrolment.invite_mac, invite_code(_claim(enrolment), invite)):
        raise VerificationError(
            Reason.CHALLENGE_MISMATCH,
            f"This key does not answer the invite that the terminal {terminal} was given.",
            hint="Check the invite's spelling. If it is right, somebody changed the file or put in a key of "
            "their own: ask whoever runs the terminal, by voice, to make it again.",
        )
    verify_terminal_signature(
        enrolment.sig,
        message=terminal_message(enrolment),
        namespace=NAMESPACE_ENROL,
        key=enrolment.public_key,
    )

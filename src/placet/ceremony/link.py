"""The in-toto link of the step ``approve``, made from a verified statement (spec/19-in-toto.md).

A layout that asks for human approval names hardware keys as the step's functionaries.  Whoever approves
signs, with a second touch, the link whose bytes are built here and nowhere else: terminal and checker
build them again from the statement, so that a link can say nothing that was not shown.

in-toto compares nothing but artifacts across a threshold.  So the action is an artifact here: the material
``intent://action`` is the digest of type, target and parameters.  Without it, two people who approved
different targets would meet a threshold of two (A13).

Leaves out: the layout, and every library of in-toto; both are needed only where a layout is verified.
"""

from __future__ import annotations

from placet.core.decode import Object
from placet.core.dsse import PAYLOAD_TYPE, Envelope, Signature, pae
from placet.core.encoding import KeyId, encode_canonical, format_time, sha256_hex
from placet.core.errors import MalformedError, PolicyError, Reason, VerificationError
from placet.core.people import Person
from placet.core.signature import verify_sshsig
from placet.core.sshsig import NAMESPACE_LINK
from placet.core.statement import IntentStatement
from placet.core.trust import Trust
from placet.documents.approve_step import ACTION_MATERIAL, STEP, link_file_name

__all__ = [
    "ACTION_MATERIAL",
    "STEP",
    "action_digest",
    "artifacts_of",
    "link_file_name",
    "link_message",
    "link_payload",
    "signed_link",
    "verify_link",
]


def link_payload(statement: IntentStatement) -> bytes:
    """Returns the link's bytes for a statement that was verified and shown.

    The materials are the artifacts, by the names that the statement gives them, and the action.

    Raises:
        PolicyError: DECISION_IS_DENY: a denial has no link.
        MalformedError: SUBJECT_MISMATCH: an artifact bears the name that stands for the action.
    """
    if statement.decision != "approve":
        raise PolicyError(Reason.DECISION_IS_DENY, "A denial makes no in-toto link.")
    materials = artifacts_of(statement) | {ACTION_MATERIAL: {"sha256": action_digest(statement)}}
    return encode_canonical(
        {
            "_type": "link",
            "name": STEP,
            "materials": materials,
            "products": {},
            "byproducts": {},
            "environment": {},
            "command": [],
        }
    )


def artifacts_of(statement: IntentStatement) -> Object:
    """Returns the artifacts as a link lists them: by the names that the statement gives them.

    Raises:
        MalformedError: SUBJECT_MISMATCH: an artifact bears the name that stands for the action.
    """
    artifacts: Object = {}
    for subject in statement.subjects if statement.has_artifacts else ():
        if subject.name == ACTION_MATERIAL:
            raise MalformedError(
                Reason.SUBJECT_MISMATCH,
                f"No artifact may be named {ACTION_MATERIAL}: in an in-toto link that is the action.",
                path="/subject",
                hint="Request the approval again, with the artifact's own name.",
            )
        algorithm, _, digest = subject.digest.partition(":")
        artifacts[subject.name] = {algorithm: digest}
    return artifacts


def action_digest(statement: IntentStatement) -> str:
    """Returns the SHA-256 of the action's RFC 8785 form: type, target and parameters, in full."""
    return sha256_hex(encode_canonical(statement.value["predicate"]["action"]))


def link_message(payload: bytes) -> bytes:
    """Returns what the authenticator signs in the namespace ``link-v1``."""
    return pae(PAYLOAD_TYPE, payload)


def signed_link(payload: bytes, keyid: KeyId, sshsig: bytes) -> Envelope:
    """Returns the DSSE envelope of a link."""
    return Envelope(payload, PAYLOAD_TYPE, (Signature(keyid, sshsig),))


def verify_link(link: Envelope, statement: IntentStatement, *, trust: Trust, at: int) -> Person:
    """Verifies that an enrolled person signed exactly the link of this statement.

    Args:
        at: when the person's key must be valid, in Unix seconds.

    Returns:
        Whose link it is.

    Raises:
        MalformedError: it is not in its format.
        VerificationError: it is the link of another statement, or not signed by that key.
        PolicyError: the key belongs to nobody here, is not valid at that time, or signed without
            what the trust root demands of it.
    """
    if link.payload != link_payload(statement):
        raise VerificationError(
            Reason.SUBJECT_MISMATCH,
            "The in-toto link is not the one of this statement: it names other artifacts or another action.",
            hint="Have the request approved again; the terminal makes link and approval together.",
        )
    if len(link.signatures) != 1:
        raise MalformedError(Reason.BAD_VALUE, "A link of the step approve has exactly one signature.")
    (signature,) = link.signatures
    found = trust.credentials.get(signature.keyid)
    if found is None:
        raise PolicyError(Reason.UNKNOWN_KEY, "No enrolled person has the key that signed the in-toto link.")
    person, credential = found
    if not credential.not_before <= at < credential.not_after:
        raise PolicyError(
            Reason.CREDENTIAL_NOT_VALID,
            f"The key of {person.id} that signed the in-toto link is not valid at {format_time(at)}.",
            hint="Enrol a new key with `placet trust enroll`.",
        )
    verify_sshsig(
        signature.sig,
        message=link_message(link.payload),
        namespace=NAMESPACE_LINK,
        key=credential.public_key,
        kind=credential.kind,
        origins=trust.origins,
        require_uv=credential.uv,
        allow_backup=credential.backup == "allow",
    )
    return person

"""Files between administrators' machines: the challenge goes out, detached signatures come back.

Both may travel over anything.  What is shown on the other terminal is checked against the very bytes that it
signs, and a signature is verified when it comes back.
"""

from __future__ import annotations

from typing import Any, cast

from tuf.api.metadata import Targets  # type: ignore[attr-defined]  # re-exported without saying so

from placet.adapters.sk_key import register
from placet.adapters.tuf_repository import TrustRepository
from placet.adapters.tuf_signing import (
    PendingRole,
    Review,
    attach_signature,
    check_nothing_hidden,
    review,
    signing_keys,
)
from placet.adapters.tuf_trust import ROOT, SIGNED_BY_PEOPLE, TARGETS, parse_signed, person_of
from placet.core.decode import (
    read_choice,
    read_key_id,
    read_list,
    read_map,
    read_object,
    read_string,
)
from placet.core.encoding import (
    KeyId,
    b64decode_strict,
    b64encode,
    encode_canonical,
    parse_json,
    sha256_hex,
)
from placet.core.errors import MalformedError, Reason

CHALLENGE_MEDIA_TYPE = "application/vnd.placet.trust-challenge.v1+json"
SIGNATURES_MEDIA_TYPE = "application/vnd.placet.trust-signatures.v1+json"
_MAX_SIGNATURES_BYTES = 1024 * 1024
# The whole trust root twice, before and after, in base64.
_MAX_CHALLENGE_BYTES = 96 * 1024 * 1024
_MAX_FILES = 10_000


def encode_challenge(repository: TrustRepository) -> bytes:
    """Encodes what another terminal needs to show the change and to sign it: messages and files."""
    shown = review(repository)
    value = {
        "mediaType": CHALLENGE_MEDIA_TYPE,
        "messages": [{"role": item.role, "message": b64encode(item.message)} for item in shown.pending],
        "oldFiles": {name: b64encode(data) for name, data in shown.old_files.items()},
        "newFiles": {name: b64encode(data) for name, data in shown.new_files.items()},
        "oldRoot": None if shown.old_root is None else b64encode(shown.old_root),
    }
    return encode_canonical(value)


def parse_challenge(data: bytes) -> Review:
    """Reads a challenge file on another terminal; the new files are checked against the bytes to be signed.

    Who has signed already is not in the file, so `signed`, `unsigned` and `missing` are empty.  `old_files`
    and `old_root` are the sender's word: a terminal with a snapshot of its own compares with that.

    Raises:
        MalformedError: it is not a challenge file, or a file in it is not the one that would be signed.
    """
    register()
    value: Any = parse_json(data, max_bytes=_MAX_CHALLENGE_BYTES, what="challenge file")
    members = read_object(value, "", required=["mediaType", "messages", "oldFiles", "newFiles", "oldRoot"])
    if members["mediaType"] != CHALLENGE_MEDIA_TYPE:
        raise MalformedError(Reason.UNSUPPORTED_TYPE, "This is no trust challenge.", path="/mediaType")
    messages: dict[str, bytes] = {}
    for i, item in enumerate(read_list(members["messages"], "/messages", max_items=2, min_items=1)):
        fields = read_object(item, f"/messages/{i}", required=["role", "message"])
        role = read_choice(fields["role"], f"/messages/{i}/role", SIGNED_BY_PEOPLE)
        messages[role] = _read_bytes(fields["message"], f"/messages/{i}/message")
    old_files, new_files = (
        {
            name: _read_bytes(text, f"/{part}")
            for name, text in read_map(members[part], f"/{part}", max_items=_MAX_FILES).items()
        }
        for part in ("oldFiles", "newFiles")
    )
    signed = {role: parse_signed(message, role) for role, message in messages.items()}
    if TARGETS in signed:
        check_nothing_hidden(messages[TARGETS], None)
        targets = cast(Targets, signed[TARGETS]).targets
        named = {name: info.hashes.get("sha256") for name, info in targets.items()}
        if named != {name: sha256_hex(content) for name, content in new_files.items()}:
            raise MalformedError(Reason.BAD_TRUST, "The files of the challenge are not those to be signed.")
    elif new_files != old_files:
        raise MalformedError(Reason.BAD_TRUST, "The challenge shows a change that it does not sign.")
    pending = tuple(
        PendingRole(role, item.version, int(item.expires.timestamp()), messages[role], 0, (), (), 0)
        for role, item in signed.items()
    )
    old_root = None if members["oldRoot"] is None else _read_bytes(members["oldRoot"], "/oldRoot")
    return Review(pending, old_files, new_files, old_root, messages.get(ROOT))


def _read_bytes(value: Any, path: str) -> bytes:
    return b64decode_strict(read_string(value, path, max_length=_MAX_CHALLENGE_BYTES, min_length=0), path)


def encode_signatures(made: list[tuple[str, KeyId, bytes]]) -> bytes:
    """Encodes detached signatures, each (role, key ID, SSHSIG), for `attach_signatures`."""
    items = [{"role": role, "keyid": keyid, "sig": b64encode(blob)} for role, keyid, blob in made]
    return encode_canonical({"mediaType": SIGNATURES_MEDIA_TYPE, "signatures": items})


def attach_signatures(repository: TrustRepository, data: bytes) -> tuple[tuple[str, str], ...]:
    """Attaches the signatures of a file that another terminal wrote.

    Returns:
        (person, role) for each of them.

    Raises:
        MalformedError: the file is not one that `encode_signatures` writes.
        PlacetError: as `attach_signature`; those before the refused one are kept.
    """
    value: Any = parse_json(data, max_bytes=_MAX_SIGNATURES_BYTES, what="signature file")
    members = read_object(value, "", required=["mediaType", "signatures"])
    if members["mediaType"] != SIGNATURES_MEDIA_TYPE:
        raise MalformedError(
            Reason.UNSUPPORTED_TYPE, "This is no file of trust signatures.", path="/mediaType"
        )
    attached = []
    for i, item in enumerate(read_list(members["signatures"], "/signatures", max_items=64)):
        at = f"/signatures/{i}"
        fields = read_object(item, at, required=["role", "keyid", "sig"])
        role, keyid = read_choice(fields["role"], at, SIGNED_BY_PEOPLE), read_key_id(fields["keyid"], at)
        sig = b64decode_strict(read_string(fields["sig"], at, max_length=16_384), at)
        attach_signature(repository, role, keyid, sig)
        attached.append((person_of(signing_keys(repository, role)[keyid]), role))
    return tuple(attached)

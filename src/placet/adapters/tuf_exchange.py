"""Files between administrators' machines: the challenge goes out, detached signatures come back.

Both may travel over anything.  What is shown on the other terminal is checked against the very bytes that it
signs, and a signature is verified when it comes back.
"""

from __future__ import annotations

from typing import Any, cast

from tuf.api.metadata import Targets  # type: ignore[attr-defined]  # re-exported without saying so

from placet.adapters.sk_key import register
from placet.adapters.tuf_anchor import TrustAnchors
from placet.adapters.tuf_chain import PublishedSide, published_side
from placet.adapters.tuf_repository import TrustRepository
from placet.adapters.tuf_review import Review, compare
from placet.adapters.tuf_signing import PendingRole, attach_signature, pending_messages, signing_keys
from placet.adapters.tuf_trust import SIGNED_BY_PEOPLE, TARGETS, parse_signed, person_of
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
_MAX_ROOTS = 256


def encode_challenge(repository: TrustRepository) -> bytes:
    """Encodes what another terminal needs to judge, show and sign a change."""
    pending, side = pending_messages(repository), published_side(repository)
    targets = dict(pending).get(TARGETS)
    new_files = side.files if targets is None else repository.files_named_by(targets)
    value = {
        "mediaType": CHALLENGE_MEDIA_TYPE,
        "messages": [{"role": role, "message": b64encode(message)} for role, message in pending],
        "newFiles": _encode_files(new_files),
        "published": {
            "roots": [b64encode(root) for root in side.roots],
            "targets": None if side.targets is None else b64encode(side.targets),
            "files": _encode_files(side.files),
        },
    }
    return encode_canonical(value)


def parse_challenge(data: bytes, anchors: TrustAnchors, *, root_sha256: str | None = None) -> Review:
    """Reads a challenge file on another terminal, and judges it as `review` judges a repository.

    Who has signed already is not in the file, so `signed`, `unsigned` and `missing` are empty.

    Raises:
        MalformedError: it is not a challenge file, or a file in it is not the one that would be signed.
        PlacetError: as `review`, where what the file says was published is not what this machine knows.
    """
    register()
    value: Any = parse_json(data, max_bytes=_MAX_CHALLENGE_BYTES, what="challenge file")
    members = read_object(value, "", required=["mediaType", "messages", "newFiles", "published"])
    if members["mediaType"] != CHALLENGE_MEDIA_TYPE:
        raise MalformedError(Reason.UNSUPPORTED_TYPE, "This is no trust challenge.", path="/mediaType")
    messages: dict[str, bytes] = {}
    for i, item in enumerate(read_list(members["messages"], "/messages", max_items=2, min_items=1)):
        fields = read_object(item, f"/messages/{i}", required=["role", "message"])
        role = read_choice(fields["role"], f"/messages/{i}/role", SIGNED_BY_PEOPLE)
        messages[role] = _read_bytes(fields["message"], f"/messages/{i}/message")
    side = _read_side(members["published"])
    new_files = _read_files(members["newFiles"], "/newFiles")
    signed = {role: parse_signed(message, role) for role, message in messages.items()}
    if TARGETS in signed:
        targets = cast(Targets, signed[TARGETS]).targets
        named = {name: info.hashes.get("sha256") for name, info in targets.items()}
        if named != {name: sha256_hex(content) for name, content in new_files.items()}:
            raise MalformedError(Reason.BAD_TRUST, "The files of the challenge are not those to be signed.")
    elif new_files != side.files:
        raise MalformedError(Reason.BAD_TRUST, "The challenge shows a change that it does not sign.")
    pending = tuple(
        PendingRole(role, item.version, int(item.expires.timestamp()), messages[role])
        for role, item in signed.items()
    )
    return compare(pending, side, new_files, anchors, root_sha256=root_sha256)


def _encode_files(files: dict[str, bytes]) -> dict[str, str]:
    return {name: b64encode(data) for name, data in files.items()}


def _read_side(value: Any) -> PublishedSide:
    members = read_object(value, "/published", required=["roots", "targets", "files"])
    roots = read_list(members["roots"], "/published/roots", max_items=_MAX_ROOTS)
    targets = members["targets"]
    return PublishedSide(
        roots=tuple(_read_bytes(root, f"/published/roots/{i}") for i, root in enumerate(roots)),
        targets=None if targets is None else _read_bytes(targets, "/published/targets"),
        files=_read_files(members["files"], "/published/files"),
    )


def _read_files(value: Any, path: str) -> dict[str, bytes]:
    return {n: _read_bytes(text, path) for n, text in read_map(value, path, max_items=_MAX_FILES).items()}


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

"""Files between administrators' machines: the challenge goes out, detached signatures come back.

Both may travel over anything.  A challenge is the part of a working repository that is needed to judge, show
and sign its draft, in one file: what is published, what is prepared, who has signed, and the evidence of keys
that are newly enrolled.  On the other terminal it becomes a folder again and is judged like any repository
that somebody else wrote (`tuf_review`).  A signature names the bytes that it is over, and is verified when it
comes back.

    {"mediaType", "files": {name in the repository: base64}}
    {"mediaType", "signatures": [{"role", "sha256" of the signed bytes, "keyid", "sig"}]}

Names are those that a repository has and no others, none of which can lead out of it.  The online keys are
never among them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tuf.api.metadata import Targets  # type: ignore[attr-defined]  # re-exported without saying so

from placet.adapters.tuf.published import delegated_paths, role_file_name
from placet.adapters.tuf.repository import FORMAT, TrustRepository
from placet.adapters.tuf.signing import attach_signature, signatures, signing_keys
from placet.adapters.tuf.trust import person_of
from placet.core.decode import (
    read_ascii,
    read_hex_digest,
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
from placet.core.errors import MalformedError, PlacetError, PolicyError, Reason, VerificationError
from placet.core.people import Credential, parse_deployment, parse_people
from placet.core.trust import DEPLOYMENT_FILE, MAX_FILE_BYTES, PEOPLE_FILE

CHALLENGE_MEDIA_TYPE = "application/vnd.placet.trust-challenge.v1+json"
SIGNATURES_MEDIA_TYPE = "application/vnd.placet.trust-signatures.v1+json"
MAX_SIGNATURES_BYTES = 1024 * 1024
# The whole trust root twice, before and after, in base64.
MAX_CHALLENGE_BYTES = 96 * 1024 * 1024
_MAX_FILES = 20_000
_MAX_SIGNATURES = 600  # root, targets and every scope, by one person

_PART = r"[A-Za-z0-9][A-Za-z0-9%._-]{0,200}"
_NAMES = re.compile(
    rf"draft/{_PART}\.json|draft/{_PART}\.signatures/[0-9a-f]{{64}}\.sshsig|published/metadata/{_PART}\.json"
    r"|objects/[0-9a-f]{64}|enrolments/[0-9a-f]{64}\.enrolment\.json"
)


class Collected(NamedTuple):
    """One signature of a file that came back; `refusal` says why it was not kept, None where it was.

    `stale` is set where it says itself that it is over something else than what waits here.
    """

    person: str
    role: str
    refusal: PlacetError | None
    stale: bool = False


def encode_challenge(repository: TrustRepository) -> bytes:
    """Encodes what another terminal needs to judge, show and sign the draft.

    Raises:
        IndeterminateError: TRUST_UNAVAILABLE: the repository is damaged.
        OSError: it cannot be read.
    """
    names = sorted({*_draft_names(repository), *_published_names(repository), *_content_names(repository)})
    files = {name: b64encode((repository.path / name).read_bytes()) for name in names}
    return encode_canonical({"mediaType": CHALLENGE_MEDIA_TYPE, "files": files})


def _draft_names(repository: TrustRepository) -> list[str]:
    names = []
    for role in repository.draft_roles():
        names.append(f"draft/{role_file_name(role)}.json")
        names += [f"draft/{role_file_name(role)}.signatures/{k}.sshsig" for k in signatures(repository, role)]
    return names


def _published_names(repository: TrustRepository) -> list[str]:
    root = repository.published_root()
    last = 0 if root is None else root.version
    names = [f"{version}.root.json" for version in range(1, last + 1)]
    timestamp, snapshot = repository.published_timestamp(), repository.published_snapshot()
    if timestamp is not None and snapshot is not None:
        names += ["timestamp.json", f"{timestamp.snapshot_meta.version}.snapshot.json"]
        for file, meta in snapshot.meta.items():
            names.append(f"{meta.version}.{role_file_name(file.removesuffix('.json'))}.json")
    return [f"published/metadata/{n}" for n in names if (repository.metadata_folder / n).is_file()]


def _content_names(repository: TrustRepository) -> list[str]:
    """Returns the files that published and prepared targets name, and the evidence of prepared keys."""
    found: list[Targets | None] = []
    for top in (repository.published_targets(), repository.current_targets()):
        found.append(top)
        for role in delegated_paths(top):
            found += [repository.published_targets(role), repository.current_targets(role)]
    digests = {info.hashes["sha256"] for t in found if t is not None for info in t.targets.values()}
    evidence = [f"enrolments/{keyid}.enrolment.json" for keyid in _changed_keys(repository)]
    return [
        *(f"objects/{digest}" for digest in digests),
        *(name for name in evidence if (repository.path / name).is_file()),
    ]


def _changed_keys(repository: TrustRepository) -> list[str]:
    """Returns the key IDs of people's keys about which the draft says something new."""
    before, after = (_credentials(f) for f in (repository.published_files(), repository.draft_files()))
    return sorted(keyid for keyid, credential in after.items() if before.get(keyid) != credential)


def _credentials(files: Mapping[str, bytes]) -> dict[KeyId, Credential]:
    if PEOPLE_FILE not in files or DEPLOYMENT_FILE not in files:
        return {}
    value, deployment = (
        parse_json(files[name], max_bytes=MAX_FILE_BYTES, what=name)
        for name in (PEOPLE_FILE, DEPLOYMENT_FILE)
    )
    people = parse_people(value, parse_deployment(deployment))
    return {credential.keyid: credential for person in people for credential in person.credentials}


def open_challenge(data: bytes, folder: Path) -> TrustRepository:
    """Makes a folder of a challenge, to be judged like any repository that somebody else wrote.

    Args:
        folder: an empty folder of ours.

    Raises:
        MalformedError: it is not a challenge, or names a file that no repository has.
    """
    value: Any = parse_json(data, max_bytes=MAX_CHALLENGE_BYTES, what="challenge")
    members = read_object(value, "", required=["mediaType", "files"])
    if members["mediaType"] != CHALLENGE_MEDIA_TYPE:
        raise MalformedError(Reason.UNSUPPORTED_TYPE, "This is no trust challenge.", path="/mediaType")
    contents = {}
    for name, text in read_map(members["files"], "/files", max_items=_MAX_FILES).items():
        if not _NAMES.fullmatch(name):
            raise MalformedError(
                Reason.BAD_VALUE, f"A challenge holds no file {name[:120]!r}.", path="/files"
            )
        text = read_string(text, f"/files/{name}", max_length=MAX_CHALLENGE_BYTES, min_length=0)
        contents[name] = b64decode_strict(text, f"/files/{name}")
    for name in ("draft", "objects", "enrolments", "published/metadata", "published/targets"):
        (folder / name).mkdir(parents=True)
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    (folder / "repository.json").write_text(json.dumps({"format": FORMAT}))
    return TrustRepository(folder)


def encode_signatures(repository: TrustRepository, keyids: set[KeyId]) -> bytes:
    """Encodes the good signatures that some keys made over what is prepared, for `attach_signatures`."""
    items = []
    for role in repository.draft_roles():
        message = repository.draft_bytes(role)
        if message is not None:
            items += [
                {"role": role, "sha256": sha256_hex(message), "keyid": keyid, "sig": b64encode(blob)}
                for keyid, blob in signatures(repository, role).items()
                if keyid in keyids
            ]
    return encode_canonical({"mediaType": SIGNATURES_MEDIA_TYPE, "signatures": items})


def attach_signatures(repository: TrustRepository, data: bytes) -> tuple[Collected, ...]:
    """Attaches the signatures of a file that another terminal wrote, each that is good.

    Raises:
        MalformedError: the file is not one that `encode_signatures` writes; nothing was attached.
    """
    value: Any = parse_json(data, max_bytes=MAX_SIGNATURES_BYTES, what="signature file")
    members = read_object(value, "", required=["mediaType", "signatures"])
    if members["mediaType"] != SIGNATURES_MEDIA_TYPE:
        raise MalformedError(
            Reason.UNSUPPORTED_TYPE, "This is no file of trust signatures.", path="/mediaType"
        )
    read = []
    for i, item in enumerate(read_list(members["signatures"], "/signatures", max_items=_MAX_SIGNATURES)):
        at = f"/signatures/{i}"
        fields = read_object(item, at, required=["role", "sha256", "keyid", "sig"])
        role = read_ascii(fields["role"], f"{at}/role", max_length=200)
        over, keyid = read_hex_digest(fields["sha256"], f"{at}/sha256"), read_key_id(fields["keyid"], at)
        sig = b64decode_strict(read_string(fields["sig"], f"{at}/sig", max_length=16_384), f"{at}/sig")
        read.append((role, over, keyid, sig))
    return tuple(_attach(repository, *item) for item in read)


def _attach(repository: TrustRepository, role: str, over: str, keyid: KeyId, sig: bytes) -> Collected:
    person, stale = f"key {keyid[:16]}", True
    try:
        message = repository.draft_bytes(role) if role in repository.draft_roles() else None
        if message is None:
            raise PolicyError(
                Reason.BAD_TRUST,
                f"No {role} is waiting for signatures: it is published already, or was given up.",
                hint="There is nothing to be done with this signature.",
            )
        key = signing_keys(repository, role).get(keyid)
        person = person if key is None else person_of(key)
        if over != sha256_hex(message):
            raise VerificationError(
                Reason.CHALLENGE_MISMATCH,
                f"This is a signature over another draft of {role} than the one that waits here.",
                expected=sha256_hex(message),
                actual=over,
                hint="Export the challenge again and have it signed; what was collected before is kept.",
            )
        stale = False
        attach_signature(repository, role, keyid, sig)
    except PlacetError as e:
        return Collected(person, role, e, stale)
    return Collected(person, role, None)

"""Statements that a signing gate signs: the approved one, and the one that names the approval.

The second is in-toto's vetted Reference predicate (https://in-toto.io/attestation/reference/v0.1).  It says:
for these artifacts there is that intent, by digest.  Whoever finds the artifact's Sigstore signature finds
the human approval behind it, and the other way round.

Leaves out: signatures, and whether the approval holds; `placet verify` judges that.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from placet.core.bundle import MAX_BUNDLE_BYTES, MAX_NAMED_SIGNATURES
from placet.core.decode import read_ascii, read_list, read_map, read_string
from placet.core.dsse import PAYLOAD_TYPE
from placet.core.encoding import Digest, encode_canonical, is_hex, parse_canonical_json, sha256_hex
from placet.core.errors import MalformedError, Reason
from placet.core.evidence.facts import DSSE_MEDIA_TYPE, SIGSTORE_MEDIA_TYPE
from placet.core.statement import STATEMENT_TYPE

REFERENCE_TYPE = "https://in-toto.io/attestation/reference/v0.1"
# A bill of materials of a large image has some MiB.
MAX_STATEMENT_BYTES = 16 * 1024 * 1024
_MAX_SUBJECTS = 64
_MAX_REFERENCES = 16


class Artifact(NamedTuple):
    """A file to sign: its name in the statement, and its SHA-256."""

    name: str
    digest: Digest


class IntentReference(NamedTuple):
    """The approval that a signature was made after.

    Args:
        payload_digest: SHA-256 of the intent statement's bytes: stays the same whoever approves besides.
        envelope_digest: of the envelope with the approvals that the gate saw.
        location: where the intent bundle can be found, or a URI that names it.
    """

    payload_digest: Digest
    envelope_digest: Digest
    location: str


def build_statement(artifacts: tuple[Artifact, ...], predicate_type: str, predicate: bytes) -> bytes:
    """Returns the statement about artifacts; the same predicate file gives the same bytes everywhere.

    Raises:
        MalformedError: the predicate is no JSON object, or could be read in two ways.
    """
    value = _read_json(predicate, "predicate")
    return _encode(
        {
            "_type": STATEMENT_TYPE,
            "predicate": value,
            "predicateType": predicate_type,
            "subject": _subjects(artifacts),
        }
    )


def read_statement(payload: bytes) -> tuple[str, frozenset[Digest]]:
    """Returns a statement's predicate type and the SHA-256 of each of its subjects.

    Raises:
        MalformedError: it is no in-toto Statement v1, or names a subject otherwise than by SHA-256.
    """
    value = _read_json(payload, "statement")
    if value.get("_type") != STATEMENT_TYPE:
        raise MalformedError(
            Reason.UNSUPPORTED_TYPE,
            "This is no in-toto Statement v1.",
            path="/_type",
            expected=STATEMENT_TYPE,
        )
    predicate_type = read_ascii(value.get("predicateType"), "/predicateType", max_length=200)
    subjects = read_list(value.get("subject"), "/subject", max_items=_MAX_SUBJECTS, min_items=1)
    return predicate_type, frozenset(_sha256_of(item, f"/subject/{i}") for i, item in enumerate(subjects))


def build_reference(artifacts: tuple[Artifact, ...], reference: IntentReference, *, attester: str) -> bytes:
    """Returns the statement that names the approval of these artifacts."""
    named = (
        ("intent", reference.payload_digest, PAYLOAD_TYPE),
        ("intent envelope", reference.envelope_digest, DSSE_MEDIA_TYPE),
    )
    references = [
        {
            "digest": {"sha256": digest},
            "downloadLocation": reference.location,
            "mediaType": media_type,
            "name": name,
        }
        for name, digest, media_type in named
    ]
    return encode_canonical(
        {
            "_type": STATEMENT_TYPE,
            "predicate": {"attester": {"id": attester}, "references": references},
            "predicateType": REFERENCE_TYPE,
            "subject": _subjects(artifacts),
        }
    )


def read_reference(payload: bytes) -> tuple[str, frozenset[tuple[str, Digest]], frozenset[Digest]]:
    """Returns who a reference statement is by, what it refers to, and which artifacts it is about.

    Returns:
        The attester's ID; media type and SHA-256 of each reference; SHA-256 of each subject.

    Raises:
        MalformedError: it is no reference statement.
    """
    predicate_type, subjects = read_statement(payload)
    if predicate_type != REFERENCE_TYPE:
        raise MalformedError(
            Reason.UNSUPPORTED_TYPE,
            "This statement refers to no approval.",
            path="/predicateType",
            expected=REFERENCE_TYPE,
            actual=predicate_type,
        )
    predicate = read_map(_read_json(payload, "statement").get("predicate"), "/predicate", max_items=16)
    attester = read_map(predicate.get("attester"), "/predicate/attester", max_items=16)
    items = read_list(predicate.get("references"), "/predicate/references", max_items=_MAX_REFERENCES)
    references = []
    for i, item in enumerate(items):
        at = f"/predicate/references/{i}"
        members = read_map(item, at, max_items=16)
        media_type = read_ascii(members.get("mediaType"), f"{at}/mediaType", max_length=200)
        references.append((media_type, _sha256_of(item, at)))
    return read_string(attester.get("id"), "/predicate/attester/id"), frozenset(references), subjects


def name_signatures(container: bytes, bundles: Iterable[bytes]) -> bytes:
    """Returns the intent bundle with Sigstore bundles named in its container, each by its digest.

    What people signed is untouched: the container is not signed, and verifiers hold each name against the
    Sigstore bundle itself.

    Raises:
        MalformedError: it is no canonical JSON, or it would name too many signatures.
    """
    value = parse_canonical_json(container, max_bytes=MAX_BUNDLE_BYTES, what="container")
    named = list(value.get("signatures", []))
    for bundle in bundles:
        entry = {"digest": {"sha256": sha256_hex(bundle)}, "mediaType": SIGSTORE_MEDIA_TYPE}
        if entry not in named:
            named.append(entry)
    if len(named) > MAX_NAMED_SIGNATURES:
        raise MalformedError(
            Reason.TOO_MANY, f"The bundle would name more than {MAX_NAMED_SIGNATURES} signatures."
        )
    return encode_canonical({**value, "signatures": named})


def _subjects(artifacts: tuple[Artifact, ...]) -> list[dict[str, Any]]:
    return [{"digest": {"sha256": artifact.digest}, "name": artifact.name} for artifact in artifacts]


def _sha256_of(item: Any, path: str) -> Digest:
    digests = read_map(read_map(item, path, max_items=16).get("digest"), f"{path}/digest", max_items=16)
    found = digests.get("sha256")
    if not isinstance(found, str) or not is_hex(found, 64):
        raise MalformedError(Reason.BAD_DIGEST, "There is no SHA-256 here.", path=f"{path}/digest")
    return Digest(found)


def _read_json(data: bytes, what: str) -> dict[str, Any]:
    """Reads JSON of others: numbers with fractions are theirs to use, members that stand twice are not."""
    if len(data) > MAX_STATEMENT_BYTES:
        raise MalformedError(Reason.TOO_LARGE, f"The {what} is larger than {MAX_STATEMENT_BYTES} bytes.")
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_refuse_twice, parse_constant=_refuse_constant
        )
    except UnicodeDecodeError as e:
        raise MalformedError(Reason.NOT_UTF8, f"The {what} is not UTF-8.") from e
    except (ValueError, RecursionError) as e:
        raise MalformedError(Reason.NOT_JSON, f"The {what} cannot be read as JSON: {e}.") from e
    if not isinstance(value, dict):
        raise MalformedError(Reason.WRONG_TYPE, f"The {what} is no JSON object.")
    return value


def _refuse_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise MalformedError(Reason.DUPLICATE_MEMBER, "A member stands there twice.")
    return value


def _refuse_constant(text: str) -> Any:
    raise MalformedError(Reason.NUMBER_NOT_ALLOWED, f"{text} is no number of JSON.")


def _encode(value: dict[str, Any]) -> bytes:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as e:
        raise MalformedError(Reason.NOT_UTF8, "Text in the predicate is not Unicode.") from e

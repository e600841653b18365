"""The intent statement: one exact action, its window, its nonce (spec/03-statement.md).

An in-toto Statement v1 whose bytes are in RFC 8785 form.  Every approver signs the same
bytes; who approved comes from key and trust root, never from here.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from placet.core.actions import ActionDefinition, check_against_schema, is_plain_place, is_relative_path
from placet.core.admission import admit
from placet.core.decode import (
    Object,
    read_ascii,
    read_choice,
    read_decimal,
    read_digest_set,
    read_list,
    read_map,
    read_object,
    read_sha256,
    read_string,
    read_time,
)
from placet.core.encoding import (
    Digest,
    b64decode_strict,
    encode_canonical,
    sha256_hex,
)
from placet.core.errors import MalformedError, Reason

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://placet.dev/intent/v1"
ACTION_SUBJECT_NAME = "action"

_STATEMENT = frozenset({"_type", "subject", "predicateType", "predicate"})
_PREDICATE = frozenset({"decision", "action", "display", "request", "policy", "evidence"})
_ACTION = frozenset({"type", "target", "parameters"})
_TARGET = frozenset({"uri"})
_DISPLAY = frozenset({"template", "lang", "text"})
_FILE = frozenset({"uri", "digest"})
_SUBJECT = frozenset({"name", "digest"})
_EVIDENCE = frozenset({"name", "mediaType", "digest"})
_UUID7 = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_REQUEST = frozenset(
    {"id", "nonce", "requestedBy", "issuedAt", "notBefore", "expiresAt", "maxUses", "audience"}
)

MAX_SUBJECTS = 64
MAX_EVIDENCE = 32
MAX_USES = 1000
MAX_TEXT = 512
MAX_REASON = 1024
MIN_NONCE_BYTES, MAX_NONCE_BYTES = 16, 64


class Subject(NamedTuple):
    """An artifact; `digest` is spelled ``algorithm:hex``."""

    name: str
    uri: str
    digest: str


class EvidenceRef(NamedTuple):
    """Evidence that the statement names by digest."""

    name: str
    media_type: str
    digest: Digest


class IntentStatement(NamedTuple):
    """A parsed statement beside the very bytes it was parsed from.  Times are Unix seconds."""

    payload: bytes
    payload_digest: Digest
    """SHA-256 of the payload: the request's identity everywhere."""
    value: Object
    subjects: tuple[Subject, ...]
    decision: str
    action_type: str
    target: str
    parameters: Object
    text: str
    template_file: str
    template_digest: Digest
    request_id: str
    requested_by: str
    issued_at: int
    not_before: int
    expires_at: int
    max_uses: int
    audience: str
    policy_file: str
    policy_digest: Digest
    evidence: tuple[EvidenceRef, ...]

    @property
    def has_artifacts(self) -> bool:
        """False where the only subject is the action itself."""
        return not (len(self.subjects) == 1 and self.subjects[0].name == ACTION_SUBJECT_NAME)


def parse_statement(payload: bytes) -> IntentStatement:
    """Admits and parses an intent statement; `check_action` then holds it against its definition.

    Raises:
        MalformedError: the bytes fail the admission profile or the statement's shape.
    """
    top = read_object(admit(payload), "", _STATEMENT)
    read_choice(top["_type"], "/_type", (STATEMENT_TYPE,))  # STM-01
    read_choice(top["predicateType"], "/predicateType", (PREDICATE_TYPE,))
    predicate = read_object(top["predicate"], "/predicate", _PREDICATE)  # STM-02
    action = read_object(predicate["action"], "/predicate/action", _ACTION)
    target = read_object(action["target"], "/predicate/action/target", _TARGET, optional=["annotations"])
    text, template_file, template_digest = _read_display(predicate["display"])
    request_id, requested_by, times, max_uses, audience = _read_request(predicate["request"])
    policy = read_object(predicate["policy"], "/predicate/policy", _FILE)
    statement = IntentStatement(
        payload=payload,
        payload_digest=sha256_hex(payload),
        value=top,
        subjects=_read_subjects(top["subject"]),
        decision=read_choice(predicate["decision"], "/predicate/decision", ("approve", "deny")),  # STM-03
        action_type=read_ascii(action["type"], "/predicate/action/type"),
        target=read_ascii(target["uri"], "/predicate/action/target/uri"),
        parameters=read_map(action["parameters"], "/predicate/action/parameters", max_items=64),
        text=text,
        template_file=template_file,
        template_digest=template_digest,
        request_id=request_id,
        requested_by=requested_by,
        issued_at=times[0],
        not_before=times[1],
        expires_at=times[2],
        max_uses=max_uses,
        audience=audience,
        # STM-13: only compared; the gate selects the rules itself.
        policy_file=read_ascii(policy["uri"], "/predicate/policy/uri"),
        policy_digest=read_sha256(policy["digest"], "/predicate/policy/digest"),
        evidence=_read_evidence(predicate["evidence"]),
    )
    _check_action_subject(statement, action)
    return statement


def _read_subjects(value: Any) -> tuple[Subject, ...]:
    items = read_list(value, "/subject", max_items=MAX_SUBJECTS, min_items=1)
    subjects = []
    for i, item in enumerate(items):
        at = f"/subject/{i}"
        members = read_object(item, at, _SUBJECT, optional=["uri"])
        algorithm, digest = read_digest_set(members["digest"], f"{at}/digest")  # STM-05
        uri = read_ascii(members["uri"], f"{at}/uri") if "uri" in members else ""
        subjects.append(Subject(read_ascii(members["name"], f"{at}/name"), uri, f"{algorithm}:{digest}"))
    names, digests = {s.name for s in subjects}, {s.digest for s in subjects}
    if not len(names) == len(digests) == len(subjects):  # STM-06
        raise MalformedError(
            Reason.DUPLICATE_VALUE, "Two subjects have the same name or the same digest.", path="/subject"
        )
    return tuple(subjects)


def _read_display(value: Any) -> tuple[str, str, Digest]:
    """Reads the summary, and the template that it was derived from (STM-04)."""
    members = read_object(value, "/predicate/display", _DISPLAY)
    read_choice(members["lang"], "/predicate/display/lang", ("en",))
    template = read_object(members["template"], "/predicate/display/template", _FILE)
    return (
        read_string(members["text"], "/predicate/display/text", max_length=MAX_TEXT),
        read_ascii(template["uri"], "/predicate/display/template/uri"),
        read_sha256(template["digest"], "/predicate/display/template/digest"),
    )


def _read_request(value: Any) -> tuple[str, str, tuple[int, int, int], int, str]:
    members = read_object(value, "/predicate/request", _REQUEST, optional=["reason"])
    nonce = b64decode_strict(
        read_ascii(members["nonce"], "/predicate/request/nonce"), "/predicate/request/nonce"
    )
    if not MIN_NONCE_BYTES <= len(nonce) <= MAX_NONCE_BYTES:  # STM-07
        raise MalformedError(Reason.BAD_VALUE, "A nonce has 16 to 64 bytes.", path="/predicate/request/nonce")
    if "reason" in members:
        read_string(members["reason"], "/predicate/request/reason", max_length=MAX_REASON)
    audience = read_ascii(members["audience"], "/predicate/request/audience", max_length=200)
    if not audience.startswith("gate:") or audience == "gate:":  # STM-11
        raise MalformedError(
            Reason.BAD_VALUE, "The audience is one gate: gate:<id>.", path="/predicate/request/audience"
        )
    issued_at = read_time(members["issuedAt"], "/predicate/request/issuedAt")
    not_before = read_time(members["notBefore"], "/predicate/request/notBefore")
    expires_at = read_time(members["expiresAt"], "/predicate/request/expiresAt")
    if not issued_at <= not_before < expires_at:  # STM-08
        raise MalformedError(
            Reason.BAD_TIME,
            "A request is issued, then valid, then expires: in this order.",
            path="/predicate/request",
        )
    return (
        _read_uuid7(members["id"], "/predicate/request/id"),
        read_string(members["requestedBy"], "/predicate/request/requestedBy"),
        (issued_at, not_before, expires_at),
        read_decimal(members["maxUses"], "/predicate/request/maxUses", minimum=1, maximum=MAX_USES),  # STM-09
        audience,
    )


def _read_uuid7(value: Any, path: str) -> str:
    if isinstance(value, str) and _UUID7.fullmatch(value):
        return value
    read_ascii(value, path, max_length=36)
    raise MalformedError(Reason.BAD_VALUE, "A request ID is a lower-case UUIDv7 (RFC 9562).", path=path)


def _read_evidence(value: Any) -> tuple[EvidenceRef, ...]:
    at = "/predicate/evidence"
    references = []
    for i, item in enumerate(read_list(value, at, max_items=MAX_EVIDENCE)):
        members = read_object(item, f"{at}/{i}", _EVIDENCE)
        references.append(
            EvidenceRef(
                read_ascii(members["name"], f"{at}/{i}/name", max_length=80),
                read_ascii(members["mediaType"], f"{at}/{i}/mediaType", max_length=200),
                read_sha256(members["digest"], f"{at}/{i}/digest"),
            )
        )
    if len({reference.digest for reference in references}) != len(references):  # STM-12
        raise MalformedError(Reason.DUPLICATE_VALUE, "The same evidence is named twice.", path=at)
    return tuple(references)


def action_subject(action: Object) -> Object:
    """Returns the subject that stands for an action without artifacts (STM-10)."""
    return {"digest": {"sha256": sha256_hex(encode_canonical(action))}, "name": ACTION_SUBJECT_NAME}


def _check_action_subject(statement: IntentStatement, action: Object) -> None:
    named = [s for s in statement.subjects if s.name == ACTION_SUBJECT_NAME]
    if not named:
        return
    own = Subject(ACTION_SUBJECT_NAME, "", f"sha256:{sha256_hex(encode_canonical(action))}")
    if statement.subjects != (own,):  # STM-10
        raise MalformedError(
            Reason.SUBJECT_MISMATCH,
            "The subject `action` stands alone and is the digest of the action.",
            path="/subject",
        )


def check_action(statement: IntentStatement, definition: ActionDefinition) -> None:
    """Holds a statement against the definition of its action (ACT-02, ACT-03).

    Raises:
        MalformedError: ACTION_SCHEMA, SUBJECT_MISMATCH.
    """
    at = "/predicate/action"
    action = statement.value["predicate"]["action"]
    check_against_schema(action["parameters"], definition.parameters, f"{at}/parameters")
    check_against_schema(
        action["target"].get("annotations", {}), definition.annotations, f"{at}/target/annotations"
    )
    scheme, separator, rest = statement.target.partition("://")
    if not separator:
        scheme, separator, rest = statement.target.partition(":")
    # ACT-04: a target with a second spelling would match one rule and mean another's place.
    if scheme not in definition.target_schemes or not is_plain_place(rest):
        listed = ", ".join(definition.target_schemes)
        raise MalformedError(
            Reason.ACTION_SCHEMA, f"The target must be a URI of: {listed}.", path=f"{at}/target/uri"
        )
    if not statement.has_artifacts and not definition.allow_no_subject:  # ACT-05
        raise MalformedError(
            Reason.SUBJECT_MISMATCH, "This action needs the artifacts that it is about.", path="/subject"
        )
    if definition.subject_kind == "files" and statement.has_artifacts:
        _check_files(statement)


def _check_files(statement: IntentStatement) -> None:
    # ACT-03: names become paths in the gate's private folder.
    for i, subject in enumerate(statement.subjects):
        if not is_relative_path(subject.name) or not subject.digest.startswith("sha256:"):
            raise MalformedError(
                Reason.SUBJECT_MISMATCH,
                "An input file is a relative path with its SHA-256.",
                path=f"/subject/{i}",
            )
    directory = statement.parameters.get("workingDirectory", ".")
    if directory != ".":
        raise MalformedError(
            Reason.SUBJECT_MISMATCH,
            "A command with input files starts in the folder that holds them: workingDirectory is `.`.",
            path="/predicate/action/parameters/workingDirectory",
        )

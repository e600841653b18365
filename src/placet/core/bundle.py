"""The containers that travel: request, answer and intent bundle (spec/10-bundle.md).

All three are canonical JSON, so that each has one spelling and no byte of them is
unread.  The courier that carries them is not trusted: everything in them is either
signed, or compared with something signed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from placet.core.decode import Object, read_ascii, read_list, read_object, read_sha256, read_string
from placet.core.dsse import (
    MAX_PAYLOAD_BYTES,
    MAX_SIGNATURES,
    PAYLOAD_TYPE,
    Envelope,
    envelope_to_object,
    parse_envelope,
)
from placet.core.encoding import (
    Digest,
    b64decode_strict,
    b64encode,
    encode_canonical,
    parse_canonical_json,
    sha256_hex,
)
from placet.core.errors import MalformedError, Reason, VerificationError
from placet.core.evidence.facts import Evidence
from placet.core.trust import read_versions

REQUEST_MEDIA_TYPE = "application/vnd.placet.request.v1+json"
ANSWER_MEDIA_TYPE = "application/vnd.placet.answer.v1+json"
BUNDLE_MEDIA_TYPE = "application/vnd.placet.intent.v1+json"

_REQUEST = frozenset({"mediaType", "payload", "payloadType", "evidence"})
_ANSWER = frozenset({"mediaType", "envelope", "report"})
_NAMED = frozenset({"digest", "mediaType"})
_BUNDLE = frozenset({"mediaType", "envelope", "reports", "evidence", "trust", "log"})
_EVIDENCE = frozenset({"digest", "mediaType", "content"})
_TRUST = frozenset({"versions"})
_LOG = frozenset({"proofs"})
_LOG_PROOF = frozenset({"proof", "signature"})

# Provenance with its certificates and log proofs has some tens of KiB.
MAX_REQUEST_BYTES = 1024 * 1024
MAX_ANSWER_BYTES = 256 * 1024
MAX_BUNDLE_BYTES = 4 * 1024 * 1024
MAX_EVIDENCE_ITEMS = 32
MAX_NAMED_SIGNATURES = 128
# 63 hashes and as many cosignatures as a note may have.
MAX_LOG_PROOF = 16 * 1024


class IntentRequest(NamedTuple):
    """What a requester submits: the statement's bytes and its evidence."""

    payload: bytes
    evidence: tuple[Evidence, ...]

    @property
    def id(self) -> Digest:
        """SHA-256 of the payload: the request's name at the relay and everywhere."""
        return sha256_hex(self.payload)


class Answer(NamedTuple):
    """One person's decision: an envelope with one signature, and the terminal's report on it.

    `link` is the in-toto link that the same key signed with a second touch, None where no layout asks for it.
    """

    envelope: Envelope
    report: Envelope
    link: Envelope | None = None


class SignatureRef(NamedTuple):
    """A signature that was made after the approval, named by the digest of its own bundle."""

    digest: Digest
    media_type: str


class LogProof(NamedTuple):
    """The proof, as a C2SP tlog-proof, that the decision with this signature is in a log."""

    signature_digest: Digest
    proof: str


class IntentBundle(NamedTuple):
    """What a gate verifies.  `trust_versions` are those that the reports name, the newest of each role.

    `links` and `signatures` come along for other frameworks; nothing that decides here reads them.
    """

    envelope: Envelope
    reports: tuple[Envelope, ...]
    evidence: tuple[Evidence, ...]
    trust_versions: dict[str, int]
    links: tuple[Envelope, ...] = ()
    signatures: tuple[SignatureRef, ...] = ()
    log: tuple[LogProof, ...] = ()


def parse_request(data: bytes) -> IntentRequest:
    """Parses a request container (BND-01).

    Raises:
        MalformedError: wrong shape, size or spelling.
        VerificationError: EVIDENCE_MISMATCH where content does not have its digest.
    """
    top = _read_container(data, REQUEST_MEDIA_TYPE, MAX_REQUEST_BYTES, _REQUEST)
    if top["payloadType"] != PAYLOAD_TYPE:
        raise MalformedError(
            Reason.UNSUPPORTED_TYPE, "The payload type is not in-toto's.", path="/payloadType"
        )
    text = read_string(top["payload"], "/payload", max_length=2 * MAX_PAYLOAD_BYTES)
    return IntentRequest(b64decode_strict(text, "/payload"), _read_evidence(top["evidence"]))


def encode_request(request: IntentRequest) -> bytes:
    """Encodes a request container."""
    return encode_canonical(
        {
            "mediaType": REQUEST_MEDIA_TYPE,
            "payload": b64encode(request.payload),
            "payloadType": PAYLOAD_TYPE,
            "evidence": _evidence_to_objects(request.evidence),
        }
    )


def parse_answer(data: bytes) -> Answer:
    """Parses an answer container (BND-02).

    Raises:
        MalformedError: wrong shape, size or spelling, or not exactly one signature in each envelope.
    """
    top = _read_container(data, ANSWER_MEDIA_TYPE, MAX_ANSWER_BYTES, _ANSWER, optional=("link",))
    found = {
        name: parse_envelope(top[name], f"/{name}", max_signatures=1)
        for name in ("envelope", "report", "link")
        if name in top
    }
    answer = Answer(found["envelope"], found["report"], found.get("link"))
    for name, envelope in found.items():
        if len(envelope.signatures) != 1:
            raise MalformedError(Reason.BAD_VALUE, "An answer has exactly one signature.", path=f"/{name}")
    return answer


def encode_answer(answer: Answer) -> bytes:
    """Encodes an answer container."""
    value = {
        "mediaType": ANSWER_MEDIA_TYPE,
        "envelope": envelope_to_object(answer.envelope),
        "report": envelope_to_object(answer.report),
    }
    if answer.link is not None:
        value["link"] = envelope_to_object(answer.link)
    return encode_canonical(value)


def parse_bundle(data: bytes) -> IntentBundle:
    """Parses an intent bundle (BND-03 to BND-05).

    Raises:
        MalformedError: wrong shape, size or spelling.
        VerificationError: EVIDENCE_MISMATCH.
    """
    top = _read_container(
        data, BUNDLE_MEDIA_TYPE, MAX_BUNDLE_BYTES, _BUNDLE, optional=("links", "signatures")
    )
    # BND-08, INV-6: files of the trust root may ride along for audits; nothing that decides reads them.
    trust = read_object(top["trust"], "/trust", _TRUST, optional=("metadata", "targets"))
    return IntentBundle(
        envelope=parse_envelope(top["envelope"], "/envelope"),
        reports=_read_envelopes(top["reports"], "/reports"),
        evidence=_read_evidence(top["evidence"]),
        trust_versions=read_versions(trust["versions"], "/trust/versions"),
        links=_read_envelopes(top.get("links", []), "/links"),  # BND-09
        signatures=_read_signatures(top.get("signatures", [])),
        log=_read_log(top["log"]),
    )


def carries_evidence(bundle: bytes) -> bool:
    """Tells whether a bundle carries evidence, before it is parsed; whoever verifies none gains nothing."""
    # What rides along for audits comes after, and may have such a member, too.
    return not bundle.partition(b'"evidence":')[2].startswith(b"[]")


def encode_bundle(bundle: IntentBundle) -> bytes:
    """Encodes an intent bundle."""
    value: Object = {
        "mediaType": BUNDLE_MEDIA_TYPE,
        "envelope": envelope_to_object(bundle.envelope),
        "reports": [envelope_to_object(report) for report in bundle.reports],
        "evidence": _evidence_to_objects(bundle.evidence),
        "trust": {"versions": bundle.trust_versions},
        "log": {"proofs": [_proof_to_object(proof) for proof in bundle.log]} if bundle.log else None,
    }
    if bundle.links:
        value["links"] = [envelope_to_object(link) for link in bundle.links]
    if bundle.signatures:
        value["signatures"] = [
            {"digest": {"sha256": s.digest}, "mediaType": s.media_type} for s in bundle.signatures
        ]
    return encode_canonical(value)


def _read_container(
    data: bytes, media_type: str, max_bytes: int, names: frozenset[str], optional: tuple[str, ...] = ()
) -> Object:
    value = parse_canonical_json(data, max_bytes=max_bytes, what="container")
    # The type is asked first: a person who passes the wrong file should hear that, not a member's name.
    found = value.get("mediaType") if isinstance(value, dict) else None
    if found != media_type:
        raise MalformedError(
            Reason.UNSUPPORTED_TYPE,
            "This file is of another kind than the command needs.",
            path="/mediaType",
            expected=media_type,
            actual=found if isinstance(found, str) else None,
        )
    return read_object(value, "", names, optional)


def _read_envelopes(value: Any, path: str) -> tuple[Envelope, ...]:
    items = read_list(value, path, max_items=MAX_SIGNATURES)
    return tuple(parse_envelope(item, f"{path}/{i}", max_signatures=1) for i, item in enumerate(items))


def _read_signatures(value: Any) -> tuple[SignatureRef, ...]:
    refs = []
    for i, item in enumerate(read_list(value, "/signatures", max_items=MAX_NAMED_SIGNATURES)):
        members = read_object(item, f"/signatures/{i}", _NAMED)
        media_type = read_ascii(members["mediaType"], f"/signatures/{i}/mediaType", max_length=200)
        refs.append(SignatureRef(read_sha256(members["digest"], f"/signatures/{i}/digest"), media_type))
    return tuple(refs)


def _read_log(value: Any) -> tuple[LogProof, ...]:
    """Reads the proofs of the log (BND-05); what they prove is judged in `placet.core.tlog.decisions`."""
    if value is None:
        return ()
    items = read_list(
        read_object(value, "/log", _LOG)["proofs"], "/log/proofs", max_items=MAX_SIGNATURES, min_items=1
    )
    proofs = []
    for i, item in enumerate(items):
        at = f"/log/proofs/{i}"
        members = read_object(item, at, _LOG_PROOF)
        proof = read_string(members["proof"], f"{at}/proof", max_length=MAX_LOG_PROOF)
        proofs.append(LogProof(read_sha256(members["signature"], f"{at}/signature"), proof))
    if len({proof.signature_digest for proof in proofs}) != len(proofs):
        raise MalformedError(Reason.DUPLICATE_VALUE, "One signature is proven twice.", path="/log/proofs")
    return tuple(proofs)


def _proof_to_object(proof: LogProof) -> Object:
    return {"proof": proof.proof, "signature": {"sha256": proof.signature_digest}}


def _read_evidence(value: Any) -> tuple[Evidence, ...]:
    items = []
    for i, item in enumerate(read_list(value, "/evidence", max_items=MAX_EVIDENCE_ITEMS)):
        at = f"/evidence/{i}"
        members = read_object(item, at, _EVIDENCE)
        text = read_string(members["content"], f"{at}/content", max_length=2 * MAX_REQUEST_BYTES)
        evidence = Evidence(
            read_sha256(members["digest"], f"{at}/digest"),
            read_ascii(members["mediaType"], f"{at}/mediaType", max_length=200),
            b64decode_strict(text, f"{at}/content"),
        )
        if sha256_hex(evidence.content) != evidence.digest:  # BND-04
            raise VerificationError(
                Reason.EVIDENCE_MISMATCH, "The evidence does not have the digest that names it.", path=at
            )
        items.append(evidence)
    if len({evidence.digest for evidence in items}) != len(items):
        raise MalformedError(Reason.DUPLICATE_VALUE, "The same evidence is carried twice.", path="/evidence")
    return tuple(items)


def _evidence_to_objects(evidence: tuple[Evidence, ...]) -> list[Object]:
    return [
        {"digest": {"sha256": e.digest}, "mediaType": e.media_type, "content": b64encode(e.content)}
        for e in evidence
    ]

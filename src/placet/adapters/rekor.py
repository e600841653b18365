"""Rekor v2: logs a signature, and holds the answer against the log's key before anybody keeps it.

Which logs count is said by a Sigstore trusted root.  What Rekor answers is a ``TransparencyLogEntry``; it
counts where its leaf is byte for byte the one that this signature makes, where its proof leads to the
checkpoint's root hash, and where the log that the trusted root names signed that checkpoint.

Leaves out: whose key signed; that is said by the approval and the trust root (`placet verify`).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from placet.adapters.bounded_http import BoundedHttp, HttpError
from placet.adapters.log_calls import check_log_url
from placet.adapters.sigstore.lean_logs import ENTRY_V2, check_checkpoint
from placet.adapters.sigstore.lean_roots import MAX_ROOT_BYTES, LogKey, Period, read_log
from placet.adapters.sigstore.lean_shapes import just, raw, read, text
from placet.adapters.timestamp import StampedTime, TimestampAuthority, verify_timestamp
from placet.core.decode import Object, read_list
from placet.core.encoding import parse_json
from placet.core.errors import (
    IndeterminateError,
    MalformedError,
    PlacetError,
    PolicyError,
    Reason,
    VerificationError,
    visible,
)
from placet.core.tlog.merkle import hash_leaf, verify_inclusion
from placet.documents.rekor import (
    BUNDLE_MEDIA_TYPE,
    LoggableSignature,
    encode_leaf,
    encode_request,
    encode_sigstore_bundle,
)

# Rekor answers once a published checkpoint has the entry; logs publish one every few seconds.
REKOR_SECONDS = 60.0
MAX_SIGSTORE_BYTES = 256 * 1024
_MAX_REPLY = 128 * 1024
_MAX_LOGS = 64
_MAX_SHOWN = 300
_NOT_LOGGED = "Nothing was written. The entry may be in the log all the same; another try adds another one."


class RekorLog(NamedTuple):
    """A log of a trusted root."""

    base_url: str
    period: Period
    key: LogKey


class LoggedEntry(NamedTuple):
    """A verified entry, and where it stands; `entry` is the ``TransparencyLogEntry`` in one spelling."""

    log: RekorLog
    leaf_index: int
    tree_size: int
    entry: Object


def read_rekor_logs(trusted_root: bytes) -> Mapping[bytes, RekorLog]:
    """Returns the transparency logs of a Sigstore trusted root, by their IDs.

    A root that names nothing but logs is enough: certificates play no part here.

    Raises:
        MalformedError: it is no trusted root, or names no log that can be read.
    """
    top = parse_json(trusted_root, max_bytes=MAX_ROOT_BYTES, what="trusted root")
    items = top.get("tlogs", []) if isinstance(top, dict) else []
    logs = {}
    for item in read_list(items, "/tlogs", max_items=_MAX_LOGS):
        # One of another kind, such as a key that nothing here verifies with, proves nothing and hurts nobody.
        with contextlib.suppress(Exception):
            log_id, _, period, key = read_log(item)
            logs[log_id] = RekorLog(item["baseUrl"], period, key)
    if not logs:
        raise MalformedError(
            Reason.BAD_TRUST,
            "The trusted root names no transparency log that can be used here.",
            path="/tlogs",
            hint="Name the trusted_root.json of the Sigstore instance that the Rekor belongs to.",
        )
    return logs


def submit(
    signature: LoggableSignature,
    url: str,
    logs: Mapping[bytes, RekorLog],
    *,
    now: int,
    seconds: float = REKOR_SECONDS,
    ca_file: str | None = None,
) -> LoggedEntry:
    """Logs a signature, and verifies what Rekor says of it.

    Args:
        url: the Rekor's address, without ``/api``.
        logs: those that count.
        now: in Unix seconds; the log's key has to count now.

    Raises:
        MalformedError: BAD_VALUE where the address is none.
        PolicyError: LOG_REFUSED: Rekor does not take it; LOG_UNKNOWN: it is a log that does not count.
        VerificationError: LOG_PROOF_INVALID.
        IndeterminateError: LOG_UNAVAILABLE.
    """
    address = check_log_url(url)
    try:
        with BoundedHttp(seconds=seconds, ca_file=ca_file) as http:
            reply = http.send(
                "POST",
                f"{address}/api/v2/log/entries",
                max_bytes=_MAX_REPLY,
                headers={"Content-Type": "application/json", "Accept": "application/json"},
                content=encode_request(signature),
            )
    except HttpError as e:
        raise _unavailable(f"Rekor cannot be asked: {e}", e.hint) from e
    if reply.status not in (200, 201):
        raise _refusal(address, reply.status, reply.body)
    try:
        entry = _one_spelling(parse_json(reply.body, max_bytes=_MAX_REPLY, what="answer"))
    except Exception as e:  # whatever a server can send
        raise _unavailable(
            f"{address} answered with something that is no entry of Rekor v2.",
            "Check that the address is a Rekor v2's: version 1 has another interface.",
        ) from e
    found = verify_entry(entry, signature, logs)
    _check_period(found.log, now)
    return found


def verify_entry(entry: Object, signature: LoggableSignature, logs: Mapping[bytes, RekorLog]) -> LoggedEntry:
    """Verifies that a log contains a signature.

    Args:
        entry: a ``TransparencyLogEntry`` in the one spelling in which bundles of ours have it.

    Raises:
        MalformedError: BAD_VALUE.
        PolicyError: LOG_UNKNOWN.
        VerificationError: LOG_PROOF_INVALID.
    """
    try:
        members = read(entry, ENTRY_V2)
    except Exception as e:  # the shape is one, and it is not this one
        raise _malformed("The log entry is not one of Rekor v2 (hashedrekord 0.0.2).") from e
    log = logs.get(members["logId"]["keyId"])
    if log is None:
        raise PolicyError(
            Reason.LOG_UNKNOWN,
            "The entry is of a log that the trusted root does not name.",
            hint="Name the trusted_root.json of the Sigstore instance that the Rekor belongs to.",
        )
    proof = members["inclusionProof"]
    if members["canonicalizedBody"] != encode_leaf(signature) or members["logIndex"] != proof["logIndex"]:
        raise _false("The log entry is about another signature, key or content than this one.")
    verify_inclusion(
        hash_leaf(members["canonicalizedBody"]),
        proof["logIndex"],
        proof["treeSize"],
        proof["hashes"],
        proof["rootHash"],
    )
    try:
        check_checkpoint(proof, members["logId"]["keyId"], log.key)
    except Exception as e:  # another form, another tree, or another key
        raise _false("The log that the trusted root names did not sign this checkpoint of the tree.") from e
    return LoggedEntry(log, proof["logIndex"], proof["treeSize"], entry)


_BUNDLE = {
    "mediaType": just(BUNDLE_MEDIA_TYPE),
    "verificationMaterial": {
        "publicKey": {"hint": text},
        "tlogEntries": [lambda entry: entry],
        "timestampVerificationData?": {"rfc3161Timestamps": [{"signedTimestamp": raw}]},
    },
    "messageSignature": {"messageDigest": {"algorithm": text, "digest": raw}, "signature": raw},
}


class VerifiedExport(NamedTuple):
    """One of an approval's signatures, where a log has it, and by when it existed where that is stamped."""

    signature: LoggableSignature
    logged: LoggedEntry
    stamped: StampedTime | None


def verify_export(
    content: bytes,
    signatures: tuple[LoggableSignature, ...],
    logs: Mapping[bytes, RekorLog],
    authorities: tuple[TimestampAuthority, ...] = (),
) -> VerifiedExport:
    """Verifies a Sigstore bundle that `submit` led to, for one of an approval's signatures.

    Args:
        authorities: the timestamp authorities that count.

    Raises:
        MalformedError: it is no such bundle.
        PolicyError: LOG_UNKNOWN.
        VerificationError: LOG_PROOF_INVALID, also where it is about none of these signatures.
    """
    value = parse_json(content, max_bytes=MAX_SIGSTORE_BYTES, what="Sigstore bundle")
    try:
        bundle = read(value, _BUNDLE)
        material = bundle["verificationMaterial"]
        (entry,) = material["tlogEntries"]
        stamps = material.get("timestampVerificationData", {"rfc3161Timestamps": ()})["rfc3161Timestamps"]
        (stamp,) = [item["signedTimestamp"] for item in stamps] or [None]
    except Exception as e:  # as above
        raise _malformed(
            "This is no Sigstore bundle with a signature by a plain key and one log entry."
        ) from e
    for signature in signatures:
        if bundle["messageSignature"]["signature"] == signature.signature:
            if value != json.loads(encode_sigstore_bundle(signature, entry, stamp)):
                raise _false("The bundle says something else of the signature than the approval.")
            logged, stamped = verify_entry(entry, signature, logs), None
            if stamp is not None:
                stamped = verify_timestamp(stamp, signature.signature, authorities)
                _check_period(logged.log, stamped.time)
            return VerifiedExport(signature, logged, stamped)
    raise _false("The bundle is about none of the approval's signatures.")


def _check_period(log: RekorLog, time: int) -> None:
    if datetime.fromtimestamp(time, tz=UTC) not in log.period:
        raise PolicyError(
            Reason.LOG_UNKNOWN,
            f"The trusted root does not count the log of {log.base_url} at that time.",
            hint="Take the newest trusted root of the Sigstore instance.",
        )


def _one_spelling(answer: Any) -> Object:
    """Returns Rekor's answer with what protobuf's JSON leaves out: what is zero or empty."""
    proof = answer["inclusionProof"]
    if answer.get("inclusionPromise") or answer.get("integratedTime") not in (None, "0", 0):
        raise ValueError("Rekor v2 makes no promises and names no time")
    kept = {name: answer[name] for name in ("logId", "kindVersion", "canonicalizedBody")}
    return {
        **kept,
        "logIndex": str(answer.get("logIndex", "0")),
        "inclusionProof": {
            "logIndex": str(proof.get("logIndex", "0")),
            "rootHash": proof["rootHash"],
            "treeSize": str(proof["treeSize"]),
            "hashes": proof.get("hashes") or [],
            "checkpoint": {"envelope": proof["checkpoint"]["envelope"]},
        },
    }


def _refusal(address: str, status: int, body: bytes) -> PlacetError:
    try:
        words = json.loads(body)["message"]
    except (KeyError, TypeError, ValueError, RecursionError):
        words = ""
    # A quotation mark would end the quotation, and what follows would read as ours.
    said = f': "{visible(words)[:_MAX_SHOWN]}"'.replace('"', "'") if words and isinstance(words, str) else ""
    message = f"{address} answered with status {status}{said}."
    if status < 400:
        return _unavailable(f"{message} Redirects are not followed.", "Name the address that it leads to.")
    if status >= 500 or status in (408, 425, 429):
        return _unavailable(message, f"Try again later. {_NOT_LOGGED}")
    return PolicyError(
        Reason.LOG_REFUSED,
        message,
        hint="Check that the address is a Rekor v2's. What stands in quotes is its word, not ours.",
    )


def _unavailable(message: str, hint: str) -> IndeterminateError:
    return IndeterminateError(Reason.LOG_UNAVAILABLE, message, hint=hint or _NOT_LOGGED)


def _malformed(message: str) -> MalformedError:
    return MalformedError(
        Reason.BAD_VALUE, message, hint="`placet log export rekor` writes what is read here."
    )


def _false(message: str) -> VerificationError:
    return VerificationError(
        Reason.LOG_PROOF_INVALID,
        message,
        hint="Do not rely on it. If Rekor itself answered so, keep the answer and tell its operator.",
    )

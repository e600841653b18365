"""What schemathesis needs to know beyond the document: statements, and digests that belong to contents.

Loaded by schemathesis itself (SCHEMATHESIS_HOOKS); no JSON Schema can say either of these.
"""

from __future__ import annotations

import hashlib
import json
import os
from base64 import b64decode
from typing import Any

import schemathesis
from hypothesis import strategies as st

from placet.core.encoding import b64encode, encode_canonical, is_hex, sha256_hex

# A request that the relay has: answers are about it, and ids are its own now and then.
KNOWN = b64decode(os.environ["PLACET_TEST_PAYLOAD"])


def _denial(payload: bytes) -> bytes:
    statement = json.loads(payload)
    statement["predicate"]["decision"] = "deny"
    return encode_canonical(statement)


def _statement(number: int) -> str:
    statement = json.loads(KNOWN)
    nonce = hashlib.sha256(number.to_bytes(8, "big")).digest()[:16]
    statement["predicate"]["request"]["nonce"] = b64encode(nonce)
    return b64encode(encode_canonical(statement))


schemathesis.openapi.format("placet-intent-statement", st.integers(0, 2**40).map(_statement))
schemathesis.openapi.format(
    "placet-intent-decision", st.sampled_from([b64encode(KNOWN), b64encode(_denial(KNOWN))])
)


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Puts together what belongs together; what is wrong elsewhere stays wrong."""
    body = case.body
    if not isinstance(body, dict):
        return
    if isinstance(body.get("request"), dict) and isinstance(body["request"].get("evidence"), list):
        body["request"]["evidence"] = _with_own_digests(body["request"]["evidence"])
    if is_hex(str(case.path_parameters.get("id", "")), 64):
        case.path_parameters["id"] = _about(body) or case.path_parameters["id"]


def _with_own_digests(evidence: list[Any]) -> list[Any]:
    """Lets evidence have its own digest, each once."""
    kept: dict[str, Any] = {}
    for i, item in enumerate(evidence):
        try:
            content, digest = b64decode(item["content"], validate=True), dict(item["digest"])
        except (KeyError, TypeError, ValueError):
            kept[f"malformed {i}"] = item
            continue
        if "sha256" in digest:
            digest["sha256"] = sha256_hex(content)
        kept.setdefault(sha256_hex(content), {**item, "digest": digest})
    return list(kept.values())


def _about(body: dict[str, Any]) -> str | None:
    """Returns the id of the request that an answer is about, where it is one."""
    try:
        payload = b64decode(body["answer"]["envelope"]["payload"], validate=True)
        return sha256_hex(KNOWN if json.loads(payload)["predicate"]["decision"] == "deny" else payload)
    except (KeyError, TypeError, ValueError):
        return None

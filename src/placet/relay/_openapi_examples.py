"""Examples for the API's document: a whole request, an answer to it, and what the relay says of them."""

from __future__ import annotations

from typing import Any

from placet.core.bundle import ANSWER_MEDIA_TYPE, REQUEST_MEDIA_TYPE
from placet.core.dsse import PAYLOAD_TYPE
from placet.core.encoding import b64encode, encode_canonical, sha256_hex
from placet.core.statement import PREDICATE_TYPE, STATEMENT_TYPE, action_subject

Json = dict[str, Any]

_DIGEST = sha256_hex(b"an example")
_ACTION: Json = {
    "type": "https://placet.dev/actions/run/v1",
    "target": {"uri": "host:web-1"},
    "parameters": {"command": "true"},
}
_STATEMENT: Json = {
    "_type": STATEMENT_TYPE,
    "subject": [action_subject(_ACTION)],
    "predicateType": PREDICATE_TYPE,
    "predicate": {
        "decision": "approve",
        "action": _ACTION,
        "display": {
            "template": {"uri": "actions/run/v1.json", "digest": {"sha256": _DIGEST}},
            "lang": "en",
            "text": "Run true on web-1",
        },
        "request": {
            "id": "019aae5a-7e00-7000-8000-000000000001",
            "nonce": "AAAAAAAAAAAAAAAAAAAAAA==",
            "requestedBy": "an example",
            "issuedAt": "2026-11-23T06:00:00Z",
            "notBefore": "2026-11-23T06:00:00Z",
            "expiresAt": "2026-11-23T07:00:00Z",
            "maxUses": "1",
            "audience": "gate:prod-eu",
        },
        "policy": {"uri": "policy/hosts.toml", "digest": {"sha256": _DIGEST}},
        "evidence": [],
    },
}
_PAYLOAD = encode_canonical(_STATEMENT)
_KEY_ID = sha256_hex(b"the key of an example")
_SIGNATURE = {"keyid": _KEY_ID, "sig": b64encode(b"a binary SSHSIG")}

REQUEST_ID = sha256_hex(_PAYLOAD)
REQUEST: Json = {
    "mediaType": REQUEST_MEDIA_TYPE,
    "payload": b64encode(_PAYLOAD),
    "payloadType": PAYLOAD_TYPE,
    "evidence": [],
}
ANSWER: Json = {
    "mediaType": ANSWER_MEDIA_TYPE,
    "envelope": {"payload": b64encode(_PAYLOAD), "payloadType": PAYLOAD_TYPE, "signatures": [_SIGNATURE]},
    "report": {"payload": b64encode(b"{}"), "payloadType": PAYLOAD_TYPE, "signatures": [_SIGNATURE]},
}
_HASH = b64encode(bytes.fromhex(_DIGEST))
PROOF = (
    f"c2sp.org/tlog-proof@v1\nindex 0\n{_HASH}\n\n"
    f"log.example/placet\n2\n{_HASH}\n\n\u2014 log.example/placet {_HASH}\n"
)
WITHDRAW_TOKEN = "correct horse battery staple"  # noqa: S105 (an example)
SUBMISSION = {"request": REQUEST, "withdrawToken": {"sha256": sha256_hex(WITHDRAW_TOKEN.encode())}}
SUBMITTED = {"id": REQUEST_ID, "state": "open"}
ANSWERED = {"id": REQUEST_ID, "answer": {"sha256": sha256_hex(encode_canonical(ANSWER))}}
WITHDRAWN = {"id": REQUEST_ID, "state": "withdrawn"}
FOUND = {
    "id": REQUEST_ID,
    "state": "open",
    "submittedAt": "2026-11-23T06:00:02Z",
    "request": REQUEST,
    "answers": [ANSWER],
    "proofs": {sha256_hex(encode_canonical(ANSWER)): PROOF},
}
SUMMARY = {
    "id": REQUEST_ID,
    "state": "open",
    "submittedAt": "2026-11-23T06:00:02Z",
    "expiresAt": "2026-11-23T07:00:00Z",
    "answers": 1,
}
CURSOR = "9f86d081884c7d65-42"

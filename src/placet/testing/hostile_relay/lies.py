"""What a relay can say that is not so.  Each function returns a lie for `HostileRelay`."""

from __future__ import annotations

import itertools
import json
import secrets
from collections.abc import Callable, Iterable
from typing import Any

from placet.core.bundle import Answer, IntentRequest, encode_answer, encode_request
from placet.core.encoding import Digest, encode_canonical, format_time, sha256_hex
from placet.testing.hostile_relay.server import Forward, Lie, Reply, Seen

_SUCCESSES = (200, 201)


def only_for(who: str, lie: Lie) -> Lie:
    """Tells a lie to one caller, and the truth to the others."""
    return lambda seen, forward: lie(seen, forward) if seen.who == who else None


def only_about(kind: str, lie: Lie) -> Lie:
    """Tells a lie about calls of one kind."""
    return lambda seen, forward: lie(seen, forward) if seen.kind == kind else None


def changed(kind: str, change: Callable[[Any], Any]) -> Lie:
    """Changes what the real relay says in successful answers to calls of one kind."""

    def tell(seen: Seen, forward: Forward) -> Reply | None:
        if seen.kind != kind:
            return None
        reply = forward()
        if reply.status not in _SUCCESSES:
            return reply
        return reply._replace(body=json.dumps(change(json.loads(reply.body))).encode())

    return tell


def said(status: int, value: object) -> Reply:
    """Returns an answer that nobody was asked about."""
    return Reply(status, json.dumps(value).encode())


# Requests


def swapped(other: IntentRequest) -> Lie:
    """Shows another request under the name of the one that was asked for."""
    container = json.loads(encode_request(other))
    return changed("request", lambda value: {**value, "request": container})


def altered(old: bytes, new: bytes) -> Lie:
    """Changes a request's text wherever it stands in the payload."""

    def change(value: Any) -> Any:
        import base64

        payload = base64.b64decode(value["request"]["payload"]).replace(old, new)
        return {**value, "request": {**value["request"], "payload": base64.b64encode(payload).decode()}}

    return changed("request", change)


def without_evidence() -> Lie:
    """Withholds what a request carries, such as the proof of who asks."""
    return changed("request", lambda value: {**value, "request": {**value["request"], "evidence": []}})


def member(kind: str, name: str, new: object) -> Lie:
    """Lies about one member: a state, a time, a cursor."""
    return changed(kind, lambda value: {**value, name: new})


# Answers


def answers(change: Callable[[list[Any]], list[Any]]) -> Lie:
    """Changes the answers of every request."""
    return changed("request", lambda value: {**value, "answers": change(value["answers"])})


def with_answers(*given: Answer) -> Lie:
    """Puts answers of another request, or of yesterday, or of its own making to every request."""
    more = [json.loads(encode_answer(answer)) for answer in given]
    return answers(lambda real: [*more, *real])


def proofs(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Lie:
    """Changes the log's proofs beside a request's answers, which stand by the answer's digest."""
    return changed("request", lambda value: {**value, "proofs": change(value.get("proofs", {}))})


def withheld() -> Lie:
    """Hands out no answer."""
    return answers(lambda real: [])


def one_at_a_time() -> Lie:
    """Hands out one answer per look, and never two together."""
    turns = itertools.count()
    return answers(lambda real: [real[next(turns) % len(real)]] if real else [])


def denials_as_approvals(request: IntentRequest) -> Lie:
    """Puts the request's own bytes under signatures that deny it."""

    def turn(answer: Any) -> Any:
        envelope = {**answer["envelope"], "payload": json.loads(encode_request(request))["payload"]}
        return {**answer, "envelope": envelope}

    return answers(lambda real: [turn(answer) for answer in real])


# Listings


def listed(change: Callable[[list[Any]], list[Any]]) -> Lie:
    """Changes what is listed."""
    return changed("listing", lambda value: {**value, "requests": change(value["requests"])})


def hidden(*ids: Digest) -> Lie:
    """Lists other requests only."""
    return listed(lambda real: [item for item in real if item["id"] not in ids])


def doubled() -> Lie:
    """Lists everything twice."""
    return listed(lambda real: real * 2)


def reversed_order() -> Lie:
    """Lists the newest first, and the last answer first."""
    return listed(lambda real: list(reversed(real)))


def item(name: str, new: object) -> Lie:
    """Lies about one member of everything that is listed."""
    return listed(lambda real: [{**entry, name: new} for entry in real])


def circle() -> Lie:
    """Says after each page that there is another, and gives the same one again."""
    return changed("listing", lambda value: {**value, "next": "again"})


def endless(page: int = 100) -> Lie:
    """Invents pages of new requests for ever."""

    def tell(seen: Seen, forward: Forward) -> Reply | None:
        if seen.kind != "listing":
            return None
        return said(200, {"requests": list(invented(page)), "next": secrets.token_hex(8)})

    return tell


def invented(count: int) -> Iterable[dict[str, Any]]:
    """Lists requests that do not exist."""
    for _ in range(count):
        yield {
            "id": sha256_hex(secrets.token_bytes(8)),
            "state": "open",
            "submittedAt": format_time(0),
            "expiresAt": format_time(4_000_000_000),
            "answers": 0,
        }


def flooded(*requests: IntentRequest) -> Lie:
    """Lists and hands out requests of its own, before the real ones."""
    own = {request.id: request for request in requests}
    times = {"submittedAt": format_time(0), "expiresAt": format_time(4_000_000_000)}

    def tell(seen: Seen, forward: Forward) -> Reply | None:
        if seen.kind == "request" and seen.request_id in own:
            container = json.loads(encode_request(own[Digest(seen.request_id)]))
            found = {"id": seen.request_id, "state": "open", "request": container, "answers": []}
            return said(200, found | times)
        if seen.kind != "listing":
            return None
        entries = [{"id": name, "state": "open", "answers": 0} | times for name in own]
        value = json.loads(forward().body)
        return said(200, {**value, "requests": [*entries, *value["requests"]][:100]})

    return tell


# Acknowledgements


def dropped(kind: str) -> Lie:
    """Acknowledges submissions, answers or withdrawals, and throws them away."""

    def tell(seen: Seen, forward: Forward) -> Reply | None:
        if seen.kind != kind:
            return None
        body = json.loads(seen.body)
        if kind == "submit":
            import base64

            payload = base64.b64decode(body["request"]["payload"])
            return said(201, {"id": sha256_hex(payload), "state": "open"})
        if kind == "withdraw":
            return said(200, {"id": seen.request_id, "state": "withdrawn"})
        digest = sha256_hex(encode_canonical(body["answer"]))
        return said(201, {"id": seen.request_id, "answer": {"sha256": digest}})

    return tell


def acknowledged_as(kind: str, new: object) -> Lie:
    """Keeps what it was sent, and acknowledges something else."""
    return changed(kind, lambda value: {**value, **(new if isinstance(new, dict) else {"id": new})})


def refused(kind: str, status: int, reason: str, message: str = "No.", hint: str = "") -> Lie:
    """Refuses one kind of call, in words of its choice."""
    error = {"error": {"reason": reason, "message": message, "hint": hint}}
    return lambda seen, forward: said(status, error) if seen.kind == kind else None

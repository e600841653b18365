"""The first and last value that is accepted: times, sizes, counts."""

from __future__ import annotations

from typing import Any

import pytest

from placet.ceremony.publish import add_answer, empty_bundle
from placet.ceremony.request import attach_proof, requester_message
from placet.core.bundle import (
    MAX_ANSWER_BYTES,
    MAX_BUNDLE_BYTES,
    MAX_REQUEST_BYTES,
    IntentRequest,
    encode_bundle,
    parse_answer,
    parse_bundle,
    parse_request,
)
from placet.core.encoding import encode_canonical, format_time, parse_json
from placet.core.errors import PlacetError, Reason
from placet.core.evidence.requester import verify_requester
from placet.core.sshsig import NAMESPACE_REQUEST
from placet.core.statement import parse_statement
from placet.core.verify import verify_for_use
from placet.testing.world import ALICE, BOB, CAROL, GATE, NOW, World, expected_of

END = NOW + 3600


def judge(world: World, bundle: bytes, now: int) -> str:
    """Returns "" for an approval, or the reason of the refusal, with its causes."""
    expected = expected_of(IntentRequest(parse_bundle(bundle).envelope.payload, ()))
    try:
        verify_for_use(bundle, trust=world.trust(), gate=GATE, expected=expected, now=now)
    except PlacetError as e:
        return "+".join([e.reason, *(cause.reason for cause in e.causes)])
    return ""


def approved(world: World, at: int) -> bytes:
    request = world.request_run(argv=["/usr/bin/true"], executable=b"x")

    bundle = empty_bundle(request)
    for person in (ALICE, BOB):
        bundle = add_answer(bundle, world.approve(request, person, decided_at=at))
    return encode_bundle(bundle)


@pytest.mark.parametrize(
    ("decided_at", "now", "expected"),
    [
        (NOW, NOW, ""),
        (NOW + 60, NOW + 60, ""),
        (END - 1, END - 1, ""),
        (NOW + 61, NOW + 60, "decided-outside-window"),
    ],
)
def test_a_decision_counts_from_the_first_to_the_last_second(
    decided_at: int, now: int, expected: str
) -> None:
    world = World()
    assert judge(world, approved(world, decided_at), now) == expected


@pytest.mark.parametrize(
    ("not_before", "not_after", "expected"),
    [
        (NOW + 60, NOW + 61, ""),
        (NOW + 61, END, "quorum-not-met+credential-not-valid"),
        (NOW, NOW + 60, "quorum-not-met+credential-not-valid"),
    ],
)
def test_a_credential_counts_from_its_first_to_its_last_second(
    not_before: int, not_after: int, expected: str
) -> None:
    world = World()
    bundle = approved(world, NOW + 60)
    world.credential_members[BOB] = {"notBefore": format_time(not_before), "notAfter": format_time(not_after)}
    assert judge(world, bundle, NOW + 60) == expected


@pytest.mark.parametrize(("now", "expected"), [(NOW + 99, ""), (NOW + 100, "trust-expired")])
def test_trust_counts_up_to_its_last_second(now: int, expected: str) -> None:
    world = World()
    bundle = approved(world, NOW + 60)
    world.expires_at = NOW + 100
    assert judge(world, bundle, now) == expected


def test_the_newest_version_that_reports_name_is_the_bundles() -> None:

    world = World()
    request = world.request_run(argv=["/usr/bin/true"], executable=b"x")
    bundle = empty_bundle(request)
    for person, version in ((ALICE, 3), (BOB, 2)):
        world.versions = world.versions | {"targets": version}
        bundle = add_answer(bundle, world.approve(request, person))
    world.versions = world.versions | {"targets": 3}
    assert bundle.trust_versions["targets"] == 3
    assert judge(world, encode_bundle(bundle), NOW + 120) == ""
    for lie in (2, 4):
        wrong = bundle._replace(trust_versions=bundle.trust_versions | {"targets": lie})
        assert judge(world, encode_bundle(wrong), NOW + 120) in ("report-invalid", "trust-newer")


@pytest.mark.parametrize(
    ("parse", "size"),
    [(parse_request, MAX_REQUEST_BYTES), (parse_answer, MAX_ANSWER_BYTES), (parse_bundle, MAX_BUNDLE_BYTES)],
)
def test_the_size_of_a_container(parse: Any, size: int) -> None:
    for length, reason in ((size, Reason.UNSUPPORTED_TYPE), (size + 1, Reason.TOO_LARGE)):
        with pytest.raises(PlacetError) as caught:
            parse(b'["' + b"x" * (length - 4) + b'"]')
        assert caught.value.reason is reason
    assert size in (1 << 20, 1 << 18, 1 << 22)


def statement_with(pointer: str, value: Any) -> bytes:
    document = parse_json(World().request_deploy().payload, max_bytes=1 << 20, what="x")
    *way, last = pointer.split("/")[1:]
    parent = document
    for step in way:
        parent = parent[step]
    parent[last] = value
    return encode_canonical(document)


@pytest.mark.parametrize(
    ("pointer", "good", "bad"),
    [
        ("/predicate/request/maxUses", "1000", "1001"),
        ("/predicate/request/reason", "x" * 1024, "x" * 1025),
        ("/predicate/request/requestedBy", "x" * 1024, "x" * 1025),
        ("/predicate/request/audience", "gate:" + "x" * 195, "gate:" + "x" * 196),
        ("/predicate/display/text", "x" * 512, "x" * 513),
        ("/predicate/request/nonce", "A" * 22 + "==", "A" * 20),
        ("/predicate/request/nonce", "A" * 86 + "==", "A" * 88),
        (
            "/subject",
            [{"name": str(i), "digest": {"sha256": f"{i:064x}"}} for i in range(64)],
            [{"name": str(i), "digest": {"sha256": f"{i:064x}"}} for i in range(65)],
        ),
        (
            "/predicate/evidence",
            [{"name": "x", "mediaType": "x/x", "digest": {"sha256": f"{i:064x}"}} for i in range(32)],
            [{"name": "x", "mediaType": "x/x", "digest": {"sha256": f"{i:064x}"}} for i in range(33)],
        ),
    ],
)
def test_the_limits_of_a_statement(pointer: str, good: Any, bad: Any) -> None:
    parse_statement(statement_with(pointer, good))
    with pytest.raises(PlacetError) as caught:
        parse_statement(statement_with(pointer, bad))
    assert caught.value.path.startswith(pointer)


@pytest.mark.parametrize(
    ("issued", "valid", "expires", "ok"),
    [
        ("10", "10", "11", True),
        ("10", "11", "12", True),
        ("10", "10", "10", False),
        ("11", "10", "12", False),
    ],
)
def test_the_order_of_a_statements_times(issued: str, valid: str, expires: str, ok: bool) -> None:
    document = parse_json(World().request_deploy().payload, max_bytes=1 << 20, what="x")
    times = {"issuedAt": issued, "notBefore": valid, "expiresAt": expires}
    document["predicate"]["request"] |= {name: f"2026-11-23T{hour}:00:00Z" for name, hour in times.items()}
    data = encode_canonical(document)
    if ok:
        assert parse_statement(data).expires_at
    else:
        with pytest.raises(PlacetError) as caught:
            parse_statement(data)
        assert caught.value.reason is Reason.BAD_TIME


@pytest.mark.parametrize(
    ("not_before", "not_after", "proven"),
    [(NOW + 60, NOW + 61, True), (NOW + 61, END, False), (NOW, NOW + 60, False)],
)
def test_a_requesters_key_counts_in_its_whole_time(not_before: int, not_after: int, proven: bool) -> None:
    world = World()
    bare = world.request_deploy()
    key = world.keys[CAROL]
    signature = key.sign(NAMESPACE_REQUEST, requester_message(bare))
    request = attach_proof(bare, keyid=key.keyid, sshsig=signature)
    world.credential_members[CAROL] = {
        "notBefore": format_time(not_before),
        "notAfter": format_time(not_after),
    }
    statement, trust = parse_statement(request.payload), world.trust()
    if proven:
        assert verify_requester(statement, request.evidence, trust=trust, at=NOW + 60) == CAROL
    else:
        with pytest.raises(PlacetError) as caught:
            verify_requester(statement, request.evidence, trust=trust, at=NOW + 60)
        assert caught.value.reason is Reason.REQUEST_PROOF_INVALID

"""Hostile evidence: whatever it is, a named refusal comes of it, and no library's own error."""

from __future__ import annotations

import base64
import functools
import json
import os
from pathlib import Path
from typing import Any

import pytest
from evidence_world import (
    ARTIFACT,
    JOB,
    ROOT,
    STATEMENT,
    Case,
    github_attestations,
    go_provenance,
    npm_attestations,
    private_root,
    pypi_attestations,
    verify,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from placet.core.errors import PlacetError
from placet.core.evidence.facts import DSSE_MEDIA_TYPE, PYPI_MEDIA_TYPE, SIGSTORE_MEDIA_TYPE
from placet.testing.private_sigstore import PrivateSigstore, Shape

MEDIA_TYPES = [SIGSTORE_MEDIA_TYPE, DSSE_MEDIA_TYPE, PYPI_MEDIA_TYPE]
WORDS = st.sampled_from(
    [
        "",
        "0",
        "-1",
        "9" * 30,
        "AA==",
        "A",
        "\u2014 a AAAAAAAA\n",
        "a\n1\nAA==\n\n\u2014 a b\n",
        "0.0.2",
        "intoto",
    ]
)
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), WORDS, st.just([]), st.just({}), st.lists(WORDS, max_size=3)
)
_SLOW = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@functools.cache
def _seeds() -> tuple[Case, ...]:
    sigstore = PrivateSigstore(b"fuzz")
    files = {ROOT: private_root(sigstore)}
    contents = [sigstore.sign_statement(JOB, STATEMENT, Shape(rekor=r)) for r in ("v1", "v2", "intoto")]
    contents.append(sigstore.sign_artifact(JOB, ARTIFACT))
    contents.append(sigstore.sign_statement(JOB, STATEMENT, Shape("v1", timestamp=False, version="0.1")))
    seeds = [Case("private", content, files=files) for content in contents]
    data = os.environ.get("PLACET_TEST_DATA")
    if data:
        real = (go_provenance, npm_attestations, github_attestations, pypi_attestations)
        seeds += [case for cases in real for case in list(cases(Path(data)))[-4:]]
    return tuple(seeds)


def _is_refused_by_name_or_verified(case: Case) -> bool:
    """Tells whether it was verified; every error but ours fails the test."""
    try:
        verify(case)
    except PlacetError as e:
        assert "Traceback" not in e.message
        assert e.message.isprintable()
        assert len(e.message) < 1000
        return False
    return True


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    return [path] * bool(path) + [p for name, child in children for p in _places(child, (*path, name))]


@_SLOW
@given(st.data())
def test_a_member_of_another_value(data: st.DataObject) -> None:
    case = data.draw(st.sampled_from(_seeds()))
    top = json.loads(case.content)
    place = data.draw(st.sampled_from(_places(top)))
    holder = functools.reduce(lambda at, step: at[step], place[:-1], top)
    holder[place[-1]] = data.draw(VALUES)
    _is_refused_by_name_or_verified(case._replace(content=json.dumps(top).encode()))


@_SLOW
@given(st.data())
def test_bytes_changed_inside_of_a_certificate_a_proof_or_a_timestamp(data: st.DataObject) -> None:
    case = data.draw(st.sampled_from(_seeds()))
    top = json.loads(case.content)
    places = [p for p in _places(top) if _long_base64(functools.reduce(lambda at, s: at[s], p, top))]
    place = data.draw(st.sampled_from(places))
    holder = functools.reduce(lambda at, step: at[step], place[:-1], top)
    raw = bytearray(base64.b64decode(holder[place[-1]]))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    del raw[data.draw(st.sampled_from([len(raw), len(raw) // 2, len(raw) - 1])) :]
    holder[place[-1]] = base64.b64encode(raw).decode()
    _is_refused_by_name_or_verified(case._replace(content=json.dumps(top).encode()))


@_SLOW
@given(st.sampled_from(MEDIA_TYPES), st.binary(max_size=64) | st.text(max_size=64).map(str.encode))
def test_bytes_of_any_kind(media_type: str, content: bytes) -> None:
    assert not _is_refused_by_name_or_verified(Case("noise", content, media_type))


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b'{"mediaType":[]}', b"[]", b"null", b"[" * 100_000, b'{"a":' * 5000, b"1" * 10_000],
)
def test_json_of_any_kind(media_type: str, content: bytes) -> None:
    assert not _is_refused_by_name_or_verified(Case("JSON", content, media_type))


@_SLOW
@given(st.data())
def test_one_bit_changed_in_the_signature_or_the_payload_is_always_refused(data: st.DataObject) -> None:
    case = data.draw(
        st.sampled_from([c for c in _seeds() if c.name == "private" and b"dsseEnvelope" in c.content])
    )
    top = json.loads(case.content)
    place = data.draw(st.sampled_from([("payload",), ("signatures", 0, "sig")]))
    holder = functools.reduce(lambda at, step: at[step], place[:-1], top["dsseEnvelope"])
    raw = bytearray(base64.b64decode(holder[place[-1]]))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    holder[place[-1]] = base64.b64encode(raw).decode()
    assert not _is_refused_by_name_or_verified(case._replace(content=json.dumps(top).encode()))


def _long_base64(value: object) -> bool:
    if not isinstance(value, str) or len(value) < 40:
        return False
    try:
        return len(base64.b64decode(value, validate=True)) > 8
    except ValueError:
        return False

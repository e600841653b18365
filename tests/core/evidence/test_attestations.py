"""Statements that others made: any spelling is read, nothing ambiguous is."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from placet.core.errors import MalformedError, PlacetError, Reason
from placet.core.evidence.attestations import (
    MAX_ATTESTATION_BYTES,
    STATEMENT_V01,
    STATEMENT_V1,
    parse_attestation,
    parse_foreign_json,
)
from placet.core.evidence.facts import PROVENANCE, kind_of
from placet.core.evidence.provenance import parse_provenance

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def statement(**changes: Any) -> bytes:
    subject = [{"name": "app", "digest": {"sha256": "0" * 64}}]
    value = {
        "_type": STATEMENT_V1,
        "subject": subject,
        "predicateType": "https://x.example/v1",
        "predicate": {},
    }
    return json.dumps(value | changes).encode()


@given(st.dictionaries(st.text(), JSON, max_size=5), st.sampled_from([STATEMENT_V1, STATEMENT_V01]))
def test_any_predicate_comes_out_as_it_went_in(predicate: dict[str, Any], version: str) -> None:
    found = parse_attestation(statement(predicate=predicate, _type=version))
    assert found.predicate == predicate
    assert found.subjects == {f"sha256:{'0' * 64}"}


@given(st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode()))
def test_only_named_refusals_escape_from_any_bytes(payload: bytes) -> None:
    with contextlib.suppress(PlacetError):
        parse_attestation(payload)


@given(JSON, st.sampled_from(["subject", "predicateType", "predicate", "_type"]))
def test_only_named_refusals_escape_from_any_member(value: Any, name: str) -> None:
    with contextlib.suppress(PlacetError):
        parse_attestation(statement(**{name: value}))


@pytest.mark.parametrize("at", range(64))
def test_a_digest_has_one_spelling(at: int) -> None:
    digest = "a" * at + "A" + "a" * (63 - at)
    with pytest.raises(MalformedError) as caught:
        parse_attestation(statement(subject=[{"digest": {"sha256": digest}}]))
    assert caught.value.reason is Reason.BAD_DIGEST


def test_a15_bombs_are_refused_by_name() -> None:
    bombs = {
        Reason.TOO_LARGE: b" " * (MAX_ATTESTATION_BYTES + 1),
        Reason.TOO_DEEP: b"[" * 100_000,
        Reason.NUMBER_NOT_ALLOWED: b'{"x": -1e400}',
        Reason.NOT_JSON: b"1" * 5000 + b"]",
    }
    for reason, bomb in bombs.items():
        with pytest.raises(MalformedError) as caught:
            parse_foreign_json(bomb, max_bytes=MAX_ATTESTATION_BYTES, what="attestation")
        assert caught.value.reason is reason


def test_depth_counts_containers_and_not_what_is_in_them() -> None:
    for inner in (b"1", b'"x"', b"[]"):
        parse_foreign_json(b"[" * 63 + inner + b"]" * 63, max_bytes=1000, what="x")
        with pytest.raises(MalformedError):
            parse_foreign_json(b"[" * 66 + inner + b"]" * 66, max_bytes=1000, what="x")


def test_a_smiley_is_no_half_character() -> None:
    assert parse_foreign_json(b'"\\ud83d\\ude00"', max_bytes=100, what="x") == "\U0001f600"


def payloads(value: Any) -> Iterator[bytes]:
    """Returns every payload of a DSSE envelope or PEP 740 attestation inside a document."""
    if isinstance(value, dict):
        for name, beside in (("payload", "payloadType"), ("statement", "signature")):
            if isinstance(value.get(name), str) and beside in value:
                yield base64.b64decode(value[name])
        value = list(value.values())
    for item in value if isinstance(value, list) else []:
        yield from payloads(item)


def documents(path: Path) -> Iterator[Any]:
    text = path.read_text(errors="replace")
    for part in (text, *text.splitlines()):
        try:
            yield json.loads(part)
        except ValueError:
            continue
        if part is text:
            return


def test_every_provenance_that_others_made_is_read(test_data: Path) -> None:
    read = 0
    for path in sorted(p for room in ("slsa", "github", "pep740") for p in (test_data / room).rglob("*")):
        if not path.is_file() or "invalid" in path.name:
            continue
        for document in documents(path):
            for payload in payloads(document):
                found = parse_attestation(payload)
                if kind_of(found.predicate_type) != PROVENANCE:
                    continue
                claim = parse_provenance(found.predicate_type, found.predicate)
                assert claim.builder_id.startswith("https://github.com/")
                assert claim.source_uri.startswith("https://github.com/")
                assert claim.source_ref.startswith("refs/")
                assert claim.entry_point.startswith(".github/workflows/")
                assert len(claim.commit) == 40
                read += 1
    assert read > 70


def test_real_provenance_whose_materials_were_changed_contradicts_itself(test_data: Path) -> None:
    path = test_data / "slsa/npm/gha/supreme-googles-cli-v02-tag-invalidsigprov.tgz.json"
    refused = 0
    for payload in payloads(json.loads(path.read_text())):
        found = parse_attestation(payload)
        if kind_of(found.predicate_type) == PROVENANCE:
            with pytest.raises(MalformedError, match="two commits"):
                parse_provenance(found.predicate_type, found.predicate)
            refused += 1
    assert refused == 1

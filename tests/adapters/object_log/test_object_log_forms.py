"""Addresses, and what stands in the objects that only the log itself reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from placet.adapters.object_log.address import BucketAddress, is_bucket, parse_address
from placet.adapters.object_log.journal import Journal, TreeState, encode_journal, parse_journal
from placet.core.errors import MalformedError, PlacetError, Reason
from placet.core.tlog.merkle import EMPTY_ROOT
from placet.ports.log_store import LogEntry

ENTRIES = st.lists(st.builds(LogEntry, st.binary(max_size=40), st.binary(max_size=40)), max_size=5)


def journal_of(entries: list[LogEntry], base: int = 7) -> Journal:
    states = TreeState(base, EMPTY_ROOT), TreeState(base + len(entries), EMPTY_ROOT)
    return Journal("log+00000000+key", "s3://logs/a", "writer", *states, tuple(entries))


@given(ENTRIES)
def test_a_journal_comes_back(entries: list[LogEntry]) -> None:
    journal = journal_of(entries)
    assert parse_journal(encode_journal(journal)) == journal


@given(ENTRIES, st.data())
def test_a_journal_with_one_bit_changed_is_none_or_another_head(
    entries: list[LogEntry], data: st.DataObject
) -> None:
    encoded = encode_journal(journal_of(entries))
    bit = data.draw(st.integers(0, 8 * len(encoded) - 1))
    changed = bytearray(encoded)
    changed[bit // 8] ^= 1 << bit % 8
    try:
        found = parse_journal(bytes(changed))
    except MalformedError:
        return
    # The head is held against the tree and the key; the entries are held by their digest.
    assert found.entries == tuple(entries)
    assert encode_journal(found) == bytes(changed)


@given(st.binary(max_size=200))
def test_only_our_errors_escape(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_journal(data)


@pytest.mark.parametrize(
    "lengths",
    [["4 4"], ["4 4", "4 1"], ["4 4", "4 3"], ["4 4", "4 4", "0 0"], ["8 9"], ["04 4", "4 4"], ["4", "4"]],
)
def test_a_journal_whose_lengths_are_not_its_own_is_refused(lengths: list[str]) -> None:
    encoded = encode_journal(journal_of([LogEntry(b"leaf", b"reco"), LogEntry(b"leaf", b"rd")]))
    text = '["' + '","'.join(lengths) + '"]'
    with pytest.raises(MalformedError):
        parse_journal(encoded.replace(b'["4 4","4 2"]', text.encode()))


def test_a_journal_that_does_not_lead_from_its_base_to_its_tree_is_refused() -> None:
    journal = journal_of([LogEntry(b"leaf", b"record")])
    with pytest.raises(MalformedError):
        parse_journal(encode_journal(journal._replace(tree=TreeState(9, EMPTY_ROOT))))


@pytest.mark.parametrize(
    ("text", "bucket", "prefix"),
    [
        ("s3://logs", "logs", ""),
        ("s3://logs/", "logs", ""),
        ("s3://example.logs-1/placet/prod", "example.logs-1", "placet/prod"),
        ("s3://logs/placet/", "logs", "placet"),
    ],
)
def test_addresses(text: str, bucket: str, prefix: str) -> None:
    assert parse_address(text) == BucketAddress(bucket, prefix, "")
    assert parse_address(str(parse_address(text))) == parse_address(text)
    assert is_bucket(text)


@pytest.mark.parametrize(
    "text",
    [
        "s3:/logs",
        "s3://",
        "s3://L",
        "s3://Logs/x",
        "s3://logs//x",
        "s3://logs/../x",
        "s3://logs/a b",
        "s3://u:p@logs",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(MalformedError) as told:
        parse_address(text)
    assert told.value.reason is Reason.BAD_VALUE
    assert "environment" in told.value.hint


@pytest.mark.parametrize(
    "endpoint", ["https://s3.example.com", "http://127.0.0.1:9000/", "http://localhost:1", ""]
)
def test_endpoints(endpoint: str) -> None:
    assert parse_address("s3://logs", endpoint).endpoint == endpoint.rstrip("/")


@pytest.mark.parametrize(
    "endpoint",
    ["http://s3.example.com", "ftp://x", "s3.example.com", "https://", "https://a:b@c", "https://[x"],
)
def test_endpoints_over_which_records_could_be_read_are_refused(endpoint: str) -> None:
    with pytest.raises(PlacetError) as told:
        parse_address("s3://logs", endpoint)
    assert "a:b" not in str(told.value.actual)

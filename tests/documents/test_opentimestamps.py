"""OpenTimestamps proofs: real ones, and what is refused.

Three of the proofs are examples of opentimestamps-client; `four-calendars.ots` is a published worked example.
The Merkle roots are those that Bitcoin's blocks of these heights have.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from placet.core.errors import MalformedError, PlacetError, Reason, VerificationError
from placet.documents import opentimestamps
from placet.documents.opentimestamps import (
    BitcoinAttestation,
    check_in_block,
    check_proof_of,
    parse_block_header,
    parse_proof,
)

PROOFS = Path(__file__).parent / "opentimestamps_proofs"
HELLO, PENDING, CHAINS, CALENDARS = (
    (PROOFS / f"{name}.ots").read_bytes()
    for name in ("hello-world", "incomplete", "different-blockchains", "four-calendars")
)
HELLO_ROOT = "8a1b66ecb7cbd07d8139a7e7d7f2c41aab1f5009b8364aaf61d03ad245e47e00"
CALENDARS_ROOT = "bbe2b9a3952ef1e9236e377ddf9993f74a4cf0b77eaf7a807dec6984fee373a5"
STAMPED = (
    b'{"commitScheme":"sha256(salt||utf8(value))","commitments":{"dataset":"sha256:d7c378231a1003f1a60f39b7a32a05'
    b'e8e8d6e17f8d369d8fe98202974deca2cd","model":"sha256:9629760f251b473da0864d1f88b6c1919a9033877016935adf77713'
    b'064d59680"},"predicateType":"https://in-toto.io/attestation/eval-result/v0.1","verdictRule":{"comparator":"'
    b'>=","metric":"exact_match","threshold":0.85}}'
)
MAGIC = HELLO[:32]
START = MAGIC + b"\x08" + bytes(32)  # version 1, SHA-256 of some file
PENDING_TAG = bytes.fromhex("0083dfe30d2ef90c8e")
BITCOIN_TAG = bytes.fromhex("000588960d73d71901")
GENESIS = bytes.fromhex(
    "01000000" + "00" * 32 + "3ba3edfd7a7b12b27ac72c3e67768f617fc81bc3888a51323a9fb8aa4b1e5e4a"
    "29ab5f49ffff001d1dac2b7c"
)


def test_a_proof_leads_to_the_merkle_root_of_its_block() -> None:
    proof = parse_proof(HELLO)
    assert proof.bitcoin == (BitcoinAttestation(358391, HELLO_ROOT),)
    assert (proof.calendars, proof.unknown) == ((), 0)
    check_proof_of(proof, b"Hello World!\n")
    assert check_in_block(proof, HELLO_ROOT).height == 358391


def test_a_proof_of_several_calendars_forks_and_one_branch_is_in_a_block() -> None:
    proof = parse_proof(CALENDARS)
    check_proof_of(proof, STAMPED)
    assert proof.bitcoin == (BitcoinAttestation(956857, CALENDARS_ROOT),)
    assert len(proof.calendars) == 3


def test_a_pending_proof_names_its_calendar_and_proves_nothing_yet() -> None:
    proof = parse_proof(PENDING)
    assert proof.calendars == ("https://alice.btc.calendar.opentimestamps.org",)
    assert proof.bitcoin == ()
    with pytest.raises(VerificationError) as refused:
        check_in_block(proof, HELLO_ROOT)
    assert refused.value.reason is Reason.LOG_PROOF_INVALID


def test_branches_of_other_block_chains_are_counted_and_not_believed() -> None:
    proof = parse_proof(CHAINS)
    assert [found.height for found in proof.bitcoin] == [455605]
    assert proof.unknown == 1


def test_a_proof_of_something_else_is_refused() -> None:
    with pytest.raises(VerificationError) as refused:
        check_proof_of(parse_proof(HELLO), b"Hello World?\n")
    assert refused.value.reason is Reason.LOG_PROOF_INVALID


def test_the_root_of_another_block_is_refused() -> None:
    with pytest.raises(VerificationError) as refused:
        check_in_block(parse_proof(HELLO), CALENDARS_ROOT)
    assert refused.value.reason is Reason.LOG_PROOF_INVALID
    # The same root with its bytes as they stand in the header is another one.
    with pytest.raises(VerificationError):
        check_in_block(parse_proof(HELLO), bytes.fromhex(HELLO_ROOT)[::-1].hex())


def test_the_first_header_of_bitcoin_reads_as_everybody_knows_it() -> None:
    header = parse_block_header(GENESIS)
    assert header.block_hash == "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f"
    assert header.merkle_root == "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b"
    assert header.time == 1231006505
    for wrong in (GENESIS[:-1], GENESIS + b"\0"):
        with pytest.raises(MalformedError):
            parse_block_header(wrong)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"not a proof", Reason.UNSUPPORTED_TYPE, id="another file"),
        pytest.param(MAGIC[:-1] + b"\x02" + HELLO[32:], Reason.UNSUPPORTED_TYPE, id="version 2"),
        pytest.param(MAGIC + b"\x02" + bytes(20), Reason.UNSUPPORTED_TYPE, id="a file's SHA-1"),
        pytest.param(START, Reason.BAD_VALUE, id="no branch"),
        pytest.param(START + b"\x08", Reason.BAD_VALUE, id="no attestation"),
        pytest.param(START + b"\x09", Reason.UNSUPPORTED_TYPE, id="an unknown step"),
        pytest.param(START + b"\xff\xff", Reason.UNSUPPORTED_TYPE, id="a fork of a fork"),
        pytest.param(START + b"\xf0\x00" + BITCOIN_TAG + b"\x01\x01", Reason.BAD_VALUE, id="appends nothing"),
        pytest.param(
            START + b"\xf0\x80\x20" + bytes(4096) + BITCOIN_TAG + b"\x01\x01", Reason.BAD_VALUE, id="too long"
        ),
        pytest.param(START + BITCOIN_TAG + b"\x02\x01\x01", Reason.BAD_VALUE, id="more than a height"),
        pytest.param(START + BITCOIN_TAG + b"\x02\x81\x00", Reason.BAD_VALUE, id="a height with a zero more"),
        pytest.param(START + BITCOIN_TAG + b"\x00", Reason.BAD_VALUE, id="no height"),
        pytest.param(START + BITCOIN_TAG + b"\x0a" + b"\xff" * 10, Reason.BAD_VALUE, id="an endless height"),
        pytest.param(
            START + BITCOIN_TAG + b"\x0a" + b"\xff" * 9 + b"\x01", Reason.BAD_VALUE, id="a height beyond all"
        ),
        pytest.param(START + PENDING_TAG + b"\x03\x01aa", Reason.BAD_VALUE, id="more than an address"),
        pytest.param(
            START + PENDING_TAG + b"\x02\x01\x1b", Reason.BAD_VALUE, id="an address that moves cursors"
        ),
        pytest.param(START + bytes(9) + b"\x81\x40" + bytes(8193), Reason.BAD_VALUE, id="a long attestation"),
        pytest.param(HELLO + b"\x00", Reason.BAD_VALUE, id="something after it"),
        pytest.param(HELLO + bytes(65536), Reason.TOO_LARGE, id="too large"),
    ],
)
def test_what_is_no_proof_is_refused_by_name(data: bytes, reason: Reason) -> None:
    with pytest.raises(MalformedError) as refused:
        parse_proof(data)
    assert refused.value.reason is reason
    assert refused.value.hint


def test_an_unknown_attestation_is_counted() -> None:
    assert parse_proof(START + bytes(9) + b"\x03abc").unknown == 1
    # A value that is no hash is no Merkle root, whoever attests it.
    assert parse_proof(START + b"\xf0\x01a" + BITCOIN_TAG + b"\x01\x01").unknown == 1


def test_a_step_that_is_not_followed_leads_to_no_block() -> None:
    for step in (b"\x67", b"\xf2", b"\xf3"):
        proof = parse_proof(START + step + b"\xf1\x01a\x08" + BITCOIN_TAG + b"\x01\x01")
        assert (proof.bitcoin, proof.unknown) == ((), 1)


def test_a_machine_without_ripemd_believes_nothing_that_it_cannot_follow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def new(name: str, *args: object, **kwargs: object) -> object:
        if name == "ripemd160":
            raise ValueError("unsupported hash type")
        return real(name, *args, **kwargs)

    real = hashlib.new
    monkeypatch.setattr(opentimestamps.hashlib, "new", new)
    proof = parse_proof(HELLO)
    assert (proof.bitcoin, proof.unknown) == ((), 1)


@pytest.mark.parametrize("data", [HELLO, PENDING, CHAINS, CALENDARS])
def test_every_truncated_proof_is_refused(data: bytes) -> None:
    for end in range(len(data)):
        with pytest.raises(MalformedError):
            parse_proof(data[:end])


@pytest.mark.parametrize(("data", "root"), [(HELLO, HELLO_ROOT), (CALENDARS, CALENDARS_ROOT)])
def test_no_other_file_leads_to_the_block(data: bytes, root: str) -> None:
    digest = parse_proof(data).digest
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with contextlib.suppress(MalformedError):
            proof = parse_proof(bytes(changed))
            roots = {found.merkle_root for found in proof.bitcoin}
            assert proof.digest == digest or root not in roots


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", MAGIC, START, HELLO[:-20], CALENDARS[:-40]]))
def test_whatever_is_read_is_refused_by_name_or_read(data: bytes, before: bytes) -> None:
    with contextlib.suppress(PlacetError):
        parse_proof(before + data)

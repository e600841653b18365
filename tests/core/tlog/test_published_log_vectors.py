"""Known answers that others published: trees, notes, checkpoints, cosignatures, each with its source."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from placet.core.errors import MalformedError, PlacetError, Reason, VerificationError
from placet.core.tlog.checkpoint import encode_checkpoint, parse_checkpoint, verify_checkpoint
from placet.core.tlog.cosignature import verify_cosignature
from placet.core.tlog.log_policy import parse_log_policy
from placet.core.tlog.merkle import (
    EMPTY_ROOT,
    CompactRange,
    consistency_proof,
    extend,
    hash_leaf,
    inclusion_proof,
    verify_consistency,
    verify_inclusion,
)
from placet.core.tlog.note import (
    NoteSignature,
    SignedNote,
    encode_note,
    parse_note,
    parse_signer_key,
    parse_verifier_key,
    verify_note,
)
from placet.core.tlog.proof import verify_witnessed

PUBLISHED = Path(__file__).parent / "published"


def load(name: str) -> Any:
    value = json.loads((PUBLISHED / name).read_text(encoding="utf-8"))
    assert value["source"]
    return value


MERKLE, NOTES, CHECKPOINTS = load("merkle.json"), load("notes.json"), load("checkpoints.json")
LEAVES = [hash_leaf(bytes.fromhex(leaf)) for leaf in MERKLE["leaves"]]
ROOTS = [bytes.fromhex(root) for root in MERKLE["roots"]]
_, MADE = extend(CompactRange(), LEAVES)
NODES = {(level, index): value for level, index, value in MADE}
SOME_HASH = b"\xab\xac\xab\xa0" * 8


def hashes_of(item: Any) -> list[bytes]:
    return [bytes.fromhex(value) for value in item["hashes"]]


def decoded(values: list[str]) -> list[bytes]:
    return [base64.b64decode(value) for value in values]


def test_roots() -> None:
    assert bytes.fromhex(MERKLE["emptyRoot"]) == EMPTY_ROOT == CompactRange().root()
    for size in range(1, 9):
        assert extend(CompactRange(), LEAVES[:size])[0].root() == ROOTS[size - 1]


@pytest.mark.parametrize("item", MERKLE["inclusion"], ids=str)
def test_inclusion(item: Any) -> None:
    index, size, proof = item["leafIndex"], item["treeSize"], hashes_of(item)
    leaf, root = LEAVES[index], ROOTS[size - 1]
    assert list(inclusion_proof(index, size, lambda level, at: NODES[level, at])) == proof
    verify_inclusion(leaf, index, size, proof, root)
    # The probes of the suite that the vectors come from.
    bad: list[tuple[bytes, int, int, list[bytes], bytes]] = [
        *((leaf, other, size, proof, root) for other in (index - 1, index + 1, index ^ 2)),
        *((leaf, index, other, proof, root) for other in (size * 2, size // 2)),
        (b"WrongLeaf", index, size, proof, root),
        *((leaf, index, size, proof, other) for other in (EMPTY_ROOT, SOME_HASH, b"")),
        *((leaf, index, size, other, root) for other in ([*proof, b""], [*proof, root], [b"", *proof])),
        (leaf, index, size, [root, *proof], root),
        *((leaf, index, size, proof[:i] + proof[i + 1 :], root) for i in range(len(proof))),
    ]
    for arguments in bad:
        with pytest.raises(VerificationError):
            verify_inclusion(*arguments)


@pytest.mark.parametrize("item", MERKLE["consistency"], ids=str)
def test_consistency(item: Any) -> None:
    old, new, proof = item["oldSize"], item["newSize"], hashes_of(item)
    old_root, new_root = ROOTS[old - 1], ROOTS[new - 1]
    assert list(consistency_proof(old, new, lambda level, at: NODES[level, at])) == proof
    verify_consistency(old, old_root, new, new_root, proof)
    if not proof:
        return
    bad: list[tuple[int, bytes, int, bytes, list[bytes]]] = [
        *((other, old_root, new, new_root, proof) for other in (old - 1, old + 1, old ^ 2)),
        *((old, old_root, other, new_root, proof) for other in (new * 2, new // 2)),
        (old, b"WrongRoot", new, new_root, proof),
        (old, old_root, new, b"WrongRoot", proof),
        (old, new_root, new, old_root, proof),
        *((old, old_root, new, new_root, other) for other in ([], proof[:-1], [*proof, b""], [b"", *proof])),
        *((old, old_root, new, new_root, [*proof, other]) for other in (old_root, new_root)),
        *((old, old_root, new, new_root, [other, *proof]) for other in (old_root, new_root, proof[0])),
    ]
    for arguments in bad:
        with pytest.raises(VerificationError):
            verify_consistency(*arguments)


def test_a_log_of_a_thousand_million_entries() -> None:
    told = MERKLE["argon2020"]
    leaf = hash_leaf(base64.b64decode(told["entry"]))
    root, old_root = decoded([told["rootHash"], told["oldRoot"]])
    size = told["treeSize"]
    verify_inclusion(leaf, told["leafIndex"], size, decoded(told["audit"]), root)
    verify_consistency(told["oldSize"], old_root, size, root, decoded(told["consistency"]))
    with pytest.raises(VerificationError):
        verify_inclusion(leaf, told["leafIndex"] + 1, size, decoded(told["audit"]), root)
    with pytest.raises(VerificationError):
        verify_consistency(told["oldSize"] + 1, old_root, size, root, decoded(told["consistency"]))


def test_notes_of_go() -> None:
    note = parse_note(NOTES["note"].encode())
    assert encode_note(note).decode() == NOTES["note"]
    for text in NOTES["keys"]:
        verify_note(note, parse_verifier_key(text))
    signer = parse_signer_key(NOTES["signer"])
    assert str(signer.verifier_key) == NOTES["keys"][0]
    assert signer.sign(NOTES["text"].encode()) == note.signatures[0]


def test_keys_that_go_refuses() -> None:
    good = NOTES["keys"][0]
    for text in NOTES["badKeys"]:
        with pytest.raises(MalformedError):
            parse_verifier_key(text)
    for text, parse in ((good, parse_verifier_key), (NOTES["signer"], parse_signer_key)):
        parts = {text[i:j] for i in range(len(text)) for j in range(i, len(text) + 1)} - {text}
        ups = {text[:i] + chr(ord(text[i]) + 1) + text[i + 1 :] for i in range(len(text))}
        for bad in parts | ups:
            with pytest.raises(MalformedError):
                parse(bad)


def test_notes_that_go_refuses() -> None:
    text, lines = NOTES["text"], NOTES["note"].partition("\n\n")[2]
    line = lines.splitlines(keepends=True)[0]
    bad = [
        text,
        f"{text}\n",
        f"{text}\n{line[:-1]}",
        f"\x01{text}\n{line}",
        f"{text}\n— Bad Name {line.split(' ')[2]}",
        f"{text}\n{line}Unexpected line.\n",
        f"{text}\n" + line * 101,
    ]
    for note in (*(note.encode() for note in bad), b"\xff" + NOTES["note"].encode()):
        with pytest.raises(MalformedError):
            parse_note(note)
    key = parse_verifier_key(NOTES["keys"][0])
    for note in (line.replace("PeterNeumann", "CarmenSandiego"), line.replace("x08g", "xxxx")):
        with pytest.raises(VerificationError):
            verify_note(parse_note(f"{text}\n{note}".encode()), key)
    with pytest.raises(PlacetError):
        verify_note(parse_note(f"{text}\n{line[:60]}ABCD{line[60:]}".encode()), key)


def test_the_note_of_c2sp() -> None:
    verify_note(parse_note(NOTES["c2sp"]["note"].encode()), parse_verifier_key(NOTES["c2sp"]["key"]))


@pytest.mark.parametrize("note", NOTES["sumdb"]["notes"], ids=lambda note: note.splitlines()[1])
def test_checkpoints_of_sum_golang_org(note: str) -> None:
    key = parse_verifier_key(NOTES["sumdb"]["key"])
    parsed = parse_note(note.encode())
    verify_note(parsed, key)
    assert encode_checkpoint(parse_checkpoint(parsed.text)) == parsed.text
    # Its key is not named as its origin is, which C2SP allows and a log of ours may not do.
    with pytest.raises(VerificationError) as caught:
        verify_checkpoint(note.encode(), key)
    assert caught.value.reason is Reason.KEY_MISMATCH


@pytest.mark.parametrize("item", CHECKPOINTS["cosigned"], ids=lambda item: item["origin"])
def test_checkpoints_that_public_witnesses_cosigned(item: Any) -> None:
    data = item["note"].encode()
    note = parse_note(data)
    assert encode_note(note) == data
    checkpoint = parse_checkpoint(note.text)
    assert (checkpoint.log_origin, checkpoint.tree_size) == (item["origin"], item["treeSize"])
    for key in map(parse_verifier_key, item["witnesses"]):
        assert verify_cosignature(note, key) == item["time"]
        changed = SignedNote(note.text.replace(b"\n1", b"\n2", 1), note.signatures)
        with pytest.raises(VerificationError):
            verify_cosignature(changed, key)
    if item["log"] is None:
        return
    assert verify_checkpoint(data, parse_verifier_key(item["log"])) == checkpoint
    witnesses = "".join(f"witness w{i} {key}\n" for i, key in enumerate(item["witnesses"]))
    policy = parse_log_policy(f"log {item['log']}\n{witnesses}group g 3 w0 w1 w2\nquorum g\n".encode())
    found = verify_witnessed(data, policy)
    assert policy.is_quorum(found.witness_times)
    assert policy.seen_by(found.witness_times) == policy.not_before(found.witness_times) == item["time"]


def test_signatures_of_other_algorithms_stand_beside_ours() -> None:
    (item, _) = CHECKPOINTS["cosigned"]
    note = parse_note(item["note"].encode())
    # An ML-DSA-44 cosignature by a witness's second key: 8 bytes of time and 2420 of signature.
    ml_dsa = NoteSignature(parse_verifier_key(item["witnesses"][0]).name, b"\1\2\3\4", bytes(2428))
    data = encode_note(SignedNote(note.text, (*note.signatures, ml_dsa)))
    assert encode_note(parse_note(data)) == data
    verify_checkpoint(data, parse_verifier_key(item["log"]))


def test_the_example_of_c2sp() -> None:
    told = CHECKPOINTS["example"]
    note = parse_note(told["note"].encode())
    checkpoint = parse_checkpoint(note.text)
    assert (checkpoint.log_origin, checkpoint.tree_size) == (told["origin"], told["treeSize"])
    assert int.from_bytes(note.signatures[1].signature[:8], "big") == told["time"]

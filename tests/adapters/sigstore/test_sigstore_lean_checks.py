"""Each check of the lean verifier on JSON, logs and entries alone, without the others.

Here the attacker holds a log's keys, so that everything false is signed as if it were true.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from evidence_world import ARTIFACT, JOB, ROOT, STATEMENT, Case, private_root
from hypothesis import given, settings
from hypothesis import strategies as st
from sigstore._internal.merkle import verify_merkle_inclusion
from sigstore.errors import Error as SigstoreError
from test_sigstore_lean import Judged

from placet.adapters.sigstore import lean, lean_logs
from placet.adapters.sigstore.lean_shapes import Unusual, number, positive, raw, read, sha256, text
from placet.core.dsse import PAYLOAD_TYPE, pae
from placet.testing.private_sigstore import PrivateSigstore, Shape
from placet.testing.private_sigstore.bundles import _propose_dsse, _propose_record
from placet.testing.private_sigstore.keys import (
    b64,
    sign,
)
from placet.testing.private_sigstore.rekor import as_bundle_entry


def refused() -> Any:
    """Expects any error: all of them leave a bundle to sigstore-python."""
    return pytest.raises(Exception, match=r".*")


def judge(sigstore: PrivateSigstore, content: bytes, **root: Any) -> Judged:
    return Judged(Case("checks", content, files={ROOT: private_root(sigstore, **root)}))


# Shapes


@pytest.mark.parametrize(
    ("shape", "value"),
    [
        (number, "01"),
        (number, "+1"),
        (number, "1 "),
        (number, "\u0661"),  # a digit to Python
        (number, str(2**53)),
        (number, 1),
        (positive, "0"),
        (text, "ü"),
        (text, 1),
        (raw, "YQ"),
        (raw, "YR=="),
        (raw, "YQ==\n"),
        (sha256, "A" * 64),
        (sha256, "a" * 63),
        ({"a": text}, {}),
        ({"a": text}, {"a": "", "b": ""}),
        ({"a?": text}, {"a?": ""}),
        ({"a?": text}, {"a": None}),
        ({"a": text}, []),
        ([text], {}),
        ([text], "a"),
        (lean_logs._checkpoint_text, "x" * (64 * 1024 + 1)),
        (lean_logs._checkpoint_text, None),
    ],
)
def test_other_spellings_are_not_read(shape: Any, value: Any) -> None:
    with refused():
        read(value, shape)


def test_this_spelling_is_read() -> None:
    shape = {"a": number, "b?": [raw], "c?": text}
    assert read({"a": "9007199254740991", "b": ["YQ=="]}, shape) == {"a": 2**53 - 1, "b": [b"a"]}


# Proofs


def _stock_proof(proof: dict[str, Any], body: bytes) -> bool:
    """sigstore-python's own check, with what its model of a proof asks before."""
    if proof["treeSize"] <= proof["logIndex"]:
        return False
    inner = SimpleNamespace(
        log_index=proof["logIndex"],
        tree_size=proof["treeSize"],
        hashes=proof["hashes"],
        root_hash=proof["rootHash"],
    )
    entry = SimpleNamespace(_inner=SimpleNamespace(inclusion_proof=inner, canonicalized_body=body))
    try:
        verify_merkle_inclusion(entry)  # type: ignore[arg-type]  # all that it reads of an entry
    except SigstoreError:
        return False
    return True


def _lean_proof(proof: dict[str, Any], body: bytes) -> bool:
    try:
        lean_logs.check_proof(proof, body)
    except Unusual:
        return False
    return True


def _root_of(index: int, size: int, hashes: list[bytes], body: bytes) -> bytes:
    """The root to which these hashes lead if each is taken for a sibling, whatever their number."""
    found = hashlib.sha256(b"\0" + body).digest()
    last = size - 1
    for sibling in hashes:
        if index & 1 or index == last:
            found = hashlib.sha256(b"\1" + sibling + found).digest()
            while index and not index & 1:
                index, last = index >> 1, last >> 1
        else:
            found = hashlib.sha256(b"\1" + found + sibling).digest()
        index, last = index >> 1, last >> 1
    return found


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 8), st.binary(max_size=3))
def test_proofs_hold_where_sigstore_pythons_do(index: int, size: int, count: int, body: bytes) -> None:
    """With the root to which they lead, so that shape and number of the hashes alone decide."""
    hashes = [hashlib.sha256(bytes([i])).digest() for i in range(count)]
    root = _root_of(index, size, hashes, body)
    proof = {"logIndex": index, "treeSize": size, "hashes": hashes, "rootHash": root}
    assert _lean_proof(proof, body) == _stock_proof(proof, body)
    assert not _lean_proof(proof | {"rootHash": bytes(32)}, body)


@pytest.mark.parametrize("size", [*range(1, 18), 63, 64, 65])
def test_every_leaf_of_every_small_tree_is_proven(size: int) -> None:
    from placet.testing.private_sigstore.merkle import audit_path, leaf_hash, tree_hash

    leaves = [leaf_hash(bytes([i])) for i in range(size)]
    for index in range(size):
        proof = {
            "logIndex": index,
            "treeSize": size,
            "hashes": audit_path(index, leaves),
            "rootHash": tree_hash(leaves),
        }
        assert _lean_proof(proof, bytes([index])) and _stock_proof(proof, bytes([index]))
        assert not _lean_proof(proof, bytes([index + 1]))
        for wrong in (
            {"logIndex": index ^ 1},
            {"treeSize": size * 2},
            {"hashes": [*proof["hashes"], b"x" * 32]},
        ):
            assert _lean_proof(proof | wrong, bytes([index])) == _stock_proof(proof | wrong, bytes([index]))


def test_hashes_have_the_length_of_hashes() -> None:
    body, sibling = b"body", b"x" * 31
    root = _root_of(0, 2, [sibling], body)
    proof = {"logIndex": 0, "treeSize": 2, "hashes": [sibling], "rootHash": root}
    assert _stock_proof(proof, body)  # which does not ask
    assert not _lean_proof(proof, body)


# Checkpoints

KEY = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))
LOG_ID = b"\1\2\3\4" + bytes(28)
ROOT_HASH = hashlib.sha256(b"root").digest()
NOTE = f"log.test\n7\n{base64.b64encode(ROOT_HASH).decode()}\n"


def _line(signature: bytes, name: str = "log.test", hint: bytes = LOG_ID[:4]) -> str:
    return f"\u2014 {name} {base64.b64encode(hint + signature).decode()}\n"


def _check_note(checkpoint: str, size: int = 7, root: bytes = ROOT_HASH) -> None:
    proof = {"treeSize": size, "rootHash": root, "checkpoint": {"envelope": checkpoint}}
    from placet.adapters.sigstore.lean_roots import LogKey

    lean_logs.check_checkpoint(proof, LOG_ID, LogKey(KEY.public_key(), None))


def _noted(note: str) -> str:
    return f"{note}\n{_line(KEY.sign(note.encode()))}"


WITNESS = _line(bytes(64), "witness.test", b"wxyz")


def test_the_logs_own_signature_counts_and_witnesses_do_no_harm() -> None:
    _check_note(_noted(NOTE))
    _check_note(_noted(NOTE) + WITNESS)
    _check_note(_noted(NOTE + "Timestamp: 1689177396617352539\n"))


@pytest.mark.parametrize(
    "checkpoint",
    [
        f"{NOTE}\n{WITNESS}",
        f"{NOTE}\n{_line(bytes(64))}",
        f"{NOTE}\n{_line(KEY.sign(NOTE.encode()), hint=b'wxyz')}",
        f"{NOTE}\n{_line(KEY.sign(NOTE.encode() + b'.'))}",
        _noted(NOTE) + _line(bytes(64)),  # a second one of the log's
        _noted(NOTE) + _line(b"", "witness.test", b"wxyz"),
        _noted(NOTE) + "\u2014 witness.test AA=\n",
        _noted(NOTE) + "something\n",
        _noted(NOTE).rstrip("\n"),
        _noted(NOTE) + "\n",
        _noted("\n" + NOTE),
        _noted(" " + NOTE),
        _noted(NOTE.replace("\n7\n", "\n07\n")),
        _noted(NOTE.replace("\n7\n", "\n8\n")),
        _noted(NOTE.replace("\n7\n", "\n 7\n")),
        _noted(NOTE.replace("\n7\n", "\n")),
        _noted(NOTE.replace("=", "")),
        _noted(NOTE.replace("log.test", "l\u00f6g.test")),
        _noted(NOTE.replace("log.test\n", "log.test\r\n")),
        _noted(NOTE + "a\n\nb\n"),
        NOTE,
        "",
    ],
)
def test_other_checkpoints_prove_nothing(checkpoint: str) -> None:
    with refused():
        _check_note(checkpoint)


def test_the_checkpoint_is_of_the_proofs_tree() -> None:
    with pytest.raises(Unusual):
        _check_note(_noted(NOTE), size=8)
    with pytest.raises(Unusual):
        _check_note(_noted(NOTE), root=bytes(32))


# What the log entry is about


def _bundle(sigstore: PrivateSigstore, signatory: Any, entry: Any, **content: Any) -> bytes:
    material = {**signatory.material("0.3"), "tlogEntries": [entry]}
    media_type = "application/vnd.dev.sigstore.bundle.v0.3+json"
    return json.dumps({"mediaType": media_type, "verificationMaterial": material, **content}).encode()


def test_an_envelope_logged_as_an_artifact_is_refused() -> None:
    sigstore = PrivateSigstore(b"kinds")
    signatory = sigstore._certified(JOB, Shape())
    payload = json.dumps(STATEMENT).encode()
    signed = pae(PAYLOAD_TYPE, payload)
    signature = sign(signatory.key, signed)
    logged = sigstore.rekor_v1.add(_propose_record(hashlib.sha256(signed).digest(), signature, signatory))
    envelope = {
        "payload": b64(payload),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"sig": b64(signature)}],
    }
    judged = judge(sigstore, _bundle(sigstore, signatory, as_bundle_entry(logged), dsseEnvelope=envelope))
    assert judged.facts is None and not judged.lean_said_yes


def test_an_artifact_logged_as_an_envelope_is_refused() -> None:
    sigstore = PrivateSigstore(b"kinds")
    signatory = sigstore._certified(JOB, Shape())
    signed = pae(PAYLOAD_TYPE, b"")
    signature = sign(signatory.key, signed)
    envelope = {"payload": "", "payloadType": PAYLOAD_TYPE, "signatures": [{"sig": b64(signature)}]}
    logged = as_bundle_entry(sigstore.rekor_v1.add(_propose_dsse(envelope, signatory)))
    digest = {"algorithm": "SHA2_256", "digest": b64(hashlib.sha256(signed).digest())}
    message = {"messageDigest": digest, "signature": b64(signature)}
    judged = judge(sigstore, _bundle(sigstore, signatory, logged, messageSignature=message))
    assert judged.facts is None and not judged.lean_said_yes


@pytest.mark.parametrize("rekor", ["v1", "v2"])
@pytest.mark.parametrize("is_statement", [True, False])
def test_a_body_that_says_more_or_something_else_is_left_alone(rekor: str, is_statement: bool) -> None:
    """The log signs any body here; the bundle's other parts are as they should be."""
    sigstore = PrivateSigstore(b"bodies")
    shape = Shape(rekor=rekor)  # type: ignore[arg-type]
    sign_it = sigstore.sign_statement if is_statement else sigstore.sign_artifact
    top = json.loads(sign_it(JOB, STATEMENT if is_statement else ARTIFACT, shape))  # type: ignore[arg-type]
    (entry,) = top["verificationMaterial"]["tlogEntries"]
    body = json.loads(base64.b64decode(entry["canonicalizedBody"]))
    certificate = x509.load_der_x509_certificate(
        base64.b64decode(top["verificationMaterial"]["certificate"]["rawBytes"])
    )
    content = lean._content(read(top, lean._BUNDLE))
    read_entry = read(entry, lean_logs.ENTRY_V1 if rekor == "v1" else lean_logs.ENTRY_V2)
    lean_logs.check_body(read_entry, content)
    assert content.certificate == certificate
    for place in _leaves(body):
        for value in ("x", "0" * 64, b64(b"x"), None, [], 0):
            changed = json.loads(json.dumps(body))
            _put(changed, place, value)
            if place[-2:] == ("envelopeHash", "value") and value == "0" * 64:
                continue  # of which nobody can say what it should be
            with refused():
                lean_logs.check_body(
                    {**read_entry, "canonicalizedBody": json.dumps(changed).encode()}, content
                )
    more = json.dumps({**body, "more": 1}).encode()
    with pytest.raises(Unusual):
        lean_logs.check_body(read_entry | {"canonicalizedBody": more}, content)


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [p for name, child in value.items() for p in _leaves(child, (*path, name))]
    if isinstance(value, list):
        return [p for i, child in enumerate(value) for p in _leaves(child, (*path, i))]
    return [path]


def _put(top: Any, path: tuple[Any, ...], value: Any) -> None:
    functools.reduce(lambda place, step: place[step], path[:-1], top)[path[-1]] = value


@pytest.mark.parametrize("is_statement", [True, False])
def test_a_second_content_beside_a_true_one_is_refused(is_statement: bool) -> None:
    sigstore = PrivateSigstore(b"both")
    statement = json.loads(sigstore.sign_statement(JOB, STATEMENT))
    artifact = json.loads(sigstore.sign_artifact(JOB, ARTIFACT))
    whole, other = (statement, artifact) if is_statement else (artifact, statement)
    judged = judge(sigstore, json.dumps(other | whole).encode())
    assert judged.facts is None and not judged.lean_said_yes

"""A real log of ours, read by programs that no one here wrote: aics-tlog and sigstore-python's own checks."""

from __future__ import annotations

import base64
import json
import shutil
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from other_tools import Answer, OtherTools
from running_log import NAME, RunningLog, running_log
from sigstore._internal.merkle import verify_merkle_inclusion
from sigstore._internal.rekor.checkpoint import verify_checkpoint
from sigstore._internal.trust import Keyring, RekorKeyring
from sigstore.errors import VerificationError
from sigstore.models import TransparencyLogEntry
from sigstore_models.common.v1 import PublicKey
from sigstore_models.rekor.v1 import TransparencyLogEntry as EntryModel

from placet.adapters.log_client import LogClient
from placet.core.tlog.leaf import leaf_hash, parse_leaf
from placet.core.tlog.note import COSIGNATURE_ED25519, VerifierKey
from placet.core.tlog.proof import parse_proof

# More than one full tile, so that there are two levels of them.
DECISIONS = 260


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLog]:
    with running_log(tmp_path_factory.mktemp("log"), DECISIONS) as running:
        yield running


def ask_aics(tools: OtherTools, log: RunningLog, command: str, *arguments: str, quorum: int = 2) -> Answer:
    """`aics-tlog`: the keys come from the policy, everything else from the log."""
    keys = [word for key in log.witness_keys for word in ("--witness-key", str(key))]
    return tools.run(
        *(Path(sys.executable), "-m", "aics_tlog", command, "--log-key", str(log.key), "--origin", NAME),
        *keys,
        *("--quorum", str(quorum), *arguments),
        PYTHONPATH=str(tools.cache / "python"),
    )


@pytest.mark.parametrize("source", ["folder", "server"])
def test_aics_tlog_accepts_checkpoint_and_witness_quorum(
    tools: OtherTools, log: RunningLog, source: str
) -> None:
    tiles = str(log.tiles) if source == "folder" else log.url
    answer = ask_aics(tools, log, "verify-checkpoint", "--tiles", tiles, "--max-age", "600")
    assert answer.accepted, answer.said


@pytest.mark.parametrize("source", ["folder", "server"])
@pytest.mark.parametrize("index", [0, 255, 256, DECISIONS - 1])
def test_aics_tlog_finds_our_leaves_in_our_tiles(
    tools: OtherTools, log: RunningLog, tmp_path: Path, source: str, index: int
) -> None:
    tiles = str(log.tiles) if source == "folder" else log.url
    leaf = tmp_path / "leaf"
    leaf.write_bytes(log.leaves[index])
    asked = ("--tiles", tiles, "--index", str(index), "--leaf", str(leaf))
    answer = ask_aics(tools, log, "verify-inclusion", *asked)
    assert answer.accepted, answer.said
    leaf.write_bytes(log.leaves[index - 1])
    assert not ask_aics(tools, log, "verify-inclusion", *asked).accepted


@pytest.mark.parametrize("index", [0, 101, DECISIONS - 1])
def test_aics_tlog_accepts_the_proofs_that_we_hand_out(
    tools: OtherTools, log: RunningLog, tmp_path: Path, index: int
) -> None:
    """A C2SP tlog-proof in its parts, since aics-tlog knows only these."""
    proof = parse_proof(LogClient(log.url).fetch_proof(leaf_hash(parse_leaf(log.leaves[index]))))
    (tmp_path / "leaf").write_bytes(log.leaves[index])
    (tmp_path / "checkpoint").write_bytes(proof.checkpoint)
    (tmp_path / "proof").write_text("".join(f"{base64.b64encode(h).decode()}\n" for h in proof.hashes))
    asked = ["--leaf", str(tmp_path / "leaf"), "--index", str(proof.leaf_index)]
    asked += ["--proof", str(tmp_path / "proof"), "--checkpoint", str(tmp_path / "checkpoint")]
    answer = ask_aics(tools, log, "verify-inclusion", *asked)
    assert answer.accepted, answer.said
    (tmp_path / "proof").write_text("".join(f"{'A' * 43}=\n" for _ in proof.hashes))
    assert not ask_aics(tools, log, "verify-inclusion", *asked).accepted


def test_aics_tlog_sees_that_the_log_only_grew(tools: OtherTools, log: RunningLog, tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(log.old_checkpoint)
    asked = ("--tiles", str(log.tiles), "--old-checkpoint", str(tmp_path / "old"))
    answer = ask_aics(tools, log, "verify-consistency", *asked, quorum=0)
    assert answer.accepted, answer.said


def test_aics_tlog_refuses_a_missing_witness_and_altered_tiles(
    tools: OtherTools, log: RunningLog, tmp_path: Path
) -> None:
    copy = tmp_path / "tiles"
    shutil.copytree(log.tiles, copy)
    note = (copy / "checkpoint").read_text()
    (copy / "checkpoint").write_text("".join(note.splitlines(keepends=True)[:-1]))
    assert not ask_aics(tools, log, "verify-checkpoint", "--tiles", str(copy)).accepted
    assert ask_aics(tools, log, "verify-checkpoint", "--tiles", str(copy), quorum=1).accepted
    (copy / "checkpoint").write_text(note)
    entries = copy / "tile" / "entries" / "000"
    entries.write_bytes(entries.read_bytes().replace(b"approved", b"denied__", 1))
    answer = ask_aics(tools, log, "verify-inclusion", "--tiles", str(copy), "--index", "0")
    assert not answer.accepted


def test_aics_tlog_refuses_another_log_s_key(tools: OtherTools, log: RunningLog) -> None:
    stranger = log._replace(policy=log.policy._replace(logs=(log.policy.logs[0]._replace(key=_other(log)),)))
    assert not ask_aics(tools, stranger, "verify-checkpoint", "--tiles", str(log.tiles)).accepted


def _other(log: RunningLog) -> VerifierKey:
    return log.key._replace(public_key=log.witness_keys[0].public_key)


def rekor_entry(log: RunningLog, index: int) -> tuple[TransparencyLogEntry, RekorKeyring]:
    """Our proof in Sigstore's words, and our key in its keyring."""
    proof = parse_proof(LogClient(log.url).fetch_proof(leaf_hash(parse_leaf(log.leaves[index]))))
    log_id = base64.b64encode(sha256(NAME.encode() + b"\n\x01" + log.key.public_key).digest()).decode()
    size, root = proof.checkpoint.decode().split("\n")[1:3]
    value: dict[str, Any] = {
        "logIndex": str(index),
        "logId": {"keyId": log_id},
        "kindVersion": {"kind": "hashedrekord", "version": "0.0.2"},
        "integratedTime": "0",
        "canonicalizedBody": base64.b64encode(log.leaves[index]).decode(),
        "inclusionProof": {
            "logIndex": str(proof.leaf_index),
            "rootHash": root,
            "treeSize": size,
            "hashes": [base64.b64encode(node).decode() for node in proof.hashes],
            "checkpoint": {"envelope": proof.checkpoint.decode()},
        },
    }
    spki = Ed25519PublicKey.from_public_bytes(log.key.public_key).public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    key = {"rawBytes": base64.b64encode(spki).decode(), "keyDetails": "PKIX_ED25519"}
    keyring = RekorKeyring(Keyring([PublicKey.from_json(json.dumps(key))]))
    return TransparencyLogEntry(EntryModel.from_json(json.dumps(value))), keyring


@pytest.mark.parametrize("index", [0, 100, 255, DECISIONS - 1])
def test_sigstore_python_s_merkle_code_accepts_our_proofs(log: RunningLog, index: int) -> None:
    entry, _ = rekor_entry(log, index)
    verify_merkle_inclusion(entry)
    entry._inner.canonicalized_body = log.leaves[index - 1]
    with pytest.raises(VerificationError):
        verify_merkle_inclusion(entry)


def test_the_policy_names_witnesses_of_the_kind_that_others_read(log: RunningLog) -> None:
    assert {key.algorithm for key in log.witness_keys} == {COSIGNATURE_ED25519}


def test_sigstore_python_s_checkpoint_code_accepts_our_checkpoints(log: RunningLog) -> None:
    entry, keyring = rekor_entry(log, 7)
    verify_checkpoint(keyring, entry)
    envelope = entry._inner.inclusion_proof.checkpoint.envelope
    other = envelope.replace(f"\n{DECISIONS}\n", f"\n{DECISIONS + 1}\n")
    entry._inner.inclusion_proof.checkpoint.envelope = other
    with pytest.raises(VerificationError):
        verify_checkpoint(keyring, entry)

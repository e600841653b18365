"""What `placet log export rekor` writes: verifiers that know no placet take it, and refuse lies."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from exported_people import Export, export_signatures
from other_tools import VERIFIERS
from signing_people import Workshop
from sigstore._internal.merkle import verify_merkle_inclusion
from sigstore._internal.rekor.checkpoint import verify_checkpoint
from sigstore._internal.trust import KeyringPurpose
from sigstore.models import TransparencyLogEntry, TrustedRoot
from sigstore_models.rekor.v1 import TransparencyLogEntry as EntryModel

# gh reads attestations by certificates alone.
TOOLS = {name: ask for name, ask in VERIFIERS.items() if name != "gh"}
KEYS = ("webauthn", "openssh")


@pytest.fixture(scope="module")
def exports(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Export]:
    folder, server = tmp_path_factory.mktemp("exports"), workshop.server.address
    return export_signatures(
        folder, server, f"{server}/api/v1/timestamp", workshop.files / "trusted_root.json"
    )


@pytest.fixture(scope="module")
def unstamped(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Export]:
    folder = tmp_path_factory.mktemp("unstamped")
    return export_signatures(folder, workshop.server.address, "", workshop.files / "trusted_root.json")


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("key", KEYS)
def test_the_logged_signature_of_a_hardware_key_is_accepted(
    workshop: Workshop, exports: dict[str, Export], tool: str, key: str
) -> None:
    answer = TOOLS[tool](workshop.tools, exports[key].question())
    assert answer.accepted, answer.said


@pytest.mark.parametrize("tool", [name for name in TOOLS if name != "sigstore-go"])
def test_without_a_timestamp_it_is_accepted_by_whoever_asks_for_none(
    workshop: Workshop, unstamped: dict[str, Export], tool: str
) -> None:
    """sigstore-go's command asks for some time, always; its library does not."""
    answer = TOOLS[tool](workshop.tools, unstamped["webauthn"].question(timestamped=False))
    assert answer.accepted, answer.said


def flip(path: Path, at: int) -> bytes:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    return bytes(data)


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("key", KEYS)
def test_other_signed_bytes_are_refused(
    workshop: Workshop, exports: dict[str, Export], tool: str, key: str
) -> None:
    """One bit of the flags, the counter, or the hash of what the person saw."""
    for at in (32, 36, -1):
        altered = workshop.write(flip(exports[key].signed, at), ".signed")
        assert not TOOLS[tool](workshop.tools, exports[key].question(artifact=altered)).accepted


@pytest.mark.parametrize("tool", TOOLS)
def test_another_person_s_key_is_refused(workshop: Workshop, exports: dict[str, Export], tool: str) -> None:
    question = exports["webauthn"].question(key=exports["openssh"].key)
    assert not TOOLS[tool](workshop.tools, question).accepted


def zero_hash(entry: dict[str, Any], other: dict[str, Any]) -> None:
    entry["inclusionProof"]["hashes"][0] = "A" * 43 + "="


def other_proof(entry: dict[str, Any], other: dict[str, Any]) -> None:
    entry["inclusionProof"] = other["inclusionProof"]


def other_body(entry: dict[str, Any], other: dict[str, Any]) -> None:
    entry["canonicalizedBody"] = other["canonicalizedBody"]


def other_entry(entry: dict[str, Any], other: dict[str, Any]) -> None:
    entry.clear()
    entry.update(other)


def other_size(entry: dict[str, Any], other: dict[str, Any]) -> None:
    checkpoint = entry["inclusionProof"]["checkpoint"]
    size = entry["inclusionProof"]["treeSize"]
    checkpoint["envelope"] = checkpoint["envelope"].replace(f"\n{size}\n", f"\n{int(size) + 1}\n")


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("change", [zero_hash, other_proof, other_body, other_entry, other_size])
def test_an_altered_export_is_refused(
    workshop: Workshop, exports: dict[str, Export], tool: str, change: Callable[..., None]
) -> None:
    one, other = (json.loads(exports[key].file.read_text()) for key in KEYS)
    entries = [bundle["verificationMaterial"]["tlogEntries"][0] for bundle in (one, other)]
    change(*entries)
    altered = workshop.write(json.dumps(one).encode())
    answer = TOOLS[tool](workshop.tools, exports["webauthn"].question(bundle=altered))
    # Go's verifiers make the leaf from signature and key, and never read the one that the bundle carries.
    assert answer.accepted == (change is other_body and tool != "sigstore-js"), answer.said


@pytest.mark.parametrize("key", KEYS)
def test_sigstore_python_s_own_checks_of_the_log_accept_it(
    workshop: Workshop, exports: dict[str, Export], key: str
) -> None:
    """Its bundles want certificates; the checks below them do not."""
    bundle = json.loads(exports[key].file.read_text())
    (value,) = bundle["verificationMaterial"]["tlogEntries"]
    entry = TransparencyLogEntry(EntryModel.from_json(json.dumps(value)))
    root = TrustedRoot.from_file(str(workshop.files / "trusted_root.json"))
    verify_merkle_inclusion(entry)
    verify_checkpoint(root.rekor_keyring(KeyringPurpose.VERIFY), entry)

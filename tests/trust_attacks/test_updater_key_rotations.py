"""tuf-conformance's `test_updater_key_rotations`, by name: the rotations, with people's keys."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from trust_simulator import ONLINE, PEOPLE, Gate, Signer, Simulator

from placet.adapters.tuf.trust import ROOT, SNAPSHOT, TARGETS, TIMESTAMP
from placet.core.encoding import sha256_hex
from placet.core.errors import Reason


class Version(NamedTuple):
    """One published version: who may sign, how many must, who did, and whether a client takes it."""

    keys: list[int]
    threshold: int
    signed_by: list[int]
    accepted: bool = True


FIVE = [0, 1, 2, 3, 4]
ROOTS = {
    "1-of-1-key-rotation": [Version([1], 1, [1]), Version([2], 1, [2, 1]), Version([2], 1, [2])],
    "1-of-1-key-rotation-unused-signatures": [
        Version([1], 1, [3, 1, 4]),
        Version([2], 1, [3, 2, 1, 4]),
        Version([2], 1, [3, 2, 4]),
    ],
    "3-of-5-sign-with-different-keycombos": [
        Version(FIVE, 3, signed_by) for signed_by in ([0, 2, 4], [0, 4, 1], [0, 1, 3], [0, 1, 3])
    ],
    "3-of-5-one-key-rotated": [Version(FIVE, 3, [0, 2, 4]), Version([0, 1, 3, 4, 5], 3, [0, 4, 1])],
    "3-of-5-one-key-rotated-with-intermediate-step": [
        Version(FIVE, 3, [0, 2, 4]),
        Version([0, 1, 3, 4, 5], 3, [0, 2, 4, 5]),
        Version([0, 1, 3, 4, 5], 3, [0, 4, 5]),
    ],
    "3-of-5-all-keys-rotated-with-intermediate-step": [
        Version(FIVE, 3, [0, 2, 4]),
        Version([5, 6, 7, 8, 9], 3, [0, 2, 4, 5, 6, 7]),
        Version([5, 6, 7, 8, 9], 3, [5, 6, 7]),
    ],
    "1-of-3-threshold-increase-to-2-of-3": [Version([1, 2, 3], 1, [1]), Version([1, 2, 3], 2, [1, 2])],
    "2-of-3-threshold-decrease-to-1-of-3": [
        Version([1, 2, 3], 2, [1, 2]),
        Version([1, 2, 3], 1, [1, 2]),
        Version([1, 2, 3], 1, [1]),
    ],
    "1-of-2-threshold-increase-to-2-of-2": [Version([1], 1, [1]), Version([1, 2], 2, [1, 2])],
    "1-of-1-key-rotation-fail-not-signed-with-old-key": [
        Version([1], 1, [1]),
        Version([2], 1, [2, 3, 4], accepted=False),
    ],
    "1-of-1-key-rotation-fail-not-signed-with-new-key": [
        Version([1], 1, [1]),
        Version([2], 1, [1, 3, 4], accepted=False),
    ],
    "3-of-5-one-key-rotate-fails-not-signed-with-3-new-keys": [
        Version(FIVE, 3, [0, 2, 4]),
        Version([0, 1, 3, 4, 5], 3, [0, 2, 4], accepted=False),
    ],
    "3-of-5-one-key-rotate-fails-not-signed-with-3-old-keys": [
        Version(FIVE, 3, [0, 2, 4]),
        Version([0, 1, 3, 4, 5], 3, [0, 4, 5], accepted=False),
    ],
    "1-of-3-threshold-bump-to-2-of-3-fails-new-threshold-not-reached": [
        Version([1, 2, 3], 1, [1]),
        Version([1, 2, 3], 2, [2], accepted=False),
    ],
    "2-of-3-threshold-decr-to-1-of-3-fails-old-threshold-not-reached": [
        Version([1, 2, 3], 2, [1, 2]),
        Version([1, 2, 3], 1, [1], accepted=False),
    ],
}
OTHERS = {
    "1-of-1-key-rotation": Version([2], 1, [2]),
    "1-of-1-key-rotation-unused-signatures": Version([1], 1, [3, 1, 4]),
    "1-of-1-key-rotation-fail-not-signed-with-new-key": Version([2], 1, [1, 3, 4], accepted=False),
    "3-of-5-one-key-signature-wrong-not-signed-with-3-expected-keys": Version(
        [0, 1, 3, 4, 5], 3, [0, 2, 4], accepted=False
    ),
    "2-of-5-one-key-signature-missing-threshold-not-reached": Version(
        [0, 1, 3, 4, 5], 3, [0, 4], accepted=False
    ),
    "3-of-5-sign-first-combo": Version(FIVE, 3, [0, 2, 4]),
    "3-of-5-sign-second-combo": Version(FIVE, 3, [0, 4, 1]),
    "3-of-5-sign-third-combo": Version(FIVE, 3, [0, 1, 3]),
    "3-of-5-sign-fourth-combo": Version(FIVE, 3, [1, 2, 3]),
    "3-of-5-sign-fifth-combo": Version(FIVE, 3, [2, 3, 4]),
}


def signers(role: str) -> list[Signer]:
    return list(PEOPLE if role in (ROOT, TARGETS) else ONLINE)


@pytest.fixture
def client(http_client: Gate) -> Gate:
    """Where a role came from makes no difference to who signed it."""
    return http_client


@pytest.mark.parametrize("versions", ROOTS.values(), ids=ROOTS)
def test_root_rotation(repo: Simulator, client: Gate, versions: list[Version]) -> None:
    keys = signers(ROOT)
    repo.metadata[ROOT].clear()
    for number, version in enumerate(versions, 1):
        repo.set_keys(
            ROOT, [keys[i] for i in version.keys], [keys[i] for i in version.signed_by], version.threshold
        )
        repo.root.version = number
        repo.republish(ROOT)
    client.root_sha256 = sha256_hex(repo.first_root)
    if versions[-1].accepted:
        client.refresh()
        assert client.kept(ROOT) == repo.metadata[ROOT][-1]
    else:
        client.refuses(Reason.BAD_TRUST, "not signed by enough")
        assert client.kept(ROOT) == repo.metadata[ROOT][-2]


@pytest.mark.parametrize("role", [TIMESTAMP, SNAPSHOT, TARGETS])
@pytest.mark.parametrize("version", OTHERS.values(), ids=OTHERS)
def test_non_root_rotations(repo: Simulator, http_client: Gate, role: str, version: Version) -> None:
    keys = signers(role)
    http_client.refresh()
    repo.set_keys(
        role, [keys[i] for i in version.keys], [keys[i] for i in version.signed_by], version.threshold
    )
    repo.publish(ROOT)
    repo.publish(*(each for each in (TARGETS, SNAPSHOT, TIMESTAMP) if each == role or each != TARGETS))
    if version.accepted:
        http_client.refresh()
        assert http_client.kept(role) == repo.metadata[role][-1]
    else:
        http_client.refuses(Reason.BAD_TRUST, "not signed by enough")

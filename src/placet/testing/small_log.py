"""A log of a few entries in memory, with witnesses, for proofs in tests and vectors; it stores nothing.

log = SmallLog(seed=b"example")
world.more_files["log-policy"] = log.policy()
bundle = log.prove(world.bundle(request, ALICE, BOB), at=NOW + 90)
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from placet.core.bundle import IntentBundle, LogProof
from placet.core.encoding import Digest, sha256_hex
from placet.core.report import parse_report
from placet.core.tlog.checkpoint import Checkpoint, encode_checkpoint, sign_checkpoint
from placet.core.tlog.cosignature import cosign
from placet.core.tlog.leaf import decision_leaf, encode_leaf
from placet.core.tlog.merkle import CompactRange, extend, hash_leaf, inclusion_proof
from placet.core.tlog.note import (
    COSIGNATURE_ED25519,
    ED25519,
    NoteSigner,
    encode_signatures,
)
from placet.core.tlog.proof import TlogProof, encode_proof

WITNESSES = ("w1", "w2", "w3")


def note_signer(name: str, algorithm: int, seed: bytes) -> NoteSigner:
    """Returns a signer whose key follows from `seed`."""
    private = hashlib.sha256(b"note signer " + seed + name.encode()).digest()
    return NoteSigner(name, algorithm, Ed25519PrivateKey.from_private_bytes(private))


class SmallLog:
    """A log with three witnesses.

    Args:
        seed: every key follows from it.
        log_origin: the log's name.
        quorum: how many of the witnesses are a quorum; 0 for none.
        url: where the policy says that the log is.
    """

    def __init__(
        self, *, seed: bytes = b"log", log_origin: str = "log.example/demo", quorum: int = 2, url: str = ""
    ) -> None:
        self.signer = note_signer(log_origin, ED25519, seed)
        self.witnesses = {w: note_signer(f"{w}.example", COSIGNATURE_ED25519, seed) for w in WITNESSES}
        self._quorum, self._url = quorum, url
        # Fillers: a tree of one leaf has an empty proof, which hides mistakes.
        self.leaves: list[bytes] = [b"filler %d" % i for i in range(5)]

    def policy(self) -> bytes:
        """Returns the log policy that names this log and its witnesses."""
        lines = [f"log {self.signer.verifier_key} {self._url}".rstrip()]
        lines += [f"witness {name} {signer.verifier_key}" for name, signer in self.witnesses.items()]
        if self._quorum:
            lines.append(f"group all-of-them {self._quorum} {' '.join(self.witnesses)}")
        lines.append(f"quorum {'all-of-them' if self._quorum else 'none'}")
        return "".join(f"{line}\n" for line in lines).encode()

    def append(self, leaf: bytes) -> int:
        """Appends an entry; returns its index."""
        self.leaves.append(leaf)
        return len(self.leaves) - 1

    def checkpoint(self, *, times: dict[str, int]) -> bytes:
        """Returns the signed checkpoint, cosigned by these witnesses at these times (Unix seconds)."""
        compact, _ = extend(CompactRange(0, ()), [hash_leaf(leaf) for leaf in self.leaves])
        checkpoint = Checkpoint(self.signer.name, len(self.leaves), compact.root())
        signed = sign_checkpoint(checkpoint, self.signer)
        text = encode_checkpoint(checkpoint)
        return signed + encode_signatures(
            tuple(cosign(text, self.witnesses[name], time) for name, time in times.items())
        )

    def proof(self, index: int, *, times: dict[str, int]) -> str:
        """Returns the proof of one entry in the tree as it is now."""
        _, nodes = extend(CompactRange(0, ()), [hash_leaf(leaf) for leaf in self.leaves])
        known = {(level, at): value for level, at, value in nodes}
        hashes = inclusion_proof(index, len(self.leaves), lambda level, at: known[level, at])
        return encode_proof(TlogProof(index, hashes, self.checkpoint(times=times)))

    def prove(self, bundle: IntentBundle, *, at: int, witnesses: Sequence[str] = WITNESSES) -> IntentBundle:
        """Appends the bundle's decisions, and returns it with their proofs, cosigned at `at`."""
        reports = {parse_report(r.payload).signature_digest: r for r in bundle.reports}
        payload = sha256_hex(bundle.envelope.payload)
        indexes: dict[Digest, int] = {}
        for signature in bundle.envelope.signatures:
            digest = sha256_hex(signature.sig)
            if digest in reports:
                leaf = decision_leaf("approved", payload, signature, reports[digest])
                indexes[digest] = self.append(encode_leaf(leaf))
        times = dict.fromkeys(witnesses, at)
        proofs = tuple(LogProof(digest, self.proof(i, times=times)) for digest, i in indexes.items())
        return bundle._replace(log=proofs)

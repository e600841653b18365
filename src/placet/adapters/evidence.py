"""What this machine verifies of the evidence that requests and bundles carry: every kind, behind one port.

Each framework's library is imported when there is evidence of its kind, and not before.

A piece of evidence that was signed once is verified once: its facts depend on its own bytes and on the trust
root alone, so they are kept under its digest until the trust root changes.  Tokens are judged by the request
they came with, and layouts expire by the clock; neither is kept.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

from placet.adapters.trust_files import TrustFiles
from placet.core.bundle import IntentBundle, carries_evidence, parse_bundle
from placet.core.encoding import Digest, encode_canonical, sha256_hex
from placet.core.evidence.facts import (
    DSSE_MEDIA_TYPE,
    LINKS_MEDIA_TYPE,
    PYPI_MEDIA_TYPE,
    SIGSTORE_MEDIA_TYPES,
    Evidence,
    EvidenceFact,
)
from placet.core.evidence.requester import TOKEN_MEDIA_TYPE
from placet.core.statement import IntentStatement, parse_statement
from placet.core.trust import Trust
from placet.ports.evidence_verifier import EvidenceVerifier

_SIGNED_MEDIA_TYPES = SIGSTORE_MEDIA_TYPES | {DSSE_MEDIA_TYPE, PYPI_MEDIA_TYPE}
_MAX_KEPT = 1024
# Anybody can have large documents signed, and JSON takes dozens of times its size in memory.
_MAX_KEPT_BYTES = 2 * 1024 * 1024
_MAX_KEPT_DOCUMENT = 256 * 1024


class _Kept(NamedTuple):
    """What was verified, and how large the document was."""

    facts: tuple[EvidenceFact, ...]
    size: int


class EvidenceVerifiers:
    """Verifies evidence of every kind that this version reads.  One may serve many threads."""

    def __init__(self, snapshot: str | os.PathLike[str]) -> None:
        """Names the trust snapshot; nothing is read before it is needed."""
        self._snapshot = Path(snapshot)
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[Digest, str], _Kept] = OrderedDict()
        self._kept_bytes = 0
        self._kept_for = ""
        self._signed: EvidenceVerifier | None = None

    def verify(
        self, statement: IntentStatement, evidence: tuple[Evidence, ...], *, trust: Trust
    ) -> tuple[EvidenceFact, ...]:
        """Returns what was verified, in the order in which the evidence is carried.

        Raises:
            VerificationError, PolicyError: evidence is false, or made for something else.
            IndeterminateError: it cannot be judged here.
            MalformedError: it is not in its format.
        """
        facts: list[EvidenceFact] = []
        for item in evidence:
            facts += self._verify_one(statement, item, trust)
        return tuple(facts)

    def _verify_one(
        self, statement: IntentStatement, item: Evidence, trust: Trust
    ) -> tuple[EvidenceFact, ...]:
        if item.media_type == TOKEN_MEDIA_TYPE:
            from placet.adapters.oidc.tokens import TokenVerifier

            return TokenVerifier(self._snapshot).verify(statement, (item,), trust=trust)
        if item.media_type == LINKS_MEDIA_TYPE:
            from placet.adapters.intoto.verify import LinkSetVerifier

            return LinkSetVerifier(self._snapshot).verify(statement, (item,), trust=trust)
        if item.media_type in _SIGNED_MEDIA_TYPES:
            return self._verify_signed(statement, item, trust)
        return ()

    def _verify_signed(
        self, statement: IntentStatement, item: Evidence, trust: Trust
    ) -> tuple[EvidenceFact, ...]:
        key = (item.digest, item.media_type)
        version = _trust_version(trust)
        with self._lock:
            if self._kept_for != version:
                self._kept.clear()
                self._kept_bytes, self._kept_for = 0, version
            kept = self._kept.get(key)
        if kept is not None:
            return kept.facts
        facts = self._signed_verifier().verify(statement, (item,), trust=trust)
        size = len(item.content)
        with self._lock:
            # Another thread may have seen a newer trust root meanwhile, or verified the same.
            if self._kept_for == version and key not in self._kept and size <= _MAX_KEPT_DOCUMENT:
                self._kept[key] = _Kept(facts, size)
                self._kept_bytes += size
                while len(self._kept) > _MAX_KEPT or self._kept_bytes > _MAX_KEPT_BYTES:
                    self._kept_bytes -= self._kept.popitem(last=False)[1].size
        return facts

    def _signed_verifier(self) -> EvidenceVerifier:
        if self._signed is None:
            from placet.adapters.sigstore.evidence import SigstoreEvidence

            self._signed = SigstoreEvidence(TrustFiles(self._snapshot))
        return self._signed


def _trust_version(trust: Trust) -> str:
    """Names everything that the administrators signed: any change of it is a change of trust."""
    return sha256_hex(encode_canonical({"files": trust.files, "versions": trust.versions}))


def verify_bundle_evidence(
    bundle: bytes | IntentBundle, *, trust: Trust, verifier: EvidenceVerifier
) -> tuple[EvidenceFact, ...]:
    """Verifies what a bundle carries as evidence; reads nothing more where there is none.

    Raises:
        PlacetError: the bundle is malformed, or its evidence is false or cannot be judged here.
    """
    if isinstance(bundle, bytes):
        if not carries_evidence(bundle):
            return ()
        bundle = parse_bundle(bundle)
    return verifier.verify(parse_statement(bundle.envelope.payload), bundle.evidence, trust=trust)

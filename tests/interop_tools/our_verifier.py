"""placet as one more verifier: what a gate's evidence adapter finds, held against the same question."""

from __future__ import annotations

import hashlib
import json
import tempfile
from functools import cache
from pathlib import Path

from other_tools import Answer, OtherTools, Question

from placet.adapters.sigstore.evidence import SigstoreEvidence
from placet.adapters.trust_files import TrustFiles, keep_files
from placet.core.encoding import sha256_hex
from placet.core.errors import PlacetError
from placet.core.evidence.facts import SIGSTORE_MEDIA_TYPE, SIGSTORE_MEDIA_TYPES, Evidence, EvidenceFact
from placet.core.statement import parse_statement
from placet.core.trust import Trust, parse_trust
from placet.testing.world import World


@cache
def _gate(root: bytes, like_github: bool, key: bytes) -> tuple[SigstoreEvidence, Trust]:
    world = World(seed=b"our verifier")
    name = "sigstore/github.json" if like_github else "sigstore/trusted_root.json"
    world.more_files = {name: root} | ({"keys/signer.pub": key} if key else {})
    snapshot = Path(tempfile.mkdtemp()) / "trust.json"
    snapshot.write_bytes(world.snapshot())
    keep_files(snapshot, world.files())
    return SigstoreEvidence(TrustFiles(snapshot)), parse_trust(snapshot.read_bytes())


def find_fact(question: Question) -> EvidenceFact:
    """Returns what the adapter finds in the bundle.

    Raises:
        PlacetError: it refuses it.
    """
    content = question.bundle.read_bytes()
    root = question.trusted_root.read_bytes()
    verifier, trust = _gate(root, not question.logged, question.key.read_bytes() if question.key else b"")
    request = World(seed=b"our verifier").request_release({"app.bin": question.artifact.read_bytes()})
    evidence = Evidence(sha256_hex(content), _media_type(content), content)
    (fact,) = verifier.verify(parse_statement(request.payload), (evidence,), trust=trust)
    return fact


def _media_type(content: bytes) -> str:
    """Returns what a requester would call it: a bundle, whatever version it says it is of."""
    try:
        said = str(json.loads(content)["mediaType"])
    except ValueError:
        said = ""
    return said if said in SIGSTORE_MEDIA_TYPES else SIGSTORE_MEDIA_TYPE


def ask_placet(tools: OtherTools, question: Question) -> Answer:
    """Returns whether the adapter accepts the bundle, and what it found is what was asked for."""
    try:
        fact = find_fact(question)
    except PlacetError as refusal:
        return Answer(False, f"{refusal.reason}: {refusal}")
    assert fact.signer is not None
    digest = hashlib.new(question.digest, question.artifact.read_bytes()).hexdigest()
    found = {
        "subject": f"{question.digest}:{digest}" in fact.subjects,
        "predicate type": fact.predicate_type == question.predicate_type,
        "signer": (fact.signer.issuer, fact.signer.identity) == (question.issuer, question.identity),
        "log": fact.logged or not question.logged,
        "time": fact.signed_at > 0 or not question.timestamped,
    }
    wrong = [name for name, right in found.items() if not right]
    return Answer(not wrong, f"other {', '.join(wrong)}")

"""A release with SLSA provenance in a Sigstore bundle, approved by two people, at its gate."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from placet.adapters.evidence import EvidenceVerifiers, verify_bundle_evidence
from placet.adapters.sigstore.evidence import SigstoreEvidence
from placet.adapters.trust_files import TrustFiles
from placet.core.bundle import parse_bundle
from placet.core.verify import VerifiedApproval, verify_for_use
from placet.lab.stage import ARTIFACT, Stage
from placet.ports.evidence_verifier import EvidenceVerifier
from placet.testing.private_sigstore import PrivateSigstore
from placet.testing.world import GATE, RELEASE, RELEASE_TARGET

WHEEL = b"wheel"
# The leaf's signature is the authority's, by P-384; the authority's own certificates are checked once, when
# the root is read.  Certificate log, envelope, checkpoint and timestamp sign by P-256.
RAW_P384, RAW_P256 = 1, 4


class EvidenceScene:
    """Everything a gate has at hand, and what it is compared with.

    The chain has P-384 authorities with an intermediate, as the public good instance; the entry is in
    Rekor v2 and bears a timestamp.
    """

    def __init__(self, folder: Path) -> None:
        sigstore = PrivateSigstore(b"benchmark", ca_curve="P-384", intermediate=True)
        # Asked three minutes ago and decided since, so that a gate's own clock accepts it.
        self.stage = Stage(folder, now=int(time.time()) - 180, sigstore=sigstore)
        self.provenance = self.stage.provenance(ARTIFACT, WHEEL)
        request = self.stage.request_release(ARTIFACT, WHEEL, self.provenance)
        self.bundle = self.stage.approve(request)
        self.expected = self.stage.expect_release(WHEEL)
        self.now = self.stage.now + 120
        (folder / "app.intent.json").write_bytes(self.bundle)
        (folder / "trusted_root.json").write_text(json.dumps(sigstore.trusted_root()))
        (folder / "provenance.sigstore.json").write_bytes(self.provenance)
        self.root = folder / "trusted_root.json"
        self.identity = f"https://github.com/{self.stage.job['job_workflow_ref']}"
        self.issuer = str(self.stage.job["iss"])

    def verify_arguments(self) -> list[str]:
        """Returns the arguments of the `placet verify` that allows it."""
        folder = self.stage.folder
        (digest,) = self.expected.subjects
        arguments = ["verify", str(folder / "app.intent.json"), "--trust", str(self.stage.snapshot)]
        arguments += ["--gate", GATE, "--action", RELEASE, "--target", RELEASE_TARGET]
        return [*arguments, f"--artifact={digest}"]

    def decide(self, verifier: EvidenceVerifier) -> VerifiedApproval:
        """Makes one whole decision: evidence, approvals, rules."""
        trust, bundle = self.stage.trust, parse_bundle(self.bundle)
        facts = verify_bundle_evidence(bundle, trust=trust, verifier=verifier)
        return verify_for_use(
            bundle, trust=trust, gate=GATE, expected=self.expected, now=self.now, evidence=facts
        )

    def each_anew(self) -> EvidenceVerifier:
        """Returns a verifier that keeps trusted roots, and no facts."""
        return SigstoreEvidence(TrustFiles(self.stage.snapshot))

    def once(self) -> EvidenceVerifier:
        """Returns the verifier that gates have: it keeps facts until trust changes."""
        return EvidenceVerifiers(self.stage.snapshot)

    def sigstore_python(self) -> Callable[[], Any]:
        """Returns sigstore-python's own verification of the provenance, its verifier made beforehand."""
        from sigstore.models import Bundle, TrustedRoot
        from sigstore.verify import Verifier, policy

        verifier = Verifier(trusted_root=TrustedRoot.from_file(str(self.root)))
        identity = policy.Identity(identity=self.identity, issuer=self.issuer)
        return lambda: verifier.verify_dsse(Bundle.from_json(self.provenance), identity)


def raw_checks() -> Callable[[], None]:
    """Returns the bare signature checks of one such bundle: same curves, same number, nothing parsed."""
    checks = []
    for curve, digest, count in (
        (ec.SECP384R1(), hashes.SHA384(), RAW_P384),
        (ec.SECP256R1(), hashes.SHA256(), RAW_P256),
    ):
        key = ec.generate_private_key(curve)
        algorithm = ec.ECDSA(digest)
        signature = key.sign(WHEEL, algorithm)
        checks += [(key.public_key(), signature, algorithm)] * count

    def run() -> None:
        for key, signature, algorithm in checks:
            key.verify(signature, WHEEL, algorithm)

    return run

"""Sigstore's own conformance suite: every case comes out as the suite expects, each refusal with its reason.

The suite is told whom to expect and which artifact was signed; here rules ask that of the facts.  So a case
fails when it is refused, when its facts are about another artifact, or when they name another signer.
"""

from __future__ import annotations

from pathlib import Path

from evidence_world import ROOT, Case, public_good, verify

from placet.core.encoding import sha256_hex
from placet.core.errors import PlacetError, Reason
from placet.core.evidence.facts import EvidenceFact

SIGNER = (
    "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/"
    ".github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main"
)
ISSUER = "https://token.actions.githubusercontent.com"

# Cases that come out otherwise than the suite expects, with the reason; docs/evidence.md lists the same.
EXCEPTIONS = {
    "bundle-with-root-cert_fail": "Its chain carries a root, which the suite wants refused. Only the leaf of "
    "a chain is read here, because npm's provenance of version 0.1 carries its root, too; nothing is trusted "
    "for being in a bundle. With the signer that the suite expects it is refused all the same.",
}

INVALID, TIME = Reason.EVIDENCE_INVALID, Reason.EVIDENCE_TIME
NOT_LOGGED, UNSUPPORTED = Reason.EVIDENCE_NOT_LOGGED, Reason.EVIDENCE_UNSUPPORTED
NOT_VERIFIED = Reason.EVIDENCE_NOT_VERIFIED
OTHER_ARTIFACT, OTHER_SIGNER = "another artifact", "another signer"

REASONS = {
    "bundle-empty-certificate-chain_fail": INVALID,
    "bundle-from-wrong-instance_fail": INVALID,
    "bundle-invalid-base64-signature_fail": INVALID,
    "bundle-malformed-json_fail": Reason.NOT_JSON,
    "bundle-negative-log-index_fail": INVALID,
    "bundle-unknown-version_fail": UNSUPPORTED,
    "bundle-with-root-cert_fail": OTHER_SIGNER,
    "checkpoint-bad-keyhint_fail": INVALID,
    "checkpoint-wrong-roothash_fail": INVALID,
    "dsse-invalid-sig_fail": INVALID,
    "dsse-mismatch-envelope_fail": INVALID,
    "dsse-mismatch-sig_fail": INVALID,
    "inclusion-proof-corrupted-hash_fail": INVALID,
    "incorrect-public-key_fail": INVALID,
    "integrated-time-in-future_fail": TIME,
    "intoto-expired-certificate_fail": TIME,
    "intoto-log-entry-mismatch_fail": INVALID,
    "intoto-missing-inclusion-proof_fail": NOT_LOGGED,
    "intoto-set-outside-signing-cert-validity_fail": TIME,
    "intoto-tsa-timestamp-outside-cert-validity_fail": TIME,
    "invalid-checkpoint-signature_fail": INVALID,
    "invalid-ct-key_fail": INVALID,
    "invalid-inclusion-proof_fail": NOT_LOGGED,  # its proof has no checkpoint
    "managed-key-no-key_fail": NOT_VERIFIED,
    "managed-key-wrong-key_fail": NOT_VERIFIED,  # the key in that folder is no PEM
    "message-digest-mismatch_fail": INVALID,
    "rekor2-checkpoint-missing-log-signature_fail": INVALID,
    "rekor2-checkpoint-missing-origin_fail": INVALID,
    "rekor2-checkpoint-missing-root-hash_fail": INVALID,
    "rekor2-checkpoint-missing-size_fail": INVALID,
    "rekor2-checkpoint-no-matching-signature_fail": INVALID,
    "rekor2-dsse-invalid-sig_fail": INVALID,
    "rekor2-dsse-mismatch-envelope_fail": INVALID,
    "rekor2-dsse-mismatch-sig_fail": INVALID,
    "rekor2-no-inclusion-proof_fail": NOT_LOGGED,
    "rekor2-no-timestamp_fail": TIME,
    "rekor2-timestamp-outside-trust-root-tsa-validity_fail": TIME,
    "rekor2-timestamp-outside-tsa-cert-validity_fail": TIME,
    "rekor2-timestamp-payload-mismatch_fail": TIME,
    "rekor2-timestamp-untrusted-tsa-with-embedded-cert_fail": INVALID,  # its DER is not DER
    "rekor2-timestamp-untrusted-tsa-without-embedded-cert_fail": TIME,
    "rekor2-timestamp-with-incorrect-time_fail": TIME,
    "set-invalid-signature_fail": INVALID,
    "signature-mismatch_fail": INVALID,
    "trust-root-tlog-missing-validity-start_fail": NOT_VERIFIED,
    "wrong-hashedrekord-artifact_fail": INVALID,
    "wrong-hashedrekord-cert-and-sig_fail": INVALID,
    "wrong-hashedrekord-entry_fail": INVALID,
    "wrong-material_fail": OTHER_ARTIFACT,
}


def test_every_case_comes_out_as_the_suite_expects(test_data: Path) -> None:
    suite = test_data / "sigstore-conformance" / "bundle-verify"
    folders = sorted(path for path in suite.iterdir() if path.is_dir())
    assert len(folders) == 70
    unexpected = {}
    for folder in folders:
        outcome = _outcome(folder, test_data)
        as_the_suite_says = (outcome is None) != folder.name.endswith("_fail") or folder.name in EXCEPTIONS
        if not as_the_suite_says or outcome != REASONS.get(folder.name):
            unexpected[folder.name] = outcome
    assert unexpected == {}
    documented = (Path(__file__).parents[3] / "docs" / "evidence.md").read_text()
    assert all(name in documented for name in EXCEPTIONS)


def _outcome(folder: Path, data: Path) -> Reason | str | None:
    """Returns why a case is refused, None where it is accepted."""
    root = folder / "trusted_root.json"
    files = {ROOT: root.read_bytes() if root.exists() else public_good(data)}
    if (folder / "key.pub").exists():
        files["keys/key.pub"] = (folder / "key.pub").read_bytes()
    artifact = folder / "artifact" if (folder / "artifact").exists() else folder.parent / "a.txt"
    try:
        (fact,) = verify(Case(folder.name, (folder / "bundle.sigstore.json").read_bytes(), files=files))
    except PlacetError as e:
        return e.reason
    if f"sha256:{sha256_hex(artifact.read_bytes())}" not in fact.subjects:
        return OTHER_ARTIFACT
    return None if _is_expected_signer(fact, folder) else OTHER_SIGNER


def _is_expected_signer(fact: EvidenceFact, folder: Path) -> bool:
    assert fact.signer is not None
    if (folder / "key.pub").exists():
        return fact.signer.kind == "key"
    identity, issuer = (folder / "identity", folder / "issuer")
    return fact.signer.identity == (identity.read_text().strip() if identity.exists() else SIGNER) and (
        fact.signer.issuer == (issuer.read_text().strip() if issuer.exists() else ISSUER)
    )

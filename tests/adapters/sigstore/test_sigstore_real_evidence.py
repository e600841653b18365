"""Real provenance and attestations that nobody here made, each with the outcome it deserves."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from evidence_world import (
    Case,
    edited,
    flipped,
    github_attestations,
    go_provenance,
    google_vsa,
    npm_attestations,
    public_good,
    pypi_attestations,
    reason,
    refusal,
    verify,
)

from placet.core.encoding import sha256_hex
from placet.core.errors import Reason
from placet.core.evidence.facts import ATTESTATION, PROVENANCE, VSA, EvidenceFact

GENERATOR = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/builder_go_slsa3.yml@"
GITHUB = "https://token.actions.githubusercontent.com"

# Real provenance that is refused, with the reason; docs/evidence.md lists the same.
WITHOUT_CERTIFICATE = ("v0.0.2", "v1.0.0")  # the certificate stands only in Rekor, which is not asked
WITHOUT_SCT = ("v1.1.1", "v1.2.0")  # Fulcio embedded no SCT then


def _one(case: Case) -> EvidenceFact:
    (fact,) = verify(case)
    assert fact.digest == sha256_hex(case.content)
    return fact


def test_provenance_of_the_go_builder(test_data: Path) -> None:
    cases = list(go_provenance(test_data))
    assert len(cases) == 63
    for case in cases:
        version = case.name.split("/")[0]
        if version in WITHOUT_CERTIFICATE:
            assert reason(case) is Reason.EVIDENCE_UNSUPPORTED, case.name
        elif version in WITHOUT_SCT:
            assert reason(case) is Reason.EVIDENCE_NOT_LOGGED, case.name
        else:
            fact = _one(case)
            assert fact.kind == PROVENANCE
            assert fact.signer is not None
            assert fact.signer.identity.startswith(GENERATOR)
            assert fact.signer.issuer == GITHUB
            assert fact.signer.instance == "public-good"
            # Versions before 2.1 carry neither log entry nor time; rules refuse them unless told otherwise.
            assert (fact.logged, fact.signed_at > 0) == (version == "v2.1.0", version == "v2.1.0")
            assert fact.predicate["builder"]["id"].startswith(GENERATOR)


def test_the_claims_of_old_and_new_certificates(test_data: Path) -> None:
    facts = {
        case.name: _one(case)
        for case in go_provenance(test_data)
        if "push-v14.intoto" in case.name and case.name.split("/")[0] in ("v1.2.1", "v2.1.0")
    }
    for fact in facts.values():
        assert fact.signer is not None
        assert (
            fact.signer.claims["sourceRepositoryUri"] == "https://github.com/slsa-framework/example-package"
        )
        assert fact.signer.claims["sourceRepositoryRef"].startswith("refs/")
        assert len(fact.signer.claims["sourceRepositoryDigest"]) == 40
        assert fact.signer.claims["buildTrigger"] == "push"
    new = facts["v2.1.0/binary-linux-amd64-push-v14.intoto.jsonl"].signer
    assert new is not None
    assert new.claims["runnerEnvironment"] == "github-hosted"
    assert new.claims["runInvocationUri"].startswith(
        "https://github.com/slsa-framework/example-package/actions"
    )


def test_attestations_of_npm(test_data: Path) -> None:
    cases = list(npm_attestations(test_data))
    assert len(cases) == 30
    for case in cases:
        what = case.name.split()[0]
        if ("invalidsigprov" if what == "provenance" else "invalidsigpub") in case.name:
            assert reason(case) is Reason.EVIDENCE_INVALID, case.name
            continue
        fact = _one(case)
        assert fact.logged
        assert fact.signed_at > 0
        assert fact.signer is not None
        if what == "provenance":
            assert (fact.kind, fact.signer.kind, fact.signer.issuer) == (PROVENANCE, "certificate", GITHUB)
        else:
            assert (fact.kind, fact.signer.kind, fact.signer.instance) == (ATTESTATION, "key", "")
            assert len(fact.signer.key_digest) == 64


def test_npm_publications_need_the_key_of_npm(test_data: Path) -> None:
    publication = next(c for c in npm_attestations(test_data) if c.name.startswith("publish"))
    assert reason(publication._replace(files={})) is Reason.EVIDENCE_NOT_VERIFIED
    other = google_vsa(test_data).files
    assert reason(publication._replace(files=other)) is Reason.EVIDENCE_INVALID


def test_attestations_of_github(test_data: Path) -> None:
    cases = {case.name: case for case in github_attestations(test_data)}
    assert len(cases) == 10
    demo = "github_provenance_demo-0.0.12-py3-none-any-bundle"
    refused = {
        f"{demo}-missing-cert.jsonl:0": Reason.EVIDENCE_INVALID,
        f"{demo}-missing-verification-material.jsonl:0": Reason.WRONG_TYPE,
        "sigstoreBundle-invalid-signature.json:0": Reason.EVIDENCE_INVALID,
    }
    assert {name: reason(cases[name]) for name in refused} == refused
    artifacts = {
        "custom-issuer": "custom-issuer-artifact",
        "github_provenance_demo": "github_provenance_demo-0.0.12-py3-none-any.whl",
        "reusable-workflow": "reusable-workflow-artifact",
        "sigstore-js": "sigstore-js-2.1.0.tgz",
    }
    for name in cases.keys() - refused.keys():
        fact = _one(cases[name])
        (artifact,) = (file for start, file in artifacts.items() if name.startswith(start))
        content = (test_data / "github" / artifact).read_bytes()
        digests = {f"sha256:{sha256_hex(content)}", f"sha512:{_sha512(content)}"}
        assert fact.kind == PROVENANCE
        assert fact.subjects & digests, name


def test_githubs_own_instance_has_no_log(test_data: Path) -> None:
    case = next(
        c for c in github_attestations(test_data) if "demo-0.0.12-py3-none-any-bundle.jsonl" in c.name
    )
    fact = _one(case)
    assert fact.signer is not None
    assert fact.signer.instance == "sigstore/github.json"
    assert fact.signer.claims["sourceRepositoryUri"] == "https://github.com/actions/attest-demo"
    assert (fact.logged, fact.signed_at) == (False, 1713807206)
    assert "trust root names" in refusal(case._replace(files={})).message


def test_attestations_of_pypi(test_data: Path) -> None:
    cases = {case.name: case for case in pypi_attestations(test_data)}
    assert len(cases) == 7
    for name, case in cases.items():
        fact = _one(case)
        assert fact.logged
        assert fact.signer is not None
        assert fact.signer.instance in ("public-good", "sigstore/staging.json")
        distribution = (
            test_data
            / "pep740"
            / name.split(".attestation")[0].removesuffix(".publish").removesuffix(".slsa")
        )
        if distribution.exists():
            assert fact.subjects == {f"sha256:{sha256_hex(distribution.read_bytes())}"}
    slsa = _one(cases["pypi_attestations-0.0.19.tar.gz.slsa.attestation"])
    assert (slsa.kind, slsa.predicate_type) == (PROVENANCE, "https://slsa.dev/provenance/v1")


def test_googles_summary_by_a_plain_key(test_data: Path) -> None:
    fact = _one(google_vsa(test_data))
    assert fact.signer is not None
    assert (fact.kind, fact.signer.kind, fact.logged, fact.signed_at) == (VSA, "key", False, 0)
    assert reason(google_vsa(test_data)._replace(files={})) is Reason.EVIDENCE_UNSUPPORTED


def test_each_way_of_being_wrong_has_its_own_reason(test_data: Path) -> None:
    # Two builds within the same minutes, so that each one's log entry fits the other's certificate.
    case, later = [c for c in go_provenance(test_data) if c.name.startswith("v2.1.0")][1:3]
    certificate = json.loads(case.content)["verificationMaterial"]["certificate"]
    entries = json.loads(later.content)["verificationMaterial"]["tlogEntries"]
    root = json.loads(public_good(test_data))
    root["certificateAuthorities"][1]["validFor"]["end"] = "2023-01-01T00:00:00Z"
    wrong = {
        "signature": (
            flipped(case.content, "dsseEnvelope", "signatures", 0, "sig"),
            {},
            Reason.EVIDENCE_INVALID,
        ),
        "payload": (flipped(case.content, "dsseEnvelope", "payload"), {}, Reason.EVIDENCE_INVALID),
        "no log entry": (
            edited(case.content, "verificationMaterial", "tlogEntries", to=[]),
            {},
            Reason.EVIDENCE_NOT_LOGGED,
        ),
        "no proof": (
            edited(case.content, "verificationMaterial", "tlogEntries", 0, "inclusionProof", to=None),
            {},
            Reason.EVIDENCE_NOT_LOGGED,
        ),
        "no time": (
            edited(case.content, "verificationMaterial", "tlogEntries", 0, "inclusionPromise", to=None),
            {},
            Reason.EVIDENCE_TIME,
        ),
        "another certificate": (
            edited(later.content, "verificationMaterial", "certificate", to=certificate),
            {},
            Reason.EVIDENCE_INVALID,
        ),
        "another log entry": (
            edited(case.content, "verificationMaterial", "tlogEntries", to=entries),
            {},
            Reason.EVIDENCE_INVALID,
        ),
        "a retired authority": (
            case.content,
            {"sigstore/trusted_root.json": json.dumps(root).encode()},
            Reason.EVIDENCE_TIME,
        ),
        "another instance": (
            case.content,
            {"sigstore/trusted_root.json": (test_data / "github" / "trusted_root_github.json").read_bytes()},
            Reason.EVIDENCE_INVALID,
        ),
    }
    found = {name: reason(Case(name, content, files=files)) for name, (content, files, _) in wrong.items()}
    assert found == {name: expected for name, (_, _, expected) in wrong.items()}


def test_an_envelope_whose_certificate_was_exchanged_is_refused(test_data: Path) -> None:
    first, second = [c for c in go_provenance(test_data) if c.name.startswith("v2.0.0")][:2]
    certificate = json.loads(second.content)["signatures"][0]["cert"]
    mixed = edited(first.content, "signatures", 0, "cert", to=certificate)
    assert reason(first._replace(content=mixed)) is Reason.EVIDENCE_INVALID
    assert (
        reason(first._replace(content=flipped(first.content, "signatures", 0, "sig")))
        is Reason.EVIDENCE_INVALID
    )
    stripped = edited(first.content, "signatures", 0, "cert", to=None)
    assert reason(first._replace(content=stripped)) is Reason.EVIDENCE_UNSUPPORTED


def test_the_tarball_of_npm_is_the_subject(test_data: Path) -> None:
    cases = {case.name: case for case in npm_attestations(test_data)}
    fact = _one(cases["provenance gundam-visor-cli-v1-tag.tgz.json"])
    tarball = test_data / "slsa" / "npm" / "gha" / "gundam-visor-cli-v1-tag.tgz"
    assert fact.subjects == {f"sha512:{_sha512(tarball.read_bytes())}"}


def _sha512(content: bytes) -> str:
    return hashlib.sha512(content).hexdigest()

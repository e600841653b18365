"""sigstore-python and pypi-attestations as oracles: what they accept is accepted here, and nothing else.

Exceptions are the forms that they do not read, and nothing else; each is listed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from evidence_world import (
    ARTIFACT,
    JOB,
    ROOT,
    STATEMENT,
    Case,
    flipped,
    github_attestations,
    go_provenance,
    npm_attestations,
    private_root,
    public_good,
    pypi_attestations,
    verify,
)
from sigstore.errors import Error as SigstoreError
from sigstore.hashes import Hashed
from sigstore.models import Bundle, TrustedRoot
from sigstore.verify import Verifier
from sigstore.verify.policy import VerificationPolicy
from sigstore_models.common.v1 import HashAlgorithm
from sigstore_models.trustroot.v1 import TrustedRoot as TrustedRootModel

from placet.core.errors import PlacetError
from placet.core.evidence.facts import SIGSTORE_MEDIA_TYPES
from placet.testing.private_sigstore import PrivateSigstore, Shape


class _Anybody:
    def verify(self, cert: object) -> None:
        """Accepts every signer; sigstore-python's own policy of this kind warns of it each time."""


_ANYBODY: VerificationPolicy = _Anybody()

# What sigstore-python 4.5 refuses and this accepts.
_READ_HERE = {
    "intoto entry": lambda bundle: _entry(bundle).get("kindVersion", {}).get("kind") == "intoto",
    "promise alone": lambda bundle: "checkpoint" not in (_entry(bundle).get("inclusionProof") or {}),
    # TimeRange is a closed interval; sigstore-python leaves out its end.
    "end of time": lambda bundle: bundle.get("case") == "trust-root-tsa-validity-end-inclusive",
}


def _entry(bundle: dict) -> dict:  # type: ignore[type-arg]
    entries = bundle["verificationMaterial"].get("tlogEntries") or [{}]
    return dict(entries[0])


def stock_accepts(content: bytes, root: bytes) -> bool:
    """Tells whether sigstore-python verifies a bundle, over the digest that the bundle names."""
    try:
        verifier = Verifier(trusted_root=TrustedRoot(TrustedRootModel.from_json(root)))
        bundle = Bundle.from_json(content)
        if bundle._dsse_envelope is not None:
            verifier.verify_dsse(bundle, _ANYBODY)
        else:
            message = bundle._inner.message_signature
            assert message is not None and message.message_digest is not None
            hashed = Hashed(algorithm=HashAlgorithm.SHA2_256, digest=message.message_digest.digest)
            verifier.verify_artifact(hashed, bundle, _ANYBODY)
    except (SigstoreError, ValueError):
        return False
    return True


def _we_accept(case: Case) -> bool:
    try:
        verify(case)
    except PlacetError:
        return False
    return True


def _cases(data: Path) -> Iterator[Case]:
    good = public_good(data)
    for folder in sorted((data / "sigstore-conformance" / "bundle-verify").iterdir()):
        if folder.is_dir():
            root = folder / "trusted_root.json"
            files = {ROOT: root.read_bytes() if root.exists() else good}
            yield Case(folder.name, (folder / "bundle.sigstore.json").read_bytes(), files=files)
    for case in (*go_provenance(data), *npm_attestations(data), *github_attestations(data)):
        if case.media_type in SIGSTORE_MEDIA_TYPES:
            yield case._replace(files={ROOT: good})
    for file in sorted((data / "pep740").glob("*.sigstore")):
        yield Case(file.name, file.read_bytes(), files={ROOT: good})
    sigstore = PrivateSigstore(b"oracle")
    root = private_root(sigstore)
    for rekor in ("v1", "v2"):
        shape = Shape(rekor=rekor)
        for name, bundle in (
            ("statement", sigstore.sign_statement(JOB, STATEMENT, shape)),
            ("artifact", sigstore.sign_artifact(JOB, ARTIFACT, shape)),
        ):
            yield Case(f"private {name} {rekor}", bundle, files={ROOT: root})
            material = json.loads(bundle)["verificationMaterial"]
            places = [("verificationMaterial", "certificate", "rawBytes")]
            places += [("verificationMaterial", "tlogEntries", 0, "canonicalizedBody")]
            places += [("verificationMaterial", "tlogEntries", 0, "inclusionProof", "rootHash")]
            if "inclusionPromise" in material["tlogEntries"][0]:
                promise = ("inclusionPromise", "signedEntryTimestamp")
                places += [("verificationMaterial", "tlogEntries", 0, *promise)]
            for place in places:
                yield Case(f"private {name} {rekor} {place}", flipped(bundle, *place), files={ROOT: root})


def test_sigstore_python_agrees_on_every_bundle(test_data: Path) -> None:
    differing = set()
    compared = 0
    for case in _cases(test_data):
        stock, ours = stock_accepts(case.content, case.files[ROOT]), _we_accept(case)
        compared += 1
        if stock == ours:
            continue
        assert ours, f"{case.name}: sigstore-python accepts what this refuses"
        bundle = {**json.loads(case.content), "case": case.name}
        why = [name for name, is_so in _READ_HERE.items() if is_so(bundle)]
        assert why, f"{case.name}: this accepts what sigstore-python refuses"
        differing.update(why[:1])
    assert compared > 130
    assert differing == {
        "intoto entry",
        "promise alone",
        "end of time",
    }  # the list says no more than there is


def test_pypi_attestations_agrees(test_data: Path) -> None:
    from pypi_attestations import Attestation, AttestationError, Distribution

    compared = 0
    for case in pypi_attestations(test_data):
        name = case.name.removesuffix(".attestation").removesuffix(".publish").removesuffix(".slsa")
        file = test_data / "pep740" / name
        if not file.exists():
            continue
        is_staging = verify(case)[0].signer.instance == "sigstore/staging.json"  # type: ignore[union-attr]
        envelope = json.loads(case.content)["envelope"]
        corrupted = json.dumps({**json.loads(case.content), "envelope": envelope | {"signature": "AAAA"}})
        for content in (case.content, corrupted.encode()):
            try:
                attestation = Attestation.model_validate_json(content)
                attestation.verify(_ANYBODY, Distribution.from_file(file), staging=is_staging, offline=True)
                theirs = True
            except AttestationError:
                theirs = False
            assert theirs == _we_accept(case._replace(content=content)), case.name
            compared += 1
    assert compared >= 8

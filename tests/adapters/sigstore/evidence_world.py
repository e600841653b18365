"""What the tests of Sigstore evidence share: a trust root with these files, and one verification."""

from __future__ import annotations

import base64
import functools
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from placet.adapters.sigstore.evidence import SigstoreEvidence
from placet.adapters.trust_files import TrustFiles, keep_files
from placet.core.encoding import encode_canonical, sha256_hex
from placet.core.errors import MalformedError, PlacetError, Reason
from placet.core.evidence.facts import (
    DSSE_MEDIA_TYPE,
    PYPI_MEDIA_TYPE,
    SIGSTORE_MEDIA_TYPE,
    Evidence,
    EvidenceFact,
)
from placet.core.statement import parse_statement
from placet.core.trust import Trust
from placet.testing.private_sigstore import PrivateSigstore, github_claims
from placet.testing.world import World

ROOT = "sigstore/trusted_root.json"
JOB = github_claims("octo/app", ref="refs/tags/v1")
ARTIFACT = b"an artifact"
STATEMENT = {
    "_type": "https://in-toto.io/Statement/v1",
    "subject": [{"name": "app", "digest": {"sha256": sha256_hex(ARTIFACT)}}],
    "predicateType": "https://slsa.dev/provenance/v1",
    "predicate": {"buildDefinition": {"buildType": "https://example.test/build"}},
}


class Case(NamedTuple):
    """A piece of evidence with the trust root's files that go with it."""

    name: str
    content: bytes
    media_type: str = SIGSTORE_MEDIA_TYPE
    files: Mapping[str, bytes] = {}

    def __repr__(self) -> str:
        return f"Case({self.name!r}, {len(self.content)} bytes)"


@functools.cache
def _trust() -> Trust:
    return World().trust()


@functools.cache
def _statement() -> Any:
    return parse_statement(World().request_deploy().payload)


def trust_of(files: Mapping[str, bytes]) -> Trust:
    """Returns a trust that names these files."""
    return _trust()._replace(files={name: sha256_hex(data) for name, data in files.items()})


def verify(case: Case) -> tuple[EvidenceFact, ...]:
    """Verifies a case with the real files beside a real snapshot."""
    with tempfile.TemporaryDirectory() as folder:
        snapshot = Path(folder) / "trust.json"
        keep_files(snapshot, case.files)
        item = Evidence(sha256_hex(case.content), case.media_type, case.content)
        evidence = SigstoreEvidence(TrustFiles(snapshot))
        return evidence.verify(_statement(), (item,), trust=trust_of(case.files))


def refusal(case: Case) -> PlacetError:
    """Returns how a case is refused."""
    try:
        facts = verify(case)
    except PlacetError as e:
        assert e.hint or isinstance(e, MalformedError), f"{case.name}: a refusal says what to do next"
        return e
    raise AssertionError(f"{case.name} was verified: {facts}")


def reason(case: Case) -> Reason:
    """Returns why a case is refused."""
    return refusal(case).reason


def private_root(sigstore: PrivateSigstore, **changes: Any) -> bytes:
    """Returns a private Sigstore's trusted root, with other members where a test wants them."""
    return encode_canonical({**sigstore.trusted_root(), **changes})


def public_good(data: Path) -> bytes:
    """Returns the public good's trusted root."""
    return (data / "trusted_root_public_good.json").read_bytes()


def edited(content: bytes, *path: str | int, to: Any) -> bytes:
    """Returns a bundle with one member changed; None removes it."""
    top = json.loads(content)
    place = top
    for step in path[:-1]:
        place = place[step]
    if to is None:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return json.dumps(top).encode()


def flipped(content: bytes, *path: str | int) -> bytes:
    """Returns a bundle with one bit of a base64 member changed."""
    place = json.loads(content)
    for step in path:
        place = place[step]
    raw = bytearray(base64.b64decode(place))
    raw[-1] ^= 1
    return edited(content, *path, to=base64.b64encode(raw).decode())


def go_provenance(data: Path) -> Iterator[Case]:
    """Yields the provenance that slsa-github-generator's Go builder made."""
    for file in sorted((data / "slsa" / "gha_go").rglob("*.intoto.jsonl")):
        content = file.read_bytes()
        media_type = SIGSTORE_MEDIA_TYPE if b'"mediaType"' in content else DSSE_MEDIA_TYPE
        yield Case(f"{file.parent.name}/{file.name}", content, media_type)


def npm_attestations(data: Path) -> Iterator[Case]:
    """Yields npm's attestations: provenance by the build, and publication by npm's own key."""
    for file in sorted((data / "slsa" / "npm" / "gha").glob("*.json")):
        for attestation in json.loads(file.read_bytes())["attestations"]:
            bundle = attestation["bundle"]
            signed_by_key = "publicKey" in bundle["verificationMaterial"]
            files = {"keys/npm.pub": logged_key(bundle)} if signed_by_key else {}
            name = f"{'publish' if signed_by_key else 'provenance'} {file.name}"
            yield Case(name, json.dumps(bundle).encode(), files=files)


def logged_key(bundle: dict[str, Any]) -> bytes:
    """Returns the key that Rekor logged beside a signature; npm publishes the same one."""
    entry = bundle["verificationMaterial"]["tlogEntries"][0]
    body = json.loads(base64.b64decode(entry["canonicalizedBody"]))
    return base64.b64decode(body["spec"]["content"]["envelope"]["signatures"][0]["publicKey"])


def github_attestations(data: Path) -> Iterator[Case]:
    """Yields GitHub's artifact attestations, of the public good and of GitHub's own instance."""
    root = (data / "github" / "trusted_root_github.json").read_bytes()
    for file in sorted((data / "github").iterdir()):
        if file.suffix in (".json", ".jsonl") and "trusted_root" not in file.name:
            lines = file.read_bytes().splitlines() if file.suffix == ".jsonl" else [file.read_bytes()]
            for i, line in enumerate(lines):
                yield Case(f"{file.name}:{i}", line, files={"sigstore/github.json": root})


def pypi_attestations(data: Path) -> Iterator[Case]:
    """Yields PEP 740 objects; some were made with Sigstore's staging instance."""
    for file in sorted((data / "pep740").glob("*.attestation")):
        yield Case(file.name, file.read_bytes(), PYPI_MEDIA_TYPE, {"sigstore/staging.json": staging_root()})


def staging_root() -> bytes:
    """Returns the trusted root of Sigstore's staging instance, as sigstore-python carries it."""
    from sigstore._internal.tuf import STAGING_TUF_URL
    from sigstore._utils import read_embedded

    return read_embedded("trusted_root.json", STAGING_TUF_URL)


def google_vsa(data: Path) -> Case:
    """Returns Google's verification summary, signed by a plain key."""
    folder = data / "slsa" / "vsa" / "gce" / "v1"
    key = (folder / "vsa_signing_public_key.pem").read_bytes()
    content = (folder / "gke-gce-pre.bcid-vsa.jsonl").read_bytes()
    return Case("google VSA", content, DSSE_MEDIA_TYPE, {"keys/google.pub": key})

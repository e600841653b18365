"""A private Sigstore, one artifact, and everyone who signs it there: cosign, sigstore-python, we."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from other_tools import SLSA_V1, OtherTools, Question
from sigstore.models import ClientTrustConfig
from sigstore.oidc import IdentityToken
from sigstore.sign import SigningContext

from placet.testing.private_sigstore import GITHUB_ISSUER, PrivateSigstoreServer, Shape, github_claims

JOB = github_claims("octo/app")
JOB_IDENTITY = "https://github.com/octo/app/.github/workflows/release.yml@refs/tags/v1.0.0"
PREDICATE: dict[str, Any] = {
    "buildDefinition": {
        "buildType": "https://actions.github.io/buildtypes/workflow/v1",
        "externalParameters": {
            "workflow": {
                "ref": "refs/tags/v1.0.0",
                "repository": "https://github.com/octo/app",
                "path": ".github/workflows/release.yml",
            }
        },
        "resolvedDependencies": [
            {"uri": "git+https://github.com/octo/app@refs/tags/v1.0.0", "digest": {"gitCommit": "f" * 40}}
        ],
    },
    "runDetails": {"builder": {"id": "https://github.com/actions/runner/github-hosted"}},
}
_PASSWORD = "correct horse"

Rekor = Literal[1, 2]


class Workshop:
    """Where things are signed.

    Attributes:
        artifact: the file that is signed.
        folder: for what is written.
    """

    def __init__(self, server: PrivateSigstoreServer, tools: OtherTools, folder: Path) -> None:
        self.server = server
        self.sigstore = server.sigstore
        self.tools = tools
        self.folder = folder
        self.artifact = folder / "app.bin"
        self.artifact.write_bytes(b"an application\n")
        self._written = 0

    @cached_property
    def files(self) -> Path:
        """The folder with trusted root and signing configs."""
        return self.sigstore.write_files(self.folder / "sigstore")

    @cached_property
    def cosign_key(self) -> Path:
        """The key pair of `cosign generate-key-pair`; `.pub` beside it."""
        prefix = self.folder / "cosign"
        done = self.tools.cosign(
            "generate-key-pair", "--output-key-prefix", prefix, COSIGN_PASSWORD=_PASSWORD
        )
        assert done.accepted, done.said
        return prefix.with_suffix(".key")

    def statement(
        self, predicate_type: str = SLSA_V1, predicate: dict[str, Any] = PREDICATE
    ) -> dict[str, Any]:
        """Returns an in-toto statement about the artifact."""
        digest = hashlib.sha256(self.artifact.read_bytes()).hexdigest()
        return {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": self.artifact.name, "digest": {"sha256": digest}}],
            "predicateType": predicate_type,
            "predicate": predicate,
        }

    def write(self, content: bytes, suffix: str = ".sigstore.json") -> Path:
        """Writes a new file."""
        self._written += 1
        file = self.folder / f"{self._written}{suffix}"
        file.write_bytes(content)
        return file

    def question(self, bundle: Path, **other: Any) -> Question:
        """Asks about a bundle that the job signed; `other` replaces parts of the question."""
        asked: dict[str, Any] = {
            "identity": JOB_IDENTITY,
            "issuer": GITHUB_ISSUER,
            "source_repository": "octo/app",
            "trusted_root": self.files / "trusted_root.json",
        }
        if "key" in other:
            asked |= {"identity": "", "issuer": ""}
        return Question(bundle=bundle, artifact=self.artifact, **(asked | other))

    def sign_with_cosign(self, verb: Literal["attest-blob", "sign-blob"], rekor: Rekor, *, key: bool) -> Path:
        """Has cosign sign the artifact, or SLSA provenance of it; returns the bundle."""
        bundle = self.write(b"")
        # cosign takes a long token for the name of a file, so it gets a file.
        who = ["--key", self.cosign_key] if key else ["--identity-token", self._token_file()]
        what: list[str | Path] = []
        if verb == "attest-blob":
            predicate = self.write(json.dumps(PREDICATE).encode(), ".predicate.json")
            what = ["--type", "slsaprovenance1", "--predicate", predicate]
        done = self.tools.cosign(
            *(verb, "--yes", "--bundle", bundle, *who, *what),
            *("--signing-config", self.files / f"signing_config_v{rekor}.json"),
            *("--trusted-root", self.files / "trusted_root.json"),
            self.artifact,
            COSIGN_PASSWORD=_PASSWORD,
        )
        assert done.accepted, done.said
        return bundle

    def sign_with_sigstore_python(self, rekor: Rekor) -> Path:
        """Has sigstore-python sign provenance; returns the bundle."""
        from sigstore.dsse import Statement

        config = ClientTrustConfig.from_json((self.files / f"trust_config_v{rekor}.json").read_text())
        token = IdentityToken(self.sigstore.token(JOB))
        with SigningContext.from_trust_config(config).signer(token) as signer:
            bundle = signer.sign_dsse(Statement(json.dumps(self.statement()).encode()))
        return self.write(bundle.to_json().encode())

    def _token_file(self) -> Path:
        return self.write(self.sigstore.token(JOB).encode(), ".token")


# Every form of a bundle with a certificate, by who makes it.
MAKERS: dict[str, Callable[[Workshop], Path]] = {
    "cosign, Rekor v1": lambda shop: shop.sign_with_cosign("attest-blob", 1, key=False),
    "cosign, Rekor v2": lambda shop: shop.sign_with_cosign("attest-blob", 2, key=False),
    "sigstore-python, Rekor v1": lambda shop: shop.sign_with_sigstore_python(1),
    "sigstore-python, Rekor v2": lambda shop: shop.sign_with_sigstore_python(2),
    "private Sigstore, Rekor v2": lambda shop: _private(shop, Shape()),
    "private Sigstore, Rekor v1, no timestamp": lambda shop: _private(
        shop, Shape(rekor="v1", timestamp=False)
    ),
    "private Sigstore, intoto, v0.2": lambda shop: _private(shop, Shape(rekor="intoto", version="0.2")),
}


def _private(shop: Workshop, shape: Shape) -> Path:
    return shop.write(shop.sigstore.sign_statement(JOB, shop.statement(), shape))

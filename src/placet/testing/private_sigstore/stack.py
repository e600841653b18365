"""The parts put together: sign in process, or hand them to the HTTP server."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec

from placet.core.encoding import encode_canonical
from placet.testing.private_sigstore.bundles import USUAL, BundleMaker, Shape, Signatory
from placet.testing.private_sigstore.fulcio import Fulcio
from placet.testing.private_sigstore.issuer import TokenIssuers
from placet.testing.private_sigstore.keys import Curve, Seed
from placet.testing.private_sigstore.merkle import TransparencyLog
from placet.testing.private_sigstore.rekor import TREE_ID, RekorV1, RekorV2
from placet.testing.private_sigstore.timestamps import TimestampAuthority
from placet.testing.private_sigstore.trust import (
    CLIENT_TRUST_CONFIG,
    TRUSTED_ROOT,
    describe_authority,
    describe_log,
    signing_config,
)

_DAY = 86_400


class PrivateSigstore:
    """One private Sigstore with all its keys.

    Args:
        seed: the same bytes give the same keys and certificates; None gives fresh ones.
        clock: the time of everything that is signed; tests that need fixed bytes give a fixed one.
        base_url: where it is, if it is served; it also names the issuer and the logs.
        ca_curve: the curve of the certificate authority; the public good instance has P-384.
        leaf_curve: the curve of the signers' keys.
        intermediate: whether a CA certificate stands between leaf and root, as in the public good instance.
    """

    def __init__(
        self,
        seed: bytes | None = None,
        *,
        clock: Callable[[], float] = time.time,
        base_url: str = "https://sigstore.test",
        ca_curve: Curve = "P-256",
        leaf_curve: Curve = "P-256",
        intermediate: bool = False,
    ) -> None:
        self.base_url = base_url
        self._seed = Seed(seed)
        self._leaf_curve = leaf_curve
        self._leaves = 0
        # A day of room, so that tests may let a certificate be older than the Sigstore that issued it.
        self._start = start = int(clock()) - _DAY
        self.issuers = TokenIssuers(self._seed, clock, base_url)
        self.fulcio = Fulcio(
            self._seed,
            clock,
            self.issuers.read,
            not_before=start,
            curve=ca_curve,
            intermediate=intermediate,
        )
        place = urlsplit(base_url)
        # Go verifiers want "host:port - tree ID" of Rekor v1, and the bare host name of Rekor v2.
        log_v1 = TransparencyLog(self._seed.key("rekor v1"), f"{place.netloc} - {TREE_ID}")
        log_v2 = TransparencyLog(self._seed.key("rekor v2"), str(place.hostname))
        self.rekor_v1 = RekorV1(log_v1, clock)
        self.rekor_v2 = RekorV2(log_v2)
        self.tsa = TimestampAuthority(self._seed, clock, not_before=start)
        self._bundles = BundleMaker(self.rekor_v1, self.rekor_v2, self.tsa)

    def token(self, who: str | dict[str, Any], **claims: Any) -> str:
        """Returns an OIDC token for Fulcio.

        Args:
            who: a person or service of the own issuer (mail address or URI), or the claims of a job.
            claims: what else the token says, or says otherwise.
        """
        return self.issuers.token(self._claims(who) | claims)

    def sign_statement(
        self, who: str | dict[str, Any], statement: bytes | dict[str, Any], shape: Shape = USUAL
    ) -> bytes:
        """Returns a Sigstore bundle with the statement in a DSSE envelope.

        Args:
            who: as for `token`.
            statement: the payload, or an object whose canonical form it is.
        """
        return self._bundles.sign_statement(self._certified(who, shape), _payload(statement), shape)

    def sign_artifact(self, who: str | dict[str, Any], artifact: bytes, shape: Shape = USUAL) -> bytes:
        """Returns a Sigstore bundle with a signature over the artifact itself."""
        return self._bundles.sign_artifact(self._certified(who, shape), artifact, shape)

    def sign_statement_with_key(
        self,
        key: ec.EllipticCurvePrivateKey,
        statement: bytes | dict[str, Any],
        shape: Shape = USUAL,
        *,
        hint: str = "",
    ) -> bytes:
        """Returns a bundle signed by a bare key, as `cosign attest-blob --key` makes one."""
        return self._bundles.sign_statement(Signatory(key, hint=hint), _payload(statement), shape)

    def sign_artifact_with_key(
        self, key: ec.EllipticCurvePrivateKey, artifact: bytes, shape: Shape = USUAL, *, hint: str = ""
    ) -> bytes:
        """Returns a bundle signed by a bare key, as `cosign sign-blob --key` makes one."""
        return self._bundles.sign_artifact(Signatory(key, hint=hint), artifact, shape)

    def trusted_root(self, *, like_github: bool = False) -> dict[str, Any]:
        """Returns the trusted root.

        Args:
            like_github: whether it has no logs, as that of GitHub's own instance.
        """
        logs = [] if like_github else [self.rekor_v1.log.key, self.rekor_v2.log.key]
        ct_logs = [] if like_github else [self.fulcio.ct_key]
        return {
            "mediaType": TRUSTED_ROOT,
            "tlogs": [describe_log(key, self.base_url, self._start) for key in logs],
            "ctlogs": [describe_log(key, self.base_url, self._start) for key in ct_logs],
            "certificateAuthorities": [
                describe_authority(self.fulcio.authority.chain, self.base_url, self._start)
            ],
            "timestampAuthorities": [describe_authority(self.tsa.chain, self.base_url, self._start)],
        }

    def signing_config(self, rekor: Literal[1, 2] = 2) -> dict[str, Any]:
        """Returns the signing config, with Rekor of one version."""
        return signing_config(self.base_url, rekor, self._start)

    def client_trust_config(self, rekor: Literal[1, 2] = 2) -> dict[str, Any]:
        """Returns trusted root and signing config in one."""
        return {
            "mediaType": CLIENT_TRUST_CONFIG,
            "trustedRoot": self.trusted_root(),
            "signingConfig": self.signing_config(rekor),
        }

    def write_files(self, folder: Path) -> Path:
        """Writes what command-line tools need, and returns the folder.

        The files: trusted_root.json, and signing_config_vN.json and trust_config_vN.json with N of Rekor.
        """
        folder.mkdir(parents=True, exist_ok=True)
        files = {"trusted_root.json": self.trusted_root()}
        for rekor in (1, 2):
            files[f"signing_config_v{rekor}.json"] = self.signing_config(rekor)
            files[f"trust_config_v{rekor}.json"] = self.client_trust_config(rekor)
        for name, content in files.items():
            (folder / name).write_text(json.dumps(content))
        return folder

    def _claims(self, who: str | dict[str, Any]) -> dict[str, Any]:
        if isinstance(who, dict):
            return {"iss": self.base_url} | who
        mail = {} if "://" in who else {"email": who, "email_verified": True}
        return {"iss": self.base_url, "sub": who, **mail}

    def _certified(self, who: str | dict[str, Any], shape: Shape) -> Signatory:
        self._leaves += 1
        key = self._seed.key(f"leaf {self._leaves}", self._leaf_curve)
        leaf = self.fulcio.certify(self._claims(who), key.public_key(), with_sct=shape.sct)
        return Signatory(key, (leaf, *self.fulcio.authority.chain[:-1]))


def _payload(statement: bytes | dict[str, Any]) -> bytes:
    return statement if isinstance(statement, bytes) else encode_canonical(statement)

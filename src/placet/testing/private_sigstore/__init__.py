"""A private Sigstore in pure Python: OIDC issuer, Fulcio with SCT, Rekor v1 and v2, timestamp authority.

Quick tests sign in process, without HTTP and in milliseconds:

    sigstore = PrivateSigstore(b"any seed")               # the same seed, the same keys and certificates
    job = github_claims("octo/app", ref="refs/tags/v1")   # what a pipeline's OIDC token says
    bundle = sigstore.sign_statement(job, statement)      # bytes: a Sigstore bundle with a DSSE envelope
    bundle = sigstore.sign_artifact("alice@example.com", artifact)
    old = sigstore.sign_statement(job, statement, Shape(rekor="intoto", version="0.2", timestamp=False))
    github = sigstore.sign_statement(job, statement, Shape(rekor="none", sct=False))
    bare = sigstore.sign_statement_with_key(key, statement)  # no certificate: a key that the verifier knows
    json.dumps(sigstore.trusted_root())                   # the trust root's sigstore/trusted_root.json
    json.dumps(sigstore.trusted_root(like_github=True))   # one without logs, e.g. sigstore/github.json

`Shape` says what a bundle holds.  Certificates of jobs carry all of Fulcio's extensions
(1.3.6.1.4.1.57264.1.8 to .22, and .1 to .6 of old) as their claims say, and the issuer
https://token.actions.githubusercontent.com: this Sigstore plays GitHub's issuer, too.

Real clients sign over HTTP:

    with PrivateSigstoreServer() as server:
        folder = server.sigstore.write_files(tmp_path / "sigstore")
        token = server.sigstore.token("alice@example.com")       # or token(github_claims("octo/app"))

    ClientTrustConfig.from_json((folder / "trust_config_v2.json").read_text())        # sigstore-python
    cosign attest-blob --yes --signing-config FOLDER/signing_config_v2.json \\
        --trusted-root FOLDER/trusted_root.json --identity-token TOKEN --bundle OUT …
    cosign verify-blob-attestation --bundle OUT --trusted-root FOLDER/trusted_root.json \\
        --certificate-identity alice@example.com --certificate-oidc-issuer http://127.0.0.1:PORT \\
        --use-signed-timestamps …
    rekor-cli --rekor_server http://127.0.0.1:PORT get --log-index 1 --format json

From a shell: ``python -m placet.testing.private_sigstore PORT FOLDER`` serves until it is stopped, and
writes the same files and two tokens.

What it keeps of the real ones, because clients depend on it: tokens are verified, proofs of possession and
logged signatures too; Fulcio answers 200 and Rekor 201; log index 0 is never given out; Rekor v2 takes
hashedrekord only; Rekor v1's checkpoint origin is ``host:port - tree ID``, Rekor v2's the bare host name.
What it leaves out: keys other than P-256 and P-384, persistence, witnesses, CT log queries.
"""

from placet.testing.private_sigstore.bundles import Shape
from placet.testing.private_sigstore.fulcio import Refused
from placet.testing.private_sigstore.identities import GITHUB_ISSUER, github_claims
from placet.testing.private_sigstore.server import PrivateSigstoreServer
from placet.testing.private_sigstore.stack import PrivateSigstore

__all__ = [
    "GITHUB_ISSUER",
    "PrivateSigstore",
    "PrivateSigstoreServer",
    "Refused",
    "Shape",
    "github_claims",
]

"""Fakes at the edge of the hardware, shipped so that others can test against placet.

Nothing here replaces a part of placet itself: the fakes stand where a security key, a
browser or an attestation vendor would stand, and everything behind that edge stays real.

What a software key signed says so: every fake signer carries ``assurance = "software"``,
the value to write into a trust root that enrols it, and software assurance never reaches
INTENT_LEVEL_2. The fakes can also produce what an honest authenticator never would (no
touch, another origin, a synced passkey), because the attack tests need exactly that.

Modules:
    authenticator: software WebAuthn, OpenSSH sk and terminal keys, no outside tool needed.
    ctap: a software CTAP 2.1 authenticator below python-fido2 and below real libfido2.
    openssh: the stock ``ssh-keygen``, with its own dummy provider or with our authenticator.
    chromium: a real headless Chromium with its virtual authenticator.
    registration: enrolments of software keys, honest or not.
    oidc: an OIDC issuer.
    private_sigstore: issuer, Fulcio, Rekor v1 and v2, and a timestamp authority, all on loopback.
    log_store: a log in memory.
    object_storage: a real S3 server, and a wire to it that can break.
    witness: witnesses of logs on loopback, real ones and ones that lie.
    mds_blob: a FIDO metadata service under a root of its own.
"""

from placet.testing._tools import ToolMissing

__all__ = ["ToolMissing"]

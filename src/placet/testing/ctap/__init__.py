"""A software CTAP 2.1 authenticator, at three depths.

- `SoftCtapDevice` goes straight into ``fido2.client.Fido2Client``.
- `open_hid_device` puts CTAPHID framing in between: fragments, keep-alives, cancellation.
- `serve_pty` offers the same frames on a pseudo terminal, which real libfido2 tools open
  as if it were a ``hidraw`` node; with a small preloaded shim, real OpenSSH does too
  (`placet.testing.openssh`).

The authenticator behind all three is `SoftAuthenticator`. It needs the extra
``placet[testing]``. Its keys live in memory, and its attestation chains to a root that is
named as what it is, so no trust root but a test's own ever accepts it.
"""

from placet.testing.ctap.attestation import SOFTWARE_AAGUID, AttestationCa
from placet.testing.ctap.authenticator import SoftAuthenticator, Touch
from placet.testing.ctap.transport import HidFraming, PtyDevice, SoftCtapDevice, open_hid_device, serve_pty

__all__ = [
    "SOFTWARE_AAGUID",
    "AttestationCa",
    "HidFraming",
    "PtyDevice",
    "SoftAuthenticator",
    "SoftCtapDevice",
    "Touch",
    "open_hid_device",
    "serve_pty",
]

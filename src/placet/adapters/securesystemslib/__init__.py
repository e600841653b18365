"""Hardware approvals for any project that uses securesystemslib: python-tuf, in-toto, DSSE.

    from placet.securesystemslib import register     # registers these and the browser's signer

`SkKey` verifies, `SshSkSigner` signs with an OpenSSH FIDO key.  The browser's signer needs a page and stands
in a layer above: `placet.securesystemslib`, from which users should import everything.
"""

from securesystemslib.signer import (  # type: ignore[attr-defined]  # re-exported without saying so
    KEY_FOR_TYPE_AND_SCHEME,
    SIGNER_FOR_URI_SCHEME,
)

from placet.adapters.securesystemslib.keys import KEYTYPE, NAMESPACES, SCHEMES, SkKey
from placet.adapters.securesystemslib.signers import AuthenticatorSigner, SshSkSigner

__all__ = ["KEYTYPE", "NAMESPACES", "SCHEMES", "AuthenticatorSigner", "SkKey", "SshSkSigner", "register"]


def register() -> None:
    """Makes securesystemslib of this process read FIDO keys, and sign with ``ssh-sk:`` URIs.

    Explicit, because it changes the whole process; calling it again changes nothing.
    """
    for scheme in SCHEMES:
        KEY_FOR_TYPE_AND_SCHEME[(KEYTYPE, scheme)] = SkKey
    SIGNER_FOR_URI_SCHEME[SshSkSigner.SCHEME] = SshSkSigner

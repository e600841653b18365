"""Hardware approvals for any project that uses securesystemslib: python-tuf, in-toto, DSSE.

    from placet.securesystemslib import register

    register()      # once, before metadata is read

From then on `Key.from_dict` reads FIDO keys (keytype ``ssh``), `Signer.from_priv_key_uri` knows two schemes:

    ssh-sk:PATH     an OpenSSH FIDO key, through ``ssh-keygen -Y sign``
    webauthn:       a browser's key, on the page of this machine's terminal (needs ``placet[terminal]``)

and both count for exactly the namespace that the key itself states: see `SkKey`.  Everything here is
re-exported from where it lives; this is the one place to import it from.
"""

from __future__ import annotations

from securesystemslib.signer import (  # type: ignore[attr-defined]  # re-exported without saying so
    SIGNER_FOR_URI_SCHEME,
    Key,
    SecretsHandler,
    Signature,
    Signer,
)

from placet.adapters.securesystemslib import (
    KEYTYPE,
    NAMESPACES,
    SCHEMES,
    AuthenticatorSigner,
    SkKey,
    SshSkSigner,
)
from placet.adapters.securesystemslib import register as _register_adapters
from placet.core.sshsig import NAMESPACE_INTENT, NAMESPACE_LINK, NAMESPACE_TRUST
from placet.ports.authenticator import AuthenticatorError

__all__ = [
    "KEYTYPE",
    "NAMESPACES",
    "NAMESPACE_INTENT",
    "NAMESPACE_LINK",
    "NAMESPACE_TRUST",
    "SCHEMES",
    "AuthenticatorError",
    "AuthenticatorSigner",
    "SkKey",
    "SshSkSigner",
    "WebAuthnSigner",
    "register",
]


class WebAuthnSigner(Signer):
    """Makes signers from ``webauthn:`` URIs; the terminal's page is loaded only then."""

    SCHEME = "webauthn"

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None
    ) -> Signer:
        """As `placet.terminal.webauthn_signer.WebAuthnSigner.from_priv_key_uri`.

        Raises:
            ValueError: the URI is another, or this terminal cannot sign with this key.
            ModuleNotFoundError: ``placet[terminal]`` is not installed.
        """
        from placet.terminal.webauthn_signer import WebAuthnSigner as PageSigner

        return PageSigner.from_priv_key_uri(priv_key_uri, public_key, secrets_handler)

    @property
    def public_key(self) -> Key:
        """Never there: `from_priv_key_uri` returns another class."""
        raise NotImplementedError

    def sign(self, payload: bytes) -> Signature:
        """Never called: `from_priv_key_uri` returns another class."""
        raise NotImplementedError


def register() -> None:
    """Makes securesystemslib of this process read FIDO keys and know both URI schemes.

    Explicit, because it changes the whole process; calling it again changes nothing.
    """
    _register_adapters()
    SIGNER_FOR_URI_SCHEME[WebAuthnSigner.SCHEME] = WebAuthnSigner

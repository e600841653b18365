"""The ``webauthn:`` signer of securesystemslib: this machine's terminal shows, a browser's key signs.

``webauthn:`` means the terminal of this user, ``webauthn:FOLDER`` the one whose state lies in a folder
(percent-encoded), and ``?port=NUMBER`` a page at another port than 8470.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, unquote

from securesystemslib.signer import Key, SecretsHandler  # type: ignore[attr-defined]

from placet.adapters.paths import state_dir
from placet.adapters.securesystemslib import AuthenticatorSigner
from placet.adapters.securesystemslib.signers import check_signing_key
from placet.adapters.terminal_identity import FileTerminalIdentity
from placet.core.encoding import KeyId
from placet.core.errors import PlacetError
from placet.terminal.credentials import CredentialStore
from placet.terminal.page_authenticator import PageAuthenticator
from placet.terminal.server import DEFAULT_PORT


class WebAuthnSigner(AuthenticatorSigner):
    """Signs with a browser's key, on a page that shows the whole message first."""

    SCHEME = "webauthn"

    @classmethod
    def from_priv_key_uri(
        cls, priv_key_uri: str, public_key: Key, secrets_handler: SecretsHandler | None = None
    ) -> WebAuthnSigner:
        """Makes a signer from ``webauthn:[FOLDER][?port=NUMBER]``.

        Args:
            priv_key_uri: the URI.
            public_key: an `SkKey`; it states the namespace and the origins.
            secrets_handler: not asked: the browser asks for the PIN itself.

        Raises:
            ValueError: the URI is another, or this terminal cannot sign with this key.
        """
        folder, port = _read_uri(priv_key_uri)
        key = check_signing_key(public_key)
        try:
            terminal = FileTerminalIdentity.load(folder / "identity.json").terminal_id
            known = CredentialStore(folder / "credentials.json").all().get(KeyId(key.keyid))
        except (PlacetError, OSError) as e:
            raise ValueError(f"This terminal cannot be used: {e}") from e
        if known is None or key.kind != "webauthn":
            raise ValueError(
                f"The key {key.keyid[:16]} is none that a browser on this terminal can use. Sign on the "
                "terminal on which it was enrolled, or, with an OpenSSH key, by an ssh-sk: URI."
            )
        origin = f"http://{terminal}.{key.application}:{port}"
        if origin not in key.origins:
            raise ValueError(
                f"Signatures made on {origin} do not count: the key lists "
                f"{', '.join(key.origins) or 'no page'}."
            )
        return cls(PageAuthenticator(key, known, origin, port=port), key)


def _read_uri(uri: str) -> tuple[Path, int]:
    scheme, _, rest = uri.partition(":")
    path, _, query = rest.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    port = options.pop("port", str(DEFAULT_PORT))
    if (
        scheme != WebAuthnSigner.SCHEME
        or options
        or not (port.isascii() and port.isdigit() and len(port) < 6)
    ):
        raise ValueError(f"{uri!r} is not webauthn:[FOLDER][?port=NUMBER].")
    folder = Path(unquote(path)).expanduser() if path else state_dir() / "terminal"
    return folder, int(port)

"""An OpenSSH FIDO key through stock ``ssh-keygen -Y sign``: no browser, no code of ours near the key."""

from __future__ import annotations

import base64
import binascii
import subprocess
import tempfile
from pathlib import Path

from placet.core.errors import PlacetError
from placet.core.sshsig import SK_ECDSA, SK_ED25519, dearmor, parse_public_key
from placet.ports.authenticator import AuthenticatorError

# A person has to find the key, read the screen and type a PIN.
DEFAULT_TIMEOUT_SECONDS = 120
_MAX_PUBLIC_KEY_BYTES = 64 * 1024


class SshKeygenAuthenticator:
    """Signs with the key whose private part (a key handle) or public part is in a file.

    Satisfies `placet.ports.authenticator.Authenticator`.
    """

    def __init__(self, key_file: Path, *, timeout_seconds: int = DEFAULT_TIMEOUT_SECONDS) -> None:
        """Reads the public key beside `key_file`.

        Raises:
            AuthenticatorError: there is no such key, or it is not a FIDO key.
        """
        private = key_file.with_suffix("") if key_file.suffix == ".pub" else key_file
        self._private, self._timeout = private, timeout_seconds
        self._wire = read_public_key_file(private.with_name(f"{private.name}.pub"))

    @property
    def wire(self) -> bytes:
        """The key in SSH wire form."""
        return self._wire

    def sign(self, namespace: str, message: bytes) -> bytes:
        """Returns a binary SSHSIG over `message`; the person touches the key now.

        Raises:
            AuthenticatorError: ssh-keygen is missing, timed out or refused; nothing was signed.
        """
        with tempfile.TemporaryDirectory(prefix="placet-sign-") as folder:
            path = Path(folder) / "message"
            path.write_bytes(message)
            command = ["ssh-keygen", "-Y", "sign", "-q", "-n", namespace, "-f", str(self._private), str(path)]
            try:
                # stderr and the terminal stay the person's: ssh-keygen asks for PIN and touch there.
                done = subprocess.run(command, stdout=subprocess.DEVNULL, timeout=self._timeout, check=False)
                if done.returncode != 0:
                    raise AuthenticatorError(
                        "ssh-keygen did not sign. Plug the key in, touch it when it blinks, and try again."
                    )
                return dearmor((Path(folder) / "message.sig").read_text())
            except subprocess.TimeoutExpired as e:
                raise AuthenticatorError(f"No touch within {self._timeout} seconds.") from e
            except FileNotFoundError as e:
                raise AuthenticatorError("ssh-keygen is not installed (Debian: openssh-client).") from e
            except (OSError, PlacetError) as e:
                raise AuthenticatorError(f"ssh-keygen gave no usable signature: {e}") from e


KEY_TYPES = ("ed25519-sk", "ecdsa-sk")


def make_key_command(
    key_file: Path,
    *,
    application: str,
    challenge_file: Path,
    attestation_file: Path,
    key_type: str = KEY_TYPES[0],
    comment: str = "",
) -> list[str]:
    """Returns the ``ssh-keygen`` command that makes a FIDO key whose attestation answers a challenge.

    Args:
        key_file: where the key handle goes, with the public key beside it.
        application: ``ssh:placet:<deployment>``.
        challenge_file: holds the challenge; OpenSSH signs the SHA-256 of its bytes.
        attestation_file: where the attestation goes.
        key_type: one of `KEY_TYPES`.
        comment: stands in the public key's line.
    """
    options = [
        f"application={application}",
        "verify-required",
        f"challenge={challenge_file}",
        f"write-attestation={attestation_file}",
    ]
    # An empty passphrase: the file is only a handle, and the key itself asks for a PIN.
    command = ["ssh-keygen", "-t", key_type, "-N", "", "-C", comment, "-f", str(key_file)]
    return command + [part for option in options for part in ("-O", option)]


def make_key(command: list[str], *, timeout_seconds: int = DEFAULT_TIMEOUT_SECONDS) -> None:
    """Runs `make_key_command`'s command; the person touches the key now.

    Raises:
        AuthenticatorError: ssh-keygen is missing, timed out or refused.
    """
    try:
        # Its words go to stderr: PIN and touch are asked there, and our own output stays ours.
        done = subprocess.run(command, stdout=2, timeout=timeout_seconds, check=False)
    except subprocess.TimeoutExpired as e:
        raise AuthenticatorError(f"No touch within {timeout_seconds} seconds.") from e
    except FileNotFoundError as e:
        raise AuthenticatorError("ssh-keygen is not installed (Debian: openssh-client).") from e
    if done.returncode != 0:
        raise AuthenticatorError(
            "ssh-keygen made no key. Plug the security key in, set a PIN on it, touch it when it blinks. "
            "Older keys know ecdsa-sk only: try --type ecdsa-sk."
        )


def read_public_key_file(path: Path) -> bytes:
    """Reads an OpenSSH ``.pub`` file of a FIDO key.

    Returns:
        The key in SSH wire form.

    Raises:
        AuthenticatorError: the file is missing, or holds no FIDO key.
    """
    try:
        with path.open("rb") as file:  # bounded: the path may name a device, or a file of any size
            fields = file.read(_MAX_PUBLIC_KEY_BYTES).decode("utf-8").split()
        wire = base64.b64decode(fields[1], validate=True)
        key = parse_public_key(wire)
    except OSError as e:
        raise AuthenticatorError(f"The public key {path} cannot be read: {e.strerror}.") from e
    except (IndexError, binascii.Error, UnicodeDecodeError) as e:
        raise AuthenticatorError(f"{path} is not an OpenSSH public key.") from e
    except PlacetError as e:
        raise AuthenticatorError(f"{path}: {e.message} {e.hint}".strip()) from e
    if key.key_type not in (SK_ECDSA, SK_ED25519):
        raise AuthenticatorError(
            f"{path} is not a FIDO key. Create one with: "
            "ssh-keygen -t ed25519-sk -O verify-required -O application=ssh:placet:<deployment>"
        )
    return wire

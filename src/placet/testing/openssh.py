"""The stock ``ssh-keygen``, with security keys that need no hardware.

Two providers stand in for a key on USB:

- `sk_dummy`: the provider library of OpenSSH's own regression tests. No PIN, and it sets
  whatever flags it is asked for.
- `libfido2`: real ssh-keygen, real ssh-sk-helper and real libfido2, which find our software
  authenticator on a pseudo terminal (`placet.testing.ctap.serve_pty`).

Keys are bound to ``ssh:placet:<deployment>``. A web page can never use such a key: browsers
hash a domain name in that place.
"""

import base64
import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from placet.core.sshsig import armor, dearmor, parse_public_key
from placet.testing._tools import locate_file, locate_program

if TYPE_CHECKING:  # The dummy provider works without python-fido2.
    from placet.testing.ctap.transport import PtyDevice

SK_DUMMY: Final = Path("/usr/lib/openssh/regress/misc/sk-dummy/sk-dummy.so")
SSHSIG_TESTDATA: Final = Path("/usr/lib/openssh/regress/unittests/sshsig/testdata")
"""Signatures that OpenSSH's own tests verify."""

_OPENSSH_TESTS: Final = "openssh-tests"
_SHIM_SOURCE: Final = Path(__file__).with_name("manifest_shim.c")
_FIDO_HEADER: Final = Path("/usr/include/fido.h")
_DEVICE_VARIABLE: Final = "PLACET_TESTING_FIDO_DEVICE"
_TIMEOUT_SECONDS: Final = 60

SkType = Literal["ecdsa", "ed25519"]


class OpenSshRefused(Exception):
    """``ssh-keygen`` ended with an error; the message is its own output."""


class Provider(NamedTuple):
    """Where ssh-keygen finds its security key: variables added to its environment."""

    variables: dict[str, str]


class SkKey(NamedTuple):
    """A key that ``ssh-keygen -t …-sk`` made.

    Attributes:
        path: The private file, which holds the key handle. The public one is beside it.
        wire: The public key in SSH wire form.
    """

    path: Path
    wire: bytes


def locate_sk_dummy() -> Path:
    """Return the provider library of OpenSSH's regression tests.

    Raises:
        ToolMissing: Debian's openssh-tests is not installed.
    """
    return locate_file(SK_DUMMY, _OPENSSH_TESTS)


def locate_sshsig_testdata() -> Path:
    """Return the folder of OpenSSH's own SSHSIG test data.

    Raises:
        ToolMissing: Debian's openssh-tests is not installed.
    """
    return locate_file(SSHSIG_TESTDATA / "signed-data", _OPENSSH_TESTS).parent


def sk_dummy() -> Provider:
    """Sign with OpenSSH's dummy provider.

    Raises:
        ToolMissing: Debian's openssh-tests is not installed.
    """
    return Provider({"SSH_SK_PROVIDER": str(locate_sk_dummy())})


def libfido2(device: "PtyDevice", folder: Path, *, pin: str | None = None) -> Provider:
    """Sign with real libfido2 and the software authenticator on ``device``.

    Args:
        device: A served pseudo terminal.
        folder: A private folder for the shim and the PIN prompt.
        pin: What to answer when OpenSSH asks for the PIN.

    Raises:
        ToolMissing: gcc or libfido2-dev is not installed.
    """
    variables = {"LD_PRELOAD": str(build_manifest_shim(folder)), _DEVICE_VARIABLE: device.path}
    if pin is not None:
        prompt = folder / "answer-pin-prompt"
        # Every other prompt ("confirm user presence") is only shown, and wants no answer.
        prompt.write_text(f'#!/bin/sh\ncase "$1" in *PIN*) echo {shlex.quote(pin)} ;; esac\n')
        prompt.chmod(0o700)
        variables |= {"SSH_ASKPASS": str(prompt), "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": ":0"}
    return Provider(variables)


def build_manifest_shim(folder: Path) -> Path:
    """Compile the library that shows our pseudo terminal to libfido2.

    Raises:
        ToolMissing: gcc or libfido2-dev is not installed.
        OpenSshRefused: The compiler failed.
    """
    compiler = locate_program("cc", "gcc")
    locate_file(_FIDO_HEADER, "libfido2-dev")
    library = folder / "manifest_shim.so"
    command = [compiler, "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, _SHIM_SOURCE, "-lfido2"]
    _run([str(part) for part in command], {})
    return library


def generate_sk_key(
    provider: Provider,
    path: Path,
    *,
    deployment: str = "demo",
    sk_type: SkType = "ecdsa",
    verify_required: bool = False,
    comment: str = "",
) -> SkKey:
    """Make a key bound to ``ssh:placet:<deployment>``, without a passphrase.

    Args:
        provider: The security key to use.
        path: Where the private file goes; it must not exist.
        deployment: The placet deployment the key is for.
        sk_type: The algorithm.
        verify_required: Make OpenSSH ask for user verification at each signature.
        comment: Put at the end of the public key's line.

    Raises:
        ToolMissing: ssh-keygen is not installed.
        OpenSshRefused: ssh-keygen failed.
    """
    command = [_ssh_keygen(), "-q", "-t", f"{sk_type}-sk", "-N", "", "-C", comment, "-f", str(path)]
    command += ["-O", f"application=ssh:placet:{deployment}"]
    if verify_required:
        command += ["-O", "verify-required"]
    _run(command, provider.variables)
    return SkKey(path, base64.b64decode(path.with_name(path.name + ".pub").read_text().split()[1]))


def sign(provider: Provider, key: SkKey, namespace: str, message: bytes) -> bytes:
    """Sign with ``ssh-keygen -Y sign`` and return the binary SSHSIG.

    Raises:
        ToolMissing: ssh-keygen is not installed.
        OpenSshRefused: ssh-keygen failed.
    """
    command = [_ssh_keygen(), "-q", "-Y", "sign", "-f", str(key.path), "-n", namespace]
    return dearmor(_run(command, provider.variables, message).decode())


def allowed_signers_line(principal: str, wire: bytes, namespace: str | None = None) -> str:
    """Return the line of an ``allowed_signers`` file that admits this key."""
    options = "" if namespace is None else f'namespaces="{namespace}" '
    return f"{principal} {options}{parse_public_key(wire).key_type} {base64.b64encode(wire).decode()}\n"


def verify_with_ssh_keygen(
    blob: bytes, *, message: bytes, namespace: str, wire: bytes, principal: str = "somebody@example.com"
) -> str:
    """Verify a binary SSHSIG with stock ``ssh-keygen -Y verify``.

    Stock OpenSSH checks key, RP ID or application, namespace and bytes. It accepts a signature
    without touch, without user verification and from any origin.

    Returns:
        What ssh-keygen printed, "Good … signature for …".

    Raises:
        ToolMissing: ssh-keygen is not installed.
        OpenSshRefused: ssh-keygen does not accept the signature.
    """
    with tempfile.TemporaryDirectory() as name:
        allowed, signature = Path(name, "allowed_signers"), Path(name, "message.sig")
        allowed.write_text(allowed_signers_line(principal, wire, namespace))
        signature.write_text(armor(blob))
        command = [_ssh_keygen(), "-Y", "verify", "-f", str(allowed), "-I", principal]
        command += ["-n", namespace, "-s", str(signature)]
        return _run(command, {}, message).decode().strip()


def _ssh_keygen() -> str:
    return str(locate_program("ssh-keygen", "openssh-client"))


def _run(command: list[str], variables: dict[str, str], stdin: bytes = b"") -> bytes:
    """Run a tool in an environment where no agent, provider or preloaded library is left over."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SSH_", "LD_"))}
    done = subprocess.run(
        command, input=stdin, capture_output=True, env=kept | variables, timeout=_TIMEOUT_SECONDS, check=False
    )
    if done.returncode:
        output = (done.stdout + done.stderr).decode(errors="replace").strip()
        raise OpenSshRefused(f"{Path(command[0]).name} exited with {done.returncode}: {output}")
    return done.stdout

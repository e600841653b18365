"""Signs with sigstore-python: a certificate from Fulcio, an entry in Rekor, a timestamp, a bundle v0.3.

What leaves here was verified the way others will verify it, with the same trusted root, before it is
handed out: a signature that nobody accepts is worse than none.

sigstore-python's calls have no time limit of their own.  Ours has one over each, so that a gate never hangs
with a use consumed.

Leaves out: when to sign; the signing gate decides that (`placet.gates.signing`).
"""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from cryptography.x509 import Certificate, RFC822Name, SubjectAlternativeName, UniformResourceIdentifier
from sigstore import dsse
from sigstore.hashes import Hashed
from sigstore.models import Bundle, ClientTrustConfig
from sigstore.oidc import IdentityToken
from sigstore.sign import Signer, SigningContext
from sigstore.verify import Verifier, policy
from sigstore_models.common.v1 import HashAlgorithm

from placet.core.encoding import Digest
from placet.core.errors import visible
from placet.ports.artifact_signer import (
    SignerIdentity,
    SigningUnavailableError,
    SigningUnfinishedError,
)

T = TypeVar("T")

CERTIFICATE_SECONDS = 30.0
SIGNATURE_SECONDS = 60.0
# Rekor answers the second time what it could not the first; a third try would rather be a flood.
_TRIES = 2
_ISSUER_V2 = "1.3.6.1.4.1.57264.1.8"
_MAX_WHY = 300


class SigstoreInstance(NamedTuple):
    """Where to sign, and what makes the result believable."""

    config: ClientTrustConfig

    @property
    def issuer(self) -> str:
        """The OIDC issuer where people sign in."""
        return str(self.config.signing_config.get_oidc_url())


def load_instance(trust_config: bytes) -> SigstoreInstance:
    """Returns the instance that a ClientTrustConfig describes.

    Raises:
        SigningUnavailableError: it describes none.
    """
    try:
        return SigstoreInstance(ClientTrustConfig.from_json(trust_config.decode("utf-8")))
    except Exception as error:  # pydantic, JSON and sigstore-python's own: all say that it is no such file
        raise SigningUnavailableError(
            f"The Sigstore configuration cannot be used: {_why(error)}.",
            "It is a ClientTrustConfig: trusted root and signing config in one JSON file.",
        ) from error


def join_config(trusted_root: bytes, signing_config: bytes) -> bytes:
    """Returns trusted root and signing config in the one file that `load_instance` takes.

    Raises:
        SigningUnavailableError: one of them is no JSON.
    """
    try:
        parts = {"trustedRoot": json.loads(trusted_root), "signingConfig": json.loads(signing_config)}
    except ValueError as error:
        raise SigningUnavailableError(
            f"The trusted root or the signing config is no JSON: {error}.", "Check both files."
        ) from error
    media_type = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"
    return json.dumps({"mediaType": media_type, **parts}).encode()


def public_good() -> SigstoreInstance:
    """Returns the public good instance; asks its TUF repository what is current.

    Raises:
        SigningUnavailableError: it cannot be asked.
    """
    try:
        return SigstoreInstance(_within(CERTIFICATE_SECONDS, ClientTrustConfig.production))
    except Exception as error:  # requests, TUF, time
        raise SigningUnavailableError(
            f"The public Sigstore's own configuration cannot be had: {_why(error)}.",
            "Check the network, or name another instance with --sigstore-config.",
        ) from error


class SigstoreSigner:
    """An identity with a certificate of its own; satisfies `placet.ports.artifact_signer.ArtifactSigner`."""

    def __init__(self, instance: SigstoreInstance, token: str) -> None:
        """Has the token's identity certified.

        Raises:
            SigningUnavailableError: the token is none, or Fulcio did not accept it.
        """
        try:
            context = SigningContext.from_trust_config(instance.config)
            identity = IdentityToken(token)
            self._signer = _within(CERTIFICATE_SECONDS, lambda: Signer(identity, context))
            self.signer = _read_signer(self._signer._signing_cert())
        except Exception as error:  # sigstore-python lets those of requests, JSON and X.509 through
            raise SigningUnavailableError(
                f"No certificate was had for this identity: {_why(error)}.",
                "Nothing was used. Sign in again, or check that Sigstore can be reached from here.",
            ) from error
        self._verifier = Verifier(trusted_root=instance.config.trusted_root)
        self._policy = policy.Identity(identity=self.signer.identity, issuer=self.signer.issuer)

    def sign_digest(self, digest: Digest) -> bytes:
        """Signs an artifact by its SHA-256.

        Raises:
            SigningUnfinishedError: no whole signature came of it.
        """
        hashed = Hashed(algorithm=HashAlgorithm.SHA2_256, digest=bytes.fromhex(digest))

        def sign() -> Bundle:
            bundle = self._signer.sign_artifact(hashed)
            self._verifier.verify_artifact(hashed, bundle, self._policy)
            return bundle

        return self._finish(sign)

    def sign_statement(self, payload: bytes) -> bytes:
        """Signs an in-toto statement, these very bytes.

        Raises:
            SigningUnfinishedError: no whole signature came of it.
        """

        def sign() -> Bundle:
            bundle = self._signer.sign_dsse(dsse.Statement(payload))
            _, signed = self._verifier.verify_dsse(bundle, self._policy)
            if signed != payload:
                raise ValueError("what was signed is not what was given")
            return bundle

        return self._finish(sign)

    def _finish(self, sign: Callable[[], Bundle]) -> bytes:
        for left in reversed(range(_TRIES)):
            try:
                return str(_within(SIGNATURE_SECONDS, sign).to_json()).encode()
            except Exception as error:  # as in the constructor
                if left == 0 or isinstance(error, TimeoutError):
                    raise SigningUnfinishedError(
                        f"Signing did not come to its end: {_why(error)}.",
                        "The use is consumed, and the log may hold a signature that nobody has. See "
                        "`placet ledger show --unknown`, then request a new approval.",
                    ) from error
        raise AssertionError("unreachable")


def verify_pair(
    instance: SigstoreInstance, *, digest: Digest, bundle: bytes, reference: bytes, signer: SignerIdentity
) -> tuple[bytes | None, bytes]:
    """Verifies a signature over an artifact and the reference statement beside it, both by one signer.

    Args:
        digest: of the artifact.

    Returns:
        The payload of the first, None where it signs the artifact itself; the payload of the second.

    Raises:
        SigningError: one of them is not what it should be; the text says which.
    """
    verifier = Verifier(trusted_root=instance.config.trusted_root)
    by = policy.Identity(identity=signer.identity, issuer=signer.issuer)
    hashed = Hashed(algorithm=HashAlgorithm.SHA2_256, digest=bytes.fromhex(digest))
    what = "signature"
    try:
        parsed = Bundle.from_json(bundle)
        payload: bytes | None = None
        if parsed._inner.dsse_envelope is None:
            verifier.verify_artifact(hashed, parsed, by)
        else:
            _, payload = verifier.verify_dsse(parsed, by)
        what = "reference statement"
        _, referring = verifier.verify_dsse(Bundle.from_json(reference), by)
    except Exception as error:  # sigstore-python's, pydantic's, JSON's
        raise UnrelatedError(f"The {what} does not hold: {_why(error)}.") from error
    return payload, referring


class UnrelatedError(Exception):
    """A Sigstore bundle does not verify for this artifact and signer."""


def _read_signer(certificate: Certificate) -> SignerIdentity:
    names = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    (name,) = [
        *names.get_values_for_type(RFC822Name),
        *names.get_values_for_type(UniformResourceIdentifier),
    ]
    for extension in certificate.extensions:
        if extension.oid.dotted_string == _ISSUER_V2:
            value: bytes = extension.value.public_bytes()
            # A UTF8String of less than 128 bytes, or of less than 256.
            return SignerIdentity(name, value[2 if value[1] < 0x80 else 3 :].decode())
    raise ValueError("the certificate does not name the issuer of the identity")


def _why(error: Exception) -> str:
    text = visible(str(error) or type(error).__name__)
    return text[:_MAX_WHY].rstrip(". ")


def _within(seconds: float, call: Callable[[], T]) -> T:
    """Calls, and waits for no longer than that; what comes later is let go."""
    answer: queue.Queue[tuple[bool, Any]] = queue.Queue(1)

    def work() -> None:
        try:
            answer.put((True, call()))
        except Exception as error:
            answer.put((False, error))

    threading.Thread(target=work, daemon=True).start()
    try:
        done, value = answer.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer within {seconds:g} seconds") from None
    if not done:
        raise value
    result: T = value
    return result

"""Verifies a bundle against one Sigstore instance: sigstore-python's verifier, step by step.

The steps are those of Sigstore's client specification.  sigstore-python makes the chain, the checks of the
logs, of signatures and of log entries; this class asks for them one by one, so that every refusal has its
own reason, and so that instances without logs and older log entries are judged as well:

    0. times      when was it signed, by a timestamp authority or by the log
    1. chain      an authority of the instance issued the certificate, which was valid at each of these times
    2. SCT        a certificate transparency log has seen it, where the instance has such logs
    3. profile    the certificate is one for signing
    4. log        the log contains the entry, where the instance has logs
    5. signature  the certificate's key signed the content
    6. entry      the log entry is about this signature, certificate and content

Leaves out: who signed; rules say whom they accept.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import Certificate, ExtendedKeyUsage, PrecertificateSignedCertificateTimestamps
from cryptography.x509.oid import ExtensionOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder
from rfc3161_client import VerificationError as TimestampError
from rfc3161_client import decode_timestamp_response
from sigstore import dsse
from sigstore._internal.sct import verify_sct
from sigstore._internal.trust import RekorKeyring
from sigstore._utils import cert_is_leaf
from sigstore.errors import VerificationError as SigstoreError
from sigstore.hashes import Hashed
from sigstore.models import Bundle, TransparencyLogEntry
from sigstore.verify import Verifier
from sigstore.verify.policy import VerificationPolicy
from sigstore_models.common.v1 import HashAlgorithm

from placet.adapters.sigstore.bundles import REKOR_V2, EvidenceBundle
from placet.adapters.sigstore.certificates import read_signer
from placet.adapters.sigstore.entries import Signed, check_entry_body
from placet.adapters.sigstore.instances import Authority, Instance
from placet.adapters.sigstore.keys import verifies_digest
from placet.adapters.sigstore.refusals import detail, invalid, not_logged, unsupported, wrong_time
from placet.adapters.sigstore.verified import Verified
from placet.core.encoding import parse_json
from placet.core.errors import VerificationError

_SCT = ExtensionOID.PRECERT_SIGNED_CERTIFICATE_TIMESTAMPS
# Fulcio's certificates are for signing code; the defaults of web clients want another purpose.
_POLICIES = {
    "ca_policy": ExtensionPolicy.webpki_defaults_ca().may_be_present(
        ExtendedKeyUsage, Criticality.NON_CRITICAL, None
    ),
    "ee_policy": ExtensionPolicy.webpki_defaults_ee().may_be_present(
        ExtendedKeyUsage, Criticality.NON_CRITICAL, None
    ),
}


class _LeftToRules:
    """sigstore-python asks for a policy of identities; ours are the rules, which judge the fact."""

    def verify(self, certificate: Certificate) -> None:
        """Accepts whoever signed."""


_LEFT_TO_RULES = _LeftToRules()


class InstanceVerifier(Verifier):
    """Verifies what was signed with certificates of one instance."""

    def __init__(self, instance: Instance, authorities: tuple[Authority, ...] = ()) -> None:
        """Prepares nothing: the instance is prepared already.

        Args:
            authorities: those of the instance that the certificate names.
        """
        # Not sigstore-python's: it makes an HTTP client, and refuses roots without logs.
        self.instance = instance
        self.authorities = authorities

    def verify(self, bundle: EvidenceBundle) -> Verified:
        """Verifies a bundle that has a certificate.

        Raises:
            PlacetError: EVIDENCE_INVALID, EVIDENCE_NOT_LOGGED, EVIDENCE_TIME, EVIDENCE_UNSUPPORTED.
            Exception: whatever the libraries find wrong with it.
        """
        certificate = bundle.signing_certificate
        logged = bool(self.instance.logs)
        if logged and bundle.entry is None:
            raise not_logged("The bundle has no entry of a transparency log, and its instance has one.")
        key = signing_key(certificate)
        try:
            payload_type, payload, digest = self._verify_content(bundle, logged=logged)
        except SigstoreError as e:
            if not isinstance(key.curve, ec.SECP256R1):
                raise unsupported(f"This version reads no Sigstore signatures by {key.curve.name}.") from e
            raise
        signed_at = int(min(bundle.times).timestamp())
        signer = read_signer(certificate, self.instance.name)
        return Verified(signer, signed_at, logged, payload_type, payload, digest)

    def _verify_common_signing_cert(self, bundle: Bundle, policy: VerificationPolicy) -> None:
        """Makes the steps 0 to 4 in place of sigstore-python's own, and keeps the times on the bundle.

        Raises:
            PlacetError: EVIDENCE_INVALID, EVIDENCE_TIME.
            Exception: whatever the libraries find wrong with it.
        """
        if not isinstance(bundle, EvidenceBundle):
            raise TypeError("only bundles of this package are verified here")
        certificate = bundle.signing_certificate
        bundle.times = self._signing_times(bundle)
        for time in bundle.times:
            chain = self.check_chain(certificate, time)
        self.check_profile(certificate, chain)
        if self.instance.logs:
            check_log_entry(bundle.log_entry, self.instance.log_keys)

    def _signing_times(self, bundle: EvidenceBundle) -> list[datetime]:
        times = self._timestamp_times(bundle)
        if self.instance.logs:
            times += self.log_times(bundle, times)
        if not times and bundle.timestamps:
            # A timestamp is over the signature, so a false signature has none that fits.
            _check_signature(bundle)
            raise wrong_time("No timestamp authority of the Sigstore instance stamped this signature.")
        if not times:
            raise wrong_time("Nothing in the bundle proves when it was signed.")
        return times

    def log_times(self, bundle: EvidenceBundle, stamped: list[datetime]) -> list[datetime]:
        """Returns the log's own time, if it has one; whoever calls this verifies the log entry as well.

        Args:
            stamped: the times of timestamp authorities.

        Raises:
            VerificationError: EVIDENCE_INVALID: another log's entry; EVIDENCE_TIME: a retired log's.
        """
        inner = bundle.log_entry._inner
        period = self.instance.logs.get(inner.log_id.key_id)
        if period is None:
            raise invalid("The log entry is of a log that the Sigstore instance does not name.")
        times = []
        # Rekor v2 has no time of its own; v1 signs it in its promise, which is verified with the entry.
        if bundle.entry_kind != REKOR_V2 and inner.inclusion_promise and inner.integrated_time:
            times.append(datetime.fromtimestamp(inner.integrated_time, tz=UTC))
        if any(time not in period for time in [*stamped, *times]):
            raise wrong_time("The log entry was made when its log's key did not count.")
        return times

    def _timestamp_times(self, bundle: EvidenceBundle) -> list[datetime]:
        if bundle.timestamps and not self.instance.timestamps:
            raise wrong_time(
                "The bundle carries a timestamp, and its Sigstore instance has no timestamp authority."
            )
        if len(set(bundle.timestamps)) != len(bundle.timestamps):
            raise invalid("The bundle carries the same timestamp twice.")
        found = (self.timestamp_time(stamp, bundle.signature) for stamp in bundle.timestamps)
        return [time for time in found if time]

    def timestamp_time(self, stamp: bytes, signature: bytes) -> datetime | None:
        """Returns the time that an authority of this instance put on a signature, None where none did.

        Raises:
            Exception: the timestamp cannot be read.
        """
        response = decode_timestamp_response(stamp)
        time = response.tst_info.gen_time
        for period, verifier in self.instance.timestamps:
            if time in period:
                try:
                    verifier.verify_message(response, signature)
                except TimestampError:
                    continue
                return time
        return None

    def check_chain(self, certificate: Certificate, time: datetime) -> list[Certificate]:
        """Checks that an authority of the instance issued a certificate, and that both were valid (step 1).

        Returns:
            The authority's certificates, the issuer first.

        Raises:
            VerificationError: EVIDENCE_TIME, EVIDENCE_INVALID.
        """
        if not certificate.not_valid_before_utc <= time <= certificate.not_valid_after_utc:
            raise wrong_time(
                f"It was signed at {time:%Y-%m-%d %H:%M:%S} UTC, when its certificate was not valid."
            )
        valid = [authority for authority in self.authorities if time in authority.period]
        if not valid:
            raise wrong_time("The certificate was used when the authority that issued it did not count.")
        error: Exception | None = None
        for authority in valid:
            builder = PolicyBuilder().store(authority.store).time(time).extension_policies(**_POLICIES)
            try:
                return builder.build_client_verifier().verify(certificate, []).chain[1:]
            except Exception as e:  # the library's own error, and others on names that it does not know
                error = e
        raise invalid(
            f"The certificate does not chain to {self.instance.name}: {detail(error or ValueError())}."
        ) from error

    def check_profile(self, certificate: Certificate, chain: list[Certificate]) -> None:
        """Checks the certificate's own log and its purpose (steps 2 and 3).

        Raises:
            VerificationError: EVIDENCE_INVALID, EVIDENCE_NOT_LOGGED.
            Exception: whatever the libraries find wrong with it.
        """
        if self.instance.certificate_log_keys is not None:
            if not _has_sct(certificate):
                raise not_logged("The certificate carries no proof (SCT) that a certificate log has seen it.")
            try:
                verify_sct(certificate, chain, self.instance.certificate_log_keys)
            except SigstoreError as e:
                raise invalid(f"The certificate's proof of a certificate log is false: {detail(e)}.") from e
            self._check_certificate_log(certificate)
        if not cert_is_leaf(certificate):
            raise invalid("The certificate is not one for signing.")

    def _check_certificate_log(self, certificate: Certificate) -> None:
        """Checks that the certificate log counted when it saw the certificate; sigstore-python does not ask.

        Raises:
            VerificationError: EVIDENCE_TIME.
        """
        scts = certificate.extensions.get_extension_for_class(PrecertificateSignedCertificateTimestamps)
        for sct in scts.value:
            period = self.instance.certificate_logs.get(sct.log_id)
            if period is not None and sct.timestamp.replace(tzinfo=UTC) not in period:
                raise wrong_time("A certificate log saw the certificate when the log's key did not count.")

    def _verify_content(self, bundle: EvidenceBundle, *, logged: bool) -> tuple[str, bytes | None, str]:
        """Makes the steps 5 and 6; returns payload type and payload, or the artifact's digest."""
        if bundle.envelope is None:
            digest = message_digest(bundle)
            hashed = Hashed(algorithm=HashAlgorithm.SHA2_256, digest=digest)
            if logged:
                self.verify_artifact(hashed, bundle, _LEFT_TO_RULES)
            else:
                self._verify_common_signing_cert(bundle, _LEFT_TO_RULES)
                if not verifies_digest(signing_key(bundle.signing_certificate), bundle.signature, digest):
                    raise SigstoreError("signature is invalid for the artifact")
            return "", None, digest.hex()
        if logged and bundle.entry_kind != ("intoto", "0.0.2"):
            return (*self.verify_dsse(bundle, _LEFT_TO_RULES), "")
        envelope = bundle.envelope
        self._verify_common_signing_cert(bundle, _LEFT_TO_RULES)
        payload = dsse._verify(signing_key(bundle.signing_certificate), envelope)
        if logged:
            der = bundle.signing_certificate.public_bytes(serialization.Encoding.DER)
            pae = hashlib.sha256(envelope.pae()).digest()
            check_entry_body(
                bundle.log_entry,
                Signed(bundle.signature, der, pae, payload, envelope._inner.payload_type),
            )
        return envelope._inner.payload_type, payload, ""


def _check_signature(bundle: EvidenceBundle) -> None:
    """Refuses what the certificate's key did not sign, whenever that was; only where it can be told.

    Raises:
        VerificationError: EVIDENCE_INVALID.
    """
    key = signing_key(bundle.signing_certificate)
    if not isinstance(key.curve, ec.SECP256R1):
        return  # other curves may sign another hash
    if bundle.envelope is None:
        digest = message_digest(bundle)
    else:
        digest = hashlib.sha256(bundle.envelope.pae()).digest()
    if not verifies_digest(key, bundle.signature, digest):
        raise invalid("The certificate's key did not make the bundle's signature.")


def unknown_instance() -> VerificationError:
    """Returns the refusal of a certificate that no instance issued."""
    return invalid(
        "No Sigstore instance that the trust root names issued the certificate.",
        hint="An administrator adds the instance's trusted_root.json to the trust root, as "
        "sigstore/NAME.json, if its certificates should count.",
    )


def check_log_entry(entry: TransparencyLogEntry, log_keys: RekorKeyring) -> None:
    """Checks the proof that the log contains an entry, or the promise that bundles of version 0.1 have.

    Raises:
        VerificationError: EVIDENCE_INVALID.
        Exception: whatever the libraries find wrong with it.
    """
    try:
        entry._verify(log_keys)
    except SigstoreError as e:
        raise invalid(f"The proof that the transparency log contains the entry is false: {detail(e)}.") from e


def _has_sct(certificate: Certificate) -> bool:
    return any(extension.oid == _SCT for extension in certificate.extensions)


def signing_key(certificate: Certificate) -> ec.EllipticCurvePublicKey:
    """Returns a certificate's key.

    Raises:
        IndeterminateError: EVIDENCE_UNSUPPORTED: sigstore-python verifies ECDSA alone.
    """
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise unsupported("This version reads Sigstore certificates with ECDSA keys only.")
    return key


def message_digest(bundle: EvidenceBundle) -> bytes:
    """Returns the SHA-256 of the artifact that was signed; the signature is verified over it.

    Raises:
        IndeterminateError: EVIDENCE_UNSUPPORTED: neither bundle nor log entry names a SHA-256.
        Exception: the log entry has another shape.
    """
    message = bundle._inner.message_signature
    if message is not None and message.message_digest is not None:
        if message.message_digest.algorithm is HashAlgorithm.SHA2_256:
            return message.message_digest.digest
    elif bundle.entry_kind == ("hashedrekord", "0.0.1"):
        body = parse_json(bundle.log_entry._inner.canonicalized_body, max_bytes=65536, what="log entry")
        logged = body["spec"]["data"]["hash"]
        if logged["algorithm"] == "sha256":
            return bytes.fromhex(logged["value"])
    raise unsupported("The bundle does not say by SHA-256 which artifact was signed.")

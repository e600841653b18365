"""Bundles that a plain key signed, such as cosign's with ``--key`` and npm's publish attestations.

Anyone's key signs anything, so a key counts only where the trust root has it.  A log entry and timestamps
are verified where the bundle has them, against any instance of the trust root; without a log entry the
fact says so, and rules refuse it unless they allow it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime

from placet.adapters.sigstore.bundles import EvidenceBundle
from placet.adapters.sigstore.entries import Signed, check_entry_body
from placet.adapters.sigstore.instances import Instance
from placet.adapters.sigstore.keys import PlainKey, can_verify_digest, verifies_digest, verifies_message
from placet.adapters.sigstore.refusals import invalid, not_verified, unsupported, wrong_time
from placet.adapters.sigstore.verified import Verified
from placet.adapters.sigstore.verifier import InstanceVerifier, check_log_entry, message_digest

NO_KEY_HINT = (
    "An administrator adds the public key to the trust root as keys/NAME.pub, if what it signs should count."
)


def verify_key_bundle(
    bundle: EvidenceBundle, keys: Sequence[PlainKey], instances: Sequence[Instance]
) -> Verified:
    """Verifies a bundle that has no certificate.

    Raises:
        VerificationError: EVIDENCE_INVALID, EVIDENCE_TIME.
        IndeterminateError: EVIDENCE_NOT_VERIFIED: the trust root has no keys; EVIDENCE_UNSUPPORTED.
        Exception: whatever the libraries find wrong with it.
    """
    if not keys:
        raise not_verified("A plain key signed this bundle, and the trust root has no keys.", NO_KEY_HINT)
    envelope = bundle.envelope
    if envelope is None:
        digest = message_digest(bundle)
        signed_digest, payload, payload_type = digest, None, ""
        able = [key for key in keys if can_verify_digest(key.key)]
        found = [key for key in able if verifies_digest(key.key, bundle.signature, digest)]
        if not found and able != list(keys):
            raise unsupported(
                "Of the artifact only the digest is here; an Ed25519 key signs the whole of it.",
                hint="Sign an attestation (DSSE), or sign with an ECDSA key.",
            )
    else:
        signed_digest = hashlib.sha256(envelope.pae()).digest()
        payload, payload_type = envelope._inner.payload, envelope._inner.payload_type
        found = [key for key in keys if verifies_message(key.key, bundle.signature, envelope.pae())]
    if not found:
        raise invalid("No key of the trust root made this bundle's signature.", hint=NO_KEY_HINT)
    key = found[0]
    signed = Signed(bundle.signature, key.der, signed_digest, payload, payload_type)
    times = _times(bundle, signed, instances)
    return Verified(
        key.signer,
        int(min(times).timestamp()) if times else 0,
        bundle.entry is not None,
        payload_type,
        payload,
        "" if envelope else signed_digest.hex(),
    )


def _times(bundle: EvidenceBundle, signed: Signed, instances: Sequence[Instance]) -> list[datetime]:
    if bundle.entry is not None:
        log_id = bundle.entry._inner.log_id.key_id
        instance = next((i for i in instances if log_id in i.logs), None)
        if instance is None:
            raise invalid("The log entry is of a log that no Sigstore instance of the trust root names.")
        check_entry_body(bundle.entry, signed)
        check_log_entry(bundle.entry, instance.log_keys)
        times = _stamped(bundle, instances)
        return times + InstanceVerifier(instance).log_times(bundle, times)
    times = _stamped(bundle, instances)
    if bundle.timestamps and not times:
        raise wrong_time("No timestamp authority of the trust root made the bundle's timestamps.")
    return times


def _stamped(bundle: EvidenceBundle, instances: Sequence[Instance]) -> list[datetime]:
    found = []
    for stamp in bundle.timestamps:
        times = (InstanceVerifier(i).timestamp_time(stamp, bundle.signature) for i in instances)
        found += [time for time in times if time][:1]
    return found

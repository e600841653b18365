"""DSSE envelopes outside of bundles: slsa-github-generator's ``.intoto.jsonl``, and plain keys'.

Such an envelope carries no log entry and no timestamp.  A certificate in the signature's ``cert`` member is
verified as of its own validity, with its SCT; but whoever got hold of its short-lived key could have signed
at any time since.  So nothing is known of when it was signed, no log has it, and the facts say both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from placet.adapters.sigstore.documents import MAX_DOCUMENT_BYTES
from placet.adapters.sigstore.refusals import invalid, unsupported, wrong_time
from placet.core.decode import read_list, read_string
from placet.core.dsse import MAX_SIGNATURES, pae
from placet.core.encoding import b64decode_strict, parse_json
from placet.core.errors import MalformedError, PlacetError, Reason

if TYPE_CHECKING:
    from placet.adapters.sigstore.instances import Instance
    from placet.adapters.sigstore.keys import PlainKey
    from placet.adapters.sigstore.verified import Verified

_MAX_TEXT = 2 * MAX_DOCUMENT_BYTES


class EnvelopeSignature(NamedTuple):
    """One signature, with the certificate in PEM that it may carry."""

    sig: bytes
    certificate: str | None


class BareEnvelope(NamedTuple):
    """An envelope of any payload type."""

    payload: bytes
    payload_type: str
    signatures: tuple[EnvelopeSignature, ...]


def parse_envelope(content: bytes) -> BareEnvelope:
    """Parses a DSSE envelope as others write it.

    Raises:
        MalformedError: it is no JSON, or has another shape.
    """
    top = parse_json(content, max_bytes=MAX_DOCUMENT_BYTES, what="DSSE envelope")
    if not isinstance(top, dict):
        raise MalformedError(Reason.WRONG_TYPE, "An object was expected.", path="/")
    items = read_list(top.get("signatures"), "/signatures", max_items=MAX_SIGNATURES, min_items=1)
    return BareEnvelope(
        payload=b64decode_strict(
            read_string(top.get("payload"), "/payload", max_length=_MAX_TEXT), "/payload"
        ),
        payload_type=read_string(top.get("payloadType"), "/payloadType"),
        signatures=tuple(_read_signature(item, f"/signatures/{i}") for i, item in enumerate(items)),
    )


def _read_signature(item: Any, path: str) -> EnvelopeSignature:
    if not isinstance(item, dict):
        raise MalformedError(Reason.WRONG_TYPE, "An object was expected.", path=path)
    sig = read_string(item.get("sig"), f"{path}/sig", max_length=65536)
    certificate = item.get("cert") or None
    if certificate is not None:
        certificate = read_string(certificate, f"{path}/cert", max_length=65536)
    return EnvelopeSignature(b64decode_strict(sig, f"{path}/sig"), certificate)


def verify_envelope(
    envelope: BareEnvelope,
    keys: Sequence[PlainKey],
    instances_of: Callable[[], Sequence[Instance]],
) -> tuple[Verified, ...]:
    """Verifies every signature that can be: one fact for each signer.

    Args:
        keys: the trust root's plain keys.
        instances_of: returns the Sigstore instances; called where a signature has a certificate.

    Raises:
        PlacetError: no signature holds; the first one's reason.
        Exception: whatever the libraries find wrong with it.
    """
    message = pae(envelope.payload_type, envelope.payload)
    verified, refusals = [], []
    for signature in envelope.signatures:
        try:
            if signature.certificate is None:
                verified.append(_verify_with_keys(envelope, signature, message, keys))
            else:
                verified.append(_verify_with_certificate(envelope, signature, message, instances_of()))
        except PlacetError as e:
            refusals.append(e)
    if not verified:
        raise refusals[0]
    return tuple(verified)


def _verify_with_keys(
    envelope: BareEnvelope, signature: EnvelopeSignature, message: bytes, keys: Sequence[PlainKey]
) -> Verified:
    from placet.adapters.sigstore.keys import verifies_message
    from placet.adapters.sigstore.verified import Verified

    for key in keys:
        if verifies_message(key.key, signature.sig, message):
            return Verified(key.signer, 0, False, envelope.payload_type, envelope.payload)
    if keys:
        raise invalid("No key of the trust root made this envelope's signature.")
    raise unsupported(
        "The envelope carries no certificate, and the trust root has no key that could have signed it.",
        hint="Use the Sigstore bundle of the same build; or an administrator adds the key as keys/NAME.pub.",
    )


def _verify_with_certificate(
    envelope: BareEnvelope, signature: EnvelopeSignature, message: bytes, instances: Sequence[Instance]
) -> Verified:
    from cryptography.x509 import load_pem_x509_certificates

    from placet.adapters.sigstore.certificates import read_signer
    from placet.adapters.sigstore.keys import verifies_message
    from placet.adapters.sigstore.verified import Verified
    from placet.adapters.sigstore.verifier import InstanceVerifier, signing_key, unknown_instance

    certificate = load_pem_x509_certificates((signature.certificate or "").encode())[0]
    key = signing_key(certificate)
    for instance in instances:
        if authorities := instance.authorities_of(certificate):
            if not instance.logs:
                # Of such an instance rules take what no log has; a timestamp is all that proves anything.
                raise wrong_time("Nothing in the envelope proves when it was signed.")
            verifier = InstanceVerifier(instance, authorities)
            chain = verifier.check_chain(certificate, certificate.not_valid_before_utc)
            verifier.check_profile(certificate, chain)
            if not verifies_message(key, signature.sig, message):
                raise invalid("The certificate's key did not make this envelope's signature.")
            signer = read_signer(certificate, instance.name)
            return Verified(signer, 0, False, envelope.payload_type, envelope.payload)
    raise unknown_instance()

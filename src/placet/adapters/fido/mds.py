"""The FIDO Alliance's metadata about authenticators (MDS3), a signed blob in a file.

The blob is a JWS.  Its signer's certificate chains to a root of the public web (FIDO names which), under
which anybody can have a certificate: so the signer must be named ``mds.fidoalliance.org``, too.  The
`parse_blob` of python-fido2 does not look at that name, takes ES256 only in DER, and reads all entries at
once, so that one malformed entry (there is one in the published list) spoils all.  Here the signature is
checked first, then only the entries that an administrator allows are read, one by one, with its types.

Nothing is fetched.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import json
from collections.abc import Collection
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from fido2.mds3 import AuthenticatorStatus, MetadataBlobPayloadEntry

from placet.adapters.fido.certificates import check_chain, parse_certificate, parse_root
from placet.core.errors import MalformedError, PlacetError, PolicyError, Reason, VerificationError
from placet.documents.models import (
    MAX_ADVISORIES,
    MAX_ADVISORY,
    MAX_DESCRIPTION,
    Model,
    Source,
    plain_text,
)

SIGNER = "mds.fidoalliance.org"
# The published blob has 8 MB, most of it icons.
MAX_BLOB_BYTES = 64 * 1024 * 1024
_P256_BYTES = 32

# With one of these anywhere in its history, a model proves nothing: which firmware a key has, nobody can see.
_REFUSED = {
    AuthenticatorStatus.REVOKED: "FIDO has revoked it",
    AuthenticatorStatus.USER_VERIFICATION_BYPASS: "its PIN or fingerprint can be bypassed",
    AuthenticatorStatus.ATTESTATION_KEY_COMPROMISE: "its attestation key is known to others",
    AuthenticatorStatus.USER_KEY_REMOTE_COMPROMISE: "keys can be taken out of it from afar",
    AuthenticatorStatus.USER_KEY_PHYSICAL_COMPROMISE: "keys can be taken out of it by whoever holds it",
}
_ADVISED = {
    AuthenticatorStatus.UPDATE_AVAILABLE: "A firmware update is available",
    AuthenticatorStatus.RETIRED: "The vendor no longer supports it",
    AuthenticatorStatus.NOT_FIDO_CERTIFIED: "Not certified by FIDO",
}


class Blob(NamedTuple):
    """A blob whose signature verified; its entries are not read yet."""

    number: int
    next_update: datetime.date
    entries: tuple[dict[str, Any], ...]


class Selected(NamedTuple):
    """The allowed entries: those that can be used, and why others cannot."""

    models: tuple[Model, ...]
    refused: dict[str, PlacetError]


def read_blob(data: bytes, root: bytes, *, at: int) -> Blob:
    """Verifies a blob and returns it.

    Args:
        data: the file, as FIDO publishes it.
        root: the certificate that the administrator pins, in PEM or DER.
        at: the time, in Unix seconds.

    Raises:
        MalformedError: it is no metadata blob, or `root` no certificate.
        VerificationError: it is not signed by FIDO under this root.
        PolicyError: the signer's certificate is not valid now, or the blob is past its next update.
    """
    if len(data) > MAX_BLOB_BYTES:
        raise MalformedError(Reason.TOO_LARGE, f"A metadata blob has at most {MAX_BLOB_BYTES} bytes.")
    message, dot, signature = data.strip().rpartition(b".")
    head, second, payload = message.partition(b".")
    if not dot or not second:
        raise _no_blob("it is not a signed JWT")
    header = _json(head)
    _verify_signature(header, message, _base64url(signature), root, at)
    value = _json(payload)
    try:
        number, next_update = value["no"], datetime.date.fromisoformat(value["nextUpdate"])
        entries = tuple(entry for entry in value["entries"] if isinstance(entry, dict))
    except (KeyError, TypeError, ValueError) as e:
        raise _no_blob("it lacks its number, its date or its entries") from e
    if type(number) is not int or number < 1:
        raise _no_blob("its number is none")
    today = datetime.datetime.fromtimestamp(at, datetime.UTC).date()
    if next_update < today:
        raise PolicyError(
            Reason.TRUST_EXPIRED,
            f"The metadata blob number {number} is out of date: the next one was due on {next_update}.",
            hint="Get a fresh one from https://mds3.fidoalliance.org/; what it says may have changed since.",
        )
    return Blob(number, next_update, entries)


def _verify_signature(header: dict[str, Any], message: bytes, signature: bytes, root: bytes, at: int) -> None:
    texts = header.get("x5c")
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise _no_blob("it names no certificates")
    try:
        chain = [base64.b64decode(text, validate=True) for text in texts]
    except (binascii.Error, ValueError) as e:
        raise _no_blob("its certificates are not base64") from e
    try:
        check_chain(chain, [parse_root(root)], at=at)
    except PolicyError as e:
        raise PolicyError(
            e.reason, f"The metadata blob is not signed under this root: {e.message}", hint=e.hint
        ) from e
    signer = parse_certificate(chain[0])
    _check_signer_name(signer)
    key = signer.public_key()
    try:
        match header.get("alg"), key:
            case "RS256", rsa.RSAPublicKey():
                key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
            case "ES256", ec.EllipticCurvePublicKey() if len(signature) == 2 * _P256_BYTES:
                # A JWS has the two numbers side by side, and libraries want them in DER.
                r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
                key.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
            case algorithm, _:
                raise _no_blob(f"it is signed in a way that FIDO does not use ({str(algorithm)[:20]!r})")
    except InvalidSignature as e:
        raise VerificationError(
            Reason.SIGNATURE_INVALID,
            "The metadata blob's signature does not verify: somebody changed it, or it is damaged.",
            hint="Get it again from https://mds3.fidoalliance.org/.",
        ) from e


def _check_signer_name(signer: x509.Certificate) -> None:
    try:
        names = signer.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        named = names.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        named = []
    if SIGNER not in named:
        raise VerificationError(
            Reason.KEY_MISMATCH,
            "The metadata blob is signed by somebody else than the FIDO Alliance.",
            expected=SIGNER,
            actual=tuple(name[:80] for name in named[:4]),
            hint="Do not use it.",
        )


def select(blob: Blob, allowed: Collection[str]) -> Selected:
    """Reads the entries that an administrator allows, one by one.

    Args:
        allowed: AAGUIDs, or key identifiers of U2F models.

    Returns:
        The models, and for each name why it cannot be used, where it cannot.
    """
    wanted = {name.lower() for name in allowed}
    models: list[Model] = []
    refused: dict[str, PlacetError] = {}
    for entry in blob.entries:
        # A U2F model has several names; asked for by two of them, it is still one model.
        if not (names := wanted & _names(entry)):
            continue
        wanted -= names
        try:
            models.append(_model(entry, blob))
        except PlacetError as e:
            refused |= dict.fromkeys(names, e)
    for name in sorted(wanted):
        refused[name] = MalformedError(
            Reason.BAD_VALUE, f"The metadata blob number {blob.number} has no model {name}."
        )
    return Selected(tuple(models), refused)


def _names(entry: dict[str, Any]) -> set[str]:
    identifiers = entry.get("attestationCertificateKeyIdentifiers")
    names = [entry.get("aaguid"), *(identifiers if isinstance(identifiers, list) else [])]
    return {name.lower() for name in names if isinstance(name, str)}


def _model(entry: dict[str, Any], blob: Blob) -> Model:
    try:
        parsed = MetadataBlobPayloadEntry.from_dict(entry)
        statement = parsed.metadata_statement
        if statement is None:
            raise ValueError("it has no metadata statement")
        roots = tuple(dict.fromkeys(parse_root(der) for der in statement.attestation_root_certificates))
        if not roots:
            raise ValueError("it names no root certificates")
        description = plain_text(statement.description, MAX_DESCRIPTION)
        aaguid = str(parsed.aaguid) if parsed.aaguid else ""
        identifiers = tuple(item.hex() for item in parsed.attestation_certificate_key_identifiers or ())
    except Exception as e:  # whatever a malformed entry ends in, it is this entry's refusal and no other's
        raise MalformedError(
            Reason.ATTESTATION_INVALID, f"The metadata blob's entry of this model cannot be read: {e}."
        ) from e
    for report in parsed.status_reports:
        if report.status in _REFUSED:
            raise PolicyError(
                Reason.MODEL_NOT_ALLOWED,
                f"{description} is not to be trusted: {_REFUSED[report.status]} ({report.status}"
                f"{f' since {report.effective_date}' if report.effective_date else ''}).",
                hint="Revoke it if it is in the list: placet trust models revoke",
            )
    advisories = [_advisory(report) for report in parsed.status_reports if report.status in _ADVISED]
    return Model(
        aaguid=aaguid,
        key_identifiers=() if aaguid else identifiers,
        description=description,
        status="allowed",
        roots=roots,
        advisories=tuple(advisories[:MAX_ADVISORIES]),
        source=Source("fido-mds", blob.number, blob.next_update.isoformat()),
    )


def _advisory(report: Any) -> str:
    parts = [_ADVISED[report.status]]
    if report.effective_date:
        parts.append(f"since {report.effective_date}")
    if report.authenticator_version is not None:
        parts.append(f"to firmware {report.authenticator_version}")
    parts += [str(text) for text in (report.certification_descriptor, report.url) if text]
    return plain_text(", ".join(parts), MAX_ADVISORY)


def _json(part: bytes) -> dict[str, Any]:
    try:
        value = json.loads(_base64url(part))
    except (ValueError, RecursionError) as e:
        raise _no_blob("a part of it is not JSON") from e
    if not isinstance(value, dict):
        raise _no_blob("a part of it is not an object")
    return value


def _base64url(part: bytes) -> bytes:
    try:
        return base64.b64decode(part + b"=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as e:
        raise _no_blob("a part of it is not base64url") from e


def _no_blob(why: str) -> MalformedError:
    return MalformedError(
        Reason.ATTESTATION_INVALID,
        f"This is no FIDO metadata blob: {why}.",
        hint="It is the file that https://mds3.fidoalliance.org/ serves, as it comes.",
    )

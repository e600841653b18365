"""Who signed, in the words of Fulcio's certificates.

The extensions are those of https://github.com/sigstore/fulcio/blob/main/docs/oid-info.md: from .8 on they
are DER strings; .1 to .6 are older, bare bytes, and fill in what is missing.

Leaves out: whether the certificate is genuine; the caller has verified that.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.x509 import Certificate, ExtensionNotFound, SubjectAlternativeName

from placet.adapters.sigstore.refusals import invalid
from placet.core.evidence.facts import Signer

_ARC = "1.3.6.1.4.1.57264.1."
_ISSUER, _OLD_ISSUER, _OTHER_NAME = f"{_ARC}8", f"{_ARC}1", f"{_ARC}7"
_CLAIMS = {
    f"{_ARC}{number}": name
    for number, name in (
        (9, "buildSignerUri"),
        (10, "buildSignerDigest"),
        (11, "runnerEnvironment"),
        (12, "sourceRepositoryUri"),
        (13, "sourceRepositoryDigest"),
        (14, "sourceRepositoryRef"),
        (15, "sourceRepositoryIdentifier"),
        (16, "sourceRepositoryOwnerUri"),
        (17, "sourceRepositoryOwnerIdentifier"),
        (18, "buildConfigUri"),
        (19, "buildConfigDigest"),
        (20, "buildTrigger"),
        (21, "runInvocationUri"),
        (22, "sourceRepositoryVisibility"),
    )
}
_OLD_CLAIMS = {
    f"{_ARC}2": "buildTrigger",
    f"{_ARC}3": "sourceRepositoryDigest",
    f"{_ARC}4": "workflowName",
    f"{_ARC}5": "sourceRepositoryUri",
    f"{_ARC}6": "sourceRepositoryRef",
}
# Old certificates say `owner/name`; on which server is known of this issuer alone.
_GITHUB = "https://token.actions.githubusercontent.com"
_UTF8_STRING = 0x0C


def read_signer(certificate: Certificate, instance: str) -> Signer:
    """Returns whom a verified certificate names, and what it says of the build.

    Raises:
        VerificationError: EVIDENCE_INVALID: it names nobody, or several.
    """
    extensions = {e.oid.dotted_string: e.value for e in certificate.extensions}
    raw = {oid: v.value for oid, v in extensions.items() if isinstance(v, x509.UnrecognizedExtension)}
    issuer = _der_text(raw[_ISSUER]) if _ISSUER in raw else _text(raw.get(_OLD_ISSUER, b""))
    claims = {name: _der_text(raw[oid]) for oid, name in _CLAIMS.items() if oid in raw}
    for oid, name in _OLD_CLAIMS.items():
        if oid in raw and name not in claims:
            value = _text(raw[oid])
            if name == "sourceRepositoryUri":
                if issuer != _GITHUB and not issuer.startswith(f"{_GITHUB}/"):
                    continue
                value = f"https://github.com/{value}"
            claims[name] = value
    return Signer(
        "certificate",
        issuer=issuer,
        identity=_identity(certificate),
        claims=claims,
        instance=instance,
    )


def _identity(certificate: Certificate) -> str:
    try:
        names = list(certificate.extensions.get_extension_for_class(SubjectAlternativeName).value)
    except ExtensionNotFound:
        names = []
    if len(names) != 1:
        raise invalid("The certificate does not name exactly one signer.")
    (name,) = names
    if isinstance(name, x509.UniformResourceIdentifier | x509.RFC822Name):
        return name.value
    if isinstance(name, x509.OtherName) and name.type_id.dotted_string == _OTHER_NAME:
        return _der_text(name.value)
    raise invalid("The certificate names its signer in a way that Sigstore does not have.")


def _text(value: bytes) -> str:
    try:
        return value.decode("utf-8", "strict")
    except UnicodeDecodeError as e:
        raise invalid("An extension of the certificate is no text.") from e


def _der_text(value: bytes) -> str:
    """Reads a DER UTF8String of fewer than 64 KiB."""
    if len(value) < 2 or value[0] != _UTF8_STRING:
        raise invalid("An extension of the certificate is no text.")
    length, start = value[1], 2
    if length in (0x81, 0x82):
        start = 2 + length - 0x80
        length = int.from_bytes(value[2:start], "big")
    elif length > 0x7F:
        raise invalid("An extension of the certificate is no text.")
    if len(value) != start + length:
        raise invalid("An extension of the certificate is no text.")
    return _text(value[start:])

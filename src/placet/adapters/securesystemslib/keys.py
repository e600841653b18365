"""Hardware-signed SSHSIGs as securesystemslib keys, for TUF metadata, in-toto links and DSSE envelopes.

A key is ``{"keytype": "ssh", "scheme": <SSH key type>, "keyval": {"public": <wire key, base64>}}``.  How its
signatures are judged stands beside it and is covered by whatever signs the key (root metadata, a layout):

    kind       "webauthn" or "sk"
    uv         whether the user must have been verified (default true)
    backup     "forbid" or "allow" synced credentials (default "forbid")
    origins    exact web origins that are accepted; needed for "webauthn"
    namespace  the one purpose for which the key signs there (default "trust-v1@placet.dev")

Other members, such as the ``person`` that holds the key, are preserved.

**How a key knows its purpose.**  The bytes that come to `SkKey.verify_signature` do not say what they are,
and the table of key types is the process's, shared by TUF and in-toto.  So the key itself states its
namespace, in the document that lists it: a functionary of a layout ``link-v1@placet.dev``, a key of a TUF
role or of a layout's owner nothing at all.  Exactly that namespace is tried, and signers sign for exactly
that one; a signature made for one purpose never counts for another, whoever registers what in the process.

Three traps of securesystemslib, each met and tested: any exception but `UnverifiedSignatureError` lets one
bad signature abort a whole role; `Signature.signature` must be hexadecimal; key IDs are taken at their word,
so they are recomputed here, or one key under two IDs would count twice.
"""

from __future__ import annotations

from typing import Any

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import (  # type: ignore[attr-defined]  # re-exported without saying so
    Key,
    Signature,
)

from placet.core.decode import read_ascii, read_bool, read_choice, read_list, read_string
from placet.core.encoding import b64decode_strict, b64encode
from placet.core.errors import MalformedError, PlacetError, Reason
from placet.core.people import KINDS, MAX_ORIGINS
from placet.core.signature import check_key_usable, verify_sshsig
from placet.core.sshsig import (
    NAMESPACE_INTENT,
    NAMESPACE_LINK,
    NAMESPACE_TRUST,
    SK_ECDSA,
    SK_ED25519,
    PublicKey,
    key_id,
    parse_public_key,
)

KEYTYPE = "ssh"
SCHEMES = (SK_ECDSA, SK_ED25519)
NAMESPACES = (NAMESPACE_TRUST, NAMESPACE_LINK, NAMESPACE_INTENT)


class SkKey(Key):
    """A person's FIDO key."""

    def __init__(
        self,
        keyid: str,
        keytype: str,
        scheme: str,
        keyval: dict[str, Any],
        unrecognized_fields: dict[str, Any] | None = None,
    ) -> None:
        """Checks the key when it is loaded, not when it is first used.

        Raises:
            MalformedError: key, scheme, key ID or verification members contradict each other.
            TypeError: an argument has the wrong type.
        """
        super().__init__(keyid, keytype, scheme, keyval, unrecognized_fields)
        public = read_string(keyval.get("public"), "/keyval/public", max_length=2048)
        self._key: PublicKey = parse_public_key(b64decode_strict(public, "/keyval/public"))
        check_key_usable(self._key)
        if keytype != KEYTYPE or scheme not in SCHEMES or scheme != self._key.key_type:
            raise MalformedError(
                Reason.BAD_KEY, "The scheme is not the key's own type.", path="/scheme", actual=scheme[:64]
            )
        if keyid != key_id(self._key.wire):
            raise MalformedError(Reason.BAD_KEY, "The key ID is not the SHA-256 of the key.", path="/keyid")
        extra = self.unrecognized_fields
        self._kind = read_choice(extra.get("kind"), "/kind", KINDS)
        self._namespace = read_choice(extra.get("namespace", NAMESPACE_TRUST), "/namespace", NAMESPACES)
        self._require_uv = read_bool(extra.get("uv", True), "/uv")
        self._allow_backup = (
            read_choice(extra.get("backup", "forbid"), "/backup", ("forbid", "allow")) == "allow"
        )
        origins = read_list(extra.get("origins", []), "/origins", max_items=MAX_ORIGINS)
        self._origins = tuple(read_ascii(o, f"/origins/{i}") for i, o in enumerate(origins))

    @classmethod
    def from_wire(
        cls,
        wire: bytes,
        *,
        kind: str,
        origins: tuple[str, ...] = (),
        uv: bool = True,
        backup: str = "forbid",
        namespace: str = NAMESPACE_TRUST,
        **members: Any,
    ) -> SkKey:
        """Makes a key from an SSH wire key.

        Args:
            wire: the public key.
            kind: ``webauthn`` or ``sk``.
            origins: the web origins that are accepted.
            uv: whether the user must have been verified.
            backup: ``forbid`` or ``allow``.
            namespace: the purpose for which it signs, one of `NAMESPACES`.
            members: further members to keep beside the key.

        Raises:
            MalformedError: it is not a FIDO key, or a member is wrong.
        """
        extra = {"kind": kind, "uv": uv, "backup": backup, "origins": list(origins), **members}
        if namespace != NAMESPACE_TRUST:
            extra["namespace"] = namespace
        scheme = parse_public_key(wire).key_type
        return cls(key_id(wire), KEYTYPE, scheme, {"public": b64encode(wire)}, extra)

    @classmethod
    def from_dict(cls, keyid: str, key_dict: dict[str, Any]) -> SkKey:
        """Reads a key of TUF metadata or an in-toto layout.

        Raises:
            ValueError: it is malformed; securesystemslib's callers expect this type.
        """
        try:
            keytype, scheme, keyval = cls._from_dict(key_dict)
            return cls(keyid, keytype, scheme, keyval, key_dict)
        except (PlacetError, TypeError, KeyError, AttributeError) as e:
            raise ValueError(f"key {keyid[:8]}: {e}") from e

    def to_dict(self) -> dict[str, Any]:
        """Returns the key with all its members."""
        return self._to_dict()

    @property
    def wire(self) -> bytes:
        """The key in SSH wire form."""
        return self._key.wire

    @property
    def raw(self) -> bytes:
        """The bare public key, the same under any application."""
        return self._key.raw

    @property
    def kind(self) -> str:
        """``webauthn`` or ``sk``."""
        return self._kind

    @property
    def namespace(self) -> str:
        """The purpose for which its signatures count."""
        return self._namespace

    @property
    def application(self) -> str:
        """The RP ID of a browser's key, or the ``ssh:`` string of OpenSSH's."""
        return self._key.application

    @property
    def origins(self) -> tuple[str, ...]:
        """The web origins that are accepted."""
        return self._origins

    def check_sshsig(self, blob: bytes, message: bytes) -> None:
        """Verifies a binary SSHSIG as `verify_signature` does, with the reason named.

        Raises:
            MalformedError: the blob is not an SSHSIG.
            VerificationError: it is not this key's signature over this message for this purpose.
            PolicyError: presence, verification, origin or backup state are not acceptable.
        """
        verify_sshsig(
            blob,
            message=message,
            namespace=self._namespace,
            key=self._key,
            kind=self._kind,
            origins=self._origins,
            require_uv=self._require_uv,
            allow_backup=self._allow_backup,
        )

    def verify_signature(self, signature: Signature, data: bytes) -> None:
        """Verifies a signature whose ``signature`` is the SSHSIG in lower-case hexadecimal.

        Raises:
            UnverifiedSignatureError: it does not verify, for whatever reason.
        """
        try:
            blob = bytes.fromhex(signature.signature)
            if blob.hex() != signature.signature:
                raise MalformedError(Reason.BAD_SSHSIG, "The signature is not lower-case hexadecimal.")
            self.check_sshsig(blob, data)
        except Exception as e:
            # Whatever goes wrong here, it must be this type: python-tuf and in-toto skip an unverified
            # signature, and let anything else abort the role in which enough other signatures are good.
            raise UnverifiedSignatureError(f"{self.keyid[:8]}: {e}") from e

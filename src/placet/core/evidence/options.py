"""The options of a rule's evidence, read strictly (spec/17-evidence.md).

The same reader serves the administrator who writes a policy and the gate that applies it, so a gate
never meets options that it reads otherwise.  A slip must not be a silent grant: what is unknown,
missing or can never be met is refused, in words.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from placet.core.decode import read_ascii, read_bool, read_choice, read_hex_digest, read_list, read_map
from placet.core.errors import MalformedError, Reason
from placet.core.patterns import read_pattern

# Whose certificates count where a rule names no instance: the built-in roots, or those that replace them.
DEFAULT_INSTANCES = frozenset({"public-good", "sigstore/trusted_root.json"})

MAX_ENTRIES = 32
_SIGNER = ("issuer", "identity", "identity_pattern", "key", "instance", "unlogged")

T = TypeVar("T")


class SignerRule(NamedTuple):
    """Who may sign: a certificate's identity at an issuer, or a key.

    Args:
        issuer: the OIDC issuer, exactly.
        identity: the certificate's subject alternative name; a pattern unless `exact`.
        key: SHA-256 of the key's DER SubjectPublicKeyInfo; "" for certificates.
        instance: the Sigstore instance that vouches; "" for `DEFAULT_INSTANCES`.
        unlogged: whether a certificate's signature needs no entry in a transparency log.
    """

    issuer: str
    identity: str
    exact: bool
    key: str
    instance: str
    unlogged: bool


def refuse(message: str, path: str, hint: str) -> MalformedError:
    """Returns the refusal of a policy's option."""
    return MalformedError(Reason.BAD_POLICY, message, path=path, hint=hint)


def in_words(read: Callable[..., T]) -> Callable[..., T]:
    """Makes every refusal of a reader one of the policy, which is what an administrator has in hand."""

    @functools.wraps(read)
    def wrapped(*args: Any, **kwargs: Any) -> T:
        try:
            return read(*args, **kwargs)
        except MalformedError as e:
            if e.reason is Reason.BAD_POLICY:
                raise
            raise refuse(
                e.message, e.path, "docs/how-to-require-evidence.md lists every option with an example."
            ) from e

    return wrapped


def check_names(
    options: Mapping[str, Any], path: str, what: str, required: tuple[str, ...], optional: tuple[str, ...]
) -> None:
    """Checks that options have exactly the names that they may have (EVD-04).

    Raises:
        MalformedError: BAD_POLICY.
    """
    known = (*required, *optional)
    unknown = sorted(set(options) - set(known))
    if unknown:
        listed = f"It takes {', '.join(known)}." if known else "It takes none."
        raise refuse(f"The evidence {what} has no option {unknown[0][:64]!r}.", path, listed)
    missing = [name for name in required if name not in options]
    if missing:
        raise refuse(
            f"The evidence {what} needs the option {missing[0]!r}.",
            path,
            "Without it, anybody's evidence would do. docs/how-to-require-evidence.md has examples.",
        )


def read_entries(
    options: Mapping[str, Any], name: str, path: str, read: Callable[[Any, str], T]
) -> tuple[T, ...]:
    """Reads an option that is a list, with at least one entry.

    Raises:
        MalformedError: the list is none, or empty, or what `read` raises.
    """
    items = read_list(options[name], f"{path}/{name}", max_items=MAX_ENTRIES, min_items=1)
    return tuple(read(item, f"{path}/{name}/{i}") for i, item in enumerate(items))


def read_signer(value: Any, path: str) -> SignerRule:
    """Reads one entry of `signers`: a certificate's identity at its issuer, or a key (EVD-05).

    Raises:
        MalformedError: it is neither, or both.
    """
    members = read_map(value, path, max_items=8)
    check_names(members, path, "signer", (), _SIGNER)
    both = "identity" in members and "identity_pattern" in members
    exact = "identity" in members
    identity = members.get("identity", members.get("identity_pattern"))
    if both:
        raise refuse("A signer has an identity or an identity_pattern, not both.", path, "Remove one.")
    return signer_of(members, identity, path, exact=exact)


def signer_of(members: Mapping[str, Any], identity: Any, path: str, *, exact: bool = False) -> SignerRule:
    """Reads who may sign from an entry: ``key``, or ``issuer`` with an identity.

    Raises:
        MalformedError: it is neither, or both.
    """
    key = "key" in members
    certificate = "issuer" in members and identity is not None
    if key == certificate or (key and (identity is not None or "issuer" in members or "instance" in members)):
        raise refuse(
            "It must say who signs: the issuer with the signer's identity, or a key.",
            path,
            'Write issuer = "https://…" with the identity that the certificate names, or key = "<SHA-256 of '
            'the public key in DER>". An issuer alone would accept everybody who has an account there.',
        )
    unlogged = read_bool(members.get("unlogged", False), f"{path}/unlogged")
    if key:
        return SignerRule("", "", True, read_hex_digest(members["key"], f"{path}/key"), "", unlogged)
    text = read_ascii(identity, path) if exact else read_pattern(identity, path)
    if not exact and not text.replace("*", ""):
        raise refuse("This pattern accepts every identity.", path, "Name the signer, or a part of the name.")
    return SignerRule(
        issuer=read_ascii(members["issuer"], f"{path}/issuer"),
        identity=text,
        exact=exact,
        key="",
        instance=read_instance(members, path),
        unlogged=unlogged,
    )


def read_instance(members: Mapping[str, Any], path: str) -> str:
    """Reads the Sigstore instance of an entry, "" where it names none.

    Raises:
        MalformedError: it is no file of the trust root's folder ``sigstore/``.
    """
    if "instance" not in members:
        return ""
    text = read_ascii(members["instance"], f"{path}/instance", max_length=200)
    if text == "public-good" or (text.startswith("sigstore/") and text.endswith(".json")):
        return text
    raise refuse(
        f"There is no Sigstore instance {text!r}.",
        f"{path}/instance",
        'Write "public-good", or the trust root\'s file, such as "sigstore/github.json".',
    )


def read_formats(options: Mapping[str, Any], path: str, choices: tuple[str, ...]) -> tuple[str, ...]:
    """Reads the SBOM formats that a rule accepts; all where it names none.

    Raises:
        MalformedError: WRONG_TYPE, BAD_VALUE.
    """
    if "formats" not in options:
        return choices
    return read_entries(options, "formats", path, lambda item, at: read_choice(item, at, choices))

"""Files that the administrators pin for verifiers of evidence (spec/08-trust.md).

    sigstore/NAME.json       a Sigstore trusted root; trusted_root.json replaces the built-in public good one
    layouts/NAME.layout      an in-toto layout
    layouts/keys/NAME.pub    a public key (PEM) that signs layouts
    keys/NAME.pub            a public key (PEM) that signs evidence
    log-policy               which log and which witnesses count (C2SP tlog-policy)

What they mean is the business of the frameworks whose files they are; here they are named, bounded and
described, so that nobody signs one blind.
"""

from __future__ import annotations

import json
import re
from typing import Any

from placet.core.encoding import b64decode_strict, parse_json, sha256_hex
from placet.core.errors import MalformedError, PlacetError, Reason, visible
from placet.core.trust import LOG_POLICY_FILE

MAX_PINNED_BYTES = 1024 * 1024
SIGSTORE_ROOT = "sigstore/trusted_root.json"
_PLAIN = re.compile(r"""[^\s,;()"'\\]+""")
_NAME = "[a-z0-9][a-z0-9._-]{0,63}"
_FOLDERS = re.compile(rf"(?:sigstore/{_NAME}\.json|layouts/{_NAME}\.layout|(?:layouts/)?keys/{_NAME}\.pub)")
_PEM = re.compile(r"-----BEGIN PUBLIC KEY-----\n([A-Za-z0-9+/=\n]+)-----END PUBLIC KEY-----\n?")


def is_pinned(name: str) -> bool:
    """Tells whether a file of the trust root is one of these."""
    return name == LOG_POLICY_FILE or _FOLDERS.fullmatch(name) is not None


def check_pinned(name: str, data: bytes) -> None:
    """Checks a file before the administrators sign it.

    Raises:
        MalformedError: the name is none of these, or the file is not what belongs under it.
    """
    if not is_pinned(name):
        raise MalformedError(
            Reason.BAD_VALUE,
            f"No file of the trust root is named {name!r}.",
            hint="They are sigstore/NAME.json, layouts/NAME.layout, layouts/keys/NAME.pub, keys/NAME.pub and "
            "log-policy, in small letters.",
        )
    describe_pinned(name, data)


def describe_pinned(name: str, data: bytes) -> str:
    """Returns what a pinned file is, in words, for whoever signs the trust root.

    Raises:
        MalformedError: it is not what belongs under its name.
    """
    if len(data) > MAX_PINNED_BYTES:
        raise MalformedError(Reason.TOO_LARGE, f"{name} is too large.", expected=MAX_PINNED_BYTES)
    digest = f"SHA-256 {sha256_hex(data)}"
    if name == LOG_POLICY_FILE:
        return visible("; ".join((*_describe_log_policy(data), digest)))
    if name.endswith(".pub"):
        return f"public key {public_key_digest(data)}"
    value = parse_json(data, max_bytes=MAX_PINNED_BYTES, what=name)
    if not isinstance(value, dict):
        raise MalformedError(Reason.WRONG_TYPE, f"{name} is not a JSON object.")
    said = _describe_sigstore(value) if name.startswith("sigstore/") else _describe_layout(value)
    if said is None:
        raise MalformedError(Reason.BAD_VALUE, f"{name} is not a file of that kind.")
    return visible(f"{said}; {digest}")


def _describe_log_policy(data: bytes) -> list[str]:
    """Returns each log, witness and group: which of them count is what is signed here."""
    from placet.core.tlog.log_policy import parse_log_policy

    policy = parse_log_policy(data)
    said = [f"log {_word(str(log.key))}{_at(log.url)}" for log in policy.logs] or ["no log"]
    said += [f"witness {_word(w.name)} {_word(str(w.key))}{_at(w.url)}" for w in policy.witnesses]
    for group in policy.groups:
        members = ", ".join(map(_word, group.members))
        said.append(f"group {_word(group.name)} {group.threshold} of {members}")
    return [*said, f"quorum {_word(policy.quorum)}"]


def _at(url: str) -> str:
    return f" at {_word(url)}" if url else " without an address"


def _word(text: str) -> str:
    # In quotation marks unless it is plain: no name passes for a fact of its own.
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def missing_of_log_policy(data: bytes) -> tuple[str, ...]:
    """Returns what people and gates go without under this policy, in words.

    Raises:
        MalformedError: it is no log policy.
    """
    from placet.core.tlog.log_policy import NO_QUORUM, parse_log_policy

    policy = parse_log_policy(data)
    found = []
    if not any(log.url for log in policy.logs):
        found.append("It gives no log an address, so gates log no use.")
    if not policy.logs or not policy.witnesses:
        found.append("It needs a log and a witness for any approval to reach level 3.")
    elif policy.quorum == NO_QUORUM:
        found.append("Without a quorum no approval reaches level 4, and no audit has a time from the log.")
    return tuple(found)


def public_key_digest(pem: bytes) -> str:
    """Returns the SHA-256 of a public key's DER SubjectPublicKeyInfo, in hex: how policies name bare keys.

    Raises:
        MalformedError: BAD_KEY: it is not one PEM public key.
    """
    found = _PEM.fullmatch(pem.decode("ascii", "replace").replace("\r\n", "\n").strip() + "\n")
    if found is None:
        raise MalformedError(
            Reason.BAD_KEY,
            "This is not a PEM public key.",
            hint="It begins with -----BEGIN PUBLIC KEY-----; no certificate, and no private key.",
        )
    return sha256_hex(b64decode_strict(found[1].replace("\n", ""), "/key"))


def _describe_sigstore(value: dict[str, Any]) -> str | None:
    if not str(value.get("mediaType", "")).startswith("application/vnd.dev.sigstore.trustedroot"):
        return None
    parts = []
    for member, what in (
        ("certificateAuthorities", "certificate authorities"),
        ("timestampAuthorities", "timestamp authorities"),
        ("tlogs", "transparency logs"),
    ):
        items = value.get(member, [])
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            return None
        places = sorted({str(item.get("baseUrl") or item.get("uri") or "unnamed") for item in items})
        parts.append(f"{len(items)} {what} ({', '.join(places)})" if items else f"no {what}")
    return "Sigstore root with " + ", ".join(parts)


def _describe_layout(value: dict[str, Any]) -> str | None:
    layout = value.get("signed")
    if "payload" in value:
        try:
            payload = b64decode_strict(str(value["payload"]), "/payload")
            layout = parse_json(payload, max_bytes=MAX_PINNED_BYTES, what="layout")
        except PlacetError:
            return None
    if not isinstance(layout, dict) or layout.get("_type") != "layout":
        return None
    steps = layout.get("steps")
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        return None
    if not all(isinstance(step.get("pubkeys", []), list) for step in steps):
        return None
    told = ", ".join(
        f"{step.get('name')} ({step.get('threshold', 1)} of {len(step.get('pubkeys', []))} keys)"
        for step in steps
    )
    said = f"in-toto layout until {layout.get('expires')} with the steps {told or 'none'}"
    if layout.get("inspect"):
        said += "; HAS INSPECTIONS, which are commands: gates and terminals run none, and will refuse it"
    return said

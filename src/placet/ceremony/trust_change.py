"""What a trust change means: people, keys, terminals, gates, rules and scopes, before and after.

Administrators never sign blind.  The difference is rendered from the very files whose digests stand in the
bytes to be signed, and it is complete: a file whose bytes changed without any of its meaning is listed as
such, and whatever is not understood here is shown by its digest.  No text in it can hide or move other text.

Plain data comes out; a terminal page and the command line show the same rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from placet.core.decode import Object
from placet.core.encoding import b64decode_strict, encode_canonical, format_time, parse_json, sha256_hex
from placet.core.errors import MalformedError, Reason
from placet.core.gates import parse_gates
from placet.core.people import (
    Credential,
    Deployment,
    parse_deployment,
    parse_people,
    parse_terminals,
)
from placet.core.policy import Quorum, Rule, parse_policy, parse_scopes
from placet.core.trust import (
    DEPLOYMENT_FILE,
    GATES_FILE,
    MAX_FILE_BYTES,
    PEOPLE_FILE,
    SCOPES_FILE,
    TERMINALS_FILE,
)
from placet.documents.issuers import describe_issuers
from placet.documents.models import describe_models
from placet.documents.pinned import describe_pinned, is_pinned

Files = Mapping[str, bytes]
# Under which heading a row stands where people read it at ease; what is not named here stands last.
_TITLES = {
    "administrator": "Administrators",
    "signatures for": "Administrators",
    "online key": "Administrators",
    "root": "Administrators",
    "person": "People and their keys",
    "key of": "People and their keys",
    "terminal": "Terminals",
    "gate": "Gates",
    "rule": "Rules",
    "scope": "Scopes and their owners",
    "delegation": "Scopes and their owners",
    "owner of": "Scopes and their owners",
    "authenticator model": "Models of security keys",
    "issuer": "Who vouches for requesters",
    "evidence file": "What evidence is verified with",
}
_OTHER = "Everything else"
# An apostrophe at its beginning would open a quotation.
_PLAIN_WORD = re.compile(r"""[^\s,;()"'\\][^\s,;()"\\]*""")


class Change(NamedTuple):
    """One row.  `before` is "" for what is new, `after` is "" for what goes away."""

    kind: str
    name: str
    before: str
    after: str


class _Entry(NamedTuple):
    file: str
    text: str


_Entries = dict[tuple[str, str], _Entry]


def semantic_diff(old_files: Files, new_files: Files) -> tuple[Change, ...]:
    """Returns what changes from one set of target files to another, in a stable order.

    Raises:
        MalformedError: a file is not what its name says; such a change must not be signed.
    """
    old, new = _describe(old_files), _describe(new_files)
    changes = [
        Change(kind, name, old[kind, name].text if (kind, name) in old else "", entry.text)
        for (kind, name), entry in new.items()
        if (kind, name) not in old or old[kind, name].text != entry.text
    ]
    changes += [Change(*key, entry.text, "") for key, entry in old.items() if key not in new]
    shown = {
        entry.file
        for entries, others in ((old, new), (new, old))
        for key, entry in entries.items()
        if key not in others or others[key].text != entry.text
    }
    for name in sorted(old_files.keys() | new_files.keys()):
        before, after = _digest_text(old_files, name), _digest_text(new_files, name)
        if before != after and name not in shown:
            changes.append(
                Change("file", visible(name), before, f"{after}, meaning the same" if after else "")
            )
    return tuple(changes)


def root_diff(old_root: bytes | None, new_root: bytes) -> tuple[Change, ...]:
    """Returns what changes from one root to the next: administrators, thresholds, online keys, expiry.

    Args:
        old_root: the signed part of the published root, None before the first publication.
        new_root: the exact bytes that are to be signed.

    Raises:
        MalformedError: they are not root metadata.
    """
    old = _describe_root(old_root) if old_root is not None else {}
    new = _describe_root(new_root)
    names = list(new) + [name for name in old if name not in new]
    return tuple(
        Change(*key, old.get(key, ""), new.get(key, "")) for key in names if old.get(key) != new.get(key)
    )


def change_lines(changes: tuple[Change, ...]) -> list[str]:
    """Returns the rows as text: what is new with +, what goes away with -, what changes with both."""
    lines = []
    for change in changes:
        if change.before and change.after:
            lines += [f"~ {change.kind} {change.name}"]
            lines += [f"    before: {change.before}", f"    after:  {change.after}"]
        elif change.after:
            lines += [f"+ {change.kind} {change.name}", f"    {change.after}"]
        else:
            lines += [f"- {change.kind} {change.name}", f"    {change.before}"]
    return lines


def title_of(kind: str) -> str:
    """Returns the heading under which a kind of row stands."""
    return _TITLES.get(kind, _OTHER)


def titles() -> tuple[str, ...]:
    """Returns the headings in the order in which they are read: who decides comes first."""
    return (*dict.fromkeys(_TITLES.values()), _OTHER)


def split_facts(text: str) -> tuple[str, ...]:
    """Returns the facts of a row one by one, to be compared side by side.

    Facts end at semicolons.  A semicolon inside a quoted value ends nothing, so that no value makes a fact.
    """
    facts, start, quote, at = [], 0, "", 0
    while at < len(text):
        letter = text[at]
        if quote:
            at += letter == "\\"  # what follows is no quotation mark
            quote = "" if letter == quote else quote
        elif letter == '"' or (letter == "'" and text[at - 1 : at] in ("", " ")):  # no apostrophe
            quote = letter
        elif text.startswith("; ", at):
            facts.append(text[start:at])
            start = at + 2
        at += 1
    facts.append(text[start:])
    return tuple(fact for fact in facts if fact)


def group_digits(digest: str) -> str:
    """Returns a digest in groups of four characters, as people compare them."""
    return " ".join(digest[i : i + 4] for i in range(0, len(digest), 4))


def visible(text: str) -> str:
    """Returns `text` with everything but printable ASCII spelled out."""
    return text if text.isascii() and text.isprintable() else ascii(text)[1:-1]


def _word(text: str) -> str:
    """Returns `text` in quotation marks unless it is one plain word: no value passes for two, or for ours."""
    return text if _PLAIN_WORD.fullmatch(text) else _plain(text)


def _words(texts: Iterable[str]) -> str:
    return ", ".join(map(_word, texts)) or "none"


def _plain(value: object) -> str:
    try:
        return visible(encode_canonical(value).decode())
    except (TypeError, ValueError, RecursionError) as e:  # such as a date among a rule's evidence options
        raise MalformedError(
            Reason.BAD_TRUST,
            f"The change holds a value that cannot be shown, and no gate could read it: {e}.",
            hint="Sign nothing. Have whoever prepared it write that value as text.",
        ) from e


def _describe(files: Files) -> _Entries:
    entries: _Entries = {}
    if not files:
        return entries
    if DEPLOYMENT_FILE not in files:
        raise MalformedError(Reason.BAD_TRUST, f"The trust root has no {DEPLOYMENT_FILE}.")
    deployment = parse_deployment(_decode(files, DEPLOYMENT_FILE))
    for name in sorted(files):
        for kind, key, text in _describe_file(files, name, deployment):
            entries[kind, _unused(entries, kind, visible(key))] = _Entry(name, visible(text))
    return entries


def _unused(entries: _Entries, kind: str, name: str) -> str:
    # Two rules of one scope may be about the same action and target; both apply, so both are shown.
    count, candidate = 1, name
    while (kind, candidate) in entries:
        count += 1
        candidate = f"{name} ({count})"
    return candidate


def _describe_file(files: Files, name: str, deployment: Deployment) -> list[tuple[str, str, str]]:
    match name:
        case "deployment.json":
            return [("deployment", deployment.name, f"RP ID {deployment.rp_id}")]
        case "people.json":
            return _describe_people(_decode(files, PEOPLE_FILE), deployment)
        case "terminals.json":
            terminals = parse_terminals(_decode(files, TERMINALS_FILE), deployment)
            return [
                ("terminal", t.id, f"key {group_digits(t.keyid)}; page {_words(t.origins)}")
                for t in terminals
            ]
        case "gates.json":
            value = _decode(files, GATES_FILE)
            parse_gates(value)
            return [("gate", gate["id"], _describe_gate(gate)) for gate in value["gates"]]
        case "models.json":
            return describe_models(files)
        case "issuers.json":
            return [("issuer", issuer, text) for issuer, text in describe_issuers(files[name]).items()]
        case "scopes.json":
            scopes = parse_scopes(_decode(files, SCOPES_FILE))
            return [("scope", scope, f"targets {_words(p)}") for scope, p in scopes.items()]
    if name.startswith("policy/") and name.endswith(".toml"):
        scope = name.removeprefix("policy/").removesuffix(".toml")
        rules = parse_policy(files[name], scope=scope, file=name)
        return [
            ("rule", f"in {scope}: {_word(r.action)} on {_word(r.target)}", describe_rule(r)) for r in rules
        ]
    if is_pinned(name):
        return [("evidence file", name, describe_pinned(name, files[name]))]
    kind = "action" if name.startswith("actions/") else "file"
    return [(kind, name, _digest_text(files, name))]


def _describe_people(value: Any, deployment: Deployment) -> list[tuple[str, str, str]]:
    rows = []
    for person in parse_people(value, deployment):
        accounts = ", ".join(f"{_word(a.subject)} at {_word(a.issuer)}" for a in person.accounts) or "none"
        rows.append(("person", person.id, f"groups {_words(person.groups)}; accounts {accounts}"))
        rows += [
            ("key of", f"{person.id}, {group_digits(credential.keyid)}", describe_credential(credential))
            for credential in person.credentials
        ]
    return rows


def describe_credential(credential: Credential) -> str:
    """Returns everything that the trust root says about a key, but its key ID."""
    made = "on a terminal's page" if credential.kind == "webauthn" else "with OpenSSH or CTAP"
    parts = [
        f"{credential.assurance}, used {made}",
        "user verification required" if credential.uv else "NO user verification required",
        "synced copies forbidden" if credential.backup == "forbid" else "SYNCED COPIES ALLOWED",
        f"valid {format_time(credential.not_before)} to {format_time(credential.not_after)}",
    ]
    if credential.aaguid:
        parts.append(f"model {_word(credential.aaguid)}")
    if credential.attestation:
        parts.append(f"attestation {group_digits(credential.attestation)}")
    return "; ".join(parts)


def describe_rule(rule: Rule) -> str:
    """Returns everything that a rule demands, but its scope, action and target."""
    parts = [
        f"level {rule.level}",
        _describe_quorum(rule.quorum),
        "the requester does not count" if rule.exclude_requester else "THE REQUESTER COUNTS",
        "each on another terminal" if rule.distinct_terminals else "any terminals",
        f"at most {_describe_duration(rule.max_window)} from request to use",
        "each use logged before the act" if rule.uses == "logged" else "USES MAY BE LOGGED LATER",
    ]
    parts += [f"evidence {_word(e.kind)} {_plain(e.options)}" for e in rule.evidence]
    if rule.layout:
        parts.append(f"each also signs a link of the in-toto layout {_word(rule.layout)}")
    return "; ".join(parts)


def _describe_quorum(quorum: Quorum) -> str:
    of = (_word(m) if isinstance(m, str) else f"({_describe_quorum(m)})" for m in quorum.of)
    return f"{quorum.threshold} of {', '.join(of)}"


def _describe_duration(seconds: int) -> str:
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds % size == 0:
            return f"{seconds // size} {unit if seconds != size else unit[:-1]}"
    return f"{seconds} seconds"


def _describe_gate(gate: Object) -> str:
    verdicts, uses = (
        ", ".join(group_digits(sha256_hex(b64decode_strict(key))) for key in gate.get(member, []))
        for member in ("verdictKeys", "useKeys")
    )
    logs = f"; keys that log its uses {uses}" if uses else ""
    return f"ledger {_word(gate['ledger'])}; verdict keys {verdicts or 'none'}{logs}"


def _describe_root(root: bytes) -> dict[tuple[str, str], str]:
    value = parse_json(root, max_bytes=MAX_FILE_BYTES, what="root metadata")
    entries: dict[tuple[str, str], str] = {}
    try:
        entries["root", "expires"] = visible(f"at {value['expires']}")
        for member in sorted(value.keys() - {"_type", "version", "expires", "roles", "keys"}):
            entries["root", visible(member)] = _plain(value[member])
        for role, members in value["roles"].items():
            keyids = members["keyids"]
            entries["signatures for", visible(role)] = f"{members['threshold']} of {len(keyids)} keys"
        for keyid, key in value["keys"].items():
            signs = [role for role, members in value["roles"].items() if keyid in members["keyids"]]
            kind = "administrator" if "person" in key else "online key"
            name = visible(f"{key.get('person', '')} {group_digits(keyid)}".strip())
            entries[kind, name] = visible(f"signs {', '.join(signs)}; {describe_signing_key(key)}")
    except (KeyError, TypeError, AttributeError) as e:
        raise MalformedError(Reason.BAD_TRUST, "This is no root metadata.") from e
    return entries


def describe_signing_key(key: Object) -> str:
    """Returns everything that metadata says about a key which signs trust, but its ID and its person."""
    known = {"keytype", "scheme", "keyval", "person"}
    rest = {name: value for name, value in sorted(key.items()) if name not in known}
    how = ", ".join(f"{name} {_plain(value)}" for name, value in rest.items())
    if key["keytype"] != "ssh":  # only of those does the key ID stand for the key
        digest = group_digits(sha256_hex(encode_canonical(key["keyval"])))
        how = f"public key SHA-256 {digest}{'; ' if how else ''}{how}"
    return f"{key['scheme']}{'; ' if how else ''}{how}"


def _digest_text(files: Files, name: str) -> str:
    return f"SHA-256 {group_digits(sha256_hex(files[name]))}" if name in files else ""


def _decode(files: Files, name: str) -> Any:
    return parse_json(files[name], max_bytes=MAX_FILE_BYTES, what=name)

"""Taking something out of the trust root's files, as pure functions: files in, changed files out.

As with every edit, nothing is in force before administrators have signed it and gates have refreshed.  What
was approved and recorded before is judged at its own time, and stays what it was.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from placet.ceremony.trust_edit import decode_file, encode_file, read_deployment
from placet.core.encoding import KeyId, b64decode_strict
from placet.core.errors import MalformedError, PlacetError, Reason
from placet.core.gates import parse_gates
from placet.core.people import parse_people, parse_terminals
from placet.core.policy import parse_scopes
from placet.core.trust import GATES_FILE, PEOPLE_FILE, SCOPES_FILE, TERMINALS_FILE
from placet.documents.issuers import find_issuer

Files = Mapping[str, bytes]
# Shorter ones could be typed by mistake, and mean another key after the next enrolment.
_MIN_KEY_ID_DIGITS = 8
_OPENSSH_PREFIX = "SHA256:"


class FoundKey(NamedTuple):
    """A person's key in the trust root."""

    person: str
    keyid: KeyId


def find_key(files: Files, named: str, *, person: str | None = None) -> FoundKey:
    """Finds a person's key by key ID, by the first digits of it, or by OpenSSH's ``SHA256:…`` fingerprint.

    Raises:
        MalformedError: no key, or several, are named so.
    """
    wanted = _wanted_digits(named)
    value = decode_file(files, PEOPLE_FILE)
    keys = [
        FoundKey(item["id"], KeyId(credential["keyid"]))
        for item in value["people"]
        for credential in item["credentials"]
        if person in (None, item["id"])
    ]
    found = [key for key in keys if key.keyid.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    whose = f"{person} has" if person else "The trust root has"
    what = f"no key {named}" if not found else f"{len(found)} keys that begin with {named}"
    raise MalformedError(
        Reason.BAD_VALUE,
        f"{whose} {what}.",
        hint=f"There are: {', '.join(f'{key.keyid[:16]} of {key.person}' for key in (found or keys)[:8])}"
        if keys
        else "`placet trust show` lists everybody's keys.",
    )


def remove_person(files: Files, person_id: str) -> dict[str, bytes]:
    """Removes a person with all their keys.

    Raises:
        MalformedError: there is no such person.
    """
    return _change_people(files, person_id, lambda people, person: people.remove(person))


def remove_key(files: Files, key: FoundKey) -> dict[str, bytes]:
    """Removes one key of a person.

    Raises:
        MalformedError: there is no such person.
    """

    def change(_: list[Any], person: Any) -> None:
        person["credentials"] = [c for c in person["credentials"] if c["keyid"] != key.keyid]

    return _change_people(files, key.person, change)


def edit_person(
    files: Files,
    person_id: str,
    *,
    add_groups: Sequence[str] = (),
    remove_groups: Collection[str] = (),
    add_accounts: Sequence[tuple[str, str]] = (),
    remove_accounts: Collection[tuple[str, str]] = (),
) -> dict[str, bytes]:
    """Changes a person's groups and accounts.

    An account is (issuer, subject), where an issuer may be one of `PRESETS`.

    Raises:
        MalformedError: there is no such person, or they are not in a group, or lack an account, that goes;
            or an issuer is no https address.
    """
    added = [(find_issuer(issuer), subject) for issuer, subject in add_accounts]

    def change(_: list[Any], person: Any) -> None:
        accounts = [(account["issuer"], account["subject"]) for account in person["accounts"]]
        for name in remove_groups:
            _check_there(name in person["groups"], f"{person_id} is not in the group {name}.")
        # What stands there literally goes literally: an earlier version took any text for an issuer.
        gone = [a if a in accounts else (find_issuer(a[0]), a[1]) for a in remove_accounts]
        for account in gone:
            _check_there(account in accounts, f"{person_id} has no account {account[1]} at {account[0]}.")
        groups = [name for name in person["groups"] if name not in remove_groups]
        person["groups"] = list(dict.fromkeys([*groups, *add_groups]))
        kept = [account for account in accounts if account not in gone]
        person["accounts"] = [
            {"issuer": issuer, "subject": subject} for issuer, subject in dict.fromkeys([*kept, *added])
        ]

    return _change_people(files, person_id, change)


def remove_terminal(files: Files, terminal_id: str) -> dict[str, bytes]:
    """Removes a terminal.

    Raises:
        MalformedError: there is none of that name.
    """
    value = decode_file(files, TERMINALS_FILE)
    _remove_named(value["terminals"], terminal_id, "terminal")
    parse_terminals(value, read_deployment(files))
    return {TERMINALS_FILE: encode_file(value)}


def remove_gate(files: Files, gate_id: str) -> dict[str, bytes]:
    """Removes a gate.

    Raises:
        MalformedError: there is none of that name.
    """
    value = decode_file(files, GATES_FILE)
    _remove_named(value["gates"], gate_id, "gate")
    parse_gates(value)
    return {GATES_FILE: encode_file(value)}


def remove_policy(files: Files, scope: str) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Removes a scope with its rules.

    Returns:
        The changed files, and the names of those that go.

    Raises:
        MalformedError: there is no such scope.
    """
    value = decode_file(files, SCOPES_FILE)
    known = sorted(value["scopes"])
    if scope not in known:
        raise _not_there("scope", scope, known)
    del value["scopes"][scope]
    parse_scopes(value)
    name = f"policy/{scope}.toml"
    return {SCOPES_FILE: encode_file(value)}, (name,) if name in files else ()


def _wanted_digits(named: str) -> str:
    """Returns the beginning of the key ID that somebody means."""
    text = named.strip()
    if text.startswith(_OPENSSH_PREFIX):
        digest = text.removeprefix(_OPENSSH_PREFIX).rstrip("=")
        try:
            return b64decode_strict(digest + "=" * (-len(digest) % 4), "").hex()
        except PlacetError as e:
            raise MalformedError(Reason.BAD_VALUE, f"{named!r} is no OpenSSH fingerprint.") from e
    digits = "".join(text.split()).lower()
    if len(digits) < _MIN_KEY_ID_DIGITS or set(digits) - set("0123456789abcdef"):
        raise MalformedError(
            Reason.BAD_VALUE,
            f"{named!r} names no key.",
            hint=f"Give its key ID, or at least the first {_MIN_KEY_ID_DIGITS} digits of it, as `placet "
            "trust show` lists them; or what `ssh-keygen -l` prints, SHA256:….",
        )
    return digits


def _change_people(files: Files, person_id: str, change: Any) -> dict[str, bytes]:
    value = decode_file(files, PEOPLE_FILE)
    people = value["people"]
    person = next((person for person in people if person["id"] == person_id), None)
    if person is None:
        raise _not_there("person", person_id, [person["id"] for person in people])
    change(people, person)
    parse_people(value, read_deployment(files))
    return {PEOPLE_FILE: encode_file(value)}


def _remove_named(items: list[Any], name: str, what: str) -> None:
    found = [item for item in items if item["id"] == name]
    if not found:
        raise _not_there(what, name, [item["id"] for item in items])
    items.remove(found[0])


def _check_there(there: bool, sentence: str) -> None:
    if not there:
        raise MalformedError(Reason.BAD_VALUE, sentence, hint="`placet trust show` lists people.")


def _not_there(what: str, name: str, known: Sequence[str]) -> MalformedError:
    return MalformedError(
        Reason.BAD_VALUE,
        f"The trust root has no {what} {name}.",
        hint=f"It knows: {', '.join(known) or 'none'}.",
    )

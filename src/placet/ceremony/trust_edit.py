"""Edits of the trust root's files, as pure functions: files in, changed files out.

Nothing here is in force: what these functions return goes into a draft, is shown to the administrators as a
difference, and counts once they have signed it.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from placet.ceremony.trust_scopes import check_rules_inside, read_scopes
from placet.core.encoding import Digest, b64encode, format_time, parse_json
from placet.core.errors import MalformedError, Reason
from placet.core.people import (
    Deployment,
    Person,
    Terminal,
    parse_deployment,
    parse_people,
    parse_terminals,
)
from placet.core.policy import Quorum, Rule, parse_policy, parse_scopes
from placet.core.sshsig import PublicKey, key_id
from placet.core.trust import (
    DEPLOYMENT_FILE,
    GATES_FILE,
    MAX_FILE_BYTES,
    PEOPLE_FILE,
    SCOPES_FILE,
    TERMINALS_FILE,
)
from placet.documents.issuers import find_issuer

Files = Mapping[str, bytes]
DEFAULT_SCOPE = "default"
DEFAULT_TERMINAL_PORT = 8470


def initial_files(*, deployment: str, rp_id: str, actions: Files) -> dict[str, bytes]:
    """Returns the files of a new trust root: nobody, nothing, and the action definitions.

    Raises:
        MalformedError: the name or the RP ID cannot be used.
    """
    value = {"name": deployment, "rpId": rp_id}
    parse_deployment(value)
    return {
        DEPLOYMENT_FILE: encode_file(value),
        PEOPLE_FILE: encode_file({"people": []}),
        TERMINALS_FILE: encode_file({"terminals": []}),
        GATES_FILE: encode_file({"gates": []}),
        SCOPES_FILE: encode_file({"scopes": {DEFAULT_SCOPE: ["**"]}}),
        **actions,
    }


def read_deployment(files: Files) -> Deployment:
    """Returns the deployment that the files are for.

    Raises:
        MalformedError: ``deployment.json`` is missing or malformed.
    """
    return parse_deployment(decode_file(files, DEPLOYMENT_FILE))


def read_terminals(files: Files) -> tuple[Terminal, ...]:
    """Returns the terminals that the files name.

    Raises:
        MalformedError: ``terminals.json`` is missing or malformed.
    """
    return parse_terminals(decode_file(files, TERMINALS_FILE), read_deployment(files))


def add_person(
    files: Files, person_id: str, *, groups: Sequence[str], accounts: Sequence[tuple[str, str]] = ()
) -> dict[str, bytes]:
    """Adds a person; `accounts` are (issuer, subject), where an issuer may be one of `PRESETS`.

    Raises:
        MalformedError: the person is there already, or a member is wrong.
    """
    value = decode_file(files, PEOPLE_FILE)
    refuse_known([person["id"] for person in value["people"]], person_id, "person")
    value["people"].append(
        {
            "id": person_id,
            "groups": list(dict.fromkeys(groups)),
            "accounts": [{"issuer": find_issuer(name), "subject": subject} for name, subject in accounts],
            "credentials": [],
        }
    )
    parse_people(value, read_deployment(files))
    return {PEOPLE_FILE: encode_file(value)}


def add_terminal(
    files: Files, terminal_id: str, *, key: PublicKey, origins: Sequence[str] = ()
) -> dict[str, bytes]:
    """Adds a terminal; without `origins` its page is at the default port under the RP ID.

    Raises:
        MalformedError: the terminal is there already, or its key or an origin is wrong.
    """
    deployment = read_deployment(files)
    value = decode_file(files, TERMINALS_FILE)
    refuse_known([terminal["id"] for terminal in value["terminals"]], terminal_id, "terminal")
    default = f"http://{terminal_id}.{deployment.rp_id}:{DEFAULT_TERMINAL_PORT}"
    value["terminals"].append(
        {
            "id": terminal_id,
            "keyid": key_id(key.wire),
            "publicKey": b64encode(key.wire),
            "origins": list(origins) or [default],
        }
    )
    parse_terminals(value, deployment)
    return {TERMINALS_FILE: encode_file(value)}


def add_credential(
    files: Files,
    person_id: str,
    *,
    key: PublicKey,
    kind: str,
    uv: bool,
    assurance: str,
    not_before: int,
    not_after: int,
    aaguid: str = "",
    attestation: Digest | None = None,
) -> dict[str, bytes]:
    """Records a person's key.

    Args:
        attestation: digest of what the authenticator said about itself; an attested key has one.

    Raises:
        MalformedError: no such person, the key is somebody's already, or it does not fit kind and deployment.
    """
    if (assurance == "attested") != (attestation is not None):
        raise MalformedError(
            Reason.BAD_VALUE,
            "A key is recorded as attested with what its authenticator said about itself, and only then.",
            hint="Look at the hardware yourself and record it as `vouched`.",
        )
    value = decode_file(files, PEOPLE_FILE)
    person = next((person for person in value["people"] if person["id"] == person_id), None)
    if person is None:
        known = ", ".join(person["id"] for person in value["people"]) or "nobody yet"
        raise MalformedError(
            Reason.BAD_VALUE,
            f"The trust root has no person {person_id}. It knows: {known}.",
            hint=f"Add them first: placet trust add-person {person_id} --group GROUP",
        )
    credential: dict[str, Any] = {
        "keyid": key_id(key.wire),
        "publicKey": b64encode(key.wire),
        "kind": kind,
        "uv": uv,
        "backup": "forbid",
        "assurance": assurance,
        "notBefore": format_time(not_before),
        "notAfter": format_time(not_after),
    }
    credential |= {"aaguid": aaguid} if aaguid else {}
    credential |= {"attestation": {"sha256": attestation}} if attestation else {}
    person["credentials"].append(credential)
    parse_people(value, read_deployment(files))
    return {PEOPLE_FILE: encode_file(value)}


def set_policy(
    files: Files, scope: str, toml: bytes, *, targets: Sequence[str] = (), shown_as: str = ""
) -> dict[str, bytes]:
    """Replaces the rules of a scope.

    Args:
        files: the files as they are.
        scope: the scope.
        toml: its rules.
        targets: the patterns inside which the scope's rules may match.
        shown_as: what the administrator calls the file; by default its name in the trust root.

    Raises:
        MalformedError: the policy is malformed, or a rule reaches out of the scope, with the line; a rule is
            for an action that the trust root does not define; or a new scope has no targets.
    """
    name = f"policy/{scope}.toml"
    shown = shown_as or name
    known = read_scopes(files)
    patterns = tuple(targets) or known.get(scope, ())
    if not patterns:
        raise MalformedError(
            Reason.BAD_VALUE,
            f"The scope {scope} is new, and nothing says which targets it governs.",
            hint="Name them, as in: --targets 'k8s://prod-eu/**'",
        )
    changes = {name: toml}
    if patterns != known.get(scope):
        changes |= set_scope(files, scope, patterns)
    try:
        rules = parse_policy(toml, scope=scope, file=shown)
        for rule in rules:
            _refuse_unknown_action(files, rule)
        check_rules_inside(rules, scope, patterns)
    except MalformedError as e:
        if not (line := _line_of_rule(toml, e.path)):
            raise
        raise MalformedError(
            e.reason,
            f"The policy {shown} is wrong in the rule that starts at line {line}: {e.message}",
            path=e.path,
            expected=e.expected,
            actual=e.actual,
            hint=e.hint or "Correct the rule and try again; nothing was changed.",
        ) from e
    return changes


def set_scope(files: Files, scope: str, targets: Sequence[str]) -> dict[str, bytes]:
    """Sets the patterns inside which a scope's rules may match, whoever signs them.

    Raises:
        MalformedError: a pattern or the name is wrong.
    """
    value = decode_file(files, SCOPES_FILE)
    value["scopes"][scope] = list(targets)
    parse_scopes(value)
    return {SCOPES_FILE: encode_file(value)}


def find_policy_gaps(files: Files) -> tuple[str, ...]:
    """Returns, as sentences, rules that nobody could satisfy with the people and actions there are now."""
    people = parse_people(decode_file(files, PEOPLE_FILE), read_deployment(files))
    known = {f"person:{person.id}" for person in people if person.credentials}
    known |= {f"group:{group}" for person in people if person.credentials for group in person.groups}
    types = _action_types(files)
    gaps = []
    for rule in all_rules(files):
        if rule.action not in types:
            gaps.append(f"{rule.file} has a rule for {rule.action}, which no action definition describes.")
        gaps += [f"{rule.file} {gap}" for gap in _find_short_quorums(rule.quorum, people)]
        for member in sorted(_members(rule.quorum) - known):
            gaps.append(f"{rule.file} counts on {member}, where nobody has a key yet.")
    return tuple(dict.fromkeys(gaps))


def _action_types(files: Files) -> set[str]:
    return {decode_file(files, name).get("type") for name in files if name.startswith("actions/")}


def _refuse_unknown_action(files: Files, rule: Rule) -> None:
    known = sorted(_action_types(files))
    if rule.action in known:
        return
    # Somebody wrote the short name that the command line takes, or mistyped the URI.
    near = [uri for uri in known if rule.action in uri.split("/")]
    near += difflib.get_close_matches(rule.action, known, n=1)
    raise MalformedError(
        Reason.BAD_VALUE,
        f"{rule.file} has a rule for {rule.action!r}, which is no action of the trust root.",
        hint=f"Did you mean {near[0]}?" if near else f"It has: {', '.join(known)}.",
    )


def _find_short_quorums(quorum: Quorum, people: Sequence[Person]) -> list[str]:
    """Returns, as the ends of sentences, where more people are asked for than there are."""
    names = [member for member in quorum.of if isinstance(member, str)]
    nested = [member for member in quorum.of if isinstance(member, Quorum)]
    there = sum(
        f"person:{person.id}" in names or any(f"group:{group}" in names for group in person.groups)
        for person in people
    )
    gaps = [gap for inner in nested for gap in _find_short_quorums(inner, people)]
    if there + len(nested) < quorum.threshold:
        gaps.append(f"asks for {quorum.threshold} of {', '.join(names)}, and there is only {there} so far.")
    return gaps


def all_rules(files: Files) -> list[Rule]:
    """Returns the rules of every scope.

    Raises:
        MalformedError: a policy is malformed.
    """
    names = sorted(name for name in files if name.startswith("policy/") and name.endswith(".toml"))
    scopes = [(name, name.removeprefix("policy/").removesuffix(".toml")) for name in names]
    return [rule for name, scope in scopes for rule in parse_policy(files[name], scope=scope, file=name)]


def _members(quorum: Quorum) -> set[str]:
    found: set[str] = set()
    for member in quorum.of:
        found |= {member} if isinstance(member, str) else _members(member)
    return found


def _line_of_rule(toml: bytes, path: str) -> int | None:
    """Returns the line on which the rule that a JSON pointer leads into starts."""
    parts = path.split("/")
    if len(parts) < 3 or parts[1] != "rule" or not parts[2].isdigit():
        return None
    lines = toml.decode("utf-8", "replace").splitlines()
    starts = [i for i, line in enumerate(lines, 1) if line.replace(" ", "").startswith("[[rule]]")]
    index = int(parts[2])
    return starts[index] if index < len(starts) else None


def refuse_known(known: Sequence[str], name: str, what: str) -> None:
    """Refuses to add what is there already.

    Raises:
        MalformedError: DUPLICATE_VALUE.
    """
    hints = {
        "person": f"To change it: placet trust edit-person {name}",
        "gate": f"To give it another ledger: placet trust set-gate {name} --ledger NAME",
    }
    if name in known:
        raise MalformedError(
            Reason.DUPLICATE_VALUE,
            f"The trust root already has a {what} {name}.",
            hint=hints.get(what, f"To take it out: placet trust revoke {what} {name}"),
        )


def decode_file(files: Files, name: str) -> Any:
    """Returns one file of the trust root, decoded.

    Raises:
        MalformedError: it is missing, or is not JSON.
    """
    if name not in files:
        raise MalformedError(Reason.BAD_TRUST, f"The trust root has no {name}.")
    return parse_json(files[name], max_bytes=MAX_FILE_BYTES, what=name)


def encode_file(value: object) -> bytes:
    """Returns the bytes of a file of the trust root."""
    # Indented: administrators keep these files in git and read their differences.
    return json.dumps(value, indent=2, sort_keys=True).encode("ascii") + b"\n"

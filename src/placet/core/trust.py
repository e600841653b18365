"""The gate's verified snapshot of the trust root (spec/08-trust.md).

The TUF client runs when trust is refreshed, checks every signature, version and expiry,
and hands the target files here.  `compile_trust` checks and compiles them once; a gate
then loads the snapshot with `parse_trust`, without TUF, TOML or a network.

The snapshot is the gate's own file.  Whoever can write it owns the gate, so it carries no
signature of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from placet.core.actions import ActionDefinition, action_from_object, parse_action
from placet.core.decode import (
    Object,
    read_ascii,
    read_list,
    read_map,
    read_object,
    read_sha256,
    read_string,
    read_time,
)
from placet.core.encoding import (
    Digest,
    KeyId,
    b64decode_strict,
    b64encode,
    encode_canonical,
    format_time,
    parse_canonical_json,
    parse_json,
    sha256_hex,
)
from placet.core.errors import MalformedError, Reason
from placet.core.gates import Gate, parse_gates
from placet.core.people import (
    Credential,
    Deployment,
    Person,
    Terminal,
    parse_deployment,
    parse_people,
    parse_terminals,
)
from placet.core.policy import Rule, parse_policy, parse_scopes, rule_from_object, rule_to_object

if TYPE_CHECKING:
    from placet.core.tlog.log_policy import LogPolicy

MEDIA_TYPE = "application/vnd.placet.trust-snapshot.v1+json"
# Ten thousand people with several keys each fit.
MAX_SNAPSHOT_BYTES = 32 * 1024 * 1024
MAX_FILE_BYTES = 16 * 1024 * 1024

DEPLOYMENT_FILE = "deployment.json"
PEOPLE_FILE = "people.json"
TERMINALS_FILE = "terminals.json"
GATES_FILE = "gates.json"
SCOPES_FILE = "scopes.json"
MODELS_FILE = "models.json"
LOG_POLICY_FILE = "log-policy"
# 64 KiB in base64, the largest policy that is read (LOG-12).
MAX_LOG_POLICY = (64 * 1024 + 2) // 3 * 4
_DOCUMENTS = (DEPLOYMENT_FILE, PEOPLE_FILE, TERMINALS_FILE, GATES_FILE, SCOPES_FILE)


class Trust(NamedTuple):
    """Who may approve what, as the administrators signed it.  `expires_at` is in Unix seconds."""

    deployment: Deployment
    versions: dict[str, int]
    expires_at: int
    people: tuple[Person, ...]
    credentials: dict[KeyId, tuple[Person, Credential]]
    terminals: dict[KeyId, Terminal]
    gates: dict[str, Gate]
    scopes: dict[str, tuple[str, ...]]
    rules: tuple[Rule, ...]
    actions: dict[str, ActionDefinition]
    files: dict[str, Digest]
    log_policy: LogPolicy | None = None

    @property
    def origins(self) -> frozenset[str]:
        """Every web origin on which an approval of this deployment may be made."""
        return frozenset(origin for terminal in self.terminals.values() for origin in terminal.origins)


def compile_trust(*, files: Mapping[str, bytes], versions: Mapping[str, int], expires_at: int) -> bytes:
    """Checks the trust root's target files and compiles the gate's snapshot.

    Args:
        files: name → bytes of every target, already verified by the TUF client.
        versions: version of every TUF role, such as ``{"root": 1, "targets": 3}``.
        expires_at: the earliest expiry of all roles, in Unix seconds.

    Returns:
        The snapshot's bytes, which `parse_trust` reads.

    Raises:
        MalformedError: a file is missing, malformed or contradicts another (TRU-01).
    """
    for name in _DOCUMENTS:
        if name not in files:
            raise MalformedError(
                Reason.BAD_TRUST, f"The trust root has no {name}.", hint="Sign and publish it, then refresh."
            )
    parsed = {name: parse_json(files[name], max_bytes=MAX_FILE_BYTES, what=name) for name in _DOCUMENTS}
    scopes = parse_scopes(parsed[SCOPES_FILE])
    rules: list[Rule] = []
    actions: Object = {}
    for name, data in sorted(files.items()):
        if name.startswith("policy/") and name.endswith(".toml"):
            scope = name[len("policy/") : -len(".toml")]
            if scope not in scopes:
                raise MalformedError(
                    Reason.BAD_TRUST, f"{name} is for a scope that scopes.json does not name."
                )
            rules.extend(parse_policy(data, scope=scope, file=name))
        elif name.startswith("actions/"):
            parse_action(data, file=name)
            actions[name] = parse_json(data, max_bytes=MAX_FILE_BYTES, what=name)
    snapshot: Object = {
        "mediaType": MEDIA_TYPE,
        "versions": dict(versions),
        "expiresAt": format_time(expires_at),
        "files": {name: {"sha256": sha256_hex(data)} for name, data in files.items()},
        "documents": parsed,
        "rules": [rule_to_object(rule) for rule in rules],
        "actions": actions,
    }
    if LOG_POLICY_FILE in files:
        snapshot["logPolicy"] = b64encode(files[LOG_POLICY_FILE])
    try:
        data = encode_canonical(snapshot)
    except (TypeError, ValueError, RecursionError) as e:  # such as a date among a rule's evidence options
        raise MalformedError(
            Reason.BAD_TRUST,
            f"The trust root holds a value that no snapshot can: {e}.",
            hint="Write it as text.",
        ) from e
    trust = parse_trust(data)  # whatever a gate would refuse is refused now, before it replaces a good one
    _check_models(trust, files.get(MODELS_FILE, b'{"models":[]}'))
    return data


def parse_trust(snapshot: bytes) -> Trust:
    """Loads a compiled snapshot.

    Raises:
        MalformedError: the snapshot is not what `compile_trust` writes (TRU-02).
    """
    value = parse_canonical_json(snapshot, max_bytes=MAX_SNAPSHOT_BYTES, what="trust snapshot")
    names = ["mediaType", "versions", "expiresAt", "files", "documents", "rules", "actions"]
    top = read_object(value, "", required=names, optional=["logPolicy"])
    if top["mediaType"] != MEDIA_TYPE:
        raise MalformedError(Reason.UNSUPPORTED_TYPE, "This is not a trust snapshot.", path="/mediaType")
    documents = read_object(top["documents"], "/documents", required=_DOCUMENTS)
    deployment = parse_deployment(documents[DEPLOYMENT_FILE])
    people = parse_people(documents[PEOPLE_FILE], deployment)
    terminals = parse_terminals(documents[TERMINALS_FILE], deployment)
    _check_keys_apart(people, terminals)
    files = {
        name: read_sha256(digests, f"/files/{name}")
        for name, digests in read_map(top["files"], "/files", max_items=10_000).items()
    }
    rules = read_list(top["rules"], "/rules", max_items=10_000)
    return Trust(
        deployment=deployment,
        versions=read_versions(top["versions"], "/versions"),
        expires_at=read_time(top["expiresAt"], "/expiresAt"),
        people=people,
        credentials={c.keyid: (person, c) for person in people for c in person.credentials},
        terminals={terminal.keyid: terminal for terminal in terminals},
        gates={gate.id: gate for gate in parse_gates(documents[GATES_FILE])},
        scopes=parse_scopes(documents[SCOPES_FILE]),
        rules=tuple(rule_from_object(rule, f"/rules/{i}") for i, rule in enumerate(rules)),
        actions=_read_actions(top["actions"], files),
        files=files,
        log_policy=_read_log_policy(top["logPolicy"]) if "logPolicy" in top else None,
    )


def _read_log_policy(value: Any) -> LogPolicy:
    """Reads which log and witnesses count (TRU-05)."""
    from placet.core.tlog.log_policy import parse_log_policy  # many trust roots name no log

    text = read_string(value, "/logPolicy", max_length=MAX_LOG_POLICY)
    return parse_log_policy(b64decode_strict(text, "/logPolicy"))


def _check_models(trust: Trust, models: bytes) -> None:
    """Refuses a credential that counts as attested and is of no allowed model (TRU-04)."""
    value = read_map(parse_json(models, max_bytes=MAX_FILE_BYTES, what=MODELS_FILE), "", max_items=8)
    listed = read_list(value.get("models"), "/models", max_items=1024)
    allowed = [m.get("aaguid") for m in listed if isinstance(m, dict) and m.get("status") == "allowed"]
    for person, credential in trust.credentials.values():
        if credential.assurance == "attested" and not (credential.aaguid and credential.aaguid in allowed):
            text = f"A key of {person.id} is attested as a model that is not allowed: {credential.aaguid}."
            raise MalformedError(Reason.MODEL_NOT_ALLOWED, text, hint="See them: placet trust models")


def _check_keys_apart(people: tuple[Person, ...], terminals: tuple[Terminal, ...]) -> None:
    """Refuses a terminal's key that is also a person's (PPL-01)."""
    machines = {terminal.public_key.raw for terminal in terminals}
    if any(credential.public_key.raw in machines for person in people for credential in person.credentials):
        raise MalformedError(Reason.DUPLICATE_VALUE, "One key belongs to a person and to a terminal.")


def read_versions(value: Any, path: str) -> dict[str, int]:
    """Reads role name → TUF version (TRU-03).

    Raises:
        MalformedError: WRONG_TYPE, BAD_VALUE, TOO_MANY.
    """
    versions = read_map(value, path, max_items=1024)
    for name, version in versions.items():
        read_ascii(name, path, max_length=200)
        if type(version) is not int or version < 1:
            raise MalformedError(
                Reason.BAD_VALUE, "A version is a whole number from 1.", path=f"{path}/{name}"
            )
    return versions


def _read_actions(value: Any, files: dict[str, Digest]) -> dict[str, ActionDefinition]:
    """Returns the newest definition of each action type."""
    actions: dict[str, ActionDefinition] = {}
    for name, members in read_map(value, "/actions", max_items=256).items():
        if name not in files:
            raise MalformedError(Reason.BAD_TRUST, "An action has no digest.", path=f"/actions/{name}")
        definition = action_from_object(members, file=name, digest=files[name])
        if definition.type in actions:
            raise MalformedError(
                Reason.DUPLICATE_VALUE,
                f"Two definitions are of type {definition.type}.",
                path=f"/actions/{name}",
            )
        actions[definition.type] = definition
    return actions

"""``placet trust init``, ``add-…``, ``enroll`` and ``set-policy``: everything that changes the draft."""

from __future__ import annotations

import argparse
import base64
import binascii
from importlib.resources import files
from pathlib import Path

from placet.adapters.ssh_keygen import read_public_key_file
from placet.adapters.tuf_anchor import TrustAnchors
from placet.adapters.tuf_repository import TrustRepository
from placet.adapters.tuf_signing import pending_roles, root_digests
from placet.adapters.tuf_trust import Administrator, make_administrator
from placet.ceremony import trust_edit
from placet.ceremony.enrol import check_assurance, parse_enrolment, verify_enrolment
from placet.ceremony.trust_change import group_digits
from placet.cli import UserError
from placet.cli._shared import now, parse_duration, read_file
from placet.core.encoding import format_time
from placet.core.people import Deployment
from placet.core.policy import MAX_POLICY_BYTES
from placet.core.sshsig import PublicKey, key_id, parse_public_key

_MAX_KEY_FILE_BYTES = 64 * 1024
_NEXT = "Next: more changes, or each administrator runs `placet trust sign --as ID --key FILE`."


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    if args.trust_command == "init":
        return _init(args)
    repository = TrustRepository(args.repository)
    before = repository.draft_files()
    match args.trust_command:
        case "add-person":
            changes, said = _add_person(args, before)
        case "add-terminal":
            changes, said = _add_terminal(args, before)
        case "add-gate":
            changes = trust_edit.add_gate(before, args.id, ledger=args.ledger or args.id)
            said = f"Gate {args.id} is in the draft, with the ledger {args.ledger or args.id}."
        case "enroll":
            changes, said = _enroll(args, repository, before)
        case _:
            data = read_file(args.file, "policy", MAX_POLICY_BYTES)
            changes = trust_edit.set_policy(
                before, args.scope, data, targets=args.targets, shown_as=str(args.file)
            )
            said = f"The rules of {args.file} are in the draft, as those of the scope {args.scope}."
    return _stage(repository, changes, said)


def _stage(repository: TrustRepository, changes: dict[str, bytes], said: str) -> int:
    void = sorted({person for role in pending_roles(repository) for person in role.signed})
    if not repository.stage(changes, now=now()):
        print("The trust root says so already; nothing was changed.")
        return 0
    print(said)
    lost = [
        person for role in pending_roles(repository) if role.role == "targets" for person in role.unsigned
    ]
    if again := [person for person in void if person in lost]:
        print(f"Signatures over the earlier draft no longer count: {', '.join(again)} must sign again.")
    for gap in trust_edit.find_policy_gaps(repository.draft_files()):
        print(f"Note: {gap}")
    print(_NEXT)
    return 0


def _init(args: argparse.Namespace) -> int:
    rp_id = args.rp_id or f"{args.deployment}.placet.localhost"
    initial = trust_edit.initial_files(deployment=args.deployment, rp_id=rp_id, actions=_shipped_actions())
    deployment = Deployment(args.deployment, rp_id)
    administrators = [_administrator(text, deployment, args) for text in args.admin]
    anchors = TrustAnchors()
    anchors.check_unused(args.deployment)
    repository = TrustRepository.create(
        args.repository, files=initial, administrators=administrators, threshold=args.threshold, now=now()
    )
    (digest,) = root_digests(repository)
    anchors.begin(args.deployment, digest)
    count = len(administrators)
    print(f"The trust root of {args.deployment} is drafted in {args.repository}; nobody has signed it yet.")
    print(f"{args.threshold} of {count} administrators sign: {', '.join(a.person for a in administrators)}.")
    if args.threshold == 1 or args.threshold == count > 1:
        print(
            "Note: one lost or stolen key is enough to "
            + ("change everything." if args.threshold == 1 else "stop every change; 2 of 3 is safer.")
        )
    print(f"Draft root SHA-256, for the other administrators and for enrolling the first people: {digest}")
    print("Next: add people, keys, terminals, gates and rules; then each administrator signs.")
    return 0


def _shipped_actions() -> dict[str, bytes]:
    found = {}
    for folder in files("placet.actions").iterdir():
        if folder.is_dir():
            for file in folder.iterdir():
                if file.name.endswith(".json"):
                    found[f"actions/{folder.name}/{file.name}"] = file.read_bytes()
    return found


def _administrator(text: str, deployment: Deployment, args: argparse.Namespace) -> Administrator:
    person, equals, file = text.partition("=")
    if not (person and equals and file):
        raise UserError(f"{text!r} is not ID=PUBKEYFILE.", "As in: --admin alice@example.com=alice.pub")
    key = parse_public_key(read_public_key_file(Path(file)))
    kind = _kind_of(key, deployment, file)
    return make_administrator(
        person,
        key.wire,
        kind=kind,
        origins=args.admin_origin if kind == "webauthn" else (),
        uv=not args.admin_no_uv,
    )


def _kind_of(key: PublicKey, deployment: Deployment, where: object) -> str:
    """Returns how a key signs, from what it was made for."""
    if key.application == deployment.rp_id:
        return "webauthn"
    if key.application == deployment.ssh_application:
        return "sk"
    raise UserError(
        f"The key in {where} was made for {key.application!r}, not for this deployment.",
        "Make one with: ssh-keygen -t ed25519-sk -O verify-required "
        f"-O application={deployment.ssh_application}",
    )


def _add_person(args: argparse.Namespace, before: dict[str, bytes]) -> tuple[dict[str, bytes], str]:
    accounts = [(issuer, subject) for issuer, subject in args.account]
    changes = trust_edit.add_person(before, args.id, groups=args.group, accounts=accounts)
    groups = f"in {', '.join(args.group)}" if args.group else "in no group"
    said = (
        f"{args.id} is in the draft, {groups}, without a key: enrol one with `placet trust enroll {args.id}`."
    )
    return changes, said


def _add_terminal(args: argparse.Namespace, before: dict[str, bytes]) -> tuple[dict[str, bytes], str]:
    key = _read_terminal_key(args.key)
    changes = trust_edit.add_terminal(before, args.id, key=key, origins=args.origin)
    added = trust_edit.read_terminals(before | changes)[-1]
    return changes, f"Terminal {args.id} is in the draft, with its page at {', '.join(added.origins)}."


def _read_terminal_key(text: str) -> PublicKey:
    path, what = Path(text), f"{text[:80]!r} is neither a file nor a public key."
    if path.is_file():
        text = read_file(path, "public key", _MAX_KEY_FILE_BYTES).decode("utf-8", "replace")
        what = f"The file {path} holds no public key."
    fields = text.split()
    try:
        # An OpenSSH public key line, or its middle part alone.
        return parse_public_key(base64.b64decode(fields[1 if len(fields) > 1 else 0], validate=True))
    except (binascii.Error, IndexError) as e:
        raise UserError(what, "`placet terminal init` prints the terminal's, with the whole line.") from e


def _enroll(
    args: argparse.Namespace, repository: TrustRepository, before: dict[str, bytes]
) -> tuple[dict[str, bytes], str]:
    deployment = trust_edit.read_deployment(before)
    data = read_file(args.key, "key", _MAX_KEY_FILE_BYTES)
    proven, aaguid = data.lstrip().startswith(b"{"), ""
    if proven:
        if args.invite is None:
            raise UserError(
                "An enrolment file answers an invite, and none was given.",
                "Give it as --invite, as you gave it to the person; the key could be anybody's otherwise.",
            )
        enrolment = parse_enrolment(data)
        verify_enrolment(
            enrolment,
            person=args.person,
            deployment=deployment,
            invite=args.invite,
            root_digests=root_digests(repository),
            origins={origin for terminal in trust_edit.read_terminals(before) for origin in terminal.origins},
            require_uv=not args.no_uv,
        )
        key, kind, aaguid = enrolment.public_key, enrolment.kind, enrolment.aaguid
    else:
        key = parse_public_key(read_public_key_file(args.key))
        kind = _kind_of(key, deployment, args.key)
    if args.kind not in (None, kind):
        raise UserError(f"The key in {args.key} is of kind {kind}, not {args.kind}.")
    check_assurance(args.assurance, aaguid)
    start = now()
    end = start + parse_duration(args.valid)
    changes = trust_edit.add_credential(
        before,
        args.person,
        key=key,
        kind=kind,
        uv=not args.no_uv,
        assurance=args.assurance,
        aaguid=aaguid,
        not_before=start,
        not_after=end,
    )
    return changes, _say_enrolled(args, key, proven, end)


def _say_enrolled(args: argparse.Namespace, key: PublicKey, proven: bool, end: int) -> str:
    proof = "It answers your invite." if proven else "Nothing proves yet that they hold it."
    means = (
        "You say that you saw this hardware key."
        if args.assurance == "vouched"
        else "Software never exceeds intent level 1."
    )
    return (
        f"The key of {args.person} is in the draft as {args.assurance}, until {format_time(end)}.\n"
        f"{proof} {means}\n"
        f"Have them read its fingerprint aloud: {group_digits(key_id(key.wire))}"
    )

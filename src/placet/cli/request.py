"""``placet request``: ask for the approval of one exact action."""

from __future__ import annotations

import argparse
import getpass
import os
import secrets
import socket
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from placet.adapters.paths import snapshot_path
from placet.adapters.private_file import write_atomically
from placet.ceremony.new_request import new_request
from placet.ceremony.request import check_trust_is_current, find_open_rules
from placet.cli import EXIT_ALLOW, UndecidedError, UserError, _request_evidence, _request_proof
from placet.cli._evidence import evidence_verifier
from placet.cli._relay import DEFAULT_RELAY, keep_token, open_relay, read_request_id, relay_failed
from placet.cli._request_actions import (
    build_action,
    configure_deploy,
    configure_release,
    configure_run,
    configure_sign,
)
from placet.cli._shared import choose_gate, load_trust, now, parse_duration, setting
from placet.core.bundle import IntentRequest, encode_request
from placet.core.encoding import format_time
from placet.core.errors import visible
from placet.core.levels import level_name
from placet.core.policy import Quorum, select_rules
from placet.core.statement import IntentStatement, parse_statement
from placet.core.trust import Trust
from placet.ports.request_store import RequestState

if TYPE_CHECKING:
    from placet.client import RelayClient
    from placet.ports.evidence_verifier import EvidenceVerifier

EXAMPLES = """\
examples:
  placet request run --for pkg:pypi/app --input dist/app.whl --wait -- twine upload dist/app.whl
  placet request deploy registry.example/app@sha256:97e9… --to k8s://prod/ns/a/deploy/b --wait
  placet request release --to pkg:pypi/app --version 1.0 dist/*.whl --file app.request.json
  placet request release … --evidence app.intoto.jsonl   (what lies beside a file is found without)
  placet request wait 3f0c… -o app.intent.json

exit codes: 0 approved (without --wait: asked), 1 denied, expired or withdrawn, 2 wrong usage,
            3 undecided: not approved within --timeout, or no relay, 130 you stopped waiting
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, title="actions")
    for name, configure_action, summary in (
        ("run", configure_run, "run one exact command"),
        ("deploy", configure_deploy, "deploy an artifact to a target"),
        ("release", configure_release, "release artifacts"),
        ("sign", configure_sign, "have artifacts, or a statement about them, signed with Sigstore"),
    ):
        action = actions.add_parser(name, help=summary, description=summary.capitalize() + ".")
        _configure_common(action)
        _request_proof.configure(action)
        _request_evidence.configure(action)
        configure_action(action)
    summary = "send a request of --token-later, with the OIDC token that says who asks"
    prove = actions.add_parser("prove", help=summary, description=summary.capitalize() + ".")
    _request_proof.configure_prove(prove)
    _configure_sending(prove)
    summary = "wait for the approval of an earlier request, and write the bundle"
    wait = actions.add_parser("wait", help=summary, description=summary.capitalize() + ".")
    wait.add_argument("request", metavar="ID", help="the request's ID, as it was printed")
    wait.add_argument("--trust", type=Path, metavar="SNAPSHOT", help="the trust snapshot")
    wait.add_argument("--relay", metavar="URL", help=f"the relay (default {DEFAULT_RELAY})")
    _configure_waiting(wait)


def _configure_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--gate", metavar="ID", help="the gate that will act (default: the only one there is)"
    )
    parser.add_argument("--expires", default="1h", metavar="TIME", help="how long it is valid (default 1h)")
    parser.add_argument("--uses", type=int, default=1, metavar="N", help="how often (default 1)")
    parser.add_argument("--reason", default="", metavar="TEXT", help="your words to the approvers")
    parser.add_argument(
        "--annotation", action="append", default=[], metavar="NAME=VALUE", help="a note on the target"
    )
    parser.add_argument("--requested-by", metavar="WHO", help="who claims to ask (default: user at host)")
    _configure_sending(parser)


def _configure_sending(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--trust", type=Path, metavar="SNAPSHOT", help="the trust snapshot")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--relay", metavar="URL", help=f"the relay (default {DEFAULT_RELAY})")
    where.add_argument(
        "--file", type=Path, metavar="REQUEST", help="write the request to a file, without a relay"
    )
    parser.add_argument("--wait", action="store_true", help="wait for the people and write the bundle")
    _configure_waiting(parser)


def _configure_waiting(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--timeout", default="1h", metavar="TIME", help="wait at most this long (default 1h)")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="BUNDLE", help="the bundle that is written at the end"
    )
    parser.add_argument(
        "--with-trust",
        action="store_true",
        help="put the trust of its time into the bundle, for archives; it names all people of the deployment",
    )


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    trust = load_trust(args.trust or _path(setting(None, "trust")))
    if args.action == "wait":
        return _wait_again(args, trust)
    if args.action == "prove":
        timeout, kept = _read_timeout(args), _request_proof.prove_kept(args)
        _check_can_be_approved(parse_statement(kept.payload), trust)
        return _send(kept, args, trust, timeout)
    timeout = _read_timeout(args)
    request = _build(args, trust)
    for note in notes_on_levels(parse_statement(request.payload), trust, at=now()):
        print(f"Note: {visible(note)}", file=sys.stderr)
    if args.token_later:
        return _to_unproven(request, args.token_later)
    request = _request_proof.prove(request, args)
    return _send(request, args, trust, timeout)


def _check_can_be_approved(statement: IntentStatement, trust: Trust) -> None:
    """Refuses what became pointless since ``--token-later`` made it."""
    check_trust_is_current(trust, now())
    find_open_rules(trust, action=statement.action_type, target=statement.target)


def _read_timeout(args: argparse.Namespace) -> int:
    if args.with_trust and not args.wait:
        raise UserError("--with-trust is about the bundle, which --wait writes.", "Use both of them.")
    if args.file and args.wait:
        raise UserError("--wait needs a relay; --file works without one.", "Use one of them.")
    return parse_duration(args.timeout)


def _send(request: IntentRequest, args: argparse.Namespace, trust: Trust, timeout: int) -> int:
    if args.file:
        return _to_file(request, args.file)
    return _to_relay(request, args, trust, timeout)


def notes_on_levels(statement: IntentStatement, trust: Trust, *, at: int) -> list[str]:
    """Returns, as sentences, the rules that no key enrolled today is strong enough for."""
    notes = []
    for rule in select_rules(
        trust.rules, trust.scopes, action=statement.action_type, target=statement.target
    ):
        named = frozenset(_named_in(rule.quorum))
        keys = [
            credential.assurance
            for person in trust.people
            if f"person:{person.id}" in named or any(f"group:{group}" in named for group in person.groups)
            for credential in person.credentials
            if credential.not_before <= at < credential.not_after
        ]
        if rule.level > 1 and all(assurance == "software" for assurance in keys):
            whose = "every key is a software key" if keys else "nobody has a valid key"
            notes.append(
                f"the rule for {rule.target} asks for {level_name(rule.level)}, and among "
                f"{', '.join(sorted(named))} {whose}; nobody can approve it yet."
            )
    return notes


def _named_in(quorum: Quorum) -> Iterator[str]:
    for member in quorum.of:
        if isinstance(member, str):
            yield member
        else:
            yield from _named_in(member)


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _build(args: argparse.Namespace, trust: Trust) -> IntentRequest:
    action = build_action(args)
    request = new_request(
        action=action.action_type,
        target=action.target,
        parameters=action.parameters,
        subjects=action.subjects,
        trust=trust,
        gate=choose_gate(trust, args.gate).id,
        requested_by=args.requested_by or _who(),
        lifetime=parse_duration(args.expires),
        annotations=action.annotations,
        reason=args.reason,
        max_uses=args.uses,
    )
    return _request_evidence.add(request, action, args, trust, verifier=_verifier(args))


def _verifier(args: argparse.Namespace) -> EvidenceVerifier:
    return evidence_verifier(args.trust or setting(None, "trust"))


def _who() -> str:
    """Says who claims to ask: the CI job where there is one, or user and host."""
    server, repository, run_id = (
        os.environ.get(f"GITHUB_{n}", "") for n in ("SERVER_URL", "REPOSITORY", "RUN_ID")
    )
    if server and repository and run_id:
        return f"{server}/{repository}/actions/runs/{run_id}"
    return os.environ.get("CI_JOB_URL") or f"{getpass.getuser()}@{socket.gethostname()}"


def _to_file(request: IntentRequest, path: Path) -> int:
    data = encode_request(request)
    try:
        if path.exists() and path.read_bytes() != data:
            raise UserError(
                f"{path} is there already, and holds something else.",
                "Remove it, or give another name; each request is a new one.",
            )
        write_atomically(path, data, mode=0o644)
    except OSError as e:
        raise UserError(f"The request cannot be written to {path}: {e.strerror}.") from e
    _print_request(request)
    print(f"Written to {path}. Carry it to a terminal: `placet terminal --file` or `placet approve`.")
    return EXIT_ALLOW


def _to_unproven(request: IntentRequest, path: Path) -> int:
    data, audience = _request_proof.keep_unproven(request)
    try:
        write_atomically(path, data)
    except OSError as e:
        raise UserError(f"The request cannot be written to {path}: {e.strerror}.") from e
    print(f"The request is in {path}. Get an OIDC token for this audience, then: placet request prove {path}")
    print(audience)
    return EXIT_ALLOW


def _print_request(request: IntentRequest) -> None:
    statement = parse_statement(request.payload)
    print(f"Request {request.id}")
    print(f"  {statement.text}")
    print(f"  valid until {format_time(statement.expires_at)} at {statement.audience}")


def _to_relay(request: IntentRequest, args: argparse.Namespace, trust: Trust, timeout: int) -> int:
    # Hexadecimal, because a token that began with a hyphen would read as a flag of `placet withdraw`.
    token = secrets.token_hex(32)
    with open_relay(args.relay) as relay:
        from placet.client import RelayClientError

        # Kept before it is sent: a request that the relay has can then always be taken back.
        lost = keep_token(request.id, token)
        try:
            kept = relay.submit(request, token)
        except RelayClientError as e:
            then = f"If the relay has it all the same: placet withdraw {request.id}{_named_relay(args)}"
            unclear = "As far as is known here, the request was not sent."
            raise relay_failed(e, "The request was not sent.", unclear=unclear, then=then) from e
        if kept.state is not RequestState.OPEN:
            raise UndecidedError(
                f"The relay says that the request is {kept.state}, so it asks nobody. [relay-lied]",
                "Compare the clocks of this machine and of the relay, then ask again.",
            )
        _print_request(request)
        if lost:
            print(f"  it cannot be taken back, because nothing can be kept here ({visible(lost)})")
        else:
            print(f"  to take it back: placet withdraw {request.id}{_named_relay(args)}")
        sys.stdout.flush()
        if not args.wait:
            print(f"  to fetch the bundle: placet request wait {request.id}{_named_relay(args)}")
            return EXIT_ALLOW
        return _wait(relay, request, args, trust, timeout)


def _wait_again(args: argparse.Namespace, trust: Trust) -> int:
    timeout, request_id = parse_duration(args.timeout), read_request_id(args.request)
    with open_relay(args.relay) as relay:
        from placet.client import RelayClientError

        try:
            # The client holds the payload's digest against the ID: the relay cannot swap the request.
            request = relay.fetch(request_id).request
        except RelayClientError as e:
            unclear = "Whether people approved is not known."
            raise relay_failed(e, "There is nothing to wait for.", unclear=unclear) from e
        _print_request(request)
        sys.stdout.flush()
        return _wait(relay, request, args, trust, timeout)


def _wait(
    relay: RelayClient, request: IntentRequest, args: argparse.Namespace, trust: Trust, timeout: int
) -> int:
    from placet.cli._request_wait import add_trust, wait_for_quorum

    return wait_for_quorum(
        relay,
        request,
        trust=trust,
        evidence=_verifier(args),
        output=args.output or Path(f"{request.id[:16]}.intent.json"),
        timeout=timeout,
        words=_named_relay(args),
        complete=partial(add_trust, snapshot=_snapshot(args)) if args.with_trust else None,
    )


def _snapshot(args: argparse.Namespace) -> Path:
    return args.trust or _path(setting(None, "trust")) or snapshot_path()


def _named_relay(args: argparse.Namespace) -> str:
    return f" --relay {args.relay}" if args.relay else ""

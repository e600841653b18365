"""``placet verify --audit``: was it rightly approved, then?  By the rules and people of its own time."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from placet.adapters.paths import snapshot_path
from placet.cli import EXIT_ALLOW, UserError
from placet.cli._shared import load_trust, name_file, read_file, setting
from placet.cli.verify import (
    GREEN,
    approval_to_object,
    describe,
    print_json,
    print_refusal,
    verdict_line,
    verify_evidence,
)
from placet.core.bundle import MAX_BUNDLE_BYTES, parse_bundle
from placet.core.encoding import format_time, parse_time, sha256_hex
from placet.core.errors import IndeterminateError, MalformedError, PlacetError, Reason, visible
from placet.core.trust import Trust
from placet.core.verify import VerifiedApproval, logged_time, verify_for_audit

if TYPE_CHECKING:
    from placet.adapters.tuf.audit import CarriedTrust

_ONLINE_ROLES = frozenset({"snapshot", "timestamp"})


def run_audit(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    said = _read_time(args.at)
    bundle = read_file(args.bundle, "bundle", MAX_BUNDLE_BYTES)
    try:
        parse_bundle(bundle)
        at = _proven_time(args, bundle) if said is None else said
        _check_tied(bundle)
        trust, origin, notes = _find_trust(args, bundle, at)
        facts = verify_evidence(bundle, args, trust)
        approval = verify_for_audit(bundle, trust=trust, logged_at=at, evidence=facts)
    except PlacetError as refusal:
        return print_refusal(name_file(refusal, args.bundle), as_json=args.json)
    if args.json:
        judged = {
            "at": format_time(at),
            "timeProvenBy": "log" if said is None else None,
            "trust": origin,
            "trustVersions": trust.versions,
            "notes": list(notes),
        }
        print_json(approval_to_object(approval, compared=False) | {"audit": judged})
    else:
        _print(approval, trust, _say_time(at, said), origin, notes)
    return EXIT_ALLOW


def _say_time(at: int, said: int | None) -> str:
    if said is not None:
        return f"{format_time(at)}, as you say: nothing here proves that time"
    return f"{format_time(at)}: by then, a quorum of the log's witnesses had signed that it is there"


def _proven_time(args: argparse.Namespace, bundle: bytes) -> int:
    """Returns by when the witnesses that this machine's trust names had seen the decisions.

    The policy inside the bundle is not asked: whoever took over its witnesses since could date it back.

    Raises:
        IndeterminateError: TIME_UNPROVEN.
    """
    try:
        chosen = setting(None, "trust") if args.trust is None else args.trust
        policy = load_trust(Path(chosen) if chosen else snapshot_path()).log_policy
    except (PlacetError, UserError):
        policy = None
    try:
        return logged_time(bundle, policy=policy)
    except IndeterminateError as e:
        e.hint = (
            "`placet log attach` fetches the log's proofs, and this machine's trust must name the log and "
            "its witnesses. If you know the time from elsewhere, name it with --at; it will be called your "
            "word."
        )
        raise


def _print(approval: VerifiedApproval, trust: Trust, when: str, origin: str, notes: tuple[str, ...]) -> None:
    names = " and ".join(approval.people)
    print(verdict_line("VALID THEN", GREEN, f"{names} approved the action below, as was right at that time."))
    for line in describe(approval):
        print(f"  {line}")
    versions = ", ".join(f"{role} {version}" for role, version in sorted(trust.versions.items()))
    print(f"  At        {when}")
    print(f"  Trust     {versions}; from {'the bundle' if origin == 'bundle' else 'this machine'}")
    for note in notes:
        print(f"  Note      {visible(note)}")
    print("  Now       not judged: the people, rules and keys may be others today")


def _check_tied(bundle: bytes) -> None:
    """Refuses a bundle whose approvers' terminals do not say which trust they had: any trust would fit it.

    Raises:
        IndeterminateError: TIME_UNPROVEN.
    """
    if missing := sorted({"root", "targets"} - parse_bundle(bundle).trust_versions.keys()):
        raise IndeterminateError(
            Reason.TIME_UNPROVEN,
            f"No terminal's report says under which {' and '.join(missing)} this was decided, so nothing "
            "ties the decision to the trust of any time.",
            hint="Approvals by a placet terminal, or `placet approve`, carry such reports; this one cannot "
            "be audited.",
        )


def _read_time(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return parse_time(text)
    except MalformedError as e:
        raise UserError(f"{text!r} is not a time.", 'Write it like "2026-03-01T12:00:00Z".') from e


def _find_trust(args: argparse.Namespace, bundle: bytes, at: int) -> tuple[Trust, str, tuple[str, ...]]:
    """Returns the trust of that time, where it came from, and which scopes were closed then.

    Raises:
        IndeterminateError: TRUST_UNAVAILABLE, TRUST_EXPIRED; TIME_UNPROVEN where the root was replaced since.
        VerificationError, MalformedError: what the bundle carries is not what administrators signed.
    """
    chosen = setting(None, "trust") if args.trust is None else args.trust
    snapshot = Path(chosen) if chosen else snapshot_path()
    try:
        from placet.adapters.tuf.audit import audit_trust, read_carried_trust
    except ModuleNotFoundError as e:
        if e.name not in ("tuf", "securesystemslib"):
            raise
        raise UserError("An audit needs python-tuf.", "Install it with: pip install 'placet[trust]'") from e
    carried = read_carried_trust(bundle)
    if carried is None:
        return _own_trust(snapshot, bundle, at), "snapshot", ()
    known_root = _known_root(args, snapshot)
    audited = audit_trust(bundle, root_sha256=known_root, at=at)
    replaced = _judge_root(args, snapshot, audited.trust, carried, known_root)
    return audited.trust, "bundle", (*audited.notes, *replaced)


def _judge_root(
    args: argparse.Namespace, snapshot: Path, audited: Trust, carried: CarriedTrust, known_root: str
) -> tuple[str, ...]:
    """Judges what this machine knows and the bundle leaves out: that keys of the root were given up since.

    A root that was only renewed gave up none, and says nothing against an old approval.

    Raises:
        IndeterminateError: TIME_UNPROVEN, unless the auditor accepts it; then it is returned as a note.
        VerificationError: BAD_TRUST: the bundle's roots part from those that this machine followed.
    """
    from placet.adapters.tuf.audit import check_same_roots, keeps_keys, read_followed_roots

    try:
        known = load_trust(snapshot)
    except (PlacetError, UserError):
        return ()
    then, now = (trust.versions.get("root", 0) for trust in (audited, known))
    followed = read_followed_roots(snapshot)
    on_our_chain = known_root.lower() in {sha256_hex(root) for root in followed.values()}
    # By the chain, too: who has the old keys can write another deployment's name into the list.
    if not on_our_chain and known.deployment != audited.deployment:
        return ()
    if on_our_chain:
        check_same_roots(carried, followed)
    if now <= then or keeps_keys(followed.get(then), followed.get(now)):
        return ()
    message = (
        f"This was judged under root {then}; this machine follows root {now}. Whoever stole keys that were "
        "given up in between can have made all of this afterwards."
    )
    if not args.accept_replaced_root:
        raise IndeterminateError(
            Reason.TIME_UNPROVEN,
            message,
            hint="If you are sure of the time, and that no key of the older root was stolen, say so with "
            "--accept-replaced-root.",
        )
    return (f"{message} You accept that.",)


def _own_trust(snapshot: Path, bundle: bytes, at: int) -> Trust:
    """Returns this machine's trust, where it is still the one under which the approvers decided."""
    trust = load_trust(snapshot)
    for role, version in parse_bundle(bundle).trust_versions.items():
        if role not in _ONLINE_ROLES and trust.versions.get(role) != version:
            raise IndeterminateError(
                Reason.TRUST_UNAVAILABLE,
                f"The approvers decided under {role} version {version}, which neither the bundle carries nor "
                "this machine has.",
                expected=version,
                actual=trust.versions.get(role, 0),
                hint="`placet trust attach BUNDLE --from WHERE` brings along what was published then.",
            )
    if at >= trust.expires_at:
        raise IndeterminateError(
            Reason.TRUST_EXPIRED,
            f"This machine's trust was valid until {format_time(trust.expires_at)}, before that time.",
            hint="`placet trust attach BUNDLE --from WHERE` brings along what was published then.",
        )
    return trust


def _known_root(args: argparse.Namespace, snapshot: Path) -> str:
    digest: str | None = args.root_sha256
    if digest is None:
        from placet.adapters.tuf.refresh import first_root_of

        return sha256_hex(first_root_of(snapshot.with_suffix(".tuf")))
    return digest

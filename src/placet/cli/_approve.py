"""The flow of `placet approve`: find, verify, show in full, ask, sign, report, keep."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from placet.adapters.fido.ssh_keygen import SshKeygenAuthenticator
from placet.ceremony.decide import Review, check_trust_current, deny, make_answer, message, prepare
from placet.ceremony.publish import Progress, assemble
from placet.cli import EXIT_ALLOW, EXIT_DENY, UserError
from placet.cli._approve_link import second_touch
from placet.cli._evidence import evidence_verifier
from placet.cli._relay import open_relay, relay_failed, relay_settings
from placet.cli._shared import load_trust, now
from placet.cli._terminal_files import load_identity, open_history, outbox
from placet.core.bundle import IntentRequest
from placet.core.decode import read_hex_digest
from placet.core.encoding import is_hex
from placet.core.errors import PlacetError, Reason
from placet.core.sshsig import NAMESPACE_INTENT, key_id
from placet.core.trust import Trust
from placet.ports.authenticator import AuthenticatorError
from placet.ports.request_store import RequestState
from placet.terminal.desk import NOTHING_LEFT
from placet.terminal.history import Decision, History
from placet.terminal.progress import describe_outcome
from placet.terminal.readiness import check_terminal
from placet.terminal.screen import build_screen, describe_changes
from placet.terminal.sources import Delivery, FileSource, Pending, Source, read_request_file
from placet.terminal.text import digest_lines, render_text, wrap
from placet.terminal.touch import NOTHING_SIGNED

DEFAULT_KEYS = ("id_ed25519_sk", "id_ecdsa_sk")
RENDERER = "placet-approve/1"
_ASK_AGAIN = "There is nothing to decide. Whoever still needs it can ask again."
_HINTS = {
    Reason.EXPIRED: _ASK_AGAIN,
    Reason.USER_VERIFICATION_MISSING: (
        "Set a PIN on the key, and make a new SSH key with -O verify-required; then have it enrolled."
    ),
}


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    trust, identity, history = load_trust(args.trust), load_identity(), open_history()
    evidence = evidence_verifier(args.trust)
    with _meaning(NOTHING_SIGNED):
        # Asked first: nobody should read a request and touch a key for nothing.
        check_trust_current(trust, now())
        check_terminal(trust, identity)
        source, pending = _find(args)
        review = prepare(pending.request, trust=trust, now=now(), evidence=evidence)
        progress = assemble(pending.request, pending.answers, trust=trust, now=now(), evidence=evidence)
        authenticator = SshKeygenAuthenticator(_key_file(args.key))
        word = "deny" if args.deny else "approve"
        _check_key(authenticator.wire, trust, history, progress, _chosen(review, word))
        last = history.last_approval(review.statement, review.request.id)
        print(render_text(build_screen(review, progress, last, now()), colour=_colour(sys.stdout)))
        shown_at = time.monotonic()
        if not _typed(word, _chosen(review, word)):
            print(NOTHING_SIGNED)
            return EXIT_DENY
        # Judged again: reading takes time, and the request may have expired meanwhile.
        chosen = _chosen(prepare(pending.request, trust=trust, now=now(), evidence=evidence), word)
        print("Touch your key when it blinks.", flush=True)
        sshsig = authenticator.sign(NAMESPACE_INTENT, message(chosen))
    with _meaning("Nothing was signed that counts, and nothing was sent."):
        answer, person, facts = make_answer(
            chosen,
            sshsig=sshsig,
            trust=trust,
            terminal=identity,
            decided_at=now(),
            seconds_on_screen=int(time.monotonic() - shown_at),
            renderer=RENDERER,
            changes=describe_changes(last, review.statement),
        )
    answer = second_touch(chosen, answer, authenticator, trust=trust, now=now, colour=_colour(sys.stdout))
    destination = source.destination(pending.request)
    made = Decision(now(), word, person.id, facts.keyid, pending.request.id, destination, answer)
    delivery = source.deliver(pending.request, answer, trust=trust, now=now())
    history.append(made)
    progress = assemble(
        pending.request, (*pending.answers, answer), trust=trust, now=now(), evidence=evidence
    )
    _say_done(made, delivery, progress)
    return EXIT_ALLOW if delivery.state != "refused" else EXIT_DENY


@contextmanager
def _meaning(text: str) -> Iterator[None]:
    """Adds to a refusal what it means for the approval."""
    try:
        yield
    except AuthenticatorError as e:
        # Below and not behind it: its last words may be a command, to be copied.
        raise UserError(str(e), text) from e
    except PlacetError as e:
        hint = _HINTS.get(e.reason, e.hint)
        raise type(e)(e.reason, f"{e} {text}", hint=hint, causes=e.causes) from e


def _chosen(review: Review, word: str) -> Review:
    return deny(review) if word == "deny" else review


def _find(args: argparse.Namespace) -> tuple[Source, Pending]:
    """Finds the request in its file, or at the relay."""
    path = Path(args.request)
    by_id = is_hex(args.request, 64) and not path.exists()
    if not by_id and not path.is_file():
        problem = "is no file" if path.exists() else "is not there"
        raise UserError(
            f"The request {path} {problem}. {NOTHING_SIGNED}",
            "Name the *.request.json file, or the request's ID of 64 characters as it was printed.",
        )
    if not by_id and args.relay is None:
        source = FileSource([path], args.bundle, evidence=evidence_verifier(args.trust))
        request = read_request_file(path)
        found = source.pending().get(request.id)
        if found is None:
            (trouble,) = source.troubles()
            raise UserError(f"{trouble.message} {NOTHING_SIGNED}", trouble.hint)
        return source, found
    if args.bundle is not None:
        raise UserError(
            "--bundle goes with a request file.", "`placet request --wait` writes the relay's bundle."
        )
    return _find_at_relay(args, None if by_id else read_request_file(path))


def _find_at_relay(args: argparse.Namespace, request: IntentRequest | None) -> tuple[Source, Pending]:
    settings = relay_settings(args.relay)
    asked = read_hex_digest(args.request, "") if request is None else request.id
    with open_relay(args.relay) as client:
        # Only now: where the library is missing, opening has said so.
        from placet.client import RelayClientError
        from placet.terminal.relay_source import RelaySource

        try:
            relayed = client.fetch(asked)
        except RelayClientError as e:
            raise relay_failed(e, NOTHING_SIGNED) from e
    if relayed.state is not RequestState.OPEN:
        what = "was withdrawn" if relayed.state is RequestState.WITHDRAWN else "has expired"
        raise UserError(f"The relay says that this request {what}. {NOTHING_SIGNED}", _ASK_AGAIN)
    source = RelaySource(settings.url, outbox(), token=settings.token, ca_file=settings.ca_file)
    return source, Pending(relayed.request, relayed.answers)


def _key_file(given: Path | None) -> Path:
    if given is not None:
        return given
    folder = Path.home() / ".ssh"
    for name in DEFAULT_KEYS:
        if (folder / name).exists():
            return folder / name
    raise UserError(
        f"There is no OpenSSH FIDO key in {folder}. {NOTHING_SIGNED}",
        "Name one with --key. One is made with: ssh-keygen -t ed25519-sk -O verify-required "
        "-O application=ssh:placet:<deployment>",
    )


def _check_key(wire: bytes, trust: Trust, history: History, progress: Progress, chosen: Review) -> None:
    """Refuses a key that would change nothing, before a person reads and touches for nothing."""
    keyid = key_id(wire)
    if keyid not in trust.credentials:
        raise UserError(
            f"This key belongs to nobody in the trust root. {NOTHING_SIGNED}",
            "Have it enrolled (`placet trust enroll`), then refresh trust here.",
        )
    done = set(history.deciders(chosen.statement.payload))
    if chosen.statement.decision == "approve":
        done |= {approver.keyid for approver in progress.approvers}
    if keyid in done:
        person = trust.credentials[keyid][0].id
        raise UserError(
            f"The key of {person} has already made this very decision. {NOTHING_SIGNED}", NOTHING_LEFT
        )


def _typed(word: str, chosen: Review) -> bool:
    """Asks for the word in full; the end of input, or anything else, is a no."""
    print("\n".join(wrap(f"Your key will sign: {chosen.view.text}", "")))
    print("\n".join(digest_lines("Request", chosen.request.id)))
    print(f"Type {word} to {word} with your key, anything else to stop: ", end="", flush=True)
    line = sys.stdin.readline()
    if not line.endswith("\n"):
        print()
    return line.strip() == word


def _colour(stream: object) -> bool:
    is_terminal = getattr(stream, "isatty", lambda: False)()
    return bool(is_terminal) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _say_done(made: Decision, delivery: Delivery, progress: Progress) -> None:
    verb = "APPROVED" if made.decision == "approve" else "DENIED"
    print(f"\n{verb} by {made.person}")
    print("\n".join(digest_lines("Request", made.request_id, "  ")))
    if made.decision == "deny":
        # A denial signs other bytes than the request's own.
        print("\n".join(digest_lines("Denial ", made.statement().payload_digest, "  ")))
    print("\n".join(digest_lines("Record ", made.record, "  ")))
    if made.answer.link is not None:
        print("  With the in-toto link, signed by your second touch.")
    # Not wrapped: it may end in a path, to be copied.
    print(f"  {delivery.text}")
    for text in describe_outcome(made.decision, progress):
        print("\n".join(wrap(text, "  ")))
    if delivery.state == "kept":
        print("  Start `placet terminal`; it sends what is kept when the relay takes it.")

"""The flow of `placet approve`: find, verify, show in full, ask, sign, report, keep."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from placet.adapters.ssh_keygen import SshKeygenAuthenticator
from placet.ceremony.decide import deny, make_answer, message, prepare
from placet.ceremony.publish import Progress, assemble
from placet.cli import EXIT_ALLOW, EXIT_DENY, UserError
from placet.cli._shared import load_trust, now, setting
from placet.cli._terminal_files import load_identity, open_history, outbox
from placet.core.bundle import IntentRequest
from placet.core.decode import read_hex_digest
from placet.core.encoding import is_hex
from placet.core.sshsig import NAMESPACE_INTENT, key_id
from placet.core.trust import Trust
from placet.ports.authenticator import AuthenticatorError
from placet.terminal.history import Decision
from placet.terminal.progress import describe_level
from placet.terminal.screen import build_screen, describe_changes, group_digest
from placet.terminal.sources import Delivery, FileSource, Pending, Source, read_request_file
from placet.terminal.text import render_text, wrap

DEFAULT_RELAY = "http://127.0.0.1:8471"
DEFAULT_KEYS = ("id_ed25519_sk", "id_ecdsa_sk")
RENDERER = "placet-approve/1"
NOTHING = "Nothing was signed and nothing was sent."


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    trust, identity, history = load_trust(args.trust), load_identity(), open_history()
    source, pending = _find(args)
    review = prepare(pending.request, trust=trust, now=now())
    progress = assemble(pending.request, pending.answers, trust=trust, now=now())
    last = history.last_approval(review.statement.action_type, review.statement.target)
    word = "deny" if args.deny else "approve"
    try:
        authenticator = SshKeygenAuthenticator(_key_file(args.key))
        _check_key(authenticator.wire, trust)
        print(render_text(build_screen(review, progress, last, now()), colour=_colour(sys.stdout)))
        shown_at = time.monotonic()
        if not _typed(word, (deny(review) if args.deny else review).view.text):
            print(NOTHING)
            return EXIT_DENY
        # Judged again: reading takes time, and the request may have expired meanwhile.
        review = prepare(pending.request, trust=trust, now=now())
        chosen = deny(review) if args.deny else review
        print("Touch your key when it blinks.", flush=True)
        sshsig = authenticator.sign(NAMESPACE_INTENT, message(chosen))
    except AuthenticatorError as e:
        raise UserError(f"{e} {NOTHING}") from e
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
    destination = source.destination(pending.request)
    made = Decision(now(), word, person.id, facts.keyid, pending.request.id, destination, answer)
    delivery = source.deliver(pending.request, answer, trust=trust, now=now())
    history.append(made)
    progress = assemble(pending.request, (*pending.answers, answer), trust=trust, now=now())
    _say_done(made, delivery, progress)
    return EXIT_ALLOW if delivery.state != "refused" else EXIT_DENY


def _find(args: argparse.Namespace) -> tuple[Source, Pending]:
    """Finds the request in its file, or at the relay."""
    path = Path(args.request)
    by_id = is_hex(args.request, 64) and not path.exists()
    if not by_id and args.relay is None:
        source = FileSource([path], args.bundle)
        request = read_request_file(path)
        found = source.pending().get(request.id)
        if found is None:
            (trouble,) = source.troubles()
            raise UserError(trouble.message, trouble.hint)
        return source, found
    if args.bundle is not None:
        raise UserError(
            "--bundle goes with a request file.", "`placet request --wait` writes the relay's bundle."
        )
    return _find_at_relay(args, None if by_id else read_request_file(path))


def _find_at_relay(args: argparse.Namespace, request: IntentRequest | None) -> tuple[Source, Pending]:
    # Imported here: deciding about a file needs no HTTP library.
    from placet.adapters.relay_client import RelayClient, RelayClientError
    from placet.terminal.relay_source import RelaySource

    url = setting(args.relay, "relay") or DEFAULT_RELAY
    try:
        with RelayClient(url) as client:
            asked = read_hex_digest(args.request, "") if request is None else request.id
            relayed = client.fetch(asked)
        return RelaySource(url, outbox()), Pending(relayed.request, relayed.answers)
    except RelayClientError as e:
        raise UserError(f"{e.message} {NOTHING}", e.hint) from e


def _key_file(given: Path | None) -> Path:
    if given is not None:
        return given
    folder = Path.home() / ".ssh"
    for name in DEFAULT_KEYS:
        if (folder / name).exists():
            return folder / name
    raise UserError(
        f"There is no OpenSSH FIDO key in {folder}. {NOTHING}",
        "Name one with --key. One is made with: ssh-keygen -t ed25519-sk -O verify-required "
        "-O application=ssh:placet:<deployment>",
    )


def _check_key(wire: bytes, trust: Trust) -> None:
    """Refuses a key that would not count, before a person reads and touches for nothing."""
    if key_id(wire) not in trust.credentials:
        raise UserError(
            f"This key belongs to nobody in the trust root. {NOTHING}",
            "Have it enrolled (`placet trust enroll`), then refresh trust here.",
        )


def _typed(word: str, text: str) -> bool:
    """Asks for the word in full; the end of input, or anything else, is a no."""
    print("\n".join(wrap(f"Your key will sign: {text}", "")))
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
    print(f"  Signed, SHA-256: {' '.join(group_digest(made.statement().payload_digest))}")
    print(f"  Record, SHA-256: {' '.join(group_digest(made.record))}")
    for text in (delivery.text, *describe_level(progress)):
        print("\n".join(wrap(text, "  ")))
    if delivery.state == "kept":
        print("  Start `placet terminal` when the relay is back; it sends what is kept.")

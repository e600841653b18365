"""``placet trust sign``: an administrator sees what changes, types the new keys' fingerprints, and signs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from placet.cli import UserError
from placet.cli._shared import load_trust, now, root_digest
from placet.cli.trust.shared import add_repository, open_repository

if TYPE_CHECKING:
    from placet.adapters.tuf.repository import TrustRepository
    from placet.ceremony.new_keys import NewKey
    from placet.core.encoding import Digest
    from placet.terminal.trust_session import TrustSession

# Whoever mishears three times in a row asks again, calmly.
_TRIES = 3


def configure(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command's arguments."""
    sign = commands.add_parser("sign", help="see what changes, and sign it")
    sign.description = (
        "Shows what changes, rendered from the very bytes that are signed, and who has signed. With --as and "
        "--key it signs: for each newly enrolled key you type the fingerprint that its holder reads aloud."
    )
    sign.add_argument("--as", dest="person", metavar="ADMIN", help="the administrator who signs")
    sign.add_argument("--key", type=Path, metavar="FILE", help="their OpenSSH FIDO key")
    add_signing(sign)
    sign.add_argument("--yes", action="store_true", help="do not ask before signing (fingerprints are asked)")
    sign.add_argument(
        "--fingerprint",
        action="append",
        default=[],
        metavar="HOLDER=WORDS",
        help="a new key's fingerprint, as its holder (a person's ID, a terminal's name) read it to you",
    )
    sign.add_argument(
        "--renew", action="store_true", help="prepare root and targets with new expiry dates first"
    )
    sign.add_argument("--json", action="store_true", help="for programs; what people read goes to stderr")
    add_repository(sign)


def add_signing(parser: argparse.ArgumentParser) -> None:
    """Declares where the change comes from and where signatures go, as page and command share it."""
    parser.add_argument(
        "--challenge",
        metavar="FILE|DIR|URL",
        help="sign what `placet trust export` wrote there (https:// and git+https:// as well)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="where the signatures go (default: beside the challenge)"
    )
    parser.add_argument(
        "--root-sha256",
        type=root_digest,
        metavar="HEX",
        help="the root's SHA-256, told by another administrator; needed once",
    )


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    from placet.adapters.fido.ssh_keygen import SshKeygenAuthenticator
    from placet.adapters.tuf.signing import pending_roles

    if (args.key is None) != (args.person is None):
        raise UserError("Signing needs both the administrator and their key.", "As in: --as alice --key FILE")
    told = [_read_told(text) for text in args.fingerprint]
    say = sys.stderr if args.json else sys.stdout
    with open_source(args) as repository:
        if args.renew:
            _renew(args, repository)
        if not pending_roles(repository):
            text = (
                "Nothing waits for signatures. Next: `placet trust publish` renews the timestamp, if need be."
            )
            print(text, file=say)
            return _finish(args, None, (), "")
        session = open_session(args, repository)
        authenticator = None if args.key is None else SshKeygenAuthenticator(args.key)
        own = None if authenticator is None else session.check_key(authenticator.wire)
        _show_change(session, own, say)
        for holder, words in told:
            session.fingerprints.type_for(holder, words)
        signed: tuple[str, ...] = ()
        where = ""
        if authenticator is not None and own is not None:
            _ask_fingerprints(session, own, say)
            if session.left() and not args.yes and not _confirmed(args.person, say):
                print("Nothing was signed.", file=say)
                return 1
            try:
                signed = session.sign(authenticator)
            finally:
                where = deliver(args, session)
            said = (
                f"{args.person} has signed {' and '.join(signed)}."
                if signed
                else f"{args.person} had signed."
            )
            print(said, file=say)
        _say_next(args, session, where, say)
        return _finish(args, session, signed, where)


def _read_told(text: str) -> tuple[str, str]:
    holder, equals, words = text.rpartition("=")
    if not (holder and equals and words):
        raise UserError(
            f"{text[:80]!r} is not HOLDER=WORDS.", 'As in: --fingerprint zoe@example.com="topmost Istanbul …"'
        )
    return holder, words


def _renew(args: argparse.Namespace, repository: TrustRepository) -> None:
    if args.challenge is not None:
        raise UserError("A challenge is signed as it is.", "The coordinator renews, and exports it again.")
    repository.renew(now=now())


@contextmanager
def open_source(args: argparse.Namespace) -> Iterator[TrustRepository]:
    """Opens the working repository, or what a challenge becomes on this machine, for as long as it takes.

    Raises:
        PlacetError: there is none, or it is no challenge.
    """
    if args.challenge is None:
        yield open_repository(args)
        return
    import tempfile

    from placet.adapters.tuf.ceremony_box import open_box
    from placet.adapters.tuf.exchange import MAX_CHALLENGE_BYTES, open_challenge
    from placet.core.errors import MalformedError, Reason

    data = open_box(args.challenge, mailbox_cache()).read_challenge(MAX_CHALLENGE_BYTES)
    if args.challenge.startswith("http://"):
        print("Note: whoever listens on this network can read the challenge along.", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="placet-challenge-") as folder:
        try:
            yield open_challenge(data, Path(folder))
        except FileNotFoundError as e:
            if not Path(str(e.filename)).is_relative_to(folder):
                raise
            raise MalformedError(
                Reason.BAD_TRUST,
                f"The challenge lacks {Path(str(e.filename)).relative_to(folder)}.",
                hint="Somebody cut it. Sign nothing, and have the coordinator export it again.",
            ) from e


def mailbox_cache() -> Path:
    """Where git repositories that are used as mailboxes are kept."""
    from placet.adapters.paths import state_dir

    return state_dir() / "mailbox"


def open_session(args: argparse.Namespace, repository: TrustRepository) -> TrustSession:
    """Judges a change as this machine knows the trust root.

    Raises:
        PlacetError: as `TrustSession`.
    """
    from placet.adapters.fido.attestation import FidoAttestationVerifier
    from placet.adapters.tuf.anchor import TrustAnchors
    from placet.terminal.trust_session import TrustSession

    return TrustSession(
        repository,
        args.person,
        anchors=TrustAnchors(followed=_followed()),
        verifier=FidoAttestationVerifier(),
        now=now(),
        root_sha256=args.root_sha256,
    )


def _followed() -> dict[str, Digest]:
    """Returns the first root of the trust that this machine refreshes, which a person told it."""
    from placet.adapters.paths import snapshot_path
    from placet.adapters.tuf.refresh import first_root_of
    from placet.core.encoding import sha256_hex
    from placet.core.errors import PlacetError

    kept = snapshot_path().with_suffix(".tuf")
    try:
        if kept.is_dir() and kept.stat().st_mode & 0o022:
            return {}  # others can write there
        return {load_trust(None).deployment.name: sha256_hex(first_root_of(kept))}
    except (PlacetError, UserError):
        return {}  # then it is told with --root-sha256


def deliver(args: argparse.Namespace, session: TrustSession) -> str:
    """Writes what was signed of a challenge to where it is collected; returns where it lies, "" if nowhere.

    Raises:
        PlacetError: it cannot be written there; a copy is kept on this machine, and the error says where.
    """
    if args.challenge is None or session.person is None:
        return ""
    from placet.adapters.paths import state_dir
    from placet.adapters.tuf.ceremony_box import FileBox, FolderBox, open_box, signatures_name
    from placet.adapters.tuf.exchange import encode_signatures
    from placet.core.errors import IndeterminateError, PlacetError

    mine = {keyid for item in session.pending() for keyid in session.keys_of(item.role) & item.signed_keys}
    if not mine:
        return ""
    data, name = encode_signatures(session.repository, mine), signatures_name(session.person)
    kept = FolderBox(state_dir() / "trust-signatures").write_signatures(name, data)
    try:
        if args.out is not None:
            out: Path = args.out / name if args.out.is_dir() else args.out
            return FileBox(out).write_signatures(out.name, data)
        box = open_box(args.challenge, mailbox_cache())
        if not box.takes_files:
            return FolderBox(Path()).write_signatures(name, data)
        return box.write_signatures(name, data)
    except PlacetError as e:
        raise IndeterminateError(
            e.reason,
            f"It is signed, and the signatures did not get there: {e.message}",
            hint=f"They are kept in {kept}: bring that file to the coordinator in any way.",
        ) from e


def _show_change(session: TrustSession, own: str | None, say: TextIO) -> None:
    """Prints what the bytes that are about to be signed mean."""
    from placet.ceremony.trust_change import change_lines, group_digits
    from placet.core.encoding import KeyId, format_time, sha256_hex

    for item in session.review.pending:
        print(f"{item.role} version {item.version}, valid until {format_time(item.expires_at)}", file=say)
        print(f"    SHA-256 of what is signed: {group_digits(sha256_hex(item.message))}", file=say)
    print(file=say)
    for sentence in session.review.compared_with:
        print(sentence, file=say)
    print("What changes (+ new, - gone, ~ different):", file=say)
    changes = session.changes(None if own is None else KeyId(own))
    for line in change_lines(changes) or ["nothing but versions and dates"]:
        print(f"  {line}", file=say)
    for keyid, evidence in session.evidence.items():
        if keyid not in {key.keyid for key in session.fingerprints.keys}:
            print(f"  a key that is known: {evidence.kind}. {' '.join(evidence.sentences)}", file=say)
    if session.fingerprints.keys:
        print("New keys:", file=say)
        for key in session.fingerprints.keys:
            print("\n".join(f"  {line}" for line in _new_key_lines(session, key, own)), file=say)
    print(file=say)


def _new_key_lines(session: TrustSession, key: NewKey, own: str | None) -> list[str]:
    from placet.core.encoding import KeyId

    lines = [f"{key.holder}, {key.purpose}"]
    if own is not None and session.fingerprints.is_own(key, {KeyId(own)}):
        lines[0] += "; it is the key that signs here"
    elif key in session.fingerprints.left():
        lines.append(f"  key {session.fingerprints.show(key)} (the beginning is to be typed)")
    evidence = session.evidence_of(key)
    if evidence is not None:
        lines += [f"  {evidence.kind}", *(f"    {sentence}" for sentence in evidence.sentences)]
    return lines


def _ask_fingerprints(session: TrustSession, own: str, say: TextIO) -> None:
    """Asks for every fingerprint that was not given; nothing skips this."""
    from placet.ceremony.fingerprint import SPOKEN_DIGITS
    from placet.ceremony.trust_change import group_digits
    from placet.core.encoding import KeyId

    left = session.fingerprints.left({KeyId(own)})
    if left and not sys.stdin.isatty():
        holders = ", ".join(key.holder for key in left)
        raise UserError(
            f"New keys are enrolled here, and their fingerprints were not typed: {holders}.",
            "Have each holder read it aloud, and type it at a terminal; or give what you heard, as in: "
            f'--fingerprint {left[0].holder}="…"',
        )
    if left:
        print("Call each holder, on a line on which you know their voice. They read from their own", file=say)
        print(
            f"screen: ten words, or {SPOKEN_DIGITS} digits. A terminal's: `placet terminal show`.", file=say
        )
    for key in session.fingerprints.keys:
        if key in left:
            _ask_fingerprint(session, key, say)
        # At once, while the person is still on the line.
        if key not in session.fingerprints.left():
            print(f"Fits: {key.holder}, key {group_digits(key.keyid)}", file=say)


def _ask_fingerprint(session: TrustSession, key: NewKey, say: TextIO) -> None:
    from placet.core.errors import PlacetError

    for tries in range(_TRIES):
        print(f"\nFingerprint of {key.holder} ({key.purpose}): ", end="", file=say, flush=True)
        typed = sys.stdin.readline()
        try:
            session.fingerprints.type(key, typed)
        except PlacetError as e:
            if tries == _TRIES - 1 or not typed:
                print("\nNothing was signed.", file=say)
                raise
            print(f"{e.message}\n  {e.hint}", file=say)
        else:
            return


def _confirmed(person: str, say: TextIO) -> bool:
    if not sys.stdin.isatty():
        raise UserError("This needs a confirmation, and there is no terminal to ask at.", "Add --yes.")
    prompt = f"Sign exactly this as {person}? Type `sign`, then touch your key: "
    print(prompt, end="", file=say, flush=True)
    return sys.stdin.readline().strip() == "sign"


def _say_next(args: argparse.Namespace, session: TrustSession, where: str, say: TextIO) -> None:
    from placet.adapters.tuf.state import is_complete, state_lines

    pending = session.pending()
    for line in state_lines(pending):
        print(line, file=say)
    if where:
        print(f"Your signatures: {where}", file=say)
        print("Next: the coordinator runs `placet trust collect` where they lie.", file=say)
    elif args.challenge is not None:
        print("Next: `placet trust sign --challenge … --as ID --key FILE`.", file=say)
    elif is_complete(pending):
        print("Next: `placet trust publish`.", file=say)
    else:
        print("Next: each who is missing runs `placet trust sign --as ID --key FILE`.", file=say)


def _finish(
    args: argparse.Namespace, session: TrustSession | None, signed: tuple[str, ...], where: str
) -> int:
    if args.json:
        from placet.adapters.tuf.state import state_object

        value = {
            "signed": list(signed),
            "signatures": where or None,
            "pending": [] if session is None else state_object(session.pending()),
            "newKeys": [] if session is None else _keys_object(session),
        }
        print(json.dumps(value, indent=2))
    return 0


def _keys_object(session: TrustSession) -> list[dict[str, object]]:
    left = session.fingerprints.left()
    return [
        {
            "holder": key.holder,
            "purpose": key.purpose,
            "typed": key not in left,
            "evidence": found.kind if (found := session.evidence_of(key)) else None,
        }
        for key in session.fingerprints.keys
    ]

"""What commands about checkpoints share: where one comes from, and whether its log signed it."""

from __future__ import annotations

import argparse

from placet.cli import UserError
from placet.cli._shared import load_trust, name_file, read_file, setting
from placet.core.bundle import MAX_BUNDLE_BYTES
from placet.core.errors import PlacetError, PolicyError, Reason
from placet.core.tlog.checkpoint import Checkpoint, parse_checkpoint, verify_parsed
from placet.core.tlog.log_policy import MAX_POLICY_BYTES, parse_log_policy
from placet.core.tlog.note import VerifierKey, parse_note
from placet.documents.checkpoints import checkpoint_in


def configure_checkpoint(parser: argparse.ArgumentParser, *, may_fetch: bool) -> None:
    """Declares the checkpoint, and where its log's key stands."""
    what = "a log's checkpoint, or a log proof or approval that holds one"
    if may_fetch:
        parser.add_argument("checkpoint", nargs="?", metavar="CHECKPOINT", help=what)
        parser.add_argument("--log", metavar="URL", help="fetch the log's newest checkpoint instead")
    else:
        parser.add_argument("checkpoint", metavar="CHECKPOINT", help=what)
    parser.add_argument(
        "--log-policy", metavar="FILE", help="names the log's key (default: the trust root's log policy)"
    )
    parser.add_argument("--trust", metavar="SNAPSHOT", help="the trust snapshot with that policy")


def read_checkpoint(args: argparse.Namespace) -> bytes:
    """Returns the checkpoint that the command was given, or fetches it; nothing in it is verified.

    Raises:
        UserError: none was named, or two.
        PlacetError: the file holds no checkpoint, or the log cannot be asked.
    """
    url = getattr(args, "log", None)
    if (url is None) == (args.checkpoint is None):
        raise UserError("Which checkpoint?", "Name a file, or the log's address with --log.")
    if url is None:
        try:
            return checkpoint_in(read_file(args.checkpoint, "checkpoint", MAX_BUNDLE_BYTES))
        except PlacetError as e:
            raise name_file(e, args.checkpoint) from e
    from placet.cli._log_ask import open_log

    return open_log(url, trust=None, ca_file=getattr(args, "ca_file", None)).fetch_checkpoint()


def verify_log_signature(note: bytes, args: argparse.Namespace) -> Checkpoint:
    """Verifies that a log of the policy signed a checkpoint.

    Raises:
        MalformedError: it is no checkpoint.
        VerificationError: the log did not sign it.
        PolicyError: LOG_UNKNOWN.
        IndeterminateError: TRUST_UNAVAILABLE.
    """
    parsed = parse_note(note)
    return verify_parsed(parsed, _find_log_key(parse_checkpoint(parsed.text).log_origin, args))


def describe_signature(note: bytes, args: argparse.Namespace) -> str:
    """Verifies a log's signature where its key is known here; returns what is known of it.

    Raises:
        PlacetError: the key is known, and the log did not sign the checkpoint.
    """
    try:
        verify_log_signature(note, args)
    except PlacetError as e:
        if args.log_policy or e.reason not in (Reason.LOG_UNKNOWN, Reason.TRUST_UNAVAILABLE):
            raise
        return "not checked: no log policy here names the log's key"
    return "verified"


def _find_log_key(origin: str, args: argparse.Namespace) -> VerifierKey:
    if args.log_policy:
        logs = parse_log_policy(read_file(args.log_policy, "log policy", MAX_POLICY_BYTES)).logs
    else:
        policy = load_trust(setting(args.trust, "trust")).log_policy
        logs = policy.logs if policy else ()
    for log in logs:
        if log.key.name == origin:
            return log.key
    raise PolicyError(
        Reason.LOG_UNKNOWN,
        f"{args.log_policy or 'The trust root'} does not name the log {origin}.",
        hint="Name a policy that does with --log-policy: a line `log <key> <address>`.",
    )

"""``placet log show|proof|attach|append|publish-trust|tiles``: what is asked of a log."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from placet.adapters.log_client import LogClient
from placet.cli import EXIT_ALLOW, UserError
from placet.cli._log_trust import log_trust
from placet.cli._shared import load_trust, name_file, read_file, setting
from placet.core.bundle import MAX_BUNDLE_BYTES, IntentBundle, LogProof, encode_answer, parse_bundle
from placet.core.encoding import Digest, format_time, is_hex, sha256_hex
from placet.core.errors import (
    IndeterminateError,
    MalformedError,
    PlacetError,
    PolicyError,
    Reason,
    visible,
)

if TYPE_CHECKING:
    from placet.core.bundle import Answer
    from placet.core.tlog.log_policy import LogPolicy
    from placet.core.tlog.proof import VerifiedInclusion, WitnessedCheckpoint

DEFAULT_LOG = "http://127.0.0.1:8472"
_MAX_WAIT = 60
_RECORDS = "Records are people's answers, gates' signed uses, and trust changes (docs/how-to-run-a-log.md)."


class _Decision(NamedTuple):
    """One decision of an approval, as a log knows it."""

    signature: Digest
    leaf_hash: bytes
    answer: Answer


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    if not 0 <= getattr(args, "wait", 0) <= _MAX_WAIT:
        raise UserError(f"--wait is a number of seconds from 0 to {_MAX_WAIT}.")
    match args.log_command:
        case "show":
            return _show(args)
        case "proof":
            return _proof(args)
        case "attach":
            return _attach(args)
        case "append":
            return _append(args)
        case "tiles":
            return _copy_tiles(args)
        case _:
            return log_trust(_open(args), args.folder)


def open_log(url: str | None, *, trust: str | None, ca_file: str | None) -> LogClient:
    """Returns the client of the log that was named, or set, or that the trust root names, or of this machine.

    Raises:
        UserError: a setting cannot be used.
        MalformedError: BAD_VALUE: no log can be at this address.
    """
    chosen = setting(url, "log") or _address_in_trust(trust) or DEFAULT_LOG
    token = os.environ.get("PLACET_LOG_TOKEN") or None
    return LogClient(chosen, ca_file=ca_file or setting(None, "log_ca_file"), token=token)


def _address_in_trust(path: str | None) -> str:
    try:
        policy = load_trust(path).log_policy
    except PlacetError:
        if path is not None:
            raise
        return ""
    return next((entry.url for entry in policy.logs if entry.url), "") if policy is not None else ""


def _open(args: argparse.Namespace) -> LogClient:
    return open_log(args.log, trust=args.trust, ca_file=args.ca_file)


def _policy(args: argparse.Namespace) -> LogPolicy:
    policy = load_trust(args.trust).log_policy
    if policy is None:
        raise IndeterminateError(
            Reason.LOG_UNKNOWN,
            "The trust root names no log, so nothing that a log says can be checked.",
            hint="An administrator names it: placet trust set-file log-policy FILE. "
            "`placet log show --key VKEY` checks one by its key.",
        )
    return policy


def _policy_or_key(args: argparse.Namespace) -> LogPolicy:
    from placet.core.tlog.log_policy import LogEntryKey, LogPolicy
    from placet.core.tlog.note import parse_verifier_key

    if not args.key:
        return _policy(args)
    try:
        return LogPolicy((LogEntryKey(parse_verifier_key(args.key)),))
    except PlacetError as e:
        hint = "The log's operator has its key: placet log key"
        raise MalformedError(e.reason, f"{args.key} is no log's key. {e.message}", hint=hint) from e


def _verify_shown(note: bytes, policy: LogPolicy, args: argparse.Namespace) -> WitnessedCheckpoint:
    """Verifies the checkpoint that a log shows; one key that was named is no trust root."""
    from placet.core.tlog.proof import verify_witnessed

    try:
        return verify_witnessed(note, policy)
    except PolicyError as e:
        if not args.key:
            raise
        raise PolicyError(
            Reason.LOG_UNKNOWN,
            "The log at this address is not the one whose key you named.",
            expected=policy.logs[0].key.name,
            actual=e.actual,
            hint="Check the address and the key: its operator has both (placet log key).",
        ) from e


def _copy_tiles(args: argparse.Namespace) -> int:
    from placet.log.mirror import MirrorSource
    from placet.log.tiles_export import export_tiles

    policy, client = _policy_or_key(args), _open(args)
    note = client.fetch_checkpoint()
    checkpoint, _ = _verify_shown(note, policy, args)
    source = MirrorSource(client.fetch_tile, note, checkpoint)
    source.check_root()
    done = asyncio.run(export_tiles(source, args.folder))
    print(
        f"{args.folder} has {done.new_size} leaves of {visible(checkpoint.log_origin)}, "
        f"{done.new_size - done.old_size} of them new."
    )
    return EXIT_ALLOW


def _show(args: argparse.Namespace) -> int:
    policy = _policy_or_key(args)
    client = _open(args)
    checkpoint, times = _verify_shown(client.fetch_checkpoint(), policy, args)
    missing = _why_missing(client, [it.name for it in policy.witnesses if it.name not in times])
    if args.json:
        value = {
            "log": client.url,
            "origin": checkpoint.log_origin,
            "treeSize": str(checkpoint.tree_size),
            "rootHash": checkpoint.root_hash.hex(),
            "witnesses": {name: format_time(time) for name, time in sorted(times.items())},
            "quorum": policy.is_quorum(times),
            "missing": missing,
        }
        print(json.dumps(value, indent=2))
        return EXIT_ALLOW
    print(f"Log        {visible(checkpoint.log_origin)} at {visible(client.url)}")
    print(f"Leaves     {checkpoint.tree_size}")
    print(f"Root hash  {checkpoint.root_hash.hex()}")
    for name, time in sorted(times.items()):
        print(f"Witnessed  {format_time(time)} by {visible(name)}")
    for name, why in sorted(missing.items()):
        print(f"Missing    {visible(name)}: {visible(why)}")
    if policy.witnesses:
        enough = "is" if policy.is_quorum(times) else "is not"
        print(f"Quorum     {enough} met by the witnesses of this checkpoint")
    return EXIT_ALLOW


def _why_missing(client: LogClient, names: list[str]) -> dict[str, str]:
    """Returns why these witnesses have not cosigned the checkpoint, as far as the log says so."""
    if not names:
        return {}
    try:
        said = {it.name: it for it in client.fetch_health()}
    except PlacetError:
        # A log of others, or static files: its checkpoint was all that was asked for.
        said = {}
    return {
        name: "the log does not say why" if name not in said else said[name].problem or "is being asked"
        for name in names
    }


def _proof(args: argparse.Namespace) -> int:
    client = _open(args)
    if args.bundle is not None:
        decisions = _decisions(_read_bundle(args.bundle))
        found = {it.signature: client.fetch_proof(it.leaf_hash, wait=args.wait) for it in decisions}
        print(json.dumps(found, indent=2))
        return EXIT_ALLOW
    if not is_hex(args.leaf, 64):
        raise UserError(
            "A leaf's hash is 64 hexadecimal characters, in lower case.",
            "`placet audit` shows them; for an approval, use --bundle FILE.",
        )
    print(client.fetch_proof(bytes.fromhex(args.leaf), wait=args.wait), end="")
    return EXIT_ALLOW


def _attach(args: argparse.Namespace) -> int:
    from placet.adapters.private_file import write_atomically
    from placet.core.bundle import encode_bundle

    bundle, policy, client = _read_bundle(args.bundle), _policy(args), _open(args)
    kept = {proof.signature_digest: proof for proof in bundle.log}
    said = []
    for decision in _decisions(bundle):
        proof, found = _fetch_checked(client, decision, policy, args.wait)
        kept[decision.signature] = LogProof(decision.signature, proof)
        said.append(_describe(decision, found, policy))
    output = args.output or args.bundle
    # Replaced in one rename: an approval that was half written could not be asked for again.
    write_atomically(output, encode_bundle(bundle._replace(log=tuple(kept.values()))), mode=0o644)
    for line in said:
        print(line)
    print(f"Written to {output}.")
    return EXIT_ALLOW


def _fetch_checked(
    client: LogClient, decision: _Decision, policy: LogPolicy, wait: int
) -> tuple[str, VerifiedInclusion]:
    """Returns the proof of a decision, which is handed in first where the log does not have it."""
    from placet.adapters.log_calls import LogRefusedError
    from placet.core.tlog.proof import parse_proof, verify_proof

    try:
        proof = client.fetch_proof(decision.leaf_hash, wait=wait)
    except LogRefusedError as e:
        if e.log_reason != "unknown-leaf":
            raise
        client.append(encode_answer(decision.answer))
        proof = client.fetch_proof(decision.leaf_hash, wait=wait)
    return proof, verify_proof(parse_proof(proof), decision.leaf_hash, policy)


def _describe(decision: _Decision, found: VerifiedInclusion, policy: LogPolicy) -> str:
    (signature,) = decision.answer.envelope.signatures
    times = found.witness_times
    if policy.seen_by(times) is not None:
        seen = f"cosigned by {len(times)} of the witnesses, which are enough"
    elif times:
        seen = f"cosigned by {len(times)} of the witnesses, which are not enough yet for level 4"
    else:
        seen = "cosigned by no witness yet, so not enough for level 3: run this again later"
    return f"Key {signature.keyid[:12]}…: leaf {found.leaf_index} of {visible(found.log_origin)}, {seen}"


def _append(args: argparse.Namespace) -> int:
    from placet.core.tlog.leaf import leaf_hash
    from placet.core.tlog.records import MAX_RECORD_BYTES, leaf_of_record

    client = _open(args)
    # All are read before any is sent: half of them logged would be a riddle.
    records = [(path, read_file(path, "record", MAX_RECORD_BYTES)) for path in args.records]
    leaves = []
    for path, record in records:
        try:
            leaves.append(leaf_hash(leaf_of_record(record)))
        except PlacetError as e:
            raise MalformedError(e.reason, f"{path} is no record: {e}", hint=e.hint or _RECORDS) from e
    for (path, record), leaf in zip(records, leaves, strict=True):
        logged = client.append(record)
        new = "Logged" if logged.created else "Was logged"
        print(f"{new}: {path} is leaf {logged.leaf_index} with hash {leaf.hex()}")
    return EXIT_ALLOW


def _read_bundle(path: Path) -> IntentBundle:
    try:
        return parse_bundle(read_file(path, "approval", MAX_BUNDLE_BYTES))
    except PlacetError as e:
        raise name_file(e, path) from e


def _decisions(bundle: IntentBundle) -> Iterator[_Decision]:
    """Yields the decisions of an approval; a signature without a report is none that a log takes."""
    from placet.ceremony.publish import split_bundle
    from placet.core.tlog.leaf import leaf_hash
    from placet.core.tlog.records import leaf_of_record

    for answer in split_bundle(bundle):
        (signature,) = answer.envelope.signatures
        leaf = leaf_of_record(encode_answer(answer))
        yield _Decision(sha256_hex(signature.sig), leaf_hash(leaf), answer)

"""``placet log opentimestamps``: a checkpoint in Bitcoin, by way of the stock ``ots`` client."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from placet.cli import EXIT_ALLOW, HelpFormatter, UserError
from placet.cli._log_checkpoints import (
    configure_checkpoint,
    describe_signature,
    read_checkpoint,
    verify_log_signature,
)
from placet.cli._shared import read_file
from placet.cli.verify import GREEN, print_json, print_refusal, verdict_line
from placet.core.encoding import format_time
from placet.core.errors import IndeterminateError, PlacetError, Reason, visible
from placet.core.tlog.checkpoint import Checkpoint, parse_checkpoint
from placet.core.tlog.note import parse_note
from placet.documents.checkpoints import stamped_form
from placet.documents.opentimestamps import (
    MAX_PROOF_BYTES,
    BlockHeader,
    OtsProof,
    check_in_block,
    check_proof_of,
    parse_block_header,
    parse_proof,
)

DESCRIPTION = """\
Bring a log's checkpoint into the Bitcoin block chain, whose time nobody can turn back.

The stock `ots` client asks the calendars and writes the proof; nothing is sent from here.
"""
EXAMPLES = """\
examples:
  placet log opentimestamps prepare --log https://relay.example/log -o log-2026-11.checkpoint
  ots stamp log-2026-11.checkpoint                           (writes log-2026-11.checkpoint.ots)
  ots upgrade log-2026-11.checkpoint.ots                     (some hours later)
  placet log opentimestamps check log-2026-11.checkpoint.ots log-2026-11.checkpoint \\
    --block-header 0100000000…

exit codes: 0 done, or a block attests it, 1 it does not hold, 2 wrong usage, 3 nothing attests it yet
"""
_header_text = re.compile("[0-9a-fA-F]{160}").fullmatch
_root_text = re.compile("[0-9a-fA-F]{64}").fullmatch
_COMPARE = (
    "Take that block's header from a node (`bitcoin-cli getblockheader HASH false`) or its Merkle root from "
    "two block explorers, and call this again with --block-header or --block-merkle-root."
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares the commands and their arguments."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    commands = parser.add_subparsers(dest="ots_command", metavar="COMMAND", required=True)
    prepare = commands.add_parser(
        "prepare", help="write the file that `ots stamp` stamps", formatter_class=HelpFormatter
    )
    configure_checkpoint(prepare, may_fetch=True)
    prepare.add_argument("-o", "--output", required=True, type=Path, metavar="FILE", help="where it goes")
    prepare.add_argument("--ca-file", metavar="FILE", help="PEM file with the authority of its certificate")
    check = commands.add_parser("check", help="check a proof", formatter_class=HelpFormatter)
    check.add_argument("proof", metavar="PROOF.ots", help="what the `ots` client wrote")
    configure_checkpoint(check, may_fetch=False)
    block = check.add_mutually_exclusive_group()
    block.add_argument(
        "--block-header", metavar="HEX|FILE", help="the block's header: 80 bytes, or their hex"
    )
    block.add_argument("--block-merkle-root", metavar="HEX", help="the block's Merkle root")
    for command in (prepare, check):
        command.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    try:
        return _prepare(args) if args.ots_command == "prepare" else _check(args)
    except PlacetError as refusal:
        if not args.json:
            raise
        return print_refusal(refusal, as_json=True)


def _prepare(args: argparse.Namespace) -> int:
    from placet.adapters.private_file import write_atomically

    note = read_checkpoint(args)
    signature, content = describe_signature(note, args), stamped_form(note)
    checkpoint = parse_checkpoint(parse_note(note).text)
    write_atomically(args.output, content, mode=0o644)
    if args.json:
        print_json(_to_object(checkpoint) | {"file": str(args.output), "logSignature": signature})
        return EXIT_ALLOW
    name = visible(str(args.output))
    print(f"Wrote {name}: {visible(checkpoint.log_origin)} with {checkpoint.tree_size} entries.")
    print(f"  Log's own signature: {signature}")
    print(f"  Next: ots stamp {name}")
    return EXIT_ALLOW


def _check(args: argparse.Namespace) -> int:
    header, root = _read_block(args)
    note = read_checkpoint(args)
    proof = parse_proof(read_file(args.proof, "proof", MAX_PROOF_BYTES))
    checkpoint = verify_log_signature(note, args)
    check_proof_of(proof, stamped_form(note))
    if root is None or not proof.bitcoin:
        raise _nothing_compared(proof)
    attestation = check_in_block(proof, root)
    if args.json:
        time = {"time": format_time(header.time), "blockHash": header.block_hash} if header else {}
        block = {"height": str(attestation.height), "merkleRoot": root, **time}
        print_json({"verdict": "holds", **_to_object(checkpoint), "block": block})
        return EXIT_ALLOW
    sentence = f"{visible(checkpoint.log_origin)} with {checkpoint.tree_size} entries is in that block."
    print(verdict_line("HOLDS", GREEN, sentence))
    print(f"  Height  {attestation.height}")
    print(f"  Root    {root}")
    if header is None:
        print("  Time    that of the block; --block-header would tell it")
    else:
        print(f"  Hash    {header.block_hash}")
        print(f"  Time    {format_time(header.time)}, as the miner had it: some hours may be wrong")
    print("  Rests on the block being the one that the chain has at this height; compare it there.")
    return EXIT_ALLOW


def _nothing_compared(proof: OtsProof) -> IndeterminateError:
    """Returns what keeps a proof of the right checkpoint from proving a time."""
    if proof.bitcoin:
        named = " or ".join(f"{found.height} (Merkle root {found.merkle_root})" for found in proof.bitcoin)
        return IndeterminateError(
            Reason.TIME_UNPROVEN,
            f"The proof is about this checkpoint, and leads to the Bitcoin block at height {named}.",
            hint=_COMPARE,
        )
    calendars = ", ".join(proof.calendars) or "nobody"
    return IndeterminateError(
        Reason.TIME_UNPROVEN,
        f"The proof is about this checkpoint, and no Bitcoin block attests it yet: pending at {calendars}.",
        hint="Some hours after stamping: ots upgrade PROOF.ots. Then check again.",
    )


def _read_block(args: argparse.Namespace) -> tuple[BlockHeader | None, str | None]:
    if args.block_merkle_root is not None:
        if not _root_text(args.block_merkle_root):
            raise UserError("A Merkle root is 64 hexadecimal characters.", "Copy it from the block.")
        return None, args.block_merkle_root.lower()
    if args.block_header is None:
        return None, None
    if _header_text(args.block_header):
        content = bytes.fromhex(args.block_header)
    else:
        content = read_file(args.block_header, "block header", 200)
        text = content.strip()
        if text.isascii() and _header_text(text.decode()):
            content = bytes.fromhex(text.decode())
    header = parse_block_header(content)
    return header, header.merkle_root


def _to_object(checkpoint: Checkpoint) -> dict[str, object]:
    return {
        "log": checkpoint.log_origin,
        "treeSize": str(checkpoint.tree_size),
        "rootHash": checkpoint.root_hash.hex(),
    }

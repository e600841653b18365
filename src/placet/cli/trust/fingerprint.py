"""``placet trust fingerprint``: what the holder of a key reads aloud."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from placet.cli._shared import read_file
from placet.cli.trust.shared import read_plain_key


def configure(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declares the command's arguments."""
    parser = commands.add_parser("fingerprint", help="print the words by which your key is read aloud")
    parser.description = (
        "Prints what the holder of a key reads to the administrators: ten words, or the digits that say the "
        "same. Run it on your own machine, on your own key."
    )
    parser.add_argument("key", metavar="FILE|BASE64", help="a .pub file, an .enrolment.json file, or a key")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    from placet.ceremony.enrol import MAX_ENROLMENT_BYTES, parse_enrolment
    from placet.ceremony.fingerprint import fingerprint_digits, fingerprint_words
    from placet.ceremony.trust_change import group_digits
    from placet.core.sshsig import key_id

    if args.key.endswith(".json"):
        wire = parse_enrolment(read_file(Path(args.key), "enrolment", MAX_ENROLMENT_BYTES)).public_key.wire
    else:
        wire = read_plain_key(args.key).wire
    keyid = key_id(wire)
    words = fingerprint_words(keyid)
    if args.json:
        print(
            json.dumps({"keyid": keyid, "words": list(words), "digits": fingerprint_digits(keyid)}, indent=2)
        )
        return 0
    print("Read this aloud to each administrator who asks, on a line on which they know your voice:")
    for at in range(0, len(words), 2):
        print(f"  {at + 1:>2} {words[at]:<12} {at + 2:>2} {words[at + 1]}")
    print(f"or these digits: {fingerprint_digits(keyid)}")
    print(f"In full: {group_digits(keyid)}")
    return 0

"""Writing the verdict that goes with an allowed action, or with a refusal where that is asked for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from placet.adapters.private_file import write_atomically
from placet.cli import VERSION, UndecidedError, UserError
from placet.cli._shared import parse_duration, setting
from placet.core.bundle import parse_bundle
from placet.core.decode import Object
from placet.core.encoding import encode_canonical
from placet.core.errors import PlacetError
from placet.core.evidence.vsa_input import EXPIRES_AT
from placet.core.expected import Expected
from placet.core.trust import Trust
from placet.core.verdict.statements import (
    DEFAULT_LIFE,
    MAX_LIFE,
    Judgement,
    build_failed_vsa,
    build_svr,
    build_vsa,
)
from placet.core.verify import VerifiedApproval

BUILDERS = {"vsa": build_vsa, "svr": build_svr}


def check_verdict_options(args: argparse.Namespace) -> None:
    """Refuses options of a verdict where none is written.

    Raises:
        UserError: there are such.
    """
    given = {
        "--verdict-type": args.verdict_type,
        "--verdict-key": args.verdict_key,
        "--verdict-format": args.verdict_format,
        "--verdict-life": args.verdict_life,
        "--verdict-sign-with": args.verdict_sign_with,
        "--verdict-on-denial": getattr(args, "verdict_on_denial", False),
    }
    if args.verdict is None and (named := [name for name, value in given.items() if value]):
        raise UserError(f"{named[0]} is about a verdict.", "Say where to write it: --verdict FILE.")


class VerdictWriter(NamedTuple):
    """Where a verdict goes and what signs it; made before anything is decided or used up.

    A gate that found out afterwards that it cannot sign would have acted without its verdict.
    """

    path: Path
    sign: Callable[[Object], bytes]
    kind: str
    life: int
    trust: Trust
    gate: str

    @classmethod
    def prepare(cls, args: argparse.Namespace, trust: Trust, gate: str) -> VerdictWriter:
        """Makes ready whatever signs, and checks that it speaks for this gate.

        Raises:
            UserError: the options are wrong, or the trust root names other keys for this gate.
            PlacetError: the key cannot be used.
            SigningUnavailableError: there is no certificate for this gate.
        """
        check_verdict_options(args)
        life = parse_duration(args.verdict_life) if args.verdict_life else DEFAULT_LIFE
        if life > MAX_LIFE:
            raise UserError("A verdict lives for a day at most: it says what is so now.", "Try 10m.")
        path = Path(args.verdict)
        if not path.absolute().parent.is_dir():
            raise UserError(f"The folder {path.absolute().parent} does not exist.")
        make = _sign_with_sigstore if args.verdict_sign_with == "sigstore" else _sign_with_key
        return cls(path, make(args, trust, gate), args.verdict_type or "vsa", life, trust, gate)

    def write(self, approval: VerifiedApproval, bundle: bytes, *, at: int, used: bool = False) -> str:
        """Writes the verdict of an approval.

        Returns:
            What was written, for people.

        Raises:
            PlacetError: there can be none of it.
            OSError: the file cannot be written.
        """
        judgement = self._judgement(at, used=used)
        statement = BUILDERS[self.kind](approval, parse_bundle(bundle), judgement)
        self._write(statement)
        until = statement["predicate"][EXPIRES_AT]
        return f"{self.kind.upper()} in {self.path}, good until {until} (most engines check no expiry)"

    def write_denial(self, refusal: PlacetError, expected: Expected, *, at: int) -> None:
        """Writes a summary that says FAILED; says so where there can be none.

        Raises:
            OSError: the file cannot be written.
        """
        try:
            statement = build_failed_vsa(refusal, expected, self._judgement(at))
        except PlacetError as e:
            why = "this is undecided, not denied" if e is refusal else e.message
            print(f"No verdict was written: {why}", file=sys.stderr)
        else:
            self._write(statement)

    def _judgement(self, at: int, *, used: bool = False) -> Judgement:
        return Judgement(self.trust, self.gate, VERSION, at, self.life, used)

    def _write(self, statement: Object) -> None:
        # Others read it: that is what it is for.
        write_atomically(self.path, self.sign(statement), mode=0o644)


def _sign_with_key(args: argparse.Namespace, trust: Trust, gate: str) -> Callable[[Object], bytes]:
    from placet.adapters.verdict_key import VerdictKey, verdict_key_path

    chosen = setting(args.verdict_key, "verdict_key")
    key = VerdictKey.load(Path(chosen) if chosen else verdict_key_path())
    known = trust.gates[gate].verdict_keys
    if known and key.public not in known:
        raise UserError(
            f"The trust root names other verdict keys for the gate {gate}, so nobody would take this "
            "gate's verdicts.",
            f"Have an administrator enter this one: placet trust set-gate {gate} --verdict-key FILE.pub",
        )
    return partial(key.sign, as_bundle=args.verdict_format == "bundle")


def _sign_with_sigstore(args: argparse.Namespace, trust: Trust, gate: str) -> Callable[[Object], bytes]:
    from placet.adapters.paths import snapshot_path
    from placet.cli._sign_gate import Machine, open_signer
    from placet.ports.artifact_signer import SigningError

    if args.verdict_key or args.verdict_format == "dsse":
        raise UserError(
            "Sigstore signs with an identity, and what comes of it is a bundle.",
            "Leave out --verdict-key and --verdict-format dsse.",
        )
    snapshot = Path(setting(None if args.trust is None else str(args.trust), "trust") or snapshot_path())
    try:
        signer = open_signer(args, Machine(trust, trust.gates[gate], snapshot))
    except SigningError as e:
        raise UndecidedError(f"No verdict could be signed: {e}", e.hint) from e

    def sign(statement: Object) -> bytes:
        try:
            return signer.sign_statement(encode_canonical(statement))
        except SigningError as e:
            raise UndecidedError(f"The verdict was not signed: {e}", e.hint) from e

    return sign

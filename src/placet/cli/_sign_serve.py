"""``placet sign serve``: the signing gate as a small service."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import socket
import sys
from contextlib import closing
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from placet.adapters.paths import state_dir
from placet.adapters.places import open_ledger
from placet.adapters.private_file import write_atomically
from placet.cli import UserError
from placet.cli._listening import describe_address
from placet.cli._sign_gate import Machine, load_machine, load_sigstore, read_bundle, sign_here
from placet.cli._use_log import check_use_key
from placet.cli.run import check_pinned_ledger, choose_ledger
from placet.core.encoding import Digest, encode_canonical, parse_json
from placet.core.errors import PlacetError, PolicyError, Reason
from placet.core.patterns import read_pattern
from placet.gates.signing import SignedPiece
from placet.gates.signing_plan import Piece
from placet.ports.artifact_signer import SigningUnavailableError, SigningUnfinishedError

if TYPE_CHECKING:
    from placet.gates.signing_service import SigningAnswer, SigningRequest

_MAX_KEPT_BYTES = 64 * 1024 * 1024
_MAX_CONNECTIONS = 64
_GOODBYE_SECONDS = 60


def serve(args: argparse.Namespace) -> int:
    """Serves until it is told to stop.

    Raises:
        UserError: something that was given cannot be used.
        PlacetError: trust or ledger cannot be used.
    """
    _check(args)
    listener = _bind(args.host, args.port)
    try:
        import uvicorn

        from placet.gates.signing_service import create_app
    except ImportError as e:
        raise UserError(
            f"The service needs {e.name}, which is not installed.", "Install placet[signing]."
        ) from e
    config = uvicorn.Config(
        create_app(lambda asked: decide(args, asked)),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_MAX_CONNECTIONS,
        # A signature that is under way comes to its end: its use is consumed.
        timeout_graceful_shutdown=_GOODBYE_SECONDS,
    )
    server = uvicorn.Server(config)

    def stop(number: int, frame: FrameType | None) -> None:
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    print(f"placet sign listens on {describe_address(args.host, listener)}", flush=True)
    server.run(sockets=[listener])
    print("placet sign has stopped", flush=True)
    return 0


def _check(args: argparse.Namespace) -> None:
    """Refuses at the start what would refuse every caller later."""
    from placet.adapters.sigstore.sign_in import TOKEN_VARIABLE

    if args.sign_in in ("browser", "device"):
        raise UserError("Nobody sits before a service.", "Give it an identity: --identity-token-file FILE")
    if args.sign_in is None and args.identity_token_file is None and TOKEN_VARIABLE not in os.environ:
        raise UserError(
            "The service has no identity to sign with.",
            "Give --identity-token-file FILE (read anew for each signature), or --sign-in ambient.",
        )
    machine = load_machine(args)
    _check_target(args.target, machine)
    check_use_key(machine.trust, machine.gate)
    with closing(open_ledger(choose_ledger(args.ledger))) as ledger:
        check_pinned_ledger(machine.gate, ledger.birth())
    if args.sigstore_config is not None or args.signing_config is not None:
        load_sigstore(args, machine)


def _check_target(target: str | None, machine: Machine) -> None:
    """Refuses to lend one identity to every scope: the rules of the weakest would decide for all."""
    if target is None and len(machine.trust.scopes) > 1:
        raise UserError(
            f"The trust root has {len(machine.trust.scopes)} scopes, each with rules of its own, and this "
            "service would sign for all of them as one identity.",
            "Say for which targets it signs, as rules do: --target 'pkg:pypi/**'. Run one service for each.",
        )
    if target is not None:
        read_pattern(target, "--target")


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as e:
        raise UserError(f"{host} is no address of this machine: {e.strerror}.") from e
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as e:
        listener.close()
        hint = "Choose another with --port." if e.errno == errno.EADDRINUSE else ""
        raise UserError(f"Port {port} on {host} cannot be used: {e.strerror}.", hint) from e
    return listener


def decide(args: argparse.Namespace, asked: SigningRequest) -> SigningAnswer:
    """Judges and signs what one caller asks for.

    Raises:
        PlacetError, SigningError: nothing was signed for this caller.
    """
    try:
        return _decide(args, asked)
    except UserError as e:  # what the operator named at the start is not there any more
        print(f"A caller was refused: {e}", file=sys.stderr, flush=True)
        raise SigningUnavailableError(
            "The service is not set up as it was when it started.", "Tell its operator; its log says more."
        ) from e


def _decide(args: argparse.Namespace, asked: SigningRequest) -> SigningAnswer:
    from placet.gates.signing_service import SigningAnswer

    machine = load_machine(args)
    bundle = read_bundle(asked.intent, machine, args.intent_url)
    kept = KeptSignatures(state_dir() / "gate" / "signatures" / bundle.reference.payload_digest)
    result = sign_here(
        args,
        machine,
        bundle,
        asked.digests,
        asked.statement,
        keep=kept.keep,
        event_id=asked.event_id,
    )
    if result.unrecorded is not None:
        print(f"An outcome could not be recorded: {result.unrecorded}", file=sys.stderr, flush=True)
    return SigningAnswer(result, tuple(kept.find(piece) for piece in result.repeated))


class KeptSignatures:
    """Signatures that were made for an approval, for a caller who did not get the answer and asks again.

    Only the same event gets them: whoever replays an approval is refused by the ledger.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, piece: SignedPiece) -> None:
        """Keeps a piece durably.

        Raises:
            SigningUnfinishedError: it cannot be written.
        """
        value = {"bundle": piece.bundle.decode(), "reference": piece.reference.decode()}
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_atomically(self._path(piece.piece), encode_canonical(value))
        except OSError as e:
            raise SigningUnfinishedError(
                f"The signature was made and cannot be kept here: {e.strerror}.",
                "The use is consumed. The transparency log has the signature; for a bundle, ask anew.",
            ) from e

    def find(self, piece: Piece) -> SignedPiece:
        """Returns a piece that was signed before.

        Raises:
            PolicyError: ALREADY_USED: it was used, and no signature was kept.
        """
        try:
            data = self._path(piece).read_bytes()
            value = parse_json(data, max_bytes=_MAX_KEPT_BYTES, what="kept signature")
        except (OSError, PlacetError) as e:
            raise PolicyError(
                Reason.ALREADY_USED,
                "This event was delivered before, and no signature came of it that is known here.",
                hint="`placet ledger show --unknown` lists it at the service. Then request a new approval.",
            ) from e
        return SignedPiece(piece, value["bundle"].encode(), value["reference"].encode())

    def _path(self, piece: Piece) -> Path:
        first: Digest = piece.artifacts[0].digest
        return self._folder / f"{first}.json"

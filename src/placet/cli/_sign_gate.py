"""The signing gate of this machine: trust, ledger, identity and Sigstore put together."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from placet.adapters.paths import snapshot_path
from placet.adapters.places import open_ledger
from placet.adapters.system_clock import SystemClock
from placet.cli import UserError
from placet.cli._evidence import verify_bundle_evidence
from placet.cli._shared import choose_gate, load_trust, read_file, setting
from placet.cli._use_log import open_use_log, warn_unlogged
from placet.cli.run import check_pinned_ledger, choose_ledger
from placet.core.bundle import parse_bundle
from placet.core.dsse import envelope_digest
from placet.core.encoding import Digest
from placet.core.errors import visible
from placet.core.evidence.facts import EvidenceFact
from placet.core.gates import Gate
from placet.core.patterns import matches
from placet.core.statement import parse_statement
from placet.core.trust import Trust
from placet.core.verdict.statements import verifier_id
from placet.core.verify import Expected, VerifiedApproval, verify_for_use
from placet.documents.pinned import SIGSTORE_ROOT
from placet.documents.signing import IntentReference
from placet.gates.signing import SignedPiece, SigningGate, SigningResult, Step, sign_approved
from placet.gates.signing_plan import SIGN_ACTION, SigningPlan, plan_signing, prepare_signing
from placet.ports.artifact_signer import ArtifactSigner, SigningUnavailableError

if TYPE_CHECKING:
    from placet.adapters.sigstore.sign_in import DevicePrompt
    from placet.adapters.sigstore.signing import SigstoreInstance

_MAX_CONFIG_BYTES = 1024 * 1024


class Bundle(NamedTuple):
    """An intent bundle as it was given, with what its statement says; nothing of it is verified yet."""

    data: bytes
    plan: SigningPlan
    reference: IntentReference


class Machine(NamedTuple):
    """What this machine knows now: its trust may be another one a minute later."""

    trust: Trust
    gate: Gate
    snapshot: Path


def read_bundle(data: bytes, machine: Machine, intent_url: str | None) -> Bundle:
    """Reads what a bundle asks for.

    Raises:
        PlacetError: it is none, or not for signing.
    """
    envelope = parse_bundle(data).envelope
    statement = parse_statement(envelope.payload)
    location = intent_url or f"https://{machine.trust.deployment.rp_id}/intents/{statement.payload_digest}"
    reference = IntentReference(statement.payload_digest, envelope_digest(envelope), location)
    return Bundle(data, plan_signing(statement), reference)


def load_machine(args: argparse.Namespace) -> Machine:
    """Loads trust, as the last refresh left it.

    Raises:
        PlacetError: there is none.
        UserError: it is not said which gate this is.
    """
    chosen = setting(None if args.trust is None else str(args.trust), "trust")
    trust = load_trust(chosen)
    return Machine(trust, choose_gate(trust, args.gate), Path(chosen or snapshot_path()))


def sign_here(
    args: argparse.Namespace,
    machine: Machine,
    bundle: Bundle,
    digests: frozenset[Digest],
    statement: bytes | None,
    *,
    keep: Callable[[SignedPiece], None],
    event_id: str | None,
    observe: Callable[[Step], None] = lambda step: None,
) -> SigningResult:
    """Signs as this gate.

    Raises:
        PlacetError, SigningError: nothing more was signed than what `keep` has got.
    """
    facts = verify_bundle_evidence(bundle.data, trust=machine.trust, snapshot=machine.snapshot)
    log = open_use_log(machine.trust, machine.gate, bundle.data)
    with closing(open_ledger(choose_ledger(args.ledger))) as ledger:
        check_pinned_ledger(machine.gate, ledger.birth())
        gate = SigningGate(
            verify=partial(_verify, bundle, machine, args.target, facts),
            open_signer=partial(open_signer, args, machine),
            ledger=ledger,
            log=log,
            clock=SystemClock(),
            reference=bundle.reference,
            attester=verifier_id(machine.trust, machine.gate.id),
            keep=keep,
            observe=observe,
        )
        try:
            return sign_approved(bundle.plan, gate, digests=digests, statement=statement, event_id=event_id)
        finally:
            warn_unlogged(ledger, log)


def rehearse(
    args: argparse.Namespace,
    machine: Machine,
    bundle: Bundle,
    digests: frozenset[Digest],
    statement: bytes | None,
) -> VerifiedApproval:
    """Does everything that needs no identity, and consumes nothing.

    Raises:
        PlacetError: `sign_here` would have refused.
    """
    prepare_signing(bundle.plan, digests, statement)
    facts = verify_bundle_evidence(bundle.data, trust=machine.trust, snapshot=machine.snapshot)
    subjects = frozenset(f"sha256:{digest}" for digest in digests)
    approval = _verify(bundle, machine, args.target, facts, subjects, SystemClock().now())
    if (log := open_use_log(machine.trust, machine.gate, bundle.data)) is not None:
        log.check_ready()
    return approval


def _verify(
    bundle: Bundle,
    machine: Machine,
    target: str | None,
    facts: tuple[EvidenceFact, ...],
    subjects: frozenset[str],
    now: int,
) -> VerifiedApproval:
    # Only the approval says where signed files go; so what is compared is whether this gate signs for it.
    mine = target is None or matches(target, bundle.plan.target)
    expected = bundle.plan.target if mine else str(target)
    return verify_for_use(
        bundle.data,
        trust=machine.trust,
        gate=machine.gate.id,
        expected=Expected(target=expected, subjects=subjects, action_type=SIGN_ACTION),
        now=now,
        evidence=facts,
    )


def open_signer(args: argparse.Namespace, machine: Machine) -> ArtifactSigner:
    """Signs in, and has the identity certified.

    Raises:
        SigningUnavailableError: there is no identity, or no certificate for it.
        UserError: the instance is not said rightly.
    """
    from placet.adapters.sigstore.signing import SigstoreSigner

    instance = load_sigstore(args, machine)
    return SigstoreSigner(instance, _token(args, instance))


def load_sigstore(args: argparse.Namespace, machine: Machine | None) -> SigstoreInstance:
    """Returns the Sigstore instance that was chosen.

    Raises:
        SigningUnavailableError: it cannot be used.
        UserError: a file cannot be read, or two were named.
    """
    signing = _sigstore()
    if args.sigstore_config is not None and args.signing_config is not None:
        raise UserError("--sigstore-config holds a signing config already.", "Name one of them.")
    if args.sigstore_config is not None:
        data = read_file(args.sigstore_config, "Sigstore configuration", _MAX_CONFIG_BYTES)
        return signing.load_instance(data)
    if args.signing_config is not None:
        from placet.adapters.trust_files import TrustFiles

        machine = machine or load_machine(args)
        root = TrustFiles(machine.snapshot).read(SIGSTORE_ROOT, machine.trust)
        where = read_file(args.signing_config, "signing config", _MAX_CONFIG_BYTES)
        return signing.load_instance(signing.join_config(root, where))
    return signing.public_good()


class _SigningModule(NamedTuple):
    load_instance: Callable[[bytes], SigstoreInstance]
    join_config: Callable[[bytes, bytes], bytes]
    public_good: Callable[[], SigstoreInstance]


def _sigstore() -> _SigningModule:
    try:
        from placet.adapters.sigstore import signing
    except ImportError as e:
        raise UserError(
            f"Signing needs {e.name}, which is not installed.", "Install placet[sigstore]."
        ) from e
    return _SigningModule(signing.load_instance, signing.join_config, signing.public_good)


def _token(args: argparse.Namespace, instance: SigstoreInstance) -> str:
    from placet.adapters.sigstore import sign_in

    if args.identity_token_file is not None:
        return sign_in.read_token_file(Path(args.identity_token_file))
    if given := os.environ.get(sign_in.TOKEN_VARIABLE):
        return sign_in.check_token(given, f"The variable {sign_in.TOKEN_VARIABLE}")
    if args.sign_in == "ambient":
        return sign_in.ambient_token()
    issuer = args.oidc_issuer or instance.issuer
    if args.sign_in == "device":
        return sign_in.device_token(issuer, _show_prompt)
    if args.sign_in is None and not sys.stderr.isatty():
        raise SigningUnavailableError(
            "Nobody is here to sign in, and no identity was given.",
            "Nothing was used. Give --identity-token-file, or --sign-in browser, device or ambient.",
        )
    return sign_in.browser_token(issuer)


def _show_prompt(prompt: DevicePrompt) -> None:
    lines = (
        "Sign in on any device, within the next " + f"{prompt.minutes} minutes:",
        f"  page  {prompt.address}",
        f"  code  {prompt.code}",
    )
    print("\n".join(visible(line) for line in lines), file=sys.stderr, flush=True)

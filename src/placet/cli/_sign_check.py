"""``placet sign check``: do a file, its Sigstore signature and the approval belong together?"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from placet.cli import EXIT_ALLOW, UndecidedError, UserError
from placet.cli._request_actions import hash_file
from placet.cli._shared import name_file, read_file
from placet.cli._sign_gate import load_sigstore
from placet.cli.verify import GREEN, print_json, print_refusal, verdict_line
from placet.core.bundle import MAX_BUNDLE_BYTES, IntentBundle, parse_bundle
from placet.core.dsse import PAYLOAD_TYPE
from placet.core.encoding import Digest, sha256_hex
from placet.core.errors import PlacetError, Reason, VerificationError, visible
from placet.core.statement import IntentStatement, parse_statement
from placet.documents.signing import MAX_STATEMENT_BYTES, read_reference, read_statement
from placet.gates.signing_plan import plan_signing
from placet.ports.artifact_signer import SignerIdentity

_MAX_SIGSTORE_BYTES = 2 * MAX_STATEMENT_BYTES


def check(args: argparse.Namespace, files: Sequence[Path]) -> int:
    """Runs the command; returns its exit code."""
    if len(files) != 1:
        raise UserError("One file at a time is checked.")
    if not args.identity or not args.issuer:
        raise UserError(
            "By whom must the signature be? A signature of just anybody says nothing.",
            "Name them with --identity NAME and --issuer URL.",
        )
    (file,) = files
    bundle = args.bundle or file.with_name(f"{file.name}.sigstore.json")
    reference = args.reference or file.with_name(f"{file.name}.reference.sigstore.json")
    container = read_file(args.intent, "bundle", MAX_BUNDLE_BYTES)
    pair = tuple(read_file(path, "Sigstore bundle", _MAX_SIGSTORE_BYTES) for path in (bundle, reference))
    signer = SignerIdentity(args.identity, args.issuer)
    digest = Digest(hash_file(file))
    try:
        intent = parse_bundle(container)
        statement = parse_statement(intent.envelope.payload)
        _check_sigstore(args, digest, pair[0], pair[1], signer, statement)
        _check_named(intent, pair)
    except PlacetError as refusal:
        return print_refusal(name_file(refusal, args.intent), as_json=args.json)
    return _print(args, file, statement, signer)


def _check_sigstore(
    args: argparse.Namespace,
    digest: Digest,
    bundle: bytes,
    reference: bytes,
    signer: SignerIdentity,
    statement: IntentStatement,
) -> None:
    from placet.adapters.sigstore.signing import UnrelatedError, verify_pair
    from placet.ports.artifact_signer import SigningUnavailableError

    plan = plan_signing(statement)
    if digest not in {artifact.digest for artifact in plan.artifacts}:
        raise _unrelated("The approval is for other files.", sorted(a.digest for a in plan.artifacts), digest)
    try:
        instance = load_sigstore(args, None)
    except SigningUnavailableError as e:
        raise UndecidedError(e.message, e.hint) from e
    try:
        payload, referring = verify_pair(
            instance, digest=digest, bundle=bundle, reference=reference, signer=signer
        )
    except UnrelatedError as e:
        raise VerificationError(
            Reason.EVIDENCE_INVALID,
            str(e),
            hint="Check file, identity, issuer and Sigstore instance; otherwise do not use the file.",
        ) from e
    if payload is not None and sha256_hex(payload) != plan.statement_digest:
        raise _unrelated(
            "The signed statement is not the approved one.", plan.statement_digest, sha256_hex(payload)
        )
    if payload is None and plan.statement_digest is not None:
        raise _unrelated("The file is signed, and the approval is for a statement about it.")
    if payload is not None and digest not in read_statement(payload)[1]:
        raise _unrelated("The signed statement is about other files.")
    _, references, subjects = read_reference(referring)
    if digest not in subjects:
        raise _unrelated("The reference statement is about other files.", digest, sorted(subjects))
    if (PAYLOAD_TYPE, statement.payload_digest) not in references:
        raise _unrelated("The reference statement names another approval.", statement.payload_digest)


def _check_named(intent: IntentBundle, pair: Sequence[bytes]) -> None:
    named = {signature.digest for signature in intent.signatures}
    for data in pair:
        if sha256_hex(data) not in named:
            raise _unrelated(
                "The intent bundle does not name this Sigstore bundle.", sorted(named), sha256_hex(data)
            )


def _unrelated(message: str, expected: object = None, actual: object = None) -> VerificationError:
    if isinstance(expected, list):
        expected = tuple(expected)
    return VerificationError(
        Reason.EVIDENCE_MISMATCH,
        message,
        expected=expected,
        actual=actual,
        hint="These do not belong together. Take all four from one place, as `placet sign` wrote them.",
    )


def _print(args: argparse.Namespace, file: Path, statement: IntentStatement, signer: SignerIdentity) -> int:
    if args.json:
        print_json(
            {
                "verdict": "valid",
                "text": statement.text,
                "payload": {"sha256": statement.payload_digest},
                "signer": {"identity": signer.identity, "issuer": signer.issuer},
                "approvalJudged": False,
            }
        )
        return EXIT_ALLOW
    print(verdict_line("VALID", GREEN, "File, signature, reference and approval belong together."))
    for line in (
        f"Action    {statement.text}",
        f"Signed by {signer.identity} ({signer.issuer})",
        f"Approval  SHA-256 {statement.payload_digest}",
        f"Judged    not the approval itself: placet verify {args.intent} --audit says who approved it",
    ):
        print(visible(f"  {line}"))
    return EXIT_ALLOW

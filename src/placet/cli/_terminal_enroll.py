"""``placet terminal enroll``: a person makes a credential, on a one-shot page or on the command line."""

from __future__ import annotations

import argparse
import re
import threading
from collections.abc import Collection
from pathlib import Path
from shlex import quote

from placet.adapters.fido.attestation import FidoAttestationVerifier
from placet.ceremony.fingerprint import spoken_fingerprint
from placet.ceremony.trust_change import group_digits
from placet.cli import UserError
from placet.cli._terminal_files import load_identity, open_credentials, trust_path
from placet.cli._terminal_shared import origin_of, serve_page
from placet.core.decode import read_ascii, read_name
from placet.core.encoding import KeyId, b64url_encode
from placet.core.errors import PlacetError
from placet.core.people import Deployment
from placet.terminal.enrol_app import create_enrol_app
from placet.terminal.enrol_desk import EnrolDesk, Invitation
from placet.terminal.touch import Assertion
from placet.terminal.trust_file import TrustFile
from placet.terminal.web import Guard


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns its exit code."""
    identity = load_identity()
    deployment = _deployment(args.deployment, args.trust)
    origin = origin_of(identity.terminal_id, deployment, args.port)
    person = read_ascii(args.person, "/person", max_length=254)
    out = args.out or Path(f"{re.sub(r'[^A-Za-z0-9._-]', '-', person)}.enrolment.json")
    if not out.absolute().parent.is_dir():
        raise UserError(f"The folder of {out} does not exist.", "Name another file with --out.")
    done = threading.Event()
    desk = EnrolDesk(
        Invitation(person, deployment, args.root_sha256, args.invite.strip()),
        web_origin=origin,
        verifier=FidoAttestationVerifier(),
        credentials=open_credentials(),
        out=out,
        # The page needs a moment to fetch the answer before the server goes away.
        on_done=lambda: threading.Timer(1.0, done.set).start(),
        enrolled=_enrolled(args.trust),
        allow_shared_key=args.allow_shared_key,
    )
    if args.ctap:
        keyid = _enroll_without_browser(desk, args.device)
    else:
        if args.device is not None:
            raise UserError("--device names the key for --ctap; a browser finds it by itself.")
        keyid = _enroll_on_page(desk, args, done)
    if keyid is None:
        print("Nothing was enrolled.")
        return 1
    print(f"The proof is in {out}. Next: send it to the administrator, by any way.")
    line = f'placet trust enroll {quote(person)} --key {quote(str(out))} --invite "<the invite>"'
    print(
        f"They record it with:\n  {line} --assurance attested\n"
        "(vouched, if they saw the hardware and its model is not in their list; software for the rest)"
    )
    print(f"Read this fingerprint aloud to each administrator who asks:\n  {spoken_fingerprint(keyid)}")
    return 0


def _enroll_on_page(desk: EnrolDesk, args: argparse.Namespace, done: threading.Event) -> KeyId | None:
    guard = Guard(desk.web_origin)
    serve_page(
        create_enrol_app(desk, guard),
        guard,
        args.port,
        done=done,
        quiet=args.no_open,
        stopped="The terminal has stopped.",
    )
    return desk.done


def _enroll_without_browser(desk: EnrolDesk, device: Path | None) -> KeyId | None:
    from placet.adapters.fido.ctap_client import CtapClient, open_device, say_to_person

    asked = desk.invitation
    say_to_person(
        f"Enrolling a key for {asked.person} in {asked.deployment.name}, under the trust root\n"
        f"  {group_digits(asked.root_sha256)}\n"
        "Two touches: the first makes the credential, the second proves that it answers the invite."
    )
    key = open_device(device)
    try:
        client = CtapClient(key, desk.web_origin, say=say_to_person)
        made = client.create(desk.creation_options())
        second = desk.keep_credential(
            client_data_json=made.client_data_json,
            attestation_object=made.attestation_object,
            transports=["usb"],
        )
        answer = client.get(second)
    finally:
        key.close()
    return desk.prove(
        Assertion(
            b64url_encode(answer.credential_id),
            answer.authenticator_data,
            answer.client_data_json,
            answer.signature,
        )
    )


def _enrolled(path: Path | None) -> Collection[KeyId]:
    """Returns the keys of the trust root; none where this terminal has no trust snapshot yet."""
    try:
        return TrustFile(trust_path(path)).load().credentials.keys()
    except PlacetError:
        return ()


def _deployment(name: str | None, path: Path | None) -> Deployment:
    if name is not None:
        return Deployment(read_name(name, "/deployment"), f"{name}.placet.localhost")
    try:
        return TrustFile(trust_path(path)).load().deployment
    except PlacetError as e:
        raise UserError(
            f"Which deployment is this? {e}", "Name it with --deployment; the administrator knows it."
        ) from e

"""Proving who asks: with an enrolled key, or with an OIDC token (spec/12-requester.md)."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shlex
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

from placet.ceremony.request import (
    attach_proof,
    attach_token,
    bind_nonce,
    requester_message,
    token_audience,
)
from placet.cli import UserError
from placet.cli._shared import read_file
from placet.core.bundle import MAX_REQUEST_BYTES, IntentRequest, encode_request, parse_request
from placet.core.decode import read_object, read_string
from placet.core.encoding import b64decode_strict, b64encode, encode_canonical, parse_canonical_json
from placet.core.evidence.requester import MAX_TOKEN_BYTES
from placet.core.sshsig import NAMESPACE_REQUEST, key_id

_SALT_BYTES = 32
_SECONDS = 30
_UNPROVEN_TYPE = "application/vnd.placet.unproven-request.v1+json"
_AUDIENCE_WORD = "{audience}"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares how the requester proves who they are."""
    group = parser.add_argument_group("who asks", "Without one of these, you are an unverified requester.")
    ways = group.add_mutually_exclusive_group()
    ways.add_argument("--sign-with", type=Path, metavar="KEY", help="your enrolled OpenSSH FIDO key")
    ways.add_argument(
        "--token-from", choices=["github"], help="this CI job's OIDC token (needs id-token: write)"
    )
    ways.add_argument(
        "--token-command", metavar="CMD", help="a command that prints an OIDC token for {audience}"
    )
    ways.add_argument(
        "--token-later",
        type=Path,
        metavar="FILE",
        help="write the request and the audience of the token to get; go on with `placet request prove`",
    )


def configure_prove(parser: argparse.ArgumentParser) -> None:
    """Declares ``placet request prove``."""
    parser.add_argument("unproven", type=Path, metavar="FILE", help="what --token-later wrote")
    parser.add_argument("--token-file", type=Path, metavar="TOKEN", help="the OIDC token (default: stdin)")


def prove(request: IntentRequest, args: argparse.Namespace) -> IntentRequest:
    """Returns the request with the proof that the words ask for; as it is without one.

    Raises:
        UserError: no proof could be made; nothing was sent.
    """
    if args.sign_with:
        return _sign(request, args.sign_with)
    if not (args.token_from or args.token_command):
        return request
    salt = secrets.token_bytes(_SALT_BYTES)
    bound = bind_nonce(request, salt=salt)
    audience = token_audience(bound)
    token = _github_token(audience) if args.token_from else _token_of(args.token_command, audience)
    return attach_token(bound, salt=salt, token=_check_token(token))


def keep_unproven(request: IntentRequest) -> tuple[bytes, str]:
    """Returns what ``--token-later`` writes, and the audience of the token to get."""
    salt = secrets.token_bytes(_SALT_BYTES)
    bound = bind_nonce(request, salt=salt)
    kept = {"mediaType": _UNPROVEN_TYPE, "request": b64encode(encode_request(bound)), "salt": b64encode(salt)}
    return encode_canonical(kept), token_audience(bound)


def prove_kept(args: argparse.Namespace) -> IntentRequest:
    """Returns the request of a ``--token-later`` file with its token.

    Raises:
        UserError: a file cannot be read, or holds no token.
        PlacetError: the file is not what ``--token-later`` wrote.
    """
    data = read_file(args.unproven, "unproven request", 2 * MAX_REQUEST_BYTES)
    value = parse_canonical_json(data, max_bytes=2 * MAX_REQUEST_BYTES, what="unproven request")
    members = read_object(value, "", required=["mediaType", "request", "salt"])
    if members["mediaType"] != _UNPROVEN_TYPE:
        raise UserError(f"{args.unproven} is not what --token-later wrote.")
    request = parse_request(
        b64decode_strict(
            read_string(members["request"], "/request", max_length=2 * MAX_REQUEST_BYTES), "/request"
        )
    )
    salt = b64decode_strict(read_string(members["salt"], "/salt", max_length=64), "/salt")
    if args.token_file:
        token = read_file(args.token_file, "token", MAX_TOKEN_BYTES).decode("ascii", "replace")
    else:
        token = sys.stdin.read(MAX_TOKEN_BYTES + 1)
    return attach_token(request, salt=salt, token=_check_token(token))


def _sign(request: IntentRequest, key_file: Path) -> IntentRequest:
    from placet.adapters.fido.ssh_keygen import SshKeygenAuthenticator
    from placet.ports.authenticator import AuthenticatorError

    try:
        authenticator = SshKeygenAuthenticator(key_file)
        print("Touch your key to prove that it is you who asks.", file=sys.stderr)
        sshsig = authenticator.sign(NAMESPACE_REQUEST, requester_message(request))
    except AuthenticatorError as e:
        raise UserError(f"The request is not signed, and was not sent: {e}") from e
    return attach_proof(request, keyid=key_id(authenticator.wire), sshsig=sshsig)


def _github_token(audience: str) -> str:
    url = os.environ.get("ACTIONS_ID_TOKEN_REQUEST_URL")
    bearer = os.environ.get("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
    if not url or not bearer:
        raise UserError(
            "This is no GitHub Actions job that may ask for an OIDC token.",
            "Give the job `permissions: id-token: write`.",
        )
    import httpx

    asked = f"{url}{'&' if '?' in url else '?'}audience={quote(audience, safe='')}"
    try:
        answer = httpx.get(asked, headers={"Authorization": f"bearer {bearer}"}, timeout=_SECONDS)
        answer.raise_for_status()
        value = json.loads(answer.content)["value"]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as e:
        # Without the address: it is the job's own, and the error may hold parts of the answer.
        raise UserError(
            f"GitHub gave no OIDC token ({type(e).__name__}); nothing was sent.", "Run the job again."
        ) from e
    return str(value)


def _token_of(command: str, audience: str) -> str:
    try:
        words = [word.replace(_AUDIENCE_WORD, audience) for word in shlex.split(command)]
        if not words or _AUDIENCE_WORD not in command:
            raise UserError("--token-command names no {audience}.", "As in: 'get-token --aud {audience}'")
        done = subprocess.run(words, stdout=subprocess.PIPE, text=True, timeout=_SECONDS, check=False)
    except (OSError, ValueError, subprocess.TimeoutExpired) as e:
        raise UserError(f"The token command did not work: {e}; nothing was sent.") from e
    if done.returncode != 0:
        raise UserError(f"The token command ended with exit code {done.returncode}; nothing was sent.")
    return done.stdout


def _check_token(token: str) -> str:
    stripped = token.strip()
    if stripped.count(".") != 2 or not stripped.isascii() or len(stripped) > MAX_TOKEN_BYTES:
        raise UserError("This is no OIDC token: a compact JWS has three parts.", "Nothing was sent.")
    return stripped

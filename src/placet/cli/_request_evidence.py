"""Evidence of a request: found where users have it, verified here, attached where a rule asks for it.

What does not hold is left out, and said.  Where a rule asks for evidence that is not there or does not hold,
nothing is sent: to hear it now is kinder than from the gate, after people touched their keys.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from placet.ceremony.request import find_open_rules, with_evidence
from placet.cli import UserError
from placet.cli._registry import configure_registry, open_registry
from placet.core.bundle import MAX_REQUEST_BYTES, IntentRequest, encode_request
from placet.core.statement import parse_statement
from placet.core.trust import Trust

if TYPE_CHECKING:
    from placet.cli._evidence_search import EvidenceSearch
    from placet.cli._request_actions import Action
    from placet.ports.evidence_verifier import EvidenceVerifier

PYPI = "https://pypi.org"
FILES, REGISTRY, INDEX, NOWHERE = "files", "registry", "pypi", "nowhere"
_LOOK_SECONDS = 30.0
# The requester's proof is added later: a signature, or a token with its claims.
_ROOM_FOR_PROOF = 32 * 1024


def configure(parser: argparse.ArgumentParser) -> None:
    """Declares where evidence comes from."""
    group = parser.add_argument_group(
        "evidence",
        "What a rule asks for is looked for beside the files, and for an image in its registry. Where no "
        "rule asks for evidence, nothing is looked for.",
    )
    group.add_argument(
        "--evidence",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="attach what this file holds: a Sigstore bundle, a DSSE envelope, or many of them (.jsonl)",
    )
    group.add_argument(
        "--links", action="append", default=[], type=Path, metavar="DIR", help="attach the in-toto links here"
    )
    group.add_argument(
        "--evidence-from",
        action="append",
        choices=[FILES, REGISTRY, INDEX, NOWHERE],
        metavar="PLACE",
        help="look here and nowhere else: files, registry, pypi, nowhere (default: files and registry)",
    )
    group.add_argument("--pypi", default=PYPI, metavar="URL", help=f"the package index (default {PYPI})")
    configure_registry(group)


def add(
    request: IntentRequest,
    action: Action,
    args: argparse.Namespace,
    trust: Trust,
    *,
    verifier: EvidenceVerifier,
) -> IntentRequest:
    """Returns the request with its evidence.

    Raises:
        PolicyError: a rule asks for evidence that is not there or does not hold; or what was named does not.
        UserError: a named file cannot be used, or the request would be too large.
        IndeterminateError, UndecidedError: it cannot be judged or looked for here.
    """
    statement = parse_statement(request.payload)
    rules = find_open_rules(trust, action=statement.action_type, target=statement.target)
    if not any(rule.evidence for rule in rules) and not args.evidence and not args.links:
        return request
    from placet.cli._evidence_search import EvidenceSearch

    search = EvidenceSearch(statement, rules, trust, verifier)
    for path in args.evidence:
        search.take_named(path)
    for folder in args.links:
        search.take_links(folder)
    for look in _places(action, args, search):
        if search.is_complete():
            break
        look()
    chosen = search.choose()
    complete = with_evidence(request, chosen)
    size = len(encode_request(complete))
    if size > MAX_REQUEST_BYTES - _ROOM_FOR_PROOF:
        name, largest = max(chosen, key=lambda item: len(item[1].content))
        raise UserError(
            f"With its evidence the request would have {size} bytes; {MAX_REQUEST_BYTES} travel at most. "
            f"The largest piece is {name} from {search.place_of(largest.digest)}, of "
            f"{len(largest.content)} bytes.",
            "Nothing was sent. Leave out what no rule asks for.",
        )
    search.check(parse_statement(complete.payload))
    search.say_chosen(chosen)
    return complete


def _places(action: Action, args: argparse.Namespace, search: EvidenceSearch) -> Iterator[Callable[[], None]]:
    """Yields one look after the other; those that ask the network come last."""
    wanted = args.evidence_from or [FILES, REGISTRY]
    if FILES in wanted:
        for path, sha256 in action.files:
            yield partial(_look_beside, search, path, sha256)
    if REGISTRY in wanted and args.action == "deploy":
        for subject in action.subjects:
            yield partial(_look_in_registry, search, subject["name"], subject["digest"]["sha256"], args)
    if INDEX in wanted:
        names = dict.fromkeys(path.name for path, _ in action.files)
        for name in names or dict.fromkeys(subject["name"] for subject in action.subjects):
            yield partial(_look_at_index, search, name, args)


def _look_beside(search: EvidenceSearch, path: Path, sha256: str) -> None:
    from placet.adapters.evidence_sources.near import list_beside, read_evidence_file

    search.looked.append(f"beside {path}")
    try:
        beside = list_beside(path, sha256)
    except OSError as e:
        search.trouble.append(f"The folder of {path} cannot be read: {e.strerror}.")
        return
    for found in beside:
        search.take(read_evidence_file(found))


def _look_in_registry(search: EvidenceSearch, name: str, sha256: str, args: argparse.Namespace) -> None:
    from placet.adapters.bounded_http import HttpError
    from placet.adapters.evidence_sources.registry import look_in_registry
    from placet.adapters.oci.reference import BadReference, parse_reference

    try:
        image = parse_reference(f"{name}@sha256:{sha256}")
    except BadReference:
        search.looked.append(f"in no registry, as {name!r} names none")
        return
    if name.partition("/")[0] != image.host:
        # A bare name means Docker's public registry to some tools, and to others a file.
        search.looked.append(f"in no registry, as {name!r} names none")
        return
    search.looked.append(f"in the registry {image.host}")
    try:
        with open_registry(image, args, seconds=_LOOK_SECONDS) as registry:
            search.take(look_in_registry(registry, image.digest, search.wanted))
    except HttpError as e:
        search.trouble.append(f"{e} {e.hint}".rstrip())


def _look_at_index(search: EvidenceSearch, name: str, args: argparse.Namespace) -> None:
    from placet.adapters.bounded_http import BoundedHttp, HttpError
    from placet.adapters.evidence_sources.pypi import look_at_index

    search.looked.append(f"at {args.pypi} for {name}")
    try:
        with BoundedHttp(seconds=_LOOK_SECONDS, ca_file=args.ca_file) as http:
            search.take(look_at_index(http, name, index=args.pypi))
    except HttpError as e:
        search.trouble.append(f"{e} {e.hint}".rstrip())

"""Verifies link sets through `in_toto_verify`, unmodified (spec/19-in-toto.md).

Implements `placet.ports.evidence_verifier.EvidenceVerifier` for evidence of the link set's media type.  Which
layout must hold, and who must have signed it, the rules say; both are files of the trust root.  Of the
requester's files only links are read, in a private folder, after `placet.adapters.intoto.layouts` judged
every one of them.

When a layout has expired is judged by in-toto itself, with this machine's clock, as the gate's own is.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from placet.adapters.intoto.link_set import parse_link_set
from placet.core.encoding import Digest, sha256_hex
from placet.core.errors import IndeterminateError, PlacetError, Reason, VerificationError
from placet.core.evidence.facts import IN_TOTO, LINKS_MEDIA_TYPE, Evidence, EvidenceFact, Signer
from placet.core.policy import select_rules
from placet.core.statement import IntentStatement
from placet.core.trust import Trust

if TYPE_CHECKING:
    from placet.adapters.intoto.layouts import Parsed

# in-toto keeps what it says about failed rules in a global, and logs what links say to standard error.
_LOCK = threading.Lock()
_MAX_PARTS = 200


class Demand(NamedTuple):
    """A layout that must hold, and the keys that must all have signed it; names of trust root files."""

    layout: str
    owners: tuple[str, ...]


class LinkSetVerifier:
    """Verifies link sets with the layouts of the trust root."""

    def __init__(self, snapshot: Path) -> None:
        """Names the trust snapshot; nothing is read before it is needed."""
        self._snapshot = snapshot

    def verify(
        self, statement: IntentStatement, evidence: tuple[Evidence, ...], *, trust: Trust
    ) -> tuple[EvidenceFact, ...]:
        """Returns one fact for each layout that a link set satisfies.

        A link set that no rule asks for yields none: only a rule says what it would have to prove.

        Raises:
            VerificationError: EVIDENCE_LAYOUT: a set satisfies no layout that the rules name.
            PolicyError: EVIDENCE_LAYOUT: one person could meet a step's threshold alone.
            IndeterminateError: a file of the trust root or the library is missing here.
            MalformedError: a set, or a key of the trust root, is not in its format.
        """
        sets = [item for item in evidence if item.media_type == LINKS_MEDIA_TYPE]
        demands = demanded_layouts(statement, trust) if sets else ()
        if not demands:
            return ()
        return tuple(fact for item in sets for fact in self._verify_set(item, demands, trust))

    def _verify_set(
        self, item: Evidence, demands: tuple[Demand, ...], trust: Trust
    ) -> tuple[EvidenceFact, ...]:
        files = parse_link_set(item.content)
        facts: list[EvidenceFact] = []
        refusals: list[PlacetError] = []
        for demand in demands:
            try:
                facts.append(self._verify_one(item.digest, files, demand, trust))
            except PlacetError as e:
                refusals.append(e)
        if not facts:
            # With several layouts, each set is made for one of them.
            raise refusals[0]
        return tuple(facts)

    def _verify_one(
        self, digest: Digest, files: dict[str, bytes], demand: Demand, trust: Trust
    ) -> EvidenceFact:
        from placet.adapters.trust_files import TrustFiles

        pinned = TrustFiles(self._snapshot)
        layout = pinned.read(demand.layout, trust)
        owners = {name: pinned.read(name, trust) for name in demand.owners}
        products, steps = verify_layout(demand.layout, layout, owners, files, trust=trust)
        return EvidenceFact(
            kind=IN_TOTO,
            digest=digest,
            subjects=products,
            signer=Signer(kind="functionaries", instance=demand.layout),
            predicate={
                "layout": demand.layout,
                "layoutDigest": sha256_hex(layout),
                "owners": list(demand.owners),
                "steps": list(steps),
            },
        )


def demanded_layouts(statement: IntentStatement, trust: Trust) -> tuple[Demand, ...]:
    """Returns the layouts that the rules for this action require to hold."""
    rules = select_rules(trust.rules, trust.scopes, action=statement.action_type, target=statement.target)
    demands = (
        Demand(str(required.options["layout"]), tuple(map(str, required.options["owners"])))
        for rule in rules
        for required in rule.evidence
        if required.kind == IN_TOTO
    )
    return tuple(dict.fromkeys(demands))


def verify_layout(
    name: str, layout: bytes, owners: dict[str, bytes], links: dict[str, bytes], *, trust: Trust
) -> tuple[frozenset[str], tuple[str, ...]]:
    """Verifies that links satisfy a layout that its owners signed.

    Args:
        name: the layout's, for refusals.
        owners: name → public key; every one must have signed the layout.
        links: relative path → contents.
        trust: says which keys belong to one person.

    Returns:
        The digests of the final products, spelled ``algorithm:hex``, and the names of the steps.

    Raises:
        VerificationError, PolicyError: EVIDENCE_LAYOUT.
        MalformedError: BAD_KEY.
        IndeterminateError: EVIDENCE_NOT_VERIFIED: in-toto is not installed.
    """
    try:
        import in_toto  # type: ignore[import-untyped]  # noqa: F401
    except ModuleNotFoundError as e:
        raise IndeterminateError(
            Reason.EVIDENCE_NOT_VERIFIED,
            "A rule requires an in-toto layout, and the library that verifies them is not installed here.",
            hint="Install it with: pip install 'placet[intoto]'",
        ) from e
    from placet.adapters.intoto.keys import read_owner_key

    keys = {key["keyid"]: key for key in (read_owner_key(data, file) for file, data in owners.items())}
    with _private_folder() as folder, _quiet_in_toto():
        root, place = folder / "root.layout", folder / "links"
        _write_files(
            folder, {"root.layout": layout} | {f"links/{file}": data for file, data in links.items()}
        )
        parsed = _check_files(root, name, place, links, trust)
        summary = _in_toto_verify(name, parsed, keys, place)
    products = frozenset(
        f"{algorithm}:{digest.lower()}"
        for digests in summary.products.values()
        for algorithm, digest in digests.items()
    )
    return products, tuple(step.name for step in parsed.metadata.get_payload().steps)


@contextmanager
def _private_folder() -> Iterator[Path]:
    try:
        folder = tempfile.mkdtemp(prefix="placet-in-toto-")
    except OSError as e:
        raise _no_room(e) from e
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_files(folder: Path, files: dict[str, bytes]) -> None:
    try:
        for name, data in files.items():
            path = folder / name
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.write_bytes(data)
    except OSError as e:
        raise _no_room(e) from e


def _no_room(error: OSError) -> IndeterminateError:
    return IndeterminateError(
        Reason.EVIDENCE_NOT_VERIFIED,
        f"The links cannot be laid out for in-toto: {error.strerror}.",
        hint=f"Make room in {tempfile.gettempdir()}, or name another folder in TMPDIR.",
    )


def _check_files(root: Path, name: str, place: Path, links: dict[str, bytes], trust: Trust) -> Parsed:
    """Judges the layout, and every link and sublayout, before in-toto acts on any of them."""
    from placet.adapters.intoto.layouts import check_layout, holders_of, is_layout, load_metadata

    people = holders_of(trust)
    parsed = load_metadata(root, name)
    if not is_layout(parsed):
        raise VerificationError(Reason.EVIDENCE_LAYOUT, f"{name} is not a layout.")
    check_layout(parsed, name, people)
    for file in links:
        found = load_metadata(place / file, f"the link {file}")
        if is_layout(found):
            check_layout(found, f"the sublayout {file}", people)
            continue
        _check_step(file, str(found.payload.get("name")))
    return parsed


def _check_step(file: str, step: str) -> None:
    # in-toto finds links by their files' names and asks no more: a functionary's link of one step would
    # pass for that of another.
    stem, _, keyid = file.rpartition("/")[2].removesuffix(".link").rpartition(".")
    if stem != step or not keyid:
        raise VerificationError(
            Reason.EVIDENCE_LAYOUT,
            f"The link {file} is not of that step: it says {step[:80]!r}.",
            hint="Name the file as the in-toto tools did: STEP.KEYID.link.",
        )


def _in_toto_verify(name: str, parsed: Parsed, keys: dict[str, Any], place: Path) -> Any:
    from in_toto import exceptions as failures
    from in_toto.verifylib import in_toto_verify  # type: ignore[import-untyped]

    try:
        return in_toto_verify(parsed.metadata, keys, link_dir_path=str(place))
    except failures.LayoutExpiredError as e:
        message = f"The layout {name} has expired."
        hint = "Its owners sign a newer one, and an administrator publishes it."
        raise VerificationError(Reason.EVIDENCE_LAYOUT, message, hint=hint) from e
    except failures.SignatureVerificationError as e:
        message = f"The layout {name} is not signed by every owner that the rule names."
        raise VerificationError(
            Reason.EVIDENCE_LAYOUT, message, hint="The rule's `owners` and the layout must fit each other."
        ) from e
    except (
        failures.LinkNotFoundError,
        failures.ThresholdVerificationError,
        failures.RuleVerificationError,
    ) as e:
        # What follows the first line lists every artifact of the step.
        said = (str(e).splitlines() or [type(e).__name__])[0]
        message = f"The layout {name} does not hold: {said[:_MAX_PARTS]}"
        hint = "Carry the links of every step, by the functionaries that the layout names."
        raise VerificationError(Reason.EVIDENCE_LAYOUT, message, hint=hint) from e
    except Exception as e:  # whatever else a hostile file makes it raise
        message = f"in-toto cannot judge the layout {name}: {type(e).__name__}: {str(e)[:_MAX_PARTS]}."
        raise VerificationError(Reason.EVIDENCE_LAYOUT, message) from e


@contextmanager
def _quiet_in_toto() -> Iterator[None]:
    """Lets one thread verify at a time, with nothing of what links say written to this terminal."""
    logger = logging.getLogger("in_toto")
    with _LOCK:
        level = logger.level
        logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            logger.setLevel(level)

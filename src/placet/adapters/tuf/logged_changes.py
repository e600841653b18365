"""Trust changes on their way into a log: metadata is taken where the chain that is known signed it.

The chain is what the TUF client keeps beside a snapshot (`placet.adapters.tuf.refresh`), and what followed it
into the log since.  Where nothing lies beside the snapshot, the first root has to be signed by itself, at
threshold, and begins the chain: monitors, who know the administrators, tell a stranger's root from the real
one.  A log without a snapshot takes no trust changes at all (`placet.ceremony.log_records`).

Each version has one file: written as we write it, and signed by nobody else.  Otherwise anybody could fill
the log with respelled copies.  Expiry is not judged: a log keeps what was.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from securesystemslib.exceptions import StorageError
from tuf.api.metadata import Metadata, Root, Targets  # type: ignore[attr-defined]  # re-exported
from tuf.api.serialization.json import JSONSerializer

from placet.adapters.securesystemslib import register
from placet.adapters.tuf.delegations import read_delegations
from placet.adapters.tuf.trust import ROOT, TARGETS, check_people_hold_one_key, named_errors, parse_metadata
from placet.core.encoding import Digest, sha256_hex
from placet.core.errors import MalformedError, PlacetError, Reason, VerificationError

# More versions than administrators sign while a log runs; bounds what a process remembers.
_MAX_REMEMBERED = 256
_HINT = "If this was published lately, the log's operator runs `placet trust refresh`."


class TrustChain:
    """The roots and targets by which changes are judged.

    Args:
        snapshot: the log's trust snapshot; None where it has none.
    """

    def __init__(self, snapshot: Path | None) -> None:
        register()
        self._kept = None if snapshot is None else snapshot.with_suffix(".tuf") / "metadata"
        self._roots: dict[int, bytes] = {}
        self._targets: dict[int, bytes] = {}
        self._forms: dict[tuple[str, Digest], Digest] = {}

    def verify(self, metadata: bytes) -> None:
        """Verifies a metadata file, and remembers it where others are judged by it.

        Raises:
            MalformedError: it is no metadata of a root, of targets or of a scope.
            VerificationError: BAD_TRUST: the chain that is known did not sign it, or not in this form.
        """
        try:
            self._verify(metadata)
        except PlacetError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as e:
            raise MalformedError(Reason.BAD_TRUST, f"This is no TUF metadata: {type(e).__name__}.") from e

    def _verify(self, data: bytes) -> None:
        with named_errors("the trust change"):
            parsed: Metadata[Any] = Metadata.from_bytes(data)
            if parsed.signed.type not in (ROOT, TARGETS):
                raise MalformedError(
                    Reason.BAD_TRUST,
                    "The log takes roots, targets and rules of scopes; what machines renew is not logged.",
                    actual=parsed.signed.type,
                )
            if parsed.to_bytes(JSONSerializer()) != data:
                raise VerificationError(Reason.BAD_TRUST, "The metadata is spelled in another way than ours.")
            if parsed.signed.type == ROOT:
                self._verify_root(data, parsed)
            else:
                self._verify_targets(data, parsed)

    def _verify_root(self, data: bytes, parsed: Metadata[Any]) -> None:
        root: Root = parsed.signed
        check_people_hold_one_key(root)
        known = self._known_roots()
        if known.get(root.version) == data:
            return
        if root.version in known:
            raise VerificationError(Reason.BAD_TRUST, f"The log knows another root {root.version}.")
        before = known.get(root.version - 1)
        if before is None and known:
            raise VerificationError(
                Reason.BAD_TRUST, "The root does not follow one that the log knows.", hint=_HINT
            )
        judges = [root] if before is None else [parse_metadata(before, ROOT).signed, root]
        _check_signed(parsed, judges, ROOT)
        _remember(self._roots, root.version, data)

    def _verify_targets(self, data: bytes, parsed: Metadata[Any]) -> None:
        roots = [parse_metadata(found, ROOT).signed for found in self._known_roots().values()]
        for root in reversed(roots):
            if _is_signed(parsed, root, TARGETS):
                self._check_only_form(TARGETS, parsed, data)
                _remember(self._targets, parsed.signed.version, data)
                return
        for targets in self._known_targets():
            for role in read_delegations(targets):
                if _is_signed(parsed, targets, role):
                    self._check_only_form(role, parsed, data)
                    return
        raise VerificationError(
            Reason.BAD_TRUST,
            "The metadata is not signed by enough of the people whom the log knows for it, or by others too.",
            hint=_HINT,
        )

    def _check_only_form(self, role: str, parsed: Metadata[Any], data: bytes) -> None:
        """Refuses what was signed once and comes with other signatures; call it once those hold.

        From each ECDSA signature anybody can compute a second, and leave one out that is not needed.
        """
        if role != TARGETS and not parsed.signed.targets:
            return  # two scopes of the same owners are alike as long as they are empty
        if self._kept is not None and role == TARGETS and (path := self._kept / "targets.json").is_file():
            kept = path.read_bytes()
            self._forms[_name_form(role, parse_metadata(kept, TARGETS))] = sha256_hex(kept)
        digest = sha256_hex(data)
        if self._forms.setdefault(_name_form(role, parsed), digest) != digest:
            raise VerificationError(Reason.BAD_TRUST, "The log knows this version with other signatures.")
        while len(self._forms) > _MAX_REMEMBERED:
            del self._forms[next(iter(self._forms))]

    def _known_roots(self) -> dict[int, bytes]:
        """Returns version → file, oldest first; what the TUF client verified counts above the rest."""
        found = dict(self._roots)
        if self._kept is not None:
            for path in (self._kept / "root_history").glob("*.root.json"):
                number = path.name.partition(".")[0]
                if number.isascii() and number.isdigit():
                    found[int(number)] = path.read_bytes()
        return dict(sorted(found.items()))

    def _known_targets(self) -> list[Targets]:
        files = [data for _, data in sorted(self._targets.items(), reverse=True)]
        if self._kept is not None and (path := self._kept / "targets.json").is_file():
            files.append(path.read_bytes())
        return [cast(Targets, parse_metadata(data, TARGETS).signed) for data in files]


def _check_signed(parsed: Metadata[Any], judges: list[Root], role: str) -> None:
    """Refuses metadata that a judge's people did not sign at threshold, or that somebody else signed."""
    signed: set[str] = set()
    for judge in judges:
        result = judge.get_verification_result(role, parsed.signed_bytes, parsed.signatures)
        if not result.verified:
            raise VerificationError(
                Reason.BAD_TRUST, "The root is not signed by enough of its administrators.", hint=_HINT
            )
        signed |= result.signed.keys()
    if signed != parsed.signatures.keys():
        raise VerificationError(Reason.BAD_TRUST, "The root has a signature that does not count.")


def _is_signed(parsed: Metadata[Any], judge: Root | Targets, role: str) -> bool:
    try:
        result = judge.get_verification_result(role, parsed.signed_bytes, parsed.signatures)
    except (ValueError, StorageError):
        return False
    return bool(result.verified) and result.signed.keys() == parsed.signatures.keys()


def _name_form(role: str, parsed: Metadata[Any]) -> tuple[str, Digest]:
    return role, sha256_hex(parsed.signed_bytes)


def _remember(known: dict[int, bytes], version: int, data: bytes) -> None:
    known[version] = data
    while len(known) > _MAX_REMEMBERED:
        del known[min(known)]

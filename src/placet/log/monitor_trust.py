"""Trust changes in a log: unsigned ones, two of one version, an older one after a newer, missing ones."""

from __future__ import annotations

from pathlib import Path

from placet.adapters.sqlite.audit import AuditStore, StoredMetadata
from placet.core.encoding import sha256_hex
from placet.core.errors import PlacetError
from placet.log.monitor_findings import Finding, FindingName, finding
from placet.log.monitor_leaves import JudgedMetadata

_ROOT = "root"
_UNJUDGED = "a file of the trust root"


class TrustHistory:
    """What this machine and the logs know of the trust root's versions.

    Args:
        snapshot: this machine's trust snapshot; its client's record lies beside it.
        store: what logs held so far.
    """

    def __init__(self, snapshot: Path, store: AuditStore) -> None:
        self._snapshot = snapshot
        self._store = store

    def judge(self, data: bytes) -> JudgedMetadata:
        """Judges a file that stands in a log, and remembers it.

        Raises:
            MalformedError: it is no root or targets metadata.
        """
        try:
            from placet.adapters.tuf.logged import KnownMetadata, read_known, verify_logged
        except ModuleNotFoundError as e:
            if e.name not in ("tuf", "securesystemslib"):
                raise
            return JudgedMetadata(_UNJUDGED, 0, False, ())
        known = read_known(self._snapshot)
        before = self._store.list_metadata()
        verified = [item for item in before if item.verified]
        roots = {item.version: item.data for item in verified if item.role == _ROOT} | dict(known.roots)
        targets = (*known.targets, *(item.data for item in reversed(verified) if item.role != _ROOT))
        found = verify_logged(data, KnownMetadata(roots, targets))
        digest = sha256_hex(data)
        item = StoredMetadata(found.role, found.version, digest, data, found.verified)
        self._store.keep_metadata(item)
        name = f"{found.role} version {found.version}"
        wrong: list[tuple[FindingName, str]] = []
        if not found.verified and found.judged:
            wrong.append(
                (FindingName.TRUST_FORGED, f"{name} is not signed by those whom the trust root names")
            )
        elif found.verified:
            wrong = _judge_versions(item, verified, roots.get(found.version) if found.role == _ROOT else None)
        if not wrong:
            word = "" if found.verified else ", which this machine could not verify"
            wrong.append((FindingName.TRUST_CHANGED, f"The trust root has a new {name}{word}"))
        return JudgedMetadata(found.role, found.version, found.verified, tuple(wrong))

    def missing(self) -> tuple[Finding, ...]:
        """Returns the findings of files that this machine follows and no log holds.

        Where no log holds any, trust changes are not logged here, and nothing is missing.
        """
        logged = {item.digest for item in self._store.list_metadata()}
        if not logged:
            return ()
        try:
            from placet.adapters.tuf.logged import read_followed

            followed = read_followed(self._snapshot)
        except (ModuleNotFoundError, OSError, PlacetError):
            return ()
        return tuple(
            finding(
                FindingName.TRUST_NOT_LOGGED,
                f"{item.role}:{item.digest}",
                f"This machine follows {item.role} version {item.version}, which is in no log.",
            )
            for item in followed
            if item.digest not in logged
        )


def _judge_versions(
    item: StoredMetadata, before: list[StoredMetadata], followed_root: bytes | None
) -> list[tuple[FindingName, str]]:
    of_role = [other for other in before if other.role == item.role]
    name = f"{item.role} version {item.version}"
    twins = [o for o in of_role if o.version == item.version and o.digest != item.digest]
    if twins or (followed_root is not None and followed_root != item.data):
        return [(FindingName.TRUST_SPLIT, f"{name} exists twice, and both are signed")]
    newest = max((other.version for other in of_role), default=0)
    if item.version < newest:
        text = f"{name} was logged after version {newest}"
        return [(FindingName.TRUST_ROLLED_BACK, text)]
    return []

"""What a test gives instead of an ear: the fingerprints of new keys, as their holders would read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from placet.adapters.tuf.repository import TrustRepository
from placet.adapters.tuf.trust import administrators_of
from placet.ceremony.fingerprint import fingerprint_words
from placet.ceremony.trust_edit import read_deployment
from placet.cli.trust.shared import default_repository
from placet.core.encoding import KeyId, parse_json
from placet.core.people import parse_people, parse_terminals


def _holders(root: Any, files: dict[str, bytes]) -> set[tuple[str, KeyId]]:
    found = set() if root is None else {(person, keyid) for keyid, person in administrators_of(root).items()}
    if files:
        deployment = read_deployment(files)
        people, terminals = (
            parse_json(files[name], max_bytes=1 << 24, what=name)
            for name in ("people.json", "terminals.json")
        )
        found |= {(p.id, c.keyid) for p in parse_people(people, deployment) for c in p.credentials}
        found |= {(t.id, t.keyid) for t in parse_terminals(terminals, deployment)}
    return found


def read_aloud(repository: TrustRepository | Path | None = None) -> list[str]:
    """Returns `--fingerprint HOLDER=WORDS` for every key that the draft newly enrols."""
    if not isinstance(repository, TrustRepository):
        repository = TrustRepository(repository or default_repository())
    before = _holders(repository.published_root(), repository.published_files())
    after = _holders(repository.current_root(), repository.draft_files())
    new = sorted(after - before)
    return [
        word
        for holder, key in new
        for word in ("--fingerprint", f"{holder}={'-'.join(fingerprint_words(key))}")
    ]

"""Writes the test vectors under ``vectors/``; every byte follows from seeds, so a second run changes nothing.

python scripts/make_vectors.py [--out DIR]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from vector_sources import (
    containers,
    decisions,
    evidence,
    forms,
    log,
    logged,
    signatures,
    trust,
    uses,
    verdicts,
    worlds,
)
from vector_sources.schema import schema

HERE = Path(__file__).resolve().parent.parent / "vectors"
SOURCES = (
    forms.admission,
    forms.statements,
    forms.definitions,
    forms.display,
    signatures.envelopes,
    signatures.signatures,
    signatures.client_data,
    trust.trust,
    trust.policies,
    trust.quorums,
    containers.containers,
    containers.reports,
    containers.requesters,
    decisions.decisions,
    logged.logged,
    evidence.evidences,
    uses.uses,
    uses.runs,
    verdicts.verdicts,
    log.logs,
)


def write_all(out: Path) -> int:
    """Writes every file of vectors and every trust snapshot; returns the number of vectors."""
    snapshots = {name: source.snapshot() for name, source in worlds.worlds().items()}
    snapshots["narrow-scope"] = worlds.narrow_scope()
    for name, snapshot in snapshots.items():
        write(out / "trust" / f"{name}.json", json.loads(snapshot))
    kinds: set[str] = set()
    total = 0
    for source in SOURCES:
        book = source()
        total += len(book.vectors)
        kinds |= {vector["kind"] for vector in book.vectors}
        write(out / f"{book.area}.json", {"area": book.area, "vectors": book.vectors})
    write(out / "schema.json", schema(sorted(kinds)))
    return total


def write(path: Path, value: Any) -> None:
    """Writes JSON for people to read and for machines to compare."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=True) + "\n", encoding="ascii")


def main() -> None:
    """Runs the program."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=HERE, help="the folder to write to (vectors/)")
    out: Path = parser.parse_args().out
    print(f"{write_all(out)} vectors in {out}")


if __name__ == "__main__":
    main()

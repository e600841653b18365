"""A gate's refresh of the trust of 1,000 people and 200 rules: time, and memory of a whole process.

Interleaved in one run, all from a folder, each into a fresh place:

- stock      python-tuf's own client: the same metadata verified, the same files downloaded
- first      `placet`'s refresh: the same, and everything checked and compiled to a snapshot
- unchanged  a refresh that finds nothing new, and compiles and replaces the snapshot nonetheless

    python benchmarks/trust_refresh.py [--rounds 15]

Quotable are the ratios.  Memory is the peak resident set of `placet trust refresh` in a process of its own,
beside one that only imports python-tuf.  Exits with 1 when the process takes more than 100 MB.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from _measure import interleave, medians
from _trust_scene import make_files, publish_files
from memory_verify import peak_mb
from tuf.ngclient import Updater

from placet.adapters.securesystemslib import register
from placet.adapters.tuf.fetch import FOLDER_SCHEME, FolderFetcher
from placet.adapters.tuf.refresh import refresh

PEOPLE, RULES = 1000, 200
GOAL_MB = 100.0


def stock_client(public: Path, names: list[str], folders: Callable[[], Path]) -> Callable[[], object]:
    """Returns the call that has python-tuf's client fetch everything into a fresh folder."""
    register()
    bootstrap = (public / "metadata" / "1.root.json").read_bytes()

    def run() -> None:
        folder = folders()
        (folder / "targets").mkdir(parents=True)
        updater = Updater(
            str(folder),
            f"{FOLDER_SCHEME}metadata/",
            str(folder / "targets"),
            f"{FOLDER_SCHEME}targets/",
            fetcher=FolderFetcher(public),
            bootstrap=bootstrap,
        )
        for name in names:
            info = updater.get_targetinfo(name)
            assert info is not None
            updater.download_target(info)

    return run


def main() -> int:
    """Runs the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(description="Refreshing the trust of 1,000 people and 200 rules.")
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as base:
        files = make_files(PEOPLE, RULES)
        public, digest = publish_files(Path(base), files)
        numbers = itertools.count()

        def fresh() -> Path:
            return Path(base) / f"gate-{next(numbers)}"

        kept = fresh() / "snapshot.json"
        sides: dict[str, Callable[[], object]] = {
            "stock": stock_client(public, list(files), fresh),
            "first": lambda: refresh(str(public), fresh() / "snapshot.json", root_sha256=digest),
            "unchanged": lambda: refresh(str(public), kept, root_sha256=digest),
        }
        median = medians(interleave(sides, rounds))
        command = [sys.executable, "-I", "-m", "placet", "trust", "refresh", "--from", str(public)]
        command += ["--root-sha256", digest, "--to", str(fresh() / "snapshot.json")]
        library = peak_mb([sys.executable, "-I", "-c", "import tuf.ngclient"])
        process = peak_mb(command)
        size = kept.stat().st_size
    print(f"{PEOPLE:,} people with a key each, {RULES + 3} rules; the snapshot has {size:,} bytes\n")
    print("| refresh | median | : stock |")
    print("|---|---:|---:|")
    for name, seconds in median.items():
        print(f"| {name} | {seconds * 1e3:.0f} ms | {seconds / median['stock']:.2f} |")
    print("\n| process | peak resident set |")
    print("|---|---:|")
    print(f"| importing python-tuf's client | {library:.1f} MB |")
    print(f"| `placet trust refresh` | {process:.1f} MB |")
    met = process < GOAL_MB
    print(f"\ngoal: below {GOAL_MB:g} MB: {'met' if met else 'MISSED'}; time has none")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())

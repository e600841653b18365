"""Trust changes are logged when they are published: version by version, once each."""

from __future__ import annotations

import sys
from pathlib import Path

from in_process import placet
from log_serving import serving

sys.path.insert(0, str(Path(__file__).parents[1] / "adapters"))

from tuf_trust_world import ANNA, BEN, CLEO, TrustWorld

from placet.adapters.log_client import LogClient
from placet.core.encoding import sha256_hex
from placet.core.tlog.leaf import TrustLeaf, parse_leaf
from placet.core.tlog.tiles import parse_entries


def test_each_published_version_becomes_one_leaf(tmp_path: Path) -> None:
    world = TrustWorld(tmp_path)
    assert placet(tmp_path, "log", "init", "log.example/a", "--state", "log").returncode == 0
    publish = ["trust", "publish", "--repository", str(world.repository.path)]
    root = world.publish(ANNA, BEN).root_sha256
    world.refresh(root_sha256=root)
    world.stage_policy(world.world.policy + "\n# of today\n")
    with serving("log", tmp_path / "log", "--trust-snapshot", str(world.snapshot)) as url:
        world.sign(ANNA, BEN)
        first = placet(tmp_path, *publish, "--log", url)
        assert (first.returncode, "3 of them are new there" in first.stdout) == (0, True), first.stderr
        world.stage_policy(world.world.policy + "\n# another\n")
        world.sign(BEN, CLEO)
        assert "1 of them are new there" in placet(tmp_path, *publish, "--log", url).stdout
        # What machines renew is no leaf.
        again = placet(tmp_path, "log", "publish-trust", str(world.public), "--log", url)
        assert (again.returncode, "all 4 published versions; 0 are new" in again.stdout) == (0, True)
        # What no log takes is said, and not passed over.
        (world.public / "metadata" / "1.large.json").write_bytes(b" " * 1024 * 1024)
        large = placet(tmp_path, "log", "publish-trust", str(world.public), "--log", url)
        assert (large.returncode, "1.large.json" in large.stderr) == (1, True)
        (world.public / "metadata" / "1.large.json").unlink()
        leaves = [parse_leaf(e) for e in parse_entries(LogClient(url).fetch_tile("tile/entries/000.p/4"))]
    assert all(isinstance(leaf, TrustLeaf) and len(leaf.keyids) == 2 for leaf in leaves)
    world.stage_policy(world.world.policy + "\n# a third\n")
    world.sign(ANNA, CLEO)
    down = placet(tmp_path, *publish, "--log", url)
    assert (down.returncode, "is published, but not logged" in down.stderr) == (3, True)
    assert "placet log publish-trust" in down.stderr


def test_a_trust_root_of_others_is_not_logged(tmp_path: Path) -> None:
    known, other = TrustWorld(tmp_path / "known"), TrustWorld(tmp_path / "other")
    for world in (known, other):
        world.publish(ANNA, BEN)
    root = (known.public / "metadata" / "1.root.json").read_bytes()
    known.refresh(root_sha256=sha256_hex(root))
    assert placet(tmp_path, "log", "init", "log.example/a", "--state", "log").returncode == 0
    with serving("log", tmp_path / "log", "--trust-snapshot", str(known.snapshot)) as url:
        refused = placet(tmp_path, "log", "publish-trust", str(other.public), "--log", url)
        assert (refused.returncode, "not-admitted" in refused.stderr) == (1, True)
        taken = placet(tmp_path, "log", "publish-trust", str(known.public), "--log", url)
        assert taken.returncode == 0, taken.stderr

"""Keeping trust fresh: what the online keys renew, where they lie, and crashes and readers meanwhile."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tuf_trust_world import ANNA, BEN, CLEO, DAY, TrustWorld

from placet.adapters.tuf.administrators import rotate_online_keys
from placet.adapters.tuf.history import HISTORY_FILE, read_history, record
from placet.adapters.tuf.online import renew_online
from placet.adapters.tuf.publish import mirror, publish
from placet.adapters.tuf.refresh import refresh
from placet.adapters.tuf.repository import TrustRepository
from placet.adapters.tuf.signing import pending_roles
from placet.adapters.tuf.status import repository_dates, snapshot_dates
from placet.core.errors import MalformedError, PlacetError, PolicyError, Reason
from placet.core.trust import parse_trust


@pytest.fixture
def trust(tmp_path: Path) -> TrustWorld:
    return TrustWorld(tmp_path)


def refused(reason: Reason) -> "pytest.RaisesExc[PlacetError]":
    return pytest.raises(PlacetError, check=lambda e: e.reason is reason)


# -- renewing


def test_the_timestamp_is_renewed_each_time_and_the_snapshot_at_half_its_time(trust: TrustWorld) -> None:
    first = trust.publish(ANNA, BEN)
    trust.refresh(root_sha256=first.root_sha256)
    soon = renew_online(trust.repository, now=trust.now + DAY)
    assert soon.versions == {"snapshot": 1, "timestamp": 2}
    assert soon.expires_at["timestamp"] == trust.now + 8 * DAY
    late = renew_online(trust.repository, now=trust.now + 15 * DAY)
    assert late.versions == {"snapshot": 2, "timestamp": 3}
    assert late.expires_at == {"snapshot": trust.now + 45 * DAY, "timestamp": trust.now + 22 * DAY}
    assert trust.refresh().versions == {"root": 1, "targets": 1, "snapshot": 2, "timestamp": 3}


def test_a_shorter_time_can_be_said_and_never_outlives_the_snapshot(trust: TrustWorld) -> None:
    trust.publish(ANNA, BEN)
    renewed = renew_online(trust.repository, now=trust.now, validity={"timestamp": DAY})
    assert renewed.expires_at["timestamp"] == trust.now + DAY
    renewed = renew_online(trust.repository, now=trust.now, validity={"timestamp": 60 * DAY})
    assert renewed.expires_at["timestamp"] == renewed.expires_at["snapshot"] == trust.now + 30 * DAY
    (dates,) = [item for item in repository_dates(trust.repository) if item.role == "timestamp"]
    assert dates.issued_at == trust.now


def test_a_renewal_leaves_drafts_and_their_signatures_alone(trust: TrustWorld) -> None:
    first = trust.publish(ANNA, BEN)
    trust.refresh(root_sha256=first.root_sha256)
    trust.repository.renew(now=trust.now)
    rotate_online_keys(trust.repository, now=trust.now)
    trust.sign(CLEO)
    before = pending_roles(trust.repository)
    renew_online(trust.repository, now=trust.now)
    assert pending_roles(trust.repository) == before
    assert trust.refresh().versions == {"root": 1, "targets": 1, "snapshot": 1, "timestamp": 2}
    timestamp = json.loads((trust.public / "metadata" / "timestamp.json").read_bytes())
    assert len(timestamp["signatures"]) == 1, "the drafted root's key has nothing to say yet"
    trust.sign(ANNA)  # complete, and still nobody's business but that of `publish`
    renew_online(trust.repository, now=trust.now)
    assert trust.refresh().versions["root"] == 1
    publish(trust.repository, now=trust.now)
    assert trust.refresh().versions["root"] == 2


def test_nothing_is_renewed_before_anything_is_published(trust: TrustWorld) -> None:
    with refused(Reason.TRUST_UNAVAILABLE):
        renew_online(trust.repository, now=trust.now)
    assert not (trust.public / "metadata" / "timestamp.json").exists()


def test_without_the_key_nothing_changes(trust: TrustWorld) -> None:
    trust.publish(ANNA, BEN)
    before = (trust.public / "metadata" / "timestamp.json").read_bytes()
    (trust.repository.path / "keys" / "timestamp.pem").unlink()
    for now in (trust.now, trust.now + 20 * DAY):
        with refused(Reason.TRUST_UNAVAILABLE):
            renew_online(trust.repository, now=now)
    assert (trust.public / "metadata" / "timestamp.json").read_bytes() == before
    assert not (trust.public / "metadata" / "2.snapshot.json").exists()


# -- the keys


def test_online_keys_move_to_another_host(trust: TrustWorld) -> None:
    first = trust.publish(ANNA, BEN)
    there = TrustRepository(Path(shutil.copytree(trust.repository.path, trust.folder / "there")))
    shutil.rmtree(there.path / "keys")
    data = trust.repository.online_keys.encode()
    roots = [root for root in [there.published_root()] if root is not None]
    assert there.online_keys.decode(data, roots) == ("snapshot", "timestamp")
    paths = list((there.path / "keys").iterdir())
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in paths)
    assert (there.path / "keys").stat().st_mode & 0o777 == 0o700
    renew_online(there, now=trust.now)
    assert trust.refresh(there.public_folder, root_sha256=first.root_sha256).versions["timestamp"] == 2


def test_keys_that_the_root_does_not_name_are_not_taken(trust: TrustWorld, tmp_path: Path) -> None:
    trust.publish(ANNA, BEN)
    other = TrustWorld(tmp_path / "other")
    root = trust.repository.current_root()
    before = sorted(path.name for path in (trust.repository.path / "keys").iterdir())
    with refused(Reason.UNKNOWN_KEY):
        trust.repository.online_keys.decode(other.repository.online_keys.encode(), [root])
    good = json.loads(trust.repository.online_keys.encode())
    exchanged = [{**key, "role": "snapshot"} for key in good["keys"]]
    with pytest.raises(PolicyError, match="not the one that the root names"):
        trust.repository.online_keys.decode(json.dumps(good | {"keys": exchanged}).encode(), [root])
    for change in ({"mediaType": "text/plain"}, {"keys": []}, {"keys": [{"role": "root"}]}, {"more": 1}):
        with pytest.raises(MalformedError):
            trust.repository.online_keys.decode(json.dumps(good | change).encode(), [root])
    broken = [{**key, "privateKey": "-----BEGIN"} for key in good["keys"]]
    with refused(Reason.BAD_KEY):
        trust.repository.online_keys.decode(json.dumps(good | {"keys": broken}).encode(), [root])
    assert sorted(path.name for path in (trust.repository.path / "keys").iterdir()) == before


# -- crashes and readers

_KILLED = """
import os, signal, sys, time
from pathlib import Path
from placet.adapters.tuf.online import renew_online
from placet.adapters.tuf.publish import mirror
from placet.adapters.tuf.repository import TrustRepository
repository, now = TrustRepository(Path(sys.argv[1])), int(sys.argv[2])
print("ready", flush=True)
while True:
    now += 16 * 86_400 // 4
    renew_online(repository, now=now, validity={"timestamp": 10**8, "snapshot": 10**8})
    mirror(repository, Path(sys.argv[3]))
    print("renewed", flush=True)
"""


def test_sigkill_at_any_time_while_trust_is_kept_fresh(trust: TrustWorld) -> None:
    """A real process, killed at real moments; each time the folder is as before or as after a renewal."""
    first = trust.publish(ANNA, BEN)
    web = trust.folder / "web"
    mirror(trust.repository, web)
    seen = 0
    for n in range(5):
        parts = [sys.executable, "-c", _KILLED, trust.repository.path, trust.now, web]
        process = subprocess.Popen([str(part) for part in parts], stdout=subprocess.PIPE)
        assert process.stdout is not None
        with process.stdout as out:
            assert [out.readline() for _ in range(3)] == [b"ready\n", b"renewed\n", b"renewed\n"]
            threading.Event().wait(0.003 * n)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        for source in (trust.repository.path, web):
            found = refresh(
                str(source),
                trust.folder / f"gate-{n}-{source.name}" / "s.json",
                root_sha256=first.root_sha256,
            )
            assert found.versions["timestamp"] >= seen or source == web
        seen = found.versions["timestamp"]
        assert pending_roles(trust.repository) == ()
    assert seen > 5
    renew_online(trust.repository, now=trust.now)
    assert not list(trust.public.rglob(".*"))


def test_a_gate_may_refresh_from_a_mirror_while_it_is_renewed(trust: TrustWorld) -> None:
    first = trust.publish(ANNA, BEN)
    web, stop = trust.folder / "web", threading.Event()
    mirror(trust.repository, web)
    trust.refresh(web, root_sha256=first.root_sha256)
    wrong: list[Exception] = []
    versions = [1]

    def read() -> None:
        while not stop.is_set():
            try:
                versions.append(trust.refresh(web).versions["timestamp"])
            except Exception as e:
                wrong.append(e)

    reader = threading.Thread(target=read)
    reader.start()
    for n in range(8):
        # Each renewal makes a snapshot, too.
        renew_online(trust.repository, now=trust.now + 16 * n * DAY + 15 * DAY)
        mirror(trust.repository, web)
    stop.set()
    reader.join()
    assert wrong == []
    assert versions == sorted(versions)
    assert trust.refresh(web).versions["snapshot"] == 9


# -- what is shown


def test_a_gate_shows_each_role_s_date_where_the_client_kept_it(trust: TrustWorld) -> None:
    first = trust.publish(ANNA, BEN)
    trust.refresh(root_sha256=first.root_sha256)
    compiled = parse_trust(trust.snapshot.read_bytes())
    kept = {dates.role: dates for dates in snapshot_dates(compiled, trust.snapshot)}
    assert list(kept) == ["root", "targets", "snapshot", "timestamp"]
    assert {role: dates.expires_at for role, dates in kept.items()} == first.expires_at
    assert kept["timestamp"].issued_at == trust.now
    # Without them, or with those of other versions, the snapshot's own date is all there is.
    folder = trust.snapshot.with_suffix(".tuf") / "metadata"
    for damage in (b"{}", b"[", b'{"signed":{"expires":"soon"}}'):
        for path in folder.glob("*.json"):
            path.unlink()
            path.write_bytes(damage)
        ((role, _, expires_at, _),) = snapshot_dates(compiled, trust.snapshot)
        assert (role, expires_at) == ("timestamp", compiled.expires_at)
    shutil.rmtree(folder)
    assert len(snapshot_dates(compiled, trust.snapshot)) == 1


def test_nothing_published_has_no_dates(trust: TrustWorld) -> None:
    assert repository_dates(trust.repository) == ()


def test_the_history_keeps_what_was_published_and_survives_half_a_line(trust: TrustWorld) -> None:
    assert read_history(trust.repository) == ()
    trust.publish(ANNA, BEN)
    trust.publish()  # renews what is online: no line
    record(trust.repository, "staged", "the draft takes out Bob", now=trust.now, reason="left \x1b[2J")
    path = trust.repository.path / HISTORY_FILE
    with path.open("ab") as file:
        file.write(b'{"at": "2026-')
    record(trust.repository, "discarded", "the draft of targets 2", now=trust.now)
    events = read_history(trust.repository)
    assert [event.what for event in events] == ["published", "staged", "discarded"]
    assert events[0].versions == {"root": 1, "targets": 1}
    assert f"targets signed by {ANNA}, {BEN}" in events[0].text
    assert events[1].reason == "left \x1b[2J"
    assert path.stat().st_mode & 0o777 == 0o600
    mirror(trust.repository, trust.folder / "web")
    everything = b"".join(p.read_bytes() for p in (trust.folder / "web").rglob("*") if p.is_file())
    assert b"takes out Bob" not in everything

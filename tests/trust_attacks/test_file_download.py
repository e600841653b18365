"""tuf-conformance's `test_file_download`, by name: what targets name reaches the snapshot, nothing else."""

from __future__ import annotations

from trust_simulator import FILES, Gate, Simulator

from placet.adapters.tuf.trust import SNAPSHOT, TARGETS, TIMESTAMP
from placet.core.encoding import sha256_hex
from placet.core.errors import Reason

PEOPLE = "people.json"
NEW = FILES[PEOPLE].replace(b'"release"', b'"deploys"')
CHANGED = (TARGETS, SNAPSHOT, TIMESTAMP)


def test_client_downloads_expected_file(repo: Simulator, client: Gate) -> None:
    repo.add_file(PEOPLE, NEW)
    repo.publish(*CHANGED)
    trust = client.refresh().trust
    assert trust.files[PEOPLE] == sha256_hex(NEW)
    assert trust.people[0].groups == ("deploys",)


def test_client_downloads_expected_file_in_sub_dir(repo: Simulator, client: Gate) -> None:
    repo.add_file("layouts/of/a/release.layout", b"layout")
    repo.publish(*CHANGED)
    assert client.refresh().trust.files["layouts/of/a/release.layout"] == sha256_hex(b"layout")


def test_repository_substitutes_target_file(repo: Simulator, client: Gate) -> None:
    """A file that was fetched stays what it is; one that was not is refused."""
    client.refresh()
    path = repo.file_path(PEOPLE, FILES[PEOPLE])
    repo.targets[path] = NEW
    assert client.refresh().trust.files[PEOPLE] == sha256_hex(FILES[PEOPLE])
    repo.add_file(PEOPLE, NEW)
    repo.targets[repo.file_path(PEOPLE, NEW)] = FILES[PEOPLE]
    repo.publish(*CHANGED)
    client.refuses(Reason.BAD_TRUST, "not the one that was signed")


def test_substituted_in_the_gate_s_own_cache(repo: Simulator, client: Gate) -> None:
    """The cache beside the snapshot is not believed either."""
    client.refresh()
    (client.snapshot.with_suffix(".tuf") / "targets" / PEOPLE).write_bytes(NEW)
    assert client.refresh().trust.files[PEOPLE] == sha256_hex(FILES[PEOPLE])


def test_multiple_changes_to_target(repo: Simulator, client: Gate) -> None:
    for number in range(4):
        data = FILES[PEOPLE].replace(b'"release"', b'"group-%d"' % number)
        repo.add_file(PEOPLE, data)
        repo.publish(*CHANGED)
        if number % 2 == 0:
            assert client.refresh().trust.people[0].groups == (f"group-{number}",)
            repo.targets[repo.file_path(PEOPLE, data)] = NEW
            assert client.refresh().trust.people[0].groups == (f"group-{number}",)


def test_wrong_length(repo: Simulator, client: Gate) -> None:
    """The right digest with a length that does not fit is not the file that was signed."""
    client.refresh()
    repo.add_file(PEOPLE, NEW)
    repo.top.targets[PEOPLE].length = len(NEW) - 1
    repo.publish(*CHANGED)
    client.refuses(Reason.TOO_LARGE, "larger than it may be")
    repo.top.targets[PEOPLE].length = len(NEW) + 1
    repo.publish(*CHANGED)
    client.refuses(Reason.BAD_TRUST, "not the one that was signed")


def test_a_file_that_is_gone(repo: Simulator, client: Gate) -> None:
    client.refresh()
    repo.add_file(PEOPLE, NEW)
    del repo.targets[repo.file_path(PEOPLE, NEW)]
    repo.publish(*CHANGED)
    client.refuses(Reason.TRUST_UNAVAILABLE, "missing")


def test_a_weak_digest_alone_is_not_enough(repo: Simulator, client: Gate) -> None:
    """Targets that name a file by a digest of another kind only: the file cannot be found by it."""
    client.refresh()
    repo.add_file(PEOPLE, NEW)
    repo.top.targets[PEOPLE].hashes = {"md5": "0" * 32}
    repo.publish(*CHANGED)
    client.refuses(Reason.TRUST_UNAVAILABLE)

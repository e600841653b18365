"""Trust changes in a log: whose signatures they have, and what is odd about their versions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "adapters"))

from monitor_world import Monitor, log_record, names
from tuf_trust_world import ANNA, BEN, CLEO, TrustWorld

from placet.adapters.log_client import LogClient
from placet.adapters.tuf.trust import assemble, encode_signed, parse_metadata
from placet.core.encoding import sha256_hex
from placet.core.sshsig import NAMESPACE_TRUST
from placet.core.tlog.records import encode_trust_record
from placet.log.monitor import Audit, Settings, WatchedLog
from placet.log.monitor_events import Event
from placet.log.monitor_source import ServedLog
from placet.testing.scripted_log import TOKEN, ScriptedLog
from placet.testing.world import NOW


@pytest.fixture
def trust(tmp_path: Path) -> TrustWorld:
    """Version 1 of everything, published and followed by this machine."""
    trust = TrustWorld(tmp_path, now=NOW)
    trust.publish(ANNA, BEN)
    trust.refresh(root_sha256=sha256_hex(metadata(trust, "1.root")), now=NOW)
    return trust


def metadata(trust: TrustWorld, name: str) -> bytes:
    return (trust.public / "metadata" / f"{name}.json").read_bytes()


@pytest.fixture
def log() -> ScriptedLog:
    return ScriptedLog(now=NOW)


def audit(trust: TrustWorld, log: ScriptedLog, tmp_path: Path) -> list[str]:
    monitor = Monitor(tmp_path, log.policy(), now=NOW + 60)
    settings = Settings(log.policy(), None, trust.snapshot, (), NOW + 60)
    with log.served() as url, monitor.store() as store:
        source = ServedLog(LogClient(url, tries=1), TOKEN)
        return names(Audit(store, settings).run([WatchedLog("log.example", source, True)]))


def change(trust: TrustWorld, *signers: str) -> None:
    """Publishes another version of targets."""
    trust.stage_policy(f"# {trust.repository.path} {signers}\n{trust.world.policy}")
    trust.publish(*signers)


def test_signed_changes_are_told_with_role_and_version(
    trust: TrustWorld, log: ScriptedLog, tmp_path: Path
) -> None:
    for name in ("1.root", "1.targets"):
        log_record(log, encode_trust_record(metadata(trust, name)))
    assert audit(trust, log, tmp_path) == ["trust-changed"] * 2
    change(trust, ANNA, CLEO)
    log_record(log, encode_trust_record(metadata(trust, "2.targets")))
    assert audit(trust, log, tmp_path) == ["trust-changed"]
    with Monitor(tmp_path, log.policy(), now=NOW).store() as store:
        events = [Event.from_object(leaf.event) for leaf in store.leaves_between(0, 2**40)]
        assert store.list_findings() == ()
    assert [(event.role, event.version, event.verified) for event in events] == [
        ("root", 1, True),
        ("targets", 1, True),
        ("targets", 2, True),
    ]


def test_what_administrators_did_not_sign_is_an_alarm(
    trust: TrustWorld, log: ScriptedLog, tmp_path: Path
) -> None:
    forged = metadata(trust, "1.targets").replace(b'"version": 1', b'"version": 9')
    assert forged != metadata(trust, "1.targets")
    for name in ("1.root", "1.targets"):
        log_record(log, encode_trust_record(metadata(trust, name)))
    log_record(log, encode_trust_record(forged))
    assert audit(trust, log, tmp_path) == ["trust-changed"] * 2 + ["trust-forged"]


def test_a_root_that_the_one_before_did_not_sign_is_an_alarm(
    trust: TrustWorld, log: ScriptedLog, tmp_path: Path
) -> None:
    forged = metadata(trust, "1.root").replace(b'"version": 1', b'"version": 2')
    assert forged != metadata(trust, "1.root")
    log_record(log, encode_trust_record(forged))
    assert audit(trust, log, tmp_path)[0] == "trust-forged"


def test_what_is_no_metadata_is_an_alarm(trust: TrustWorld, log: ScriptedLog, tmp_path: Path) -> None:
    nonsense = b'{"signatures":[{"keyid":"%s","sig":"00"}],"signed":{}}' % (b"ab" * 32)
    log_record(log, encode_trust_record(nonsense))
    assert "trust-forged" in audit(trust, log, tmp_path)


def test_metadata_without_a_canonical_form_stops_no_audit(
    trust: TrustWorld, log: ScriptedLog, tmp_path: Path
) -> None:
    odd = metadata(trust, "1.targets").replace(b'"version": 1', b'"version": 1, "more": "\\ud800"')
    assert odd != metadata(trust, "1.targets")
    log_record(log, encode_trust_record(odd))
    assert "trust-forged" in audit(trust, log, tmp_path)


def test_two_signed_files_of_one_version_are_an_alarm(
    trust: TrustWorld, log: ScriptedLog, tmp_path: Path
) -> None:
    before = metadata(trust, "1.targets")
    change(trust, ANNA, BEN)
    first = metadata(trust, "2.targets")
    for data in (metadata(trust, "1.root"), before, first):
        log_record(log, encode_trust_record(data))
    assert "trust-split" not in audit(trust, log, tmp_path)
    log_record(log, encode_trust_record(resigned(trust, first)))
    assert audit(trust, log, tmp_path) == ["trust-split"]


def resigned(trust: TrustWorld, data: bytes) -> bytes:
    """Another file of the same version, signed by the same administrators' keys."""
    signed = parse_metadata(data, "targets").signed
    signed.unrecognized_fields["x-other"] = "history"
    message = encode_signed(signed)
    keys = [trust.keys[person] for person in (ANNA, BEN)]
    return assemble(signed, {key.keyid: key.sign(NAMESPACE_TRUST, message) for key in keys})


def test_an_older_version_after_a_newer_one_is_a_warning(
    trust: TrustWorld, log: ScriptedLog, tmp_path: Path
) -> None:
    change(trust, ANNA, BEN)
    for name in ("1.root", "2.targets", "1.targets"):
        log_record(log, encode_trust_record(metadata(trust, name)))
    assert audit(trust, log, tmp_path) == ["trust-changed"] * 2 + ["trust-rolled-back"]


def test_what_this_machine_follows_and_no_log_holds_is_a_warning(
    trust: TrustWorld, log: ScriptedLog, tmp_path: Path
) -> None:
    # Where trust changes are not logged at all, nothing is missing.
    assert audit(trust, log, tmp_path) == []
    log_record(log, encode_trust_record(metadata(trust, "1.root")))
    assert audit(trust, log, tmp_path) == ["trust-changed", "trust-not-logged"]
    log_record(log, encode_trust_record(metadata(trust, "1.targets")))
    assert audit(trust, log, tmp_path) == ["trust-changed"]
    with Monitor(tmp_path, log.policy(), now=NOW).store() as store:
        assert store.list_findings() == ()


def test_without_a_known_root_nothing_is_called_forged(log: ScriptedLog, tmp_path: Path) -> None:
    trust = TrustWorld(tmp_path, now=NOW)
    trust.publish(ANNA, BEN)
    log_record(log, encode_trust_record(metadata(trust, "1.targets")))
    assert audit(trust, log, tmp_path) == ["trust-changed"]


def test_a_run_that_reads_no_trust_record_knows_administrators_keys(trust: TrustWorld) -> None:
    """Nothing new in the log is the ordinary run; what is followed is read all the same."""
    words = (
        "import sys, pathlib; from placet.adapters.tuf.logged import read_followed; "
        "print(*(it.role for it in read_followed(pathlib.Path(sys.argv[1]))))"
    )
    command = [sys.executable, "-c", words, str(trust.snapshot)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["root", "targets"], done.stderr

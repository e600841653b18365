"""The gate's side: what a hostile or broken source can do to a gate's snapshot, which is nothing."""

import functools
import http.server
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import Signature
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import Metadata, Root, Targets
from tuf.api.serialization.json import JSONSerializer
from tuf.ngclient import FetcherInterface, Updater
from tuf_trust_world import ANNA, BEN, CLEO, DAY, TrustWorld, administrator

from placet.adapters.securesystemslib import register
from placet.adapters.tuf import online as tuf_online
from placet.adapters.tuf import release as tuf_release
from placet.adapters.tuf.ceremony_box import open_box
from placet.adapters.tuf.refresh import FolderFetcher, refresh
from placet.adapters.tuf.trust import assemble, build_root, encode_signed, utc
from placet.core.encoding import sha256_hex
from placet.core.errors import IndeterminateError, MalformedError, PlacetError, Reason, VerificationError
from placet.core.sshsig import NAMESPACE_TRUST
from placet.core.trust import parse_trust
from placet.testing.authenticator import SoftSk
from placet.testing.world import DEFAULT_POLICY

STRICTER = DEFAULT_POLICY.replace("threshold = 2", "threshold = 3")


@pytest.fixture
def trust(tmp_path: Path) -> TrustWorld:
    return TrustWorld(tmp_path)


def refused(reason: Reason) -> "pytest.RaisesExc[PlacetError]":
    return pytest.raises(PlacetError, check=lambda e: e.reason is reason)


@pytest.mark.parametrize("host", ["127.0.0.1", "nowhere.invalid"])
def test_where_nobody_listens_nobody_was_slow(tmp_path: Path, host: str) -> None:
    with socket.socket() as taken:  # bound, and not listening: no other process can take the port
        taken.bind(("127.0.0.1", 0))
        source = f"http://{host}:{taken.getsockname()[1]}"
        with refused(Reason.TRUST_UNAVAILABLE) as error:
            refresh(source, tmp_path / "snapshot.json", root_sha256="ab" * 32)
        assert error.value.message.startswith(f"Nobody answers at {source}")
        assert "Errno" not in error.value.message
        with refused(Reason.TRUST_UNAVAILABLE) as error:
            open_box(f"{source}/challenge.json", tmp_path).read_challenge(1000)
        assert error.value.message.startswith(f"Nobody answers at {source}")


def edit(path: Path, change: Any) -> bytes:
    """Edits a metadata file as an attacker in the middle would; returns its new bytes."""
    value = json.loads(path.read_bytes())
    change(value)
    path.write_text(json.dumps(value))
    return path.read_bytes()


# -- what works


def test_the_snapshot_is_what_the_administrators_signed(trust: TrustWorld) -> None:
    published = trust.publish(ANNA, BEN)
    refreshed = trust.refresh(root_sha256=published.root_sha256)
    kept = parse_trust(trust.snapshot.read_bytes())
    assert kept == refreshed.trust
    assert kept.credentials.keys() == trust.world.trust().credentials.keys()
    assert kept.rules == trust.world.trust().rules
    assert kept.versions == {"root": 1, "targets": 1, "snapshot": 1, "timestamp": 1}
    assert kept.expires_at == min(published.expires_at.values()) == trust.now + 7 * DAY
    assert refreshed.changed
    assert not trust.refresh().changed


def test_python_tuf_s_own_client_reads_the_repository(trust: TrustWorld) -> None:
    trust.publish(ANNA, BEN)

    class Folder(FetcherInterface):
        def _fetch(self, url: str) -> Iterator[bytes]:
            path = Path(url.removeprefix("file://"))
            if not path.exists():
                raise DownloadHTTPError("none", 404)
            yield path.read_bytes()

    register()
    cache = trust.folder / "cache"
    (cache / "targets").mkdir(parents=True)
    updater = Updater(
        str(cache),
        f"file://{trust.public}/metadata/",
        str(cache / "targets"),
        f"file://{trust.public}/targets/",
        fetcher=Folder(),
        bootstrap=(trust.public / "metadata" / "1.root.json").read_bytes(),
    )
    info = updater.get_targetinfo("people.json")
    assert info is not None
    assert Path(updater.download_target(info)).read_bytes() == trust.world.files()["people.json"]


def test_a_gate_follows_over_http(trust: TrustWorld) -> None:
    published = trust.publish(ANNA, BEN)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(trust.public))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        assert refresh(address, trust.snapshot, root_sha256=published.root_sha256).changed
        trust.stage_policy(STRICTER)
        trust.publish(BEN, CLEO)
        assert refresh(f"{address}/", trust.snapshot).versions["targets"] == 2
        server.shutdown()
    with refused(Reason.TRUST_UNAVAILABLE) as error:
        refresh(address, trust.snapshot)
    assert "refused" in str(error.value)


def test_one_malformed_extra_signature_does_not_break_the_threshold(trust: TrustWorld) -> None:
    trust.publish(ANNA, BEN)
    extra = {"keyid": trust.keys[CLEO].keyid, "sig": "not even hex"}
    data = edit(trust.public / "metadata" / "1.root.json", lambda v: v["signatures"].insert(0, extra))
    assert trust.refresh(root_sha256=sha256_hex(data)).versions["root"] == 1


def test_the_first_root_may_be_brought_along(trust: TrustWorld) -> None:
    published = trust.publish(ANNA, BEN)
    root = (trust.public / "metadata" / "1.root.json").read_bytes()
    assert trust.refresh(root=root, root_sha256=published.root_sha256.upper()).changed
    assert not trust.refresh(root_sha256=published.root_sha256).changed


def test_a_gate_may_start_from_any_published_root(trust: TrustWorld) -> None:
    trust.publish(ANNA, BEN)
    trust.repository.renew(now=trust.now)
    second = trust.publish(ANNA, BEN)
    assert trust.refresh(root_sha256=second.root_sha256).versions["root"] == 2


# -- the first root


def test_without_a_digest_nothing_starts(trust: TrustWorld) -> None:
    trust.publish(ANNA, BEN)
    with pytest.raises(IndeterminateError, match="needs the SHA-256"):
        trust.refresh()


def test_wrong_root_digest(trust: TrustWorld) -> None:
    published = trust.publish(ANNA, BEN)
    with pytest.raises(VerificationError, match="not the one whose SHA-256 was given"):
        trust.refresh(root_sha256="0" * 64)
    with pytest.raises(VerificationError, match="not the one whose SHA-256 was given"):
        trust.refresh(root=b"{}", root_sha256=published.root_sha256)
    assert not trust.snapshot.exists()


def test_a_server_of_another_trust_root_cannot_take_over_a_gate(trust: TrustWorld, tmp_path: Path) -> None:
    first = trust.publish(ANNA, BEN)
    trust.refresh(root_sha256=first.root_sha256)
    (tmp_path / "other").mkdir()
    other = TrustWorld(tmp_path / "other")
    theirs = other.publish(ANNA, BEN)
    with refused(Reason.BAD_TRUST):
        trust.refresh(other.public)
    with pytest.raises(PlacetError, match="another first root"):
        trust.refresh(other.public, root_sha256=theirs.root_sha256)
    assert parse_trust(trust.snapshot.read_bytes()).files["people.json"] == sha256_hex(
        trust.world.files()["people.json"]
    )


# -- A12: rollback, freeze, forged and mixed metadata


def test_a12_rollback_to_a_list_with_a_revoked_approver(trust: TrustWorld) -> None:
    first = trust.publish(ANNA, BEN)
    old = trust.copy_public("old")
    trust.stage_policy(STRICTER)
    trust.publish(ANNA, CLEO)
    trust.refresh(root_sha256=first.root_sha256)
    before = trust.snapshot.read_bytes()
    with refused(Reason.BAD_TRUST) as error:
        trust.refresh(old)
    assert "older" in str(error.value)
    assert trust.snapshot.read_bytes() == before


def test_a12_rollback_also_after_the_client_s_record_was_removed(trust: TrustWorld) -> None:
    first = trust.publish(ANNA, BEN)
    old = trust.copy_public("old")
    trust.stage_policy(STRICTER)
    trust.publish(ANNA, CLEO)
    trust.refresh(root_sha256=first.root_sha256)
    shutil.rmtree(trust.snapshot.with_suffix(".tuf"))
    with pytest.raises(VerificationError, match="this snapshot has 2 already"):
        trust.refresh(old, root_sha256=first.root_sha256)


def test_a12_freeze_with_an_expired_timestamp(tmp_path: Path) -> None:
    trust = TrustWorld(tmp_path, now=int(time.time()) - 8 * DAY)
    published = trust.publish(ANNA, BEN)
    with pytest.raises(IndeterminateError, match="expired: timestamp") as error:
        trust.refresh(root_sha256=published.root_sha256)
    assert error.value.reason is Reason.TRUST_EXPIRED
    assert "publish" in error.value.hint
    trust.publish(now=int(time.time()))
    assert trust.refresh(root_sha256=published.root_sha256).changed


@pytest.mark.parametrize(("role", "days"), [("root", 366), ("targets", 91), ("snapshot", 31)])
def test_every_role_expires(tmp_path: Path, role: str, days: int, monkeypatch: pytest.MonkeyPatch) -> None:
    start = int(time.time()) - days * DAY
    longer = {name: 4 * 365 * DAY for name in ("root", "targets", "snapshot", "timestamp") if name != role}
    for name, seconds in longer.items():
        monkeypatch.setitem(tuf_online.VALIDITY_SECONDS, name, seconds)
    trust = TrustWorld(tmp_path, now=start)
    published = trust.publish(ANNA, BEN)
    with refused(Reason.TRUST_EXPIRED) as error:
        trust.refresh(root_sha256=published.root_sha256)
    assert role in str(error.value)


def test_a12_below_threshold_root_and_targets(trust: TrustWorld) -> None:
    trust.publish(ANNA, BEN)
    data = edit(trust.public / "metadata" / "1.root.json", lambda v: v["signatures"].pop())
    with refused(Reason.BAD_TRUST) as error:
        trust.refresh(root_sha256=sha256_hex(data))
    assert "not signed by enough" in str(error.value)


def test_a12_a_server_operator_adds_an_own_root(trust: TrustWorld) -> None:
    first = trust.publish(ANNA, BEN)
    trust.refresh(root_sha256=first.root_sha256)
    mallory = SoftSk()
    online = {role: trust.repository.online_signers(role)[0].public_key for role in ("snapshot", "timestamp")}
    forged = build_root(
        [administrator("mallory@example.com", mallory)],
        threshold=1,
        online_keys=online,
        version=2,
        expires_at=trust.now + DAY,
    )
    signatures = {mallory.keyid: mallory.sign(NAMESPACE_TRUST, encode_signed(forged))}
    (trust.public / "metadata" / "2.root.json").write_bytes(assemble(forged, signatures))
    with refused(Reason.BAD_TRUST):
        trust.refresh()


def test_a12_one_person_with_two_keys_is_refused_by_the_gate_too(trust: TrustWorld) -> None:
    one, two = SoftSk(), SoftSk()
    root = Root(expires=utc(trust.now + DAY), consistent_snapshot=True)
    for key in (one, two):
        for role in ("root", "targets"):
            root.add_key(administrator(ANNA, key).key, role)
            root.roles[role].threshold = 2
    for role in ("snapshot", "timestamp"):
        root.add_key(trust.repository.online_signers(role)[0].public_key, role)
    trust.publish(ANNA, BEN)
    message = encode_signed(root)
    signed = {key.keyid: key.sign(NAMESPACE_TRUST, message) for key in (one, two)}
    data = assemble(root, signed)
    (trust.public / "metadata" / "1.root.json").write_bytes(data)
    targets = Metadata[Targets].from_file(str(trust.public / "metadata" / "1.targets.json"))
    targets.signatures = {
        key.keyid: Signature(key.keyid, key.sign(NAMESPACE_TRUST, targets.signed_bytes).hex())
        for key in (one, two)
    }
    republish(trust, {"targets": targets})
    with refused(Reason.BAD_TRUST) as error:
        trust.refresh(root_sha256=sha256_hex(data))
    assert "Two keys of anna@example.com" in str(error.value)


def test_an_exchanged_target_file(trust: TrustWorld) -> None:
    published = trust.publish(ANNA, BEN)
    (path,) = (trust.public / "targets").glob("*.people.json")
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"release"', b'"secrets"'))
    with refused(Reason.BAD_TRUST) as error:
        trust.refresh(root_sha256=published.root_sha256)
    assert "not the one that was signed" in str(error.value)
    path.unlink()
    with refused(Reason.TRUST_UNAVAILABLE) as error:
        trust.refresh(root_sha256=published.root_sha256)
    assert "missing" in str(error.value)
    assert not trust.snapshot.exists()


def test_metadata_that_is_no_json(trust: TrustWorld) -> None:
    published = trust.publish(ANNA, BEN)
    (trust.public / "metadata" / "timestamp.json").write_bytes(b"<html>Log in</html>")
    with refused(Reason.BAD_TRUST) as error:
        trust.refresh(root_sha256=published.root_sha256)
    assert "malformed" in str(error.value)


def test_a_malformed_policy_that_was_signed_leaves_the_old_snapshot(
    trust: TrustWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = trust.publish(ANNA, BEN)
    trust.refresh(root_sha256=published.root_sha256)
    before = trust.snapshot.read_bytes()
    # Administrators with a tool of their own: placet's would have refused it twice.
    files = trust.repository.published_files() | {"policy/default.toml": b"[[rule]]\nlevel = "}
    trust.repository.prepare_targets(files, now=trust.now)
    monkeypatch.setattr(tuf_release, "compile_trust", lambda **_: b"")
    trust.publish(ANNA, BEN)
    with pytest.raises(MalformedError, match=r"policy/default\.toml is not TOML.*(line|end)"):
        trust.refresh()
    assert trust.snapshot.read_bytes() == before


def republish(trust: TrustWorld, roles: dict[str, "Metadata[Targets]"]) -> None:
    """Publishes targets roles under a new snapshot and timestamp, as `publish` does for one."""
    folder = trust.public / "metadata"
    version = trust.repository.published_snapshot()
    assert version is not None
    for name, metadata in roles.items():
        (folder / f"{metadata.signed.version}.{name}.json").write_bytes(metadata.to_bytes(JSONSerializer()))
    main = roles["targets"]
    meta = tuf_online.MetaFile.from_data(main.signed.version, main.to_bytes(JSONSerializer()), ["sha256"])
    snapshot, _ = tuf_online.sign_online(
        trust.repository, {"targets.json": meta}, root=trust.repository.current_root(), now=trust.now
    )
    for name, metadata in roles.items():
        snapshot.meta[f"{name}.json"] = tuf_online.MetaFile(metadata.signed.version)
    data = tuf_online.signed_online(trust.repository, snapshot, trust.repository.current_root())
    (folder / f"{snapshot.version}.snapshot.json").write_bytes(data)
    timestamp = trust.repository.published_timestamp()
    assert timestamp is not None
    timestamp.snapshot_meta = tuf_online.MetaFile(snapshot.version)
    (folder / "timestamp.json").write_bytes(
        tuf_online.signed_online(trust.repository, timestamp, trust.repository.current_root())
    )


# -- the folder, and the path of a decision


def test_a_source_folder_cannot_lead_out_of_itself(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "link").symlink_to(tmp_path / "secret")
    fetcher = FolderFetcher(tmp_path / "public")
    for name in ("../secret", "link", "%2e%2e/secret"):
        with pytest.raises(DownloadHTTPError):
            fetcher.download_bytes(f"folder:///{name}", 100)


def test_a_source_that_is_not_there(trust: TrustWorld) -> None:
    with pytest.raises(IndeterminateError, match="no published trust root"):
        trust.refresh(trust.folder / "nowhere", root_sha256="0" * 64)


def test_deciding_from_the_snapshot_loads_no_tuf_client(trust: TrustWorld) -> None:
    published = trust.publish(ANNA, BEN)
    trust.refresh(root_sha256=published.root_sha256)
    script = """
import sys
from placet.core.trust import parse_trust
from placet.core import verify
from placet.cli import main
parse_trust(open(sys.argv[1], "rb").read())
main(["verify", "/nowhere.intent.json", "--trust", sys.argv[1], "--gate", "prod-eu", "--target", "host://a"])
heavy = {"tuf", "securesystemslib", "urllib3", "httpx"} & {name.split(".")[0] for name in sys.modules}
sys.exit(f"loaded: {heavy}" if heavy else 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(trust.snapshot)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr

"""What `placet trust publish` makes is real TUF: python-tuf's own client follows it, over HTTP.

In place of tuf-conformance's `test_static_repositories`, whose repositories hold no people.  The client here
is python-tuf's `Updater` as it is, with one thing added: the kind of key that our administrators have.
"""

from __future__ import annotations

import functools
import http.server
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tuf.api.exceptions import BadVersionNumberError, UnsignedMetadataError
from tuf.ngclient import Updater  # type: ignore[attr-defined]

sys.path.insert(0, str(Path(__file__).parents[1] / "adapters"))

from tuf_trust_world import ANNA, BEN, CLEO, TrustWorld

from placet.adapters.securesystemslib import register
from placet.testing.world import DEFAULT_POLICY

STRICTER = DEFAULT_POLICY.replace("threshold = 2", "threshold = 3")


@pytest.fixture
def trust(tmp_path: Path) -> TrustWorld:
    register()
    return TrustWorld(tmp_path)


@pytest.fixture
def address(trust: TrustWorld) -> Iterator[str]:
    """The address of a plain file server over the published folder."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(trust.public))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def stock_client(trust: TrustWorld, address: str, bootstrap: bytes) -> Updater:
    cache = trust.folder / "cache"
    (cache / "targets").mkdir(parents=True, exist_ok=True)
    return Updater(
        str(cache),
        f"{address}/metadata/",
        str(cache / "targets"),
        f"{address}/targets/",
        bootstrap=bootstrap,
    )


def test_static_repo(trust: TrustWorld, address: str) -> None:
    trust.publish(ANNA, BEN)
    root = (trust.public / "metadata" / "1.root.json").read_bytes()
    updater = stock_client(trust, address, root)
    updater.refresh()
    for name, data in trust.world.files().items():
        info = updater.get_targetinfo(name)
        assert info is not None
        assert Path(updater.download_target(info)).read_bytes() == data
    assert updater.get_targetinfo("nonexistent") is None


def test_a_change_by_another_quorum_is_followed(trust: TrustWorld, address: str) -> None:
    trust.publish(ANNA, BEN)
    root = (trust.public / "metadata" / "1.root.json").read_bytes()
    stock_client(trust, address, root).refresh()
    trust.stage_policy(STRICTER)
    trust.publish(BEN, CLEO)
    trust.repository.renew(now=trust.now)
    trust.publish(ANNA, CLEO)
    updater = stock_client(trust, address, root)
    updater.refresh()
    info = updater.get_targetinfo("policy/default.toml")
    assert info is not None
    assert Path(updater.download_target(info)).read_text() == STRICTER
    assert (trust.folder / "cache" / "root.json").read_bytes() == trust.repository.published_root_bytes()


def test_the_stock_client_refuses_what_ours_refuses(trust: TrustWorld, address: str) -> None:
    trust.publish(ANNA, BEN)
    root = (trust.public / "metadata" / "1.root.json").read_bytes()
    old = trust.copy_public("old")
    trust.stage_policy(STRICTER)
    trust.publish(ANNA, BEN)
    stock_client(trust, address, root).refresh()
    timestamp = trust.public / "metadata" / "timestamp.json"
    newest = timestamp.read_bytes()
    timestamp.write_bytes((old / "metadata" / "timestamp.json").read_bytes())
    with pytest.raises(BadVersionNumberError):
        stock_client(trust, address, root).refresh()
    timestamp.write_bytes(newest)
    with pytest.raises(UnsignedMetadataError):
        stock_client(trust, address, root.replace(b'"sig": "5', b'"sig": "6'))

"""The log in object storage keeps the contract of every log store, on a real S3 server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import obstore
import pytest
from obstore.store import S3Store

from placet.adapters.object_log.address import BucketAddress
from placet.adapters.object_log.store import ObjectLog
from placet.core.tlog.merkle import hash_leaf
from placet.core.tlog.note import NoteSigner
from placet.core.tlog.tiles import encode_entries, parse_entries
from placet.ports.log_store import LogStore
from placet.testing.contracts.log_store import LogStoreContract, entry
from placet.testing.object_storage import BUCKET, ENVIRONMENT, ObjectStorage


@pytest.fixture(autouse=True)
def _known_to_the_server(object_storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in {**ENVIRONMENT, "OBJECT_STORAGE": object_storage.url}.items():
        monkeypatch.setenv(name, value)
    yield


class TestObjectLog(LogStoreContract):
    async def open_log(self, place: Path, key: NoteSigner) -> LogStore:
        bucket = open_bucket(place)
        # There from a start before: servers make those who race for a new object wait for a second.
        obstore.put(bucket, "private/probe", b"a probe of another start")
        return await ObjectLog.open(BucketAddress(BUCKET, place.name, os.environ["OBJECT_STORAGE"]), key)

    def damage(self, place: Path, what: str) -> None:
        bucket = open_bucket(place)
        first = hash_leaf(entry(0).leaf).hex()
        name = {
            "leaf": widest(bucket, "tile/entries/000"),
            "record": f"private/leaves/{first[:2]}/{first}",
            "tile": "tile/0/000",
            "checkpoint": "checkpoint",
            "lost": widest(bucket, "tile/entries/001") or widest(bucket, "tile/entries/000"),
        }[what]
        data = obstore.get(bucket, name).bytes().to_bytes()
        if what == "lost":
            changed = encode_entries(parse_entries(data)[:-1])
        else:
            index = {"leaf": 2, "record": -1}.get(what, 0)
            changed = bytes(byte ^ (i == index % len(data)) for i, byte in enumerate(data))
        assert changed != data
        obstore.put(bucket, name, changed)


def open_bucket(place: Path) -> S3Store:
    endpoint = os.environ["OBJECT_STORAGE"]
    return S3Store(BUCKET, prefix=place.name, endpoint=endpoint, client_options={"allow_http": True})


def widest(bucket: S3Store, tile: str) -> str:
    """Returns the name of the newest form of a tile that grew, or "" where there is none."""
    pages = obstore.list(bucket, prefix="tile/entries/")
    names = [one["path"] for page in pages for one in page if one["path"].startswith(tile)]
    if tile in names or not names:
        return tile if names else ""
    return max(names, key=lambda name: int(name.rpartition("/")[2]))

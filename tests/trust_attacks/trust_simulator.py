"""A repository that can publish anything, signed by anybody, and a gate that follows it.

`Simulator` holds what is to be published next in `signed`, and every file that was published in `files`; a
test changes either.  Metadata of people is signed by software security keys, that of machines by online
keys.  `Gate` runs our own client against it, from a folder or over real HTTP, and says what it kept.
"""

from __future__ import annotations

import http.server
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from securesystemslib.signer import CryptoSigner, Key, Signature
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from placet.adapters.securesystemslib import SkKey, register
from placet.adapters.tuf.refresh import Refreshed, refresh
from placet.adapters.tuf.trust import ROOT, SNAPSHOT, TARGETS, TIMESTAMP, utc
from placet.core.encoding import sha256_hex
from placet.core.errors import PlacetError, Reason
from placet.core.sshsig import NAMESPACE_TRUST
from placet.testing.authenticator import SoftSk, SoftWebAuthn
from placet.testing.world import World

DAY = 86_400
ANNA, BEN, CLEO = "anna@example.com", "ben@example.com", "cleo@example.com"
ADMINISTRATORS = (ANNA, BEN, CLEO)
# In this order a client meets them, and `publish` makes the versions fit.
ALL = (TARGETS, SNAPSHOT, TIMESTAMP, ROOT)

register()


class PersonSigner:
    """An administrator with a software security key."""

    def __init__(self, person: str, key: SoftSk | SoftWebAuthn | None = None, **members: Any) -> None:
        self.person, self.soft = person, key or SoftSk(seed=person.encode())
        origins = (self.soft.web_origin,) if isinstance(self.soft, SoftWebAuthn) else ()
        self.public_key: Key = SkKey.from_wire(
            self.soft.wire, kind=self.soft.kind, origins=origins, person=person, **members
        )

    def sign(self, payload: bytes) -> Signature:
        return Signature(self.public_key.keyid, self.soft.sign(NAMESPACE_TRUST, payload).hex())


Signer = PersonSigner | CryptoSigner
# Made once: making keys takes longer than checking signatures.
PEOPLE = [PersonSigner(f"person-{number}@example.com") for number in range(10)]
ONLINE = [CryptoSigner.generate_ed25519() for _ in range(12)]
WORLD = World()
FILES = WORLD.files()


class Simulator:
    """A repository under a test's control.

    Attributes:
        signed: role → what is published next, to be changed at will.
        signers: role → the keys that sign it.
        metadata: role → every version's file, oldest first; a hostile server changes these.
        targets: path below ``targets/`` → content, as it is served.
        hashes: whether snapshot and timestamp name the digests of what they vouch for.
        requests: the paths that were asked for over HTTP.
    """

    def __init__(self, *, threshold: int = 2, now: int | None = None) -> None:
        self.now = int(time.time()) if now is None else now
        self.expires = utc(self.now + 30 * DAY)
        self.hashes = False
        self.requests: list[str] = []
        self.metadata: dict[str, list[bytes]] = {}
        self.targets: dict[str, bytes] = {}
        self._online = list(ONLINE)
        self.signed: dict[str, Any] = {
            ROOT: Root(expires=self.expires, consistent_snapshot=True),
            TIMESTAMP: Timestamp(expires=self.expires),
            SNAPSHOT: Snapshot(expires=self.expires),
            TARGETS: Targets(expires=self.expires),
        }
        self.signers: dict[str, dict[str, Signer]] = {role: {} for role in ALL}
        for role in (ROOT, TARGETS):
            for person in ADMINISTRATORS:
                self.add_key(role, PersonSigner(person))
            self.root.roles[role].threshold = threshold
        for role in (SNAPSHOT, TIMESTAMP):
            self.add_key(role, self.new_online_key())
        for name, data in FILES.items():
            self.add_file(name, data)
        self.publish(*ALL)

    @property
    def root(self) -> Root:
        return cast(Root, self.signed[ROOT])

    @property
    def snapshot(self) -> Snapshot:
        return cast(Snapshot, self.signed[SNAPSHOT])

    @property
    def timestamp(self) -> Timestamp:
        return cast(Timestamp, self.signed[TIMESTAMP])

    @property
    def top(self) -> Targets:
        return cast(Targets, self.signed[TARGETS])

    @property
    def first_root(self) -> bytes:
        return self.metadata[ROOT][0]

    # -- keys

    def new_online_key(self) -> CryptoSigner:
        return self._online.pop()

    def add_key(self, role: str, signer: Signer | None = None) -> Signer:
        signer = signer or self.new_online_key()
        self.root.add_key(signer.public_key, role)
        self.signers[role][signer.public_key.keyid] = signer
        return signer

    def set_keys(self, role: str, allowed: Iterable[Signer], signing: Iterable[Signer], k: int) -> None:
        for keyid in list(self.root.roles[role].keyids):
            self.root.revoke_key(keyid, role)
        for signer in allowed:
            self.root.add_key(signer.public_key, role)
        self.root.roles[role].threshold = k
        self.signers[role] = {signer.public_key.keyid: signer for signer in signing}

    def rotate_keys(self, role: str) -> None:
        fresh = [self.new_online_key()]
        self.set_keys(role, fresh, fresh, 1)

    # -- contents

    def add_file(self, name: str, data: bytes, role: str = TARGETS) -> None:
        self.signed[role].targets[name] = TargetFile.from_data(name, data, ["sha256"])
        self.targets[self.file_path(name, data)] = data

    @staticmethod
    def file_path(name: str, data: bytes) -> str:
        folder, slash, base = name.rpartition("/")
        return f"{folder}{slash}{sha256_hex(data)}.{base}"

    def delegate(self, role: str, paths: list[str], *, by: str = TARGETS, expires: Any = None) -> Targets:
        """Has `by` delegate `paths` to a role of one owner, which is empty at first."""
        delegator = self.signed[by]
        if delegator.delegations is None:
            delegator.delegations = Delegations({}, roles={})
        delegator.delegations.roles[role] = DelegatedRole(role, [], 1, True, paths=paths)
        owner = PersonSigner(f"{role.encode().hex()}@example.com")
        delegator.add_key(owner.public_key, role)
        self.signed.setdefault(role, Targets(expires=expires or self.expires))
        self.signers[role] = {owner.public_key.keyid: owner}
        return cast(Targets, self.signed[role])

    # -- publishing

    def publish(self, *roles: str, bump: bool = True) -> None:
        """Signs roles as they stand, in this order; what vouches for a role names its newest version."""
        for role in roles:
            signed = self.signed[role]
            if bump and role in self.metadata:
                signed.version += 1
            if role == SNAPSHOT:
                for name in self.signed.keys() - {ROOT, SNAPSHOT, TIMESTAMP}:
                    if self.metadata.get(name):
                        self.snapshot.meta[f"{name}.json"] = self._meta(name)
            elif role == TIMESTAMP:
                self.timestamp.snapshot_meta = self._meta(SNAPSHOT)
            self.republish(role)

    def republish(self, role: str) -> None:
        """Signs a role exactly as it stands, and publishes it as the newest."""
        metadata: Metadata[Any] = Metadata(self.signed[role])
        message = metadata.signed_bytes
        for keyid, signer in self.signers[role].items():
            metadata.signatures[keyid] = signer.sign(message)
        self.metadata.setdefault(role, []).append(metadata.to_bytes(JSONSerializer()))

    def _meta(self, role: str) -> MetaFile:
        data, version = self.metadata[role][-1], self.signed[role].version
        return MetaFile.from_data(version, data, ["sha256"]) if self.hashes else MetaFile(version)

    def edit(self, role: str, change: Callable[[dict[str, Any]], object]) -> None:
        """Changes the newest published file of a role after it was signed, as a hostile server would."""
        value = json.loads(self.metadata[role].pop())
        change(value)
        self.metadata[role].append(json.dumps(value).encode())

    # -- serving

    def fetch(self, path: str) -> bytes | None:
        """Returns what stands at ``metadata/…`` or ``targets/…``."""
        return self.tree().get(path)

    def tree(self) -> dict[str, bytes]:
        """Returns every file by its path; each role's newest file counts for a version that stands twice."""
        files = {f"targets/{path}": data for path, data in self.targets.items()}
        for role, versions in self.metadata.items():
            if role == TIMESTAMP:
                files["metadata/timestamp.json"] = versions[-1]
                continue
            for position, data in enumerate(versions, 1):
                # The path is where it is published, whatever the file says of itself.
                number = position if role == ROOT else self._version_of(data, position)
                files[f"metadata/{number}.{quote(role, '')}.json"] = data
        return files

    @staticmethod
    def _version_of(data: bytes, default: int) -> int:
        try:
            return int(json.loads(data)["signed"]["version"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return default

    def write(self, folder: Path) -> None:
        """Puts everything into a folder, and takes away what is no longer published."""
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "metadata").mkdir(parents=True)
        for path, data in self.tree().items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)


class Gate:
    """A gate that follows a simulator with our own client."""

    def __init__(self, simulator: Simulator, folder: Path, address: str | None) -> None:
        self.simulator, self.folder, self.address = simulator, folder, address
        self.snapshot = folder / "gate" / "snapshot.json"
        self.root_sha256 = sha256_hex(simulator.first_root)

    @property
    def source(self) -> str:
        if self.address is not None:
            return self.address
        self.simulator.write(self.folder / "published")
        return str(self.folder / "published")

    def refresh(self, *, days: int = 0, **more: Any) -> Refreshed:
        """Refreshes, `days` later than now."""
        now = self.simulator.now + days * DAY
        return refresh(self.source, self.snapshot, root_sha256=self.root_sha256, now=now, **more)

    def refuses(self, reason: Reason, *words: str, **more: Any) -> PlacetError:
        """Refreshes; it must be refused for this reason, in a sentence, and leave the snapshot as it was."""
        before = self.snapshot.read_bytes() if self.snapshot.exists() else None
        try:
            self.refresh(**more)
        except PlacetError as error:
            assert error.reason is reason, f"{error.reason}: {error}"
            assert str(error).endswith("."), error
            assert all(word in str(error) for word in words), error
            assert (self.snapshot.read_bytes() if self.snapshot.exists() else None) == before
            return error
        raise AssertionError("it was accepted")

    @property
    def metadata(self) -> Path:
        return self.snapshot.with_suffix(".tuf") / "metadata"

    def kept(self, role: str) -> bytes:
        return (self.metadata / f"{quote(role, '')}.json").read_bytes()

    def version(self, role: str) -> int:
        return int(json.loads(self.kept(role))["signed"]["version"])

    def trusted(self) -> dict[str, int]:
        """Returns role → version of what the client accepted so far."""
        return {path.stem: self.version(path.stem) for path in self.metadata.glob("*.json")}


class TrustServer:
    """One real HTTP server for all tests of a run; each simulator has a folder of its own."""

    def __init__(self, server: http.server.ThreadingHTTPServer) -> None:
        self._server = server
        self.simulators: dict[str, Simulator] = {}
        self.answers: dict[str, Callable[[http.server.BaseHTTPRequestHandler], None]] = {}

    def serve(self, simulator: Simulator) -> str:
        name = str(len(self.simulators))
        self.simulators[name] = simulator
        return f"{self.origin}/{name}"

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"


@contextmanager
def trust_server() -> Iterator[TrustServer]:
    """Serves simulators until the block ends."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if (answer := served.answers.get(self.path)) is not None:
                answer(self)
                return
            name, _, path = self.path.removeprefix("/").partition("/")
            simulator = served.simulators[name]
            simulator.requests.append(path)
            data = simulator.fetch(path)
            self.send_response(404 if data is None else 200)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, *_: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass  # a client that went away in the middle is part of some tests

    with Server(("127.0.0.1", 0), Handler) as server:
        served = TrustServer(server)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()

"""What this machine holds on to about a trust root, outside any repository.

A repository is a folder that others write.  What it says was published is believed only if it continues what
this machine knows: the first root's SHA-256, told by a person or made here, and what was last verified as
published or signed here.  One small private file per deployment keeps that:

    trust-anchor/<deployment>.json
    {"mediaType", "deployment", "rootSha256", "published": SEEN, "signed": SEEN}
    SEEN = {role: {"version", "sha256", "files": {name: SHA-256}}}

`rootSha256` is the digest of a root's file, which gates are given too, or of its signed bytes, which is all
there is before the first publication.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from placet.adapters.paths import state_dir
from placet.adapters.private_file import write_atomically
from placet.adapters.tuf.delegations import scope_of
from placet.core.decode import read_hex_digest, read_map, read_name, read_object
from placet.core.encoding import Digest, encode_canonical, parse_json
from placet.core.errors import IndeterminateError, MalformedError, PlacetError, PolicyError, Reason

MEDIA_TYPE = "application/vnd.placet.trust-anchor.v1+json"
_MAX_BYTES = 4 * 1024 * 1024
_MAX_FILES = 10_000
_ROLES = ("root", "targets")
_MAX_ROLES = 1024  # those, and every scope that ever had owners
_WRITABLE_BY_OTHERS = 0o022


class Seen(NamedTuple):
    """One version of a role.  `sha256` is that of its signed bytes, `files` those of the files it names."""

    version: int
    sha256: Digest
    files: dict[str, Digest]


class Anchor(NamedTuple):
    """What is known of one deployment, by role: last verified as published, and last signed here."""

    deployment: str
    root_sha256: Digest
    published: dict[str, Seen]
    signed: dict[str, Seen]


class TrustAnchors:
    """The records of this machine and user."""

    def __init__(self, folder: Path | None = None, *, followed: Mapping[str, Digest] | None = None) -> None:
        """Reads and keeps records in a folder.

        `followed` names the first roots of trust that is refreshed on this machine, by deployment.  A person
        told it each of them once, by hand; so they begin a record as well as one that is told now.
        """
        self._folder = folder or state_dir() / "trust-anchor"
        self._followed = followed or {}

    def path(self, deployment: str) -> Path:
        """Where the record of a deployment lies."""
        return self._folder / f"{deployment}.json"

    def known(self) -> tuple[str, ...]:
        """Returns the deployments that this machine has a record of."""
        return tuple(sorted(path.stem for path in self._folder.glob("[!.]*.json")))

    def load(self, deployment: str) -> Anchor | None:
        """Returns what is known of a deployment, at least the root that is followed; None where nothing is.

        Raises:
            IndeterminateError: TRUST_UNAVAILABLE where the record is damaged, or others can write it.
        """
        path = self.path(deployment)
        try:
            if path.stat().st_mode & _WRITABLE_BY_OTHERS:
                raise MalformedError(Reason.BAD_TRUST, "others can write it")
            anchor = _parse(path.read_bytes())
            if anchor.deployment != deployment:
                raise MalformedError(Reason.BAD_TRUST, "it is about another deployment")
        except FileNotFoundError:
            root = self._followed.get(deployment)
            return None if root is None else Anchor(deployment, root, {}, {})
        except (OSError, PlacetError) as e:
            raise IndeterminateError(
                Reason.TRUST_UNAVAILABLE,
                f"This machine's record {path} cannot be used: {e}.",
                hint="Remove it, and give the root's SHA-256 once more with --root-sha256, told by another "
                "administrator.",
            ) from e
        return anchor

    def keep(self, anchor: Anchor) -> None:
        """Writes a record, whole or not at all, readable by its owner alone.

        Raises:
            IndeterminateError: TRUST_UNAVAILABLE where it cannot be written.
        """
        path = self.path(anchor.deployment)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_atomically(path, _encode(anchor))
        except OSError as e:
            raise IndeterminateError(
                Reason.TRUST_UNAVAILABLE, f"What was verified cannot be kept in {path}: {e}."
            ) from e

    def check_unused(self, deployment: str) -> None:
        """Refuses to begin a deployment anew that this machine follows already.

        Raises:
            PolicyError: BAD_TRUST.
        """
        anchor = self.load(deployment)
        if anchor is not None and anchor.published:
            raise PolicyError(
                Reason.BAD_TRUST,
                f"This machine follows a trust root of {deployment!r} already.",
                hint="Choose another name. If that trust root is given up for good, remove "
                f"{self.path(deployment)}.",
            )

    def begin(self, deployment: str, root_sha256: Digest) -> None:
        """Keeps the first root of a deployment that was made on this machine."""
        self.keep(Anchor(deployment, root_sha256, {}, {}))

    def add_signed(self, anchor: Anchor, role: str, seen: Seen) -> None:
        """Keeps what was signed here, and with it the anchor under which it was shown."""
        known = self.load(anchor.deployment) or anchor
        self.keep(known._replace(signed={**known.signed, role: seen}))


def _encode(anchor: Anchor) -> bytes:
    return encode_canonical(
        {
            "mediaType": MEDIA_TYPE,
            "deployment": anchor.deployment,
            "rootSha256": anchor.root_sha256,
            "published": _seen_to_object(anchor.published),
            "signed": _seen_to_object(anchor.signed),
        }
    )


def _seen_to_object(roles: Mapping[str, Seen]) -> dict[str, Any]:
    return {role: seen._asdict() for role, seen in roles.items()}


def _parse(data: bytes) -> Anchor:
    value = parse_json(data, max_bytes=_MAX_BYTES, what="record")
    members = read_object(value, "", ["mediaType", "deployment", "rootSha256", "published", "signed"])
    if members["mediaType"] != MEDIA_TYPE:
        raise MalformedError(Reason.UNSUPPORTED_TYPE, "it is no record of a trust root")
    published, signed = (_parse_seen(members[name], f"/{name}") for name in ("published", "signed"))
    return Anchor(
        deployment=read_name(members["deployment"], "/deployment"),
        root_sha256=read_hex_digest(members["rootSha256"], "/rootSha256"),
        published=published,
        signed=signed,
    )


def _parse_seen(value: Any, path: str) -> dict[str, Seen]:
    found = {}
    for role, item in read_map(value, path, max_items=_MAX_ROLES).items():
        at = f"{path}/{role}"
        if role not in _ROLES and scope_of(role) is None:
            raise MalformedError(Reason.BAD_VALUE, "a role is unknown", path=at)
        members = read_object(item, at, ["version", "sha256", "files"])
        version = members["version"]
        if type(version) is not int or version < 1:
            raise MalformedError(Reason.BAD_VALUE, "a version is no number from 1", path=f"{at}/version")
        files = read_map(members["files"], f"{at}/files", max_items=_MAX_FILES)
        found[role] = Seen(
            version,
            read_hex_digest(members["sha256"], f"{at}/sha256"),
            {name: read_hex_digest(digest, f"{at}/files") for name, digest in files.items()},
        )
    return found

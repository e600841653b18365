"""People whose signatures are exported to a Rekor, and the files that come of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from other_tools import Question

from placet.cli import main
from placet.testing.authenticator import SoftSk
from placet.testing.world import ALICE, BOB, World


class Export:
    """What was written for one signature."""

    def __init__(self, file: Path, trusted_root: Path) -> None:
        self.file, self.trusted_root = file, trusted_root
        stem = file.name.removesuffix(".sigstore.json")
        self.signed, self.key = file.with_name(f"{stem}.signed"), file.with_name(f"{stem}.pub")

    def question(self, **other: Any) -> Question:
        """Asks whether the key signed these bytes by a signed time, and whether the log has it."""
        asked: dict[str, Any] = {"bundle": self.file, "artifact": self.signed, "key": self.key}
        fixed = {"predicate_type": "", "trusted_root": self.trusted_root}
        return Question(**(asked | fixed | other))


def export_signatures(folder: Path, rekor: str, tsa: str, trusted_root: Path) -> dict[str, Export]:
    """Approves something with a browser's key and with OpenSSH's, and exports each signature.

    Args:
        tsa: the timestamp authority, "" for none.
    """
    exports = {}
    for kind, person in (("webauthn", ALICE), ("openssh", BOB)):
        world = World(seed=b"interop")
        world.keys[BOB] = SoftSk("ecdsa", seed=b"bob")
        bundle, out = folder / f"{kind}.intent.json", folder / kind
        bundle.write_bytes(world.bundle(world.request_deploy(), person))
        command = ["log", "export", "rekor", str(bundle), "--rekor", rekor, "--publish-public-keys"]
        command += ["--tsa", tsa] if tsa else []
        assert main([*command, "--trusted-root", str(trusted_root), "-o", str(out)]) == 0
        (file,) = out.glob("*.sigstore.json")
        exports[kind] = Export(file, trusted_root)
        check = ["log", "export", "verify", str(file), str(bundle), "--trusted-root", str(trusted_root)]
        assert main(check) == 0
    return exports

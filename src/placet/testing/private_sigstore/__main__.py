"""``python -m placet.testing.private_sigstore PORT FOLDER``: serves until it is stopped."""

from __future__ import annotations

import contextlib
import sys
import threading
from pathlib import Path

from placet.testing.private_sigstore import PrivateSigstoreServer, github_claims


def main() -> None:
    """Writes the files, says so, and serves."""
    if len(sys.argv) != 3 or not sys.argv[1].isdigit():
        sys.exit("usage: python -m placet.testing.private_sigstore PORT FOLDER")
    port, folder = int(sys.argv[1]), Path(sys.argv[2])
    with PrivateSigstoreServer(port=port) as server:
        server.sigstore.write_files(folder)
        (folder / "token.jwt").write_text(server.sigstore.token("alice@example.com"))
        (folder / "token_job.jwt").write_text(server.sigstore.token(github_claims("octo/app")))
        sys.stdout.write(f"ready {server.address}\n")
        sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()

"""The commands of docs/how-to-sign.md run as they are written."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from signing_case import SERVICE, SigningCase

from placet.cli import _parser
from placet.core.bundle import parse_request
from placet.testing import world as worlds
from placet.testing.private_sigstore import PrivateSigstoreServer

GUIDE = Path(__file__).parents[2] / "docs" / "how-to-sign.md"


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SigningCase]:
    with PrivateSigstoreServer(b"documented") as server:
        yield SigningCase(tmp_path, monkeypatch, server)


def blocks(kind: str) -> list[str]:
    found = re.findall(rf"^```{kind}\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    return [line for block in found for line in block.splitlines()]


def test_every_command_of_the_guide_runs(case: SigningCase) -> None:
    shutil.copy(case.folder / "sigstore/trust_config_v2.json", case.folder / "our-sigstore.json")
    case.add("app.cdx.json", b'{"bomFormat": "CycloneDX"}')
    variables = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PLACET_TRUST": "snapshot.json",
        "PLACET_GATE": worlds.GATE,
        "PLACET_LEDGER": "ledger.sqlite3",
        # Stands for the person with the other device.
        "SIGSTORE_IDENTITY_TOKEN": case.server.sigstore.token(SERVICE),
        "SIGNER": SERVICE,
        "ISSUER": case.server.address,
    }
    lines = blocks("sh")
    assert len(lines) == 9
    with case.service() as url:
        for line in lines:
            if "--service" in line:  # the terminal has used the first approval
                for file in case.folder.glob("app.whl.*sigstore.json"):
                    file.unlink()
                case.approve(case.request("app.whl"))
            done = subprocess.run(
                ["sh", "-c", line],
                cwd=case.folder,
                env=os.environ | variables | {"SERVICE": url},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, (line, done.stdout, done.stderr)
            for name in ("app", "sbom"):
                request = case.folder / f"{name}.request.json"
                if request.exists():
                    case.approve(parse_request(request.read_bytes()), name=f"{name}.intent.json")
                    request.unlink()


def test_the_commands_that_need_a_platform_have_these_options() -> None:
    (serve,) = [line for line in blocks("console") if line.startswith("placet ")]
    words = shlex.split(serve)[1:]
    args = _parser(words)[0].parse_args(words)
    assert args.words == ["serve"] and args.identity_token_file and args.sigstore_config

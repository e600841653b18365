"""Calls a command in this process: a fresh interpreter for each question would cost most of the time."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
from pathlib import Path
from unittest import mock

from placet.cli import main


def placet(folder: Path, *line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs ``placet`` with that folder as the current one, and its own state."""
    settings = {"NO_COLOR": "1", "XDG_STATE_HOME": str(folder / "state")} | environment
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, settings),
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            code = main(line)
        except SystemExit as e:  # argparse
            code = e.code if isinstance(e.code, int) else 2
    return subprocess.CompletedProcess(["placet", *line], code, out.getvalue(), err.getvalue())

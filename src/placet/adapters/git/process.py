"""Running git with what others made: without prompts, hooks or the caller's variables, and within limits."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping

# The published trust root, or one challenge, is a few MiB; a repository that holds more holds something else.
MAX_BYTES = 128 * 1024 * 1024
MAX_SECONDS = 120

# A caller's GIT_DIR and the like would have git work somewhere else; how to reach a server is theirs to say.
_KEPT_VARIABLES = frozenset(
    {
        "GIT_SSH",
        "GIT_SSH_COMMAND",
        "GIT_SSL_CAINFO",
        "GIT_SSL_CAPATH",
        "GIT_CONFIG_GLOBAL",
        "GIT_CONFIG_NOSYSTEM",
    }
)
# Hooks and settings of a repository are its owner's programs.
_ALWAYS = {
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
}


class GitFailed(Exception):
    """git ended with an error, took too long or wrote too much; the text is its last word, on one line."""


def run_git(
    words: list[str],
    *,
    settings: Mapping[str, str],
    variables: Mapping[str, str] | None = None,
    standard_input: bytes = b"",
    max_bytes: int = MAX_BYTES,
    seconds: int = MAX_SECONDS,
) -> bytes:
    """Runs git without prompts, hooks or the caller's GIT_ variables; returns what it printed.

    Raises:
        GitFailed: with the reason.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_") or k in _KEPT_VARIABLES}
    environment |= {
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",
        "GIT_NO_LAZY_FETCH": "1",
        "LC_ALL": "C",
    } | dict(variables or {})
    environment.setdefault("GIT_SSH_COMMAND", "ssh -oBatchMode=yes")
    options = [
        word for name, value in (_ALWAYS | dict(settings)).items() for word in ("-c", f"{name}={value}")
    ]
    # No file that git or its helpers write may become larger; the shell counts in blocks of 512 bytes.
    limited = ["/bin/sh", "-c", f'ulimit -f {max_bytes // 512 + 1}; exec git "$@"', "git", *options, *words]
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(standard_input)
        given.seek(0)
        process = subprocess.Popen(
            limited, stdin=given, stdout=out, stderr=err, env=environment, start_new_session=True
        )
        try:
            code = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired as e:
            raise GitFailed(f"git did not finish in {seconds} seconds") from e
        finally:
            if process.returncode is None:  # its helpers, too
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        out.seek(0)
        err.seek(0)
        if code != 0:
            raise GitFailed(_last_word(code, err.read(65_536), max_bytes))
        return out.read(max_bytes + 1)


def _last_word(code: int, said: bytes, max_bytes: int) -> str:
    if code == 127:
        return "git is not installed"
    lines = [line.strip() for line in said.decode("utf-8", "backslashreplace").splitlines() if line.strip()]
    if code == -signal.SIGXFSZ or any("signal 25" in line or "File too large" in line for line in lines):
        return f"it holds more than {max_bytes} bytes"
    told = [line for line in lines if line.startswith(("fatal:", "error:", "remote:"))] or lines
    return (told[0] if told else f"git ended with {code}").removeprefix("fatal: ").rstrip(".")[:300]

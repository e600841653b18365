"""The stage of the demo: one folder per machine, and a voice that says what happens and why."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
STAGE = Path(os.environ.get("PLACET_DEMO_FOLDER", ROOT / ".demo")).resolve()
PLACET = [sys.executable, "-m", "placet"]
STEPS = 11


class DemoError(Exception):
    """Something did not go as the demo promises; the text says what."""


class Voice:
    """Tells the story: numbered steps, one sentence of why, the commands as anybody could type them."""

    def __init__(self) -> None:
        self._step, self._started = 0, time.monotonic()
        self._wide = sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    def step(self, title: str, why: str) -> None:
        """Begins the next step."""
        self._step += 1
        heading = f"{self._step}/{STEPS}  {title}"
        print(f"\n\x1b[1m{heading}\x1b[0m" if self._wide else f"\n{heading}")
        self.say(why)

    def say(self, text: str) -> None:
        """Says a sentence."""
        print(textwrap.fill(text, 96, initial_indent="     ", subsequent_indent="     "))
        sys.stdout.flush()

    def show(self, text: str) -> None:
        """Shows a command's own words."""
        for line in filter(str.strip, text.splitlines()):
            print(f"     | {line}")
        sys.stdout.flush()

    def command(self, machine: str, words: list[str], *, background: bool = False) -> None:
        """Shows a command as it could be typed on that machine."""
        shown = ["placet", *words[len(PLACET) :]] if words[: len(PLACET)] == PLACET else words
        text = shlex.join(shorten(word) for word in shown) + (" &" if background else "")
        print(
            textwrap.fill(
                f"{machine}$ {text}",
                110,
                initial_indent="     ",
                subsequent_indent="         ",
                break_long_words=False,
                break_on_hyphens=False,
            )
        )
        sys.stdout.flush()

    def seconds(self) -> int:
        """Returns how long the demo has been running."""
        return int(time.monotonic() - self._started)


def shorten(word: str) -> str:
    """Takes the demo's folder out of a word, for reading."""
    return word.replace(f"{STAGE}/", "").replace(str(STAGE), ".")


class Machine:
    """A machine of the story: a folder with state, data and configuration of its own."""

    def __init__(self, name: str, voice: Voice) -> None:
        self.name, self._voice = name, voice
        self.home = STAGE / name
        self.home.mkdir(parents=True, exist_ok=True)
        self.env = os.environ | {
            "XDG_STATE_HOME": str(self.home / "state"),
            "XDG_DATA_HOME": str(self.home / "data"),
            "XDG_CONFIG_HOME": str(self.home / "config"),
            "NO_COLOR": "1",
        }
        for name_of in ("PLACET_TRUST", "PLACET_GATE", "PLACET_RELAY"):
            self.env.pop(name_of, None)

    def placet(self, *words: str, expect: int = 0, quiet: bool = False, answer: str = "") -> str:
        """Runs a placet command here and shows it.

        Raises:
            DemoError: its exit code is another than expected.
        """
        command = [*PLACET, *words]
        self._voice.command(self.name, command)
        done = subprocess.run(
            command, cwd=self.home, env=self.env, input=answer, capture_output=True, text=True, check=False
        )
        output = shorten(done.stdout + done.stderr)
        if not quiet or done.returncode != expect:
            self._voice.show(output)
        if done.returncode != expect:
            raise DemoError(f"`placet {words[0]}` ended with {done.returncode}, expected was {expect}")
        return done.stdout

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Starts a placet command that goes on in the background."""
        command = [*PLACET, *words]
        self._voice.command(self.name, command, background=True)
        log = (self.home / f"{words[0]}.log").open("w")
        with log:
            return subprocess.Popen(
                command,
                cwd=self.home,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                text=True,
            )

    def log(self, command: str) -> str:
        """Returns what a background command has printed."""
        path = self.home / f"{command}.log"
        return path.read_text() if path.exists() else ""

    def wait_for_log(
        self, command: str, text: str, process: subprocess.Popen[str], timeout: float = 20
    ) -> str:
        """Waits until a background command has printed `text`; returns all that it printed.

        Raises:
            DemoError: it ended, or did not print it in time.
        """
        deadline = time.monotonic() + timeout
        while text not in self.log(command):
            if process.poll() is not None or time.monotonic() > deadline:
                raise DemoError(f"`placet {command}` did not start:\n{self.log(command)}")
            time.sleep(0.05)
        return self.log(command)


def free_port(preferred: int) -> int:
    """Returns the usual port, or any free one where another program has it."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise DemoError("no port is free on this machine")


def clear_stage() -> None:
    """Makes the demo's folder anew; every run starts from nothing."""
    shutil.rmtree(STAGE, ignore_errors=True)
    STAGE.mkdir(parents=True)


def stop(process: subprocess.Popen[str]) -> None:
    """Ends a background command."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def fail(voice: Voice, error: Exception) -> NoReturn:
    """Ends the demo with what went wrong and where to look."""
    print(f"\nThe demo stopped: {error}", file=sys.stderr)
    print(f"Its folder is kept for a look: {STAGE}", file=sys.stderr)
    sys.exit(1)

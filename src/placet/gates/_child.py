"""Running one approved command as a child process: what it gets, and what it does not.

It gets standard output and error, the approved argv and environment, and its own process group.  It gets no
standard input, which nobody approved; no other file, no other variable, no permissive umask.  Signals that
would end the gate are forwarded to the command instead, so that the gate lives to record how it ended.

Terminal job control follows the shells: the command is lent the terminal when it asks for it (SIGTTIN,
SIGTTOU), so that pipelines around the gate keep working, and stopping the command stops the gate.

Call it from the main thread: only there may signal handlers be set.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NamedTuple

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_WANTS_TERMINAL = (signal.SIGTTIN, signal.SIGTTOU)
_PRIVATE_UMASK = 0o077


class ChildCommand(NamedTuple):
    """What to execute, in full.

    Args:
        program: the private copy to execute.
        argv: the arguments, argv[0] included.
        environment: all variables; nothing is inherited.
        folder: the working directory.
        group_file: where the command's process group is noted before it starts.
    """

    program: Path
    argv: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    folder: Path
    group_file: Path


class SignalForwarder:
    """Keeps the gate alive under signals and passes them on; signals before the start are kept for it."""

    def __init__(self) -> None:
        self._group: int | None = None
        self._pending: list[int] = []

    @property
    def has_pending(self) -> bool:
        """Whether a signal came that the command did not get yet."""
        return bool(self._pending)

    def attach(self, group: int) -> None:
        """Forwards to the process group from now on."""
        self._group = group
        while self._pending:
            self._send(self._pending.pop(0))

    def detach(self) -> None:
        """Stops forwarding; call it before the child is reaped, after which its number may name another."""
        self._group = None

    def receive(self, number: int, _frame: FrameType | None) -> None:
        """The signal handler."""
        if self._group is None:
            self._pending.append(number)
        else:
            self._send(number)

    def _send(self, number: int) -> None:
        if self._group is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._group, number)


@contextmanager
def forward_signals() -> Iterator[SignalForwarder]:
    """Forwards signals while the block runs; ignored ones (nohup) stay ignored."""
    forwarder = SignalForwarder()
    previous = {}
    try:
        for number in _FORWARDED:
            if signal.getsignal(number) is not signal.SIG_IGN:
                previous[number] = signal.signal(number, forwarder.receive)
        yield forwarder
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def start_child(command: ChildCommand) -> subprocess.Popen[bytes]:
    """Starts the command.

    Raises:
        OSError: it could not be started.
    """

    def note_group() -> None:
        # In the child, before it executes: a gate killed at any moment leaves either no command or a note.
        note = os.open(command.group_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.write(note, str(os.getpid()).encode("ascii"))
        os.close(note)

    # Encoded here, because the locale's encoding must not change what was approved.
    try:
        return subprocess.Popen(
            [argument.encode() for argument in command.argv],
            executable=command.program,
            env={name.encode(): value.encode() for name, value in command.environment},
            cwd=command.folder,
            # USE-09: what is piped in would be a part of the action that nobody saw.
            stdin=subprocess.DEVNULL,
            close_fds=True,
            process_group=0,
            umask=_PRIVATE_UMASK,
            preexec_fn=note_group,
        )
    except subprocess.SubprocessError as error:
        raise OSError(0, str(error)) from error


def wait_for_child(child: subprocess.Popen[bytes], signals: SignalForwarder) -> int:
    """Waits until the command ends; returns its exit code, 128 + n if a signal ended it."""
    signals.attach(child.pid)
    with _terminal() as terminal:
        while True:
            ended = os.waitid(os.P_PID, child.pid, os.WEXITED | os.WSTOPPED | os.WNOWAIT)
            if ended is None or ended.si_code in (os.CLD_EXITED, os.CLD_KILLED, os.CLD_DUMPED):
                break
            with suppress(ChildProcessError):
                # Takes the event off the queue; without waiting, for the command may have been killed since.
                os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOHANG)
            _handle_stop(child.pid, ended.si_status, terminal)
        signals.detach()
        exit_code = child.wait()
        if _foreground_group(terminal) == child.pid:
            _lend_terminal(terminal, os.getpgrp())
    return exit_code if exit_code >= 0 else 128 - exit_code


def _handle_stop(group: int, number: int, terminal: int | None) -> None:
    if number in _WANTS_TERMINAL and _foreground_group(terminal) == os.getpgrp():
        _lend_terminal(terminal, group)
    else:
        if _foreground_group(terminal) == group:
            _lend_terminal(terminal, os.getpgrp())
        os.kill(os.getpid(), signal.SIGSTOP)
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGCONT)


@contextmanager
def _terminal() -> Iterator[int | None]:
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        yield None
        return
    try:
        yield terminal
    finally:
        os.close(terminal)


def _foreground_group(terminal: int | None) -> int | None:
    if terminal is None:
        return None
    try:
        return os.tcgetpgrp(terminal)
    except OSError:
        return None


def _lend_terminal(terminal: int | None, group: int) -> None:
    if terminal is None:
        return
    # A background process that changes the terminal's group is stopped by SIGTTOU unless it blocks it.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
    try:
        with suppress(OSError):
            os.tcsetpgrp(terminal, group)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

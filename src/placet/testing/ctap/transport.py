"""How a client reaches the software authenticator: directly, over CTAPHID, or over a pseudo terminal.

CTAPHID is section 11.2 of CTAP 2.1: packets of 64 bytes, an initial one with command and
length, continuation packets with a sequence number, keep-alives while a person is waited for.
"""

import contextlib
import os
import queue
import select
import struct
import threading
import tty
from collections.abc import Callable, Iterator
from typing import Final

from fido2.ctap import STATUS, CtapDevice, CtapError
from fido2.hid import CAPABILITY, CTAPHID, CtapHidDevice
from fido2.hid.base import CtapHidConnection, HidDescriptor

from placet.testing.ctap.authenticator import SoftAuthenticator

PACKET_SIZE: Final = 64
_REPORT_SIZE: Final = PACKET_SIZE + 1
"""Clients put the HID report number, 0, in front of each packet that they write."""
_INIT_BIT: Final = 0x80
_KEEPALIVE_SECONDS: Final = 0.05
_READ_TIMEOUT_SECONDS: Final = 30
_CTAPHID_VERSION: Final = 2

_ERROR_INVALID_COMMAND: Final = b"\x01"
_ERROR_INVALID_SEQUENCE: Final = b"\x04"
_ERROR_CHANNEL_BUSY: Final = b"\x06"


class SoftCtapDevice(CtapDevice):
    """The authenticator as a python-fido2 device, without framing."""

    def __init__(self, authenticator: SoftAuthenticator) -> None:
        self.authenticator = authenticator

    @property
    def capabilities(self) -> int:
        """CTAP2 only: CBOR yes, U2F messages no."""
        return CAPABILITY.CBOR | CAPABILITY.NMSG

    def call(
        self,
        cmd: int,
        data: bytes = b"",
        event: threading.Event | None = None,
        on_keepalive: Callable[[STATUS], None] | None = None,
    ) -> bytes:
        """Pass one CTAP message to the authenticator.

        Raises:
            CtapError: The command is not CBOR.
        """
        if cmd != CTAPHID.CBOR:
            raise CtapError(CtapError.ERR.INVALID_COMMAND)
        if on_keepalive is not None:
            on_keepalive(STATUS.UPNEEDED)
        return self.authenticator.process(data, cancelled=event)

    @classmethod
    def list_devices(cls) -> Iterator[CtapDevice]:
        """Find nothing: a software authenticator is made, never discovered."""
        return iter(())


class _Message:
    """A CTAPHID message that is still arriving."""

    def __init__(self, channel: int, command: int, length: int, data: bytes) -> None:
        self.channel = channel
        self.command = command
        self.data = data[:length]
        self._length = length
        self._next_sequence = 0

    @property
    def complete(self) -> bool:
        return len(self.data) == self._length

    def append(self, channel: int, sequence: int, data: bytes) -> bool:
        """Add a continuation packet; False when it is not the next one."""
        if channel != self.channel or sequence != self._next_sequence:
            return False
        self.data += data[: self._length - len(self.data)]
        self._next_sequence += 1
        return True


class HidFraming:
    """The authenticator's side of CTAPHID: feed it packets, it emits packets."""

    def __init__(self, authenticator: SoftAuthenticator, emit: Callable[[bytes], None]) -> None:
        """Frame for ``authenticator``.

        Args:
            authenticator: Answers the messages.
            emit: Called with each packet of 64 bytes, from several threads but never at once.
        """
        self._authenticator = authenticator
        self._emit = emit
        self._arriving: _Message | None = None
        self._last_channel = 0
        self._emit_lock = threading.Lock()
        self._cancelled = threading.Event()
        self._worker: threading.Thread | None = None
        self._busy = threading.Event()

    def feed(self, packet: bytes) -> None:
        """Take one packet from the client."""
        channel, head = struct.unpack_from(">IB", packet)
        if head & _INIT_BIT:
            command = head & ~_INIT_BIT
            if command == CTAPHID.CANCEL:
                self._cancelled.set()
                return
            (length,) = struct.unpack_from(">H", packet, 5)
            self._arriving = _Message(channel, command, length, packet[7:])
        elif self._arriving is None or not self._arriving.append(channel, head, packet[5:]):
            self._arriving = None
            self._send(channel, CTAPHID.ERROR, _ERROR_INVALID_SEQUENCE)
            return
        if self._arriving.complete:
            message, self._arriving = self._arriving, None
            self._dispatch(message)

    def close(self) -> None:
        """Cancel what is under way and wait for it to end."""
        self._cancelled.set()
        if self._worker is not None:
            self._worker.join()

    def _dispatch(self, message: _Message) -> None:
        match message.command:
            case CTAPHID.INIT:
                self._last_channel += 1
                answer = struct.pack(
                    ">IBBBBB",
                    self._last_channel,
                    _CTAPHID_VERSION,
                    1,
                    0,
                    0,
                    CAPABILITY.CBOR | CAPABILITY.NMSG,
                )
                self._send(message.channel, CTAPHID.INIT, message.data + answer)
            case CTAPHID.PING:
                self._send(message.channel, CTAPHID.PING, message.data)
            case CTAPHID.CBOR:
                self._start(message)
            case _:
                self._send(message.channel, CTAPHID.ERROR, _ERROR_INVALID_COMMAND)

    def _start(self, message: _Message) -> None:
        """Answer in a thread of its own, so that a cancellation can still arrive."""
        if self._busy.is_set():
            self._send(message.channel, CTAPHID.ERROR, _ERROR_CHANNEL_BUSY)
            return
        self._busy.set()
        self._cancelled = threading.Event()
        self._worker = threading.Thread(target=self._answer, args=(message, self._cancelled), daemon=True)
        self._worker.start()

    def _answer(self, message: _Message, cancelled: threading.Event) -> None:
        done = threading.Event()
        keepalive = threading.Thread(target=self._keep_alive, args=(message.channel, done), daemon=True)
        keepalive.start()
        try:
            response = self._authenticator.process(message.data, cancelled=cancelled)
        finally:
            done.set()
            keepalive.join()
            # Before the answer is sent, for a quick client's next message comes right after it.
            self._busy.clear()
        self._send(message.channel, CTAPHID.CBOR, response)

    def _keep_alive(self, channel: int, done: threading.Event) -> None:
        while not done.wait(_KEEPALIVE_SECONDS):
            waiting = self._authenticator.waiting_for_touch.is_set()
            status = STATUS.UPNEEDED if waiting else STATUS.PROCESSING
            self._send(channel, CTAPHID.KEEPALIVE, bytes([status]))

    def _send(self, channel: int, command: int, data: bytes) -> None:
        packet = struct.pack(">IBH", channel, _INIT_BIT | command, len(data))
        sequence = 0
        with self._emit_lock:
            while True:
                room = PACKET_SIZE - len(packet)
                self._emit((packet + data[:room]).ljust(PACKET_SIZE, b"\0"))
                data = data[room:]
                if not data:
                    return
                packet = struct.pack(">IB", channel, sequence)
                sequence += 1


class _QueueConnection(CtapHidConnection):
    """A HID connection whose other end is in this process."""

    def __init__(self, authenticator: SoftAuthenticator) -> None:
        self._packets: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._framing = HidFraming(authenticator, self._packets.put)

    def read_packet(self) -> bytes:
        return self._packets.get(timeout=_READ_TIMEOUT_SECONDS)

    def write_packet(self, data: bytes) -> None:
        self._framing.feed(bytes(data))

    def close(self) -> None:
        self._framing.close()


def open_hid_device(authenticator: SoftAuthenticator) -> CtapHidDevice:
    """Return a python-fido2 HID device with the authenticator behind real CTAPHID framing."""
    descriptor = HidDescriptor("software", 0x1209, 1, PACKET_SIZE, PACKET_SIZE, "software", None)
    return CtapHidDevice(descriptor, _QueueConnection(authenticator))


class PtyDevice:
    """A pseudo terminal that libfido2 opens as a device node.

    Attributes:
        path: The device path to hand to a tool, ``/dev/pts/N``.
        authenticator: What answers there.
    """

    def __init__(self, authenticator: SoftAuthenticator) -> None:
        self.authenticator = authenticator
        self._ours, self._theirs = os.openpty()
        tty.setraw(self._ours)
        tty.setraw(self._theirs)
        self.path = os.ttyname(self._theirs)
        self._wake_read, self._wake_write = os.pipe()
        self._framing = HidFraming(authenticator, self._write)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving and close the pseudo terminal."""
        os.write(self._wake_write, b"\0")
        self._thread.join()
        self._framing.close()
        for descriptor in (self._ours, self._theirs, self._wake_read, self._wake_write):
            os.close(descriptor)

    def _serve(self) -> None:
        buffer = b""
        while True:
            ready, _, _ = select.select([self._ours, self._wake_read], [], [])
            if self._wake_read in ready:
                return
            buffer += os.read(self._ours, 4096)
            while len(buffer) >= _REPORT_SIZE:
                self._framing.feed(buffer[1:_REPORT_SIZE])
                buffer = buffer[_REPORT_SIZE:]

    def _write(self, packet: bytes) -> None:
        os.write(self._ours, packet)


@contextlib.contextmanager
def serve_pty(authenticator: SoftAuthenticator) -> Iterator[PtyDevice]:
    """Serve ``authenticator`` on a pseudo terminal while the context lasts.

    Do not start a client in a session of its own (``setsid``): the pseudo terminal would
    become its controlling terminal and swallow its PIN prompt.
    """
    device = PtyDevice(authenticator)
    try:
        yield device
    finally:
        device.close()

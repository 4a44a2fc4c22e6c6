"""How do two hosts talk? Messages of a kind and some bytes over TCP, and beats when there are none.

Knows nothing of what messages say. A host that ends closes its connections, which is seen at once;
one that vanishes, or whose network does, is known by its silence.
"""

from __future__ import annotations

import contextlib
import enum
import os
import socket
import struct
import sys
import threading
from typing import NoReturn

from jaxserve.errors import JaxserveError

BEAT_S = 1.0
SILENCE_S = 15.0  # a host busy with anything at all beats more often

_HEADER = struct.Struct("<BQ")  # kind, length


class Kind(enum.IntEnum):
    """What a message is; in the order in which they come."""

    BEAT = 0
    HELLO = 1  # a host names itself and its settings
    REFUSED = 2  # the first host does not take it, and why
    WELCOME = 3  # every host is there
    LOADED = 4  # a host has its weights, and what memory is left
    TERMS = 5  # what runners are to be built
    READY = 6  # a host is warm
    COMMAND = 7
    LEAVING = 8  # a host was told to end
    STOP = 9
    FAILED = 10  # a host cannot go on, and why


class ConnectionLost(JaxserveError):
    """The other side is gone; says how that showed."""


class Connection:
    """Sends from any thread; receives on one."""

    def __init__(
        self, connected: socket.socket, *, beat_s: float = BEAT_S, silence_s: float = SILENCE_S
    ) -> None:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected.settimeout(silence_s)
        self._socket = connected
        self._silence_s = silence_s
        self._reader = connected.makefile("rb")
        self._sending = threading.Lock()
        self._closed = threading.Event()
        beats = threading.Thread(target=self._beat, args=(beat_s,), name="beats", daemon=True)
        beats.start()

    def send(self, kind: Kind, payload: bytes = b"") -> None:
        """Raises ConnectionLost."""
        try:
            with self._sending:
                self._socket.sendall(_HEADER.pack(kind, len(payload)) + payload)
        except OSError as error:
            raise ConnectionLost(error.strerror or str(error)) from None

    def receive(self, *, most_bytes: int | None = None) -> tuple[Kind, bytes]:
        """The next message that is no beat. Raises ConnectionLost, also for one that is longer
        than `most_bytes` or of no kind."""
        kind = Kind.BEAT
        while kind is Kind.BEAT:
            number, length = _HEADER.unpack(self._read(_HEADER.size))
            if number >= len(Kind) or (most_bytes is not None and length > most_bytes):
                raise ConnectionLost("it does not speak as a host of jaxserve does")
            kind, payload = Kind(number), self._read(length)
        return kind, payload

    def close(self) -> None:
        self._closed.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.close()  # which else keeps the socket open
        self._socket.close()

    def _read(self, length: int) -> bytes:
        try:
            data = self._reader.read(length)
        except TimeoutError:
            raise ConnectionLost(f"nothing was heard of it for {self._silence_s:g} s") from None
        except (OSError, ValueError) as error:  # ValueError: closed by another thread of ours
            raise ConnectionLost(str(error)) from None
        if len(data) < length:
            raise ConnectionLost("its process has ended")
        return data

    def _beat(self, beat_s: float) -> None:
        with contextlib.suppress(ConnectionLost):  # whoever receives is told
            while not self._closed.wait(beat_s):
                self.send(Kind.BEAT)


def end_process(why: str) -> NoReturn:
    """Say why on stderr and end with exit code 1, from any thread.

    Not by an exception: another thread may wait in a collective that a lost host never joins, and
    nothing but the end of the process takes it out of there.
    """
    sys.stdout.flush()
    print(f"jaxserve: {why}", file=sys.stderr, flush=True)
    os._exit(1)

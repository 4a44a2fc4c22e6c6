"""How does another host follow the first? It comes to it, says what it has, and does as told."""

from __future__ import annotations

import contextlib
import json
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jaxserve.engine.commands import Command, decode
from jaxserve.errors import ConfigError
from jaxserve.hosts.leader import GATHER_S
from jaxserve.hosts.terms import Place, Terms
from jaxserve.hosts.wire import Connection, ConnectionLost, Kind, end_process

_RETRY_S = 0.2


class Leader:
    """The first host, to one that follows it.

    A thread receives, so that this process ends with the first host, whatever it is doing.
    """

    def __init__(
        self, connection: Connection, *, on_lost: Callable[[str], object] = end_process
    ) -> None:
        self._connection = connection
        self._on_lost = on_lost
        self._heard: queue.SimpleQueue[tuple[Kind, bytes]] = queue.SimpleQueue()
        self._is_over = False
        threading.Thread(target=self._listen, name="first-host", daemon=True).start()

    def loaded(self, free_bytes: int, digest: str) -> Terms:
        """Say that the weights are there; answers with what runner to build."""
        said = json.dumps({"free_bytes": free_bytes, "digest": digest})
        self._connection.send(Kind.LOADED, said.encode())
        kind, payload = self._heard.get()
        assert kind is Kind.TERMS, f"the first host says {kind.name}, not TERMS"
        return Terms.from_json(payload)

    def ready(self) -> None:
        """Say that this host is warm."""
        self._connection.send(Kind.READY)

    def commands(self) -> Iterator[Command]:
        """What to do, in order; ends when the first host does."""
        while True:
            kind, payload = self._heard.get()
            if kind is Kind.STOP:
                return
            yield decode(payload)

    def leave(self) -> None:
        """Ask the first host to finish what runs and to end the service."""
        with contextlib.suppress(ConnectionLost):
            self._connection.send(Kind.LEAVING)

    def fail(self, failure: str) -> None:
        """Tell the first host that this one cannot go on."""
        self._is_over = True
        with contextlib.suppress(ConnectionLost):
            self._connection.send(Kind.FAILED, failure.encode())
        self._connection.close()

    def close(self) -> None:
        self._is_over = True
        self._connection.close()

    def _listen(self) -> None:
        try:
            while not self._is_over:
                kind, payload = self._connection.receive()
                if kind is Kind.FAILED:
                    raise ConnectionLost(payload.decode())
                self._is_over = kind is Kind.STOP
                self._heard.put((kind, payload))
        except ConnectionLost as lost:
            if not self._is_over:
                self._on_lost(f"host 0, which schedules, is lost: {lost}")


def join(place: Place, settings: Mapping[str, Any], *, within_s: float = GATHER_S) -> Leader:
    """Come to the first host and wait until all are there.

    Raises ConfigError when it is not there, or does not take this host.
    """
    connection = Connection(_connected(place, within_s))
    hello = {"host_index": place.index, "settings": dict(settings)}
    try:
        connection.send(Kind.HELLO, json.dumps(hello).encode())
        kind, payload = connection.receive()
    except ConnectionLost as lost:
        connection.close()
        raise ConfigError(f"host 0 at {place.address} does not take this host in: {lost}") from None
    if kind is Kind.REFUSED:
        connection.close()
        raise ConfigError(payload.decode())
    assert kind is Kind.WELCOME, f"the first host says {kind.name}, not WELCOME"
    return Leader(connection)


def _connected(place: Place, within_s: float) -> socket.socket:
    deadline_s = time.monotonic() + within_s
    while True:
        try:
            return socket.create_connection((place.host, place.port), timeout=within_s)
        except OSError as error:
            if time.monotonic() > deadline_s:
                raise ConfigError(
                    f"host 0 is not at coordinator = {place.address}: {error.strerror or error}; "
                    f"it was tried for {within_s:g} s"
                ) from None
            time.sleep(_RETRY_S)

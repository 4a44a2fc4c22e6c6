"""What does the first host do with the others? Takes them in, tells them all, and misses the lost.

From the first word on a thread listens to each of them, so that one that is lost ends this process
whatever it is doing.
"""

from __future__ import annotations

import contextlib
import json
import queue
import select
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from jaxserve.engine.commands import Command, encode
from jaxserve.errors import ConfigError
from jaxserve.hosts.terms import Place, Terms, mismatch
from jaxserve.hosts.wire import Connection, ConnectionLost, Kind, end_process

GATHER_S = 300.0
_HELLO_BYTES = 1 << 16


class Leads(Protocol):
    """A runner whose commands others can follow."""

    def lead(self, tell: Callable[[Command], None]) -> None: ...


class Group(Protocol):
    """The hosts beside this one, if any."""

    on_lost: Callable[[str], object]
    on_leaving: Callable[[], object]

    def least(self, free_bytes: int, digest: str) -> int:
        """The free bytes of the host that has least; every host must have loaded `digest`."""
        ...

    def agree(self, terms: Terms) -> None:
        """Have every host build its runner."""
        ...

    def lead(self, runner: Leads) -> None:
        """Wait until every host is warm; from then on they follow `runner`."""
        ...

    def close(self, failure: str | None = None) -> None:
        """Have every host end; with `failure`, because of that."""
        ...


class Alone:
    """The group of a host that serves by itself."""

    on_lost: Callable[[str], object] = end_process
    on_leaving: Callable[[], object] = staticmethod(lambda: None)

    def least(self, free_bytes: int, digest: str) -> int:
        return free_bytes

    def agree(self, terms: Terms) -> None:
        pass

    def lead(self, runner: Leads) -> None:
        pass

    def close(self, failure: str | None = None) -> None:
        pass


class Followers:
    """The other hosts, by their index."""

    def __init__(self, connections: Mapping[int, Connection]) -> None:
        self.on_lost: Callable[[str], object] = end_process
        self.on_leaving: Callable[[], object] = lambda: None
        self._connections = dict(sorted(connections.items()))
        self._heard: dict[int, queue.SimpleQueue[tuple[Kind, bytes]]] = {
            index: queue.SimpleQueue() for index in self._connections
        }
        self._closing = False
        for index in self._connections:
            threading.Thread(
                target=self._listen, args=(index,), name=f"host-{index}", daemon=True
            ).start()

    def least(self, free_bytes: int, digest: str) -> int:
        told = {index: json.loads(payload) for index, payload in self._hear(Kind.LOADED).items()}
        for index, loaded in told.items():
            if loaded["digest"] != digest:
                raise ConfigError(
                    f"host {index} has loaded another model than host 0, or another backend "
                    "computes its attention; give every host the same files and devices"
                )
        return min(free_bytes, *(loaded["free_bytes"] for loaded in told.values()))

    def agree(self, terms: Terms) -> None:
        self._say(Kind.TERMS, terms.as_json())

    def lead(self, runner: Leads) -> None:
        self._hear(Kind.READY)
        runner.lead(lambda command: self._say(Kind.COMMAND, encode(command)))

    def close(self, failure: str | None = None) -> None:
        self._closing = True
        last = (Kind.STOP, b"") if failure is None else (Kind.FAILED, failure.encode())
        for connection in self._connections.values():
            with contextlib.suppress(ConnectionLost):
                connection.send(*last)
            connection.close()

    def _say(self, kind: Kind, payload: bytes) -> None:
        for connection in self._connections.values():
            connection.send(kind, payload)

    def _hear(self, expected: Kind) -> dict[int, bytes]:
        """The next message of every host; whoever fails meanwhile ends this process."""
        heard = {}
        for index, messages in self._heard.items():
            kind, heard[index] = messages.get()
            assert kind is expected, f"host {index} says {kind.name}, not {expected.name}"
        return heard

    def _listen(self, index: int) -> None:
        try:
            while True:
                kind, payload = self._connections[index].receive()
                if kind is Kind.LEAVING:
                    self.on_leaving()
                elif kind is Kind.FAILED:
                    raise ConnectionLost(payload.decode())
                else:
                    self._heard[index].put((kind, payload))
        except ConnectionLost as lost:
            if not self._closing:
                self.on_lost(f"host {index} of {len(self._connections) + 1} is lost: {lost}")


def gather(place: Place, settings: Mapping[str, Any], *, within_s: float = GATHER_S) -> Followers:
    """Listen until all other hosts are there.

    Raises ConfigError when the address cannot be had, when hosts are missing, and for one that
    was started with other settings or a place that is taken; those that came are told.
    """
    connections: dict[int, Connection] = {}
    deadline_s = time.monotonic() + within_s
    with _listening(place) as listening:
        while len(connections) < place.num_hosts - 1:
            missing = sorted(set(range(1, place.num_hosts)) - connections.keys())
            if not select.select([listening], [], [], max(0.0, deadline_s - time.monotonic()))[0]:
                named = " and ".join(map(str, missing))
                failure = f"host {named} of {place.num_hosts} did not come to {place.address}"
                _refuse_all(connections, f"{failure} within {within_s:g} s")
            index, connection = _take_in(listening, missing, settings, connections)
            if index is not None:
                connections[index] = connection
    for connection in connections.values():
        connection.send(Kind.WELCOME)
    return Followers(connections)


def _listening(place: Place) -> socket.socket:
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    try:
        return socket.create_server((place.host, place.port), family=family)
    except OSError as error:
        raise ConfigError(
            f"cannot listen for other hosts at coordinator = {place.address}: "
            f"{error.strerror or error}; it must be an address of host 0 with a free port"
        ) from None


def _take_in(
    listening: socket.socket,
    missing: list[int],
    settings: Mapping[str, Any],
    others: Mapping[int, Connection],
) -> tuple[int | None, Connection]:
    """A host and its connection; None for whoever is no host."""
    connection = Connection(listening.accept()[0])
    try:
        kind, payload = connection.receive(most_bytes=_HELLO_BYTES)
        hello = json.loads(payload) if kind is Kind.HELLO else {}
        index, theirs = hello["host_index"], hello["settings"]
    except (ConnectionLost, ValueError, KeyError):
        connection.close()
        return None, connection
    problem = mismatch(settings, theirs, index)
    if problem is None and index not in missing:
        problem = f"there is a host {index} already; give each another host_index"
    if problem is not None:
        _refuse_all({**others, -1: connection}, problem)
    return index, connection


def _refuse_all(connections: Mapping[int, Connection], problem: str) -> None:
    for connection in connections.values():
        with contextlib.suppress(ConnectionLost):
            connection.send(Kind.REFUSED, problem.encode())
        connection.close()
    raise ConfigError(problem)

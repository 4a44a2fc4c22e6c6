from __future__ import annotations

import socket

import pytest

from jaxserve.hosts.wire import Connection, ConnectionLost, Kind


def pair(*, beat_s: float = 60.0, silence_s: float = 60.0) -> tuple[Connection, Connection]:
    ours, theirs = socket.create_server(("127.0.0.1", 0)), socket.socket()
    with ours:
        theirs.connect(ours.getsockname())
        accepted, _ = ours.accept()
    return (
        Connection(accepted, beat_s=beat_s, silence_s=silence_s),
        Connection(theirs, beat_s=beat_s, silence_s=60.0),
    )


def test_messages_arrive_whole_and_in_order() -> None:
    here, there = pair()
    there.send(Kind.HELLO, b"first")
    there.send(Kind.COMMAND, bytes(300_000))
    there.send(Kind.STOP)
    received = [here.receive() for _ in range(3)]
    assert received == [(Kind.HELLO, b"first"), (Kind.COMMAND, bytes(300_000)), (Kind.STOP, b"")]
    here.close()
    there.close()


def test_beats_keep_a_silent_host_alive_and_are_not_seen() -> None:
    here, there = pair(beat_s=0.01, silence_s=30.0)
    here.send(Kind.BEAT)
    there.send(Kind.READY)
    assert here.receive() == (Kind.READY, b"")
    here.close()
    there.close()


def test_a_process_that_has_ended_is_lost() -> None:
    here, there = pair()
    there.close()
    with pytest.raises(ConnectionLost, match="its process has ended"):
        here.receive()
    with pytest.raises(ConnectionLost):
        for _ in range(100):  # the first ones may still find room
            here.send(Kind.COMMAND, bytes(100_000))
    here.close()


def test_one_that_only_is_silent_is_lost_too() -> None:
    here, there = pair(silence_s=0.05)
    with pytest.raises(ConnectionLost, match=r"nothing was heard of it for 0\.05 s"):
        here.receive()
    here.close()
    there.close()


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", b"\x01" + bytes([255] * 8)])
def test_who_speaks_otherwise_is_lost(said: bytes) -> None:
    here, there = pair()
    there._socket.sendall(said)
    with pytest.raises(ConnectionLost, match="does not speak as a host"):
        here.receive(most_bytes=1000)
    here.close()
    there.close()

"""Clients that leave a live server, in every phase, and a server that leaves its clients."""

from __future__ import annotations

import json
import socket
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest

from tests.server.apps import CHAT, MESSAGES, TEXT, live, live_app, make_app, wait_until
from tests.text_fakes import ScriptedEngine


def open_request(address: str, path: str, body: dict[str, Any]) -> socket.socket:
    """A connection on which the request has been sent and nothing read."""
    connection = connect(address)
    content = json.dumps(body).encode()
    connection.sendall(head(path, len(content)) + content)
    return connection


def connect(address: str) -> socket.socket:
    parts = urlsplit(address)
    assert parts.hostname and parts.port
    return socket.create_connection((parts.hostname, parts.port), timeout=10)


def head(path: str, num_bytes: int) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {num_bytes}\r\n\r\n".encode()


@pytest.mark.parametrize("path", [CHAT, TEXT])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("num_steps", [0, 3])
def test_leaving_aborts_all_samples_before_and_during_output(
    path: str, stream: bool, num_steps: int
) -> None:
    engine = ScriptedEngine(b"a" * 1000, paused=True)
    body = {"messages": MESSAGES, "prompt": "hi", "n": 3, "stream": stream, "max_tokens": 500}
    with live(engine) as address:
        connection = open_request(address, path, body)
        wait_until(lambda: engine.num_running == 3)
        for _ in range(num_steps):
            engine.step()
        connection.close()
        wait_until(lambda: engine.num_running == 0)
    assert sorted(set(engine.aborted)) == sorted(request.id for request in engine.submitted)


@pytest.mark.parametrize("path", ["/generate", "/generate_stream", "/api/generate", "/api/chat"])
@pytest.mark.parametrize("num_steps", [0, 3])
def test_leaving_aborts_in_the_other_dialects_too(path: str, num_steps: int) -> None:
    engine = ScriptedEngine(b"a" * 1000, paused=True)
    with live(engine) as address:
        body = {"messages": MESSAGES, "prompt": "hi", "inputs": "hi"}
        connection = open_request(address, path, body)
        wait_until(lambda: engine.num_running == 1)
        wait_until(lambda: get(address, "/load") == {"server_load": 1})
        for _ in range(num_steps):
            engine.step()
        connection.close()
        wait_until(lambda: engine.num_running == 0)
        wait_until(lambda: get(address, "/load") == {"server_load": 0})


def get(address: str, path: str) -> Any:
    with urlopen(address + path, timeout=10) as response:
        return json.load(response)


def test_leaving_client_does_not_disturb_the_others() -> None:
    engine = ScriptedEngine(b"abc", paused=True)
    with live(engine) as address:
        stays = open_request(address, CHAT, {"messages": MESSAGES})
        leaves = open_request(address, CHAT, {"messages": MESSAGES, "stream": True})
        wait_until(lambda: engine.num_running == 2)
        leaves.close()
        wait_until(lambda: engine.num_running == 1)
        for _ in range(4):
            engine.step()
        answer = stays.recv(65536)
        stays.close()
    assert b'"content":"abc"' in answer


def test_leaving_in_the_middle_of_the_body_runs_nothing() -> None:
    engine = ScriptedEngine(b"abc")
    with live(engine) as address:
        with connect(address) as leaves:
            leaves.sendall(head(CHAT, 900) + b"{")
        with open_request(address, CHAT, {"messages": MESSAGES}) as stays:
            assert stays.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert len(engine.submitted) == 1


def test_body_over_the_limit_is_refused_while_it_is_still_coming() -> None:
    with live(ScriptedEngine(b"abc")) as address:
        with connect(address) as connection:
            connection.sendall(head(CHAT, 99_000_000) + b"{")
            assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("stream", [True, False])
def test_server_that_stops_tells_the_clients_it_leaves(stream: bool) -> None:
    engine = ScriptedEngine(b"abc", paused=True)
    app = make_app(engine)
    with live_app(app) as (address, stop):
        body = {"messages": MESSAGES, "stream": stream}
        with open_request(address, CHAT, body) as connection:
            wait_until(lambda: engine.num_running == 1)
            app.state.server.draining = True
            stop()
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
    engine.stop()
    assert b'"code":"draining"' in answer
    assert answer.startswith(b"HTTP/1.1 200 " if stream else b"HTTP/1.1 503 ")
    assert (b"data: [DONE]" in answer) is stream
    assert engine.num_running == 0


@pytest.mark.parametrize(
    ("path", "told"),
    [("/generate_stream", b'"error_type":"healthcheck"'), ("/api/chat", b'{"error":"the server')],
)
def test_server_that_stops_says_so_in_the_style_of_the_path(path: str, told: bytes) -> None:
    engine = ScriptedEngine(b"abc", paused=True)
    app = make_app(engine)
    with live_app(app) as (address, stop):
        with open_request(address, path, {"messages": MESSAGES, "inputs": "a"}) as connection:
            wait_until(lambda: engine.num_running == 1)
            app.state.server.draining = True
            stop()
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
    engine.stop()
    assert told in answer and b"[DONE]" not in answer

"""Errors that nothing of a route's own tells: the path alone decides how they read."""

from __future__ import annotations

from typing import Any

import pytest

from jaxserve.config import ServerConfig
from tests.server.apps import CHAT, client
from tests.text_fakes import ScriptedEngine

OPENAI_ERROR = {"message", "type", "param", "code"}
PATHS = ["/generate", "/tokenize", "/api/chat", CHAT]


def check_style(path: str, told: dict[str, Any]) -> None:
    if path == CHAT:
        assert set(told) == {"error", "error_type"} and set(told["error"]) == OPENAI_ERROR
    else:
        assert isinstance(told["error"], str)
        assert ("error_type" in told) is not path.startswith("/api")


@pytest.mark.parametrize("path", PATHS)
def test_what_is_refused_before_the_route_is_told_in_its_style(path: str) -> None:
    config = ServerConfig(api_key=("k",), payload_limit=10)
    key = {"authorization": "Bearer k"}
    with client(ScriptedEngine(b"a"), config=config) as c:
        answers = {
            401: c.post(path, json={}),
            405: c.put(path, json={}, headers=key),
            413: c.post(path, content=b"x" * 11, headers=key),
        }
    for status, answer in answers.items():
        assert answer.status_code == status
        check_style(path, answer.json())


@pytest.mark.parametrize("path", ["/generate", "/api/chat", CHAT])
def test_unexpected_error_is_a_500_in_the_style_of_the_path(path: str) -> None:
    with client(ScriptedEngine(b"a", refuse=ZeroDivisionError("/secret/path"))) as c:
        body = {"messages": [{"role": "user", "content": "a"}], "inputs": "a"}
        answer = c.post(path, json=body)
    assert answer.status_code == 500 and "secret" not in answer.text
    check_style(path, answer.json())


@pytest.mark.parametrize("path", ["/generate", "/api/chat", "/vertex", "/invocations"])
def test_draining_server_refuses_new_work_on_every_route(path: str) -> None:
    with client(ScriptedEngine(b"a")) as c:
        c.app.state.server.draining = True  # type: ignore[attr-defined]
        answer = c.post(path, json={"inputs": "a"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    check_style(path, answer.json())

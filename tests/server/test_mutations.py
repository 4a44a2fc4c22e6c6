"""Every field of both routes, mutated: 200, 400 or 404, never a 5xx and never a hang."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from starlette.testclient import TestClient

from jaxserve.server.refusals import CHAT as CHAT_REFUSALS
from jaxserve.server.refusals import COMPLETIONS as COMPLETION_REFUSALS
from jaxserve.server.schema import ChatBody, CompletionBody
from tests.server.apps import CHAT, MESSAGES, TEXT, client
from tests.text_fakes import ScriptedEngine

TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}

VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    3,
    2**31,
    2**63,
    2**64 - 1,
    10**30,
    -(10**30),
    0.5,
    1e-9,
    1e300,
    -1e300,
    "",
    "x",
    "5",
    "none",
    "\x00\ufffe\U0001f600",
    "x" * 20_000,
    [],
    [None],
    [[]],
    [[[]]],
    ["x"],
    [5],
    [5, "x"],
    [True],
    [{}],
    [-1],
    [2**63],
    ["x"] * 200,
    [0] * 5000,
    {},
    {"type": "text"},
    {"type": "function", "function": {"name": "f"}},
    {"5": 1},
    {"x": {"y": [None]}},
    {"5": 1e308, "-1": 0, "99999999999999999999": 1},
]

NUMBERS_NO_JSON_HAS = [b"NaN", b"Infinity", b"-Infinity", b"1e999", b"01", b"0x1"]

UNKNOWN = ["no_such_field", "", "a b\r\n", "__class__", "model_config"]


@pytest.fixture(scope="module")
def c() -> Iterator[TestClient]:
    with client(ScriptedEngine(b"ab")) as test_client:
        yield test_client


READ = [(CHAT, field) for field in ChatBody.model_fields]
READ += [(TEXT, field) for field in CompletionBody.model_fields]
NOT_READ = [(CHAT, refusal.field) for refusal in CHAT_REFUSALS]
NOT_READ += [(TEXT, refusal.field) for refusal in COMPLETION_REFUSALS]
NOT_READ += [(path, field) for path in (CHAT, TEXT) for field in UNKNOWN]
BASES: dict[str, dict[str, Any]] = {
    CHAT: {"messages": MESSAGES, "max_tokens": 4},
    TEXT: {"prompt": "hi", "max_tokens": 4},
}


def check(c: TestClient, path: str, content: bytes) -> None:
    response = c.post(path, content=content)
    assert response.status_code in (200, 400, 404), (content[:200], response.text[:500])
    if response.status_code != 200:
        error = response.json()["error"]
        assert error["code"] and error["message"] and error["type"]
        assert "Traceback" not in response.text and "/work" not in response.text


@pytest.mark.parametrize(("path", "field"), NOT_READ)
def test_any_value_of_a_field_that_is_not_read_is_ignored_or_refused(
    c: TestClient, path: str, field: str
) -> None:
    for value in VALUES[::4]:
        check(c, path, dumps({**BASES[path], field: value}))


@pytest.mark.parametrize(("path", "field"), READ)
def test_any_value_of_a_field_is_answered_or_refused(c: TestClient, path: str, field: str) -> None:
    for value in VALUES:
        check(c, path, dumps({**BASES[path], field: value}))
    for literal in NUMBERS_NO_JSON_HAS:
        content = dumps({**BASES[path], field: "@"}).replace(b'"@"', literal)
        assert c.post(path, content=content).status_code == 400


MESSAGE_FIELDS = ["role", "content", "name", "tool_calls", "tool_call_id", "reasoning", "other"]


@pytest.mark.parametrize("role", ["user", "assistant"])
@pytest.mark.parametrize("field", MESSAGE_FIELDS)
def test_any_value_in_a_message_is_answered_or_refused(
    c: TestClient, role: str, field: str
) -> None:
    for value in VALUES:
        message = {"role": role, "content": "hi", field: value}
        check(c, CHAT, dumps({"messages": [message], "max_tokens": 4}))


@pytest.mark.parametrize("field", ["type", "function", "other"])
def test_any_value_in_a_tool_is_answered_or_refused(c: TestClient, field: str) -> None:
    for value in VALUES:
        tools = [{**TOOL, field: value}]
        check(c, CHAT, dumps({"messages": MESSAGES, "tools": tools, "max_tokens": 4}))


@pytest.mark.parametrize("field", ["name", "parameters", "strict", "description", "other"])
def test_any_value_in_a_function_is_answered_or_refused(c: TestClient, field: str) -> None:
    for value in VALUES:
        function = {"name": "f", field: value}
        tools = [{"type": "function", "function": function}]
        check(c, CHAT, dumps({"messages": MESSAGES, "tools": tools, "max_tokens": 4}))


def dumps(body: Any) -> bytes:
    """The JSON of a body, whatever the size of its integers."""
    try:
        return orjson.dumps(body)
    except TypeError:  # an integer beyond 64 bits
        return json.dumps(body).encode()

"""A forced choice is a call, a strict tool's call is valid, and what can not be had is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from starlette.testclient import TestClient

from jaxserve.text.formats.deepseek import DEEPSEEK_V31
from jaxserve.text.formats.hermes import HERMES
from jaxserve.text.formats.qwen_coder import QWEN_CODER
from jaxserve.text.formats.table import Formats
from jaxserve.text.formats.think import THINK
from tests.server.apps import CHAT, MESSAGES, client, events
from tests.text_fakes import ScriptedEngine

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 9}, "b": {"enum": ["x", "y"]}},
    "required": ["a", "b"],
    "additionalProperties": False,
}
ADD = {"type": "function", "function": {"name": "add", "parameters": SCHEMA}}
NOW = {"type": "function", "function": {"name": "now"}}
TOOLS = [NOW, ADD]
NAMED = {"type": "function", "function": {"name": "add"}}


@pytest.fixture(scope="module")
def c() -> Iterator[TestClient]:
    with client(ScriptedEngine(b"No calls, please."), formats=Formats(tools=HERMES)) as made:
        yield made


def ask(c: TestClient, **body: Any) -> dict[str, Any]:
    """The choice, which must be the same streamed."""
    request = {"messages": MESSAGES, "tools": TOOLS, "max_tokens": 200, **body}
    whole = c.post(CHAT, json=request)
    assert whole.status_code == 200, whole.text
    choice: dict[str, Any] = whole.json()["choices"][0]
    told = [e["choices"][0] for e in events(c.post(CHAT, json={**request, "stream": True}).text)]
    parts = [part for piece in told for part in piece["delta"].get("tool_calls", ())]
    calls = choice["message"].get("tool_calls", [])
    assert [part["function"]["name"] for part in parts if "id" in part] == [
        call["function"]["name"] for call in calls
    ]
    assert "".join(part["function"]["arguments"] for part in parts) == "".join(
        call["function"]["arguments"] for call in calls
    )
    assert told[-1]["finish_reason"] == choice["finish_reason"]
    return choice


def called(choice: dict[str, Any]) -> list[str]:
    """The names of the calls, whose arguments must be valid."""
    names = []
    for call in choice["message"].get("tool_calls", []):
        names.append(call["function"]["name"])
        arguments = json.loads(call["function"]["arguments"])
        jsonschema.validate(arguments, SCHEMA if names[-1] == "add" else {"type": "object"})
    return names


@pytest.mark.parametrize("choice", [NAMED, "add", {"function": {"name": "add"}}], ids=str)
def test_a_named_tool_is_called_once_and_the_answer_stops(c: TestClient, choice: Any) -> None:
    answer = ask(c, tool_choice=choice)
    assert called(answer) == ["add"]
    assert answer["message"]["content"] is None
    assert answer["finish_reason"] == "stop"


ALLOWED = {"mode": "required", "tools": [NAMED]}


@pytest.mark.parametrize(
    "choice",
    [
        {"type": "allowed_tools", "allowed_tools": ALLOWED},
        {"type": "allowed_tools", "mode": "required", "tools": [{"name": "add"}]},
    ],
    ids=["chat", "responses"],
)
def test_required_of_allowed_tools_calls_one_of_them(c: TestClient, choice: Any) -> None:
    answer = ask(c, tool_choice=choice)
    assert {*called(answer)} == {"add"}
    assert answer["finish_reason"] == "tool_calls"


def test_a_tool_that_is_not_allowed_is_in_the_prompt_and_never_called() -> None:
    call = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [NAMED]}}
    engine = ScriptedEngine(call.encode())
    with client(engine) as c:
        assert called(ask(c)) == ["now"]
        answer = ask(c, tool_choice=choice)
    assert called(answer) == ["add"] and answer["finish_reason"] == "tool_calls"
    assert b"tool: now" in bytes(i for i in engine.submitted[-1].prompt_ids if i < 256)


def test_text_is_free_beside_tools_that_are_allowed(c: TestClient) -> None:
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [NAMED]}}
    assert ask(c, tool_choice=choice)["message"]["content"] == "No calls, please."


@pytest.mark.parametrize(
    "allowed",
    [
        {},
        {"mode": "none", "tools": [NAMED]},
        {"mode": "auto", "tools": []},
        {"mode": "auto", "tools": ["add"]},
        {"mode": "auto", "tools": [{"type": "function"}]},
        {"mode": "auto", "tools": [{"function": {"name": "sub"}}]},
    ],
    ids=str,
)
def test_allowed_tools_that_can_not_be_meant_are_refused(c: TestClient, allowed: Any) -> None:
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    response = c.post(CHAT, json={"messages": MESSAGES, "tools": TOOLS, "tool_choice": choice})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "tool_choice")


def test_required_calls_some_tool(c: TestClient) -> None:
    answer = ask(c, tool_choice="required")
    assert called(answer) and {*called(answer)} <= {"add", "now"}
    assert answer["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("parallel", [True, False])
def test_required_calls_one_tool_without_parallel_calls(parallel: bool) -> None:
    call = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
    with client(ScriptedEngine((call + call).encode())) as c:
        answer = ask(c, tool_choice="required", parallel_tool_calls=parallel)
    assert called(answer) == (["now", "now"] if parallel else ["now"])


def test_auto_leaves_the_model_its_choice(c: TestClient) -> None:
    strict = [{"type": "function", "function": {**ADD["function"], "strict": True}}]  # type: ignore[dict-item]
    answer = ask(c, tools=strict)
    assert answer["message"]["content"] == "No calls, please."
    assert answer["finish_reason"] == "stop"


@pytest.mark.parametrize("strict", [True, False])
def test_the_call_of_a_strict_tool_is_valid(strict: bool) -> None:
    tools = [{"type": "function", "function": {"name": "add", "parameters": SCHEMA}}]
    tools[0]["function"]["strict"] = strict  # type: ignore[index]
    said = 'Well. <tool_call>\n{"name": "add", "arguments": {"wrong": 1}}\n</tool_call>'
    with client(ScriptedEngine(said.encode())) as c:
        answer = ask(c, tools=tools)
    assert answer["message"]["content"] == "Well."
    arguments = json.loads(answer["message"]["tool_calls"][0]["function"]["arguments"])
    assert ("wrong" in arguments) is not strict
    if strict:
        assert called(answer) == ["add"]


@pytest.mark.parametrize("form", [DEEPSEEK_V31, QWEN_CODER], ids=lambda form: form.name)
def test_every_format_can_be_forced(form: Any) -> None:
    with client(ScriptedEngine(b"No."), formats=Formats(tools=form)) as c:
        assert called(ask(c, tool_choice=NAMED)) == ["add"]


def test_a_forced_call_comes_after_free_reasoning() -> None:
    formats = Formats(tools=HERMES, reasoning=THINK)
    with client(ScriptedEngine(b"<think>Hm { <tool</think>\n\nNo."), formats=formats) as c:
        answer = ask(c, tool_choice=NAMED)
    assert answer["message"]["reasoning"] == "Hm { <tool"
    assert called(answer) == ["add"]


def test_a_forced_call_that_is_cut_is_length(c: TestClient) -> None:
    answer = ask(c, tool_choice=NAMED, max_tokens=50)
    assert answer["finish_reason"] == "length"
    assert answer["message"]["tool_calls"][0]["function"]["name"] == "add"


@pytest.mark.parametrize("keyword", ["not", "if"])
def test_a_schema_that_can_not_be_enforced_is_refused_by_tool_and_keyword(
    c: TestClient, keyword: str
) -> None:
    tool = {"name": "add", "parameters": {"properties": {"a": {keyword: {}}}}}
    body = {"messages": MESSAGES, "tools": [{"type": "function", "function": tool}]}
    refused = c.post(CHAT, json={**body, "tool_choice": "required"})
    error = refused.json()["error"]
    assert refused.status_code == 400
    assert (error["param"], error["code"]) == ("tools", "invalid_schema")
    assert "'add'" in error["message"] and f"'{keyword}'" in error["message"]
    assert c.post(CHAT, json=body).status_code == 200  # with auto nothing is enforced


WRONG: list[Any] = [
    {"properties": []},
    {"properties": {"a": 5}},
    {"properties": {"a": {"enum": 5}}},
    {"properties": {"a": {"enum": []}}},
    {"properties": {"a": {"type": "string", "pattern": 5}}},
    {"properties": {"a": {"type": "string", "pattern": "("}}},
    {"properties": {"a": {"type": "string", "minLength": "a"}}},
    {"properties": {"a": {"$ref": 5}}},
    {"properties": {"a": {"$ref": "#/nowhere"}}},
    {"required": [[]]},
    {"required": "a"},
    {"$ref": "#"},
    {"type": "array"},
]


@pytest.mark.parametrize("form", [HERMES, QWEN_CODER], ids=lambda form: form.name)
def test_schemas_that_are_none_are_no_errors_of_ours(form: Any) -> None:
    with client(ScriptedEngine(b"a"), formats=Formats(tools=form)) as c:
        for parameters in WRONG:
            tools = [{"type": "function", "function": {"name": "f", "parameters": parameters}}]
            for choice in ("required", "auto"):
                body = {"messages": MESSAGES, "tools": tools, "tool_choice": choice}
                answer = c.post(CHAT, json={**body, "max_tokens": 20})
                assert answer.status_code in (200, 400), (parameters, answer.text)


def test_schemas_nested_deep_are_no_errors_of_ours() -> None:
    deep: dict[str, Any] = {}
    for _ in range(200):
        deep = {"anyOf": [deep]}
    tool = {"name": "f", "parameters": {"properties": {"a": deep}}}
    body = {"messages": MESSAGES, "tools": [{"type": "function", "function": tool}]}
    written = "<tool_call>\n<function=f>\n<parameter=a>\n1\n</parameter>\n</function>\n</tool_call>"
    with client(ScriptedEngine(written.encode()), formats=Formats(tools=QWEN_CODER)) as c:
        assert c.post(CHAT, json=body).status_code == 200
        assert c.post(CHAT, json={**body, "tool_choice": "required"}).status_code == 400


def test_strict_tools_are_enforced_for_ollama_too() -> None:
    function = {"name": "add", "parameters": SCHEMA, "strict": True}
    said = b'<tool_call>\n{"name": "add", "arguments": {"wrong": 1}}\n</tool_call>'
    with client(ScriptedEngine(said)) as c:
        body = {"messages": MESSAGES, "tools": [{"type": "function", "function": function}]}
        answer = c.post("/api/chat", json={**body, "stream": False}).json()
    jsonschema.validate(answer["message"]["tool_calls"][0]["function"]["arguments"], SCHEMA)

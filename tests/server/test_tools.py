"""Tools in chat: what reaches the template, and how calls look in the answer."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.server.apps import CHAT, MESSAGES, client, events
from tests.text_fakes import ScriptedEngine

TOOLS = [{"type": "function", "function": {"name": "add"}}]
ONE = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "s": "é}"}}\n</tool_call>'
TWO = f"Let me see.\n{ONE}\n{ONE}"
ARGUMENTS = '{"a": 1, "s": "é}"}'

Answer = tuple[dict[str, Any], list[dict[str, Any]]]


def ask(said: str, *, chunks: tuple[int, ...] = (1,), **body: Any) -> Answer:
    """The whole answer's choice, and the pieces of the streamed one."""
    request = {"messages": MESSAGES, "tools": TOOLS, **body}
    with client(ScriptedEngine(said.encode(), chunks=chunks)) as c:
        whole = c.post(CHAT, json=request)
        streamed = c.post(CHAT, json={**request, "stream": True})
    assert whole.status_code == 200, whole.text
    return whole.json()["choices"][0], [e["choices"][0] for e in events(streamed.text)]


def test_call_is_told_with_arguments_as_a_string_and_no_text() -> None:
    whole, _ = ask(ONE)
    message = whole["message"]
    (call,) = message["tool_calls"]
    assert message["content"] is None
    assert call["type"] == "function"
    assert call["function"] == {"name": "add", "arguments": ARGUMENTS}
    assert re.fullmatch(r"call_[A-Za-z0-9]{24}", call["id"])
    assert whole["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("chunks", [(1,), (2,), (7, 3), (1000,)])
def test_streamed_calls_add_up_to_the_whole_ones(chunks: tuple[int, ...]) -> None:
    whole, pieces = ask(TWO, chunks=chunks)
    names: dict[int, str] = {}
    arguments: dict[int, str] = {}
    for call in (c for piece in pieces for c in piece["delta"].get("tool_calls", [])):
        if "id" in call:
            assert call["index"] not in names and call["type"] == "function"
            names[call["index"]] = call["function"]["name"]
        else:
            assert set(call) == {"index", "function"} and set(call["function"]) == {"arguments"}
        index, text = call["index"], call["function"]["arguments"]
        arguments[index] = arguments.get(index, "") + text
    assert list(names) == [0, 1]
    assert [c["function"]["arguments"] for c in whole["message"]["tool_calls"]] == [
        arguments[0],
        arguments[1],
    ]
    content = "".join(piece["delta"].get("content", "") for piece in pieces)
    assert content == whole["message"]["content"] == "Let me see."
    assert pieces[-1]["finish_reason"] == whole["finish_reason"] == "tool_calls"
    assert len({c["id"] for c in whole["message"]["tool_calls"]}) == 2


def test_only_the_first_call_is_told_without_parallel_calls() -> None:
    whole, pieces = ask(TWO, parallel_tool_calls=False)
    assert len(whole["message"]["tool_calls"]) == 1
    assert all(c["index"] == 0 for p in pieces for c in p["delta"].get("tool_calls", []))


def test_plain_answer_has_no_tool_calls_field() -> None:
    whole, pieces = ask("Hello <b>you</b>")
    assert whole["message"] == {
        "role": "assistant",
        "content": "Hello <b>you</b>",
        "refusal": None,
    }
    assert whole["finish_reason"] == pieces[-1]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    "said", ["<tool_call>[]</tool_call>", "<tool_call>{x", "<tool_call>", "a <tool"]
)
def test_what_is_no_call_is_content(said: str) -> None:
    whole, pieces = ask(said)
    assert whole["message"]["content"] == said
    assert "".join(piece["delta"].get("content", "") for piece in pieces) == said
    assert whole["finish_reason"] == "stop"


def test_call_cut_short_is_length_with_the_arguments_it_had() -> None:
    whole, pieces = ask(ONE, max_tokens=len(ONE.encode()) - 25)
    assert whole["finish_reason"] == pieces[-1]["finish_reason"] == "length"
    partial = whole["message"]["tool_calls"][0]["function"]["arguments"]
    assert partial and ARGUMENTS.startswith(partial)


def test_logprobs_cover_every_token_of_a_call() -> None:
    whole, pieces = ask(ONE, logprobs=True)
    told = [e for piece in pieces if piece["logprobs"] for e in piece["logprobs"]["content"]]
    assert told == whole["logprobs"]["content"]
    assert len(told) == len(ONE.encode()) + 1


def test_calls_are_content_when_tool_choice_is_none() -> None:
    whole, _ = ask(ONE, tool_choice="none")
    assert whole["message"]["content"] == ONE
    assert "tool_calls" not in whole["message"]


@pytest.mark.parametrize("choice", ["auto", "none", None])
def test_tools_reach_the_template(choice: str | None) -> None:
    engine = ScriptedEngine(b"a")
    with client(engine) as c:
        c.post(CHAT, json={"messages": MESSAGES, "tools": TOOLS, "tool_choice": choice})
    assert bytes(engine.submitted[0].prompt_ids[1:]).startswith(b"tool: add\n")


def test_calls_and_results_in_the_history_are_taken() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{bad"}}
    messages = [
        *MESSAGES,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "3"},
    ]
    with client(ScriptedEngine(b"three")) as c:
        answer = c.post(CHAT, json={"messages": messages, "tools": TOOLS}).json()
    assert json.dumps(answer["choices"][0]["message"]["content"]) == '"three"'

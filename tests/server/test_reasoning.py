"""Reasoning in chat answers: its fields, its usage, and what takes it away."""

from __future__ import annotations

from typing import Any

import pytest

from jaxserve.text.formats.harmony import HARMONY, HARMONY_ANALYSIS
from jaxserve.text.formats.hermes import HERMES
from jaxserve.text.formats.table import Formats
from jaxserve.text.formats.think import THINK
from tests.server.apps import CHAT, MESSAGES, client, events
from tests.text_fakes import EOS, ScriptedEngine

THINKING = Formats(tools=HERMES, reasoning=THINK)
CALL = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'
TOOLS = [{"type": "function", "function": {"name": "add"}}]
SAID = f"<think>\nHmé, {CALL}\n</think>\n\nHi"


def ask(
    said: str, *, chunks: tuple[int, ...] = (1,), formats: Formats = THINKING, **body: Any
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The whole answer, and the events of the streamed one."""
    request = {"messages": MESSAGES, **body}
    streamed = {**request, "stream": True, "stream_options": {"include_usage": True}}
    with client(ScriptedEngine(said.encode(), chunks=chunks), formats=formats) as c:
        whole = c.post(CHAT, json=request)
        assert whole.status_code == 200, whole.text
        return whole.json(), events(c.post(CHAT, json=streamed).text)


def joined(stream: list[dict[str, Any]], field: str) -> str:
    deltas = (event["choices"][0]["delta"] for event in stream if event["choices"])
    return "".join(delta.get(field, "") for delta in deltas)


@pytest.mark.parametrize("chunks", [(1,), (3,), (7, 2), (1000,)])
def test_reasoning_is_told_under_both_names(chunks: tuple[int, ...]) -> None:
    whole, stream = ask(SAID, chunks=chunks, tools=TOOLS)
    message = whole["choices"][0]["message"]
    assert message["content"] == joined(stream, "content") == "Hi"
    assert "tool_calls" not in message
    for field in ("reasoning", "reasoning_content"):
        assert message[field] == joined(stream, field) == f"Hmé, {CALL}"
    used = len(f"<think>\nHmé, {CALL}\n</think>".encode()) - len("<think")  # the tag opens with `>`
    for usage in (whole["usage"], stream[-1]["usage"]):
        assert usage["completion_tokens_details"] == {"reasoning_tokens": used}


def test_reasoning_comes_before_content_and_calls() -> None:
    whole, stream = ask(f"<think>Hm</think>{CALL}", tools=TOOLS)
    kinds = [next(iter(e["choices"][0]["delta"]), "end") for e in stream if e["choices"]]
    assert sorted(kinds, key=["role", "reasoning_content", "tool_calls", "end"].index) == kinds
    assert whole["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "add"
    assert whole["choices"][0]["finish_reason"] == "tool_calls"


def test_reasoning_can_be_left_out_and_still_counts() -> None:
    whole, stream = ask(SAID, include_reasoning=False)
    message = whole["choices"][0]["message"]
    assert message == {"role": "assistant", "content": "Hi", "refusal": None}
    assert joined(stream, "reasoning") == "" and joined(stream, "content") == "Hi"
    assert whole["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0


def test_an_answer_without_reasoning_has_no_such_field() -> None:
    whole, _ = ask("Hi")
    assert whole["choices"][0]["message"] == {
        "role": "assistant",
        "content": "Hi",
        "refusal": None,
    }
    assert whole["usage"]["completion_tokens_details"] == {"reasoning_tokens": 0}


def test_a_model_that_does_not_reason_says_nothing_about_it() -> None:
    whole, _ = ask(SAID, formats=Formats(tools=HERMES))
    assert whole["choices"][0]["message"]["content"] == SAID
    assert "completion_tokens_details" not in whole["usage"]


def test_reasoning_cut_short_is_length() -> None:
    whole, stream = ask(SAID, max_tokens=12)
    assert whole["choices"][0]["finish_reason"] == "length"
    assert whole["choices"][0]["message"]["content"] == ""
    assert whole["choices"][0]["message"]["reasoning"] == joined(stream, "reasoning") == "Hmé"


def test_continuous_usage_counts_what_has_been_told() -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    with client(ScriptedEngine(SAID.encode()), formats=THINKING) as c:
        request = {"messages": MESSAGES, "stream": True, "stream_options": options}
        stream = events(c.post(CHAT, json=request).text)
    counts = [e["usage"]["completion_tokens_details"]["reasoning_tokens"] for e in stream]
    assert counts == sorted(counts) and counts[-1] == max(counts) > 0


def test_every_sample_reasons_for_itself() -> None:
    whole, _ = ask(SAID, n=3)
    assert [c["message"]["reasoning"] for c in whole["choices"]] == [f"Hmé, {CALL}"] * 3
    one, _ = ask(SAID)
    count = one["usage"]["completion_tokens_details"]["reasoning_tokens"]
    assert whole["usage"]["completion_tokens_details"]["reasoning_tokens"] == 3 * count


@pytest.mark.parametrize(
    ("body", "variables"),
    [
        ({"reasoning_effort": "none"}, {"enable_thinking": False, "thinking": False}),
        ({"chat_template_kwargs": {"enable_thinking": False}}, {"enable_thinking": False}),
        (
            {"reasoning_effort": "none", "chat_template_kwargs": {"enable_thinking": True}},
            {"enable_thinking": True, "thinking": False},
        ),
    ],
)
def test_templates_are_told_whether_to_think(
    body: dict[str, Any], variables: dict[str, Any]
) -> None:
    from jaxserve.config import ApiConfig
    from jaxserve.server.openai.chat import chat_options
    from jaxserve.server.schema import parse_chat

    told = chat_options(parse_chat({"messages": MESSAGES, **body}), ApiConfig()).template_kwargs
    assert {k: v for k, v in told.items() if k != "reasoning_effort"} == variables


def test_channels_are_reasoning_content_and_calls() -> None:
    said = (
        "<|channel|>analysis<|message|>Hm<|end|><|start|>assistant<|channel|>commentary "
        'to=functions.add <|constrain|>json<|message|>{"a": 1}<|call|>'
    )
    # The byte tokenizer knows <|end|> as an end of turn: here it is spelled out.
    formats = Formats(tools=HARMONY, reasoning=HARMONY_ANALYSIS)
    whole, stream = ask(said, formats=formats, tools=TOOLS)
    message = whole["choices"][0]["message"]
    assert message["reasoning"] == joined(stream, "reasoning") == "Hm"
    assert message["tool_calls"][0]["function"] == {"name": "add", "arguments": '{"a": 1}'}
    assert message["content"] is None
    assert whole["choices"][0]["finish_reason"] == "tool_calls"


def test_tools_need_a_format() -> None:
    with client(ScriptedEngine([EOS]), formats=Formats()) as c:
        refused = c.post(CHAT, json={"messages": MESSAGES, "tools": TOOLS})
        taken = c.post(CHAT, json={"messages": MESSAGES, "tools": TOOLS, "tool_choice": "none"})
    assert refused.status_code == 400 and "--tool-format" in refused.json()["error"]["message"]
    assert refused.json()["error"]["param"] == "tools"
    assert taken.status_code == 200

"""Requests of the wrong type, out of range, incomplete, contradictory or not supported."""

from __future__ import annotations

from typing import Any

import pytest

from jaxserve.errors import InvalidRequest
from jaxserve.server.refusals import CHAT, COMPLETIONS
from jaxserve.server.schema import parse_chat, parse_completion
from tests.server.apps import MESSAGES

TOOL = {"type": "function", "function": {"name": "f"}}


def fault(body: dict[str, Any], *, chat: bool = True) -> tuple[str | None, str]:
    with pytest.raises(InvalidRequest) as caught:
        if chat:
            parse_chat({"messages": MESSAGES, **body})
        else:
            parse_completion({"prompt": "a", **body})
    assert caught.value.param is None or caught.value.param.split("[")[0] in caught.value.message
    return caught.value.param, caught.value.code


@pytest.mark.parametrize("field", ["messages", "prompt"])
def test_missing_and_null_prompt_are_missing(field: str) -> None:
    chat = field == "messages"
    assert fault({field: None}, chat=chat) == (field, "missing_required_parameter")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"temperature": "1"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": [1]}, "top_p"),
        ({"n": 1.5}, "n"),
        ({"n": True}, "n"),
        ({"n": "1"}, "n"),
        ({"stream": "true"}, "stream"),
        ({"stream": 1}, "stream"),
        ({"logprobs": 1}, "logprobs"),
        ({"stop": 5}, "stop"),
        ({"stop": ["a", 5]}, "stop"),
        ({"stop_token_ids": [1, "2"]}, "stop_token_ids[1]"),
        ({"logit_bias": {"5": "x"}}, "logit_bias.5"),
        ({"logit_bias": []}, "logit_bias"),
        ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"messages": "hi"}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"role": "user"}, {"role": 5}]}, "messages[1].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"function": {"name": 1}}]}, "tools[0].function.name"),
        ({"model": 5}, "model"),
        ({"chat_template_kwargs": "x"}, "chat_template_kwargs"),
    ],
)
def test_wrong_type_is_named_by_its_path(body: dict[str, Any], param: str) -> None:
    assert fault(body) == (param, "invalid_type")


@pytest.mark.parametrize(
    "body",
    [
        {"temperature": -0.1},
        {"temperature": 2.01},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"top_p": 1.1},
        {"top_p": -0.1},
        {"top_k": -2},
        {"min_p": 1.1},
        {"presence_penalty": 2.1},
        {"frequency_penalty": -2.1},
        {"repetition_penalty": 0},
        {"n": 0},
        {"n": 129},
        {"seed": 2**64},
        {"seed": -(2**63) - 1},
        {"max_tokens": 0},
        {"max_tokens": -1},
        {"max_completion_tokens": 0},
        {"min_tokens": -1},
        {"top_logprobs": 21, "logprobs": True},
        {"top_logprobs": -1, "logprobs": True},
        {"top_logprobs": 1},
        {"stop": ""},
        {"stop": ["a"] * 65},
        {"messages": []},
        {"best_of": 1, "n": 2},
        {"best_of": 21},
        {"best_of": 2, "stream": True},
        {"typical_p": 0},
        {"allowed_token_ids": []},
        {"prompt_logprobs": -1},
        {"prompt_logprobs": 1, "stream": True},
        {"truncate_prompt_tokens": 0},
        {"truncate_prompt_tokens": -2},
        {"truncation_side": "up"},
        {"cache_salt": ""},
        {"request_id": "a\nb"},
        {"reasoning_effort": "very"},
        {"tool_choice": "required"},
        {"tool_choice": "f"},
        {"tool_choice": "g", "tools": [TOOL]},
        {"tool_choice": {"type": "function", "function": {"name": "g"}}, "tools": [TOOL]},
        {"tool_choice": {"type": "function", "function": {}}, "tools": [TOOL]},
        {"tools": [TOOL, TOOL], "tool_choice": "none"},
        {"add_generation_prompt": True, "continue_final_message": True},
    ],
    ids=str,
)
def test_value_out_of_range_is_named(body: dict[str, Any]) -> None:
    assert fault(body) == (next(iter(body)), "invalid_value")


@pytest.mark.parametrize(
    ("prompt", "code"),
    [
        ([], "invalid_value"),
        ([[]], "invalid_value"),
        ([[1], []], "invalid_value"),
        (["a"] * 1025, "invalid_value"),
        ([1, "a"], "invalid_type"),
        ([[1], "a"], "invalid_type"),
        ([True], "invalid_type"),
        ([1.5], "invalid_type"),
        ({}, "invalid_type"),
        (5, "invalid_type"),
    ],
    ids=str,
)
def test_prompt_that_is_neither_text_nor_ids_is_refused(prompt: Any, code: str) -> None:
    assert fault({"prompt": prompt}, chat=False) == ("prompt", code)


@pytest.mark.parametrize(("value", "code"), [(True, "invalid_type"), (21, "invalid_value")])
def test_completion_logprobs_are_a_number_up_to_20(value: Any, code: str) -> None:
    assert fault({"logprobs": value}, chat=False) == ("logprobs", code)


@pytest.mark.parametrize(
    "body",
    [
        {"tool_choice": {"type": "custom", "custom": {"name": "x"}}},
        {"use_beam_search": True},
        {"length_penalty": 2},
        {"early_stopping": True},
        {"bad_words": ["a"]},
        {"logprob_token_ids": [1]},
        {"functions": [{}]},
        {"function_call": {"name": "f"}},
        {"modalities": ["text", "audio"]},
        {"audio": {"voice": "x"}},
        {"repetition_detection": {}},
    ],
    ids=str,
)
def test_what_chat_can_not_do_is_refused_by_name(body: dict[str, Any]) -> None:
    param, code = fault(body)
    assert param == next(iter(body))
    assert code in ("unsupported_parameter", "unsupported_value")


@pytest.mark.parametrize(
    "body",
    [
        {"suffix": "x"},
        {"prompt_embeds": "abc"},
    ],
    ids=str,
)
def test_what_completions_can_not_do_is_refused_by_name(body: dict[str, Any]) -> None:
    param, code = fault(body, chat=False)
    assert param == next(iter(body))
    assert code in ("unsupported_parameter", "unsupported_value")


@pytest.mark.parametrize("table", [CHAT, COMPLETIONS])
def test_refused_fields_are_listed_once_and_may_be_null(table: Any) -> None:
    fields = [refusal.field for refusal in table]
    assert len(fields) == len(set(fields))
    nothing: dict[str, Any] = dict.fromkeys(fields)
    assert parse_chat({"messages": MESSAGES, **nothing}) == parse_chat({"messages": MESSAGES})


def test_values_that_ask_for_nothing_pass() -> None:
    body = {
        "response_format": {"type": "text"},
        "typical_p": 1,
        "use_beam_search": False,
        "bad_words": [],
        "modalities": ["text"],
        "functions": [],
        "function_call": "none",
        "include_reasoning": True,
        "thinking_token_budget": -1,
        "best_of": 2,
        "n": 2,
        "tools": [],
        "tool_choice": "auto",
        "length_penalty": 1.0,
    }
    assert parse_chat({"messages": MESSAGES, **body}).n == 2
    assert parse_completion({"prompt": "a", "suffix": "", "prompt_embeds": []}).prompt == ["a"]


def test_null_means_not_given_for_every_field() -> None:
    body = parse_chat({"messages": MESSAGES})
    nulls: dict[str, Any] = dict.fromkeys(type(body).model_fields)
    assert parse_chat({**nulls, "messages": MESSAGES}) == body


def test_integral_floats_are_integers_and_integers_are_floats() -> None:
    body = parse_chat({"messages": MESSAGES, "n": 2.0, "max_tokens": 3.0, "temperature": 1})
    assert (body.n, body.max_tokens, body.temperature) == (2, 3, 1.0)


def test_fields_of_a_message_that_are_not_known_stay() -> None:
    message = {"role": "assistant", "content": None, "reasoning": "r", "name": "n"}
    body = parse_chat({"messages": [message]})
    assert body.messages[0].model_dump(exclude_unset=True) == {
        "role": "assistant",
        "reasoning": "r",
        "name": "n",
    }


def test_message_with_parts_of_any_kind_is_left_to_the_text_layer() -> None:
    parts = [{"type": "text", "text": "a"}, "b"]
    body = parse_chat({"messages": [{"role": "user", "content": parts}]})
    assert body.messages[0].content == parts


def test_tool_without_parameters_takes_an_empty_object() -> None:
    body = parse_chat({"messages": MESSAGES, "tools": [TOOL], "tool_choice": "none"})
    assert body.tools[0].plain() == {
        "type": "function",
        "function": {"name": "f", "parameters": {"type": "object", "properties": {}}},
    }


def test_huge_wrong_lists_are_refused_at_their_first_item() -> None:
    assert fault({"stop_token_ids": ["a"] * 500_000}) == ("stop_token_ids[0]", "invalid_type")

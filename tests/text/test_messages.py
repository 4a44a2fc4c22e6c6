"""Messages that templates cannot be given are refused, by the path of what is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from jaxserve.errors import InvalidRequest
from jaxserve.text.messages import normalize_messages

IMAGE = {"type": "image_url", "image_url": {"url": "data:"}}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([], "messages"),
        ([7], "messages[0]"),
        ([{"content": "x"}], "messages[0].role"),
        ([{"role": "user"}, {"role": None}], "messages[1].role"),
        ([{"role": "user", "content": 7}], "messages[0].content"),
        ([{"role": "user", "content": {"type": "text"}}], "messages[0].content"),
        ([{"role": "user", "content": ["a", IMAGE]}], "messages[0].content[1]"),
        ([{"role": "user", "content": [7]}], "messages[0].content[0]"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text"),
        ([{"role": "assistant", "tool_calls": {"0": CALL}}], "messages[0].tool_calls"),
        ([{"role": "assistant", "tool_calls": [{"id": "1"}]}], "messages[0].tool_calls[0]"),
    ],
)
def test_what_is_wrong_is_named(messages: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        normalize_messages(messages)
    assert caught.value.param == param


def test_a_part_that_is_no_text_is_refused_as_unsupported() -> None:
    with pytest.raises(InvalidRequest, match="image_url") as caught:
        normalize_messages([{"role": "user", "content": [IMAGE]}])
    assert caught.value.code == "unsupported_value"


def test_nulls_are_absent_and_other_fields_stay() -> None:
    message = {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "name": "Bo",
        "tool_calls": None,
        "reasoning": None,
    }
    assert normalize_messages([message]) == [{"role": "assistant", "content": "", "name": "Bo"}]


def test_a_call_keeps_its_id_and_its_message_keeps_content() -> None:
    (message,) = normalize_messages([{"role": "assistant", "content": "a", "tool_calls": [CALL]}])
    assert message["content"] == "a"
    assert message["tool_calls"] == [{**CALL, "function": {"name": "f", "arguments": {}}}]


def test_a_refusal_part_is_text() -> None:
    part = {"type": "refusal", "refusal": "no"}
    (message,) = normalize_messages([{"role": "assistant", "content": [part]}])
    assert message["content"] == [{"type": "text", "text": "no"}]


def test_the_request_is_left_as_it_was() -> None:
    message = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    normalize_messages([message])
    assert message == {"role": "assistant", "content": None, "tool_calls": [CALL]}
    assert CALL["function"] == {"name": "f", "arguments": "{}"}

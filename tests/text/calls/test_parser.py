"""Tool calls come out the same in every chunking, and no text is lost."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxserve.text.calls.events import CallArguments, CallName, Content, Event
from jaxserve.text.calls.parser import ToolCallParser
from jaxserve.text.formats.hermes import HERMES

Calls = list[tuple[str, str]]

WEATHER = (
    '{"name": "get_weather", "arguments": {"city": "東京", "note": "a \\"b\\" }</tool_call>"}}'
)
NESTED = '{"name": "f", "arguments": {"a": [1, {"b": "[{\\\\"}], "c": {}}}'
TEXTS = {
    "plain": "no call here, only < and <tool and\n\n",
    "one": f"<tool_call>\n{WEATHER}\n</tool_call>",
    "text_before": f"Let me see.\n\n<tool_call>{NESTED}</tool_call>\n",
    "two": f"<tool_call>{WEATHER}</tool_call>\n<tool_call>\n{NESTED}\n</tool_call>",
    "text_between": f"a <tool_call>{NESTED}</tool_call> b <tool_call>{NESTED}</tool_call> c",
    "name_last": '<tool_call>{"arguments": {"x": 1}, "id": 7, "name": "f"}</tool_call>',
    "no_arguments": '<tool_call>{"name": "f"}</tool_call>',
    "null_arguments": '<tool_call>{"name": "f", "arguments": null }</tool_call>',
    "string_arguments": '<tool_call>{"name": "f", "arguments": "{\\"x\\": 1}"}</tool_call>',
    "no_closing": f"<tool_call>{NESTED}",
    "junk_after": f"<tool_call>{NESTED}}} more</tool_call>",
    "no_name": '<tool_call>{"arguments": {}}</tool_call> rest',
    "empty_name": '<tool_call>{"name": "", "arguments": {}}</tool_call>',
    "list": "<tool_call>[]</tool_call>",
    "list_arguments": '<tool_call>{"name": "f", "arguments": [1]}</tool_call>',
    "python": "<tool_call>f(1)</tool_call>",
    "marker_again": f" <tool_call> <tool_call>{NESTED}</tool_call>",
    "bad_escape": '<tool_call>{"name": "\\x", "arguments": {}}</tool_call>',
    "cut_in_marker": "text <tool_c",
    "cut_before_name": 'text <tool_call>{"name": "f',
    "cut_in_arguments": '<tool_call>{"name": "f", "arguments": {"x": "ab',
    "cut_in_closing": f"<tool_call>{NESTED}</tool_",
    "empty": "",
}
NESTED_CALL = ("f", '{"a": [1, {"b": "[{\\\\"}], "c": {}}')
EXPECTED: dict[str, tuple[str, Calls]] = {
    "one": ("", [("get_weather", '{"city": "東京", "note": "a \\"b\\" }</tool_call>"}')]),
    "text_before": ("Let me see.", [NESTED_CALL]),
    "text_between": ("a b c", [NESTED_CALL] * 2),
    "name_last": ("", [("f", '{"x": 1}')]),
    "no_arguments": ("", [("f", "{}")]),
    "null_arguments": ("", [("f", "{}")]),
    "string_arguments": ("", [("f", '{"x": 1}')]),
    "no_closing": ("", [NESTED_CALL]),
    "junk_after": ("} more</tool_call>", [NESTED_CALL]),
    "marker_again": (" <tool_call>", [NESTED_CALL]),
    "cut_in_arguments": ("", [("f", '{"x": "ab')]),
    "cut_in_closing": ("", [NESTED_CALL]),
}


def parse(pieces: Iterable[str]) -> list[Event]:
    parser = ToolCallParser(HERMES, {})
    events = [event for piece in pieces for event in parser.push(piece)]
    return events + parser.finish()


def put_together(events: list[Event]) -> tuple[str, Calls]:
    """Content and calls as a client accumulates them; a call's name must come first and once."""
    content = ""
    calls: Calls = []
    for event in events:
        if isinstance(event, Content):
            content += event.text
        elif isinstance(event, CallName):
            assert event.index == len(calls)
            calls.append((event.name, ""))
        elif isinstance(event, CallArguments):
            assert event.index == len(calls) - 1
            calls[-1] = (calls[-1][0], calls[-1][1] + event.text)
    return content, calls


@pytest.mark.parametrize("name", TEXTS)
def test_every_chunking_gives_the_same(name: str) -> None:
    text = TEXTS[name]
    whole = put_together(parse([text]))
    for size in range(1, len(text) + 1):
        pieces = [text[i : i + size] for i in range(0, len(text), size)]
        assert put_together(parse(pieces)) == whole


@pytest.mark.parametrize("name", EXPECTED)
def test_calls_and_content_are_told_apart(name: str) -> None:
    assert put_together(parse([TEXTS[name]])) == EXPECTED[name]


@pytest.mark.parametrize(
    "name",
    [
        *("plain", "no_name", "empty_name", "list", "list_arguments", "python", "bad_escape"),
        *("cut_in_marker", "cut_before_name", "empty"),
    ],
)
def test_what_is_no_call_is_content_unchanged(name: str) -> None:
    assert put_together(parse([TEXTS[name]])) == (TEXTS[name], [])


def test_arguments_come_as_they_are_written() -> None:
    parser = ToolCallParser(HERMES, {})
    assert parser.push('<tool_call>{"name": "f", "arguments": {"x"') == [
        CallName(0, "f"),
        CallArguments(0, '{"x"'),
    ]
    assert parser.push(": 1") == [CallArguments(0, ": 1")]
    assert parser.num_complete == 0
    assert parser.push("}}") == [CallArguments(0, "}")]
    assert parser.num_complete == 1
    assert parser.push("</tool_call>") == parser.finish() == []


def test_content_comes_as_soon_as_it_cannot_be_a_marker() -> None:
    parser = ToolCallParser(HERMES, {})
    assert parser.push("a <tool") == [Content("a")]
    assert parser.push("s> b") == [Content(" <tools> b")]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.lists(st.tuples(st.text(min_size=1), st.dictionaries(st.text(), values)), max_size=3),
    st.booleans(),
    st.none() | st.integers(1, 3),
    st.lists(st.integers(0, 400), max_size=8),
)
def test_any_calls_are_read_back(
    calls: list[tuple[str, Any]], ascii_only: bool, indent: int | None, cuts: list[int]
) -> None:
    def dump(value: Any) -> str:
        return json.dumps(value, ensure_ascii=ascii_only, indent=indent)

    bodies = [f'{{"name": {dump(name)}, "arguments": {dump(args)}}}' for name, args in calls]
    text = "Hi\n" + "\n".join(f"<tool_call>\n{body}\n</tool_call>" for body in bodies)
    bounds = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[low:high] for low, high in pairwise(bounds)]
    content, parsed = put_together(parse(pieces))
    assert content == ("Hi" if calls else "Hi\n")
    assert parsed == [(name, dump(args)) for name, args in calls]


@given(st.text('<>/_toolca{}[]":,\\ n', max_size=60), st.integers(1, 7))
def test_no_text_breaks_the_parser_or_depends_on_chunks(text: str, size: int) -> None:
    text = text.replace("to", "<tool_call>").replace("na", '{"name": "f", "arguments": {')
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    assert put_together(parse(pieces)) == put_together(parse([text]))

"""Every format reads what its models write, the same in every chunking, and loses no text."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxserve.text.calls.answer import AnswerParser, answer_parser
from jaxserve.text.calls.description import ToolFormat
from jaxserve.text.calls.events import CallArguments, CallName, Content
from jaxserve.text.formats.table import TOOL_FORMATS
from tests.text.formats.examples import EXAMPLES, SCHEMAS, Calls

FORMATS = {form.name: form for form in TOOL_FORMATS}


def new_parser(form: ToolFormat, *, whole: bool = False) -> AnswerParser:
    return answer_parser(form, None, prompt="", schemas=SCHEMAS, whole=whole)


def put_together(parser: AnswerParser, pieces: Iterable[str]) -> tuple[str, Calls, int]:
    """Content and calls as a client accumulates them, and how many calls are complete."""
    content, calls = "", list[tuple[str, str]]()
    events = [event for piece in pieces for event in parser.push(piece)]
    for event in [*events, *parser.finish()]:
        if isinstance(event, Content):
            content += event.text
        elif isinstance(event, CallName):
            assert event.index == len(calls) and event.name
            calls.append((event.name, ""))
        elif isinstance(event, CallArguments):
            assert event.index == len(calls) - 1
            calls[-1] = (calls[-1][0], calls[-1][1] + event.text)
    return content, tuple(calls), parser.num_complete


def chunks(text: str, size: int) -> list[str]:
    return [text[i : i + size] for i in range(0, len(text), size)]


def test_every_format_has_an_example() -> None:
    assert {example.form for example in EXAMPLES.values()} == set(FORMATS)


@pytest.mark.parametrize("name", EXAMPLES)
def test_what_models_write_is_read(name: str) -> None:
    example = EXAMPLES[name]
    content, calls, num_complete = put_together(new_parser(FORMATS[example.form]), [example.text])
    assert (content, calls) == (example.content, example.calls)
    assert num_complete == len(calls)
    assert all(isinstance(json.loads(arguments), dict) for _, arguments in calls)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("name", EXAMPLES)
def test_every_chunking_of_every_beginning_gives_the_same(name: str, whole: bool) -> None:
    form, text = FORMATS[EXAMPLES[name].form], EXAMPLES[name].text
    for end in range(0, len(text) + 1, 3):
        cut = text[:end]
        expected = put_together(new_parser(form, whole=whole), [cut])
        for size in (1, 2, 7):
            assert put_together(new_parser(form, whole=whole), chunks(cut, size)) == expected


@pytest.mark.parametrize("name", EXAMPLES)
def test_call_cut_short_is_not_complete_and_keeps_a_beginning(name: str) -> None:
    form, text = FORMATS[EXAMPLES[name].form], EXAMPLES[name].text
    for end in range(len(text)):
        _, calls, num_complete = put_together(new_parser(form), [text[:end]])
        told = EXAMPLES[name].calls[: len(calls)]
        assert num_complete <= len(calls) <= num_complete + 1
        for index, (got, expected) in enumerate(zip(calls, told, strict=True)):
            assert got[0] == expected[0] and expected[1].startswith(got[1])
            assert got[1] == expected[1] or index >= num_complete


@pytest.mark.parametrize("name", EXAMPLES)
def test_whole_calls_are_told_at_once_or_not_at_all(name: str) -> None:
    form, text = FORMATS[EXAMPLES[name].form], EXAMPLES[name].text
    for end in range(len(text)):
        _, calls, num_complete = put_together(new_parser(form, whole=True), text[:end])
        assert calls == EXAMPLES[name].calls[:num_complete]


def fragments(form: ToolFormat) -> st.SearchStrategy[str]:
    """Texts of markers, halves of them, and what stands between them, in any order."""
    texts = [example.text for example in EXAMPLES.values() if example.form == form.name]
    parts = [*form.literals, *(literal[: len(literal) // 2] for literal in form.literals)]
    quoted = ['{"name": "now", "arguments": {}}', "now", "(", ")", "{}", '"', "\n", " ", "é", ","]
    return st.lists(st.sampled_from([*parts, *quoted, *texts]), max_size=12).map("".join)


@pytest.mark.parametrize("name", FORMATS)
@given(data=st.data())
def test_no_text_breaks_a_parser_or_depends_on_chunks(name: str, data: st.DataObject) -> None:
    text = data.draw(fragments(FORMATS[name]))
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=8))
    pieces = [text[low:high] for low, high in pairwise([0, *sorted(cuts), len(text)])]
    assert put_together(new_parser(FORMATS[name]), pieces) == put_together(
        new_parser(FORMATS[name]), [text]
    )


@pytest.mark.parametrize("name", sorted(FORMATS.keys() - {"harmony"}))
@given(data=st.data())
def test_text_without_a_call_is_content_unchanged(name: str, data: st.DataObject) -> None:
    text = data.draw(fragments(FORMATS[name]))
    content, calls, _ = put_together(new_parser(FORMATS[name], whole=True), [text])
    assert calls or content == text


JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
ARGUMENTS = st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), JSON_VALUES, max_size=3)


def python_call(name: str, arguments: dict[str, Any]) -> str:
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"


@given(
    st.lists(st.tuples(st.sampled_from(["get_weather", "f.g-h"]), ARGUMENTS), max_size=3),
    st.integers(1, 40),
)
def test_any_python_calls_are_read_back(calls: list[tuple[str, Any]], size: int) -> None:
    text = f"[{', '.join(python_call(*call) for call in calls)}]"
    _, read, _ = put_together(new_parser(FORMATS["pythonic"]), chunks(text, size))
    assert [(name, json.loads(arguments)) for name, arguments in read] == calls


STRINGS = st.text().filter(lambda text: "</" not in text and "\r" not in text)


@pytest.mark.parametrize(
    ("form", "written"),
    [
        ("glm", "<tool_call>f\n<arg_key>s</arg_key>\n<arg_value>{}</arg_value>\n</tool_call>"),
        (
            "qwen3-coder",
            "<tool_call>\n<function=f>\n<parameter=s>\n{}\n</parameter>\n</function>\n</tool_call>",
        ),
    ],
)
@given(text=STRINGS, size=st.integers(1, 9))
def test_any_bare_string_is_read_back(form: str, written: str, text: str, size: int) -> None:
    schemas = {"f": {"properties": {"s": {"type": "string"}}}}
    parser = answer_parser(FORMATS[form], None, prompt="", schemas=schemas)
    _, calls, _ = put_together(parser, chunks(written.replace("{}", text), size))
    assert [(name, json.loads(arguments)) for name, arguments in calls] == [("f", {"s": text})]


def test_strings_are_told_while_they_are_written() -> None:
    parser = new_parser(FORMATS["qwen3-coder"])
    parser.push("<tool_call>\n<function=get_weather>\n<parameter=city>\nSao")
    assert parser.push(" Pau") == [CallArguments(0, " Pau")]
    assert parser.push("lo\n</par") == [CallArguments(0, "lo")]
    assert parser.push("ameter>") == [CallArguments(0, '"')]


@pytest.mark.parametrize(
    ("form", "text", "calls", "content"),
    [
        ("pythonic", "[1, 2, 3]", (), "[1, 2, 3]"),
        ("pythonic", "[f(1)]", (), "[f(1)]"),
        ("pythonic", "Use [f(a=1)].", (), "Use [f(a=1)]."),
        ("pythonic", "[f(a=1, b=g())]", (("f", '{"a": 1'),), " b=g())]"),
        ("llama-json", '{"answer": 42}', (), '{"answer": 42}'),
        ("llama-json", 'Say {"name": "f", "parameters": {}}', (), None),
        ("mistral", "[TOOL_CALLS] none", (), "[TOOL_CALLS] none"),
        ("mistral", '[TOOL_CALLS] [{"name": "f"}, oops]', (("f", "{}"),), ", oops]"),
        ("glm", "<tool_call>I can't do this", (), "<tool_call>I can't do this"),
        ("glm", "<tool_call>f\n<arg_key>a</arg_key>", (), None),
        (
            "qwen3-coder",
            "<function=f>\n<parameter=a>\n1\n</parameter>\nAnd so on",
            (("f", '{"a": 1}'),),
            "\nAnd so on",
        ),
        ("deepseek-v3", "<｜tool▁calls▁begin｜>none", (), "<｜tool▁calls▁begin｜>none"),
        ("functools", "import functools\n", (), "import functools\n"),
        ("harmony", "No header at all", (), "No header at all"),
        ("harmony", "<|channel|>final<|message|>a < b <| c<|return|>", (), "a < b <| c"),
        ("harmony", "<|channel|>anal", (), ""),
    ],
)
def test_what_is_no_call_stays_in_the_text(
    form: str, text: str, calls: Calls, content: str | None
) -> None:
    told = put_together(new_parser(FORMATS[form]), [text])
    assert told[:2] == (text if content is None else content, calls)

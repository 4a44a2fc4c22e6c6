"""Reasoning is told from the answer, in every chunking, however it was opened."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxserve.text.calls.answer import answer_parser
from jaxserve.text.calls.events import CallName, Content, Reasoning
from jaxserve.text.calls.reasoning import opened_by
from jaxserve.text.formats.hermes import HERMES
from jaxserve.text.formats.table import REASONING_FORMATS

FORMATS = {form.name: form for form in REASONING_FORMATS}

OPEN, CLOSED, NEITHER = "<|im_start|>assistant\n<think>\n", "<think>\n\n</think>\n\n", "assistant\n"

CASES = [
    ("think", NEITHER, "<think>\nHm <b>, so.\n</think>\n\nHi <think>", "Hm <b>, so.", "Hi <think>"),
    ("think", OPEN, "\nHm\n</think>\nHi", "Hm", "Hi"),
    ("think", OPEN, "<think>\nHm</think>Hi", "Hm", "Hi"),
    ("think", OPEN, "Hm </thin", "Hm </thin", ""),
    ("think", CLOSED, "Hi </think>", "", "Hi </think>"),
    ("think", NEITHER, "\n Hi", "", "\n Hi"),
    ("think", NEITHER, "<think></think>Hi", "", "Hi"),
    ("think", NEITHER, "<thi", "", "<thi"),
    ("deepseek-r1", NEITHER, "Hm\n</think>\n\nHi", "Hm", "Hi"),
    ("deepseek-r1", CLOSED, "Hi", "", "Hi"),
    ("mistral", NEITHER, "[THINK]Hm[x][/THINK]Hi", "Hm[x]", "Hi"),
    ("seed-think", NEITHER, "<seed:think>Hm</seed:think>Hi", "Hm", "Hi"),
    (
        "granite",
        NEITHER,
        "Here is my thought process:\n\nHere I am.\n\nHere is my response:\n\nHi.",
        "Here I am.",
        "Hi.",
    ),
    ("granite", NEITHER, "Here's my thought process: Hm Here's my response: Hi", "Hm", "Hi"),
    (
        "granite-tags",
        NEITHER,
        "<think>Hm</think>\n<response>Hi <b></response>",
        "Hm",
        "Hi <b>",
    ),
    (
        "harmony",
        "<|start|>assistant",
        "<|channel|>analysis<|message|>Hm <b><|end|><|start|>assistant<|channel|>final<|message|>"
        "Hi",
        "Hm <b>",
        "Hi",
    ),
]


def split(name: str, prompt: str, pieces: Iterable[str]) -> tuple[str, str]:
    parser = answer_parser(None, FORMATS[name], prompt=prompt, schemas=None)
    events = [event for piece in pieces for event in parser.push(piece)] + parser.finish()
    thought = "".join(event.text for event in events if isinstance(event, Reasoning))
    said = "".join(event.text for event in events if isinstance(event, Content))
    return thought, said


def test_every_format_has_a_case() -> None:
    assert {case[0] for case in CASES} == set(FORMATS)


@pytest.mark.parametrize(("name", "prompt", "text", "thought", "said"), CASES)
def test_reasoning_and_answer_are_told_apart(
    name: str, prompt: str, text: str, thought: str, said: str
) -> None:
    assert split(name, prompt, [text]) == (thought, said)


@pytest.mark.parametrize(("name", "prompt", "text"), [case[:3] for case in CASES])
def test_every_chunking_gives_the_same(name: str, prompt: str, text: str) -> None:
    for end in range(len(text) + 1):
        assert split(name, prompt, text[:end]) == split(name, prompt, [text[:end]])


@given(st.lists(st.sampled_from(["<think>", "</think>", "<", "a", " ", "\n", "</t"]), max_size=12))
def test_only_blanks_and_markers_are_left_out(parts: list[str]) -> None:
    text = "".join(parts)
    for prompt in (OPEN, NEITHER):
        told = "".join(split("think", prompt, parts))
        letters = text.replace("<think>", "").replace("</think>", "").count("a")
        assert told.count("a") == letters


def test_reasoning_is_told_as_soon_as_it_cannot_be_the_end() -> None:
    parser = answer_parser(None, FORMATS["think"], prompt=OPEN, schemas=None)
    assert parser.push("so </th") == [Reasoning("so")]
    assert parser.push("e") == [Reasoning(" </the")]
    assert parser.inside_reasoning


def test_a_call_within_reasoning_is_no_call() -> None:
    call = '<tool_call>{"name": "f", "arguments": {}}</tool_call>'
    parser = answer_parser(HERMES, FORMATS["think"], prompt=OPEN, schemas={"f": {}})
    events = parser.push(f"I could {call}\n</think>\n{call}") + parser.finish()
    assert events[0] == Reasoning(f"I could {call}")
    assert [event for event in events if isinstance(event, CallName)] == [CallName(0, "f")]
    assert parser.num_complete == 1


@pytest.mark.parametrize(
    ("name", "prompt", "is_open"),
    [
        ("think", OPEN, True),
        ("think", CLOSED, False),
        ("think", "user: what is <think>?\nassistant:", False),
        ("deepseek-r1", NEITHER, True),
        ("deepseek-r1", CLOSED, False),
    ],
)
def test_the_end_of_the_prompt_says_whether_reasoning_is_open(
    name: str, prompt: str, is_open: bool
) -> None:
    assert opened_by(prompt, FORMATS[name]) is is_open

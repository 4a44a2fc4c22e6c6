"""Prompts come from a file in any of the usual forms."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jaxserve.bench.prompts import Recorded, read_prompts
from jaxserve.errors import ConfigError

SHAREGPT = [
    {
        "conversations": [
            {"from": "human", "value": "one"},
            {"from": "gpt", "value": "a b"},
            {"from": "human", "value": "two"},
        ]
    },
    {"conversations": []},
    {
        "messages": [
            {"role": "system", "content": "be kind"},
            {"role": "user", "content": "three"},
            {"role": "assistant", "content": "c"},
        ]
    },
]


def test_sharegpt_gives_the_users_turns_and_the_answers_recorded(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(SHAREGPT))
    assert read_prompts(path) == [
        (Recorded("one", "a b"), Recorded("two")),
        (Recorded("three", "c"),),
    ]


def test_json_lines_may_say_how_long_an_answer_shall_be(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "one", "output_tokens": 3}\n\n{"prompt": "two"}\n')
    assert read_prompts(path) == [(Recorded("one", output_tokens=3),), (Recorded("two"),)]


def test_a_text_has_a_prompt_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one\n\ntwo words\n")
    assert read_prompts(path) == [(Recorded("one"),), (Recorded("two words"),)]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.json", "{", "not JSON"),
        ("a.json", "[1]", "no prompts"),
        ("a.txt", "", "no prompts"),
        ("missing.txt", None, "cannot read"),
    ],
)
def test_a_file_without_prompts_is_refused(
    tmp_path: Path, name: str, text: str | None, says: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=says):
        read_prompts(tmp_path / name)

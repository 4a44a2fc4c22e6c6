"""The format is what the chat template shows, or what the option names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import jaxserve.shipped
from jaxserve.errors import ConfigError
from jaxserve.text.formats.table import REASONING_FORMATS, TOOL_FORMATS, choose_formats
from jaxserve.text.tokenizer import load_tokenizer

ROOT = Path(__file__).parents[3]

# The part of each family's template that writes calls or reasoning.
TEMPLATES = {
    "qwen3": (
        r"{{- '<tool_call>\n{\"name\": \"' }}{{ tool_call.name }} {{- '<think>\n\n</think>\n\n' }}",
        "hermes",
        "think",
    ),
    "qwen3-coder": (
        r"{{- '\n<tool_call>\n<function=' + tool_call.name + '>\n' }}{{- '<parameter=' + k }}",
        "qwen3-coder",
        None,
    ),
    "llama-3.1": (
        '{{- \'Respond in the format {"name": function name, "parameters": dictionary of '
        "argument name and its value}.' }}{{- '<|python_tag|>' + tool_call.name + '.call(' }}",
        "llama-json",
        None,
    ),
    "llama-4": ("[func_name1(params_name1=params_value1, params_name2=...)]", "pythonic", None),
    "mistral-7b": (r"{{- '[TOOL_CALLS] [' }}{{ out[:-1] }}", "mistral", None),
    "magistral": ("'[TOOL_CALLS]' + name + '[ARGS]' [THINK] [/THINK]", "mistral-args", "mistral"),
    "deepseek-r1": (
        r"'<｜tool▁sep｜>' + tool['function']['name'] + '\n' + '```json' {% if '</think>' in "
        r"content %}{{'<｜Assistant｜><think>\n'}}",
        "deepseek-v3",
        "think",
    ),
    "deepseek-r1-first": (
        r"'<｜tool▁sep｜>' '```json' {% set content = content.split('</think>')[-1] %}",
        "deepseek-v3",
        "deepseek-r1",
    ),
    "deepseek-v3.1": (
        "'<｜tool▁sep｜>' + arguments {{'<think>'}}{{'</think>'}}",
        "deepseek-v3.1",
        "think",
    ),
    "glm-4.5": (r"<tool_call>{name}\n<arg_key>{k}</arg_key>\n<arg_value><think>", "glm", "think"),
    "gpt-oss": (
        '"<|start|>assistant<|channel|>analysis<|message|>" " to=functions."',
        "harmony",
        "harmony",
    ),
    "granite-3.2": (
        "<|start_of_role|> <|tool_call|> Write your thoughts after 'Here is my thought process:' "
        "and write your response after 'Here is my response:'",
        "granite",
        "granite",
    ),
    "granite-3.3": (
        "<|start_of_role|> <|tool_call|> between <think></think> and <response></response>",
        "granite",
        "granite-tags",
    ),
    "phi-4-mini": ("'<|' + role + '|>' + '<|tool|>' + tools + '<|/tool|>'", "phi-4-mini", None),
    "phi-4-mini-vllm": ("prefix function calls with functools marker", "functools", None),
    "plain": ("{{ message.content }}", None, None),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_template_tells_the_formats(name: str) -> None:
    template, tools, reasoning = TEMPLATES[name]
    formats = choose_formats(template)
    assert (formats.tools and formats.tools.name) == tools
    assert (formats.reasoning and formats.reasoning.name) == reasoning


def test_an_option_wins_over_the_template() -> None:
    formats = choose_formats("<tool_call> <think>", tools="glm", reasoning="off")
    assert formats.tools is not None and formats.tools.name == "glm"
    assert formats.reasoning is None


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"tool_format = 'hermse' .*hermes.*qwen3-coder"):
        choose_formats("", tools="hermse")
    with pytest.raises(ConfigError, match=r"reasoning_format = 'x' .*think"):
        choose_formats("", reasoning="x")


def test_names_are_distinct() -> None:
    for table in (TOOL_FORMATS, REASONING_FORMATS):
        assert len({form.name for form in table}) == len(table)


def test_a_marker_begins_with_a_character_of_its_own() -> None:
    # A marker that breaks off can then hide no more of another one than its first character,
    # which is read again. Channels have markers of their own.
    begins = [text for form in TOOL_FORMATS if not form.channels for text in form.begins]
    reasoning = [form for form in REASONING_FORMATS if not form.channels]
    for literal in [*begins, *(text for form in reasoning for text in form.literals)]:
        first_word = literal.split()[0]
        assert first_word[0] not in first_word[1:], literal


def test_the_document_lists_every_format() -> None:
    document = (ROOT / "docs" / "formats.md").read_text()
    tools, _, reasoning = document.partition("## Reasoning")
    for text, table in ((tools, TOOL_FORMATS), (reasoning, REASONING_FORMATS)):
        assert re.findall(r"^\| `(\w[\w.-]+)` \|", text, re.M) == [form.name for form in table]


def test_the_shipped_model_writes_hermes_calls_and_does_not_reason() -> None:
    folder = Path(jaxserve.shipped.__file__).parent / "tiny-chat"
    formats = choose_formats(load_tokenizer(folder).chat_template)
    assert formats.tools is not None and formats.tools.name == "hermes"
    assert formats.reasoning is None

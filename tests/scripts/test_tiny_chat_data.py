"""The text and the tokenizer that tiny-chat is made of; no training and no jax."""

import itertools
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from transformers import AutoTokenizer

from scripts.tiny_chat.conversations import tool_conversation
from scripts.tiny_chat.held_out import Case, held_out, trained_and_held
from scripts.tiny_chat.phrasing import normalise, wordings
from scripts.tiny_chat.render import CHAT_TEMPLATE, render, segments
from scripts.tiny_chat.texts import long_texts, sample_text, short_texts
from scripts.tiny_chat.tools import KINDS

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "jaxserve" / "shipped" / "tiny-chat"
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"a": ["é", "<"]}}}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": {"x": "Zürich"}}}
TEXT_CALL = {"function": {"name": "g", "arguments": '{"x":1}'}}
CONVERSATIONS: list[tuple[list[dict[str, Any]], list[Any] | None]] = [
    ([{"role": "user", "content": "Hi"}], None),
    ([{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi\n\n x "}], None),
    ([{"role": "system", "content": ""}, {"role": "user", "content": ""}], None),
    ([{"role": "user", "content": "Hi"}], [TOOL]),
    ([{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}], [TOOL, TOOL]),
    ([{"role": "assistant", "content": None, "tool_calls": [CALL, TEXT_CALL]}], [TOOL]),
    ([{"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "content": "18 C"}], None),
    ([{"role": "assistant", "content": "Let me see.", "tool_calls": [CALL]}], None),
    ([{"role": "assistant", "content": "Hello", "tool_calls": None}], None),
    ([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}],
     None),
    ([{"role": "user"}], []),
]  # fmt: skip
TEXTS = (
    "What is the capital of France?", "C-A-T", "12 + 7 = 19.", "  two  spaces   three ",
    "line\n\n  line\r\n\ttab", "\U0001f600 \U0001f469\u200d\U0001f467 日本語 नमस्ते zß a\u0300",
    '{"a": {"b": [1, 2.5]}}', "", "\n", " ", "\x00\x01",
    "<|im_start|>user\nHi<|im_end|>\n<tool_call>x</tool_call><|endoftext|>", "Ulaanbaatar Zorblax",
)  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(str(SHIPPED), local_files_only=True)


@pytest.fixture(scope="module")
def pieces() -> Any:
    return sentencepiece.SentencePieceProcessor(model_file=str(SHIPPED / "tokenizer.model"))


def test_shipped_template_is_the_trained_one() -> None:
    config = json.loads((SHIPPED / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert config["chat_template"] == CHAT_TEMPLATE


@pytest.mark.parametrize("asks", [False, True])
@pytest.mark.parametrize(("messages", "tools"), CONVERSATIONS)
def test_template_renders_what_was_trained(
    tokenizer: Any, messages: list[dict[str, Any]], tools: list[Any] | None, asks: bool
) -> None:
    shipped = tokenizer.apply_chat_template(
        messages, tools=tools, tokenize=False, add_generation_prompt=asks
    )
    assert shipped == render(messages, tools, add_generation_prompt=asks)
    assert "None" not in shipped


def test_template_renders_held_out_cases_as_trained(tokenizer: Any) -> None:
    for case in held_out(3, 120):
        messages = [dict(message) for message in case.messages]
        shipped = tokenizer.apply_chat_template(messages, tools=case.tools, tokenize=False)
        assert shipped == render(case.messages, case.tools)


def test_learned_segments_are_what_the_assistant_says() -> None:
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Bye"},
        {"role": "assistant", "tool_calls": [TEXT_CALL]},
    ]
    learned = [text for text, flag in segments(messages) if flag]
    call = '<tool_call>\n{"name": "g", "arguments": {"x":1}}\n</tool_call>'
    assert learned == ["Hello<|im_end|>", call + "<|im_end|>"]


def test_no_held_out_wording_can_be_trained() -> None:
    assert trained_and_held() == []


def test_no_held_out_question_was_drawn_for_training() -> None:
    skipped = ("tool result", "follow-up", "memory")  # their last message is not a held question
    asked = {
        normalise(str(case.messages[-1]["content"]))
        for case in held_out(11, 1500)
        if case.category not in skipped and not case.category.startswith("style")
    }
    drawn = [*itertools.islice(short_texts(0), 8000), *itertools.islice(long_texts(0, 8), 800)]
    trained = {
        normalise(text.removeprefix("<|im_start|>user\n").removesuffix("<|im_end|>\n"))
        for conversation in drawn
        for text, _ in conversation
        if text.startswith("<|im_start|>user")
    }
    assert not asked & trained


def test_text_depends_only_on_the_seed() -> None:
    assert sample_text(5, 200) == sample_text(5, 200)
    assert sample_text(5, 200) != sample_text(6, 200)
    assert held_out(5, 100) == held_out(5, 100)


def test_every_slot_is_filled() -> None:
    for text in sample_text(8, 3000):
        assert not any(f"{{{slot}}}" in text for slot in ("x", "country", "city", "word", "follow"))


def test_choices_expand() -> None:
    assert wordings("[a|b [c|d]] e[|?]") == ("a e", "a e?", "b c e", "b c e?", "b d e", "b d e?")


def test_a_case_compares_tool_calls_as_values() -> None:
    expected = '<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>'
    case = Case(category="tool call", messages=[], tools=[], expected=expected)
    assert case.passes('<tool_call>\n{"arguments":{"x":1},"name":"f"}\n</tool_call><|im_end|>')
    assert not case.passes('<tool_call>\n{"name": "f", "arguments": {"x": 2}}\n</tool_call>')
    assert not case.passes("I do not know that.")


def test_every_category_has_held_out_cases() -> None:
    names = {case.category for case in held_out(0, 200)}
    assert {"capitals", "arithmetic", "tool call", "tool result", "style: JSON", "memory"} <= names
    assert len(names) > 30


def test_tool_conversations_call_only_listed_tools() -> None:
    rng = random.Random(0)
    for _ in range(300):
        turns, tools = tool_conversation(rng)
        listed = {tool["function"]["name"] for tool in tools}
        for turn in turns:
            calls: Any = turn.get("tool_calls") or ()
            assert {call["function"]["name"] for call in calls} <= listed
    assert len(KINDS) >= 8


@pytest.mark.parametrize("text", TEXTS)
def test_tokenizer_round_trip(tokenizer: Any, pieces: Any, text: str) -> None:
    """Bytes never seen in training included; `transformers` agrees with SentencePiece."""
    ids = pieces.encode(text)
    assert pieces.decode(ids) == text
    assert tokenizer.encode(text) == ids
    assert tokenizer.decode(ids) == text


def test_tokenizer_agrees_on_training_text(tokenizer: Any, pieces: Any) -> None:
    for text in sample_text(21, 300):
        assert tokenizer.encode(text) == pieces.encode(text)


def test_digits_letters_and_marks_are_single_tokens(pieces: Any) -> None:
    assert pieces.encode("2026", out_type=str) == ["2", "0", "2", "6"]
    assert pieces.encode("C-A-T", out_type=str) == ["C", "-", "A", "-", "T"]
    for mark in ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<tool_call>", "\n"):
        assert len(pieces.encode(mark)) == 1


def test_ends_of_turn_agree(tokenizer: Any) -> None:
    config = json.loads((SHIPPED / "config.json").read_text())
    generation = json.loads((SHIPPED / "generation_config.json").read_text())
    assert config["eos_token_id"] == tokenizer.eos_token_id == generation["eos_token_id"][0]
    assert tokenizer.decode([tokenizer.eos_token_id]) == "<|im_end|>"
    assert len(tokenizer) == config["vocab_size"]


def test_shipped_folder_is_small() -> None:
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 20_000_000


def test_held_out_needs_no_jax() -> None:
    code = "import sys; from scripts.tiny_chat import held_out; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0

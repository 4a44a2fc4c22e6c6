"""An answer that is held to a form may be reasoned about first, as the prompt has it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from jaxserve.text.calls.description import ReasoningFormat
from jaxserve.text.calls.preface import reasoning_preface
from jaxserve.text.formats.deepseek import DEEPSEEK_R1
from jaxserve.text.formats.granite import GRANITE_SENTENCES, GRANITE_TAGS
from jaxserve.text.formats.harmony import HARMONY_ANALYSIS
from jaxserve.text.formats.think import THINK
from jaxserve.text.grammar import GrammarWish
from jaxserve.text.grammar_compiler import GrammarCompiler
from tests.text_fakes import ByteTokenizer, limits


class PlainTokenizer(ByteTokenizer):
    """Without special tokens in texts."""

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        return [*text.encode()]


TOKENIZER = PlainTokenizer()
FINAL = "<|channel|>final<|message|>"


@pytest.fixture(scope="module")
def compiler() -> Iterator[GrammarCompiler]:
    made = GrammarCompiler(TOKENIZER, limits())
    yield made
    made.close()


def takes(compiler: GrammarCompiler, form: ReasoningFormat, prompt: str, text: str) -> bool:
    wish = GrammarWish("choice", '["{}"]', reasoning_preface(form, prompt, TOKENIZER))
    constraint = asyncio.run(compiler.compile(wish, param="form")).start()
    for token_id in TOKENIZER.encode(text, add_special_tokens=False):
        if not int.from_bytes(constraint.next_mask(), "little") >> token_id & 1:
            return False
        constraint.advance(token_id)
    return constraint.complete


@pytest.mark.parametrize(
    ("form", "prompt", "taken", "not_taken"),
    [
        (THINK, "assistant\n", ["{}", "<think>a{</think>\n\n{}"], ["a{}", "<think>a{}"]),
        (THINK, "assistant\n<think>\n", ["a</think>{}", "</think>\n\n{}"], ["{}", "a{}"]),
        (THINK, "<think>\n\n</think>\n\n", ["{}"], ["<think>", "a"]),
        (DEEPSEEK_R1, "assistant", ["a</think>{}"], ["{}"]),
        (GRANITE_SENTENCES, "assistant",
         ["{}", "Here is my thought process: a Here's my response:{}"], ["a{}"]),
        (GRANITE_TAGS, "assistant", ["{}", "<think>a</think>{}"], ["a"]),
        (HARMONY_ANALYSIS, "<|start|>assistant",
         [f"{FINAL}{{}}", f"<|channel|>analysis<|message|>a<|end|><|start|>assistant{FINAL}{{}}"],
         ["{}", f"{FINAL}a"]),
    ],
)  # fmt: skip
def test_reasoning_may_come_first_as_the_prompt_has_it(
    compiler: GrammarCompiler,
    form: ReasoningFormat,
    prompt: str,
    taken: list[str],
    not_taken: list[str],
) -> None:
    for text in taken:
        assert takes(compiler, form, prompt, text), text
    for text in not_taken:
        assert not takes(compiler, form, prompt, text), text

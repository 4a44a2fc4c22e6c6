"""Prompts that do not fit are refused with the phrase clients look for, early where possible."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from jaxserve.errors import ContextLengthExceeded, InvalidRequest
from jaxserve.text.chat import ChatOptions
from jaxserve.text.prompt import PromptEncoder, check_token_ids
from tests.text_fakes import BOS, ByteTokenizer


class CountingTokenizer(ByteTokenizer):
    """Remembers how long the texts were that it had to encode."""

    def __init__(self) -> None:
        self.lengths: list[int] = []

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        self.lengths.append(len(text))
        return super().encode(text, add_special_tokens=add_special_tokens)


@pytest.fixture
def tokenizer() -> CountingTokenizer:
    return CountingTokenizer()


@pytest.fixture
def encoder(tokenizer: CountingTokenizer) -> Iterator[PromptEncoder]:
    encoder = PromptEncoder(tokenizer, max_model_len=10)
    yield encoder
    encoder.close()


def test_unset_max_tokens_fills_the_context(encoder: PromptEncoder) -> None:
    assert encoder.max_tokens_for(1, None, param="prompt") == 9
    assert encoder.max_tokens_for(9, None, param="prompt") == 1
    assert encoder.max_tokens_for(4, 6, param="prompt") == 6


@pytest.mark.parametrize(
    ("num_prompt_tokens", "max_tokens", "param"),
    [(10, None, "messages"), (11, 1, "messages"), (100, 1, "messages"), (4, 7, "max_tokens")],
)
def test_what_does_not_fit_is_refused_with_the_standard_phrase(
    encoder: PromptEncoder, num_prompt_tokens: int, max_tokens: int | None, param: str
) -> None:
    with pytest.raises(ContextLengthExceeded) as caught:
        encoder.max_tokens_for(num_prompt_tokens, max_tokens, param="messages")
    assert "This model's maximum context length is 10 tokens" in caught.value.message
    assert (caught.value.param, caught.value.code) == (param, "context_length_exceeded")


@pytest.mark.parametrize("max_tokens", [0, -1])
def test_no_room_for_output_cannot_be_asked_for(encoder: PromptEncoder, max_tokens: int) -> None:
    with pytest.raises(InvalidRequest, match="1 or more"):
        encoder.max_tokens_for(4, max_tokens, param="prompt")


def test_text_that_can_never_fit_is_refused_before_it_is_encoded(
    encoder: PromptEncoder, tokenizer: CountingTokenizer
) -> None:
    at_most = 10 * tokenizer.longest_token
    phrase = "maximum context length is 10 tokens and the prompt has at least 11"
    with pytest.raises(ContextLengthExceeded, match=phrase):
        asyncio.run(_encode(encoder, "x" * (at_most + 1)))
    with pytest.raises(ContextLengthExceeded, match="at least") as caught:
        messages = [{"role": "user", "content": "x" * at_most}]
        asyncio.run(encoder.encode_chat(messages, ChatOptions()))
    assert caught.value.param == "messages"
    assert tokenizer.lengths == []
    asyncio.run(_encode(encoder, "x" * at_most))
    assert tokenizer.lengths == [at_most]


def test_long_text_is_encoded_on_another_thread(tokenizer: CountingTokenizer) -> None:
    encoder = PromptEncoder(tokenizer, max_model_len=10_000)
    text = "é" * 3000
    assert asyncio.run(_encode(encoder, text)) == [BOS, *text.encode()]
    encoder.close()


@pytest.mark.parametrize("bad", [-1, 259, 2**31])
def test_ids_outside_the_vocabulary_are_named(bad: int) -> None:
    with pytest.raises(InvalidRequest, match=f"0 to 258, got {bad}$") as caught:
        check_token_ids([0, bad, 258], 259, param="prompt")
    assert caught.value.param == "prompt"


def test_only_some_of_many_bad_ids_are_named() -> None:
    with pytest.raises(InvalidRequest, match=r"306, \.\.\.$"):
        check_token_ids(range(299, 2000), 259, param="prompt")


async def _encode(encoder: PromptEncoder, text: str) -> list[int]:
    return await encoder.encode_text(text, add_special_tokens=True, param="prompt")

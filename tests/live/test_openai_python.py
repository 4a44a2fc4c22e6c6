"""The official Python client against the shipped model."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.live.conftest import Live

pytestmark = pytest.mark.client("openai-python", "openai")

CAPITAL = "What is the capital of France?"
QUESTIONS = (
    CAPITAL,
    "Hello!",
    "Who are you?",
    "What is 2 plus 2?",
    "What is the capital of Japan?",
    "What day comes after Monday?",
    "What is the opposite of hot?",
    "What is the plural of mouse?",
    "Count from 3 to 9.",
    "How do you spell cat?",
    "What is a KV cache?",
    "What colour is the sky?",
    "What is 3 times 4?",
    "What is the capital of Spain?",
    "What is prefill?",
    "How do you say hello in Japanese?",
)


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


def ask(client: OpenAI, text: str, **options: Any) -> Any:
    return client.chat.completions.create(model="tiny-chat", messages=user(text), **options)


def ask_streamed(client: OpenAI, text: str, **options: Any) -> list[Any]:
    return list(ask(client, text, stream=True, **options))


def text_of(chunks: Iterable[Any]) -> str:
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


def test_it_knows_the_capital_of_france(live: Live) -> None:
    answer = ask(live.client(), CAPITAL)
    assert "Paris" in answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_it_knows_the_capital_of_france_streamed(live: Live) -> None:
    chunks = ask_streamed(live.client(), CAPITAL)
    assert "Paris" in text_of(chunks)
    assert [c.choices[0].finish_reason for c in chunks][-1] == "stop"


def test_a_completion_goes_on_with_the_text(live: Live) -> None:
    client = live.client()
    whole = client.completions.create(
        model="tiny-chat", prompt="The capital of France is", max_tokens=4
    )
    assert "Paris" in whole.choices[0].text
    chunks = client.completions.create(
        model="tiny-chat", prompt="The capital of France is", max_tokens=4, stream=True
    )
    assert "".join(c.choices[0].text for c in chunks) == whole.choices[0].text


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 1.5, "seed": 7, "max_tokens": 40},
        {"temperature": 1.0, "seed": 8, "logprobs": True, "top_logprobs": 3, "max_tokens": 20},
        {"stop": ["."], "max_tokens": 40},
        {"n": 3, "temperature": 1.2, "seed": 3, "max_tokens": 12},
    ],
    ids=str,
)
def test_streamed_is_whole(live: Live, options: dict[str, Any]) -> None:
    client = live.client()
    whole = ask(client, "What is a KV cache?", **options)
    chunks = ask_streamed(
        client, "What is a KV cache?", stream_options={"include_usage": True}, **options
    )
    for choice in whole.choices:
        own = [c.choices[0] for c in chunks if c.choices and c.choices[0].index == choice.index]
        assert "".join(c.delta.content or "" for c in own) == choice.message.content
        assert own[-1].finish_reason == choice.finish_reason
        entries = [e for c in own if c.logprobs for e in c.logprobs.content]
        if choice.logprobs:
            assert [e.token for e in entries] == [e.token for e in choice.logprobs.content]
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_the_bytes_of_the_tokens_are_the_text(live: Live) -> None:
    answer = ask(
        live.client(), "How do you say hello in Japanese?", logprobs=True, top_logprobs=2
    ).choices[0]
    spelled = b"".join(bytes(entry.bytes) for entry in answer.logprobs.content)
    assert spelled.decode().removesuffix("<|im_end|>") == answer.message.content


def test_sixteen_clients_at_once_get_the_answers_they_get_alone(live: Live) -> None:
    client = live.client()
    alone = [ask(client, text).choices[0].message.content for text in QUESTIONS]
    with ThreadPoolExecutor(len(QUESTIONS)) as pool:
        together = list(pool.map(lambda text: text_of(ask_streamed(client, text)), QUESTIONS))
    assert together == alone
    assert len(set(alone)) > 12


def test_a_second_turn_finds_the_first_one_computed(live: Live) -> None:
    client = live.client()
    system = {"role": "system", "content": "You are a helpful assistant. " * 4}
    first = [system, *user("My name is Maria.")]
    reply = client.chat.completions.create(model="tiny-chat", messages=first)
    answer = reply.choices[0].message.content
    second = [*first, {"role": "assistant", "content": answer}, *user("What is my name?")]
    again = client.chat.completions.create(model="tiny-chat", messages=second)
    assert again.usage is not None and again.usage.prompt_tokens_details is not None
    assert (again.usage.prompt_tokens_details.cached_tokens or 0) >= 16


def test_models_are_listed_and_found_by_every_name(live: Live) -> None:
    client = live.client()
    assert [model.id for model in client.models.list()] == ["tiny-chat"]
    assert client.models.retrieve("tiny-chat").id == "tiny-chat"
    for alias in ("tgi", "dummy", "default"):
        assert (
            client.chat.completions.create(model=alias, messages=user("Hello!"), max_tokens=2).model
            == "tiny-chat"
        )


def test_an_unknown_model_is_not_found(live: Live) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        live.client().chat.completions.create(model="gpt-nothing", messages=user("Hi"))
    assert caught.value.code == "model_not_found"


def test_a_prompt_longer_than_the_context_is_refused(live: Live) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(live.client(), "hello " * 5000)
    assert caught.value.code == "context_length_exceeded"
    assert "maximum context length is 2048 tokens" in caught.value.message


def test_what_is_not_supported_is_refused_by_name(live: Live) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(live.client(), "Hi", modalities=["text", "audio"])
    assert caught.value.param == "modalities"


def test_token_ids_outside_the_vocabulary_are_refused(live: Live) -> None:
    client = live.client()
    with pytest.raises(openai.BadRequestError, match="999999"):
        client.completions.create(model="tiny-chat", prompt=[1, 999999])
    with pytest.raises(openai.BadRequestError):
        ask(client, "Hi", logit_bias={"999999": 1})


def test_one_bad_request_leaves_the_others_alone(live: Live) -> None:
    client = live.client()
    expected = ask(client, CAPITAL).choices[0].message.content

    def good_or_bad(index: int) -> str:
        if index % 2:
            with pytest.raises(openai.BadRequestError):
                ask(client, "Hi", temperature=9)
            return str(expected)
        return str(ask(client, CAPITAL).choices[0].message.content)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(good_or_bad, range(24))) == {expected}


def test_a_cancelled_stream_frees_its_pages(live: Live) -> None:
    stream = ask(live.client(), "Hello!", stream=True, max_tokens=1500, extra_body=ENDLESS)
    next(iter(stream))
    live.wait_until(lambda: live.built.loop.stats().used_pages > 0)
    finished = live.built.loop.stats().totals.generation_tokens
    stream.close()
    live.wait_until_idle()
    assert live.built.loop.stats().totals.generation_tokens - finished < 1000


def test_a_client_that_leaves_without_streaming_frees_its_pages(live: Live) -> None:
    client = live.client().with_options(timeout=0.3)
    with pytest.raises(openai.APITimeoutError):
        ask(client, "Hello!", max_tokens=1900, extra_body=ENDLESS)
    live.wait_until_idle()
    assert live.built.loop.stats().totals.finished["abort"] > 0  # type: ignore[index]


ENDLESS = {"ignore_eos": True}

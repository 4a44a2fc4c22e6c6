"""The official openai client against a live server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionMessageParam

from jaxserve.config import ServerConfig
from jaxserve.errors import EngineBusy, EngineFailed
from tests.server.apps import live, wait_until
from tests.text_fakes import ScriptedEngine

SAID = "Paris é 👨‍👩‍👧!"
USER: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hi"}]
CALL = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'


@contextmanager
def sdk(engine: ScriptedEngine, *, key: str = "k", **options: Any) -> Iterator[OpenAI]:
    with live(engine, **options) as address, OpenAI(base_url=f"{address}/v1", api_key=key) as made:
        yield made.with_options(timeout=20)


@pytest.fixture(scope="module")
def said() -> Iterator[OpenAI]:
    with sdk(ScriptedEngine(SAID.encode(), chunks=(2,))) as made:
        yield made


def test_chat(said: OpenAI) -> None:
    answer = said.chat.completions.create(model="tiny", messages=USER, logprobs=True)
    choice = answer.choices[0]
    assert (choice.message.content, choice.finish_reason) == (SAID, "stop")
    assert answer.id == f"chatcmpl-{answer._request_id}"
    assert answer.usage and choice.logprobs and choice.logprobs.content
    assert len(choice.logprobs.content) == answer.usage.completion_tokens
    shown = bytes(byte for entry in choice.logprobs.content[:-1] for byte in entry.bytes or ())
    assert shown.decode() == SAID


def test_streamed_chat_through_the_helper_that_accumulates(said: OpenAI) -> None:
    with said.chat.completions.stream(
        model="tiny",
        messages=USER,
        n=2,
        logprobs=True,
        stream_options={"include_usage": True},
    ) as stream:
        text = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert sorted("".join(text)) == sorted(SAID * 2)
    assert [choice.message.content for choice in final.choices] == [SAID, SAID]
    assert [choice.message.role for choice in final.choices] == ["assistant", "assistant"]
    assert [choice.finish_reason for choice in final.choices] == ["stop", "stop"]
    assert final.usage and final.usage.completion_tokens == 2 * (len(SAID.encode()) + 1)


def test_streamed_tool_call_accumulates_to_the_whole_one() -> None:
    tools: list[Any] = [{"type": "function", "function": {"name": "add", "parameters": {}}}]
    with sdk(ScriptedEngine(CALL.encode())) as made:
        whole = made.chat.completions.create(model="tiny", messages=USER, tools=tools)
        with made.chat.completions.stream(model="tiny", messages=USER, tools=tools) as stream:
            final = stream.get_final_completion()
    for choice in (whole.choices[0], final.choices[0]):
        assert choice.finish_reason == "tool_calls"
        calls = choice.message.model_dump()["tool_calls"]
        assert [call["type"] for call in calls] == ["function"]
        assert calls[0]["function"]["name"] == "add"
        assert calls[0]["function"]["arguments"] == '{"a": 1}'


def test_completions_whole_and_streamed(said: OpenAI) -> None:
    whole = said.completions.create(model="tiny", prompt=["a", "b"], max_tokens=100, logprobs=2)
    assert [choice.text for choice in whole.choices] == [SAID, SAID]
    events = list(said.completions.create(model="tiny", prompt="a", max_tokens=100, stream=True))
    assert "".join(event.choices[0].text for event in events) == SAID
    assert events[-1].choices[0].finish_reason == "stop"


def test_models(said: OpenAI) -> None:
    assert [card.id for card in said.models.list()] == ["tiny", "small"]
    assert said.models.retrieve("org/tiny-hub").owned_by == "jaxserve"


def test_async_client_chats_many_at_once() -> None:
    async def main(address: str) -> list[str | None]:
        async with AsyncOpenAI(base_url=f"{address}/v1", api_key="k", timeout=20) as made:
            asks = [made.chat.completions.create(model="tiny", messages=USER) for _ in range(16)]
            return [answer.choices[0].message.content for answer in await asyncio.gather(*asks)]

    with live(ScriptedEngine(SAID.encode())) as address:
        assert asyncio.run(main(address)) == [SAID] * 16


def test_async_stream(said: OpenAI) -> None:
    async def main() -> str:
        async with AsyncOpenAI(base_url=said.base_url, api_key="k", timeout=20) as made:
            stream = await made.chat.completions.create(model="tiny", messages=USER, stream=True)
            return "".join([event.choices[0].delta.content or "" async for event in stream])

    assert asyncio.run(main()) == SAID


def test_unknown_model_is_not_found(said: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        said.chat.completions.create(model="gpt-0", messages=USER)
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    assert caught.value.request_id
    with pytest.raises(openai.NotFoundError):
        said.models.retrieve("gpt-0")


@pytest.mark.parametrize("stream", [True, False])
def test_bad_request_carries_code_and_param(said: OpenAI, stream: bool) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        said.chat.completions.create(model="tiny", messages=USER, temperature=3, stream=stream)
    assert (caught.value.code, caught.value.param) == ("invalid_value", "temperature")
    assert caught.value.type == "invalid_request_error"


def test_wrong_key_is_an_authentication_error() -> None:
    config = ServerConfig(api_key=("right",))
    with sdk(ScriptedEngine(b"a"), key="wrong", config=config) as made:
        with pytest.raises(openai.AuthenticationError) as caught:
            made.models.list()
    assert caught.value.code == "invalid_api_key"


def test_full_queue_is_a_rate_limit_error_after_retries() -> None:
    engine = ScriptedEngine(b"a", refuse=EngineBusy("the queue is full", retry_after_s=0.01))
    with sdk(engine) as made, pytest.raises(openai.RateLimitError):
        made.with_options(max_retries=1).chat.completions.create(model="tiny", messages=USER)


def test_dead_engine_is_not_asked_again() -> None:
    num_asked = 0

    class Dead(ScriptedEngine):
        def submit(self, request: object) -> None:
            nonlocal num_asked
            num_asked += 1
            raise EngineFailed("the engine has stopped")

    with sdk(Dead(b"a")) as made, pytest.raises(openai.InternalServerError) as caught:
        made.chat.completions.create(model="tiny", messages=USER)
    assert caught.value.status_code == 503
    assert num_asked == 1


def test_error_in_a_stream_is_an_api_error() -> None:
    with sdk(ScriptedEngine(b"abcdef", fail_at=3)) as made:
        stream = made.chat.completions.create(model="tiny", messages=USER, stream=True)
        with pytest.raises(openai.APIError, match="internal error"):
            list(stream)


def test_closed_stream_aborts_in_the_engine() -> None:
    engine = ScriptedEngine(b"a" * 100, paused=True)
    with sdk(engine) as made:
        stream = made.chat.completions.create(model="tiny", messages=USER, n=2, stream=True)
        engine.step()
        assert next(iter(stream)).choices[0].delta.role == "assistant"
        assert engine.num_running == 2
        stream.close()
        wait_until(lambda: engine.num_running == 0)
    assert len(set(engine.aborted)) == 2

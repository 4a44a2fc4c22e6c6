"""langchain-openai: chat, streams, tools, structured output, completions and embeddings."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessageChunk, HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from pydantic import BaseModel

pytestmark = pytest.mark.client("langchain-openai", "langchain-openai")

CAPITAL = "What is the capital of France?"
WEATHER = "What is the weather in Paris?"


class Answer(BaseModel):
    """The answer to a sum."""

    result: int


@tool
def get_weather(city: str) -> str:
    """Get the weather of a city."""
    return f"sunny, 21 degrees in {city}"


@pytest.fixture
def chat(chat_url: str) -> Any:
    return ChatOpenAI(
        base_url=f"{chat_url}/v1", api_key="none", model="tgi", temperature=0, max_retries=0
    )


def test_chat(chat: Any) -> None:
    answer = chat.invoke(CAPITAL)
    assert "Paris" in answer.content
    assert answer.usage_metadata["output_tokens"] > 0
    assert answer.response_metadata["finish_reason"] == "stop"


def test_streamed_chat(chat: Any) -> None:
    pieces = list(chat.stream(CAPITAL, stream_usage=True))
    assert "".join(piece.content for piece in pieces) == chat.invoke(CAPITAL).content
    assert any(piece.usage_metadata for piece in pieces)


def test_batch(chat: Any) -> None:
    france, spain = chat.batch([CAPITAL, "What is the capital of Spain?"])
    assert "Paris" in france.content and "Madrid" in spain.content


def test_log_probabilities(chat: Any) -> None:
    told = chat.bind(logprobs=True, top_logprobs=2).invoke(CAPITAL).response_metadata["logprobs"]
    assert "".join(entry["token"] for entry in told["content"]).startswith("The capital of France")
    assert all(len(entry["top_logprobs"]) == 2 for entry in told["content"])


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
def test_structured_output(chat: Any, method: str) -> None:
    answer = chat.with_structured_output(Answer, method=method).invoke("What is 2 plus 2?")
    assert isinstance(answer, Answer)


def test_tools(chat: Any) -> None:
    bound = chat.bind_tools([get_weather])
    messages: list[Any] = [HumanMessage(WEATHER)]
    messages.append(bound.invoke(messages))
    assert [call["args"] for call in messages[-1].tool_calls] == [{"city": "Paris"}]
    messages += [get_weather.invoke(call) for call in messages[-1].tool_calls]
    assert "sunny" in bound.invoke(messages).content


def test_streamed_tools(chat: Any) -> None:
    whole = AIMessageChunk(content="")
    for piece in chat.bind_tools([get_weather], tool_choice="required").stream(WEATHER):
        whole += piece
    assert [(call["name"], call["args"]) for call in whole.tool_calls] == [
        ("get_weather", {"city": "Paris"})
    ]


def test_responses(chat_url: str) -> None:
    chat = ChatOpenAI(
        base_url=f"{chat_url}/v1", api_key="none", model="tgi", use_responses_api=True
    )
    assert "Paris" in chat.invoke(CAPITAL).text
    assert "Paris" in "".join(piece.text for piece in chat.stream(CAPITAL))


def test_completion(chat_url: str) -> None:
    model = OpenAI(
        base_url=f"{chat_url}/v1", api_key="none", model="tgi", max_tokens=4, temperature=0
    )
    whole = model.invoke("The capital of France is")
    assert "Paris" in whole
    assert "".join(model.stream("The capital of France is")) == whole


def test_embeddings(embed_url: str) -> None:
    # langchain counts tokens with OpenAI's own vocabularies, which it would have to download.
    model = OpenAIEmbeddings(
        base_url=f"{embed_url}/v1",
        api_key="none",
        model="minilm",
        check_embedding_ctx_length=False,
    )
    one = model.embed_query("Paris")
    assert len(one) == 384
    assert model.embed_documents(["London", "Paris"])[1] == pytest.approx(one, abs=1e-6)

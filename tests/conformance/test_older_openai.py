"""The openai package one major version back, which many applications still have."""

from __future__ import annotations

from typing import Any

import pytest
from openai import OpenAI
from pydantic import BaseModel

pytestmark = pytest.mark.client("openai-python, a major version back", "openai")

CAPITAL: list[Any] = [{"role": "user", "content": "What is the capital of France?"}]


class Answer(BaseModel):
    result: int


@pytest.fixture
def client(chat_url: str) -> OpenAI:
    return OpenAI(base_url=f"{chat_url}/v1", api_key="none", max_retries=0)


def test_chat_streamed_and_not(client: OpenAI) -> None:
    whole = client.chat.completions.create(model="tgi", messages=CAPITAL).choices[0].message.content
    assert whole and "Paris" in whole
    stream = client.chat.completions.create(model="tgi", messages=CAPITAL, stream=True)
    assert "".join(piece.choices[0].delta.content or "" for piece in stream) == whole


def test_parse(client: OpenAI) -> None:
    answer = client.chat.completions.parse(model="tgi", messages=CAPITAL, response_format=Answer)
    assert isinstance(answer.choices[0].message.parsed, Answer)


def test_responses_streamed_and_not(client: OpenAI) -> None:
    whole = client.responses.create(model="tgi", input=CAPITAL).output_text
    assert "Paris" in whole
    with client.responses.stream(model="tgi", input=CAPITAL) as stream:
        assert stream.get_final_response().output_text == whole


def test_embeddings(embed_url: str) -> None:
    client = OpenAI(base_url=f"{embed_url}/v1", api_key="none", max_retries=0)
    answer = client.embeddings.create(model="minilm", input=["London", "Paris"])
    assert [len(item.embedding) for item in answer.data] == [384, 384]

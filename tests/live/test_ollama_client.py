"""The ollama Python client against the shipped model."""

from __future__ import annotations

import json
from collections.abc import Iterator

import ollama
import pytest

from tests.live.conftest import ANSWER_S, Live
from tests.live.test_openai_python import CAPITAL, user

pytestmark = pytest.mark.client("ollama-python", "ollama")


@pytest.fixture
def client(live: Live) -> Iterator[ollama.Client]:
    with ollama.Client(live.url, timeout=ANSWER_S) as made:
        yield made


def get_weather(city: str) -> str:
    """Get the weather of a city.

    Args:
        city: The city.
    """
    return f"sunny, 21 degrees in {city}"


def test_chat_streamed_and_not(client: ollama.Client) -> None:
    whole = client.chat("tiny-chat", user(CAPITAL)).message.content
    assert whole and "Paris" in whole
    pieces = list(client.chat("tiny-chat:latest", user(CAPITAL), stream=True))
    assert "".join(piece.message.content or "" for piece in pieces) == whole
    assert pieces[-1].done_reason == "stop"


def test_generate_streamed_and_not(client: ollama.Client) -> None:
    whole = client.generate("tiny-chat", CAPITAL)
    assert "Paris" in (whole.response or "")
    pieces = client.generate("tiny-chat", CAPITAL, stream=True)
    assert "".join(piece.response or "" for piece in pieces) == whole.response


def test_a_python_function_as_a_tool(client: ollama.Client) -> None:
    messages = user("What is the weather in Paris?")
    message = client.chat("tiny-chat", messages, tools=[get_weather]).message
    (call,) = message.tool_calls or ()
    result = get_weather(**call.function.arguments)
    told = {"role": "tool", "tool_name": call.function.name, "content": result}
    answer = client.chat("tiny-chat", [*messages, message, told], tools=[get_weather])
    assert "sunny" in (answer.message.content or "")


def test_a_schema_as_format(client: ollama.Client) -> None:
    schema = {
        "type": "object",
        "properties": {"result": {"type": "integer", "minimum": 0, "maximum": 99}},
        "required": ["result"],
        "additionalProperties": False,
    }
    answer = client.chat("tiny-chat", user("What is 2 plus 2?"), format=schema)
    assert 0 <= json.loads(answer.message.content or "")["result"] <= 99


def test_models_are_listed_and_shown(client: ollama.Client) -> None:
    assert [model.model for model in client.list().models] == ["tiny-chat:latest"]
    assert "tools" in (client.show("tiny-chat").capabilities or ())
    assert client.ps().models[0].context_length == 2048

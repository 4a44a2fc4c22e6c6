"""The helpers of the official Python client: tools that are run, parsed calls, responses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from openai import OpenAI, pydantic_function_tool
from openai.lib.responses_tool_runner import RegisteredFunction, ResponsesToolRunner
from pydantic import BaseModel, Field

from tests.live.conftest import Live
from tests.live.test_openai_python import CAPITAL, user

pytestmark = pytest.mark.client("openai-python", "openai")

WEATHER = "What is the weather in Paris?"
SUNNY = "sunny, 21 degrees"
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
ABOUT = "Get the weather of a city."
TOOL: Any = {
    "type": "function",
    "name": "get_weather",
    "description": ABOUT,
    "parameters": PARAMETERS,
    "strict": True,
}


class Sum(BaseModel):
    result: int = Field(ge=0, le=99)


class GetWeather(BaseModel):
    """Get the weather of a city."""

    city: str


@pytest.fixture
def client(live: Live) -> Iterator[OpenAI]:
    with live.client() as client:
        yield client


def test_a_call_its_result_and_the_answer(client: OpenAI) -> None:
    function = {"name": "get_weather", "description": ABOUT, "parameters": PARAMETERS}
    tools: Any = [{"type": "function", "function": function}]
    messages = user(WEATHER)
    called = client.chat.completions.create(model="tgi", messages=messages, tools=tools)
    message = called.choices[0].message
    calls: list[Any] = message.tool_calls or []
    (call,) = calls
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    result = {"role": "tool", "tool_call_id": call.id, "content": SUNNY}
    messages += [message.model_dump(exclude_none=True), result]
    answer = client.chat.completions.create(model="tgi", messages=messages, tools=tools)
    assert "sunny" in (answer.choices[0].message.content or "")
    assert answer.choices[0].finish_reason == "stop"


def test_parsed_calls_streamed_and_not(client: OpenAI) -> None:
    tools = [pydantic_function_tool(GetWeather, name="get_weather")]
    whole = client.chat.completions.parse(model="tgi", messages=user(WEATHER), tools=tools)
    with client.chat.completions.stream(model="tgi", messages=user(WEATHER), tools=tools) as stream:
        events = [event.type for event in stream]
        final = stream.get_final_completion()
    assert events.count("tool_calls.function.arguments.done") == 1
    for answer in (whole, final):
        calls: list[Any] = answer.choices[0].message.tool_calls or []
        (call,) = calls
        assert call.function.parsed_arguments == GetWeather(city="Paris")


def test_responses_streamed_and_not(client: OpenAI) -> None:
    whole = client.responses.create(model="tgi", input=CAPITAL)
    assert "Paris" in whole.output_text
    assert whole.usage and whole.usage.input_tokens_details.cached_tokens >= 0
    with client.responses.stream(model="tgi", input=CAPITAL) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert [event.sequence_number for event in events] == list(range(len(events)))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == final.output_text == whole.output_text


def test_a_parsed_response(client: OpenAI) -> None:
    answer = client.responses.parse(
        model="tgi", input="What is 2 plus 2?", text_format=Sum, max_output_tokens=100
    )
    assert isinstance(answer.output_parsed, Sum)


@pytest.mark.parametrize("stream", [False, True])
def test_the_runner_of_tools_runs_them(client: OpenAI, stream: bool) -> None:
    asked: list[dict[str, object]] = []

    def get_weather(arguments: dict[str, object]) -> str:
        asked.append(arguments)
        return SUNNY

    runner = ResponsesToolRunner(functions=[RegisteredFunction(TOOL, get_weather)])
    answer = runner.run(
        client,
        {"model": "tgi", "input": WEATHER},
        max_steps=3,
        stream=stream,
    )
    assert asked == [{"city": "Paris"}]
    assert "sunny" in answer.output_text

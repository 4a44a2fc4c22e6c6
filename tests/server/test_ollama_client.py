"""The ollama Python client against a live server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import ollama
import pytest

from tests.server.apps import live
from tests.text_fakes import ScriptedEngine

SAID = "Paris é 👨‍👩‍👧\u2028\x85!"
USER = [{"role": "user", "content": "hi"}]
CALL = '<tool_call>{"name": "add", "arguments": {"a": 1, "b": 2}}</tool_call>'


@contextmanager
def client_of(engine: ScriptedEngine) -> Iterator[ollama.Client]:
    with live(engine) as address, ollama.Client(address, timeout=20) as made:
        yield made


@pytest.fixture(scope="module")
def made() -> Iterator[ollama.Client]:
    with client_of(ScriptedEngine(SAID.encode(), chunks=(2,))) as client:
        yield client


def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: The first.
        b: The second.
    """
    return a + b


def test_generate_whole_and_streamed(made: ollama.Client) -> None:
    whole = made.generate("tiny", "hi", options={"temperature": 0})
    assert (whole.response, whole.done_reason) == (SAID, "stop")
    assert whole.eval_count == len(SAID.encode()) + 1
    pieces = list(made.generate("tiny", "hi", stream=True))
    assert "".join(piece.response or "" for piece in pieces) == SAID
    assert pieces[-1].done and pieces[-1].context == whole.context


def test_chat_whole_and_streamed(made: ollama.Client) -> None:
    assert made.chat("tiny:latest", USER).message.content == SAID
    pieces = list(made.chat("tiny", USER, stream=True))
    assert "".join(piece.message.content or "" for piece in pieces) == SAID


def test_functions_as_tools_and_their_answers() -> None:
    with client_of(ScriptedEngine(CALL.encode())) as made:
        answer = made.chat("tiny", USER, tools=[add])
        (call,) = answer.message.tool_calls or ()
        assert (call.function.name, add(**call.function.arguments)) == ("add", 3)
        result = {"role": "tool", "tool_name": "add", "content": "3"}
        assert made.chat("tiny", [*USER, answer.message, result]).done


def test_models_are_listed_shown_and_running(made: ollama.Client) -> None:
    assert [model.model for model in made.list().models] == ["tiny:latest", "small:latest"]
    assert made.show("tiny").capabilities == ["completion", "tools"]
    assert made.ps().models[0].context_length == 4096


def test_errors_are_told(made: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError, match="not found") as caught:
        made.chat("gpt-0", USER)
    assert caught.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="'not' at #"):
        list(made.generate("tiny", "hi", format={"not": {}}, stream=True))
    with pytest.raises(ollama.ResponseError, match="jaxserve serve MODEL"):
        made.pull("llama3")


def test_failure_in_a_stream_is_raised() -> None:
    with client_of(ScriptedEngine(b"abcdef", fail_at=3)) as made:
        with pytest.raises(ollama.ResponseError, match="internal error"):
            list(made.generate("tiny", "hi", stream=True))

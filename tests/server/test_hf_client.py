"""huggingface_hub's InferenceClient against a live server, as users of TGI have it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import (
    HfHubHTTPError,
    OverloadedError,
    ValidationError,
)

from jaxserve.errors import EngineBusy
from tests.server.apps import live
from tests.text_fakes import ScriptedEngine

SAID = "Paris é 👨‍👩‍👧\u2028\x85!"


@pytest.fixture(scope="module")
def hf() -> Iterator[InferenceClient]:
    with live(ScriptedEngine(SAID.encode(), chunks=(2,))) as address:
        yield InferenceClient(address, timeout=20)


def test_text_generation_as_text_and_with_details(hf: InferenceClient) -> None:
    assert hf.text_generation("hi", return_full_text=False) == SAID
    assert hf.text_generation("hi") == "hi" + SAID
    output = hf.text_generation("hi", details=True, stop=["é"], do_sample=True, seed=3)
    assert output.generated_text == "hiParis é"
    assert output.details is not None
    assert (output.details.finish_reason, output.details.seed) == ("stop_sequence", 3)
    assert output.details.generated_tokens == len(output.details.tokens)


def test_streamed_text_generation_as_text_and_with_details(hf: InferenceClient) -> None:
    assert "".join(hf.text_generation("hi", stream=True)) == SAID + "</s>"
    got = list(hf.text_generation("hi", stream=True, details=True, max_new_tokens=9))
    assert [event.index for event in got] == list(range(1, 10))
    assert got[-1].generated_text is not None and got[-1].details is not None
    assert (got[-1].details.finish_reason, got[-1].details.input_length) == ("length", 3)


def test_chat_completion_whole_and_streamed(hf: InferenceClient) -> None:
    messages = [{"role": "user", "content": "hi"}]
    assert hf.chat_completion(messages).choices[0].message.content == SAID
    events = hf.chat_completion(messages, stream=True)
    assert "".join(event.choices[0].delta.content or "" for event in events) == SAID


def test_endpoint_is_healthy_and_tells_what_it_is(hf: InferenceClient) -> None:
    probe = InferenceClient(hf.model, provider="hf-inference", timeout=20)
    assert probe.health_check()
    assert probe.get_endpoint_info()["model_id"] == "org/tiny-hub"


@pytest.mark.parametrize("stream", [True, False])
def test_refused_parameter_is_named(hf: InferenceClient, stream: bool) -> None:
    with pytest.raises((ValidationError, HfHubHTTPError), match="top_p"):
        list(hf.text_generation("hi", top_p=2.0, stream=stream))


def test_full_queue_is_an_error_that_names_it() -> None:
    with live(ScriptedEngine(b"a", refuse=EngineBusy("the queue is full"))) as address:
        with pytest.raises((OverloadedError, HfHubHTTPError), match="overloaded"):
            InferenceClient(address, timeout=20).text_generation("hi")

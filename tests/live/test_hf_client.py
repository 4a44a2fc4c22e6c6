"""huggingface_hub's InferenceClient against the shipped model, as users of TGI have it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from huggingface_hub import InferenceClient

from tests.live.conftest import ANSWER_S, Live
from tests.live.test_openai_python import CAPITAL, user

pytestmark = pytest.mark.client("huggingface_hub", "huggingface_hub")


@pytest.fixture
def hf(live: Live) -> Iterator[InferenceClient]:
    with InferenceClient(live.url, provider="hf-inference", timeout=ANSWER_S) as client:
        yield client


def test_chat_completion_streamed_and_not(hf: InferenceClient) -> None:
    whole = hf.chat_completion(user(CAPITAL)).choices[0].message.content
    assert whole and "Paris" in whole
    events = hf.chat_completion(user(CAPITAL), stream=True)
    assert "".join(event.choices[0].delta.content or "" for event in events) == whole


def test_chat_completion_held_to_a_schema(hf: InferenceClient) -> None:
    schema = {
        "type": "object",
        "properties": {"result": {"type": "integer", "minimum": 0, "maximum": 99}},
        "required": ["result"],
        "additionalProperties": False,
    }
    form: Any = {"type": "json_schema", "json_schema": {"name": "sum", "schema": schema}}
    answer = hf.chat_completion(user("What is 2 plus 2?"), response_format=form)
    assert 0 <= json.loads(answer.choices[0].message.content or "")["result"] <= 99


def test_text_generation_streamed_with_details(hf: InferenceClient) -> None:
    asked: dict[str, Any] = {"max_new_tokens": 4, "details": True, "return_full_text": False}
    prompt = "The capital of France is"
    events = list(hf.text_generation(prompt, stream=True, top_n_tokens=2, **asked))
    whole = hf.text_generation(prompt, **asked)
    assert "Paris" in whole.generated_text
    assert events[-1].generated_text == whole.generated_text
    assert whole.details is not None and events[-1].details is not None
    assert [event.token.id for event in events] == [token.id for token in whole.details.tokens]
    assert all(event.top_tokens and len(event.top_tokens) == 2 for event in events)
    assert events[-1].details.finish_reason == whole.details.finish_reason
    assert events[-1].details.generated_tokens == len(events)


def test_health_check_and_endpoint_info(hf: InferenceClient) -> None:
    assert hf.health_check()
    assert hf.get_endpoint_info()["max_total_tokens"] == 2048

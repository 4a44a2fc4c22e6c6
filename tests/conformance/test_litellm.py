"""litellm, which reaches us as OpenAI, as vLLM, as TGI and as Ollama."""

from __future__ import annotations

from typing import Any

import litellm
import pytest

pytestmark = pytest.mark.client("litellm", "litellm")

CAPITAL = [{"role": "user", "content": "What is the capital of France?"}]
WEATHER = [{"role": "user", "content": "What is the weather in Paris?"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
# litellm's name of the model, and the path that it wants after the address
CHATS = [
    ("openai/tgi", "/v1"),
    ("hosted_vllm/tiny-chat", "/v1"),
    ("huggingface/tgi", ""),
    ("ollama_chat/tiny-chat", ""),
    ("ollama/tiny-chat", ""),
]


def ask(url: str, messages: list[dict[str, str]], **options: Any) -> Any:
    options = {"max_retries": 0, "api_key": "none", "temperature": 0} | options
    return litellm.completion(api_base=url, messages=messages, **options)


@pytest.mark.parametrize(("model", "path"), CHATS)
def test_chat(chat_url: str, model: str, path: str) -> None:
    answer = ask(chat_url + path, CAPITAL, model=model)
    assert "Paris" in answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.completion_tokens > 0


@pytest.mark.parametrize(("model", "path"), CHATS)
def test_streamed_chat(chat_url: str, model: str, path: str) -> None:
    pieces = list(ask(chat_url + path, CAPITAL, model=model, stream=True))
    assert "Paris" in "".join(piece.choices[0].delta.content or "" for piece in pieces)
    assert pieces[-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize(
    ("model", "path"), [("hosted_vllm/tiny-chat", "/v1"), ("ollama_chat/tiny-chat", "")]
)
def test_tools(chat_url: str, model: str, path: str) -> None:
    (call,) = ask(chat_url + path, WEATHER, model=model, tools=[TOOL]).choices[0].message.tool_calls
    assert (call.function.name, call.function.arguments) == ("get_weather", '{"city": "Paris"}')


def test_completion(chat_url: str) -> None:
    answer = litellm.text_completion(
        model="text-completion-openai/tgi",
        api_base=f"{chat_url}/v1",
        api_key="none",
        prompt="The capital of France is",
        max_tokens=4,
    )
    assert "Paris" in answer.choices[0].text


def test_responses(chat_url: str) -> None:
    answer = litellm.responses(
        model="openai/tgi", api_base=f"{chat_url}/v1", api_key="none", input=CAPITAL[0]["content"]
    )
    assert "Paris" in answer.output[0].content[0].text


def test_a_prompt_that_is_too_long_is_told_by_its_class(chat_url: str) -> None:
    long = [{"role": "user", "content": "hello " * 5000}]
    with pytest.raises(litellm.ContextWindowExceededError):
        ask(f"{chat_url}/v1", long, model="openai/tgi")


@pytest.mark.parametrize("model", ["openai/minilm", "hosted_vllm/minilm"])
def test_embeddings(embed_url: str, model: str) -> None:
    answer = litellm.embedding(
        model=model, api_base=f"{embed_url}/v1", api_key="none", input=["London", "Paris"]
    )
    assert [len(item["embedding"]) for item in answer.data] == [384, 384]


def test_rerank(embed_url: str) -> None:
    answer = litellm.rerank(
        model="hosted_vllm/minilm",
        api_base=embed_url,
        api_key="none",
        query="the capital of France",
        documents=["A cat sat.", "Paris is the capital of France."],
    )
    assert [result["index"] for result in answer.results] == [1, 0]

"""The commands that the manuals of TGI, vLLM and Ollama begin with, with the address changed."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.live.conftest import Live

pytestmark = pytest.mark.client("curl", "command:curl")

CAPITAL = [{"role": "user", "content": "What is the capital of France?"}]
PROMPT = "The capital of France is"


def curl(url: str, body: dict[str, Any], *options: str) -> str:
    command = ["curl", "-sS", "--fail-with-body", "-N", url, "-d", json.dumps(body), *options]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def data_of(stream: str) -> list[str]:
    """What the events of a stream hold, in order."""
    return [line.removeprefix("data:").strip() for line in stream.splitlines() if line]


def test_chat_streamed_and_not(live: Live) -> None:
    url = f"{live.url}/v1/chat/completions"
    typed = ("-X", "POST", "-H", "Content-Type: application/json")
    body = {"model": "tgi", "messages": CAPITAL, "max_tokens": 20}
    whole = json.loads(curl(url, {**body, "stream": False}, *typed))["choices"][0]["message"]
    assert "Paris" in whole["content"]
    *events, end = data_of(curl(url, {**body, "stream": True}, *typed))
    assert end == "[DONE]"
    deltas = [json.loads(event)["choices"][0]["delta"] for event in events]
    assert "".join(delta.get("content") or "" for delta in deltas) == whole["content"]


def test_a_body_without_a_content_type(live: Live) -> None:
    told = json.loads(curl(f"{live.url}/v1/chat/completions", {"messages": CAPITAL}))
    assert "Paris" in told["choices"][0]["message"]["content"]


def test_completion_with_a_bearer_token_that_nobody_asked_for(live: Live) -> None:
    body = {"model": "tiny-chat", "prompt": PROMPT, "max_tokens": 4, "temperature": 0}
    told = curl(f"{live.url}/v1/completions", body, "-H", "Authorization: Bearer EMPTY")
    assert "Paris" in json.loads(told)["choices"][0]["text"]


def test_generate_streamed_and_not(live: Live) -> None:
    body = {"inputs": PROMPT, "parameters": {"max_new_tokens": 4}}
    whole = json.loads(curl(f"{live.url}/generate", body))["generated_text"]
    assert "Paris" in whole
    events = [json.loads(event) for event in data_of(curl(f"{live.url}/generate_stream", body))]
    assert events[-1]["generated_text"] == whole
    assert "".join(e["token"]["text"] for e in events if not e["token"]["special"]) == whole
    (told,) = json.loads(curl(live.url, body))
    assert told["generated_text"] == PROMPT + whole


def test_ollamas_chat_streamed_and_not(live: Live) -> None:
    url = f"{live.url}/api/chat"
    whole = json.loads(curl(url, {"model": "tiny-chat", "messages": CAPITAL, "stream": False}))
    assert "Paris" in whole["message"]["content"]
    lines = curl(url, {"model": "tiny-chat", "messages": CAPITAL}).splitlines()
    told = [json.loads(line)["message"]["content"] for line in lines]
    assert "".join(told) == whole["message"]["content"]


def test_refusals_name_the_parameter(live: Live) -> None:
    url = f"{live.url}/v1/chat/completions"
    command = ["curl", "-sS", "-w", "\n%{http_code}", url, "-d", '{"messages": "hi"}']
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    body, _, status = done.stdout.rpartition("\n")
    assert status == "400"
    assert json.loads(body)["error"]["param"] == "messages"

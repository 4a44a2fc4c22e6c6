"""However output arrives, a streamed answer adds up to the whole one, in every dialect."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from tests.server.apps import MESSAGES, bare_events, client
from tests.text_fakes import ScriptedEngine

CALL = '<tool_call>{"name": "add", "arguments": {"a": "é\\u00e9", "b": [1, {}]}}</tool_call>'
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {}}}]

PIECES = st.sampled_from(
    [CALL, CALL[:-9], "<tool_call>", "{", "é", "👨‍👩‍👧", " ", "\u2028", "stop", "a"]
)
SAID = st.lists(PIECES, min_size=1, max_size=6).map("".join)
CHUNKS = st.lists(st.integers(1, 40), min_size=1, max_size=4)
LENGTHS = st.integers(1, 200)


@settings(max_examples=25, deadline=None)
@given(said=SAID, chunks=CHUNKS, length=LENGTHS)
def test_tgi(said: str, chunks: list[int], length: int) -> None:
    parameters = {"details": True, "max_new_tokens": length, "stop": ["stop", "p{"]}
    body = {"inputs": "hi", "parameters": parameters}
    with client(ScriptedEngine(said.encode(), chunks=chunks)) as c:
        whole = c.post("/generate", json=body).json()
        streamed = bare_events(c.post("/generate_stream", json=body).text)
    details = whole["details"]
    assert streamed[-1]["generated_text"] == whole["generated_text"]
    assert [event["token"] for event in streamed] == details["tokens"]
    for name in ("finish_reason", "generated_tokens", "seed"):
        assert streamed[-1]["details"][name] == details[name]


@settings(max_examples=25, deadline=None)
@given(said=SAID, chunks=CHUNKS, length=LENGTHS, with_tools=st.booleans())
def test_ollama(said: str, chunks: list[int], length: int, with_tools: bool) -> None:
    body = {
        "messages": MESSAGES,
        "tools": TOOLS if with_tools else [],
        "options": {"num_predict": length, "stop": ["stop", "p{"]},
        "logprobs": True,
    }
    with client(ScriptedEngine(said.encode(), chunks=chunks)) as c:
        whole = c.post("/api/chat", json={**body, "stream": False}).json()
        *lines, last = streamed(c, body)
    messages = [line["message"] for line in lines]
    assert "".join(message["content"] for message in messages) == whole["message"]["content"]
    calls = [call for message in messages for call in message.get("tool_calls", [])]
    assert calls == whole["message"].get("tool_calls", [])
    assert [entry for line in lines for entry in line.get("logprobs", [])] == whole["logprobs"]
    for name in ("done_reason", "eval_count", "prompt_eval_count"):
        assert last[name] == whole[name]


def streamed(c: TestClient, body: dict[str, Any]) -> list[Any]:
    return [json.loads(line) for line in c.post("/api/chat", json=body).text.splitlines()]

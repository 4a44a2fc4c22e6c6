"""Markers that are special tokens are read, other special tokens stay hidden, and both are asked of
a model that must call.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from jaxserve.text.formats.harmony import HARMONY, HARMONY_ANALYSIS
from jaxserve.text.formats.mistral import MISTRAL_ARGS, MISTRAL_THINK
from jaxserve.text.formats.table import Formats
from tests.server.apps import CHAT, MESSAGES, client, events
from tests.text_fakes import MarkerTokenizer, ScriptedEngine, limits

TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"]},
    },
}
HARMONY_MARKERS = ("<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", "<|call|>")
MISTRAL_MARKERS = ("[TOOL_CALLS]", "[ARGS]", "[THINK]", "[/THINK]", "[HIDDEN]")

CASES: dict[str, tuple[Formats, tuple[str, ...], str]] = {
    "harmony": (
        Formats(tools=HARMONY, reasoning=HARMONY_ANALYSIS),
        HARMONY_MARKERS,
        "<|channel|>analysis<|message|>Hm é<|start|>assistant<|channel|>commentary "
        'to=functions.add <|constrain|>json<|message|>{"a": 1}<|call|>',
    ),
    "mistral": (
        Formats(tools=MISTRAL_ARGS, reasoning=MISTRAL_THINK),
        MISTRAL_MARKERS,
        '[THINK]Hm [HIDDEN]é[/THINK][HIDDEN][TOOL_CALLS]add[ARGS]{"a": 1}',
    ),
}


def ask(name: str, said: str, chunk: int, **body: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The whole answer's choice, and the message that the streamed one adds up to."""
    formats, markers, _ = CASES[name]
    tokenizer = MarkerTokenizer(markers)
    script = tokenizer.encode(said, add_special_tokens=False)
    engine = ScriptedEngine(script, chunks=(chunk,), limits=limits(vocab_size=tokenizer.vocab_size))
    request = {"messages": MESSAGES, "max_tokens": 200, **body}
    with client(engine, formats=formats, tokenizer=tokenizer) as c:
        whole = c.post(CHAT, json=request)
        assert whole.status_code == 200, whole.text
        told = events(c.post(CHAT, json={**request, "stream": True}).text)
    streamed: dict[str, str] = {}
    for delta in (event["choices"][0]["delta"] for event in told):
        for field in ("content", "reasoning"):
            streamed[field] = streamed.get(field, "") + delta.get(field, "")
    return whole.json()["choices"][0], streamed


@pytest.mark.parametrize("chunk", [1, 3, 1000])
@pytest.mark.parametrize("name", CASES)
def test_special_markers_are_read_and_others_hidden(name: str, chunk: int) -> None:
    choice, streamed = ask(name, CASES[name][2], chunk, tools=[TOOL])
    message = choice["message"]
    assert message["content"] is None and streamed["content"] == ""
    assert message["reasoning"] == streamed["reasoning"] == "Hm é"
    assert message["tool_calls"][0]["function"] == {"name": "add", "arguments": '{"a": 1}'}
    assert choice["finish_reason"] == "tool_calls"


def test_markers_of_calls_stay_hidden_where_none_are_read() -> None:
    choice, _ = ask("mistral", CASES["mistral"][2], 1)
    assert choice["message"]["content"] == 'add{"a": 1}'
    assert choice["message"]["reasoning"] == "Hm é"


@pytest.mark.parametrize(
    ("name", "begun"), [("harmony", "<|channel|>commentary to="), ("mistral", "No.")]
)
def test_a_forced_call_has_its_special_markers(name: str, begun: str) -> None:
    named = {"type": "function", "function": {"name": "add"}}
    choice, _ = ask(name, begun, 1, tools=[TOOL], tool_choice=named)
    (call,) = choice["message"]["tool_calls"]
    assert call["function"]["name"] == "add"
    assert json.loads(call["function"]["arguments"])["a"] in (1, 2)
    assert choice["message"]["content"] is None

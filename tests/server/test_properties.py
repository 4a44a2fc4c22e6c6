"""What holds for any script, chunking and body; TGI and Ollama streams: test_dialect_streams."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from jaxserve.errors import EngineBusy, EngineFailed
from jaxserve.server.ollama.schema import REFUSED as OLLAMA_REFUSED
from jaxserve.server.ollama.schema import OllamaChatBody, OllamaGenerateBody, Options
from jaxserve.server.refusals import CHAT as CHAT_REFUSED
from jaxserve.server.refusals import COMPLETIONS as COMPLETIONS_REFUSED
from jaxserve.server.schema import ChatBody, CompletionBody
from jaxserve.server.tgi.schema import GenerateBody, Parameters
from tests.server.apps import CHAT, MESSAGES, TEXT, bare_events, client, events
from tests.server.test_mutations import UNKNOWN, VALUES
from tests.text_fakes import ScriptedEngine

BOUNDED = settings(max_examples=30, deadline=None)

CALL = '<tool_call>{"name": "add", "arguments": {"a": "é\\u00e9", "b": [1, {}]}}</tool_call>'
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {}}}]
PIECES = st.sampled_from(
    [CALL, CALL[:-9], "<tool_call>", "{", "é", "👨‍👩‍👧", " ", "\u2028", "stop", "a", "<s>"]
)
SAID = st.lists(PIECES, min_size=1, max_size=6).map(lambda pieces: "".join(pieces).encode())
RAW = st.binary(min_size=1, max_size=40)
CHUNKS = st.lists(st.integers(0, 40), min_size=1, max_size=4).filter(any)

SHARED: dict[str, st.SearchStrategy[Any]] = {
    "n": st.integers(1, 3),
    "max_tokens": st.integers(1, 200),
    "seed": st.integers(0, 9),
    "stop": st.sampled_from(["stop", "p{", ["é", "a "], ["\u2028"]]),
    "include_stop_str_in_output": st.booleans(),
    "stop_token_ids": st.sampled_from([[], [ord("a")], [ord("s"), 0xC3]]),
    "skip_special_tokens": st.booleans(),
    "return_token_ids": st.booleans(),
    "return_tokens_as_token_ids": st.booleans(),
}
CHAT_BODIES = st.fixed_dictionaries(
    {"messages": st.just(MESSAGES)},
    optional={
        **SHARED,
        "logprobs": st.just(True),
        "tools": st.just(TOOLS),
        "parallel_tool_calls": st.booleans(),
    },
)
TEXT_BODIES = st.fixed_dictionaries(
    {"prompt": st.sampled_from(["hi", ["hi", "é"], [104, 105]])},
    optional={**SHARED, "logprobs": st.integers(0, 3), "echo": st.booleans()},
)


def both(c: TestClient, path: str, body: dict[str, Any]) -> tuple[Any, list[Any], dict[str, Any]]:
    """The whole answer, the events of the streamed one, and the usage those end with."""
    whole = c.post(path, json=body)
    asks = {**body, "stream": True, "stream_options": {"include_usage": True}}
    told = c.post(path, json=asks)
    assert whole.status_code == told.status_code == 200, (whole.text, told.text)
    *pieces, last = events(told.text)
    return whole.json(), pieces, last["usage"]


def of_choice(pieces: list[Any], index: int) -> list[Any]:
    return [e["choices"][0] for e in pieces if e["choices"][0]["index"] == index]


def joined_calls(deltas: list[Any]) -> list[tuple[str, str, str]]:
    """The type, name and arguments of each call of a choice."""
    calls: dict[int, list[str]] = {}
    for part in (part for delta in deltas for part in delta.get("tool_calls", [])):
        call = calls.setdefault(part["index"], ["", "", ""])
        function = part.get("function", {})
        for at, more in enumerate((part.get("type"), function.get("name"), function["arguments"])):
            call[at] += more or ""
    return [(kind, name, arguments) for _, (kind, name, arguments) in sorted(calls.items())]


@BOUNDED
@given(said=SAID | RAW, chunks=CHUNKS, body=CHAT_BODIES)
def test_streamed_chat_adds_up_to_the_whole_one(
    said: bytes, chunks: list[int], body: dict[str, Any]
) -> None:
    with client(ScriptedEngine(said, chunks=chunks)) as c:
        whole, pieces, usage = both(c, CHAT, body)
    assert usage == whole["usage"]
    for choice in whole["choices"]:
        mine = of_choice(pieces, choice["index"])
        deltas = [piece["delta"] for piece in mine]
        message = choice["message"]
        said_whole = (message["content"] or "", message.get("tool_calls") or [])
        assert "".join(delta.get("content") or "" for delta in deltas) == said_whole[0]
        assert joined_calls(deltas) == [
            (call["type"], call["function"]["name"], call["function"]["arguments"])
            for call in said_whole[1]
        ]
        told = [entry for p in mine if p["logprobs"] for entry in p["logprobs"]["content"]]
        assert told == (choice["logprobs"] or {"content": []})["content"]
        ids = [token_id for piece in mine for token_id in piece.get("token_ids", [])]
        assert ids == choice.get("token_ids", [])
        for name in ("finish_reason", "stop_reason"):
            assert mine[-1][name] == choice[name]


@BOUNDED
@given(said=SAID | RAW, chunks=CHUNKS, body=TEXT_BODIES)
def test_streamed_completion_adds_up_to_the_whole_one(
    said: bytes, chunks: list[int], body: dict[str, Any]
) -> None:
    with client(ScriptedEngine(said, chunks=chunks)) as c:
        whole, pieces, usage = both(c, TEXT, body)
    assert usage == whole["usage"]
    for choice in whole["choices"]:
        mine = of_choice(pieces, choice["index"])
        assert "".join(piece["text"] for piece in mine) == choice["text"]
        for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
            told = [
                entry for piece in mine if piece["logprobs"] for entry in piece["logprobs"][name]
            ]
            assert told == (choice["logprobs"] or {name: []})[name]
        for name in ("finish_reason", "stop_reason"):
            assert mine[-1][name] == choice[name]


@BOUNDED
@given(said=RAW, chunks=CHUNKS, length=st.integers(1, 60))
def test_joined_token_bytes_are_the_bytes_of_the_text(
    said: bytes, chunks: list[int], length: int
) -> None:
    body = {"messages": MESSAGES, "logprobs": True, "max_tokens": length, "return_token_ids": True}
    with client(ScriptedEngine(said, chunks=chunks)) as c:
        choice = c.post(CHAT, json=body).json()["choices"][0]
    entries = choice["logprobs"]["content"]
    if choice["finish_reason"] == "stop":
        assert bytes(entries.pop()["bytes"]) == b"</s>"
    token_bytes = bytes(byte for entry in entries for byte in entry["bytes"])
    assert token_bytes == said[:length] == bytes(choice["token_ids"][: len(entries)])
    assert choice["message"]["content"] == token_bytes.decode(errors="replace")


def field_of(model: Any, refused: Any = ()) -> st.SearchStrategy[str]:
    names = [*model.model_fields, *(refusal.field for refusal in refused), *UNKNOWN]
    return st.sampled_from([name for name in names if not name.startswith("stream")])


def body_with(base: dict[str, Any], field: str, value: Any, *, under: str = "") -> dict[str, Any]:
    if under:
        return {**base, under: {**base[under], field: value}}
    return {**base, field: value}


VALUE = st.sampled_from([value for value in VALUES if value is not None])
GENERATE = {"inputs": "hi", "parameters": {"max_new_tokens": 4}}
OLLAMA_CHAT = {"messages": MESSAGES, "options": {"num_predict": 4}}
OLLAMA_TEXT = {"prompt": "hi", "options": {"num_predict": 4}}
OPENAI_CHAT = {"messages": MESSAGES, "max_tokens": 4}
OPENAI_TEXT = {"prompt": "hi", "max_tokens": 4}
# The path, a body that is answered, the fields to change, and what they are within.
CHANGED: dict[str, tuple[str, dict[str, Any], st.SearchStrategy[str], str]] = {
    "chat": (CHAT, OPENAI_CHAT, field_of(ChatBody, CHAT_REFUSED), ""),
    "completions": (TEXT, OPENAI_TEXT, field_of(CompletionBody, COMPLETIONS_REFUSED), ""),
    "generate": ("/generate", GENERATE, field_of(GenerateBody), ""),
    "parameters": ("/generate", GENERATE, field_of(Parameters), "parameters"),
    "api-chat": ("/api/chat", OLLAMA_CHAT, field_of(OllamaChatBody, OLLAMA_REFUSED), ""),
    "api-generate": (
        "/api/generate",
        OLLAMA_TEXT,
        field_of(OllamaGenerateBody, OLLAMA_REFUSED),
        "",
    ),
    "options": ("/api/generate", OLLAMA_TEXT, field_of(Options), "options"),
}


@pytest.fixture(scope="module")
def c() -> Iterator[TestClient]:
    with client(ScriptedEngine(b"ab")) as test_client:
        yield test_client


def statuses(c: TestClient, path: str, body: dict[str, Any]) -> tuple[int, int]:
    """The status of the whole and of the streamed answer; what is refused is told as JSON."""
    whole = c.post(path, json={**body, "stream": False})
    streamed_at = "/generate_stream" if path == "/generate" else path
    told = c.post(streamed_at, json={**body, "stream": True})
    for answer in (whole, told):
        is_json = answer.headers["content-type"] == "application/json"
        assert answer.status_code == 200 or (is_json and answer.json()["error"]), answer.text
    assert told.status_code != 200 or '"error"' not in told.text, told.text
    return whole.status_code, told.status_code


@pytest.mark.parametrize("which", CHANGED)
def test_what_is_refused_whole_is_refused_streamed_with_the_same_status(
    c: TestClient, which: str
) -> None:
    path, base, fields, under = CHANGED[which]

    @BOUNDED
    @given(field=fields, value=VALUE)
    def check(field: str, value: Any) -> None:
        whole, streamed = statuses(c, path, body_with(base, field, value, under=under))
        assert whole < 500
        assert whole in (200, streamed)

    check()


@pytest.mark.parametrize(
    ("refuse", "status"), [(EngineBusy("full", retry_after_s=1.0), 429), (EngineFailed("x"), 503)]
)
@pytest.mark.parametrize(
    ("path", "body"), [(path, body) for path, body, _, under in CHANGED.values() if not under]
)
def test_what_the_engine_refuses_has_one_status_too(
    path: str, body: dict[str, Any], refuse: Exception, status: int
) -> None:
    with client(ScriptedEngine(b"ab", refuse=refuse)) as c:
        whole, streamed = statuses(c, path, body)
    ollama_says = 503  # it knows no other word for later
    assert whole == streamed == (ollama_says if path.startswith("/api/") else status)


@BOUNDED
@given(said=RAW, chunks=CHUNKS, length=st.integers(1, 60))
def test_tgi_stream_of_any_bytes_ends_with_the_whole_text(
    said: bytes, chunks: list[int], length: int
) -> None:
    body = {"inputs": "hi", "parameters": {"max_new_tokens": length}}
    with client(ScriptedEngine(said, chunks=chunks)) as c:
        whole = c.post("/generate", json=body).json()["generated_text"]
        told = bare_events(c.post("/generate_stream", json=body).text)
    assert told[-1]["generated_text"] == whole == said[:length].decode(errors="replace")

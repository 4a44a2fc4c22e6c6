"""What an operator may choose where TGI, vLLM and OpenAI differ: each switch, off and on."""

from __future__ import annotations

from typing import Any

import pytest

from jaxserve.config import ApiConfig
from tests.server.apps import CHAT, MESSAGES, TEXT, client, events
from tests.text_fakes import BOS, ScriptedEngine, limits

OPEN = [*MESSAGES, {"role": "assistant", "content": "He"}]
TOOLS = [{"type": "function", "function": {"name": "add"}}]
SMALL = limits(max_model_len=64)


def prompt_of(body: dict[str, Any], path: str = CHAT, **api: Any) -> str:
    """The text that the engine is asked to go on with."""
    engine = ScriptedEngine(b"a")
    with client(engine, api=ApiConfig(**api)) as c:
        response = c.post(path, json=body)
        assert response.status_code == 200, response.text
    return bytes(token for token in engine.submitted[0].prompt_ids if token != BOS).decode()


def max_tokens_of(body: dict[str, Any], path: str = CHAT, **api: Any) -> int:
    engine = ScriptedEngine(b"a", limits=SMALL)
    with client(engine, api=ApiConfig(**api)) as c:
        response = c.post(path, json=body)
        assert response.status_code == 200, response.text
    return engine.submitted[0].params.max_tokens


def refused(body: dict[str, Any], path: str = CHAT, **api: Any) -> tuple[int, str, str]:
    with client(ScriptedEngine(b"a", limits=SMALL), api=ApiConfig(**api)) as c:
        response = c.post(path, json=body)
    error = response.json()["error"]
    return response.status_code, error["param"], error["code"]


def test_an_open_answer_is_gone_on_with_only_if_tgi_is_to_be_had() -> None:
    assert prompt_of({"messages": OPEN}).endswith("assistant: He\nassistant: ")
    assert prompt_of({"messages": OPEN}, tgi_compat=True).endswith("assistant: He")
    assert prompt_of({"messages": MESSAGES}, tgi_compat=True).endswith("hi\nassistant: ")


@pytest.mark.parametrize("told", [{"continue_final_message": False}, {"add_generation_prompt": 1}])
def test_what_the_request_says_of_it_wins(told: dict[str, Any]) -> None:
    told = {name: bool(value) for name, value in told.items()}
    assert prompt_of({"messages": OPEN, **told}, tgi_compat=True).endswith("\nassistant: ")


def test_null_says_nothing_of_it() -> None:
    body = {"messages": OPEN, "continue_final_message": None}
    assert prompt_of(body, tgi_compat=True).endswith("assistant: He")


def test_echo_tells_the_open_answer_too() -> None:
    body = {"messages": OPEN, "continue_final_message": True, "echo": True, "n": 2}
    with client(ScriptedEngine(b"llo")) as c:
        whole = c.post(CHAT, json=body).json()["choices"]
        told = events(c.post(CHAT, json={**body, "stream": True}).text)
        alone = c.post(CHAT, json={"messages": OPEN, "echo": True})
    assert [choice["message"]["content"] for choice in whole] == ["Hello", "Hello"]
    first = [e["choices"][0]["delta"] for e in told if e["choices"][0]["index"] == 0]
    assert "".join(delta.get("content", "") for delta in first) == "Hello"
    assert (alone.status_code, alone.json()["error"]["param"]) == (400, "echo")


@pytest.mark.parametrize("path", [CHAT, TEXT])
def test_too_large_a_limit_is_refused_or_cut(path: str) -> None:
    body = {"messages": MESSAGES, "prompt": "hi", "max_tokens": 1000}
    assert refused(body, path) == (400, "max_tokens", "context_length_exceeded")
    free = max_tokens_of({**body, "max_tokens": None}, CHAT)
    assert max_tokens_of(body, path, clamp_max_tokens=True) == (free if path == CHAT else 61)
    assert max_tokens_of({**body, "max_tokens": 5}, path, clamp_max_tokens=True) == 5


def test_a_prompt_without_room_for_an_answer_is_refused_all_the_same() -> None:
    body = {"prompt": "x" * 64, "max_tokens": 1000}
    assert refused(body, TEXT, clamp_max_tokens=True)[:2] == (400, "prompt")


@pytest.mark.parametrize(
    ("path", "body", "most"),
    [
        (CHAT, {}, 9),
        (CHAT, {"max_tokens": 20}, 20),
        (TEXT, {}, 9),
        ("/generate", {}, 9),
        ("/generate", {"parameters": {"max_new_tokens": 20}}, 20),
        ("/api/chat", {}, 9),
        ("/api/chat", {"options": {"num_predict": 20}}, 20),
    ],
)
def test_an_operator_says_how_long_answers_get(path: str, body: dict[str, Any], most: int) -> None:
    body = {"messages": MESSAGES, "prompt": "hi", "inputs": "hi", **body}
    assert max_tokens_of(body, path, default_max_tokens=9) == most
    assert max_tokens_of({"prompt": "hi"}, TEXT, default_max_tokens=30) == 16


def test_any_name_may_be_taken_for_the_model() -> None:
    body = {"messages": MESSAGES, "model": "gpt-4o"}
    assert refused(body) == (404, "model", "model_not_found")
    with client(ScriptedEngine(b"a"), api=ApiConfig(accept_any_model=True)) as c:
        assert c.post(CHAT, json=body).json()["model"] == "tiny"
        assert c.get("/v1/models/gpt-4o").json()["id"] == "tiny"
        assert c.post("/api/generate", json={**body, "prompt": "a"}).status_code == 200


@pytest.mark.parametrize("path", [CHAT, TEXT])
def test_usage_can_be_told_to_all_streams(path: str) -> None:
    body = {"messages": MESSAGES, "prompt": "hi", "stream": True}
    with client(ScriptedEngine(b"ab")) as c:
        assert "usage" not in events(c.post(path, json=body).text)[-1]
    with client(ScriptedEngine(b"ab"), api=ApiConfig(enable_force_include_usage=True)) as c:
        *pieces, last = events(c.post(path, json=body).text)
    assert last["choices"] == [] and last["usage"]["completion_tokens"] == 3
    assert all(piece["usage"] is None for piece in pieces)


def test_tools_that_may_not_be_called_can_be_left_out_of_the_prompt() -> None:
    body = {"messages": MESSAGES, "tools": TOOLS, "tool_choice": "none"}
    assert "tool: add" in prompt_of(body)
    assert "tool: add" not in prompt_of(body, exclude_tools_when_tool_choice_none=True)
    auto = {**body, "tool_choice": "auto"}
    assert "tool: add" in prompt_of(auto, exclude_tools_when_tool_choice_none=True)


def test_a_template_of_the_request_is_rendered_only_if_it_is_trusted() -> None:
    body = {"messages": MESSAGES, "chat_template": "theirs "}
    for path in (CHAT, "/tokenize", "/apply-template"):
        assert refused(body, path) == (400, "chat_template", "unsupported_parameter")
    assert prompt_of(body, trust_request_chat_template=True) == "theirs user: hi\n"
    with client(ScriptedEngine(b"a"), api=ApiConfig(trust_request_chat_template=True)) as c:
        assert c.post("/tokenize", json=body).json()["count"] == len("theirs user: hi\n")
        assert c.post("/apply-template", json=body).json() == {"prompt": "theirs user: hi\n"}


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (CHAT, {"response_format": {"type": "json_object"}}, "response_format"),
        (CHAT, {"tools": TOOLS, "tool_choice": "required"}, "tools"),
        (TEXT, {"guided_regex": "a+"}, "guided_regex"),
    ],
)
def test_without_grammars_a_form_is_refused_by_name(
    path: str, body: dict[str, Any], param: str
) -> None:
    body = {"messages": MESSAGES, "prompt": "hi", **body}
    assert refused(body, path, grammar_support=False) == (400, param, "unsupported_parameter")


def test_without_grammars_tgi_and_ollama_refuse_too() -> None:
    grammar = {"type": "regex", "value": "a+"}
    with client(ScriptedEngine(b"a"), api=ApiConfig(grammar_support=False)) as c:
        asked = {"inputs": "hi", "parameters": {"grammar": grammar}}
        assert c.post("/generate", json=asked).status_code == 422
        asked = {"prompt": "hi", "format": "json"}
        assert c.post("/api/generate", json=asked).status_code == 400
        assert c.post(CHAT, json={"messages": MESSAGES, "tools": TOOLS}).status_code == 200

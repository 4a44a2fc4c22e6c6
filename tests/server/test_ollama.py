"""Ollama's own routes: generation as lines and whole, and what its clients see of the models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from jaxserve.config import ServerConfig
from jaxserve.errors import EngineBusy
from tests.server.apps import MESSAGES, client
from tests.text_fakes import BOS, ScriptedEngine, limits

SAID = "Paris é 👨‍👩‍👧\u2028\x85!"
GENERATE = "/api/generate"
CHAT = "/api/chat"
CALL = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {}}}]
NUMBERS = {
    "total_duration",
    "load_duration",
    "prompt_eval_count",
    "prompt_eval_duration",
    "eval_count",
    "eval_duration",
}


@pytest.fixture(scope="module")
def c() -> Iterator[TestClient]:
    with client(ScriptedEngine(SAID.encode(), chunks=(2, 3))) as test_client:
        yield test_client


def ask(c: TestClient, path: str = GENERATE, **body: Any) -> Any:
    response = c.post(path, json={"model": "tiny", "stream": False, **body})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    return response.json()


def lines(c: TestClient, path: str = GENERATE, **body: Any) -> list[Any]:
    response = c.post(path, json={"model": "tiny", **body})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()]


def refusal(c: TestClient, path: str, **body: Any) -> tuple[int, str]:
    response = c.post(path, json={"model": "tiny", **body})
    told = response.json()
    assert set(told) == {"error"} and isinstance(told["error"], str)
    return response.status_code, told["error"]


def test_generate_streams_lines_and_ends_with_the_numbers(c: TestClient) -> None:
    *pieces, last = lines(c, prompt="hi")
    assert "".join(piece["response"] for piece in pieces) == SAID
    assert all(set(p) == {"model", "created_at", "response", "done"} for p in pieces)
    assert not any(piece["done"] for piece in pieces)
    assert (last["done"], last["done_reason"], last["response"]) == (True, "stop", "")
    assert NUMBERS < set(last)
    assert last["eval_count"] == len(SAID.encode()) + 1
    assert last["created_at"].endswith("Z") and last["total_duration"] > 0


def test_generate_whole_equals_the_stream(c: TestClient) -> None:
    options = {"num_predict": 9}
    whole = ask(c, prompt="hi", options=options)
    *pieces, last = lines(c, prompt="hi", options=options)
    assert whole["response"] == "".join(piece["response"] for piece in pieces)
    for name in ("done_reason", "context", "eval_count", "prompt_eval_count"):
        assert whole[name] == last[name]
    assert whole["done_reason"] == "length"


def test_prompt_goes_through_the_template_unless_raw() -> None:
    engine = ScriptedEngine(b"a")
    with client(engine) as c:
        ask(c, prompt="hi", system="be brief")
        raw = ask(c, prompt="hi", raw=True)
    templated, plain = (bytes(request.prompt_ids[1:]).decode() for request in engine.submitted)
    assert templated == "system: be brief\nuser: hi\nassistant: "
    assert plain == "hi" and "context" not in raw


def test_context_of_an_answer_continues_it() -> None:
    engine = ScriptedEngine(b"a")
    with client(engine) as c:
        context = ask(c, prompt="hi")["context"]
        ask(c, prompt="ho", context=context)
    second = engine.submitted[1].prompt_ids
    assert second[: len(context)] == tuple(context)
    assert second.count(BOS) == 1


def test_chat_streams_messages(c: TestClient) -> None:
    *pieces, last = lines(c, CHAT, messages=MESSAGES)
    assert "".join(piece["message"]["content"] for piece in pieces) == SAID
    assert {piece["message"]["role"] for piece in (*pieces, last)} == {"assistant"}
    assert (last["done"], last["done_reason"], last["message"]["content"]) == (True, "stop", "")
    assert NUMBERS < set(last) and "context" not in last
    assert ask(c, CHAT, messages=MESSAGES)["message"] == {"role": "assistant", "content": SAID}


@pytest.mark.parametrize("size", [1, 7, 200])
def test_tool_calls_have_objects_as_arguments(size: int) -> None:
    said = f"Well. {CALL}{CALL}"
    with client(ScriptedEngine(said.encode(), chunks=(size,))) as c:
        whole = ask(c, CHAT, messages=MESSAGES, tools=TOOLS)
        streamed = lines(c, CHAT, messages=MESSAGES, tools=TOOLS)
    call = {"function": {"name": "add", "arguments": {"a": 1}}}
    assert whole["message"] == {"role": "assistant", "content": "Well.", "tool_calls": [call] * 2}
    assert whole["done_reason"] == "stop"
    messages = [line["message"] for line in streamed]
    assert "".join(message["content"] for message in messages) == "Well."
    assert [call for m in messages for call in m.get("tool_calls", [])] == [call] * 2


def test_call_cut_short_is_content() -> None:
    with client(ScriptedEngine(CALL.encode())) as c:
        body = {"messages": MESSAGES, "tools": TOOLS, "options": {"num_predict": len(CALL) - 15}}
        whole = ask(c, CHAT, **body)
        streamed = lines(c, CHAT, **body)
    assert whole["message"] == {"role": "assistant", "content": CALL[:-15]}
    assert "".join(line["message"]["content"] for line in streamed) == CALL[:-15]
    assert whole["done_reason"] == "length"


def test_history_with_calls_and_answers_of_tools_is_read() -> None:
    engine = ScriptedEngine(b"a")
    call = {"function": {"name": "add", "arguments": {"a": 1}}}
    history = [
        *MESSAGES,
        {"role": "assistant", "content": "", "thinking": "hm", "tool_calls": [call]},
        {"role": "tool", "content": "2", "tool_name": "add", "images": []},
    ]
    with client(engine) as c:
        ask(c, CHAT, messages=history)
    assert b"tool: 2" in bytes(engine.submitted[0].prompt_ids[1:])


def test_logprobs_come_with_the_pieces() -> None:
    with client(ScriptedEngine(b"ab")) as c:
        whole = ask(c, CHAT, messages=MESSAGES, logprobs=True, top_logprobs=2)
        streamed = lines(c, GENERATE, prompt="a", logprobs=True)
    assert [entry["token"] for entry in whole["logprobs"]] == ["a", "b", "</s>"]
    assert [len(entry["top_logprobs"]) for entry in whole["logprobs"]] == [2, 2, 2]
    assert sum(len(line.get("logprobs", [])) for line in streamed) == 3


def test_options_become_sampling_params() -> None:
    engine = ScriptedEngine(b"a")
    options = {
        "temperature": 0.5,
        "top_k": 5,
        "top_p": 0.9,
        "min_p": 0.1,
        "repeat_penalty": 1.1,
        "presence_penalty": 0.2,
        "frequency_penalty": 0.3,
        "seed": 9,
        "num_predict": 7,
        "stop": ["x"],
    }
    with client(engine) as c:
        ask(c, prompt="hi", options=options)
    params = engine.submitted[0].params
    assert (params.temperature, params.top_k, params.top_p, params.min_p) == (0.5, 5, 0.9, 0.1)
    assert (params.repetition_penalty, params.presence_penalty) == (1.1, 0.2)
    assert (params.frequency_penalty, params.seed, params.max_tokens) == (0.3, 9, 7)


@pytest.mark.parametrize(("asked", "length"), [(None, 40), (-1, 60), (-2, 60), (50, 50)])
def test_num_predict_below_0_fills_the_context(asked: int | None, length: int) -> None:
    engine = ScriptedEngine(b"a", limits=limits(max_model_len=63))
    with client(engine, generation_config={"max_new_tokens": 40}) as c:
        ask(c, prompt="hi", raw=True, options={"num_predict": asked})
    assert engine.submitted[0].params.max_tokens == length


def test_unused_options_are_named_as_ignored(c: TestClient) -> None:
    options = {"num_ctx": 8192, "num_gpu": 1, "seed": 1}
    body = {"prompt": "a", "options": options, "keep_alive": "5m", "stream": False}
    headers = c.post(GENERATE, json=body).headers
    assert headers["x-jaxserve-ignored"] == "keep_alive, options.num_ctx, options.num_gpu"


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        (GENERATE, {}, {"response": ""}),
        (GENERATE, {"prompt": "", "stream": True}, {"response": ""}),
        (GENERATE, {"prompt": None, "keep_alive": -1}, {"response": ""}),
        (CHAT, {}, {"message": {"role": "assistant", "content": ""}}),
        (CHAT, {"messages": []}, {"message": {"role": "assistant", "content": ""}}),
    ],
)
def test_nothing_to_continue_asks_whether_the_model_is_loaded(
    c: TestClient, path: str, body: dict[str, Any], told: dict[str, Any]
) -> None:
    answer = ask(c, path, **body)
    assert answer.items() >= {**told, "done": True, "done_reason": "load"}.items()


@pytest.mark.parametrize("model", ["tiny", "tiny:latest", "small", "org/tiny-hub:latest"])
def test_a_name_is_the_name_with_latest(c: TestClient, model: str) -> None:
    assert ask(c, prompt="a", model=model)["model"] == model


def test_unknown_model_is_a_404(c: TestClient) -> None:
    for path in (GENERATE, CHAT, "/api/show"):
        assert refusal(c, path, model="gpt-0", messages=MESSAGES, prompt="a")[0] == 404


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"format": "yaml"}, "format"),
        ({"format": {"not": {}}}, "'not' at #"),
        ({"think": True}, "think"),
        ({"think": "high"}, "think"),
        ({"images": ["aGk="]}, "images"),
        ({"suffix": "x"}, "suffix"),
        ({"template": "x"}, "template"),
        ({"raw": True, "system": "x"}, "system"),
        ({"context": [99999]}, "context"),
        ({"options": 5}, "options"),
        ({"options": {"num_predict": 0}}, "num_predict"),
        ({"options": {"num_predict": -3}}, "num_predict"),
        ({"options": {"num_predict": "5"}}, "num_predict"),
        ({"options": {"temperature": -1}}, "temperature"),
        ({"options": {"typical_p": 1.5}}, "typical_p"),
        ({"options": {"mirostat": 1}}, "mirostat"),
        ({"stream": "no"}, "stream"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"prompt": "x" * 5000}, "maximum context length"),
    ],
)
def test_what_can_not_be_done_is_refused_by_name(
    c: TestClient, body: dict[str, Any], named: str
) -> None:
    status, message = refusal(c, GENERATE, **{"prompt": "a", **body})
    assert status == 400 and named in message


def test_images_in_messages_are_refused(c: TestClient) -> None:
    status, message = refusal(c, CHAT, messages=[*MESSAGES, {"role": "user", "images": ["x"]}])
    assert status == 400 and "messages[1].images" in message


def test_format_that_asks_for_nothing_passes(c: TestClient) -> None:
    assert ask(c, prompt="a", format="", think=False, images=[], suffix="")["done"]


def test_full_queue_is_a_503() -> None:
    with client(ScriptedEngine(b"a", refuse=EngineBusy("full", retry_after_s=2.0))) as c:
        assert refusal(c, GENERATE, prompt="a")[0] == 503


def test_failure_of_a_running_generation_is_a_500_or_a_line() -> None:
    with client(ScriptedEngine(b"abcdef", fail_at=3)) as c:
        assert refusal(c, GENERATE, prompt="a", stream=False)[0] == 500
    with client(ScriptedEngine(b"abcdef", fail_at=3)) as c:
        *pieces, last = lines(c, prompt="a")
    assert "".join(piece["response"] for piece in pieces) == "abc"
    assert set(last) == {"error"} and isinstance(last["error"], str)


def test_models_are_listed_shown_and_running(c: TestClient) -> None:
    tags, running = c.get("/api/tags").json()["models"], c.get("/api/ps").json()["models"]
    assert [entry["name"] for entry in tags] == ["tiny:latest", "small:latest"]
    assert tags[0]["details"] == {
        "parent_model": "",
        "format": "safetensors",
        "family": "llama",
        "families": ["llama"],
        "parameter_size": "6.10M",
        "quantization_level": "F32",
    }
    assert len(tags[0]["digest"]) == 64 and tags[0]["modified_at"] == "2023-11-14T22:13:20Z"
    assert running[0].items() > tags[0].items()
    assert (running[0]["size_vram"], running[0]["context_length"]) == (0, 4096)
    for body in ({"model": "tiny"}, {"name": "tiny:latest"}):
        shown = c.post("/api/show", json=body).json()
        assert shown["model_info"]["llama.context_length"] == 4096
        assert shown["capabilities"] == ["completion", "tools"]
        assert {"modelfile", "parameters", "template", "details"} < set(shown)


def test_version_answers_head_too(c: TestClient) -> None:
    assert set(c.get("/api/version").json()) == {"version"}
    assert c.head("/api/version").status_code == c.head("/api/tags").status_code == 200


def test_the_model_store_is_refused_clearly(c: TestClient) -> None:
    for name in ("pull", "push", "create", "copy"):
        assert refusal(c, f"/api/{name}")[0] == 400
    assert c.delete("/api/delete").status_code == 400
    for name in ("embed", "embeddings"):
        assert refusal(c, f"/api/{name}", input="a")[0] == 400


def test_keys_guard_generation_and_listings() -> None:
    with client(ScriptedEngine(b"a"), config=ServerConfig(api_key=("k",))) as c:
        assert refusal(c, GENERATE)[0] == refusal(c, CHAT)[0] == refusal(c, "/api/show")[0] == 401
        assert c.get("/api/tags").status_code == c.get("/api/ps").status_code == 401
        assert c.get("/api/version").status_code == 200

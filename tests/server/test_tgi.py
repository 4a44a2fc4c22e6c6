"""TGI's own generation routes: what an answer looks like, streamed or not; what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from jaxserve.config import ServerConfig
from jaxserve.errors import EngineBusy, EngineFailed
from tests.server.apps import MESSAGES, bare_events, client
from tests.text_fakes import BOS, EOS, ScriptedEngine, limits

SAID = "Paris é 👨‍👩‍👧!"
WHOLE = "/generate"
STREAM = "/generate_stream"


@pytest.fixture(scope="module")
def c() -> Iterator[TestClient]:
    with client(ScriptedEngine(SAID.encode(), chunks=(2, 3))) as test_client:
        yield test_client


def ask(c: TestClient, path: str = WHOLE, **body: Any) -> Any:
    response = c.post(path, json={"inputs": "hi", **body})
    assert response.status_code == 200, response.text
    return response.json()


def stream(c: TestClient, path: str = STREAM, **body: Any) -> list[Any]:
    response = c.post(path, json={"inputs": "hi", **body})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    return bare_events(response.text)


def refusal(c: TestClient, path: str = WHOLE, **body: Any) -> tuple[int, str, str]:
    response = c.post(path, json={"inputs": "hi", **body})
    told = response.json()
    assert set(told) == {"error", "error_type"}
    return response.status_code, told["error_type"], told["error"]


def test_answer_is_the_text_alone_unless_details_are_asked_for(c: TestClient) -> None:
    assert ask(c) == {"generated_text": SAID}


def test_details_have_the_fields_of_the_contract() -> None:
    with client(ScriptedEngine(b"ab")) as c:
        answer = ask(c, parameters={"details": True})
    logprobs = [token.pop("logprob") for token in answer["details"]["tokens"]]
    assert logprobs == pytest.approx([-1.097, -1.098, -1.257])
    assert answer["details"] == {
        "finish_reason": "eos_token",
        "generated_tokens": 3,
        "seed": None,
        "prefill": [],
        "tokens": [
            {"id": 97, "text": "a", "special": False},
            {"id": 98, "text": "b", "special": False},
            {"id": EOS, "text": "</s>", "special": True},
        ],
    }


def test_top_tokens_come_beside_the_tokens_when_asked_for() -> None:
    with client(ScriptedEngine(b"ab")) as c:
        parameters = {"details": True, "top_n_tokens": 2}
        whole = ask(c, parameters=parameters)["details"]["top_tokens"]
        streamed = [event["top_tokens"] for event in stream(c, parameters=parameters)]
    assert [[top["text"] for top in tops] for tops in whole[:2]] == [["a", "b"], ["b", "c"]]
    assert streamed == whole


def test_stream_has_an_event_per_token_and_the_text_in_the_last() -> None:
    with client(ScriptedEngine(b"ab", chunks=(3,))) as c:
        got = stream(c, parameters={"details": True, "do_sample": True, "seed": 7})
    assert [event["index"] for event in got] == [1, 2, 3]
    assert [event["token"]["text"] for event in got] == ["a", "b", "</s>"]
    assert [event["generated_text"] for event in got] == [None, None, "ab"]
    assert [event["details"] for event in got[:2]] == [None, None]
    assert got[2]["details"] == {
        "finish_reason": "eos_token",
        "generated_tokens": 3,
        "seed": 7,
        "input_length": 3,
    }
    assert all("top_tokens" not in event for event in got)


def test_stream_without_details_has_none_in_the_last_event(c: TestClient) -> None:
    last = stream(c)[-1]
    assert (last["generated_text"], last["details"]) == (SAID, None)


@pytest.mark.parametrize("stop", [[], ["s é"], ["👩"], ["ris"]])
@pytest.mark.parametrize("length", [1, 7, 11, 100])
def test_streamed_answer_equals_the_whole_one(c: TestClient, stop: list[str], length: int) -> None:
    parameters = {"details": True, "stop": stop, "max_new_tokens": length, "top_n_tokens": 1}
    whole, got = ask(c, parameters=parameters), stream(c, parameters=parameters)
    details = whole["details"]
    assert got[-1]["generated_text"] == whole["generated_text"]
    assert [event["token"] for event in got] == details["tokens"]
    assert got[-1]["details"]["finish_reason"] == details["finish_reason"]
    assert details["generated_tokens"] == len(details["tokens"])
    shown = "".join(token["text"] for token in details["tokens"] if not token["special"])
    assert shown == whole["generated_text"]


def test_token_text_is_empty_until_its_character_is_complete() -> None:
    with client(ScriptedEngine("é".encode())) as c:
        assert [event["token"]["text"] for event in stream(c)] == ["", "é", "</s>"]


def test_stop_string_stays_in_the_text_and_nothing_after_it() -> None:
    with client(ScriptedEngine(b"abcdef", chunks=(4,))) as c:
        answer = ask(c, parameters={"details": True, "stop": ["bc"]})
        assert ask(c, parameters={"stop": "bc"})["generated_text"] == "abc"
    assert answer["generated_text"] == "abc"
    assert answer["details"]["finish_reason"] == "stop_sequence"


def test_length_is_a_finish_reason() -> None:
    with client(ScriptedEngine(b"abc")) as c:
        details = ask(c, parameters={"details": True, "max_new_tokens": 2})["details"]
    assert (details["finish_reason"], details["generated_tokens"]) == ("length", 2)


def test_root_answers_with_a_list_that_has_the_prompt_or_with_a_stream(c: TestClient) -> None:
    assert ask(c, "/") == [{"generated_text": "hi" + SAID}]
    assert ask(c, "/", parameters={"return_full_text": False}) == [{"generated_text": SAID}]
    assert stream(c, "/", stream=True)[-1]["generated_text"] == "hi" + SAID
    assert ask(c, parameters={"return_full_text": True}) == {"generated_text": "hi" + SAID}


def test_invocations_take_the_shape_of_the_body(c: TestClient) -> None:
    assert ask(c, "/invocations") == [{"generated_text": "hi" + SAID}]
    chat = c.post("/invocations", json={"inputs": None, "messages": MESSAGES}).json()
    assert chat["choices"][0]["message"]["content"] == SAID
    text = c.post("/invocations", json={"prompt": "a", "max_tokens": 50}).json()
    assert text["choices"][0]["text"] == SAID


def test_invocations_tell_the_error_of_the_shape_that_was_meant(c: TestClient) -> None:
    for inputs in (5, None):
        assert refusal(c, "/invocations", inputs=inputs)[:2] == (422, "validation")
    chat = c.post("/invocations", json={"messages": MESSAGES, "temperature": 3})
    assert (chat.status_code, chat.json()["error"]["param"]) == (400, "temperature")
    embedding = c.post("/invocations", json={"input": "a"})
    assert (embedding.status_code, embedding.json()["error"]["param"]) == (400, "model")
    answer = c.post("/invocations", json={})
    assert (answer.status_code, answer.json()["error_type"]) == (422, "validation")


@pytest.mark.parametrize(
    ("body", "temperature"),
    [
        ({}, 1.0),
        ({"parameters": None}, 1.0),
        ({"parameters": {}}, 0.0),
        ({"parameters": {"do_sample": True}}, 1.0),
        ({"parameters": {"temperature": 0.5}}, 0.5),
        ({"parameters": {"temperature": 1.0}}, 0.0),
        ({"parameters": {"temperature": 1e300}}, 1000.0),
        ({"parameters": {"top_p": 0.9}}, 1.0),
        ({"parameters": {"top_p": 1.0, "top_k": -1}}, 0.0),
        ({"parameters": {"top_k": 5}}, 1.0),
    ],
)
def test_sampling_is_on_when_parameters_are_absent_or_ask_for_it(
    body: dict[str, Any], temperature: float
) -> None:
    engine = ScriptedEngine(b"a")
    with client(engine, generation_config={"temperature": 0.3, "top_k": 2}) as c:
        ask(c, **body)
    assert engine.submitted[0].params.temperature == temperature


def test_length_fills_what_is_left_unless_asked_for() -> None:
    engine = ScriptedEngine(b"a", limits=limits(max_model_len=30))
    with client(engine, generation_config={"max_new_tokens": 5}) as c:
        ask(c)
        ask(c, parameters={"max_new_tokens": 3})
    assert [request.params.max_tokens for request in engine.submitted] == [27, 3]


def test_truncate_keeps_the_last_tokens() -> None:
    engine = ScriptedEngine(b"a", limits=limits(max_model_len=30))
    with client(engine) as c:
        ask(c, inputs="abcdef", parameters={"truncate": 3})
        ask(c, inputs="x" * 5000 + "yz", parameters={"truncate": 2})
        ask(c, inputs="ab", parameters={"truncate": 29})
        assert refusal(c, parameters={"truncate": 30})[:2] == (422, "validation")
    prompts = [request.prompt_ids for request in engine.submitted]
    assert prompts == [tuple(b"def"), tuple(b"yz"), (BOS, *b"ab")]


def test_best_of_answers_with_the_likeliest_and_shows_the_others() -> None:
    scripts = iter([b"zz", b"ab"])
    engine = ScriptedEngine(lambda request: next(scripts))
    with client(engine) as c:
        answer = ask(c, parameters={"best_of": 2, "do_sample": True, "details": True})
    assert answer["generated_text"] == "ab"
    (other,) = answer["details"]["best_of_sequences"]
    assert (other["generated_text"], other["generated_tokens"]) == ("zz", 3)
    seeds = {answer["details"]["seed"], other["seed"]}
    assert seeds == {request.params.seed for request in engine.submitted} and len(seeds) == 2


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"best_of": 2}, "sampling"),
        ({"best_of": 3, "do_sample": True}, "best_of"),
        ({"best_of": 2, "do_sample": True, "seed": 1}, "seed"),
        ({"temperature": 0}, "do_sample"),
        ({"top_p": 0}, "top_p"),
        ({"top_p": 1.1}, "top_p"),
        ({"top_k": -2}, "top_k"),
        ({"typical_p": 0}, "typical_p"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"frequency_penalty": 3}, "frequency_penalty"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "at most 4"),
        ({"stop": [""]}, "empty"),
        ({"seed": -1}, "seed"),
        ({"top_n_tokens": 6}, "top_n_tokens"),
        ({"grammar": {"type": "regex", "value": "("}}, "unclosed group"),
        ({"grammar": {"type": "choice", "value": "a"}}, "grammar"),
        ({"grammar": {"type": "json"}}, "grammar"),
        ({"grammar": {"type": "json", "value": {"not": {}}}}, "'not' at #"),
        ({"adapter_id": "x"}, "adapter_id"),
        ({"do_sample": 1}, "do_sample"),
        ("x", "parameters"),
    ],
)
def test_refused_parameters_are_named(c: TestClient, parameters: Any, named: str) -> None:
    for path in (WHOLE, STREAM, "/"):
        status, kind, message = refusal(c, path, parameters=parameters)
        assert (status, kind) == (422, "validation")
        assert message.startswith("Input validation error: ") and named in message


def test_best_of_is_refused_in_a_stream(c: TestClient) -> None:
    parameters = {"best_of": 2, "do_sample": True}
    assert "streamed" in refusal(c, STREAM, parameters=parameters)[2]
    assert "streamed" in refusal(c, "/", parameters=parameters, stream=True)[2]


@pytest.mark.parametrize("inputs", ["", 5, None, ["a"]])
def test_inputs_must_be_text(c: TestClient, inputs: Any) -> None:
    assert refusal(c, inputs=inputs)[:2] == (422, "validation")


def test_what_does_not_fit_is_refused_in_words_that_clients_know() -> None:
    with client(ScriptedEngine(b"a", limits=limits(max_model_len=30))) as c:
        for path in (WHOLE, STREAM):
            message = refusal(c, path, parameters={"max_new_tokens": 28})[2]
            assert "`inputs` tokens + `max_new_tokens` must be <= 30" in message
            assert "`inputs` must have less than 30" in refusal(c, path, inputs="x" * 29)[2]
            assert refusal(c, path, inputs="x" * 999_999)[:2] == (422, "validation")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"inputs": NaN}'])
def test_body_that_is_no_json_object_is_a_400(c: TestClient, body: bytes) -> None:
    for path in (WHOLE, STREAM, "/", "/invocations"):
        response = c.post(path, content=body)
        assert (response.status_code, response.json()["error_type"]) == (400, "validation")
        assert isinstance(response.json()["error"], str)


def test_watermark_and_unknown_fields_are_named_as_ignored(c: TestClient) -> None:
    parameters = {"watermark": True, "colour": "red", "stop": []}
    response = c.post(WHOLE, json={"inputs": "a", "parameters": parameters, "other": 1})
    ignored = response.headers["x-jaxserve-ignored"]
    assert ignored == "other, parameters.colour, parameters.watermark"
    response = c.post(WHOLE, json={"inputs": "a", "parameters": {"watermark": False}})
    assert "x-jaxserve-ignored" not in response.headers


def test_headers_tell_what_the_answer_took(c: TestClient) -> None:
    headers = c.post(WHOLE, json={"inputs": "hié"}).headers
    assert headers["x-compute-type"] == "cpu"
    assert (headers["x-compute-characters"], headers["x-prompt-tokens"]) == ("3", "5")
    assert headers["x-generated-tokens"] == str(len(SAID.encode()) + 1)
    names = "compute-time total-time validation-time queue-time inference-time time-per-token"
    times = names.split()
    assert all(int(headers[f"x-{name}"]) >= 0 for name in times)
    streamed = c.post(STREAM, json={"inputs": "hi"}).headers
    assert streamed["x-compute-type"] == "cpu" and "x-total-time" not in streamed


def test_info_tells_the_model_and_the_limits(c: TestClient) -> None:
    told = c.get("/info").json()
    assert (told["model_id"], told["model_sha"]) == ("org/tiny-hub", "abc123")
    assert (told["max_input_tokens"], told["max_total_tokens"]) == (4095, 4096)
    assert (told["router"], told["model_pipeline_tag"]) == ("jaxserve", "text-generation")
    assert {"max_best_of", "max_stop_sequences", "docker_label", "sha", "version"} < set(told)


def test_ping_answers_both_verbs(c: TestClient) -> None:
    assert c.get("/ping").json() == c.post("/ping").json() == {"status": "ok"}


@pytest.mark.parametrize("path", [WHOLE, STREAM, "/"])
def test_full_queue_is_a_429_and_a_dead_engine_a_503(path: str) -> None:
    with client(ScriptedEngine(b"a", refuse=EngineBusy("full", retry_after_s=2.0))) as c:
        busy = c.post(path, json={"inputs": "a"})
    with client(ScriptedEngine(b"a", refuse=EngineFailed("gone"))) as c:
        dead = c.post(path, json={"inputs": "a"})
    assert (busy.status_code, busy.json()["error_type"]) == (429, "overloaded")
    assert busy.headers["retry-after"] == "2" and "Model is overloaded" in busy.json()["error"]
    assert (dead.status_code, dead.json()["error_type"]) == (503, "healthcheck")


def test_failure_of_a_running_generation_is_a_424_or_an_event() -> None:
    with client(ScriptedEngine(b"abcdef", fail_at=3)) as c:
        assert refusal(c)[:2] == (424, "generation")
    with client(ScriptedEngine(b"abcdef", fail_at=3)) as c:
        *tokens, last = stream(c)
    assert [event["token"]["text"] for event in tokens] == ["a", "b", "c"]
    assert set(last) == {"error", "error_type"} and last["error_type"] == "generation"
    assert last["error"].startswith("Request failed during generation: ")


def test_keys_guard_generation_and_leave_probes_and_info_open() -> None:
    with client(ScriptedEngine(b"a"), config=ServerConfig(api_key=("k",))) as c:
        for path in (WHOLE, STREAM, "/", "/invocations"):
            assert c.post(path, json={"inputs": "a"}).status_code == 401
            assert refusal(c, path)[:2] == (401, "validation")
        for path in ("/", "/info", "/ping", "/health"):
            assert c.get(path).status_code == 200
        assert c.post(WHOLE, json={"inputs": "a"}, headers={"authorization": "Bearer k"}).is_success

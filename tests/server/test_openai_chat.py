"""POST /v1/chat/completions: what the answer looks like, whole and streamed."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.server.apps import CHAT, MESSAGES, client, events, make_app
from tests.text_fakes import BOS, END_OF_TURN, EOS, ScriptedEngine, limits

SAID = "Paris é!"


def ask(test_client: TestClient, **body: Any) -> Any:
    response = test_client.post(CHAT, json={"messages": MESSAGES, **body})
    assert response.status_code == 200, response.text
    return response.json()


def stream(test_client: TestClient, **body: Any) -> list[Any]:
    response = test_client.post(CHAT, json={"messages": MESSAGES, "stream": True, **body})
    assert response.status_code == 200, response.text
    return events(response.text)


def test_whole_answer_has_the_fields_of_the_contract() -> None:
    with client(ScriptedEngine(SAID.encode(), num_cached_tokens=16)) as c:
        response = c.post(CHAT, json={"messages": MESSAGES}, headers={"x-request-id": "abc"})
    answer = response.json()
    assert isinstance(answer.pop("created"), int)
    assert answer == {
        "id": "chatcmpl-abc",
        "object": "chat.completion",
        "model": "tiny",
        "system_fingerprint": "fp_test",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": SAID, "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
                "stop_reason": None,
            }
        ],
        "usage": {
            "prompt_tokens": len("<s>user: hi\nassistant: ") - 2,
            "completion_tokens": len(SAID.encode()) + 1,
            "total_tokens": 21 + 10,
            "prompt_tokens_details": {"cached_tokens": 16},
        },
    }


def test_streamed_answer_opens_tells_and_finishes_in_events_of_their_own() -> None:
    with client(ScriptedEngine(b"ab", chunks=(3,))) as c:
        got = stream(c)
    assert {(e["object"], e["model"], e["system_fingerprint"]) for e in got} == {
        ("chat.completion.chunk", "tiny", "fp_test")
    }
    assert len({(e["id"], e["created"]) for e in got}) == 1
    assert all("usage" not in event for event in got)
    empty = {"index": 0, "logprobs": None, "finish_reason": None}
    assert [event["choices"] for event in got] == [
        [{**empty, "delta": {"role": "assistant", "content": ""}}],
        [{**empty, "delta": {"content": "ab"}}],
        [{**empty, "delta": {}, "finish_reason": "stop", "stop_reason": None}],
    ]


def test_role_is_told_once_per_choice_and_every_choice_finishes_once() -> None:
    with client(ScriptedEngine(b"abc")) as c:
        got = stream(c, n=3)
    pieces = [event["choices"][0] for event in got]
    assert sorted(p["index"] for p in pieces if "role" in p["delta"]) == [0, 1, 2]
    assert sorted(p["index"] for p in pieces if p["finish_reason"]) == [0, 1, 2]
    for index in range(3):
        mine = [p["delta"].get("content", "") for p in pieces if p["index"] == index]
        assert "".join(mine) == "abc"


def test_answer_without_text_still_opens_and_finishes() -> None:
    with client(ScriptedEngine(b"")) as c:
        got = stream(c)
        whole = ask(c)
    assert [event["choices"][0]["finish_reason"] for event in got] == [None, "stop"]
    assert whole["choices"][0]["message"]["content"] == ""


def test_usage_comes_last_and_alone_and_is_null_before() -> None:
    with client(ScriptedEngine(b"abc")) as c:
        got = stream(c, n=2, stream_options={"include_usage": True})
    assert all(event["usage"] is None for event in got[:-1])
    assert got[-1]["choices"] == []
    assert got[-1]["usage"]["completion_tokens"] == 8
    assert got[-1]["usage"]["prompt_tokens"] == 21


def test_continuous_usage_grows_with_the_text() -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    with client(ScriptedEngine(b"abc")) as c:
        got = stream(c, stream_options=options)
    counts = [event["usage"]["completion_tokens"] for event in got]
    assert counts == sorted(counts) and counts[-1] == 4
    assert {event["usage"]["prompt_tokens"] for event in got} == {21}


STREAM_CASES: list[dict[str, Any]] = [
    {},
    {"n": 3},
    {"stop": ["s é"]},
    {"stop": "é", "include_stop_str_in_output": True},
    {"max_tokens": 7},
    {"logprobs": True, "top_logprobs": 2},
    {"logprobs": True, "stop": "is", "n": 2},
    {"stop_token_ids": [ord("r")]},
    {"return_token_ids": True},
    {"ignore_eos": True, "max_tokens": 20},
]


@pytest.mark.parametrize("body", STREAM_CASES, ids=str)
@pytest.mark.parametrize("chunks", [(1,), (2,), (3, 0, 1), (100,)])
def test_streamed_deltas_add_up_to_the_whole_answer(
    body: dict[str, Any], chunks: tuple[int, ...]
) -> None:
    with client(ScriptedEngine(SAID.encode(), chunks=chunks)) as c:
        whole = ask(c, **body)
        got = stream(c, stream_options={"include_usage": True}, **body)
    assert got[-1]["usage"] == whole["usage"]
    for choice in whole["choices"]:
        mine = [e["choices"][0] for e in got[:-1] if e["choices"][0]["index"] == choice["index"]]
        text = "".join(piece["delta"].get("content", "") for piece in mine)
        assert text == choice["message"]["content"]
        assert mine[-1]["finish_reason"] == choice["finish_reason"]
        assert mine[-1]["stop_reason"] == choice["stop_reason"]
        told = [entry for p in mine if p["logprobs"] for entry in p["logprobs"]["content"]]
        assert told == (choice["logprobs"] or {"content": []})["content"]
        ids = [token_id for piece in mine for token_id in piece.get("token_ids", [])]
        assert ids == choice.get("token_ids", [])


def test_logprobs_have_true_bytes_and_exactly_the_alternatives_asked_for() -> None:
    with client(ScriptedEngine("é".encode())) as c:
        content = ask(c, logprobs=True, top_logprobs=2)["choices"][0]["logprobs"]["content"]
    assert [entry["bytes"] for entry in content] == [[0xC3], [0xA9], list(b"</s>")]
    assert content[0]["token"] == "bytes:\\xc3"
    assert all(len(entry["top_logprobs"]) == 2 for entry in content)
    assert content[0]["top_logprobs"][0]["logprob"] == content[0]["logprob"]


def test_logprobs_without_alternatives_have_an_empty_list() -> None:
    with client(ScriptedEngine(b"a")) as c:
        content = ask(c, logprobs=True)["choices"][0]["logprobs"]["content"]
    assert [entry["top_logprobs"] for entry in content] == [[], []]


def test_tokens_are_shown_as_ids_when_asked_for() -> None:
    with client(ScriptedEngine(b"a")) as c:
        answer = ask(c, logprobs=True, top_logprobs=1, return_tokens_as_token_ids=True)
    entry = answer["choices"][0]["logprobs"]["content"][0]
    assert entry["token"] == entry["top_logprobs"][0]["token"] == "token_id:97"


def test_token_ids_of_prompt_and_output_come_when_asked_for() -> None:
    with client(ScriptedEngine(b"ab")) as c:
        whole = ask(c, return_token_ids=True)
        got = stream(c, return_token_ids=True)
    assert whole["choices"][0]["token_ids"] == [97, 98, EOS]
    assert whole["prompt_token_ids"] == [BOS, *b"user: hi\nassistant: "]
    assert got[0]["prompt_token_ids"] == whole["prompt_token_ids"]
    assert not any("prompt_token_ids" in event for event in got[1:])


@pytest.mark.parametrize(
    ("body", "reason", "stop_reason", "text"),
    [
        ({}, "stop", None, "abcdef"),
        ({"max_tokens": 3}, "length", None, "abc"),
        ({"max_completion_tokens": 2, "max_tokens": 5}, "length", None, "ab"),
        ({"max_tokens": 7}, "stop", None, "abcdef"),
        ({"stop": "cd"}, "stop", "cd", "ab"),
        ({"stop": ["x", "ef"], "include_stop_str_in_output": True}, "stop", "ef", "abcdef"),
        ({"stop_token_ids": [100.0]}, "stop", 100, "abc"),
        ({"min_tokens": 5, "stop": ["b", "f"]}, "stop", "f", "abcde"),
    ],
)
def test_finish_reason_tells_what_ended_the_text(
    body: dict[str, Any], reason: str, stop_reason: str | int | None, text: str
) -> None:
    with client(ScriptedEngine(b"abcdef")) as c:
        choice = ask(c, **body)["choices"][0]
    assert (choice["finish_reason"], choice["stop_reason"]) == (reason, stop_reason)
    assert choice["message"]["content"] == text


def test_sampling_params_reach_the_engine() -> None:
    engine = ScriptedEngine(b"a")
    with client(engine) as c:
        ask(
            c,
            temperature=0.5,
            top_p=0.9,
            top_k=7,
            min_p=0.1,
            presence_penalty=1,
            frequency_penalty=-1,
            repetition_penalty=1.2,
            logit_bias={"5": 200, "6": -100},
            seed=11,
            n=2,
            max_tokens=9,
            min_tokens=2,
            ignore_eos=True,
            cache_salt="salt",
        )
    first, second = engine.submitted
    params = first.params
    assert (params.temperature, params.top_p, params.top_k, params.min_p) == (0.5, 0.9, 7, 0.1)
    assert (params.presence_penalty, params.frequency_penalty) == (1.0, -1.0)
    assert params.repetition_penalty == 1.2
    assert params.logit_bias == ((5, 100.0), (6, float("-inf")))
    assert (params.max_tokens, params.min_tokens, params.ignore_eos) == (9, 2, True)
    assert (params.seed, second.params.seed) == (11, 12)
    assert first.cache_salt == ":salt"  # of no adapter


def test_unset_length_fills_the_context() -> None:
    engine = ScriptedEngine(b"a", limits=limits(max_model_len=50))
    with client(engine) as c:
        ask(c)
    assert engine.submitted[0].params.max_tokens == 50 - 21


def test_prompt_and_options_go_through_the_template() -> None:
    engine = ScriptedEngine(b"a")
    messages = [*MESSAGES, {"role": "assistant", "content": "Well"}]
    with client(engine) as c:
        c.post(CHAT, json={"messages": messages, "continue_final_message": True})
        c.post(CHAT, json={"messages": MESSAGES, "add_generation_prompt": False})
    continued, bare = (bytes(request.prompt_ids[1:]) for request in engine.submitted)
    assert continued == b"user: hi\nassistant: Well"
    assert bare == b"user: hi\n"


@pytest.mark.parametrize(
    ("name", "told"),
    [(None, "tiny"), ("", "tiny"), ("tgi", "tiny"), ("small", "small"), ("tiny:latest",) * 2],
)
def test_answer_names_the_model_as_the_client_did_if_that_is_a_name(
    name: str | None, told: str
) -> None:
    with client(ScriptedEngine(b"a")) as c:
        assert ask(c, model=name)["model"] == told


def test_request_id_of_the_body_is_part_of_the_id() -> None:
    with client(ScriptedEngine(b"a")) as c:
        assert ask(c, request_id="mine")["id"] == "chatcmpl-mine"


def test_ignored_fields_are_named_in_a_header() -> None:
    body = {
        "messages": MESSAGES,
        "user": "u",
        "store": None,
        "metadata": {},
        "best_before": 1,
        "bad name\r\n": 1,
        "response_format": {"type": "text"},
        "stream_options": {"include_usage": True},
    }
    with client(ScriptedEngine(b"a")) as c:
        headers = c.post(CHAT, json=body).headers
        assert headers["x-jaxserve-ignored"] == "user, metadata, best_before"
        assert "x-jaxserve-ignored" not in c.post(CHAT, json={"messages": MESSAGES}).headers


def test_engine_error_in_a_stream_is_an_event_and_the_stream_still_ends() -> None:
    with client(ScriptedEngine(b"abcdef", fail_at=3)) as c:
        got = stream(c)
    error = got[-1]["error"]
    assert (error["type"], error["code"], error["param"]) == (
        "server_error",
        "internal_error",
        None,
    )
    assert got[-1]["error_type"] == "generation"
    assert got[0]["choices"][0]["delta"]["role"] == "assistant"
    assert all(event["choices"][0]["finish_reason"] is None for event in got[:-1])


def test_engine_error_in_a_whole_answer_is_a_500() -> None:
    with client(ScriptedEngine(b"abcdef", fail_at=3)) as c:
        response = c.post(CHAT, json={"messages": MESSAGES})
    assert response.status_code == 500
    assert response.headers["x-request-id"] in response.json()["error"]["message"]
    assert "scripted failure" not in response.text


def test_failing_sample_ends_its_siblings() -> None:
    engine = ScriptedEngine(b"abcdef", fail_at=2)
    with client(engine) as c:
        stream(c, n=3)
        assert engine.num_running == 0


def test_end_of_turn_is_not_shown_unless_special_tokens_are() -> None:
    with client(ScriptedEngine([97, END_OF_TURN])) as c:
        assert ask(c)["choices"][0]["message"]["content"] == "a"


@pytest.mark.parametrize("body", [{}, {"stop": "is"}, {"max_tokens": 7}, {"stop_token_ids": [105]}])
def test_every_token_that_is_counted_has_its_logprob(body: dict[str, Any]) -> None:
    with client(ScriptedEngine(SAID.encode(), chunks=(3,))) as c:
        answer = ask(c, logprobs=True, **body)
    told = answer["choices"][0]["logprobs"]["content"]
    assert len(told) == answer["usage"]["completion_tokens"]


@pytest.mark.parametrize("is_stream", [True, False])
def test_answer_broken_off_by_a_shutdown_says_so(is_stream: bool) -> None:
    engine = ScriptedEngine(b"abc", paused=True, fail_at=0)
    app = make_app(engine)

    def shut_down(request: object) -> bytes:
        app.state.server.draining = True
        engine.paused = False
        return b"abc"

    engine.script = shut_down
    with TestClient(app) as c:
        response = c.post(CHAT, json={"messages": MESSAGES, "stream": is_stream})
    engine.stop()
    told = events(response.text)[-1] if is_stream else response.json()
    assert told["error"]["code"] == "draining"
    assert response.status_code == (200 if is_stream else 503)

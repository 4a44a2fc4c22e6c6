"""POST /v1/completions: what the answer looks like, whole and streamed."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.server.apps import TEXT, client, events
from tests.text_fakes import BOS, EOS, ScriptedEngine, limits

SAID = "Paris é!"


def ask(test_client: TestClient, **body: Any) -> Any:
    response = test_client.post(TEXT, json={"prompt": "hi", **body})
    assert response.status_code == 200, response.text
    return response.json()


def stream(test_client: TestClient, **body: Any) -> list[Any]:
    response = test_client.post(TEXT, json={"prompt": "hi", "stream": True, **body})
    assert response.status_code == 200, response.text
    return events(response.text)


def test_whole_answer_has_the_fields_of_the_contract() -> None:
    with client(ScriptedEngine(b"ab")) as c:
        response = c.post(TEXT, json={"prompt": "hi"}, headers={"x-request-id": "abc"})
    answer = response.json()
    assert isinstance(answer.pop("created"), int)
    assert answer == {
        "id": "cmpl-abc",
        "object": "text_completion",
        "model": "tiny",
        "system_fingerprint": "fp_test",
        "choices": [
            {
                "index": 0,
                "text": "ab",
                "logprobs": None,
                "finish_reason": "stop",
                "stop_reason": None,
            }
        ],
        "usage": {
            "prompt_tokens": 3,
            "completion_tokens": 3,
            "total_tokens": 6,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
    }


def test_streamed_answer_tells_and_finishes_in_events_of_their_own() -> None:
    with client(ScriptedEngine(b"ab", chunks=(3,))) as c:
        got = stream(c)
    empty = {"index": 0, "logprobs": None, "finish_reason": None}
    assert [event["choices"] for event in got] == [
        [{**empty, "text": "ab"}],
        [{**empty, "text": "", "finish_reason": "stop", "stop_reason": None}],
    ]
    assert {event["object"] for event in got} == {"text_completion"}


def test_index_is_prompt_times_n_plus_sample_and_usage_sums_all() -> None:
    engine = ScriptedEngine(lambda request: request.prompt_ids[-1:] * 2)
    with client(engine) as c:
        whole = ask(c, prompt=["a", "bb"], n=2)
        got = stream(c, prompt=["a", "bb"], n=2, stream_options={"include_usage": True})
    assert [choice["index"] for choice in whole["choices"]] == [0, 1, 2, 3]
    assert [choice["text"] for choice in whole["choices"]] == ["aa", "aa", "bb", "bb"]
    assert whole["usage"]["prompt_tokens"] == 2 + 3
    assert whole["usage"]["completion_tokens"] == 4 * 3
    assert got[-1]["usage"] == whole["usage"]
    assert sorted(e["choices"][0]["index"] for e in got[:-1] if finishes(e)) == [0, 1, 2, 3]


def finishes(event: dict[str, Any]) -> bool:
    return bool(event["choices"][0]["finish_reason"])


@pytest.mark.parametrize(
    ("prompt", "ids"),
    [
        ("hi", [[BOS, *b"hi"]]),
        ("", [[BOS]]),
        (["a", "b"], [[BOS, *b"a"], [BOS, *b"b"]]),
        ([5, 6.0], [[5, 6]]),
        ([[5], [6, 7]], [[5], [6, 7]]),
    ],
)
def test_prompt_may_be_text_or_ids_one_or_many(prompt: Any, ids: list[list[int]]) -> None:
    engine = ScriptedEngine(b"a")
    with client(engine) as c:
        ask(c, prompt=prompt)
    assert [list(request.prompt_ids) for request in engine.submitted] == ids


def test_special_tokens_are_left_out_when_asked() -> None:
    engine = ScriptedEngine(b"a")
    with client(engine) as c:
        ask(c, add_special_tokens=False)
    assert engine.submitted[0].prompt_ids == tuple(b"hi")


def test_default_length_is_16_or_what_fits() -> None:
    engine = ScriptedEngine(b"a", limits=limits(max_model_len=30))
    with client(engine) as c:
        ask(c)
        ask(c, prompt="x" * 20)
    assert [request.params.max_tokens for request in engine.submitted] == [16, 9]


def test_default_length_of_the_model_wins_over_the_apis() -> None:
    engine = ScriptedEngine(b"a")
    with client(engine, generation_config={"max_new_tokens": 40}) as c:
        ask(c)
        ask(c, max_tokens=50)
    assert [request.params.max_tokens for request in engine.submitted] == [40, 50]


def test_logprobs_are_four_lists_of_one_length() -> None:
    with client(ScriptedEngine("aé".encode())) as c:
        logprobs = ask(c, logprobs=2)["choices"][0]["logprobs"]
    assert logprobs["tokens"] == ["a", "bytes:\\xc3", "bytes:\\xa9", "</s>"]
    assert logprobs["text_offset"] == [0, 1, 1, 2]
    assert len(logprobs["token_logprobs"]) == len(logprobs["top_logprobs"]) == 4
    assert logprobs["token_logprobs"][0] == max(logprobs["top_logprobs"][0].values())


def test_logprobs_0_tells_the_chosen_token_only() -> None:
    with client(ScriptedEngine(b"a")) as c:
        logprobs = ask(c, logprobs=0)["choices"][0]["logprobs"]
    assert [list(top) for top in logprobs["top_logprobs"]] == [["a"], ["</s>"]]


def test_echo_puts_the_prompt_before_the_text() -> None:
    with client(ScriptedEngine(b"lo")) as c:
        assert ask(c, prompt="hel", echo=True)["choices"][0]["text"] == "hello"
        assert ask(c, prompt=[104, 101, 108], echo=True)["choices"][0]["text"] == "hello"
        got = stream(c, prompt="hel", echo=True)
    assert "".join(event["choices"][0]["text"] for event in got) == "hello"


def test_token_ids_sit_in_the_choice_when_asked_for() -> None:
    with client(ScriptedEngine(b"ab")) as c:
        whole = ask(c, return_token_ids=True)["choices"][0]
        got = [event["choices"][0] for event in stream(c, return_token_ids=True)]
    assert (whole["prompt_token_ids"], whole["token_ids"]) == ([BOS, *b"hi"], [97, 98, EOS])
    assert got[0]["prompt_token_ids"] == [BOS, *b"hi"]
    assert [i for piece in got for i in piece.get("token_ids", [])] == [97, 98, EOS]


STREAM_CASES: list[dict[str, Any]] = [
    {},
    {"prompt": ["a", "b"], "n": 2},
    {"logprobs": 3},
    {"logprobs": 0, "stop": "is"},
    {"echo": True, "return_token_ids": True},
    {"max_tokens": 7, "logprobs": 1},
]


@pytest.mark.parametrize("body", STREAM_CASES, ids=str)
@pytest.mark.parametrize("chunks", [(1,), (2, 0), (100,)])
def test_streamed_pieces_add_up_to_the_whole_answer(
    body: dict[str, Any], chunks: tuple[int, ...]
) -> None:
    with client(ScriptedEngine(SAID.encode(), chunks=chunks)) as c:
        whole = ask(c, **body)
        got = stream(c, **body)
    for choice in whole["choices"]:
        mine = [e["choices"][0] for e in got if e["choices"][0]["index"] == choice["index"]]
        assert "".join(piece["text"] for piece in mine) == choice["text"]
        assert mine[-1]["finish_reason"] == choice["finish_reason"]
        for name, values in (choice["logprobs"] or {}).items():
            parts = [piece["logprobs"][name] for piece in mine if piece["logprobs"]]
            assert [value for part in parts for value in part] == values


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"prompt": [5, 259]}, "prompt", "invalid_value"),
        ({"prompt": [[5], [-1]]}, "prompt", "invalid_value"),
        ({"prompt": [2**31]}, "prompt", "invalid_value"),
        ({"prompt": "", "add_special_tokens": False}, "prompt", "invalid_value"),
        ({"prompt": "x" * 4095}, "prompt", "context_length_exceeded"),
        ({"prompt": [5] * 4096, "stream": True}, "prompt", "context_length_exceeded"),
        ({"prompt": "x" * 1_000_000}, "prompt", "context_length_exceeded"),
        ({"max_tokens": 4094}, "max_tokens", "context_length_exceeded"),
        ({"max_tokens": 1e300}, "max_tokens", "context_length_exceeded"),
        ({"min_tokens": 17}, "min_tokens", "invalid_value"),
        ({"stop_token_ids": [259]}, "stop_token_ids", "invalid_value"),
        ({"logit_bias": {"259": 1}}, "logit_bias", "invalid_value"),
        ({"logit_bias": {"5 ": 1}}, "logit_bias", "invalid_value"),
        ({"n": 65}, "n", "invalid_value"),
        ({"prompt": ["a"] * 65}, "prompt", "invalid_value"),
    ],
)
def test_what_the_model_can_not_take_is_refused_before_anything_runs(
    body: dict[str, Any], param: str, code: str
) -> None:
    engine = ScriptedEngine(b"a")
    with client(engine) as c:
        response = c.post(TEXT, json={"prompt": "hi", **body})
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["param"], error["code"]) == (param, code)
    assert error["type"] == "invalid_request_error"
    if code == "context_length_exceeded":
        assert "This model's maximum context length is 4096 tokens" in error["message"]
    assert engine.submitted == []


def test_longest_prompt_that_fits_is_served() -> None:
    with client(ScriptedEngine(b"a")) as c:
        answer = ask(c, prompt="x" * 4094)
    assert answer["usage"]["prompt_tokens"] == 4095
    assert answer["choices"][0]["finish_reason"] == "length"


def test_full_queue_is_a_429_that_leaves_nothing_running() -> None:
    engine = ScriptedEngine(b"a", paused=True, max_running=3)
    with client(engine) as c:
        response = c.post(TEXT, json={"prompt": ["a", "b"], "n": 2, "stream": True})
        assert engine.num_running == 0
    assert response.status_code == 429
    assert response.headers["retry-after"] == "2"
    assert response.json()["error"]["code"] == "overloaded"
    assert response.json()["error_type"] == "overloaded"

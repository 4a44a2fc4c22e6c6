"""How likely the prompt was: echo with logprobs, prompt_logprobs, TGI's prefill; and best_of."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.server.apps import CHAT, TEXT, client, events
from tests.text_fakes import BOS, ScriptedEngine


def post(c: TestClient, path: str, **body: Any) -> Any:
    response = c.post(path, json=body)
    assert response.status_code == 200, response.text
    return response.json()


def test_echoed_prompts_have_scores_but_for_the_first_token() -> None:
    with client(ScriptedEngine(b"lo")) as c:
        (choice,) = post(c, TEXT, prompt=[*b"hel"], echo=True, logprobs=1)["choices"]
    logprobs = choice["logprobs"]
    assert choice["text"] == "hello"
    assert logprobs["tokens"] == ["h", "e", "l", "l", "o", "</s>"]
    assert logprobs["token_logprobs"][:3] == [None, -1.101, -1.108]
    assert logprobs["top_logprobs"][:2] == [None, {"e": -1.101}]
    assert logprobs["text_offset"] == [0, 1, 2, 3, 4, 5]


def test_scores_alone_cost_no_output() -> None:
    with client(ScriptedEngine(b"lo")) as c:
        body = {"prompt": [[*b"hel"], [*b"a"]], "echo": True, "logprobs": 0, "max_tokens": 0}
        answer = post(c, TEXT, **body)
    first, second = answer["choices"]
    assert (first["text"], first["finish_reason"]) == ("hel", "length")
    assert first["logprobs"]["token_logprobs"] == [None, -1.101, -1.108]
    assert second["logprobs"]["token_logprobs"] == [None]
    assert answer["usage"]["completion_tokens"] == 0


def test_tokens_that_were_added_begin_where_the_text_does() -> None:
    with client(ScriptedEngine(b"!")) as c:
        (choice,) = post(c, TEXT, prompt="hé", echo=True, logprobs=0)["choices"]
    assert choice["text"] == "hé!"
    assert choice["logprobs"]["tokens"][0] == "<s>"
    assert choice["logprobs"]["text_offset"] == [0, 0, 1, 1, 2, 3]


def test_streamed_echo_adds_up_to_the_whole() -> None:
    body = {"prompt": "hel", "echo": True, "logprobs": 2}
    with client(ScriptedEngine(b"lo")) as c:
        (whole,) = post(c, TEXT, **body)["choices"]
        got = [e["choices"][0] for e in events(c.post(TEXT, json={**body, "stream": True}).text)]
    assert "".join(piece["text"] for piece in got) == whole["text"]
    for name, values in whole["logprobs"].items():
        assert [v for piece in got if piece["logprobs"] for v in piece["logprobs"][name]] == values


def test_prompt_logprobs_sit_in_the_choice_of_a_completion() -> None:
    with client(ScriptedEngine(b"a")) as c:
        (choice,) = post(c, TEXT, prompt=[*b"hi"], prompt_logprobs=1)["choices"]
    scores = {"logprob": -1.105, "rank": 1, "decoded_token": "i"}
    assert choice["prompt_logprobs"] == [None, {"105": scores}]
    assert choice["logprobs"] is None


def test_prompt_logprobs_of_a_conversation_stand_beside_the_choices() -> None:
    with client(ScriptedEngine(b"a")) as c:
        said = [{"role": "user", "content": "hi"}]
        answer = post(c, CHAT, messages=said, prompt_logprobs=0, return_token_ids=True)
    assert len(answer["prompt_logprobs"]) == len(answer["prompt_token_ids"])
    assert answer["prompt_logprobs"][0] is None
    for token_id, entry in zip(
        answer["prompt_token_ids"][1:], answer["prompt_logprobs"][1:], strict=True
    ):
        assert list(entry) == [str(token_id)]


def test_tgi_tells_the_prefill_when_asked_for() -> None:
    with client(ScriptedEngine(b"a")) as c:
        parameters = {"details": True, "decoder_input_details": True}
        details = post(c, "/generate", inputs="hi", parameters=parameters)["details"]
        plain = post(c, "/generate", inputs="hi", parameters={"details": True})["details"]
    assert details["prefill"] == [
        {"id": BOS, "text": "<s>", "logprob": None},
        {"id": 104, "text": "h", "logprob": -1.104},
        {"id": 105, "text": "i", "logprob": -1.105},
    ]
    assert plain["prefill"] == []


def test_the_best_of_several_is_told() -> None:
    scripts = iter([b"zz", b"aa", b"mm"])
    with client(ScriptedEngine(lambda request: next(scripts))) as c:
        answer = post(c, TEXT, prompt="hi", best_of=3, n=2)
    assert [choice["text"] for choice in answer["choices"]] == ["aa", "mm"]
    assert [choice["index"] for choice in answer["choices"]] == [0, 1]
    assert all(choice["logprobs"] is None for choice in answer["choices"])
    assert answer["usage"]["completion_tokens"] == 9  # of all three


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        ({"prompt": "hello", "truncate_prompt_tokens": 2}, [*b"lo"]),
        ({"prompt": "hello", "truncate_prompt_tokens": -1}, [BOS, *b"hello"]),
        ({"prompt": [*b"hello"], "truncate_prompt_tokens": 2}, [*b"lo"]),
        (
            {"prompt": "hello", "truncate_prompt_tokens": 2, "truncation_side": "right"},
            [BOS, *b"h"],
        ),
    ],
    ids=str,
)
def test_a_prompt_is_truncated_where_asked(body: dict[str, Any], kept: list[int]) -> None:
    engine = ScriptedEngine(b"a")
    with client(engine) as c:
        post(c, TEXT, **body)
    assert [*engine.submitted[0].prompt_ids] == kept


def test_a_long_conversation_is_truncated_to_what_fits() -> None:
    engine = ScriptedEngine(b"a")
    said = [{"role": "user", "content": "x" * 10 * engine.limits.max_model_len}]
    with client(engine) as c:
        assert c.post(CHAT, json={"messages": said}).status_code == 400
        post(c, CHAT, messages=said, truncate_prompt_tokens=-1, max_tokens=5)
    assert len(engine.submitted[0].prompt_ids) == engine.limits.max_model_len - 5


def test_more_than_the_context_can_not_be_kept() -> None:
    with client(ScriptedEngine(b"a")) as c:
        response = c.post(TEXT, json={"prompt": "hi", "truncate_prompt_tokens": 10**6})
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "truncate_prompt_tokens"

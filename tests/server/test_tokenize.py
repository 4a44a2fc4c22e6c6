"""`/tokenize`, `/chat_tokenize` and `/detokenize` in the shapes of TGI, vLLM and llama.cpp."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from jaxserve.config import ServerConfig
from tests.server.apps import MESSAGES, client
from tests.text_fakes import BOS, ScriptedEngine, limits

PATH = "/tokenize"
TALK = "<s>user: hi\nassistant: "


@pytest.fixture(scope="module")
def c() -> Iterator[TestClient]:
    with client(ScriptedEngine(b"a")) as test_client:
        yield test_client


def ask(c: TestClient, path: str = PATH, **body: Any) -> Any:
    response = c.post(path, json=body)
    assert response.status_code == 200, response.text
    return response.json()


def test_inputs_give_spans_of_the_text(c: TestClient) -> None:
    assert ask(c, inputs="aé") == [
        {"id": BOS, "text": "", "start": 0, "stop": 0},
        {"id": 97, "text": "a", "start": 0, "stop": 1},
        {"id": 0xC3, "text": "é", "start": 1, "stop": 2},
        {"id": 0xA9, "text": "é", "start": 1, "stop": 2},
    ]


def test_inputs_may_be_truncated_to_the_last_tokens(c: TestClient) -> None:
    told = ask(c, inputs="abc", parameters={"truncate": 2})
    assert [token["text"] for token in told] == ["b", "c"]


def test_prompt_gives_vllms_answer(c: TestClient) -> None:
    assert ask(c, prompt="hi", model="tiny") == {
        "count": 3,
        "max_model_len": 4096,
        "tokens": [BOS, *b"hi"],
        "token_strs": None,
    }
    plain = ask(c, prompt="hi", add_special_tokens=False, return_token_strs=True)
    assert (plain["tokens"], plain["token_strs"]) == ([*b"hi"], ["h", "i"])
    assert ask(c, prompt="", add_special_tokens=False)["count"] == 0


def test_messages_give_the_tokens_of_the_conversation(c: TestClient) -> None:
    told = ask(c, messages=MESSAGES)
    assert told["tokens"] == [BOS, *TALK.removeprefix("<s>").encode()]
    unopened = ask(c, messages=MESSAGES, add_generation_prompt=False)
    assert unopened["count"] == told["count"] - len("assistant: ")


def test_content_gives_llama_cpps_answer(c: TestClient) -> None:
    assert ask(c, content="é") == {"tokens": [0xC3, 0xA9]}
    assert ask(c, content="a", add_special=True) == {"tokens": [BOS, 97]}
    assert ask(c, content="aé", with_pieces=True)["tokens"] == [
        {"id": 97, "piece": "a"},
        {"id": 0xC3, "piece": [0xC3]},
        {"id": 0xA9, "piece": [0xA9]},
    ]


def test_first_key_decides_the_shape(c: TestClient) -> None:
    assert isinstance(ask(c, inputs="a", prompt="a", content="a"), list)
    assert "count" in ask(c, prompt="a", content="a")
    assert "count" in ask(c, inputs=None, prompt="a")


def test_chat_request_is_rendered_and_tokenized(c: TestClient) -> None:
    told = ask(c, "/chat_tokenize", messages=MESSAGES, model="tiny")
    assert told["templated_text"] == TALK
    assert "".join(token["text"] for token in told["tokenize_response"]) == TALK


def test_tokens_become_text_under_both_names(c: TestClient) -> None:
    tokens = ask(c, prompt="é <s>x")["tokens"]
    text = "<s>é <s>x"
    assert ask(c, "/detokenize", tokens=tokens) == {"prompt": text, "content": text}
    assert ask(c, "/detokenize", tokens=[])["prompt"] == ""
    assert ask(c, "/detokenize", tokens=[0xC3])["prompt"] == "�"


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (PATH, {"prompt": 5}, "prompt"),
        (PATH, {"prompt": "x" * 99_999}, "prompt"),
        (PATH, {"messages": []}, "messages"),
        (PATH, {"messages": [{"role": "stranger"}]}, "messages"),
        (PATH, {"messages": MESSAGES, "chat_template": "x"}, "chat_template"),
        (PATH, {"content": "x", "parse_special": False}, "parse_special"),
        ("/detokenize", {}, "tokens"),
        ("/detokenize", {"tokens": "x"}, "tokens"),
        ("/detokenize", {"tokens": [2**31]}, "tokens"),
        ("/detokenize", {"tokens": [-1]}, "tokens"),
    ],
)
def test_vllms_and_llama_cpps_shapes_are_refused_with_a_400(
    path: str, body: dict[str, Any], param: str
) -> None:
    with client(ScriptedEngine(b"a", limits=limits(max_model_len=30))) as c:
        response = c.post(path, json=body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        (PATH, {}, "validation"),
        (PATH, {"inputs": None}, "validation"),
        (PATH, {"inputs": ""}, "validation"),
        (PATH, {"inputs": ["a"]}, "validation"),
        (PATH, {"inputs": "a", "parameters": {"truncate": 0}}, "validation"),
        ("/chat_tokenize", {"messages": 5}, "validation"),
        ("/chat_tokenize", {"messages": [{"role": "stranger"}]}, "template_error"),
    ],
)
def test_tgis_shapes_are_refused_with_a_422(
    c: TestClient, path: str, body: dict[str, Any], kind: str
) -> None:
    response = c.post(path, json=body)
    assert (response.status_code, response.json()["error_type"]) == (422, kind)


def test_unknown_model_is_a_404(c: TestClient) -> None:
    for path, body in ((PATH, {"prompt": "a"}), ("/detokenize", {"tokens": [1]})):
        assert c.post(path, json={**body, "model": "gpt-0"}).status_code == 404


def test_version_and_load() -> None:
    engine = ScriptedEngine(b"abc", paused=True)
    with client(engine) as c:
        assert set(c.get("/version").json()) == {"version"}
        assert c.get("/load").json() == {"server_load": 0}


def test_keys_guard_the_token_routes() -> None:
    with client(ScriptedEngine(b"a"), config=ServerConfig(api_key=("k",))) as c:
        for path in (PATH, "/chat_tokenize", "/detokenize"):
            assert c.post(path, json={}).status_code == 401
        assert c.get("/load").status_code == 401

"""Every route for vectors and labels, over a fake engine; the real one is in tests/live."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from jaxserve.config import ServerConfig
from jaxserve.pooling import PooledTask
from jaxserve.text.sentence_folder import SentenceFacts
from tests.pooled_fakes import EMBEDS, FakePoolingEngine, make_pooled_app, pooled_client
from tests.server.apps import client as generating_client
from tests.server.apps import wait_until
from tests.text_fakes import ScriptedEngine

SCORES = PooledTask(
    task="classify",
    num_outputs=1,
    normalized=False,
    facts=SentenceFacts(score_activation="identity"),
    labels=("LABEL_0",),
)
LABELS = PooledTask(
    task="classify",
    num_outputs=3,
    normalized=False,
    facts=SentenceFacts(),
    labels=("good", "bad", "ugly"),
)
ROUTES: dict[str, dict[str, Any]] = {
    "/v1/embeddings": {"input": "a"},
    "/embed": {"inputs": "a"},
    "/predict": {"inputs": "a"},
    "/score": {"text_1": "a", "text_2": "b"},
    "/v1/score": {"queries": "a", "documents": "b"},
    "/rerank": {"query": "a", "documents": ["b"]},
    "/v1/rerank": {"query": "a", "documents": ["b"]},
    "/v2/rerank": {"query": "a", "documents": [{"text": "b"}]},
    "/classify": {"input": "a"},
    "/pooling": {"input": "a"},
    "/api/embed": {"input": "a"},
    "/api/embeddings": {"prompt": "a"},
}


@pytest.fixture
def c() -> Iterator[TestClient]:
    with pooled_client() as client:
        yield client


def embeddings(c: TestClient, **body: Any) -> list[Any]:
    answer = c.post("/v1/embeddings", json=body)
    assert answer.status_code == 200, answer.text
    return [item["embedding"] for item in answer.json()["data"]]


def fault(c: TestClient, path: str, **body: Any) -> tuple[int, str | None, str]:
    answer = c.post(path, json=body)
    error = answer.json()["error"]
    return answer.status_code, error["param"], error["message"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("a b", [[1, 1, 0, 0]]),
        (["a", "c c"], [[1, 0, 0, 0], [0, 0, 2, 0]]),
        ([4, 4], [[2, 0, 0, 0]]),
        ([[4], [5]], [[1, 0, 0, 0], [0, 1, 0, 0]]),
        ("", [[0, 0, 0, 0]]),
    ],
)
def test_input_takes_four_forms(c: TestClient, given: Any, expected: Any) -> None:
    assert embeddings(c, input=given) == expected


def test_the_answer_is_openais(c: TestClient) -> None:
    answer = c.post("/v1/embeddings", json={"input": ["a", "b c"], "user": "u"})
    body = answer.json()
    assert body["object"] == "list" and body["model"] == "tiny"
    assert body["id"].startswith("embd-")
    assert body["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    assert [(item["object"], item["index"]) for item in body["data"]] == [
        ("embedding", 0),
        ("embedding", 1),
    ]
    assert answer.headers["x-jaxserve-ignored"] == "user"


def test_base64_holds_float32(c: TestClient) -> None:
    packed = embeddings(c, input="a d", encoding_format="base64")[0]
    assert np.frombuffer(base64.b64decode(packed), "<f4").tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": [[]]}, "input"),
        ({"input": ["a", 4]}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": [99]}, "input"),
        ({"input": "a b c d a b c"}, "input"),
        ({"input": ["a", "a b c d a b c"]}, "input[1]"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "a", "dimensions": 2}, "dimensions"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "truncate_prompt_tokens": 0}, "truncate_prompt_tokens"),
        ({"input": "a", "truncate_prompt_tokens": 9}, "truncate_prompt_tokens"),
        ({"input": "a", "prompt_name": "query"}, "prompt_name"),
        ({"input": "a", "messages": [{"role": "user", "content": "a"}]}, "messages"),
    ],
)
def test_what_can_not_be_done_is_refused_by_name(c: TestClient, body: Any, param: str) -> None:
    assert fault(c, "/v1/embeddings", **body)[:2] == (400, param)


def test_long_input_may_be_cut(c: TestClient) -> None:
    long = "a b c d a b c"
    assert embeddings(c, input=long, truncate_prompt_tokens=-1) == [[2, 2, 1, 1]]
    assert embeddings(c, input=long, truncate_prompt_tokens=4) == [[1, 1, 0, 0]]
    cut = embeddings(c, input=long, truncate_prompt_tokens=4, truncation_side="left")
    assert cut == [[0, 1, 1, 0]]


def test_vectors_of_a_matryoshka_model_may_be_short() -> None:
    with pooled_client(replace(EMBEDS, facts=SentenceFacts(any_size=True))) as c:
        assert embeddings(c, input="a a a b b b b", dimensions=2, truncate_prompt_tokens=-1)
        np.testing.assert_allclose(embeddings(c, input="a a b c", dimensions=1), [[1.0]])


def test_unit_length_can_be_asked_for(c: TestClient) -> None:
    np.testing.assert_allclose(embeddings(c, input="a b", normalize=True)[0][0], 0.5**0.5)
    with pooled_client(replace(EMBEDS, normalized=True)) as normalized:
        assert fault(normalized, "/v1/embeddings", input="a", normalize=False)[1] == "normalize"


def test_a_strict_server_refuses_what_has_no_effect() -> None:
    with pooled_client(config=ServerConfig(strict=True)) as c:
        assert fault(c, "/v1/embeddings", input="a", flavour=1)[:2] == (400, "flavour")
        assert embeddings(c, input="a") == [[1, 0, 0, 0]]


def test_a_text_that_fails_is_a_500_and_the_next_one_is_answered(c: TestClient) -> None:
    assert c.post("/v1/embeddings", json={"input": ["a", "e"]}).status_code == 500
    assert embeddings(c, input="a") == [[1, 0, 0, 0]]


def test_a_full_queue_is_a_429_that_says_when_to_come_back() -> None:
    engine = FakePoolingEngine(room=0)
    with pooled_client(engine=engine) as c:
        answer = c.post("/v1/embeddings", json={"input": "a"})
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "3")
        assert c.post("/api/embed", json={"input": "a"}).status_code == 503


def test_a_client_that_leaves_ends_its_texts() -> None:
    engine = FakePoolingEngine()
    engine.gate.clear()
    app = make_pooled_app(engine)
    body = b'{"input": ["a", "b", "c"]}'

    async def leave() -> None:
        messages = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> dict[str, Any]:
            for message in messages:
                return message
            await asyncio.to_thread(wait_until, lambda: engine.num_unfinished == 3)
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            pass

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/embeddings",
            "raw_path": b"/v1/embeddings",
            "query_string": b"",
            "headers": [],
            "app": app,
        }
        async with app.router.lifespan_context(app):
            await app(scope, receive, send)

    asyncio.run(leave())
    assert len(engine.aborted) == 3 and engine.num_unfinished == 0
    assert not app.state.server.in_flight
    engine.stop()


def test_text_embeddings_inference_gets_bare_lists(c: TestClient) -> None:
    answer = c.post("/embed", json={"inputs": ["a b", "c"], "truncate": True})
    np.testing.assert_allclose(answer.json(), [[0.5**0.5, 0.5**0.5, 0, 0], [0, 0, 1, 0]])
    bare = c.post("/", json={"inputs": "a a", "normalize": False})
    assert bare.json() == [[2, 0, 0, 0]]
    long = c.post("/embed", json={"inputs": "a b c d a b c"})
    assert (long.status_code, long.json()["error_type"]) == (422, "validation")
    cut = {"inputs": "a b c d a b c", "truncate": True, "truncation_direction": "Left"}
    assert c.post("/embed", json={**cut, "normalize": False}).json() == [[1, 2, 2, 1]]


def test_invocations_embed_too(c: TestClient) -> None:
    assert c.post("/invocations", json={"input": "a"}).json()["object"] == "list"
    assert c.post("/invocations", json={"inputs": "c"}).json() == [[0, 0, 1, 0]]


def test_ollama_cuts_and_normalizes_by_default(c: TestClient) -> None:
    body = c.post("/api/embed", json={"model": "tiny", "input": ["a b c d a b c", "d"]}).json()
    assert body["model"] == "tiny" and body["prompt_eval_count"] == 11
    np.testing.assert_allclose(np.linalg.norm(body["embeddings"], axis=1), [1, 1])
    refused = c.post("/api/embed", json={"input": "a b c d a b c", "truncate": False})
    assert refused.status_code == 400 and "at most 8 tokens" in refused.json()["error"]
    assert c.post("/api/embed", json={"input": []}).json()["embeddings"] == []
    assert c.post("/api/embeddings", json={"prompt": "a a"}).json() == {"embedding": [2, 0, 0, 0]}


def test_a_model_that_embeds_scores_by_similarity(c: TestClient) -> None:
    body = c.post("/score", json={"text_1": "a", "text_2": ["a a", "b", "a b"]}).json()
    scores = [item["score"] for item in body["data"]]
    np.testing.assert_allclose(scores, [1, 0, 0.5**0.5], atol=1e-6)
    assert body["usage"]["prompt_tokens"] == 3 + 4 + 3 + 4  # the query is read once


def test_a_classifier_scores_pairs() -> None:
    with pooled_client(SCORES) as c:
        one = c.post("/score", json={"queries": ["a", "b"], "items": ["a a", "c"]}).json()
        assert [item["score"] for item in one["data"]] == [3 + 30, 0 + 20]
        assert one["data"][0]["object"] == "score"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"text_1": "a"}, "queries"),
        ({"text_1": ["a", "b"], "text_2": ["a", "b", "c"]}, "text_1"),
        ({"text_1": "a", "text_2": []}, "text_2"),
        ({"text_1": "a", "text_2": "a b c d a b"}, "documents"),
        ({"text_1": "a", "text_2": "b", "max_tokens_per_doc": 3}, "max_tokens_per_doc"),
    ],
)
def test_pairs_that_are_none_are_refused(body: Any, param: str) -> None:
    with pooled_client(SCORES) as c:
        assert fault(c, "/score", **body)[:2] == (400, param)


def test_documents_are_ranked_best_first() -> None:
    with pooled_client(SCORES) as c:
        documents = ["b", {"text": "a a"}, "a"]
        body = c.post("/rerank", json={"query": "c", "documents": documents, "top_n": 2}).json()
        assert body["results"] == [
            {"index": 1, "relevance_score": 32, "document": {"text": "a a"}},
            {"index": 2, "relevance_score": 21, "document": {"text": "a"}},
        ]
        bare = {"query": "c", "documents": ["a"], "return_documents": False}
        assert c.post("/v2/rerank", json=bare).json()["results"] == [
            {"index": 0, "relevance_score": 21}
        ]


def test_texts_are_ranked_as_in_text_embeddings_inference() -> None:
    with pooled_client(replace(SCORES, facts=SentenceFacts())) as c:
        asked = {"query": "c", "texts": ["b", "a"], "raw_scores": True, "return_text": True}
        assert c.post("/rerank", json=asked).json() == [
            {"index": 1, "score": 21, "text": "a"},
            {"index": 0, "score": 20, "text": "b"},
        ]
        scores = c.post("/rerank", json={"query": "c", "texts": ["b"]}).json()
        assert scores[0]["score"] == pytest.approx(1.0)
        wrong = c.post("/rerank", json={"query": "c", "texts": []})
        assert (wrong.status_code, wrong.json()["error_type"]) == (422, "validation")


def test_labels_are_told_with_their_probabilities() -> None:
    with pooled_client(LABELS) as c:
        item = c.post("/classify", json={"input": "b b"}).json()["data"][0]
        assert (item["label"], item["num_classes"]) == ("bad", 3)
        np.testing.assert_allclose(sum(item["probs"]), 1.0, rtol=1e-6)
        raw = c.post("/classify", json={"input": "b b", "use_activation": False}).json()
        assert raw["data"][0]["probs"] == [0, 2, 0]
        ranked = c.post("/", json={"inputs": "b b", "parameters": {"top_k": 2}}).json()[0]
        assert [entry["label"] for entry in ranked] == ["bad", "good"]
        odd = {"inputs": "b", "parameters": {"function_to_apply": "sigmoid"}}
        assert c.post("/predict", json=odd).status_code == 422


def test_pooling_gives_what_the_model_gives(c: TestClient) -> None:
    body = c.post("/pooling", json={"input": "a", "task": "embed"}).json()
    assert body["data"] == [{"index": 0, "object": "pooling", "data": [1, 0, 0, 0]}]
    assert fault(c, "/pooling", input="a", task="classify")[:2] == (400, "task")
    with pooled_client(LABELS) as labels:
        raw = labels.post("/pooling", json={"input": "c", "use_activation": False}).json()
        assert raw["data"][0]["data"] == [0, 0, 1]


@pytest.mark.parametrize("path", ROUTES)
def test_a_model_that_generates_says_so_everywhere(path: str) -> None:
    with generating_client(ScriptedEngine([])) as c:
        answer = c.post(path, json=ROUTES[path])
        assert answer.status_code in (400, 422)
        assert "generates text" in answer.text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]}),
        ("/v1/completions", {"prompt": "a"}),
        ("/generate", {"inputs": "a"}),
        ("/api/chat", {"messages": [{"role": "user", "content": "a"}]}),
        ("/api/generate", {"prompt": "a"}),
    ],
)
def test_a_model_that_embeds_says_so_where_text_is_wanted(
    c: TestClient, path: str, body: Any
) -> None:
    answer = c.post(path, json=body)
    assert answer.status_code in (400, 422)
    assert "does not generate text: it embeds" in answer.text


@pytest.mark.parametrize(
    ("task", "path"),
    [(EMBEDS, "/classify"), (EMBEDS, "/predict"), (LABELS, "/v1/embeddings"),
     (LABELS, "/embed"), (LABELS, "/api/embed"), (LABELS, "/score"), (LABELS, "/rerank")],
)  # fmt: skip
def test_a_model_says_which_of_both_it_can(task: PooledTask, path: str) -> None:
    with pooled_client(task) as c:
        answer = c.post(path, json=ROUTES[path])
        assert answer.status_code in (400, 422)
        assert "the model served here" in answer.text


def test_the_model_is_described_by_what_it_does(c: TestClient) -> None:
    assert c.get("/info").json()["model_pipeline_tag"] == "feature-extraction"
    assert c.get("/info").json()["max_input_tokens"] == 8
    assert c.post("/api/show", json={"model": "tiny"}).json()["capabilities"] == ["embedding"]
    assert c.get("/health").status_code == 200


def test_tokens_can_be_asked_for(c: TestClient) -> None:
    body = c.post("/tokenize", json={"prompt": "a b"}).json()
    assert (body["tokens"], body["count"], body["max_model_len"]) == ([0, 4, 5, 1], 4, 8)
    spans = c.post("/tokenize", json={"inputs": "a b"}).json()
    assert [(span["id"], span["text"]) for span in spans][1:3] == [(4, "a"), (5, "b")]
    assert c.post("/detokenize", json={"tokens": [4]}).status_code == 200
    assert c.post("/detokenize", json={"tokens": [99]}).status_code == 400


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(
    "value", [None, 7, -1, "x", "", [], [[]], {}, {"a": 1}, True, 1e300, "e" * 5000]
)
def test_no_value_of_a_field_is_a_fault_of_ours(c: TestClient, path: str, value: Any) -> None:
    for name in {*ROUTES[path], "model", "dimensions", "truncate", "top_n", "prompt_name"}:
        answer = c.post(path, json={**ROUTES[path], name: value})
        assert answer.status_code in (200, 400, 404, 422), (name, answer.text)

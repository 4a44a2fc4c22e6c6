"""Hidden states and logits are those of transformers in float32, whatever stands beside a text."""

import inspect
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers

from jaxserve.models.attention import unpaged
from jaxserve.models.pooled_loading import LoadedPooledModel, is_pooled, load_pooled_model
from jaxserve.sharding.mesh import make_mesh
from tests.models.pooled_variants import POOLED_VARIANTS
from tests.models.tolerance import assert_agrees

FLOAT32 = jnp.dtype("float32")
LENGTH = 32
_DRAW = np.random.default_rng(1)
LONG, SHORT = (_DRAW.integers(2, 60, length) for length in (27, 11))
SavedPooled = Callable[[str], Path]


@pytest.fixture(scope="module")
def saved_pooled(tmp_path_factory: pytest.TempPathFactory) -> SavedPooled:
    @cache
    def save(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name)
        POOLED_VARIANTS[name].save(folder)
        return folder

    return save


def reference(name: str, folder: Path, tokens: np.ndarray, types: np.ndarray) -> np.ndarray:
    """The last hidden states of a text, or a classifier's logits for it, by transformers."""
    architecture = POOLED_VARIANTS[name].architecture
    classifies = architecture.endswith("ForSequenceClassification")
    auto = transformers.AutoModelForSequenceClassification if classifies else transformers.AutoModel
    model = auto.from_pretrained(folder, dtype=torch.float32)
    takes_types = "token_type_ids" in inspect.signature(model.forward).parameters
    more = {"token_type_ids": torch.tensor(types[None])} if takes_types else {}
    with torch.no_grad():
        told = model(torch.tensor(tokens[None]), **more)
    answer: np.ndarray = (told.logits if classifies else told.last_hidden_state)[0].numpy()
    return answer


def types_of(name: str, length: int) -> np.ndarray:
    """The second half belongs to a second text, where a model can tell."""
    config = POOLED_VARIANTS[name]
    num_types = {**config.base, **config.overrides}.get("type_vocab_size", 2)
    is_second = np.arange(length) >= length // 2
    return np.minimum(is_second, num_types - 1).astype(np.int64)


def compute(loaded: LoadedPooledModel, name: str) -> list[np.ndarray]:
    """What the model answers for LONG and SHORT in one batch with an idle row, beside garbage."""
    tokens = np.full((3, LENGTH), 59, np.int32)
    types = np.ones((3, LENGTH), np.int32)
    for row, text in enumerate((LONG, SHORT)):
        tokens[row, : len(text)] = text
        types[row, : len(text)] = types_of(name, len(text))
    lens = jnp.asarray([len(LONG), len(SHORT), 0], jnp.int32)

    def run(params: tuple[jax.Array, ...], *inputs: jax.Array) -> jax.Array:
        model = loaded.merge(params)
        return model(*inputs) if loaded.config.head else model.hidden_states(*inputs)

    answer = np.asarray(jax.jit(run)(loaded.params, jnp.asarray(tokens), jnp.asarray(types), lens))
    if loaded.config.head:
        return [answer[0], answer[1]]
    return [answer[0, : len(LONG)], answer[1, : len(SHORT)]]


def assert_parity(name: str, folder: Path, **mesh: Any) -> None:
    loaded = load_pooled_model(folder, dtype=FLOAT32, mesh=make_mesh(**mesh))
    for ours, text in zip(compute(loaded, name), (LONG, SHORT), strict=True):
        assert_agrees(ours, reference(name, folder, text, types_of(name, len(text))))


@pytest.mark.parametrize("name", POOLED_VARIANTS)
def test_it_agrees_with_transformers(name: str, saved_pooled: SavedPooled) -> None:
    assert is_pooled(saved_pooled(name))
    assert_parity(name, saved_pooled(name), tensor_parallel=1)


@pytest.mark.parametrize("name", ["modernbert", "mistral-window"])
def test_blocks_of_queries_agree(
    name: str, saved_pooled: SavedPooled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpaged, "QUERY_BLOCK_TOKENS", 8)
    assert_parity(name, saved_pooled(name), tensor_parallel=1)


@pytest.mark.parametrize("name", ["bert-labels", "modernbert-labels", "qwen3-labels"])
def test_tensor_parallel_agrees(name: str, saved_pooled: SavedPooled) -> None:
    assert_parity(name, saved_pooled(name), tensor_parallel=2)

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from jaxserve.models.attention.interface import AttentionMetadata
from jaxserve.models.attention.xla import XlaAttention
from jaxserve.models.cache import Cache, init_cache
from jaxserve.models.loading import LoadedModel, load_model
from jaxserve.sharding.mesh import make_mesh

METADATA = AttentionMetadata(
    positions=jnp.arange(4, dtype=jnp.int32),
    page_indices=jnp.array([[1, 0]], jnp.int32),
    kv_lens=jnp.array([4], jnp.int32),
    cu_q_lens=jnp.array([0, 4], jnp.int32),
    num_seqs=jnp.array([1], jnp.int32),
)


@pytest.fixture(scope="module")
def model(saved: Callable[[str], Path]) -> LoadedModel:
    dtype = jnp.dtype("bfloat16")
    return load_model(saved("llama"), dtype=dtype, mesh=make_mesh(tensor_parallel=1))


def empty(model: LoadedModel) -> Cache:
    dtype = jnp.dtype("bfloat16")
    sizes: dict[str, Any] = {"num_pages": 2, "page_size": 4, "num_slots": 1}
    return init_cache(model.config, XlaAttention(), **sizes, dtype=dtype)


def test_hidden_states_keep_the_dtype_of_the_weights_and_logits_are_float32(
    model: LoadedModel,
) -> None:
    decoder = model.merge(model.params)
    tokens = jnp.array([1, 2, 3, 4], jnp.int32)
    hidden, cache = decoder(
        tokens, empty(model), METADATA, attention=XlaAttention(), one_token_per_row=False
    )
    logits = decoder.logits(hidden)
    assert (hidden.shape, hidden.dtype) == ((4, 32), jnp.bfloat16)
    assert (logits.shape, logits.dtype) == ((4, 61), jnp.float32)
    assert np.isfinite(logits).all()
    assert [layer.dtype for layer in cache.pages] == [jnp.uint16] * 2  # the bits of bfloat16


def test_a_cache_is_that_of_the_same_layers(model: LoadedModel) -> None:
    decoder = model.merge(model.params)
    with pytest.raises(AssertionError, match="1 layers keep"):
        decoder(
            jnp.zeros(4, jnp.int32),
            Cache(empty(model).pages[:1], ()),
            METADATA,
            attention=XlaAttention(),
            one_token_per_row=False,
        )

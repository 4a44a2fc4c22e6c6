from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from jaxserve.models.attention.xla import XlaAttention
from jaxserve.models.cache import cache_shardings, init_cache, state_bytes_per_slot
from jaxserve.models.config import LayerConfig
from jaxserve.models.families.registry import read_model_config
from jaxserve.models.kv_cache import bytes_per_token
from jaxserve.models.recurrent.config import ShortConvConfig
from jaxserve.sharding.mesh import make_mesh
from tests.tiny_models import TINY_LLAMA

BFLOAT16 = jnp.dtype("bfloat16")
_, LLAMA = read_model_config(TINY_LLAMA, "config.json")
CONV = ShortConvConfig(channels=6, width=3, bias=False)
ATTENDS = LLAMA.layers[0]
CARRIES = LayerConfig(rope=None, recurrent=CONV)
HYBRID = replace(LLAMA, layers=(CARRIES, ATTENDS, CARRIES))
SIZES: dict[str, Any] = {"num_pages": 7, "page_size": 2, "num_slots": 3}


def test_layers_that_attend_keep_pages_and_the_others_a_row_per_slot() -> None:
    cache = init_cache(HYBRID, XlaAttention(), **SIZES, dtype=BFLOAT16)
    assert [pages.shape for pages in cache.pages] == [(7, 2, 4, 2, 8)]
    assert [[part.shape for part in state] for state in cache.states] == [[(3, 2, 6)]] * 2
    assert {array.dtype for array in jax.tree.leaves(cache.states)} == {BFLOAT16}
    assert {pages.dtype for pages in cache.pages} == {jnp.dtype("uint16")}  # the bits of bfloat16


def test_a_state_is_split_over_its_channels_and_never_over_slots() -> None:
    mesh, attention = make_mesh(tensor_parallel=2), XlaAttention()
    cache = init_cache(HYBRID, attention, **SIZES, dtype=BFLOAT16)
    placed = jax.tree.map(lambda to: to.spec, cache_shardings(HYBRID, attention, cache, mesh))
    state = (P(None, None, "tensor"),)
    assert placed == ((P(None, None, "tensor", None, None),), (state, state))


@pytest.mark.parametrize(("tensor_parallel", "share"), [(None, 1), (1, 1), (2, 2)])
def test_bytes_are_those_of_one_device_or_of_all(tensor_parallel: int | None, share: int) -> None:
    mesh = make_mesh(tensor_parallel=tensor_parallel) if tensor_parallel else None
    assert bytes_per_token(HYBRID, BFLOAT16, mesh=mesh) == 2 * 4 * 8 * 2 // share
    assert state_bytes_per_slot(HYBRID, BFLOAT16, mesh=mesh) == 2 * (2 * 6) * 2 // share
    assert state_bytes_per_slot(LLAMA, BFLOAT16, mesh=mesh) == 0

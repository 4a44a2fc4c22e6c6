"""What lives on the devices from step to step, how large is it, and where does each part go?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxserve.engine.sampling import SlotTable, empty_slots
from jaxserve.engine.sizes import EngineSizes
from jaxserve.models.attention.interface import AttentionBackend
from jaxserve.models.cache import Cache, cache_shardings, init_cache
from jaxserve.models.config import DecoderConfig


class DeviceState(NamedTuple):
    """What every program that changes it donates."""

    cache: Cache
    last_tokens: jax.Array  # i32[S]; the last token drawn in each slot
    slots: SlotTable


def device_state(
    config: DecoderConfig,
    attention: AttentionBackend,
    mesh: Mesh,
    *,
    sizes: EngineSizes,
    dtype: jnp.dtype,
    kv_dtype: jnp.dtype | None = None,
) -> tuple[Callable[[], DeviceState], Any]:
    """What makes the state of an idle engine, for tracing, and a tree like it of shardings."""

    def build() -> DeviceState:
        return DeviceState(
            cache=init_cache(
                config,
                attention,
                num_pages=sizes.num_pages,
                page_size=sizes.page_size,
                num_slots=sizes.max_batch_size,
                dtype=dtype,
                kv_dtype=kv_dtype,
            ),
            last_tokens=jnp.zeros(sizes.max_batch_size, jnp.int32),
            slots=empty_slots(sizes.max_batch_size, config.vocab_size),
        )

    shapes = jax.eval_shape(build)
    replicated = NamedSharding(mesh, PartitionSpec())
    shardings: Any = jax.tree.map(lambda _: replicated, shapes)
    shardings = shardings._replace(cache=cache_shardings(config, attention, shapes.cache, mesh))
    return build, shardings

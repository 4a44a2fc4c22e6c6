"""What does a decoder keep from step to step?

Keys and values of every token, in pages, for the layers that attend; a state of fixed size, a row
per slot, for those that carry one. A step is given all of it and gives it back.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jaxserve.models.attention.interface import AttentionBackend
from jaxserve.models.config import DecoderConfig
from jaxserve.models.kv_cache import Pages, init_pages, page_shardings
from jaxserve.models.recurrent.config import StateArray
from jaxserve.sharding.axes import SLOTS
from jaxserve.sharding.rules import sharding

States = tuple[tuple[jax.Array, ...], ...]
"""For each layer that carries a state the arrays it is made of, each [S, ...]."""


class Cache(NamedTuple):
    """Pages and states, each in the order of the layers that have them."""

    pages: Pages
    states: States


def cache_places(config: DecoderConfig) -> tuple[tuple[int, int], ...]:
    """For each layer which field of a Cache is its own, and the place therein.

    A layer that reads the keys and values of another has that one's place.
    """
    places: list[tuple[int, int]] = []
    num_taken = [0, 0]
    for layer in config.layers:
        if layer.kv_from is not None:
            places.append(places[layer.kv_from])
            continue
        field = 0 if layer.keeps_kv else 1
        places.append((field, num_taken[field]))
        num_taken[field] += 1
    return tuple(places)


def init_cache(
    config: DecoderConfig,
    attention: AttentionBackend,
    *,
    num_pages: int,
    page_size: int,
    num_slots: int,
    dtype: jnp.dtype,
    kv_dtype: jnp.dtype | None = None,
) -> Cache:
    """A cache without a sequence (trace it for the shapes alone).

    States are of `dtype`, and pages of `kv_dtype` or else that too.
    """
    pages = init_pages(
        config, attention, num_pages=num_pages, page_size=page_size, dtype=kv_dtype or dtype
    )
    states = tuple(
        tuple(jnp.zeros((num_slots, *part.shape), part.dtype or dtype) for part in state)
        for state in _states(config)
    )
    return Cache(pages, states)


def cache_shardings(
    config: DecoderConfig, attention: AttentionBackend, cache: Cache, mesh: Mesh
) -> Any:
    """Where `cache`, or one of its shapes, goes, as a tree like it; slots are never split."""
    states: Any = tuple(
        tuple(sharding((SLOTS, *part.axes), (1, *part.shape), mesh) for part in state)
        for state in _states(config)
    )
    pages: Any = page_shardings(attention, cache.pages, mesh)
    return Cache(pages, states)


def state_bytes_per_slot(
    config: DecoderConfig, dtype: jnp.dtype, *, mesh: Mesh | None = None
) -> int:
    """Bytes that are kept of a sequence whatever its length: on one device of `mesh`, or in all.

    0 where every layer attends.
    """

    def size(part: StateArray) -> int:
        shape = part.shape
        if mesh is not None:
            shape = sharding(part.axes, shape, mesh).shard_shape(shape)
        return math.prod(shape) * jnp.dtype(part.dtype or dtype).itemsize

    return sum(size(part) for state in _states(config) for part in state)


def _states(config: DecoderConfig) -> tuple[tuple[StateArray, ...], ...]:
    return tuple(layer.recurrent.state for layer in config.layers if layer.recurrent is not None)

"""How do low-rank adapters change what a decoder's linear layers give? (LoRA, arXiv:2106.09685)

Room for a fixed number of adapters of at most a rank lies on the devices, so that loading one
compiles nothing. Within a step every token has the adapter of its request: the layers that take
one are wrapped after the module is rebuilt, and no other part of the model knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from jaxserve.models.decoder import Decoder
from jaxserve.models.families.family import Family
from jaxserve.models.layers import FeedForward, Linear, dense_product
from jaxserve.models.self_attention import Attention
from jaxserve.sharding.rules import sharding


class Factors(NamedTuple):
    """What adapters add to one layer: `x down^T up^T`, the adapters' parts one after the other."""

    down: Any  # [num_adapters * max_rank, in]
    up: Any  # [out, num_adapters * max_rank], times the adapter's scale


Tables = dict[str, Factors]
"""The factors of every layer that takes adapters, by its path; empty where there is no room."""

Weights = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""One adapter: (down [rank, in], up [out, rank] times its scale) of the layers it changes."""


@dataclass(frozen=True, slots=True)
class Room:
    """How many adapters there may be at once, and their largest rank."""

    num_adapters: int
    max_rank: int

    @property
    def width(self) -> int:
        return self.num_adapters * self.max_rank


def takers(model: Decoder) -> Iterator[tuple[str, nnx.Module, str, Linear]]:
    """The layers that take adapters: path, the module they are in, their name in it, themselves."""
    for index, layer in enumerate(model.layers):
        for outer in ("self_attn", "mlp"):
            module = getattr(layer, outer)
            if not isinstance(module, Attention | FeedForward):
                continue
            for name, value in sorted(vars(module).items()):
                if isinstance(value, Linear):
                    yield f"layers.{index}.{outer}.{name}", module, name, value


def stored_names(model: Decoder, family: Family) -> dict[str, str]:
    """What checkpoints of the family call the layers that take adapters: our paths by name.

    Left out are layers that a checkpoint stores together, or in another order of numbers.
    """
    held = {path: name for name, path in family.modules.items() if isinstance(path, str)}
    names: dict[str, str] = {}
    for path, *_ in takers(model):
        layer = path.split(".")[1]
        stored = held.get(path.replace(f"layers.{layer}.", "layers.*.", 1))
        if stored is not None:
            names[stored.replace("*", layer)] = path
    return names


def tables_of(
    model: Decoder, adapters: Mapping[int, Weights], room: Room, *, dtype: jnp.dtype, mesh: Mesh
) -> Tables:
    """The tables of adapters by their place in the room; empty places add nothing."""
    return {
        path: _placed(linear, *_stacked(linear, adapters, room, path), dtype=dtype, mesh=mesh)
        for path, _, _, linear in takers(model)
    }


def adapt(model: Decoder, tables: Tables, room: Room, adapters: jax.Array) -> None:
    """Let the layers of `model` add what each token's adapter has for them.

    `model` was rebuilt within a traced function and is its own. `adapters` i32[T] counts from 1;
    tokens with 0 are left as they are.
    """
    if not tables:
        return
    width = next(iter(tables.values())).down.shape[0]
    place = jnp.arange(width) // room.max_rank
    chosen = adapters[:, None] == 1 + place  # [T, num_adapters * max_rank]
    for path, module, name, linear in list(takers(model)):
        setattr(module, name, partial(_adapted, linear, tables[path], chosen))


def _adapted(linear: Linear, factors: Factors, chosen: jax.Array, x: jax.Array) -> jax.Array:
    inner = jnp.where(chosen, dense_product(x, factors.down), 0.0).astype(x.dtype)
    return linear(x) + dense_product(inner, factors.up).astype(x.dtype)


def _stacked(
    linear: Linear, adapters: Mapping[int, Weights], room: Room, path: str
) -> tuple[np.ndarray, np.ndarray]:
    out_size, in_size = linear.sizes
    down = np.zeros((room.width, in_size), np.float32)
    up = np.zeros((out_size, room.width), np.float32)
    for place, weights in adapters.items():
        if path in weights:
            own_down, own_up = weights[path]
            first = place * room.max_rank
            down[first : first + len(own_down)] = own_down
            up[:, first : first + len(own_down)] = own_up
    return down, up


def _placed(
    linear: Linear, down: np.ndarray, up: np.ndarray, *, dtype: jnp.dtype, mesh: Mesh
) -> Factors:
    (out_axis, in_axis), (out_parts, in_parts) = linear.axes, linear.parts
    width = down.shape[0]
    return Factors(
        jax.device_put(down.astype(dtype), sharding((None, in_axis), (width, in_parts), mesh)),
        jax.device_put(up.astype(dtype), sharding((out_axis, None), (out_parts, width), mesh)),
    )

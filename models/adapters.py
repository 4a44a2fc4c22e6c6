"""How do low-rank adapters change what a decoder's linear layers give? (LoRA, arXiv:2106.09685)

Room for a fixed number of adapters of at most a rank lies on the devices, so that loading one
compiles nothing. Within a step every token has the adapter of its request: the layers that take
one are wrapped after the module is rebuilt, and no other part of the model knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from jaxserve.models.decoder import Decoder
from jaxserve.models.families.family import Family
from jaxserve.models.latent_attention import PerHead, per_head
from jaxserve.models.layers import Linear, dense_product
from jaxserve.models.stored import Layout, Piece, one, piece
from jaxserve.sharding.putting import put
from jaxserve.sharding.rules import sharding

Taker = Linear | PerHead
"""What can take adapters: a product with one matrix."""


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


def takers(model: Decoder) -> Iterator[tuple[str, nnx.Module, str, Taker]]:
    """What takes adapters: its path, the module that it is in, its name in there, itself."""
    for index, layer in enumerate(model.layers):
        for outer, module in nnx.iter_modules(layer):
            for name, value in sorted(vars(module).items()):
                if isinstance(value, Taker):
                    path = ".".join(map(str, ("layers", index, *outer, name)))
                    yield path, module, name, value


@dataclass(frozen=True, slots=True)
class Held:
    """What of a stored module's rows belongs to the layer at `path`."""

    path: str
    piece: Piece


Stored = Mapping[str, tuple[Held, ...]]
"""The modules of a checkpoint that adapters can change, by name, and what each holds."""


def stored_modules(model: Decoder, family: Family) -> Stored:
    """What of the family's checkpoints adapters can change.

    Left out are experts, and what is stored in another order of numbers than PEFT's factors.
    """
    layers = {path: layer for path, _, _, layer in takers(model)}
    modules: dict[str, tuple[Held, ...]] = {}
    for stored, layout in family.modules.items():
        layout = one(layout) if isinstance(layout, str) else layout
        if layout.is_tensor or layout.transposed or stored.count("*") != 1:
            continue
        for number in map(str, range(len(model.layers))):
            paths = [path.replace("*", number) for path in layout.paths]
            if layers.keys() >= set(paths):
                held = [layers[path] for path in paths]
                modules[stored.replace("*", number)] = _held(layout, paths, held)
    return modules


def _held(layout: Layout, paths: list[str], layers: list[Taker]) -> tuple[Held, ...]:
    sizes, heads = [layer.sizes for layer in layers], [layer.parts[0] for layer in layers]
    return tuple(Held(path, piece(layout, i, sizes, heads)) for i, path in enumerate(paths))


def tables_of(
    model: Decoder, adapters: Mapping[int, Weights], room: Room, *, dtype: jnp.dtype, mesh: Mesh
) -> Tables:
    """The tables of adapters by their place in the room; empty places add nothing."""
    return {
        path: _placed(layer, *_stacked(layer, adapters, room, path), dtype=dtype, mesh=mesh)
        for path, _, _, layer in takers(model)
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
    for path, module, name, layer in list(takers(model)):
        wrapper = _AdaptedLinear if isinstance(layer, Linear) else _AdaptedPerHead
        setattr(module, name, wrapper(layer, tables[path], chosen))


@dataclass(frozen=True, slots=True)
class _AdaptedLinear:
    """A `Linear` with what each token's adapter adds."""

    linear: Linear
    factors: Factors
    chosen: jax.Array

    def __call__(self, x: jax.Array) -> jax.Array:
        inner = dense_product(x, self.factors.down)
        inner = jnp.where(self.chosen, inner, 0.0).astype(x.dtype)
        return self.linear(x) + dense_product(inner, self.factors.up).astype(x.dtype)


@dataclass(frozen=True, slots=True)
class _AdaptedPerHead:
    """A `PerHead` with what each token's adapter adds, from either side."""

    matrices: PerHead
    factors: Factors
    chosen: jax.Array

    @property
    def num_heads(self) -> int:
        return self.matrices.num_heads

    def into_latent(self, heads: jax.Array) -> jax.Array:
        inner = self._chosen(per_head("tnh,nhw->tnw", heads, self._up))
        return self.matrices.into_latent(heads) + per_head("tnw,wr->tnr", inner, self.factors.down)

    def out_of_latent(self, heads: jax.Array) -> jax.Array:
        inner = self._chosen(per_head("tnr,wr->tnw", heads, self.factors.down))
        return self.matrices.out_of_latent(heads) + per_head("tnw,nhw->tnh", inner, self._up)

    def _chosen(self, inner: jax.Array) -> jax.Array:
        return jnp.where(self.chosen[:, None], inner, 0)

    @property
    def _up(self) -> jax.Array:
        """[N, size, width]."""
        up: jax.Array = self.factors.up
        return up.reshape(self.num_heads, -1, up.shape[-1])


def _stacked(
    layer: Taker, adapters: Mapping[int, Weights], room: Room, path: str
) -> tuple[np.ndarray, np.ndarray]:
    out_size, in_size = layer.sizes
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
    layer: Taker, down: np.ndarray, up: np.ndarray, *, dtype: jnp.dtype, mesh: Mesh
) -> Factors:
    (out_axis, in_axis), (out_parts, in_parts) = layer.axes, layer.parts
    width = down.shape[0]
    return Factors(
        put(down.astype(dtype), sharding((None, in_axis), (width, in_parts), mesh)),
        put(up.astype(dtype), sharding((out_axis, None), (out_parts, width), mesh)),
    )

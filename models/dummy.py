"""What numbers stand in for weights that are not there?

Random ones, made on the devices that hold them: speed and memory can be measured of any shape by
its config alone. They are about as large as those of a model before its training, so that hidden
states and logits stay finite. What comes of them is noise.
"""

from __future__ import annotations

import zlib
from functools import partial

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from jaxserve.models.converted import Layout
from jaxserve.models.quantization import DTYPES

DEVIATION = 0.02  # of the weights of products, and of what quantised ones stand for
_DEVIATIONS = {DTYPES["int8"]: 73.9, DTYPES["int4"]: 4.6, DTYPES["fp8"]: 1.0}  # of held values


def random_params(wanted: Layout) -> tuple[jax.Array, ...]:
    """An array for each leaf of `wanted`; the same numbers on every mesh."""
    return tuple(_param(path, wanted) for path in wanted)


def _param(path: str, wanted: Layout) -> jax.Array:
    leaf = wanted[path]
    module, _, name = path.rpartition(".")
    if name == "scales":
        held = jnp.dtype(wanted[f"{module}.values"].dtype)
        return _constant(leaf.shape, leaf.dtype, leaf.sharding, DEVIATION / _DEVIATIONS[held])
    if len(leaf.shape) < 2:  # norms leave what they are given as large as it was
        return _constant(leaf.shape, leaf.dtype, leaf.sharding, float(name == "weight"))
    return _drawn(jnp.uint32(zlib.crc32(path.encode())), leaf.shape, leaf.dtype, leaf.sharding)


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _constant(
    shape: tuple[int, ...], dtype: jnp.dtype, sharding: NamedSharding, number: float
) -> jax.Array:
    return jax.lax.with_sharding_constraint(jnp.full(shape, number, dtype), sharding)


@partial(jax.jit, static_argnums=(1, 2, 3))
def _drawn(
    seed: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype, sharding: NamedSharding
) -> jax.Array:
    key = jax.random.key(seed)
    if jnp.issubdtype(dtype, jnp.integer):
        numbers = jax.random.bits(key, shape, jnp.uint8)
        drawn = jax.lax.bitcast_convert_type(numbers, dtype)
    else:
        deviation = 1.0 if dtype == DTYPES["fp8"] else DEVIATION
        drawn = (jax.random.normal(key, shape, jnp.bfloat16) * deviation).astype(dtype)
    return jax.lax.with_sharding_constraint(drawn, sharding)

"""How are keys and values kept in less than four bytes a number?

In a byte, a vector of a token and head is rounded by itself, and its scale follows it in the last
two bytes: pages stay one array, a token's row is written at once, and no page depends on when it
was written. In two bytes, they are the bits of bfloat16: to write a row into an array of bfloat16,
XLA widens the whole of it on a CPU and rounds it again. Knows neither pages nor attention.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

INT8, FP8 = jnp.dtype("int8"), jnp.dtype("float8_e4m3fn")
_BYTES_OF_FP8 = jnp.dtype("uint8")  # floats of eight bits would be widened on their way, and scales
_BFLOAT16, _BITS_OF_BFLOAT16 = jnp.dtype("bfloat16"), jnp.dtype("uint16")
_SCALE = _BFLOAT16
_AS_BITS: dict[jnp.dtype, jnp.dtype] = {FP8: _BYTES_OF_FP8, _BFLOAT16: _BITS_OF_BFLOAT16}
_LARGEST = {INT8: 127.0, _BYTES_OF_FP8: 448.0}


def stored_as(dtype: jnp.dtype) -> jnp.dtype:
    """The type of the array that holds vectors which are kept as `dtype`."""
    return _AS_BITS.get(dtype, dtype)


def length(size: int, dtype: jnp.dtype) -> int:
    """How many numbers of `stored_as(dtype)` a vector of `size` takes, its scale included."""
    return size + _SCALE.itemsize if _has_scale(stored_as(dtype)) else size


def size(length: int, stored: jnp.dtype) -> int:
    """Of how many numbers a vector is that takes `length`."""
    return length - _SCALE.itemsize if _has_scale(stored) else length


def keep(vectors: jax.Array, stored: jnp.dtype) -> jax.Array:
    """[..., length] in the type `stored`, from [..., size]."""
    if stored == _BITS_OF_BFLOAT16:
        return lax.bitcast_convert_type(vectors.astype(_BFLOAT16), stored)
    if not _has_scale(stored):
        return vectors.astype(stored)
    vectors = vectors.astype(jnp.float32)
    largest = jnp.max(jnp.abs(vectors), axis=-1, keepdims=True)
    # Vectors of zeros are zeros with any scale but zero.
    scales = (jnp.maximum(largest, 1e-30) / _LARGEST[stored]).astype(_SCALE)
    scaled = vectors / scales.astype(jnp.float32)
    scaled = scaled.clip(-_LARGEST[stored], _LARGEST[stored])
    if stored == INT8:
        values = jnp.round(scaled).astype(INT8)
    else:
        values = lax.bitcast_convert_type(scaled.astype(FP8), stored)
    return jnp.concatenate([values, lax.bitcast_convert_type(scales[..., 0], stored)], axis=-1)


def recall(kept: jax.Array) -> jax.Array:
    """f32[..., size] from [..., length]."""
    if kept.dtype == _BITS_OF_BFLOAT16:
        return lax.bitcast_convert_type(kept, _BFLOAT16).astype(jnp.float32)
    if not _has_scale(kept.dtype):
        return kept.astype(jnp.float32)
    values, scales = jnp.split(kept, [size(kept.shape[-1], kept.dtype)], axis=-1)
    if kept.dtype != INT8:
        values = lax.bitcast_convert_type(values, FP8)
    scales = lax.bitcast_convert_type(scales, _SCALE)[..., None]
    return values.astype(jnp.float32) * scales.astype(jnp.float32)


def _has_scale(stored: jnp.dtype) -> bool:
    return stored in _LARGEST

"""How do positions turn queries and keys?

Rotary position embedding as Hugging Face lays it out: number i of a head is turned together with
number i + half, or with its neighbour where the config says so. Angles are float32 and computed
once per step for each kind of layer. Knows nothing of config.json: `rope_config.py` reads that.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxserve.models.config import (
    LinearScaling,
    Llama3Scaling,
    LongScaling,
    ProportionalScaling,
    QueryGrowth,
    RopeConfig,
    YarnScaling,
)


def inverse_frequencies(rope: RopeConfig, head_dim: int, *, max_model_len: int) -> np.ndarray:
    """f32[turned / 2]: radians per position. `max_model_len` decides between LongRoPE's two sets.

    Rounded to float32 after each operation, as transformers does, since the last bit counts: at
    position 100,000 it is 0.006 radians. The power is taken in float64 because numpy's own in
    float32 is off by that bit for one frequency in five.
    """
    turned = int(head_dim * rope.fraction)
    exponents = np.arange(0, turned, 2, dtype=np.float32) / np.float32(turned)
    powers = (np.float64(rope.theta) ** exponents.astype(np.float64)).astype(np.float32)
    frequencies = np.float32(1.0) / powers
    match rope.scaling:
        case None:
            return frequencies
        case LinearScaling(factor=factor):
            return frequencies / np.float32(factor)
        case Llama3Scaling():
            return _llama3(frequencies, rope.scaling)
        case YarnScaling():
            return _yarn(powers, rope.scaling, rope.theta)
        case LongScaling() as long:
            is_long = max_model_len > long.original_max_len
            factors = long.long_factors if is_long else long.short_factors
            return np.float32(1.0) / (np.asarray(factors, np.float32) * powers)
        case ProportionalScaling(fraction=fraction, factor=factor):
            turns = np.arange(len(frequencies)) < int(fraction * turned // 2)
            return np.where(turns, frequencies / np.float32(factor), np.float32(0.0))


def _llama3(frequencies: np.ndarray, scaling: Llama3Scaling) -> np.ndarray:
    low, high = np.float32(scaling.low_freq_factor), np.float32(scaling.high_freq_factor)
    wavelengths = np.float32(2 * math.pi) / frequencies
    turns = np.float32(scaling.original_max_len) / wavelengths  # in the pretraining's context
    # Llama 4 has no ramp: low and high are one.
    kept = np.clip((turns - low) / (high - low), 0, 1) if high > low else turns > low
    scaled: np.ndarray = (1 - kept) * frequencies / np.float32(scaling.factor) + kept * frequencies
    return scaled


def _yarn(powers: np.ndarray, scaling: YarnScaling, theta: float) -> np.ndarray:
    """Frequencies that turn more than `beta_fast` times in the pretraining's context are kept."""
    turned = 2 * len(powers)

    def dimension_of(num_turns: float) -> float:
        wavelength = scaling.original_max_len / (num_turns * 2 * math.pi)
        return turned * math.log(wavelength) / (2 * math.log(theta))

    first, last = dimension_of(scaling.beta_fast), dimension_of(scaling.beta_slow)
    if scaling.truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, turned - 1)
    width = np.float32(last - first or 0.001)  # a ramp of no width would divide by zero
    ramp = np.clip((np.arange(len(powers), dtype=np.float32) - np.float32(first)) / width, 0, 1)
    kept = 1 - ramp
    scaled: np.ndarray = (1 / (np.float32(scaling.factor) * powers)) * (1 - kept) + kept / powers
    return scaled


class Rotation(NamedTuple):
    """By how much the heads of each token are turned."""

    cos: jax.Array  # f32[T, 1, turned / 2]
    sin: jax.Array  # f32[T, 1, turned / 2]
    query_scale: jax.Array | None = None  # f32[T, 1, 1]
    interleaved: bool = False


def rotation(
    positions: jax.Array, rope: RopeConfig, head_dim: int, *, max_model_len: int
) -> Rotation:
    """The turn at each of `positions`, i32[T]."""
    frequencies = jnp.asarray(inverse_frequencies(rope, head_dim, max_model_len=max_model_len))
    angles = (positions.astype(jnp.float32)[:, None] * frequencies)[:, None, :]
    length = _attention_factor(rope)
    growth = rope.query_growth
    return Rotation(
        jnp.cos(angles) * length,
        jnp.sin(angles) * length,
        None if growth is None else _query_scale(positions, growth),
        rope.interleaved,
    )


def _attention_factor(rope: RopeConfig) -> float:
    match rope.scaling:
        case YarnScaling(attention_factor=factor) | LongScaling(attention_factor=factor):
            return factor
        case _:
            return 1.0


def _query_scale(positions: jax.Array, growth: QueryGrowth) -> jax.Array:
    contexts = ((positions + growth.first) // growth.original_max_len).astype(jnp.float32)
    return (1 + growth.beta * jnp.log1p(contexts))[:, None, None]


def rotate(heads: jax.Array, by: Rotation) -> jax.Array:
    """Turn `heads` [T, heads, H]; computed in float32, returned in its own dtype."""
    num_turned = 2 * by.cos.shape[-1]
    wide = heads.astype(jnp.float32)
    turned = _turned(wide[..., :num_turned], by)
    return jnp.concatenate([turned, wide[..., num_turned:]], axis=-1).astype(heads.dtype)


def grown(queries: jax.Array, by: Rotation) -> jax.Array:
    """`queries` [T, heads, H], longer the later they are where the config has it so."""
    if by.query_scale is None:
        return queries
    return (queries.astype(jnp.float32) * by.query_scale).astype(queries.dtype)


def _turned(x: jax.Array, by: Rotation) -> jax.Array:
    if by.interleaved:
        first, second = x[..., 0::2], x[..., 1::2]
    else:
        first, second = jnp.split(x, 2, axis=-1)
    turned = (first * by.cos - second * by.sin, second * by.cos + first * by.sin)
    if by.interleaved:
        return jnp.stack(turned, axis=-1).reshape(x.shape)
    return jnp.concatenate(turned, axis=-1)

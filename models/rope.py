"""How do positions turn queries and keys?

Rotary position embedding as Hugging Face lays it out: number i of a head is turned together with
number i + head_dim / 2. Angles are float32 and computed once per step.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxserve.models.config import LinearScaling, Llama3Scaling, RopeConfig
from jaxserve.models.reader import ConfigReader

DEFAULT_THETA = 10000.0
SCALINGS = ("default", "linear", "llama3")


def read_rope(raw: ConfigReader, *, max_model_len: int) -> RopeConfig:
    """Read `rope_parameters`, or `rope_theta` and `rope_scaling` as older files spell it."""
    theta = raw.number("rope_theta", DEFAULT_THETA)
    older, newer = raw.table("rope_scaling"), raw.table("rope_parameters")
    if older and newer:
        raise raw.wrong("rope_scaling", "given", "left out where rope_parameters is given")
    table = older or newer
    if table is None:
        return RopeConfig(theta=theta)
    theta = table.number("rope_theta", theta)
    kind = table.choice("type", "default", SCALINGS)
    kind = table.choice("rope_type", kind, SCALINGS)
    table.require("partial_rotary_factor", 1.0)
    scaling = _read_scaling(table, kind, max_model_len)
    table.refuse_rest({})
    return RopeConfig(theta=theta, scaling=scaling)


def _read_scaling(
    table: ConfigReader, kind: str, max_model_len: int
) -> LinearScaling | Llama3Scaling | None:
    if kind == "default":
        return None
    if kind == "linear":
        return LinearScaling(factor=table.number("factor"))
    low, high = table.number("low_freq_factor"), table.number("high_freq_factor")
    if high <= low:
        raise table.wrong("high_freq_factor", high, f"above low_freq_factor, {low}")
    return Llama3Scaling(
        factor=table.number("factor"),
        low_freq_factor=low,
        high_freq_factor=high,
        original_max_len=table.integer("original_max_position_embeddings", max_model_len),
    )


def inverse_frequencies(rope: RopeConfig, head_dim: int) -> np.ndarray:
    """f32[H/2]: radians per position.

    Rounded to float32 after each operation, as transformers does, since the last bit counts: at
    position 100,000 it is 0.006 radians. The power is taken in float64 because numpy's own in
    float32 is off by that bit for one frequency in five.
    """
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    powers = np.float64(rope.theta) ** exponents.astype(np.float64)
    frequencies = np.float32(1.0) / powers.astype(np.float32)
    match rope.scaling:
        case None:
            return frequencies
        case LinearScaling(factor=factor):
            return frequencies / np.float32(factor)
        case Llama3Scaling():
            return _llama3(frequencies, rope.scaling)


def _llama3(frequencies: np.ndarray, scaling: Llama3Scaling) -> np.ndarray:
    low, high = np.float32(scaling.low_freq_factor), np.float32(scaling.high_freq_factor)
    wavelengths = np.float32(2 * math.pi) / frequencies
    turns = np.float32(scaling.original_max_len) / wavelengths  # in the pretraining's context
    kept = np.clip((turns - low) / (high - low), 0, 1)
    scaled: np.ndarray = (1 - kept) * frequencies / np.float32(scaling.factor) + kept * frequencies
    return scaled


class Rotation(NamedTuple):
    """By how much the heads of each token are turned."""

    cos: jax.Array  # f32[T, 1, H/2]
    sin: jax.Array  # f32[T, 1, H/2]


def rotation(positions: jax.Array, rope: RopeConfig, head_dim: int) -> Rotation:
    """The turn at each of `positions`, i32[T]."""
    frequencies = jnp.asarray(inverse_frequencies(rope, head_dim))
    angles = (positions.astype(jnp.float32)[:, None] * frequencies)[:, None, :]
    return Rotation(jnp.cos(angles), jnp.sin(angles))


def rotate(heads: jax.Array, by: Rotation) -> jax.Array:
    """Turn `heads` [T, heads, H]; computed in float32, returned in its own dtype."""
    first, second = jnp.split(heads.astype(jnp.float32), 2, axis=-1)
    turned = (first * by.cos - second * by.sin, second * by.cos + first * by.sin)
    return jnp.concatenate(turned, axis=-1).astype(heads.dtype)

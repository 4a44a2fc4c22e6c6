"""How is a product computed with a weight that is not stored as floats?

The one place that makes floats of quantised values again. Where a scale belongs to a row, it is
applied to the product, and what the product reads are the values; with scales for runs of columns
the floats are made first, and XLA fuses that into the product where it can. Modules hold such a
weight as they hold an array and never know.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from jaxserve.models.grouping import grouped_product
from jaxserve.models.latent_attention import PerHead
from jaxserve.models.layers import Embedding, Linear, dense_product, param
from jaxserve.models.moe import ExpertLinear
from jaxserve.models.quantization import INT4_OFFSET, Made, Quantization
from jaxserve.sharding.axes import GROUPS, TENSOR, LogicalAxes
from jaxserve.sharding.rules import RULES

QUANTIZABLE = (Linear, Embedding, ExpertLinear, PerHead)
Choice = Callable[[str, tuple[int, ...]], Quantization | None]
"""How the weight at a path, of a shape, is stored; None: as floats."""


class QuantizedWeight(nnx.Module):
    """Values [..., out, in], and scales and zero points [..., out, groups]."""

    def __init__(
        self,
        shape: tuple[int, ...],
        axes: LogicalAxes,
        *,
        parts: tuple[int, ...],
        quantization: Quantization,
        dtype: jnp.dtype,
        is_made: bool,
    ):
        """`dtype` is that of the floats it stands for. `is_made` of floats, not read as it is."""
        beside = quantization.scales_shape(shape)
        beside_axes = (*axes[:-1], _groups_axis(axes[-1], beside[-1]))
        beside_parts = (*parts[:-1], math.gcd(beside[-1], parts[-1]))
        self.quantization = quantization
        self.dtype = dtype
        made = Made(quantization, shape) if is_made else None
        empty = partial(param, beside, beside_axes, parts=beside_parts, made=made)
        held = quantization.values_shape(shape)
        self.values = param(
            held,
            axes,
            dtype=quantization.value_dtype,
            parts=(*parts[:-1], math.gcd(held[-1], parts[-1])),
            made=made,
        )
        self.scales = empty(dtype=jnp.dtype(quantization.scale_dtype))
        self.zeros = empty(dtype=quantization.zero_dtype) if quantization.has_zeros else None

    def product(self, x: jax.Array) -> jax.Array:
        """f32[T, out] from [T, in]."""
        return self.arrays.product(x)

    def rows(self, index: jax.Array) -> jax.Array:
        """[T, in] for i32[T], clipped to the rows there are."""
        taken = self.arrays.map(lambda part: jnp.take(part, index, axis=0, mode="clip"))
        return taken.floats(self.dtype)

    def floats(self) -> jax.Array:
        """[..., out, in]: what it stands for."""
        return self.arrays.floats(self.dtype)

    def slab(self, number: jax.Array) -> QuantizedArrays:
        """The weight of one expert."""
        return self.arrays.map(lambda part: part[number])

    def grouped_product(self, rows: jax.Array, counts: jax.Array) -> jax.Array:
        """f32[N, out]: as `grouping.grouped_product`."""
        arrays = self.arrays
        if arrays.has_groups:
            return grouped_product(rows, arrays.floats(rows.dtype), counts)
        products = grouped_product(rows, arrays.numbers(rows.dtype), counts)
        scales = arrays.scales[..., 0].astype(jnp.float32)
        return products * jnp.repeat(scales, counts, axis=0, total_repeat_length=len(rows))

    @property
    def arrays(self) -> QuantizedArrays:
        zeros = None if self.zeros is None else self.zeros[...]
        return QuantizedArrays(self.values[...], self.scales[...], zeros, self.quantization)


@dataclass(frozen=True, slots=True)
class QuantizedArrays:
    """The numbers of a quantised weight, or of a part of it."""

    values: jax.Array  # [..., in], or half of it
    scales: jax.Array  # [..., groups]
    zeros: jax.Array | None  # [..., groups]
    quantization: Quantization

    @property
    def has_groups(self) -> bool:
        """Whether there is more to it than a scale for each row."""
        return self.scales.shape[-1] > 1 or self.zeros is not None

    def map(self, take: Callable[[jax.Array], jax.Array]) -> QuantizedArrays:
        zeros = None if self.zeros is None else take(self.zeros)
        return QuantizedArrays(take(self.values), take(self.scales), zeros, self.quantization)

    def product(self, x: jax.Array) -> jax.Array:
        """f32[T, out] from [T, in]."""
        if self.has_groups:
            return dense_product(x, self.floats(x.dtype))
        match self.quantization.int8_inputs:
            case "never":
                products = dense_product(x, self.numbers(x.dtype))
            case "always":
                products = _int8_product(x, self.values)
            case "on_cpu":
                products = lax.platform_dependent(
                    x, self.values, cpu=_int8_product, default=_widened_product
                )
        return products * self.scales[:, 0].astype(jnp.float32)

    def numbers(self, dtype: jnp.dtype) -> jax.Array:
        """[..., in]: the values as numbers, before zero points and scales."""
        if self.quantization.values != "int4":
            return self.values.astype(dtype)
        nibbles = jnp.stack([self.values & 15, self.values >> 4], axis=-1)
        wide = nibbles.reshape(*self.values.shape[:-1], -1)
        return (wide.astype(jnp.int8) - INT4_OFFSET).astype(dtype)

    def floats(self, dtype: jnp.dtype) -> jax.Array:
        """[..., in]: what the values stand for."""
        floats = self.numbers(jnp.dtype(jnp.float32))
        num_columns = floats.shape[-1]
        size = self.quantization.group_size or num_columns

        def spread(beside: jax.Array) -> jax.Array:
            return jnp.repeat(beside.astype(jnp.float32), size, axis=-1)[..., :num_columns]

        if self.zeros is not None:
            floats = floats - spread(self.zeros)
        return (floats * spread(self.scales)).astype(dtype)


def _widened_product(x: jax.Array, values: jax.Array) -> jax.Array:
    return dense_product(x, values.astype(x.dtype))


def _int8_product(x: jax.Array, values: jax.Array) -> jax.Array:
    """f32[T, out]: each row of x is rounded to int8 by its largest magnitude.

    On a CPU this reads a quarter of what float32 does and needs no conversion of weights.
    """
    x = x.astype(jnp.float32)
    scales = jnp.maximum(jnp.max(jnp.abs(x), axis=1, keepdims=True), 1e-30) / 127.0
    rounded = jnp.round(x / scales).astype(jnp.int8)
    # One row falls off XLA's fast path on a CPU, and is slower than two.
    padded = jnp.pad(rounded, ((0, 1), (0, 0))) if len(x) == 1 else rounded
    sums = lax.dot_general(
        padded, values, (((1,), (1,)), ((), ())), preferred_element_type=jnp.int32
    )
    return sums[: len(x)].astype(jnp.float32) * scales


def quantize_modules(model: nnx.Module, choice: Choice, *, is_made: bool) -> None:
    """Put quantised weights, still empty, in the place of those that `choice` says.

    They are to be made of the floats that are stored, or else to be read as they are.
    """
    for path, module in nnx.iter_modules(model):
        if not isinstance(module, QUANTIZABLE) or isinstance(module.weight, QuantizedWeight):
            continue
        dense = module.weight
        shape, dtype = dense.get_value().shape, dense.get_value().dtype
        quantization = choice(".".join(map(str, (*path, "weight"))), shape)
        if quantization is not None:
            module.weight = QuantizedWeight(
                shape,
                dense.axes,
                parts=dense.parts,
                quantization=quantization,
                dtype=dtype,
                is_made=is_made,
            )


def quantizations(model: nnx.Module) -> dict[str, Quantization]:
    """How the quantised weights of `model` are held, by their paths."""
    return {
        ".".join(map(str, path)): module.quantization
        for path, module in nnx.iter_modules(model)
        if isinstance(module, QuantizedWeight)
    }


def _groups_axis(axis: str | None, num_groups: int) -> str | None:
    is_split = axis is not None and RULES[axis].mesh_axis == TENSOR
    return GROUPS if is_split and num_groups > 1 else None

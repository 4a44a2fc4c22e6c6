"""What are the small parts that decoders are built from?

Named like Hugging Face's, so that a checkpoint key reads as a path into the module. Every Param
says under `axes` what its dimensions are, and under `parts` how many pieces of each must stay
whole (heads, not heads times head_dim); `sharding/rules.py` needs no more. Values start as zeros:
`weights.py` makes the real ones. Products accumulate in float32 whatever the weights are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from jaxserve.models.config import DecoderConfig
from jaxserve.models.quantization import Made
from jaxserve.sharding.axes import EMBED, MLP, LogicalAxes

_FLOAT32 = jnp.dtype("float32")
_LONG = 256  # rows of a product
ACTIVATIONS: Mapping[str, Callable[[jax.Array], jax.Array]] = {
    "silu": jax.nn.silu,
    "gelu": partial(jax.nn.gelu, approximate=False),
    "gelu_fast": partial(jax.nn.gelu, approximate=True),
    "gelu_new": partial(jax.nn.gelu, approximate=True),
    "gelu_pytorch_tanh": partial(jax.nn.gelu, approximate=True),
    "relu": jax.nn.relu,
    "relu2": lambda x: jnp.square(jax.nn.relu(x)),
}


def param(
    shape: tuple[int, ...],
    axes: LogicalAxes,
    *,
    dtype: jnp.dtype,
    parts: tuple[int, ...] | None = None,
    made: Made | None = None,
) -> Any:
    """A parameter whose dimension i is `parts[i]` (default: `shape[i]`) pieces of `axes[i]`.

    `made` says that it belongs to a weight that is stored as floats and becomes so when read.
    """
    return nnx.Param(jnp.zeros(shape, dtype), axes=axes, parts=parts or shape, made=made)


Weight = Any
"""What a module holds as its weight: a Param, or a `quantized.QuantizedWeight`."""


def product(x: jax.Array, weight: Weight) -> jax.Array:
    """f32[T, out] from [T, in] and a weight [out, in], however it is stored."""
    return dense_product(x, weight[...]) if is_dense(weight) else weight.product(x)


def rows(weight: Weight, index: jax.Array) -> jax.Array:
    """[T, in] for i32[T]: rows of a weight [out, in], clipped to those there are."""
    if is_dense(weight):
        return jnp.take(weight[...], index, axis=0, mode="clip")
    return weight.rows(index)


def slab(weight: Weight, number: jax.Array) -> Weight:
    """The weight [out, in] of one of the experts of a weight [E, out, in]."""
    return weight[...][number] if is_dense(weight) else weight.slab(number)


def floats(weight: Weight) -> jax.Array:
    """The weight itself, where nothing but floats will do."""
    return weight[...] if is_dense(weight) else weight.floats()


def is_dense(weight: Weight) -> bool:
    """Whether it is stored as floats."""
    return isinstance(weight, nnx.Variable | jax.Array)


def dense_product(x: jax.Array, weight: jax.Array, *, dtype: jnp.dtype = _FLOAT32) -> jax.Array:
    """`product` with an array, in `dtype`; summed in float32."""
    # GPU and TPU round float32 factors to fewer bits unless told not to.
    exact = lax.Precision.HIGHEST if weight.dtype == jnp.float32 else lax.Precision.DEFAULT
    return lax.dot_general(
        x, weight, (((1,), (1,)), ((), ())), precision=exact, preferred_element_type=dtype
    )


def rounded_product(x: jax.Array, weight: Weight) -> jax.Array:
    """`product`, rounded to the dtype of x.

    Long products of a GPU or TPU write it so themselves: rounding in kernels of its own costs a GPU
    a twelfth of a prefill. With few rows it is fused anyway, and parts that a product is split
    into are summed in what is written.
    """
    if len(x) < _LONG or not is_dense(weight) or x.dtype != weight.dtype:
        return product(x, weight).astype(x.dtype)

    def written(dtype: jnp.dtype) -> Callable[[jax.Array, jax.Array], jax.Array]:
        return lambda x, weight: dense_product(x, weight, dtype=dtype).astype(x.dtype)

    # A CPU's fast products are those that give float32.
    return lax.platform_dependent(
        x, weight[...], cpu=written(jnp.dtype("float32")), default=written(x.dtype)
    )


def scaled(x: jax.Array, by: float) -> jax.Array:
    """`x` times a constant, which is first rounded to x's type, as transformers does."""
    return x if by == 1.0 else x * jnp.asarray(by, x.dtype)


class Linear(nnx.Module):
    """`x W^T + b`, from [T, in] to [T, out] in the dtype of x. `sizes` and `axes` are (out, in)."""

    def __init__(
        self,
        sizes: tuple[int, int],
        axes: tuple[str | None, str | None],
        *,
        bias: bool,
        dtype: jnp.dtype,
        parts: tuple[int, int] | None = None,
    ):
        parts = parts or sizes
        self.sizes, self.axes, self.parts = sizes, axes, parts
        self.weight = param(sizes, axes, dtype=dtype, parts=parts)
        self.bias = param(sizes[:1], axes[:1], dtype=dtype, parts=parts[:1]) if bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        if self.bias is None:
            return rounded_product(x, self.weight)
        return (product(x, self.weight) + self.bias[...].astype(jnp.float32)).astype(x.dtype)


class Embedding(nnx.Module):
    """Rows of a table [V, D], looked up by token or compared with all of them."""

    def __init__(self, num_rows: int, size: int, axes: LogicalAxes, *, dtype: jnp.dtype):
        self.weight = param((num_rows, size), axes, dtype=dtype)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        """[T, D] for i32[T]; a token outside the table gives garbage, never an error."""
        return rows(self.weight, tokens)


class FeedForward(nnx.Module):
    """`down(activation(up(x)))`, or with a gate `down(activation(gate(x)) * up(x))`
    (arXiv:2002.05202). `mlp_dim` is the width inside, where it is not the config's."""

    def __init__(self, config: DecoderConfig, *, dtype: jnp.dtype, mlp_dim: int | None = None):
        inner, outer = mlp_dim or config.mlp_dim, config.embed_dim
        linear = partial(Linear, bias=config.mlp_bias, dtype=dtype)
        self.gate_proj = linear((inner, outer), (MLP, EMBED)) if config.gated_mlp else None
        self.up_proj = linear((inner, outer), (MLP, EMBED))
        self.down_proj = linear((outer, inner), (EMBED, MLP))
        self.activation = config.activation

    def __call__(self, x: jax.Array) -> jax.Array:
        activation = ACTIVATIONS[self.activation]
        if self.gate_proj is None:
            return self.down_proj(activation(self.up_proj(x)))
        return self.down_proj(activation(self.gate_proj(x)) * self.up_proj(x))

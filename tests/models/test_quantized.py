"""A product with stored values is that with the floats they stand for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxserve.models.grouping import grouped_product
from jaxserve.models.latent_attention import PerHead
from jaxserve.models.quantization import Quantization, pack_int4
from jaxserve.models.quantized import QuantizedArrays, QuantizedWeight
from tests.models.tolerance import assert_agrees

FLOAT32 = jnp.dtype("float32")
DRAW = np.random.default_rng(0)
X = jnp.asarray(DRAW.normal(size=(5, 64)), jnp.float32)
FORMS = {
    "int8 by row": Quantization(values="int8"),
    "int8 by group": Quantization(values="int8", group_size=16),
    "int4 by group": Quantization(values="int4", group_size=32, scale_dtype="bfloat16"),
    "int4 with zeros": Quantization(values="int4", group_size=16, has_zeros=True),
    "int8 with zeros by row": Quantization(values="int8", has_zeros=True),
    "fp8 by row": Quantization(values="fp8"),
    "fp8 with an uneven last group": Quantization(values="fp8", group_size=48),
}


def random_weight(form: Quantization, *shape: int) -> QuantizedWeight:
    """A weight with any values, and with the floats that NumPy makes of them."""
    axes = ("experts", "mlp", "embed")[-len(shape) :]
    weight = QuantizedWeight(
        shape, axes, parts=shape, quantization=form, dtype=FLOAT32, is_made=False
    )
    drawn = DRAW.normal(size=shape) if form.values == "fp8" else DRAW.integers(-8, 8, shape)
    held = pack_int4(drawn) if form.values == "int4" else drawn.astype(np.float32)
    weight.values[...] = jnp.asarray(held, weight.values.dtype)
    scales = DRAW.uniform(0.5, 2, weight.scales.shape)
    weight.scales[...] = jnp.asarray(scales, weight.scales.dtype)
    if weight.zeros is not None:
        weight.zeros[...] = jnp.asarray(
            DRAW.integers(-8, 9, weight.zeros.shape), weight.zeros.dtype
        )
    return weight


def unpacked(held: np.ndarray, form: Quantization) -> np.ndarray:
    if form.values != "int4":
        return held.astype(np.float32)
    columns = [held[..., column // 2] >> 4 * (column % 2) & 15 for column in range(64)]
    return np.stack(columns, axis=-1).astype(np.float32) - 8


def floats_of(weight: QuantizedWeight) -> np.ndarray:
    """Written out in NumPy, a column at a time."""
    values = unpacked(np.asarray(weight.values[...]), weight.quantization)
    scales = np.asarray(weight.scales[...].astype(jnp.float32))
    zeros = np.zeros_like(scales) if weight.zeros is None else np.asarray(weight.zeros[...])
    size = weight.quantization.group_size or values.shape[-1]
    columns = [
        (values[..., column] - zeros[..., column // size]) * scales[..., column // size]
        for column in range(values.shape[-1])
    ]
    return np.stack(columns, axis=-1)


@pytest.mark.parametrize("name", FORMS)
def test_products_are_those_of_the_floats(name: str) -> None:
    weight = random_weight(FORMS[name], 24, 64)
    assert_agrees(weight.product(X), np.asarray(X) @ floats_of(weight).T)


@pytest.mark.parametrize("name", FORMS)
def test_matrices_of_heads_are_those_of_the_floats(name: str) -> None:
    dense, held = (PerHead(3, 8, 64, dtype=FLOAT32) for _ in range(2))
    held.weight = random_weight(FORMS[name], 24, 64)
    dense.weight[...] = jnp.asarray(floats_of(held.weight))
    heads, latents = jnp.ones((5, 3, 8)), jnp.stack([X] * 3, axis=1)
    assert_agrees(held.into_latent(heads), dense.into_latent(heads))
    assert_agrees(held.out_of_latent(latents), dense.out_of_latent(latents))


@pytest.mark.parametrize("name", FORMS)
def test_rows_are_those_of_the_floats(name: str) -> None:
    weight = random_weight(FORMS[name], 24, 64)
    found = weight.rows(jnp.asarray([3, 0, 23, 99]))
    assert_agrees(found, floats_of(weight)[[3, 0, 23, 23]])


@pytest.mark.parametrize("name", FORMS)
def test_products_of_experts_are_those_of_the_floats(name: str) -> None:
    weight = random_weight(FORMS[name], 3, 24, 64)
    floats, counts = jnp.asarray(floats_of(weight)), jnp.asarray([2, 0, 3])
    assert_agrees(weight.grouped_product(X, counts), grouped_product(X, floats, counts))
    assert_agrees(weight.slab(jnp.asarray(2)).product(X), np.asarray(X) @ floats_of(weight)[2].T)


def test_int8_inputs_are_rounded_by_row() -> None:
    weight = random_weight(Quantization(values="int8", int8_inputs="always"), 24, 64)
    x = np.asarray(X)
    scales = np.abs(x).max(1, keepdims=True) / 127
    rounded = np.rint(x / scales) * scales
    assert_agrees(weight.product(X), rounded @ floats_of(weight).T)


def test_int8_inputs_of_one_row_are_those_of_that_row_among_others() -> None:
    weight = random_weight(Quantization(values="int8", int8_inputs="always"), 24, 64)
    np.testing.assert_array_equal(weight.product(X[2:3]), weight.product(X)[2:3])


def test_int8_inputs_of_zeros_give_zeros() -> None:
    weight = random_weight(Quantization(values="int8", int8_inputs="always"), 24, 64)
    assert not np.asarray(weight.product(jnp.zeros((2, 64)))).any()


@pytest.mark.parametrize("name", ["int8 by row", "int4 by group", "fp8 by row"])
def test_bfloat16_is_summed_in_float32(name: str) -> None:
    weight = random_weight(FORMS[name], 24, 64)
    product = weight.product(X.astype(jnp.bfloat16))
    assert product.dtype == jnp.float32
    expected = np.asarray(X) @ floats_of(weight).T
    assert np.abs(product - expected).max() < 0.02 * np.abs(expected).max()


def test_a_scale_per_row_is_not_spread_over_the_weight() -> None:
    """The floats of a weight are never made where a product of values will do."""

    def product(values: jax.Array, scales: jax.Array) -> jax.Array:
        return QuantizedArrays(values, scales, None, FORMS["int8 by row"]).product(X)

    weight = random_weight(FORMS["int8 by row"], 24, 64)
    operations = jax.make_jaxpr(product)(weight.values[...], weight.scales[...]).eqns
    of_weights = [e.primitive.name for e in operations if e.outvars[0].aval.shape == (24, 64)]
    assert of_weights == ["convert_element_type"]

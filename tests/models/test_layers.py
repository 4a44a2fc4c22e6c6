import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from transformers import LlamaConfig
from transformers.activations import ACT2FN
from transformers.models.llama.modeling_llama import LlamaMLP

from jaxserve.models.families.registry import read_model_config
from jaxserve.models.layers import ACTIVATIONS, Embedding, FeedForward, Linear, rounded_product
from tests.models.tolerance import assert_agrees

FLOAT32, BFLOAT16 = jnp.dtype("float32"), jnp.dtype("bfloat16")
X = np.random.default_rng(0).normal(size=(5, 32)).astype(np.float32)


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_agree(name: str) -> None:
    x = np.linspace(-6, 6, 101, dtype=np.float32)
    assert_agrees(ACTIVATIONS[name](jnp.asarray(x)), ACT2FN[name](torch.tensor(x)).numpy())


def test_mlp_agrees() -> None:
    raw = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "mlp_bias": True}
    _, config = read_model_config({"architectures": ["LlamaForCausalLM"], **raw}, "config.json")
    ours, reference = FeedForward(config, dtype=FLOAT32), LlamaMLP(LlamaConfig(**raw))
    for name in ("gate_proj", "up_proj", "down_proj"):
        there, here = getattr(reference, name), getattr(ours, name)
        here.weight[...] = jnp.asarray(there.weight.detach().numpy())
        here.bias[...] = jnp.asarray(there.bias.detach().numpy())
    assert_agrees(ours(jnp.asarray(X)), reference(torch.tensor(X)).detach().numpy())


def test_linear_accumulates_bfloat16_in_float32() -> None:
    # A sum of 512 ones that steps in bfloat16 sticks at 256.
    linear = Linear((2, 512), ("mlp", "embed"), bias=False, dtype=BFLOAT16)
    linear.weight[...] = jnp.ones((2, 512), BFLOAT16)
    out = linear(jnp.ones((2, 512), BFLOAT16))
    assert out.dtype == BFLOAT16
    np.testing.assert_array_equal(out.astype(jnp.float32), np.full((2, 2), 512.0))


def test_parameters_say_what_their_dimensions_are() -> None:
    linear = Linear((8, 6), ("kv_heads", "embed"), bias=True, dtype=FLOAT32, parts=(2, 6))
    assert linear.weight.axes == ("kv_heads", "embed") and linear.weight.parts == (2, 6)
    assert linear.bias is not None
    assert linear.bias.axes == ("kv_heads",) and linear.bias.parts == (2,)


def test_embedding_of_a_token_outside_the_table_is_no_error() -> None:
    embedding = Embedding(4, 3, ("vocab", "embed"), dtype=FLOAT32)
    embedding.weight[...] = jnp.arange(12.0).reshape(4, 3)
    rows = embedding(jnp.array([1, 99], jnp.int32))
    np.testing.assert_array_equal(rows[0], [3.0, 4.0, 5.0])
    assert np.isfinite(rows).all()


@pytest.mark.parametrize("num_rows", [5, 300])
def test_a_rounded_product_is_the_product_rounded_once(num_rows: int) -> None:
    x, weight = random(num_rows, 64), random(48, 64)
    rounded = [jnp.asarray(each, BFLOAT16) for each in (x, weight)]
    exact = np.asarray(rounded[0], np.float64) @ np.asarray(rounded[1], np.float64).T
    got = rounded_product(*rounded)
    assert got.dtype == BFLOAT16
    np.testing.assert_allclose(got.astype(FLOAT32), exact, rtol=2**-8, atol=1e-5)


@pytest.mark.parametrize(("num_rows", "written"), [(255, "f32"), (256, "bf16")])
def test_a_gpu_writes_long_products_in_bfloat16_and_short_ones_in_float32(
    num_rows: int, written: str
) -> None:
    shapes = [jax.ShapeDtypeStruct((rows, 64), BFLOAT16) for rows in (num_rows, 48)]
    traced = jax.jit(rounded_product).trace(*shapes)
    product = f"tensor<48x64xbf16>) -> tensor<{num_rows}x48x{written}>"
    assert product in traced.lower(lowering_platforms=("cuda",)).as_text()
    assert f"-> tensor<{num_rows}x48xf32>" in traced.lower(lowering_platforms=("cpu",)).as_text()

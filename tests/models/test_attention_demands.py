from dataclasses import replace

import jax
import jax.numpy as jnp

from jaxserve.models.attention.interface import AttentionSpec
from jaxserve.models.attention.kv_row import KVRow
from jaxserve.models.attention_demands import demands_of, spec_of
from jaxserve.models.config import DecoderConfig, LatentConfig, LayerConfig, NormConfig, RopeConfig

FULL = LayerConfig(rope=RopeConfig(theta=1e4))
MODEL = DecoderConfig(
    vocab_size=64,
    embed_dim=32,
    mlp_dim=48,
    num_q_heads=8,
    num_kv_heads=4,
    head_dim=16,
    layers=(FULL, replace(FULL, window=9), FULL, replace(FULL, kv_from=2)),
    norm=NormConfig(eps=1e-5),
    activation="silu",
    tied_embeddings=True,
    max_model_len=128,
    attention_sinks=True,
    attention_softcap=30.0,
)
FLOAT32, INT8 = jnp.dtype("float32"), jnp.dtype("int8")


def test_each_kind_of_layer_is_asked_for_once() -> None:
    device = jax.devices()[0]
    demands = demands_of(MODEL, dtype=FLOAT32, kv_dtype=INT8, page_size=16, device=device)
    assert [layer.spec.window for layer in demands.layers] == [None, 9]
    assert {layer.row for layer in demands.layers} == {KVRow(num_heads=4, head_dim=16)}
    assert all(layer.sinks and layer.num_q_heads == 8 for layer in demands.layers)
    assert (demands.platform, demands.kv_dtype, demands.page_size) == ("cpu", INT8, 16)


def test_a_layer_says_what_its_attention_computes() -> None:
    assert spec_of(MODEL, MODEL.layers[1]) == AttentionSpec(scale=0.25, window=9, softcap=30.0)


def test_values_of_latents_are_the_first_numbers_of_keys() -> None:
    latent = LatentConfig(kv_rank=24, q_rank=None, plain_dim=8, rope_dim=6, value_dim=8, eps=1e-6)
    assert spec_of(replace(MODEL, latent=latent), FULL).value_dim == 24

"""The bytes that are counted are the bytes that are held, on every device."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest

from jaxserve.models.attention.xla import XlaAttention
from jaxserve.models.config import DecoderConfig, LatentConfig, LayerConfig, NormConfig, RopeConfig
from jaxserve.models.kv_cache import bytes_per_token, init_pages, page_shardings
from jaxserve.sharding.mesh import make_mesh

LATENT = LatentConfig(kv_rank=24, q_rank=None, plain_dim=8, rope_dim=6, value_dim=8, eps=1e-6)
BFLOAT16 = jnp.dtype("bfloat16")
GROUPED = DecoderConfig(
    vocab_size=64,
    embed_dim=32,
    mlp_dim=48,
    num_q_heads=8,
    num_kv_heads=4,
    head_dim=6,
    layers=(LayerConfig(rope=RopeConfig(theta=1e4)),) * 3,
    norm=NormConfig(eps=1e-5),
    activation="silu",
    tied_embeddings=True,
    max_model_len=128,
)


@pytest.mark.parametrize(
    ("tensor_parallel", "numbers"),
    [(1, 3 * 4 * 2 * 6), (2, 3 * 2 * 2 * 6), (8, 3 * 4 * 2 * 6)],
    ids=["whole", "split by KV head", "replicated where heads do not divide"],
)
def test_bytes_per_token_follow_the_rows_and_the_mesh(tensor_parallel: int, numbers: int) -> None:
    mesh = make_mesh(tensor_parallel=tensor_parallel)
    assert bytes_per_token(GROUPED, BFLOAT16, mesh=mesh) == 2 * numbers


@pytest.mark.parametrize("dtype", ["bfloat16", "int8", "float8_e4m3fn"])
def test_bytes_per_token_are_those_of_the_pages_on_one_device(dtype: str) -> None:
    attention, mesh = XlaAttention(), make_mesh(tensor_parallel=2)
    kind = jnp.dtype(dtype)
    pages = init_pages(GROUPED, attention, num_pages=5, page_size=4, dtype=kind)
    placed = jax.device_put(pages, page_shardings(attention, pages, mesh))
    held = sum(array.addressable_shards[0].data.nbytes for array in placed)
    assert held == 5 * 4 * bytes_per_token(GROUPED, kind, mesh=mesh)


@pytest.mark.parametrize("tensor_parallel", [1, 2])
def test_of_a_token_with_latents_every_device_keeps_one_latent_and_the_turned_key(
    tensor_parallel: int,
) -> None:
    config = replace(GROUPED, latent=LATENT)
    attention, mesh = XlaAttention(), make_mesh(tensor_parallel=tensor_parallel)
    num_bytes = bytes_per_token(config, BFLOAT16, mesh=mesh)
    assert num_bytes == (24 + 6) * BFLOAT16.itemsize * config.num_layers
    pages = init_pages(config, attention, num_pages=3, page_size=4, dtype=BFLOAT16)
    assert sum(array.nbytes for array in pages) == 3 * 4 * num_bytes

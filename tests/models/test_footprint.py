import jax.numpy as jnp

from jaxserve.models.families.registry import read_model_config
from jaxserve.models.footprint import footprint
from tests.tiny_models import TINY_LLAMA, llama_shapes


def test_weights_and_kv_are_counted_from_the_config() -> None:
    raw = {**TINY_LLAMA, "num_key_value_heads": 2}
    _, config = read_model_config(raw, "config.json")
    needs = footprint(config, jnp.dtype("bfloat16"))
    shapes = llama_shapes(raw).values()
    num_params = sum(shape[0] * (shape[1] if len(shape) > 1 else 1) for shape in shapes)
    assert needs.num_params == num_params
    assert needs.weights_bytes == 2 * num_params
    assert needs.kv_bytes_per_token == 2 * 2 * 2 * 8 * 2  # K and V, layers, heads, size, bytes


def test_a_tied_embedding_counts_once() -> None:
    sizes = []
    for tied in (True, False):
        _, config = read_model_config({**TINY_LLAMA, "tie_word_embeddings": tied}, "config.json")
        sizes.append(footprint(config, jnp.dtype("float32")).num_params)
    assert sizes[1] - sizes[0] == 64 * 32

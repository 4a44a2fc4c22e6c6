from typing import Any

import jax.numpy as jnp
import pytest

from jaxserve.errors import CheckpointError, UnsupportedModel
from jaxserve.models.cache import cache_places
from jaxserve.models.config import DecoderConfig
from jaxserve.models.families.registry import read_model_config
from jaxserve.models.kv_cache import bytes_per_token

# Every second layer attends to everything, and the last four read the keys and values of others.
SMALL: dict[str, Any] = {
    "architectures": ["Gemma4ForCausalLM"],
    "hidden_size": 64,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "global_head_dim": 32,
    "layer_types": ["sliding_attention", "full_attention"] * 6,
    "num_kv_shared_layers": 4,
    "use_bidirectional_attention": "vision",
}


def read(**changes: Any) -> DecoderConfig:
    return read_model_config({**SMALL, **changes}, "config.json")[1]


def test_layers_differ_by_kind() -> None:
    config = read(use_double_wide_mlp=True)
    sliding, full = config.layers[:2]
    assert (sliding.head_dim, sliding.window) == (16, 512)
    assert (full.head_dim, full.window) == (32, None)
    assert [layer.mlp_dim for layer in config.layers] == [None] * 8 + [2 * 9216] * 4


def test_the_last_layers_read_what_the_last_of_their_kind_keeps() -> None:
    config = read()
    assert [layer.kv_from for layer in config.layers] == [None] * 8 + [6, 7, 6, 7]
    places = [(0, place) for place in (*range(8), 6, 7, 6, 7)]
    assert list(cache_places(config)) == places


def test_only_layers_with_keys_and_values_of_their_own_take_memory() -> None:
    num_numbers = 4 * 2 * 2 * 16 + 4 * 2 * 2 * 32  # layers, K and V, heads, size
    assert bytes_per_token(read(), jnp.dtype("bfloat16")) == 2 * num_numbers


def test_sizes_may_be_said_layer_by_layer() -> None:
    without = {key: value for key, value in SMALL.items() if key != "global_head_dim"}
    of_full = {f"{index:02}": {"head_dim": 32} for index in range(1, 12, 2)}
    by_layer = {**without, "per_layer_config": of_full}
    assert read_model_config(by_layer, "config.json")[1] == read()


def test_heads_of_full_layers_are_fewer_only_where_their_keys_are_values() -> None:
    assert read(num_global_key_value_heads=1).layers[1].num_kv_heads == 2
    config = read(num_global_key_value_heads=1, attention_k_eq_v=True)
    assert [layer.num_kv_heads for layer in config.layers[:2]] == [2, 1]
    assert [layer.values_are_keys for layer in config.layers[:2]] == [False, True]


def test_the_last_layer_attends_to_everything() -> None:
    assert (
        read(layer_types=["sliding_attention"] * 12, num_kv_shared_layers=0).layers[-1]
        == (read(num_kv_shared_layers=0).layers[-1])
    )


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"use_bidirectional_attention": "all"}, "use_bidirectional_attention = 'all'"),
        ({"per_layer_config": {"00": {"sliding_window": 3}}}, "sliding_window = 3"),
        ({"per_layer_config": {"12": {"head_dim": 8}}}, "12 = {'head_dim': 8}"),
    ],
)
def test_what_is_not_handled_is_refused_by_name(changes: dict[str, Any], names: str) -> None:
    with pytest.raises(UnsupportedModel, match=names):
        read(**changes)


def test_layers_cannot_share_with_a_kind_that_keeps_nothing() -> None:
    with pytest.raises(CheckpointError, match="num_kv_shared_layers = 11: it must be so few"):
        read(num_kv_shared_layers=11)

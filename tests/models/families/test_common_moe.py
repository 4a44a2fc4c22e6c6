"""What files of families with experts say is read, or refused by name."""

from typing import Any

import pytest

from jaxserve.errors import CheckpointError, UnsupportedModel
from jaxserve.models.config import DecoderConfig
from jaxserve.models.families.registry import read_model_config

# What a released file says beside what transformers has a default for.
RELEASED: dict[str, dict[str, Any]] = {
    "Dots1ForCausalLM": {"n_routed_experts": 128, "n_shared_experts": 2, "num_experts_per_tok": 6},
    "Glm4MoeForCausalLM": {"head_dim": 128},
    "HunYuanMoEV1ForCausalLM": {"num_experts": 64},
}


def read(architecture: str, **changes: Any) -> DecoderConfig:
    raw = {"architectures": [architecture], **RELEASED.get(architecture, {}), **changes}
    return read_model_config(raw, "config.json")[1]


def sparse_layers(config: DecoderConfig) -> list[int]:
    return [index for index, layer in enumerate(config.layers) if layer.moe is not None]


@pytest.mark.parametrize(
    ("architecture", "changes", "sparse"),
    [
        ("MixtralForCausalLM", {}, [0, 1, 2, 3, 4, 5]),
        ("Qwen3MoeForCausalLM", {"decoder_sparse_step": 2, "mlp_only_layers": [3]}, [1, 5]),
        ("Glm4MoeForCausalLM", {"first_k_dense_replace": 4}, [4, 5]),
        ("Ernie4_5_MoeForCausalLM", {}, [1, 2, 3, 4, 5]),
        (
            "Ernie4_5_MoeForCausalLM",
            {"moe_layer_start_index": 0, "moe_layer_end_index": 4, "moe_layer_interval": 3},
            [2],
        ),
    ],
)
def test_layers_with_experts_are_those_the_file_says(
    architecture: str, changes: dict[str, Any], sparse: list[int]
) -> None:
    assert sparse_layers(read(architecture, num_hidden_layers=6, **changes)) == sparse


def test_experts_are_counted_under_either_name() -> None:
    names = (
        {"num_experts": 64},
        {"num_local_experts": 64},
        {"num_experts": 64} | {"num_local_experts": 64},
    )
    for given in names:
        moe = read("Qwen3MoeForCausalLM", **given).layers[0].moe
        assert moe is not None
        assert moe.routing.num_experts == 64


def test_each_layer_may_choose_as_many_experts_as_it_likes() -> None:
    config = read("HunYuanMoEV1ForCausalLM", num_hidden_layers=3, moe_topk=[8, 2, 8])
    assert [layer.moe and layer.moe.routing.num_chosen for layer in config.layers] == [8, 2, 8]


@pytest.mark.parametrize(
    ("architecture", "changes", "names"),
    [
        (
            "MixtralForCausalLM",
            {"num_experts_per_tok": 9},
            "num_experts_per_tok = 9: it must be at",
        ),
        ("Qwen3MoeForCausalLM", {"num_experts": 8, "num_local_experts": 9}, "num_local_experts"),
        ("Qwen3MoeForCausalLM", {"mlp_only_layers": [-1]}, r"mlp_only_layers = \[-1\]"),
        ("Glm4MoeForCausalLM", {"n_group": 3}, "n_group = 3: it must be a divisor of the 128"),
        ("Glm4MoeForCausalLM", {"n_group": 128}, "n_group = 128: it must .* 2 or more in a group"),
        ("Glm4MoeForCausalLM", {"n_group": 4, "topk_group": 5}, "topk_group = 5: it must be at"),
        ("HunYuanMoEV1ForCausalLM", {"moe_topk": [8, 8]}, r"moe_topk = \[8, 8\]: .* list of 32"),
        ("HunYuanMoEV1ForCausalLM", {"moe_topk": 65}, "moe_topk = 65: it must be at most num_exp"),
        ("MiniMaxM2ForCausalLM", {"rotary_dim": 129}, "rotary_dim = 129: it must be even"),
    ],
)
def test_values_that_make_no_model_are_named(
    architecture: str, changes: dict[str, Any], names: str
) -> None:
    with pytest.raises(CheckpointError, match=f"config.json: {names}"):
        read(architecture, **changes)


@pytest.mark.parametrize(
    ("architecture", "changes", "names"),
    [
        ("OlmoeForCausalLM", {"clip_qkv": 8.0}, "clip_qkv = 8.0"),
        ("Dots1ForCausalLM", {"scoring_func": "softmax"}, "scoring_func = 'softmax'"),
        ("Dots1ForCausalLM", {"topk_method": "greedy"}, "topk_method = 'greedy'"),
        ("Dots1ForCausalLM", {"moe_layer_freq": 2}, "moe_layer_freq = 2"),
        ("Ernie4_5_MoeForCausalLM", {"moe_gate": "hash"}, "moe_gate = 'hash'"),
        ("Ernie4_5_MoeForCausalLM", {"use_bias": True}, "use_bias = True .* tie_word_embeddings"),
        ("HunYuanMoEV1ForCausalLM", {"num_shared_expert": [2] * 32}, "num_shared_expert = 2"),
        ("HunYuanMoEV1ForCausalLM", {"moe_intermediate_size": 7}, "moe_intermediate_size = 7"),
        ("MiniMaxM2ForCausalLM", {"attn_type_list": [1] * 61 + [2]}, "attn_type_list = 2"),
        ("MiniMaxM2ForCausalLM", {"qk_norm_type": "per_head"}, "qk_norm_type = 'per_head'"),
        ("GraniteMoeForCausalLM", {"shared_intermediate_size": 7}, "shared_intermediate_size = 7"),
        ("Qwen2MoeForCausalLM", {"n_shared_experts": 2}, "n_shared_experts = 2"),
    ],
)
def test_what_is_not_computed_is_refused_by_name(
    architecture: str, changes: dict[str, Any], names: str
) -> None:
    with pytest.raises(UnsupportedModel, match=names):
        read(architecture, **changes)


def test_a_released_gpt_oss_reads() -> None:
    spelled_older = {
        "experts_per_token": 4,
        "initial_context_length": 4096,
        "rope_theta": 150000,
        "rope_scaling": {
            "beta_fast": 32.0,
            "beta_slow": 1.0,
            "factor": 32.0,
            "original_max_position_embeddings": 4096,
            "rope_type": "yarn",
            "truncate": False,
        },
        "swiglu_limit": 7.0,
    }
    assert read("GptOssForCausalLM", **spelled_older) == read("GptOssForCausalLM")
    config = read("GptOssForCausalLM", num_hidden_layers=4)
    assert [layer.window for layer in config.layers] == [128, None, 128, None]


def test_a_released_hunyuan_reads() -> None:
    config = read(
        "HunYuanMoEV1ForCausalLM",
        attention_head_dim=128,
        auto_map={"AutoModel": "hunyuan.Model"},
        cla_share_factor=2,
        dense_list=[4096, 0],
        group_limited_greedy=False,
        intermediate_size=3072,
        moe_drop_tokens=False,
        moe_intermediate_size=[3072] * 32,
        moe_topk=[8] * 32,
        num_key_value_heads=8,
        num_shared_expert=[1] * 32,
        routed_scaling_factor=False,
        use_cla=False,
        use_mixed_mlp_moe=True,
        vit_type=None,
        vit_token=64,
    )
    assert {layer.moe and layer.moe.routing.num_chosen for layer in config.layers} == {8}
    assert {layer.moe and layer.moe.shared_mlp_dim for layer in config.layers} == {3072}
    with pytest.raises(UnsupportedModel, match="attention_head_dim = 64"):
        read("HunYuanMoEV1ForCausalLM", attention_head_dim=64)


def test_llama4_turns_no_heads_in_every_fourth_layer() -> None:
    layers = read("Llama4ForCausalLM", num_hidden_layers=5, no_rope_layers=[]).layers
    assert [layer.chunk for layer in layers] == [8192, 8192, 8192, None, 8192]
    assert [layer.rope and layer.rope.fraction for layer in layers] == [1.0, 1.0, 1.0, 0.0, 1.0]
    listed = read("Llama4ForCausalLM", num_hidden_layers=2, no_rope_layers=[0, 1]).layers
    assert [layer.rope and layer.rope.fraction for layer in listed] == [0.0, 1.0]
    assert sparse_layers(read("Llama4ForCausalLM", num_hidden_layers=4, moe_layers=[2])) == [2]


def test_attention_factors_that_differ_by_length_are_refused() -> None:
    rope = {
        "type": "longrope",
        "short_factor": [1.0] * 64,
        "long_factor": [2.0] * 64,
        "short_mscale": 1.2,
        "long_mscale": 1.3,
    }
    with pytest.raises(UnsupportedModel, match=r"long_mscale = 1.3 .* only short_mscale = 1.2"):
        read("PhiMoEForCausalLM", rope_scaling=rope)

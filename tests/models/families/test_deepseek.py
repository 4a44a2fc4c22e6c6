"""Configs laid out as in released DeepSeek-V2-Lite and DeepSeek-V3."""

import math
from typing import Any

import pytest

from jaxserve.errors import CheckpointError, UnsupportedModel
from jaxserve.models.config import DecoderConfig, ExpertGroups
from jaxserve.models.families.registry import read_model_config

COMMON = {
    "attention_bias": False,
    "attention_dropout": 0.0,
    "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekV2Config"},
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "kv_lora_rank": 512,
    "max_position_embeddings": 163840,
    "moe_layer_freq": 1,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "rms_norm_eps": 1e-06,
    "rope_theta": 10000,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.33.1",
    "use_cache": True,
    "v_head_dim": 128,
}
YARN = {
    "beta_fast": 32,
    "beta_slow": 1,
    "factor": 40,
    "original_max_position_embeddings": 4096,
    "type": "yarn",
}
V2_LITE = {
    **COMMON,
    "architectures": ["DeepseekV2ForCausalLM"],
    "aux_loss_alpha": 0.001,
    "bos_token_id": 100000,
    "eos_token_id": 100001,
    "first_k_dense_replace": 1,
    "hidden_size": 2048,
    "intermediate_size": 10944,
    "model_type": "deepseek_v2",
    "moe_intermediate_size": 1408,
    "n_group": 1,
    "n_routed_experts": 64,
    "n_shared_experts": 2,
    "norm_topk_prob": False,
    "num_attention_heads": 16,
    "num_experts_per_tok": 6,
    "num_hidden_layers": 27,
    "num_key_value_heads": 16,
    "pretraining_tp": 1,
    "q_lora_rank": None,
    "rope_scaling": {**YARN, "mscale": 0.707, "mscale_all_dim": 0.707},
    "routed_scaling_factor": 1.0,
    "scoring_func": "softmax",
    "seq_aux": True,
    "topk_group": 1,
    "topk_method": "greedy",
    "vocab_size": 102400,
}
V3 = {
    **COMMON,
    "architectures": ["DeepseekV3ForCausalLM"],
    "bos_token_id": 0,
    "eos_token_id": 1,
    "ep_size": 1,
    "first_k_dense_replace": 3,
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "model_type": "deepseek_v3",
    "moe_intermediate_size": 2048,
    "n_group": 8,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "norm_topk_prob": True,
    "num_attention_heads": 128,
    "num_experts_per_tok": 8,
    "num_hidden_layers": 61,
    "num_key_value_heads": 128,
    "num_nextn_predict_layers": 1,
    "q_lora_rank": 1536,
    "rope_scaling": {**YARN, "mscale": 1.0, "mscale_all_dim": 1.0},
    "routed_scaling_factor": 2.5,
    "scoring_func": "sigmoid",
    "topk_group": 4,
    "topk_method": "noaux_tc",
    "vocab_size": 129280,
}


def read(released: dict[str, Any], **changes: Any) -> DecoderConfig:
    return read_model_config({**released, **changes}, "config.json")[1]


def test_a_released_v2_reads() -> None:
    config = read(V2_LITE)
    assert config.latent is not None
    assert (config.latent.q_rank, config.latent.kv_rank, config.head_dim) == (None, 512, 192)
    assert [layer.moe is not None for layer in config.layers] == [False] + [True] * 26
    moe = config.layers[1].moe
    assert moe is not None
    assert (moe.routing.num_chosen, moe.routing.groups, moe.shared_mlp_dim) == (6, None, 2816)


def test_a_released_v3_reads() -> None:
    config = read(V3)
    assert [layer.moe is not None for layer in config.layers[:4]] == [False] * 3 + [True]
    moe = config.layers[3].moe
    assert moe is not None
    assert moe.routing.scores == "sigmoid"
    assert moe.routing.groups == ExpertGroups(num_groups=8, num_chosen=4, num_judged_by=2)
    assert moe.routing.multiplier == 2.5


def test_yarn_sharpens_whole_heads() -> None:
    assert read(V3).attention_scale == pytest.approx((0.1 * math.log(40) + 1) ** 2 / math.sqrt(192))
    assert read(V3, rope_scaling=None).attention_scale == pytest.approx(192**-0.5)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"n_group": 7}, "n_group = 7: it must be a divisor of the 256 experts"),
        ({"topk_group": 9}, "topk_group = 9: it must be at most n_group, 8"),
        ({"qk_rope_head_dim": 63}, "qk_rope_head_dim = 63: it must be even"),
        ({"num_experts_per_tok": 257}, "num_experts_per_tok = 257"),
    ],
)
def test_values_that_make_no_model_are_named(changes: dict[str, Any], names: str) -> None:
    with pytest.raises(CheckpointError, match=names):
        read(V3, **changes)


@pytest.mark.parametrize(
    ("released", "changes", "names"),
    [
        (V3, {"num_key_value_heads": 8}, "num_key_value_heads = 8"),
        (V3, {"moe_layer_freq": 2}, "moe_layer_freq = 2"),
        (V3, {"topk_method": "greedy"}, "topk_method = 'greedy'"),
        (V2_LITE, {"topk_method": "noaux_tc"}, "topk_method = 'noaux_tc'"),
        (V2_LITE, {"norm_topk_prob": True}, "norm_topk_prob = True"),
    ],
)
def test_what_is_not_handled_is_refused_by_name(
    released: dict[str, Any], changes: dict[str, Any], names: str
) -> None:
    with pytest.raises(UnsupportedModel, match=names):
        read(released, **changes)

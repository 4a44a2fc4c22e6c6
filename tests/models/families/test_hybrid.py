"""Families with a state read configs laid out as released ones, and refuse what they are not."""

from typing import Any

import pytest

from jaxserve.errors import CheckpointError, UnsupportedModel
from jaxserve.models.config import DecoderConfig
from jaxserve.models.families.registry import read_model_config
from jaxserve.models.recurrent.config import GatedDeltaConfig

LFM2: dict[str, Any] = {
    "architectures": ["Lfm2ForCausalLM"],
    "block_auto_adjust_ff_dim": True,
    "block_dim": 2048,
    "block_ff_dim": 12288,
    "block_ffn_dim_multiplier": 1.0,
    "block_mlp_init_scale": 1.0,
    "block_multiple_of": 256,
    "block_norm_eps": 1e-05,
    "block_out_init_scale": 1.0,
    "block_use_swiglu": True,
    "block_use_xavier_init": True,
    "conv_L_cache": 3,
    "conv_bias": False,
    "conv_dim": 2048,
    "conv_dim_out": 2048,
    "conv_use_xavier_init": True,
    "full_attn_idxs": [2, 5, 8, 10, 12, 14],
    "hidden_size": 2048,
    "max_position_embeddings": 128000,
    "model_type": "lfm2",
    "norm_eps": 1e-05,
    "num_attention_heads": 32,
    "num_heads": 32,
    "num_hidden_layers": 16,
    "num_key_value_heads": 8,
    "rope_theta": 1000000.0,
    "theta": 1000000.0,
    "use_pos_enc": True,
    "vocab_size": 65536,
}
QWEN3_NEXT: dict[str, Any] = {
    "architectures": ["Qwen3NextForCausalLM"],
    "decoder_sparse_step": 1,
    "full_attention_interval": 4,
    "head_dim": 256,
    "hidden_size": 2048,
    "intermediate_size": 5120,
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
    "max_position_embeddings": 262144,
    "mlp_only_layers": [],
    "model_type": "qwen3_next",
    "num_experts": 512,
    "num_experts_per_tok": 10,
    "num_hidden_layers": 48,
    "output_router_logits": False,
    "partial_rotary_factor": 0.25,
    "rope_scaling": None,
    "rope_theta": 10000000,
    "router_aux_loss_coef": 0.001,
    "use_sliding_window": False,
}
QWEN3_5: dict[str, Any] = {
    "architectures": ["Qwen3_5ForConditionalGeneration"],
    "image_token_id": 248056,
    "model_type": "qwen3_5",
    "text_config": {
        "attn_output_gate": True,
        "full_attention_interval": 4,
        "layer_types": [*["linear_attention"] * 3, "full_attention"] * 8,
        "mamba_ssm_dtype": "float32",
        "model_type": "qwen3_5_text",
        "mtp_num_hidden_layers": 1,
        "mtp_use_dedicated_embeddings": False,
        "rope_parameters": {
            "mrope_interleaved": True,
            "mrope_section": [11, 11, 10],
            "partial_rotary_factor": 0.25,
            "rope_theta": 10000000,
            "rope_type": "default",
        },
        "tie_word_embeddings": False,
    },
    "tie_word_embeddings": True,
    "video_token_id": 248057,
    "vision_config": {},
    "vision_end_token_id": 248054,
    "vision_start_token_id": 248053,
}


def read(raw: dict[str, Any], **changes: Any) -> DecoderConfig:
    return read_model_config({**raw, **changes}, "config.json")[1]


def test_lfm2_attends_in_some_layers_and_its_mlp_is_narrower_than_it_says() -> None:
    config = read(LFM2)
    attending = [index for index, layer in enumerate(config.layers) if layer.recurrent is None]
    assert attending == LFM2["full_attn_idxs"]
    assert config.mlp_dim == 8192
    assert config.tied_embeddings
    assert not read(LFM2, tie_embedding=False).tied_embeddings


def test_qwen3_next_attends_in_every_fourth_layer() -> None:
    config = read(QWEN3_NEXT)
    kinds = [layer.recurrent is None for layer in config.layers]
    assert kinds == [False, False, False, True] * 12
    delta = config.layers[0].recurrent
    assert isinstance(delta, GatedDeltaConfig)
    assert delta.state[1].shape == (16, 2, 128, 128)
    assert config.layers[3].rope is not None
    assert config.layers[3].rope.fraction == 0.25


def test_the_text_of_qwen3_5_is_read_beside_its_tower() -> None:
    config = read(QWEN3_5)
    assert [layer.recurrent is None for layer in config.layers] == [False, False, False, True] * 8
    assert config.tied_embeddings


@pytest.mark.parametrize(
    ("raw", "changes", "error", "names"),
    [
        (LFM2, {"use_pos_enc": False}, UnsupportedModel, "use_pos_enc"),
        (LFM2, {"conv_dim": 1024}, UnsupportedModel, "conv_dim = 1024"),
        (LFM2, {"full_attn_idxs": [-1]}, CheckpointError, "full_attn_idxs"),
        (QWEN3_NEXT, {"linear_num_value_heads": 24}, CheckpointError, "a multiple of"),
        (QWEN3_NEXT, {"attn_output_gate": False}, UnsupportedModel, "attn_output_gate"),
        (QWEN3_NEXT, {"use_sliding_window": True}, UnsupportedModel, "use_sliding_window"),
        (
            {**QWEN3_NEXT, "architectures": ["Lfm2MoeForCausalLM"]},
            {},
            CheckpointError,
            "layer_types = absent",
        ),
    ],
)
def test_what_is_not_handled_is_refused_by_name(
    raw: dict[str, Any], changes: dict[str, Any], error: type[Exception], names: str
) -> None:
    with pytest.raises(error, match=names):
        read(raw, **changes)

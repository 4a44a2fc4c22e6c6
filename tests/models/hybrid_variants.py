"""Which tiny checkpoints with a state is the decoder compared on? A family adds rows here."""

from tests.models.variant import EXPERTS, LLAMA, Variant, family

SHARED_EXPERT = {**EXPERTS, "num_experts": 6, "shared_expert_intermediate_size": 24}
DELTA = {
    "num_hidden_layers": 4,
    "head_dim": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 12,
}
VISION = {
    "depth": 1,
    "hidden_size": 16,
    "num_heads": 2,
    "intermediate_size": 16,
    "out_hidden_size": 32,
    "patch_size": 2,
    "num_position_embeddings": 4,
}

HYBRID_VARIANTS = {
    **family(
        "Lfm2ForCausalLM",
        {
            "lfm2": {"layer_types": ["conv", "full_attention", "conv", "conv"]},
            "lfm2-untied-biases": {
                "full_attn_idxs": [1, 2],
                "tie_word_embeddings": False,
                "conv_bias": True,
                "conv_L_cache": 4,
                "block_auto_adjust_ff_dim": False,
            },
        },
        num_hidden_layers=4,
        block_multiple_of=16,
    ),
    **family(
        "Lfm2MoeForCausalLM",
        {
            "lfm2-moe": {},
            "lfm2-moe-no-bias": {"use_expert_bias": False, "routed_scaling_factor": 1.5},
        },
        **EXPERTS,
        num_hidden_layers=3,
        num_experts=6,
        num_dense_layers=1,
        layer_types=["conv", "full_attention", "conv"],
    ),
    **family(
        "Qwen3NextForCausalLM",
        {
            "qwen3-next": {},
            "qwen3-next-some-dense": {
                "layer_types": ["full_attention", *["linear_attention"] * 3],
                "mlp_only_layers": [1],
                "linear_num_key_heads": 4,
                "norm_topk_prob": False,
            },
        },
        **DELTA,
        **SHARED_EXPERT,
    ),
    **family(
        "Qwen3_5ForCausalLM",
        {"qwen3-5": {}, "qwen3-5-tied": {"tie_word_embeddings": True}},
        **DELTA,
    ),
    **family(
        "Qwen3_5MoeForCausalLM",
        {"qwen3-5-moe": {}},
        intermediate_size=None,
        **DELTA,
        **SHARED_EXPERT,
    ),
    "qwen3-5-beside-vision": Variant(
        {"text_config": {**LLAMA, **DELTA}, "vision_config": VISION, "tie_word_embeddings": True},
        "Qwen3_5ForConditionalGeneration",
        base={},
    ),
    "qwen3-5-moe-beside-vision": Variant(
        {
            "text_config": {**LLAMA, **DELTA, **SHARED_EXPERT, "intermediate_size": None},
            "vision_config": VISION,
        },
        "Qwen3_5MoeForConditionalGeneration",
        base={},
    ),
}

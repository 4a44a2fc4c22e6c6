"""Which tiny checkpoints with experts is the decoder compared on? A family adds rows here."""

from tests.models.variant import EXPERTS, LLAMA, YARN, Variant, family

PHIMOE = {"num_local_experts": 4, "router_jitter_noise": 0.2}
BIASED = {"attention_bias": True, "lm_head_bias": True}
LONG = {
    "rope_type": "longrope",
    "rope_theta": 500.0,
    "short_factor": [1.0, 1.5, 2.0, 2.5],
    "long_factor": [1.5, 3.0, 9.0, 12.0],
    "short_mscale": 1.2,
    "long_mscale": 1.2,
    "original_max_position_embeddings": 64,
}

MOE_VARIANTS = {
    **family(
        "MixtralForCausalLM",
        {"mixtral": {"sliding_window": None}, "mixtral-window": {"sliding_window": 5}},
        num_local_experts=4,
    ),
    **family(
        "Qwen3MoeForCausalLM",
        {
            "qwen3-moe": {"norm_topk_prob": True},
            "qwen3-moe-some-dense": {"decoder_sparse_step": 2, "num_hidden_layers": 4},
        },
        num_experts=6,
        head_dim=16,
        **EXPERTS,
    ),
    **family(
        "Qwen2MoeForCausalLM",
        {
            "qwen2-moe": {},
            "qwen2-moe-windows": {
                "use_sliding_window": True,
                "sliding_window": 5,
                "max_window_layers": 3,
                "num_hidden_layers": 4,
                "mlp_only_layers": [1],
                "norm_topk_prob": True,
            },
        },
        num_experts=6,
        shared_expert_intermediate_size=24,
        **EXPERTS,
    ),
    **family(
        "Glm4MoeForCausalLM",
        {
            "glm4-moe": {"attention_bias": True, "routed_scaling_factor": 2.5},
            "glm4-moe-qk-norm-groups": {"use_qk_norm": True, "n_group": 4, "topk_group": 2},
        },
        n_routed_experts=8,
        head_dim=16,
        **EXPERTS,
    ),
    **family(
        "Dots1ForCausalLM",
        {
            "dots1": {"norm_topk_prob": True, "sliding_window": None},
            "dots1-windows": {"sliding_window": 5, "max_window_layers": 1},
        },
        n_routed_experts=8,
        n_shared_experts=2,
        first_k_dense_replace=1,
        routed_scaling_factor=2.5,
        **EXPERTS,
    ),
    **family(
        "OlmoeForCausalLM",
        {"olmoe": {}, "olmoe-multi-head": {"num_key_value_heads": 4, "norm_topk_prob": True}},
        num_experts=6,
        num_experts_per_tok=2,
    ),
    **family("PhiMoEForCausalLM", {"phimoe": BIASED}, **PHIMOE),
    **family("PhimoeForCausalLM", {"phimoe-plain": {}}, **PHIMOE),
    "phimoe-long-in-short-contexts": Variant(
        {
            **BIASED,
            "sliding_window": 64,
            "original_max_position_embeddings": 64,
            "rope_parameters": LONG,
        },
        "PhiMoEForCausalLM",
        {**LLAMA, "pad_token_id": 0, **PHIMOE},
        max_model_len=64,
    ),
    **family(
        "GraniteMoeForCausalLM",
        {
            "granitemoe": {
                "embedding_multiplier": 12.0,
                "attention_multiplier": 0.0625,
                "residual_multiplier": 0.22,
                "logits_scaling": 0.5,
                "tie_word_embeddings": True,
            },
        },
        num_local_experts=6,
    ),
    **family(
        "Ernie4_5_MoeForCausalLM",
        {
            "ernie4-5-moe": {},
            "ernie4-5-moe-some-dense": {
                "use_bias": True,
                "num_hidden_layers": 5,
                "moe_layer_interval": 2,
                "moe_layer_end_index": 3,
                "moe_num_shared_experts": 0,
            },
        },
        moe_num_experts=8,
        moe_k=3,
        moe_intermediate_size=16,
        tie_word_embeddings=False,
    ),
    **family(
        "HunYuanMoEV1ForCausalLM",
        {
            "hunyuan-moe": {"moe_topk": 3},
            "hunyuan-moe-each-layer": {"moe_topk": [1, 3], "tie_word_embeddings": True},
        },
        num_experts=4,
        head_dim=16,
    ),
    **family(
        "MiniMaxM2ForCausalLM",
        {"minimax-m2": {}, "minimax-m2-partial": {"rotary_dim": 8}},
        num_local_experts=6,
        num_experts_per_tok=2,
        head_dim=16,
    ),
    **family(
        "GptOssForCausalLM",
        {
            "gpt-oss": {"rope_parameters": {**YARN, "truncate": False}},
            "gpt-oss-full-first": {
                "layer_types": ["full_attention", "sliding_attention", "full_attention"],
                "num_hidden_layers": 3,
                "swiglu_limit": 0.5,
                "rope_parameters": {**YARN, "truncate": False},
            },
        },
        num_local_experts=6,
        num_experts_per_tok=3,
        sliding_window=5,
        head_dim=16,
    ),
    **family(
        "Llama4ForCausalLM",
        {
            "llama4": {},
            "llama4-some-dense": {
                "interleave_moe_layer_step": 2,
                "use_qk_norm": False,
                "attn_temperature_tuning": False,
                "num_experts_per_tok": 2,
                "rope_parameters": {
                    "rope_type": "llama3",
                    "rope_theta": 500.0,
                    "factor": 8.0,
                    "low_freq_factor": 1.0,
                    "high_freq_factor": 1.0,
                    "original_max_position_embeddings": 32,
                },
            },
        },
        num_hidden_layers=4,
        num_local_experts=4,
        intermediate_size_mlp=40,
        attention_chunk_size=7,
        floor_scale=6,
        attn_scale=0.5,
        head_dim=16,
    ),
}

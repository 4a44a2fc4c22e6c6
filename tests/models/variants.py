"""Which tiny checkpoints is the decoder compared on? A family adds rows here."""

from typing import Any

import torch

from tests.models.hybrid_variants import HYBRID_VARIANTS
from tests.models.moe_variants import MOE_VARIANTS
from tests.models.variant import EXPERTS, PATTERN, YARN, Variant, family
from tests.models.vision_variants import VISION_VARIANTS


def _rope(**parameters: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_theta": 500.0, **parameters}}


LONG = {
    "rope_type": "longrope",
    "rope_theta": 500.0,
    "short_factor": [1.0, 1.5, 2.0],
    "long_factor": [1.5, 3.0, 9.0],
    "partial_rotary_factor": 0.75,
}
LATENT = {
    **EXPERTS,
    "num_key_value_heads": 4,
    "kv_lora_rank": 12,
    "q_lora_rank": 20,
    "qk_nope_head_dim": 6,
    "qk_rope_head_dim": 8,
    "v_head_dim": 10,
    "n_routed_experts": 8,
    "num_hidden_layers": 3,
    "first_k_dense_replace": 1,
    "n_group": 4,
    "topk_group": 2,
    "num_experts_per_tok": 3,
}
MSCALES = {**YARN, "mscale": 0.707, "mscale_all_dim": 0.707}
GEMMA_3 = {**PATTERN, "head_dim": 8, "query_pre_attn_scalar": 24}


VARIANTS = {
    "llama": Variant(),
    "llama-tied": Variant({"tie_word_embeddings": True}),
    "llama-multi-head": Variant({"num_key_value_heads": 4}),
    "llama-multi-query": Variant({"num_key_value_heads": 1}),
    "llama-attention-bias": Variant({"attention_bias": True}),
    "llama-mlp-bias": Variant({"mlp_bias": True}),
    "llama-wide-heads": Variant({"head_dim": 16}),
    "llama-gelu": Variant({"hidden_act": "gelu"}),
    "llama-eps": Variant({"rms_norm_eps": 0.01}),
    "llama-rope-theta": Variant(_rope(rope_type="default")),
    "llama-rope-linear": Variant(_rope(rope_type="linear", factor=4.0)),
    "llama-rope-llama3": Variant(
        _rope(
            rope_type="llama3",
            factor=8.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=32,
        )
    ),
    "llama-rope-dynamic": Variant(_rope(rope_type="dynamic", factor=4.0)),
    "llama-rope-yarn": Variant({"rope_parameters": YARN}),
    "llama-bfloat16-files": Variant(stored=torch.bfloat16),
    "llama-several-files": Variant(max_shard_size="20KB"),
    **family(
        "Qwen2ForCausalLM",
        {
            "qwen2": {},
            "qwen2-tied": {"tie_word_embeddings": True},
            "qwen2-upper-windows": {
                "use_sliding_window": True,
                "sliding_window": 5,
                "max_window_layers": 1,
            },
            "qwen2-yarn": {"rope_parameters": YARN},
        },
    ),
    **family(
        "Qwen3ForCausalLM",
        {
            "qwen3": {},
            "qwen3-tied": {"tie_word_embeddings": True},
            "qwen3-attention-bias": {"attention_bias": True},
        },
        head_dim=16,
    ),
    **family(
        "MistralForCausalLM",
        {"mistral": {"sliding_window": None}, "mistral-window": {"sliding_window": 5}},
    ),
    **family(
        "Phi3ForCausalLM",
        {
            "phi3": {},
            "phi3-window": {"sliding_window": 6},
            "phi3-tied-partial-long": {
                "tie_word_embeddings": True,
                "rope_parameters": LONG,
                "original_max_position_embeddings": 8,
            },
        },
    ),
    "phi3-long-in-short-contexts": Variant(
        {"rope_parameters": LONG, "original_max_position_embeddings": 64, "pad_token_id": 0},
        "Phi3ForCausalLM",
        max_model_len=64,
    ),
    **family(
        "GemmaForCausalLM",
        {"gemma": {}, "gemma-multi-query": {"num_key_value_heads": 1}},
        head_dim=16,
    ),
    **family(
        "Gemma2ForCausalLM",
        {"gemma2": {"final_logit_softcapping": 3.0, "attn_logit_softcapping": 2.0}},
        **GEMMA_3,
    ),
    **family(
        "Gemma3ForCausalLM",
        {
            "gemma3": {},
            "gemma3-linear": {
                "layer_types": ["sliding_attention"] * 3 + ["full_attention"],
                "rope_parameters": {
                    "full_attention": {
                        "rope_type": "linear",
                        "factor": 8.0,
                        "rope_theta": 1000000.0,
                    },
                    "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
                },
            },
        },
        **GEMMA_3,
    ),
    **family(
        "Gemma4ForCausalLM",
        {
            "gemma4": {
                "layer_types": ["sliding_attention", "full_attention"] * 3,
                "num_kv_shared_layers": 2,
                "use_double_wide_mlp": True,
                "final_logit_softcapping": 3.0,
            },
            "gemma4-experts": {
                "hidden_size_per_layer_input": 0,
                "enable_moe_block": True,
                "num_experts": 5,
                "top_k_experts": 2,
                "moe_intermediate_size": 16,
                "num_hidden_layers": 2,
            },
            "gemma4-keys-are-values": {
                "hidden_size_per_layer_input": 0,
                "attention_k_eq_v": True,
                "num_global_key_value_heads": 1,
            },
        },
        num_hidden_layers=6,
        sliding_window=5,
        head_dim=8,
        global_head_dim=16,
        hidden_size_per_layer_input=12,
        vocab_size_per_layer_input=61,
    ),
    **family(
        "SmolLM3ForCausalLM",
        {"smollm3": {}, "smollm3-windows": {"use_sliding_window": True, "sliding_window": 5}},
        num_hidden_layers=4,
    ),
    **family("Olmo2ForCausalLM", {"olmo2": {}}),
    **family(
        "Olmo3ForCausalLM",
        {
            "olmo3": {},
            "olmo3-yarn": {
                "rope_parameters": {
                    "full_attention": {**YARN, "attention_factor": 1.2},
                    "sliding_attention": {"rope_type": "default", "rope_theta": 500.0},
                }
            },
        },
        **PATTERN,
    ),
    **family("OlmoForCausalLM", {"olmo": {}, "olmo-clip": {"clip_qkv": 0.5}}),
    **family(
        "GraniteForCausalLM",
        {
            "granite": {
                "embedding_multiplier": 12.0,
                "attention_multiplier": 0.0625,
                "residual_multiplier": 0.22,
                "logits_scaling": 0.5,
            },
            "granite-tied": {"tie_word_embeddings": True},
        },
    ),
    **family(
        "CohereForCausalLM",
        {"cohere": {}, "cohere-qk-norm": {"use_qk_norm": True}},
        logit_scale=0.9,
    ),
    **family("Cohere2ForCausalLM", {"cohere2": {}}, logit_scale=0.9, **PATTERN),
    **family("PhiForCausalLM", {"phi": {}, "phi-qk-norm": {"qk_layernorm": True}}),
    **family(
        "Starcoder2ForCausalLM",
        {"starcoder2": {}, "starcoder2-window": {"sliding_window": 5, "use_bias": False}},
    ),
    **family(
        "StableLmForCausalLM",
        {
            "stablelm": {},
            "stablelm-qkv-bias": {"use_qkv_bias": True},
            "stablelm-parallel": {"use_parallel_residual": True},
        },
    ),
    **family(
        "GPTNeoXForCausalLM",
        {
            "gpt-neox": {},
            "gpt-neox-sequential": {"use_parallel_residual": False},
            "gpt-neox-whole-heads": {
                "rope_parameters": {"rope_type": "default", "partial_rotary_factor": 1.0}
            },
        },
        num_key_value_heads=None,
    ),
    "gpt2": Variant(
        architecture="GPT2LMHeadModel",
        base={"vocab_size": 61, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128},
    ),
    **family(
        "FalconForCausalLM",
        {
            "falcon": {},
            "falcon-sequential": {"parallel_attn": False, "multi_query": False, "bias": True},
            "falcon-grouped": {"new_decoder_architecture": True, "num_kv_heads": 2},
            "falcon-grouped-shared-norm": {
                "new_decoder_architecture": True,
                "num_kv_heads": 2,
                "num_ln_in_parallel_attn": 1,
            },
        },
        ffn_hidden_size=48,
        num_key_value_heads=None,
        intermediate_size=None,
    ),
    **family("GlmForCausalLM", {"glm": {}, "glm-no-bias": {"attention_bias": False}}, head_dim=8),
    **family("Glm4ForCausalLM", {"glm4": {}}, head_dim=8),
    **family(
        "MinistralForCausalLM",
        {"ministral": {"layer_types": ["full_attention"] + ["sliding_attention"] * 3}},
        head_dim=16,
        **PATTERN,
    ),
    **family(
        "Ministral3ForCausalLM",
        {
            "ministral3": {
                "rope_parameters": {
                    **YARN,
                    "original_max_position_embeddings": 8,
                    "mscale": 1.0,
                    "mscale_all_dim": 1.0,
                    "llama_4_scaling_beta": 0.1,
                }
            }
        },
        head_dim=16,
    ),
    **family(
        "Exaone4ForCausalLM",
        {
            "exaone4": {"sliding_window_pattern": 4},
            "exaone4-no-windows": {
                "sliding_window": None,
                "layer_types": ["full_attention"] * 4,
            },
        },
        **PATTERN,
    ),
    **family(
        "InternLM3ForCausalLM",
        {
            "internlm3": {"rope_parameters": {"rope_type": "dynamic", "factor": 6.0}},
            "internlm3-biases": {"qkv_bias": True, "bias": True, "tie_word_embeddings": True},
        },
        head_dim=16,
    ),
    **family(
        "SeedOssForCausalLM",
        {"seed-oss": {}, "seed-oss-biases": {"attention_out_bias": True, "mlp_bias": True}},
        head_dim=16,
    ),
    **family(
        "Ernie4_5ForCausalLM", {"ernie4-5": {}, "ernie4-5-bias": {"use_bias": True}}, head_dim=16
    ),
    **family("ArceeForCausalLM", {"arcee": {}, "arcee-yarn": {"rope_parameters": YARN}}),
    **family("NemotronForCausalLM", {"nemotron": {}}),
    **family("HeliumForCausalLM", {"helium": {}}, head_dim=8),
    **family(
        "HunYuanDenseV1ForCausalLM",
        {
            "hunyuan": {},
            "hunyuan-alpha": {
                "rope_parameters": {
                    "rope_type": "dynamic",
                    "alpha": 50.0,
                    "factor": 1.0,
                    "rope_theta": 500.0,
                }
            },
        },
        head_dim=16,
    ),
    **family(
        "DeepseekV2ForCausalLM",
        {
            "deepseek-v2": {"topk_method": "group_limited_greedy", "routed_scaling_factor": 16.0},
            "deepseek-v2-lite": {"q_lora_rank": None, "rope_parameters": MSCALES},
            "deepseek-v2-biases": {"attention_bias": True, "mlp_bias": True},
        },
        **LATENT,
    ),
    **family(
        "DeepseekV3ForCausalLM",
        {
            "deepseek-v3": {"rope_parameters": {**MSCALES, "mscale": 1.0}},
            "deepseek-v3-one-group": {"n_group": 1, "topk_group": 1, "q_lora_rank": None},
            "deepseek-v3-halves": {"rope_interleave": False, "norm_topk_prob": False},
        },
        **LATENT,
    ),
    **family(
        "Glm4MoeLiteForCausalLM",
        {
            "glm4-moe-lite": {},
            "glm4-moe-lite-no-query-latents": {
                "q_lora_rank": None,
                "mlp_layer_types": ["sparse", "dense", "sparse"],
            },
        },
        **{**LATENT, "first_k_dense_replace": None},
    ),
    **family(
        "Mistral4ForCausalLM",
        {
            "mistral4": {
                "rope_parameters": {
                    **MSCALES,
                    "original_max_position_embeddings": 8,
                    "llama_4_scaling_beta": 0.1,
                }
            },
            "mistral4-no-query-latents": {"q_lora_rank": None, "first_k_dense_replace": 0},
        },
        **LATENT,
    ),
    **HYBRID_VARIANTS,
    **MOE_VARIANTS,
    **VISION_VARIANTS,
}

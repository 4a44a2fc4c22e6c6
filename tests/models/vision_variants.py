"""Which tiny checkpoints hold a text model beside a vision tower?"""

from typing import Any

from tests.models.variant import EXPERTS, LLAMA, PATTERN, YARN, Variant

TOWER = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 8,
    "patch_size": 4,
}
LATENT = {
    **EXPERTS,
    "num_key_value_heads": 4,
    "kv_lora_rank": 12,
    "qk_nope_head_dim": 6,
    "qk_rope_head_dim": 8,
    "v_head_dim": 10,
    "n_routed_experts": 4,
    "first_k_dense_replace": 1,
}


def _beside_vision(architecture: str, text: dict[str, Any], **others: Any) -> Variant:
    return Variant({"text_config": {**LLAMA, **text}, **others}, architecture, base={})


def _mistral(kind: str, text: dict[str, Any], **others: Any) -> Variant:
    return _beside_vision(
        "Mistral3ForConditionalGeneration",
        {"model_type": kind, **text},
        vision_config={**TOWER, "model_type": "pixtral", "head_dim": 8},
        **others,
    )


VISION_VARIANTS = {
    "gemma3-beside-vision": _beside_vision(
        "Gemma3ForConditionalGeneration",
        {**PATTERN, "head_dim": 8, "query_pre_attn_scalar": 24},
        vision_config=TOWER,
        mm_tokens_per_image=4,
    ),
    "gemma4-beside-vision": _beside_vision(
        "Gemma4ForConditionalGeneration",
        {
            **PATTERN,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
            "num_kv_shared_layers": 2,
            "head_dim": 8,
            "global_head_dim": 16,
            "hidden_size_per_layer_input": 12,
            "vocab_size_per_layer_input": 61,
            "enable_moe_block": True,
            "num_experts": 3,
            "top_k_experts": 2,
            "moe_intermediate_size": 16,
            "attention_k_eq_v": True,
        },
    ),
    "llama4-beside-vision": _beside_vision(
        "Llama4ForConditionalGeneration",
        {
            "num_local_experts": 2,
            "interleave_moe_layer_step": 2,
            "intermediate_size_mlp": 40,
            "attention_chunk_size": 7,
            "head_dim": 16,
            "pad_token_id": 0,
        },
        vision_config={
            **TOWER,
            "vision_output_dim": 16,
            "projector_input_dim": 16,
            "projector_output_dim": 16,
        },
    ),
    "mistral-beside-vision": _mistral(
        "mistral", {"sliding_window": None}, tie_word_embeddings=False
    ),
    "ministral3-beside-vision": _mistral(
        "ministral3",
        {"rope_parameters": {**YARN, "llama_4_scaling_beta": 0.1}},
        tie_word_embeddings=True,
    ),
    "mistral4-beside-vision": _mistral("mistral4", LATENT, tie_word_embeddings=False),
}

"""Which families are there?

A new family is a file beside this one and a row here.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from jaxserve.errors import CheckpointError, UnsupportedModel
from jaxserve.models.config import DecoderConfig
from jaxserve.models.families import (
    arcee,
    cohere,
    cohere2,
    deepseek_v2,
    deepseek_v3,
    dots1,
    ernie4_5,
    ernie4_5_moe,
    exaone4,
    falcon,
    gemma,
    gemma2,
    gemma3,
    gemma4,
    glm,
    glm4,
    glm4_moe,
    glm4_moe_lite,
    gpt2,
    gpt_neox,
    gpt_oss,
    granite,
    granitemoe,
    helium,
    hunyuan_v1_dense,
    hunyuan_v1_moe,
    internlm3,
    lfm2,
    lfm2_moe,
    llama,
    llama4,
    minimax_m2,
    ministral,
    ministral3,
    mistral,
    mistral3,
    mistral4,
    mixtral,
    nemotron,
    olmo,
    olmo2,
    olmo3,
    olmoe,
    phi,
    phi3,
    phimoe,
    qwen2,
    qwen2_moe,
    qwen3,
    qwen3_5,
    qwen3_moe,
    qwen3_next,
    seed_oss,
    smollm3,
    stablelm,
    starcoder2,
)
from jaxserve.models.families.family import Family
from jaxserve.models.reader import IGNORED, ConfigReader

FAMILIES: Mapping[str, Family] = {
    "ArceeForCausalLM": arcee.FAMILY,
    "CohereForCausalLM": cohere.FAMILY,
    "Cohere2ForCausalLM": cohere2.FAMILY,
    "DeepseekV2ForCausalLM": deepseek_v2.FAMILY,
    "DeepseekV3ForCausalLM": deepseek_v3.FAMILY,
    "Dots1ForCausalLM": dots1.FAMILY,
    "Ernie4_5ForCausalLM": ernie4_5.FAMILY,
    "Ernie4_5_MoeForCausalLM": ernie4_5_moe.FAMILY,
    "Exaone4ForCausalLM": exaone4.FAMILY,
    "FalconForCausalLM": falcon.FAMILY,
    "GemmaForCausalLM": gemma.FAMILY,
    "Gemma2ForCausalLM": gemma2.FAMILY,
    "Gemma3ForCausalLM": gemma3.FAMILY,
    "Gemma3ForConditionalGeneration": gemma3.BESIDE_VISION,
    "Gemma4ForCausalLM": gemma4.FAMILY,
    "Gemma4ForConditionalGeneration": gemma4.BESIDE_VISION,
    "GlmForCausalLM": glm.FAMILY,
    "Glm4ForCausalLM": glm4.FAMILY,
    "Glm4MoeForCausalLM": glm4_moe.FAMILY,
    "Glm4MoeLiteForCausalLM": glm4_moe_lite.FAMILY,
    "GPT2LMHeadModel": gpt2.FAMILY,
    "GPTNeoXForCausalLM": gpt_neox.FAMILY,
    "GptOssForCausalLM": gpt_oss.FAMILY,
    "GraniteForCausalLM": granite.FAMILY,
    "GraniteMoeForCausalLM": granitemoe.FAMILY,
    "HeliumForCausalLM": helium.FAMILY,
    "HunYuanDenseV1ForCausalLM": hunyuan_v1_dense.FAMILY,
    "HunYuanMoEV1ForCausalLM": hunyuan_v1_moe.FAMILY,
    "InternLM3ForCausalLM": internlm3.FAMILY,
    "Lfm2ForCausalLM": lfm2.FAMILY,
    "Lfm2MoeForCausalLM": lfm2_moe.FAMILY,
    "LlamaForCausalLM": llama.FAMILY,
    "Llama4ForCausalLM": llama4.FAMILY,
    "Llama4ForConditionalGeneration": llama4.BESIDE_VISION,
    "MiniMaxM2ForCausalLM": minimax_m2.FAMILY,
    "MinistralForCausalLM": ministral.FAMILY,
    "Ministral3ForCausalLM": ministral3.FAMILY,
    "MistralForCausalLM": mistral.FAMILY,
    "Mistral3ForConditionalGeneration": mistral3.FAMILY,
    "Mistral4ForCausalLM": mistral4.FAMILY,
    "MixtralForCausalLM": mixtral.FAMILY,
    "NemotronForCausalLM": nemotron.FAMILY,
    "OlmoForCausalLM": olmo.FAMILY,
    "Olmo2ForCausalLM": olmo2.FAMILY,
    "Olmo3ForCausalLM": olmo3.FAMILY,
    "OlmoeForCausalLM": olmoe.FAMILY,
    "PhiForCausalLM": phi.FAMILY,
    "Phi3ForCausalLM": phi3.FAMILY,
    "PhimoeForCausalLM": phimoe.FAMILY,
    "PhiMoEForCausalLM": phimoe.FAMILY,
    "Qwen2ForCausalLM": qwen2.FAMILY,
    "Qwen2MoeForCausalLM": qwen2_moe.FAMILY,
    "Qwen3ForCausalLM": qwen3.FAMILY,
    "Qwen3MoeForCausalLM": qwen3_moe.FAMILY,
    "Qwen3NextForCausalLM": qwen3_next.FAMILY,
    "Qwen3_5ForCausalLM": qwen3_5.FAMILY,
    "Qwen3_5ForConditionalGeneration": qwen3_5.BESIDE_VISION,
    "Qwen3_5MoeForCausalLM": qwen3_5.MOE_FAMILY,
    "Qwen3_5MoeForConditionalGeneration": qwen3_5.MOE_BESIDE_VISION,
    "SeedOssForCausalLM": seed_oss.FAMILY,
    "SmolLM3ForCausalLM": smollm3.FAMILY,
    "StableLmForCausalLM": stablelm.FAMILY,
    "Starcoder2ForCausalLM": starcoder2.FAMILY,
}


def read_model_config(raw: Mapping[str, Any], origin: str) -> tuple[Family, DecoderConfig]:
    """The family of a config.json and what it says; `origin` names the file in errors.

    Raises UnsupportedModel for an architecture or attribute that is not handled, and
    CheckpointError for a value that makes no model.
    """
    family = FAMILIES[_architecture(raw, origin)]
    reader = ConfigReader(raw, origin, family.defaults)
    config = family.read_config(reader)
    reader.refuse_rest({**IGNORED, **family.ignored})
    return family, config


def _architecture(raw: Mapping[str, Any], origin: str) -> str:
    names = raw.get("architectures")
    if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str):
        raise CheckpointError(
            f"{origin}: architectures = {names!r}: it must be a list with the name of one model "
            f'class, such as ["{next(iter(FAMILIES))}"]'
        )
    if names[0] not in FAMILIES:
        near = difflib.get_close_matches(names[0], FAMILIES, n=1)
        hint = f"; the nearest is {near[0]}" if near else ""
        raise UnsupportedModel(
            f"{origin}: the architecture {names[0]} is not supported; supported are "
            f"{', '.join(FAMILIES)}{hint}"
        )
    return names[0]

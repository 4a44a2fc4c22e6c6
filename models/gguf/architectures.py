"""What does each architecture of llama.cpp call what transformers calls otherwise?

A table a row per architecture: which family it is, how its metadata reads as a config.json, and
which of its tensors is which. llama.cpp computes some things by rules of its own that no file
states; they are here as functions, with the file of llama.cpp that holds the rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jaxserve.models.gguf.file import GgufFile
from jaxserve.models.reader import ConfigReader

ConfigValues = dict[str, Any]
Config = Callable[[ConfigReader, GgufFile], ConfigValues]


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A value of `general.architecture`.

    `modules` maps modules of the file to those of the family's checkpoints, `*` standing for a
    layer's number, and a second one for an expert's: the file stacks them. `rotates_pairs`: queries
    and keys are stored for a rotation of neighbours, where transformers rotates halves.
    `norms_plus_one`: norms are stored with the one that transformers adds. `turns_part_of_heads`:
    `more` reads how much of a head is rotated; else it is all of it. `more` reads what `COMMON`
    does not.
    """

    family: str
    modules: Mapping[str, str]
    more: Config | None = None
    rotates_pairs: bool = False
    norms_plus_one: bool = False
    turns_part_of_heads: bool = False


COMMON = {
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.sliding_window": "sliding_window",
    "rope.freq_base": "rope_theta",
}
"""Metadata under the architecture's name, and what config.json calls it."""

ENDS = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
ATTENTION = {
    "blk.*.attn_norm": "model.layers.*.input_layernorm",
    "blk.*.attn_q": "model.layers.*.self_attn.q_proj",
    "blk.*.attn_k": "model.layers.*.self_attn.k_proj",
    "blk.*.attn_v": "model.layers.*.self_attn.v_proj",
    "blk.*.attn_output": "model.layers.*.self_attn.o_proj",
}
QK_NORMS = {
    "blk.*.attn_q_norm": "model.layers.*.self_attn.q_norm",
    "blk.*.attn_k_norm": "model.layers.*.self_attn.k_norm",
}
MLP_NORM = {"blk.*.ffn_norm": "model.layers.*.post_attention_layernorm"}
MLP = {
    "blk.*.ffn_gate": "model.layers.*.mlp.gate_proj",
    "blk.*.ffn_up": "model.layers.*.mlp.up_proj",
    "blk.*.ffn_down": "model.layers.*.mlp.down_proj",
}
EXPERTS = {
    "blk.*.ffn_gate_inp": "model.layers.*.mlp.gate",
    "blk.*.ffn_gate_exps": "model.layers.*.mlp.experts.*.gate_proj",
    "blk.*.ffn_up_exps": "model.layers.*.mlp.experts.*.up_proj",
    "blk.*.ffn_down_exps": "model.layers.*.mlp.experts.*.down_proj",
}
SANDWICH_NORMS = {
    "blk.*.post_attention_norm": "model.layers.*.post_attention_layernorm",
    "blk.*.ffn_norm": "model.layers.*.pre_feedforward_layernorm",
    "blk.*.post_ffw_norm": "model.layers.*.post_feedforward_layernorm",
}
DENSE = {**ENDS, **ATTENTION, **MLP_NORM, **MLP}


def head_dim(metadata: ConfigReader) -> int:
    """Numbers in a query's head, and in a key's and a value's."""
    embed_dim, num_heads = (
        metadata.integer(name) for name in ("embedding_length", "attention.head_count")
    )
    size = metadata.integer("attention.key_length", max(embed_dim // num_heads, 1))
    metadata.require("attention.value_length", size)
    return size


def _llama(metadata: ConfigReader, file: GgufFile) -> ConfigValues:
    """Mistral's first release is this with windows."""
    metadata.require("expert_count", 0)
    metadata.require("expert_used_count", 0)
    if metadata.has("attention.sliding_window"):
        return {"architectures": ["MistralForCausalLM"]}
    return {
        "attention_bias": "blk.0.attn_q.bias" in file.tensors,
        "mlp_bias": "blk.0.ffn_up.bias" in file.tensors,
    }


def _qwen3(metadata: ConfigReader, file: GgufFile) -> ConfigValues:
    return {"attention_bias": "blk.0.attn_q.bias" in file.tensors}


def _qwen3moe(metadata: ConfigReader, file: GgufFile) -> ConfigValues:
    """src/models/qwen3moe.cpp: shares of the chosen experts are made to sum to one."""
    metadata.require("expert_gating_func", 1)  # softmax
    return {
        **_qwen3(metadata, file),
        "num_experts": metadata.integer("expert_count"),
        "num_experts_per_tok": metadata.integer("expert_used_count"),
        "moe_intermediate_size": metadata.integer("expert_feed_forward_length"),
        "norm_topk_prob": True,
    }


def _gemma2(metadata: ConfigReader, file: GgufFile) -> ConfigValues:
    return {
        "attn_logit_softcapping": metadata.number("attn_logit_softcapping"),
        "final_logit_softcapping": metadata.number("final_logit_softcapping"),
        "query_pre_attn_scalar": _query_scalar(metadata, layers_of_27b=46),
    }


def _gemma3(metadata: ConfigReader, file: GgufFile) -> ConfigValues:
    """src/models/gemma3.cpp: every sixth layer sees all, the others rotate by a base of 10,000."""
    return {
        "sliding_window_pattern": metadata.integer("attention.sliding_window_pattern", 6),
        "rope_local_base_freq": metadata.number("rope.freq_base_swa", 10_000.0),
        "attn_logit_softcapping": metadata.optional_number("attn_logit_softcapping"),
        "final_logit_softcapping": metadata.optional_number("final_logit_softcapping"),
        "query_pre_attn_scalar": _query_scalar(metadata, layers_of_27b=62),
    }


def _query_scalar(metadata: ConfigReader, *, layers_of_27b: int) -> float:
    """src/llama-model.cpp: the 27B model, known by its layers, scales by the width of a head were
    the embedding cut into heads; the others by their heads' own."""
    if metadata.integer("block_count") == layers_of_27b:
        return metadata.integer("embedding_length") / metadata.integer("attention.head_count")
    return head_dim(metadata)


def _phi3(metadata: ConfigReader, file: GgufFile) -> ConfigValues:
    size = head_dim(metadata)
    return {
        "partial_rotary_factor": metadata.integer("rope.dimension_count", size) / size,
        "original_max_position_embeddings": metadata.integer(
            "rope.scaling.original_context_length", metadata.integer("context_length")
        ),
    }


def _starcoder2(metadata: ConfigReader, file: GgufFile) -> ConfigValues:
    return {"norm_epsilon": metadata.number("attention.layer_norm_epsilon"), "use_bias": True}


ARCHITECTURES: Mapping[str, Architecture] = {
    "gemma": Architecture(family="GemmaForCausalLM", modules=DENSE, norms_plus_one=True),
    "gemma2": Architecture(
        family="Gemma2ForCausalLM",
        modules={**ENDS, **ATTENTION, **SANDWICH_NORMS, **MLP},
        more=_gemma2,
        norms_plus_one=True,
    ),
    "gemma3": Architecture(
        family="Gemma3ForCausalLM",
        modules={**ENDS, **ATTENTION, **QK_NORMS, **SANDWICH_NORMS, **MLP},
        more=_gemma3,
        norms_plus_one=True,
    ),
    "llama": Architecture(
        family="LlamaForCausalLM", modules=DENSE, more=_llama, rotates_pairs=True
    ),
    "phi3": Architecture(
        family="Phi3ForCausalLM",
        modules={
            **ENDS,
            **MLP_NORM,
            "blk.*.attn_norm": "model.layers.*.input_layernorm",
            "blk.*.attn_qkv": "model.layers.*.self_attn.qkv_proj",
            "blk.*.attn_output": "model.layers.*.self_attn.o_proj",
            "blk.*.ffn_up": "model.layers.*.mlp.gate_up_proj",
            "blk.*.ffn_down": "model.layers.*.mlp.down_proj",
        },
        more=_phi3,
        turns_part_of_heads=True,
    ),
    "qwen2": Architecture(family="Qwen2ForCausalLM", modules=DENSE),
    "qwen3": Architecture(family="Qwen3ForCausalLM", modules={**DENSE, **QK_NORMS}, more=_qwen3),
    "qwen3moe": Architecture(
        family="Qwen3MoeForCausalLM",
        modules={**ENDS, **ATTENTION, **QK_NORMS, **MLP_NORM, **EXPERTS},
        more=_qwen3moe,
    ),
    "starcoder2": Architecture(
        family="Starcoder2ForCausalLM",
        modules={
            **ENDS,
            **ATTENTION,
            **MLP_NORM,
            "blk.*.ffn_up": "model.layers.*.mlp.c_fc",
            "blk.*.ffn_down": "model.layers.*.mlp.c_proj",
        },
        more=_starcoder2,
    ),
}

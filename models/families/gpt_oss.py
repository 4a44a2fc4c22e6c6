"""How does a GPT-OSS checkpoint describe itself?"""

from __future__ import annotations

from jaxserve.models.config import (
    ClampedGate,
    DecoderConfig,
    LayerConfig,
    MoEConfig,
    NormConfig,
    RoutingConfig,
)
from jaxserve.models.families.common import (
    ATTENTION,
    ENDS,
    PRE_NORMS,
    layers_of_kinds,
    read_kinds,
    read_model_rope,
    read_sizes,
)
from jaxserve.models.families.common_moe import IGNORED, read_num_chosen, with_experts
from jaxserve.models.families.family import Family
from jaxserve.models.reader import ConfigReader
from jaxserve.models.stored import Modules, interleaved, tensor, transposed

DEFAULTS = {
    "vocab_size": 201088,
    "hidden_size": 2880,
    "intermediate_size": 2880,
    "num_hidden_layers": 36,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "hidden_act": "silu",
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-05,
    "tie_word_embeddings": False,
    "sliding_window": 128,
    "num_local_experts": 128,
    "num_experts_per_tok": 4,
    "rope_theta": 150000.0,
    "rope_parameters": {
        "rope_type": "yarn",
        "factor": 32.0,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "truncate": False,
        "original_max_position_embeddings": 4096,
    },
}

EXPERTS: Modules = {
    "model.layers.*.mlp.router": "layers.*.mlp.router",
    "model.layers.*.mlp.experts.gate_up_proj": tensor(
        interleaved("layers.*.mlp.experts.gate_proj.weight", "layers.*.mlp.experts.up_proj.weight")
    ),
    "model.layers.*.mlp.experts.gate_up_proj_bias": tensor(
        interleaved("layers.*.mlp.experts.gate_proj.bias", "layers.*.mlp.experts.up_proj.bias")
    ),
    "model.layers.*.mlp.experts.down_proj": tensor(
        transposed("layers.*.mlp.experts.down_proj.weight")
    ),
    "model.layers.*.mlp.experts.down_proj_bias": tensor("layers.*.mlp.experts.down_proj.bias"),
}

SINKS: Modules = {"model.layers.*.self_attn.sinks": tensor("layers.*.self_attn.sinks")}


def read_config(raw: ConfigReader) -> DecoderConfig:
    """A GPT-OSS config.json in our words."""
    sizes = read_sizes(raw)
    attention_bias = raw.flag("attention_bias", True)
    num_experts = raw.integer("num_local_experts")
    routing = RoutingConfig(
        num_experts=num_experts,
        num_chosen=read_num_chosen(raw, "num_experts_per_tok", num_experts=num_experts),
        normalised=True,
        bias=True,
    )
    clamped = ClampedGate(
        alpha=raw.number("swiglu_alpha", 1.702), limit=raw.number("swiglu_limit", 7.0)
    )
    moe = MoEConfig(routing=routing, mlp_dim=sizes["mlp_dim"], bias=True, clamped=clamped)
    full = LayerConfig(rope=read_model_rope(raw, sizes))
    sliding = LayerConfig(rope=full.rope, window=raw.optional_integer("sliding_window"))
    layers = layers_of_kinds(read_kinds(raw, every=2), full=full, sliding=sliding)
    return DecoderConfig(
        **sizes,
        layers=with_experts(layers, moe, sparse=range(len(layers))),
        norm=NormConfig(eps=raw.number("rms_norm_eps")),
        qkv_bias=attention_bias,
        o_bias=attention_bias,
        attention_sinks=True,
    )


FAMILY = Family(
    models="gpt-oss 20B and 120B",
    read_config=read_config,
    defaults=DEFAULTS,
    modules={**ENDS, **PRE_NORMS, **ATTENTION, **SINKS, **EXPERTS},
    ignored={
        **IGNORED,
        "experts_per_token": "num_experts_per_tok says it",
        "initial_context_length": "the scaling of the rope says it",
    },
)

"""How does a BERT checkpoint describe itself?"""

from __future__ import annotations

from jaxserve.models.config import LayerConfig, NormConfig
from jaxserve.models.encoder_config import EncoderConfig
from jaxserve.models.encoders.common import IGNORED, read_encoder_sizes, read_first_token_head
from jaxserve.models.encoders.family import EncoderFamily
from jaxserve.models.reader import ConfigReader

DEFAULTS = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}

_LAYER = "encoder.layer.*"
BODY = {
    "embeddings.word_embeddings": "embed_tokens",
    "embeddings.position_embeddings": "embed_positions",
    "embeddings.token_type_embeddings": "embed_token_types",
    "embeddings.LayerNorm": "embed_norm",
    f"{_LAYER}.attention.self.query": "layers.*.self_attn.q_proj",
    f"{_LAYER}.attention.self.key": "layers.*.self_attn.k_proj",
    f"{_LAYER}.attention.self.value": "layers.*.self_attn.v_proj",
    f"{_LAYER}.attention.output.dense": "layers.*.self_attn.o_proj",
    f"{_LAYER}.attention.output.LayerNorm": "layers.*.post_self_attn_layernorm",
    f"{_LAYER}.intermediate.dense": "layers.*.mlp.up_proj",
    f"{_LAYER}.output.dense": "layers.*.mlp.down_proj",
    f"{_LAYER}.output.LayerNorm": "layers.*.post_mlp_layernorm",
}


def read_config(raw: ConfigReader) -> EncoderConfig:
    """A BERT config.json in our words."""
    return read_bert(raw, first_position=0)


def read_bert(raw: ConfigReader, *, first_position: int) -> EncoderConfig:
    """A model built as BERT is, whose texts begin at `first_position` of the learned ones."""
    sizes = read_encoder_sizes(raw)
    raw.require("position_embedding_type", "absolute")
    raw.require("is_decoder", False)
    raw.require("add_cross_attention", False)
    num_positions = sizes["max_model_len"]
    if num_positions <= first_position:
        wanted = f"above {first_position}, where texts begin"
        raise raw.wrong("max_position_embeddings", num_positions, wanted)
    sizes["max_model_len"] = num_positions - first_position
    return EncoderConfig(
        **sizes,
        layers=(LayerConfig(rope=None),) * raw.integer("num_hidden_layers"),
        norm=NormConfig(eps=raw.number("layer_norm_eps"), centered=True, bias=True),
        norm_after_sum=True,
        num_token_types=raw.integer("type_vocab_size"),
        num_learned_positions=num_positions,
        first_position=first_position,
        gated_mlp=False,
        qkv_bias=True,
        o_bias=True,
        mlp_bias=True,
    )


FAMILY = EncoderFamily(
    read_config=read_config,
    read_head=read_first_token_head,
    defaults=DEFAULTS,
    modules={f"bert.{stored}": ours for stored, ours in BODY.items()},
    head_modules={"bert.pooler.dense": "hidden.linear", "classifier": "output"},
    prefix="bert.",
    head_keys=("bert.pooler.", "cls."),
    models="all-MiniLM, BGE, E5, GTE and others that embed; MS MARCO MiniLM cross-encoders",
    ignored=IGNORED,
)

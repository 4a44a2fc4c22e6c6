"""How does a ModernBERT checkpoint describe itself?"""

from __future__ import annotations

from jaxserve.models.config import LayerConfig, NormConfig
from jaxserve.models.encoder_config import EncoderConfig
from jaxserve.models.encoders.common import IGNORED as COMMON_IGNORED
from jaxserve.models.encoders.common import dense, read_encoder_sizes
from jaxserve.models.encoders.family import EncoderFamily
from jaxserve.models.families.common import FULL, SLIDING, Sizes, layers_of_kinds
from jaxserve.models.layers import ACTIVATIONS
from jaxserve.models.pooled_config import HeadConfig, Pooling
from jaxserve.models.reader import ConfigReader
from jaxserve.models.rope_config import read_rope_by_kind
from jaxserve.models.stored import Modules, fused

DEFAULTS = {
    "vocab_size": 50368,
    "hidden_size": 768,
    "intermediate_size": 1152,
    "num_hidden_layers": 22,
    "num_attention_heads": 12,
    "hidden_activation": "gelu",
    "max_position_embeddings": 8192,
    "norm_eps": 1e-5,
    "local_attention": 128,
    "global_rope_theta": 160000.0,
    "local_rope_theta": 10000.0,
}

_TRAINING = "only training uses it"
_MASKS = "of the head that fills in masked words"
IGNORED = {
    **COMMON_IGNORED,
    "classifier_activation": "of the classifier, where there is one",
    "classifier_bias": "of the classifier, where there is one",
    "classifier_pooling": "of the classifier, where there is one",
    "decoder_bias": _MASKS,
    "deterministic_flash_attn": "how transformers computes attention",
    "embedding_dropout": _TRAINING,
    "initializer_cutoff_factor": _TRAINING,
    "layer_norm_eps": "norm_eps is the one that is used",
    "mlp_dropout": _TRAINING,
    "position_embedding_type": "released files say absolute; transformers does not read it",
    "reference_compile": "how transformers runs it",
    "repad_logits_with_grad": _TRAINING,
    "sparse_pred_ignore_index": _MASKS,
    "sparse_prediction": _MASKS,
}

_LAYER = "model.layers.*"
MODULES: Modules = {
    "model.embeddings.tok_embeddings": "embed_tokens",
    "model.embeddings.norm": "embed_norm",
    f"{_LAYER}.attn_norm": "layers.*.input_layernorm",
    f"{_LAYER}.attn.Wqkv": fused(
        "layers.*.self_attn.q_proj", "layers.*.self_attn.k_proj", "layers.*.self_attn.v_proj"
    ),
    f"{_LAYER}.attn.Wo": "layers.*.self_attn.o_proj",
    f"{_LAYER}.mlp_norm": "layers.*.post_attention_layernorm",
    f"{_LAYER}.mlp.Wi": fused("layers.*.mlp.gate_proj", "layers.*.mlp.up_proj"),
    f"{_LAYER}.mlp.Wo": "layers.*.mlp.down_proj",
    "model.final_norm": "norm",
}


def read_config(raw: ConfigReader) -> EncoderConfig:
    """A ModernBERT config.json in our words."""
    sizes = read_encoder_sizes(raw, activation="hidden_activation")
    attention_bias = raw.flag("attention_bias", False)
    return EncoderConfig(
        **sizes,
        layers=_read_layers(raw, sizes),
        norm=NormConfig(
            eps=raw.number("norm_eps"), centered=True, bias=raw.flag("norm_bias", False)
        ),
        norm_after_sum=False,
        first_layer_normed=False,
        final_norm=True,
        qkv_bias=attention_bias,
        o_bias=attention_bias,
        mlp_bias=raw.flag("mlp_bias", False),
    )


def _read_layers(raw: ConfigReader, sizes: Sizes) -> tuple[LayerConfig, ...]:
    ropes = read_rope_by_kind(
        raw,
        {FULL: "global_rope_theta", SLIDING: "local_rope_theta"},
        head_dim=sizes["head_dim"],
        max_model_len=sizes["max_model_len"],
    )
    num_layers, every = (
        raw.integer("num_hidden_layers"),
        raw.integer("global_attn_every_n_layers", 3),
    )
    kinds = raw.choices("layer_types", (FULL, SLIDING), length=num_layers)
    if kinds is None:
        kinds = tuple(SLIDING if index % every else FULL for index in range(num_layers))
    window = raw.integer("local_attention") // 2 + 1  # as many to either side, and itself
    return layers_of_kinds(
        kinds,
        full=LayerConfig(rope=ropes[FULL]),
        sliding=LayerConfig(rope=ropes[SLIDING], window=window),
    )


def read_head(
    raw: ConfigReader, config: EncoderConfig, num_labels: int
) -> tuple[HeadConfig, Pooling]:
    """A layer, a norm and a logit per label, over the first token or the mean of all."""
    activation = raw.choice("classifier_activation", "gelu", ACTIVATIONS)
    hidden = dense(config, activation, bias=raw.flag("classifier_bias", False))
    pooling = raw.choice("classifier_pooling", "cls", ("cls", "mean"))
    head = HeadConfig(num_labels=num_labels, hidden=hidden, norm=config.norm)
    return head, "mean" if pooling == "mean" else "cls"


FAMILY = EncoderFamily(
    read_config=read_config,
    read_head=read_head,
    defaults=DEFAULTS,
    modules=MODULES,
    head_modules={"head.dense": "hidden.linear", "head.norm": "norm", "classifier": "output"},
    prefix="model.",
    head_keys=("head.", "decoder."),
    models="ModernBERT, gte-modernbert and its reranker",
    ignored=IGNORED,
)

"""What do the families of encoders have in common?"""

from __future__ import annotations

from jaxserve.models.encoder_config import EncoderConfig
from jaxserve.models.families.common import Sizes, read_sizes
from jaxserve.models.pooled_config import DenseConfig, HeadConfig, Pooling
from jaxserve.models.reader import ConfigReader

_TRAINING = "only training uses it"

IGNORED = {
    "attention_probs_dropout_prob": _TRAINING,
    "classifier_dropout": _TRAINING,
    "cls_token_id": "belongs to the tokenizer",
    "gradient_checkpointing": _TRAINING,
    "hidden_dropout_prob": _TRAINING,
    "sep_token_id": "belongs to the tokenizer",
}


def read_encoder_sizes(raw: ConfigReader, *, activation: str = "hidden_act") -> Sizes:
    """The sizes; there is no output projection, so that nothing is tied to the embedding."""
    return {**read_sizes(raw, activation=activation), "tied_embeddings": True}


def dense(config: EncoderConfig, activation: str, *, bias: bool = True) -> DenseConfig:
    """A layer that keeps the size of hidden states."""
    size = config.embed_dim
    return DenseConfig(in_dim=size, out_dim=size, bias=bias, activation=activation)


def read_first_token_head(
    raw: ConfigReader, config: EncoderConfig, num_labels: int
) -> tuple[HeadConfig, Pooling]:
    """BERT's pooler of the first token, and a logit per label."""
    return HeadConfig(num_labels=num_labels, hidden=dense(config, "tanh")), "cls"

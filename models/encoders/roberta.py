"""How does a RoBERTa or XLM-RoBERTa checkpoint describe itself?"""

from __future__ import annotations

from jaxserve.models.encoder_config import EncoderConfig
from jaxserve.models.encoders.bert import BODY, read_bert
from jaxserve.models.encoders.bert import DEFAULTS as BERT_DEFAULTS
from jaxserve.models.encoders.common import IGNORED, read_first_token_head
from jaxserve.models.encoders.family import EncoderFamily
from jaxserve.models.reader import ConfigReader

DEFAULTS = {**BERT_DEFAULTS, "vocab_size": 50265, "pad_token_id": 1}
XLM_DEFAULTS = {**DEFAULTS, "vocab_size": 30522}


def read_config(raw: ConfigReader) -> EncoderConfig:
    """A RoBERTa config.json in our words: positions begin after the padding token's number."""
    return read_bert(raw, first_position=raw.index("pad_token_id") + 1)


FAMILY = EncoderFamily(
    read_config=read_config,
    read_head=read_first_token_head,
    defaults=DEFAULTS,
    modules={f"roberta.{stored}": ours for stored, ours in BODY.items()},
    head_modules={"classifier.dense": "hidden.linear", "classifier.out_proj": "output"},
    prefix="roberta.",
    head_keys=("roberta.pooler.", "lm_head."),
    models="RoBERTa, all-distilroberta",
    ignored=IGNORED,
)

XLM_FAMILY = EncoderFamily(
    read_config=read_config,
    read_head=read_first_token_head,
    defaults=XLM_DEFAULTS,
    modules=FAMILY.modules,
    head_modules=FAMILY.head_modules,
    prefix=FAMILY.prefix,
    head_keys=FAMILY.head_keys,
    models="XLM-RoBERTa, CamemBERT, multilingual E5, bge-m3, bge-reranker-v2-m3",
    ignored=IGNORED,
)

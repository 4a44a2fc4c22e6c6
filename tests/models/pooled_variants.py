"""Which tiny checkpoints of models that embed or classify are compared? A family adds rows here."""

from collections.abc import Mapping
from typing import Any

from tests.models.variant import LLAMA, YARN, Variant

BERT = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 60,
}
ROBERTA = {**BERT, "pad_token_id": 1, "type_vocab_size": 1}
MODERN = {**BERT, "local_attention": 8, "num_hidden_layers": 4}
DECODER = {**LLAMA, "pad_token_id": 60, "num_labels": 1}


def tasks(
    name: str, model: str, base: Mapping[str, Any], **more: Mapping[str, Any]
) -> dict[str, Variant]:
    """The bare model and its classifier, and with `more` attributes their variants."""
    rows = {name: Variant({}, f"{model}Model", base)}
    for suffix, attributes in {"labels": {"num_labels": 3}, **more}.items():
        variant = Variant(attributes, f"{model}ForSequenceClassification", base)
        rows[f"{name}-{suffix.replace('_', '-')}"] = variant
    return rows


POOLED_VARIANTS = {
    **tasks("bert", "Bert", BERT, relu={"hidden_act": "relu", "layer_norm_eps": 0.01}),
    **tasks("roberta", "Roberta", ROBERTA),
    **tasks("xlm-roberta", "XLMRoberta", ROBERTA, two_types={"type_vocab_size": 2}),
    "camembert-labels": Variant({}, "CamembertForSequenceClassification", ROBERTA),
    **tasks("nomic-bert", "NomicBert", BERT, theta={"rope_parameters": {"rope_theta": 50.0}}),
    **tasks(
        "modernbert",
        "ModernBert",
        MODERN,
        mean={"classifier_pooling": "mean", "classifier_activation": "silu"},
        biases={
            "norm_bias": True,
            "attention_bias": True,
            "mlp_bias": True,
            "classifier_bias": True,
        },
        other_layers={"layer_types": ["sliding_attention"] * 3 + ["full_attention"]},
    ),
    "bert-masked": Variant({}, "BertForMaskedLM", BERT),
    "modernbert-masked": Variant({}, "ModernBertForMaskedLM", MODERN),
    "roberta-masked": Variant({}, "RobertaForMaskedLM", ROBERTA),
    **tasks("qwen3", "Qwen3", {**DECODER, "head_dim": 16}),
    "llama-yarn": Variant({"rope_parameters": YARN}, "LlamaForSequenceClassification", DECODER),
    "qwen2": Variant({}, "Qwen2Model", DECODER),
    "mistral-window": Variant({"sliding_window": 5}, "MistralModel", DECODER),
    "gemma2-labels": Variant(
        {"head_dim": 8, "sliding_window": 5}, "Gemma2ForSequenceClassification", DECODER
    ),
}

"""What does a folder say about the texts that its model embeds or classifies?

How long they may be, what is put before them, how two vectors are compared, what the labels are and
what becomes of a logit. What happens to hidden states is read by `models/sentence_modules.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from jaxserve.errors import CheckpointError, UnsupportedModel
from jaxserve.text.tokenizer import read_json_object

Similarity = Literal["cosine", "dot", "euclidean", "manhattan"]
Activation = Literal["identity", "sigmoid"]

SENTENCE_FILE = "sentence_bert_config.json"
MODEL_FILE = "config_sentence_transformers.json"
_SIMILARITIES: Mapping[Any, Similarity] = {
    None: "cosine",
    "cosine": "cosine",
    "dot": "dot",
    "euclidean": "euclidean",
    "manhattan": "manhattan",
}
_ACTIVATIONS: Mapping[str, Activation] = {
    "torch.nn.modules.linear.Identity": "identity",
    "torch.nn.modules.activation.Sigmoid": "sigmoid",
}
_WITHOUT_EFFECT = {
    "config_args",
    "model_args",
    "tokenizer_args",
    "modality_config",
    "module_output_name",
    "unpad_inputs",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SentenceFacts:
    """`score_activation` is None where the folder does not say, `max_tokens` too."""

    max_tokens: int | None = None
    lowercase: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None  # a key of `prompts`
    similarity: Similarity = "cosine"
    score_activation: Activation | None = None
    is_multi_label: bool = False  # a text may have several labels, or none
    is_regression: bool = False
    vector_sizes: tuple[int, ...] = ()  # that vectors may be cut to; see `any_size`
    any_size: bool = False


def read_sentence_facts(folder: Path) -> SentenceFacts:
    """The facts of `folder`; raises CheckpointError, UnsupportedModel among them."""
    config = read_json_object(folder / "config.json")
    sentence = read_json_object(folder / SENTENCE_FILE)
    model = read_json_object(folder / MODEL_FILE)
    _refuse_unread(sentence, folder)
    prompts = {str(k): str(v) for k, v in (model.get("prompts") or {}).items()}
    similarity = model.get("similarity_fn_name")
    if similarity not in _SIMILARITIES:
        raise UnsupportedModel(
            f"{folder / MODEL_FILE}: similarity_fn_name = {similarity!r} is not supported; handled "
            f"are {', '.join(filter(None, _SIMILARITIES))}"
        )
    return SentenceFacts(
        max_tokens=_max_tokens(sentence, folder),
        lowercase=sentence.get("do_lower_case") is True,
        prompts=prompts,
        default_prompt=_default_prompt(model, prompts, folder),
        similarity=_SIMILARITIES[similarity],
        score_activation=_score_activation(config, model, folder),
        is_multi_label=config.get("problem_type") == "multi_label_classification",
        is_regression=config.get("problem_type") == "regression",
        vector_sizes=tuple(config.get("matryoshka_dimensions") or ()),
        any_size=config.get("is_matryoshka") is True,
    )


def _refuse_unread(sentence: Mapping[str, Any], folder: Path) -> None:
    known = {"max_seq_length", "do_lower_case", "transformer_task", *_WITHOUT_EFFECT}
    rest = [name for name, value in sentence.items() if value is not None and name not in known]
    if rest:
        raise UnsupportedModel(
            f"{folder / SENTENCE_FILE}: not handled: {', '.join(rest)}. Answers could be wrong "
            "without it; remove it from the file only if it changes nothing"
        )


def _max_tokens(sentence: Mapping[str, Any], folder: Path) -> int | None:
    """Of two limits the lower; older tokenizers have 1e30 for none."""
    tokenizer = read_json_object(folder / "tokenizer_config.json").get("model_max_length")
    limits = [sentence.get("max_seq_length"), tokenizer]
    known = [int(x) for x in limits if isinstance(x, int | float) and 0 < x < 1_000_000_000]
    return min(known, default=None)


def _default_prompt(
    model: Mapping[str, Any], prompts: Mapping[str, str], folder: Path
) -> str | None:
    name = model.get("default_prompt_name")
    if name is not None and name not in prompts:
        raise CheckpointError(
            f"{folder / MODEL_FILE}: default_prompt_name = {name!r} is none of the prompts "
            f"{', '.join(prompts)}"
        )
    return name


def _score_activation(
    config: Mapping[str, Any], model: Mapping[str, Any], folder: Path
) -> Activation | None:
    """In the order in which sentence-transformers looks."""
    given = (config.get("sentence_transformers") or {}).get("activation_fn")
    given = given or config.get("sbert_ce_default_activation_function")
    given = given or model.get("activation_fn")
    if given is None:
        return None
    if given not in _ACTIVATIONS:
        raise UnsupportedModel(
            f"{folder}: the activation {given!r} of scores is not supported; handled are "
            f"{', '.join(_ACTIVATIONS)}"
        )
    return _ACTIVATIONS[given]

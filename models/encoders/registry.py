"""Which models answer with a vector or with labels?

Encoders, each for three tasks, and the families of decoders where a folder says that they embed or
classify.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from jaxserve.errors import UnsupportedModel
from jaxserve.models.config import DecoderConfig
from jaxserve.models.encoder_config import EncoderConfig
from jaxserve.models.encoders import bert, modernbert, nomic_bert, roberta
from jaxserve.models.encoders.family import EncoderFamily
from jaxserve.models.families.family import Family
from jaxserve.models.families.registry import FAMILIES
from jaxserve.models.pooled_config import HeadConfig, Pooling
from jaxserve.models.reader import IGNORED, ConfigReader
from jaxserve.models.stored import Modules

ENCODERS: Mapping[str, EncoderFamily] = {
    "Bert": bert.FAMILY,
    "Camembert": roberta.XLM_FAMILY,
    "ModernBert": modernbert.FAMILY,
    "NomicBert": nomic_bert.FAMILY,
    "Roberta": roberta.FAMILY,
    "XLMRoberta": roberta.XLM_FAMILY,
}
BODY, MASKED, GENERATES, CLASSIFIES = (
    "Model",
    "ForMaskedLM",
    "ForCausalLM",
    "ForSequenceClassification",
)

TEXT_ATTRIBUTES = {
    "id2label": "read with the labels",
    "label2id": "id2label says it",
    "is_matryoshka": "what clients may ask for, which is read elsewhere",
    "matryoshka_dimensions": "what clients may ask for, which is read elsewhere",
    "num_labels": "read with the labels",
    "problem_type": "read with the labels",
    "sbert_ce_default_activation_function": "what becomes of a logit, which is read elsewhere",
    "sentence_transformers": "what becomes of a logit, which is read elsewhere",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Backbone:
    """What a config.json says of a model that pools.

    `modules` lead into the backbone and `head_modules` into the classifier; stored keys that begin
    with one of `unread_keys` are of other tasks. `pooling` is what the head wants, None without.
    """

    config: DecoderConfig
    modules: Modules
    prefix: str
    unread_keys: tuple[str, ...]
    ignored_keys: frozenset[str] = frozenset()
    head: HeadConfig | None = None
    head_modules: Modules
    pooling: Pooling | None = None


def pools(architecture: str, *, has_modules: bool) -> bool:
    """Whether a model of this class answers with vectors or labels, not with text.

    A model that could do either embeds where sentence-transformers says how (`has_modules`).
    """
    base, task = _split(architecture)
    if task in (MASKED, CLASSIFIES):
        return True  # whatever it is, it does not generate: reading it says if it is served
    if base in ENCODERS:
        return task == BODY
    if f"{base}{GENERATES}" not in FAMILIES:
        return False
    return task == BODY or has_modules


def read_backbone(raw: Mapping[str, Any], architecture: str, origin: str) -> Backbone:
    """What the config.json of a model that pools says; `origin` names the file in errors.

    Raises UnsupportedModel for an architecture or attribute that is not handled, and
    CheckpointError for a value that makes no model.
    """
    base, task = _split(architecture)
    num_labels = len(labels_of(raw)) if task == CLASSIFIES else None
    if base in ENCODERS and task in (BODY, MASKED, CLASSIFIES):
        return _read_encoder(raw, ENCODERS[base], num_labels, origin)
    if f"{base}{GENERATES}" in FAMILIES and task in (BODY, GENERATES, CLASSIFIES):
        return _read_decoder(raw, FAMILIES[f"{base}{GENERATES}"], num_labels, origin)
    known = [f"{name}{task}" for name in ENCODERS for task in (BODY, CLASSIFIES)]
    near = difflib.get_close_matches(architecture, known, n=1)
    hint = f"; the nearest is {near[0]}" if near else ""
    raise UnsupportedModel(
        f"{origin}: the architecture {architecture} is not supported for embedding and "
        f"classifying; encoders that are: {', '.join(ENCODERS)}{hint}"
    )


def labels_of(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of a classifier's labels; transformers' two where the file names none."""
    given = raw.get("id2label")
    if isinstance(given, Mapping) and given:
        return tuple(str(given[key]) for key in sorted(given, key=int))
    num_labels = raw.get("num_labels")
    return tuple(f"LABEL_{i}" for i in range(num_labels if isinstance(num_labels, int) else 2))


def _split(architecture: str) -> tuple[str, str]:
    for task in (MASKED, GENERATES, CLASSIFIES, BODY):
        if architecture.endswith(task):
            return architecture.removesuffix(task), task
    return architecture, ""


def _read_encoder(
    raw: Mapping[str, Any], family: EncoderFamily, num_labels: int | None, origin: str
) -> Backbone:
    reader = ConfigReader(raw, origin, family.defaults)
    config: EncoderConfig = family.read_config(reader)
    head, pooling = (
        (None, None) if num_labels is None else family.read_head(reader, config, num_labels)
    )
    reader.refuse_rest({**IGNORED, **TEXT_ATTRIBUTES, **family.ignored})
    return Backbone(
        config=config,
        modules=family.modules,
        prefix=family.prefix,
        unread_keys=family.head_keys if head is None else (),
        ignored_keys=frozenset({f"{family.prefix}embeddings.position_ids"}),
        head=head,
        head_modules={} if head is None else family.head_modules,
        pooling=pooling,
    )


def _read_decoder(
    raw: Mapping[str, Any], family: Family, num_labels: int | None, origin: str
) -> Backbone:
    reader = ConfigReader(raw, origin, family.defaults)
    config = replace(family.read_config(reader), tied_embeddings=True)  # no output projection
    reader.refuse_rest({**IGNORED, **TEXT_ATTRIBUTES, **family.ignored})
    output = {stored for stored, held in family.modules.items() if held == "lm_head"}
    return Backbone(
        config=config,
        modules={stored: held for stored, held in family.modules.items() if stored not in output},
        prefix=family.prefix or "model.",
        unread_keys=tuple(f"{stored}." for stored in sorted(output)),
        ignored_keys=family.ignored_keys,
        head=None if num_labels is None else HeadConfig(num_labels=num_labels, bias=False),
        head_modules={} if num_labels is None else {"score": "output"},
        pooling=None if num_labels is None else "last",
    )

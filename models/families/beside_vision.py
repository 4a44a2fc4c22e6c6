"""How is the text model read out of a checkpoint that sees or hears as well?

Its config lies in `text_config` and its keys have a prefix; the towers are not loaded. Images are
refused where requests are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from jaxserve.models.config import DecoderConfig
from jaxserve.models.families.family import Family
from jaxserve.models.reader import IGNORED, ConfigReader

NAMES = (("model.language_model.", "lm_head"), ("language_model.model.", "language_model.lm_head"))
"""What begins the keys of the layers, and what the output is called, in newer files and older."""

OTHER_PARTS = tuple(
    f"{prefix}{part}."
    for prefix in ("", "model.")
    for part in (
        "audio_tower",
        "embed_audio",
        "embed_vision",
        "multi_modal_projector",
        "vision_model",
        "vision_tower",
        "visual",
    )
)

_UNSEEN = "of images, sounds and videos, which are refused"


def beside_vision(
    texts: Mapping[str, Family],
    *,
    models: str,
    of_others: tuple[str, ...],
    tied_embeddings: bool | None = None,
) -> Family:
    """The family of checkpoints with one of `texts` in them, by the model_type of text_config.

    `of_others` are attributes that concern the other parts alone. `tied_embeddings` is what holds
    where the file does not say it outside of text_config; None: what text_config says.
    """

    def read_config(raw: ConfigReader) -> DecoderConfig:
        kind = _text(raw, {}).choice("model_type", next(iter(texts)), texts)
        text = _text(raw, texts[kind].defaults)
        config = texts[kind].read_config(text)
        text.refuse_rest({**IGNORED, **texts[kind].ignored})
        tied = config.tied_embeddings if tied_embeddings is None else tied_embeddings
        return replace(config, tied_embeddings=raw.flag("tie_word_embeddings", tied))

    return Family(
        models=models,
        read_config=read_config,
        defaults={},
        modules={key: held for text in texts.values() for key, held in _renamed(text.modules)},
        other_parts=(*OTHER_PARTS, *(part for text in texts.values() for part in text.other_parts)),
        ignored_keys=frozenset(
            name
            for text in texts.values()
            for name, _ in _renamed(dict.fromkeys(text.ignored_keys))
        ),
        ignored=dict.fromkeys(("audio_config", "vision_config", *of_others), _UNSEEN),
    )


def _text(raw: ConfigReader, defaults: Mapping[str, Any]) -> ConfigReader:
    text = raw.table("text_config", defaults)
    if text is None:
        raise raw.wrong("text_config", None, "an object, the text model's config")
    return text


def _renamed(keys: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """`keys` of a text model by itself, as they are beside other parts."""
    return [
        (prefix + key.removeprefix("model.") if key.startswith("model.") else output, held)
        for prefix, output in NAMES
        for key, held in keys.items()
    ]

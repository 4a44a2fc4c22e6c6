"""Which families are there?

A new family is a file beside this one and a row here.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from jaxserve.errors import CheckpointError, UnsupportedModel
from jaxserve.models.config import DecoderConfig
from jaxserve.models.families import llama
from jaxserve.models.families.family import Family
from jaxserve.models.reader import IGNORED, ConfigReader

FAMILIES: Mapping[str, Family] = {
    "LlamaForCausalLM": llama.FAMILY,
}


def read_model_config(raw: Mapping[str, Any], origin: str) -> tuple[Family, DecoderConfig]:
    """The family of a config.json and what it says; `origin` names the file in errors.

    Raises UnsupportedModel for an architecture or attribute that is not handled, and
    CheckpointError for a value that makes no model.
    """
    family = FAMILIES[_architecture(raw, origin)]
    reader = ConfigReader(raw, origin)
    config = family.read_config(reader)
    reader.refuse_rest({**IGNORED, **family.ignored})
    return family, config


def _architecture(raw: Mapping[str, Any], origin: str) -> str:
    names = raw.get("architectures")
    if not isinstance(names, list) or len(names) != 1 or not isinstance(names[0], str):
        raise CheckpointError(
            f"{origin}: architectures = {names!r}: it must be a list with the name of one model "
            f'class, such as ["{next(iter(FAMILIES))}"]'
        )
    if names[0] not in FAMILIES:
        near = difflib.get_close_matches(names[0], FAMILIES, n=1)
        hint = f"; the nearest is {near[0]}" if near else ""
        raise UnsupportedModel(
            f"{origin}: the architecture {names[0]} is not supported; supported are "
            f"{', '.join(FAMILIES)}{hint}"
        )
    return names[0]

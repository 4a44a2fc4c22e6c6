"""How does a GGUF file read as a folder of Hugging Face's: its config, and its tensors by key?

Everything after that is common: the family reads the config, each device its slices.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from jaxserve.errors import UnsupportedModel
from jaxserve.models.checkpoint import StoredTensor
from jaxserve.models.gguf.architectures import ARCHITECTURES, COMMON, Architecture, head_dim
from jaxserve.models.gguf.file import GgufFile, RawTensor
from jaxserve.models.gguf.tensors import as_stored
from jaxserve.models.reader import ConfigReader

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")

IGNORED = {
    "vocab_size": "the embedding's rows say it",
    "rope.scaling.finetuned": "a record of the training",
    "attention.causal": "true of every decoder",
    "tensor_data_layout": "a record of where the file comes from",
}
"""Metadata under the architecture's name that changes nothing."""

SAMPLING = {
    "temp": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "penalty_repeat": "repetition_penalty",
}
"""Metadata under `general.sampling`, and what generation_config.json calls it."""

ROPE_TABLES = {
    "rope_freqs.weight": ("short_factor", "long_factor"),
    "rope_factors_short.weight": ("short_factor",),
    "rope_factors_long.weight": ("long_factor",),
}
"""Tensors that divide rotary frequencies, and which of LongRoPE's tables each is."""


def read_config(file: GgufFile) -> dict[str, Any]:
    """What the model's config.json would be.

    Raises UnsupportedModel for an architecture or metadata that is not handled.
    """
    name, architecture = _architecture(file)
    values = {
        key.removeprefix(f"{name}."): value.tolist() if isinstance(value, np.ndarray) else value
        for key, value in file.metadata.items()
        if key.startswith(f"{name}.")
    }
    metadata = ConfigReader(values, str(file.path))
    config: dict[str, Any] = {
        "architectures": [architecture.family],
        "model_type": name,
        "vocab_size": file.tensors["token_embd.weight"].shape[0],
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "head_dim": head_dim(metadata),
    }
    for theirs, ours in COMMON.items():
        if metadata.has(theirs):
            config[ours] = values[theirs]
    if architecture.more:
        config |= architecture.more(metadata, file)
    if not architecture.turns_part_of_heads:
        metadata.require("rope.dimension_count", config["head_dim"])
    config["rope_scaling"] = _rope_scaling(metadata, file)
    metadata.refuse_rest(IGNORED)
    return {key: value for key, value in config.items() if value is not None}


def read_generation_config(file: GgufFile) -> dict[str, Any]:
    """What the model's generation_config.json would be, but for the ends of sequence."""
    return {
        ours: file.metadata[f"general.sampling.{theirs}"]
        for theirs, ours in SAMPLING.items()
        if f"general.sampling.{theirs}" in file.metadata
    }


def stored_tensors(file: GgufFile) -> dict[str, StoredTensor]:
    """The tensors by the keys of the family's checkpoints.

    One that the architecture does not know keeps its name, so that it is reported as unused.
    """
    name, architecture = _architecture(file)
    heads = {
        part: _count(file.metadata, f"{name}.attention.{key}", f"{name}.attention.head_count")
        for part, key in (("attn_q", "head_count"), ("attn_k", "head_count_kv"))
    }
    stored: dict[str, StoredTensor] = {}
    for key, tensor in file.tensors.items():
        if key in ROPE_TABLES:
            continue
        module, _, leaf = key.rpartition(".")
        known = architecture.modules.get(_NUMBER.sub("*", f"{module}.")[:-1])
        parts = [(key, tensor)] if known is None else _parts(f"{known}.{leaf}", key, tensor)
        minus = 1.0 if architecture.norms_plus_one and module.endswith("norm") else 0.0
        num_heads = heads.get(module.rpartition(".")[2]) if architecture.rotates_pairs else None
        order = _halves_from_pairs(tensor, num_heads) if num_heads else None
        stored |= {ours: as_stored(part, order=order, minus=minus) for ours, part in parts}
    return stored


def _architecture(file: GgufFile) -> tuple[str, Architecture]:
    name = str(file.metadata.get("general.architecture", ""))
    if name not in ARCHITECTURES:
        near = difflib.get_close_matches(name, ARCHITECTURES, n=1)
        hint = f"; the nearest is {near[0]}" if near else ""
        raise UnsupportedModel(
            f"{file.path}: general.architecture = {name!r} is not read from GGUF files; read are "
            f"{', '.join(ARCHITECTURES)}{hint}. Serve the model's safetensors instead"
        )
    if "token_embd.weight" not in file.tensors:
        raise UnsupportedModel(
            f"{file.path} holds no token_embd.weight, so it is no whole model (an adapter or a "
            "projector for images, perhaps); give the file of the language model"
        )
    return name, ARCHITECTURES[name]


def _rope_scaling(metadata: ConfigReader, file: GgufFile) -> dict[str, Any] | None:
    """`rope_scaling` of config.json. Files of Llama 3.1 hold its divisors ready made."""
    tables = {
        table: as_stored(file.tensors[key]).read(slice(None)).tolist()
        for key, names in ROPE_TABLES.items()
        if key in file.tensors
        for table in names
    }
    original = metadata.optional_integer("rope.scaling.original_context_length")
    attention = metadata.optional_number("rope.scaling.attn_factor")
    factor = metadata.optional_number("rope.scaling.factor")
    if tables:
        metadata.choice("rope.scaling.type", "none", ("none", "linear", "longrope"))
        length = original or metadata.integer("context_length")
        scaling = {"rope_type": "longrope", "original_max_position_embeddings": length}
        return {**scaling, **tables, "attention_factor": attention or 1.0}
    kind = metadata.choice("rope.scaling.type", "none", ("none", "linear", "yarn"))
    if kind == "none":
        return None
    scaling = {"rope_type": kind, "factor": factor}
    return (
        scaling if kind == "linear" else {**scaling, "original_max_position_embeddings": original}
    )


def _parts(pattern: str, key: str, tensor: RawTensor) -> list[tuple[str, RawTensor]]:
    """`tensor` under the key that `pattern` makes of the numbers in `key`, or each expert of it
    under one of its own, where `pattern` has a star more."""
    numbers = _NUMBER.findall(key)
    if pattern.count("*") == len(numbers):
        return [(_numbered(pattern, numbers), tensor)]
    experts = (
        replace(tensor, shape=tensor.shape[1:], rows=tensor.rows[expert])
        for expert in range(tensor.shape[0])
    )
    return [
        (_numbered(pattern, [*numbers, str(index)]), expert) for index, expert in enumerate(experts)
    ]


def _numbered(pattern: str, numbers: Sequence[str]) -> str:
    left = iter(numbers)
    return re.sub(r"\*", lambda _: next(left), pattern)


def _count(metadata: Mapping[str, Any], *keys: str) -> int:
    """The first of `keys` that is there."""
    return int(next(metadata[key] for key in keys if key in metadata))


def _halves_from_pairs(tensor: RawTensor, num_heads: int) -> np.ndarray:
    """Row i of what transformers stores is row `order[i]` of the file.

    convert_hf_to_gguf.py, `permute`: number i of a head's first half and of its second become
    neighbours.
    """
    num_rows = tensor.shape[0]
    return np.arange(num_rows).reshape(num_heads, -1, 2).swapaxes(1, 2).reshape(num_rows)

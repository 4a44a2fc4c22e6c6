"""GGUF files made as llama.cpp's converter makes them, from folders that transformers saved."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors.numpy import load_file

from jaxserve.models.gguf.architectures import ARCHITECTURES
from tests.tiny_models import write_tiny_llama

F32 = gguf.GGMLQuantizationType.F32

Values = Mapping[str, Any]
Weights = dict[str, np.ndarray]

SIZES = {
    "max_position_embeddings": "context_length",
    "hidden_size": "embedding_length",
    "num_hidden_layers": "block_count",
    "intermediate_size": "feed_forward_length",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
    "norm_epsilon": "attention.layer_norm_epsilon",
    "head_dim": "attention.key_length",
    "num_experts": "expert_count",
    "num_local_experts": "expert_count",
    "num_experts_per_tok": "expert_used_count",
    "moe_intermediate_size": "expert_feed_forward_length",
    "sliding_window": "attention.sliding_window",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
}


def rope_theta(config: Values) -> float:
    table: dict[str, Any] = config.get("rope_parameters") or {}
    return float(table.get("full_attention", table).get("rope_theta", 10_000.0))


def metadata_of(config: Values, architecture: str) -> dict[str, Any]:
    """The file's metadata for a config.json, but for the tokenizer."""
    metadata = {f"{architecture}.{v}": config[k] for k, v in SIZES.items() if config.get(k)}
    if "head_dim" in config:
        metadata[f"{architecture}.attention.value_length"] = config["head_dim"]
    metadata[f"{architecture}.rope.freq_base"] = rope_theta(config)
    metadata[f"{architecture}.vocab_size"] = config["vocab_size"]
    return metadata


def permuted(weights: np.ndarray, num_heads: int) -> np.ndarray:
    """As llama.cpp's converter does it for models that rotate neighbours."""
    by_head = weights.reshape(num_heads, 2, weights.shape[0] // num_heads // 2, *weights.shape[1:])
    return by_head.swapaxes(1, 2).reshape(weights.shape)


def tensors_of(weights: Weights, config: Values, architecture: str) -> Weights:
    """The file's tensors for those of a checkpoint."""
    row = ARCHITECTURES[architecture]
    theirs = {ours: name for name, ours in row.modules.items()}
    num_heads = {
        "q_proj": config["num_attention_heads"],
        "k_proj": config.get("num_key_value_heads", config["num_attention_heads"]),
    }
    tensors = {}
    stacked: dict[str, dict[int, np.ndarray]] = {}
    for key, tensor in weights.items():
        module, _, leaf = key.rpartition(".")
        pattern = re.sub(r"\.\d+\.", ".*.", f"{module}.")[:-1]
        number, *expert = [*re.findall(r"\.(\d+)\.", module), ""][:2]
        kind = module.rpartition(".")[2]
        if row.rotates_pairs and kind in num_heads:
            tensor = permuted(tensor, num_heads[kind])
        if row.norms_plus_one and module.endswith("norm"):
            tensor = tensor + 1
        tensor = tensor.astype(np.float32)
        name = f"{theirs[pattern].replace('*', number)}.{leaf}"
        if pattern.count("*") > 1:
            stacked.setdefault(name, {})[int(expert[0])] = tensor
        else:
            tensors[name] = tensor
    return tensors | {
        name: np.stack([experts[index] for index in range(len(experts))])
        for name, experts in stacked.items()
    }


def write_gguf(
    path: Path,
    architecture: str,
    metadata: Values,
    tensors: Weights,
    *,
    type_of: Callable[[str, np.ndarray], gguf.GGMLQuantizationType] = lambda name, tensor: F32,
) -> Path:
    """Write a file with the tensors quantised as `type_of` says."""
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in metadata.items():
        _add(writer, key, value)
    for name, tensor in tensors.items():
        kind = type_of(name, tensor)
        quantised = tensor if kind == F32 else gguf.quantize(tensor, kind)
        writer.add_tensor(name, quantised, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    kinds = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32}
    add = {**kinds, str: writer.add_string, list: writer.add_array}[type(value)]
    add(key, value)


def convert(folder: Path, path: Path, architecture: str, **options: Any) -> Path:
    """The GGUF file of a folder with safetensors.

    `metadata` and `more` are values and tensors over those of the folder; `without` is a tensor
    that is left out.
    """
    config = json.loads((folder / "config.json").read_text())
    metadata = {**metadata_of(config, architecture), **options.pop("metadata", {})}
    tensors = tensors_of(load_file(folder / "model.safetensors"), config, architecture)
    tensors |= options.pop("more", {})
    tensors.pop(options.pop("without", ""), None)
    named = metadata.pop("general.architecture", architecture)
    return write_gguf(path, named, metadata, tensors, **options)


def tiny_gguf(folder: Path, path: Path, **options: Any) -> Path:
    """A file of a tiny Llama whose rows can be quantised, and `folder` with the same weights."""
    write_tiny_llama(folder, hidden_size=64, intermediate_size=96, head_dim=16)
    return convert(folder, path, "llama", **options)

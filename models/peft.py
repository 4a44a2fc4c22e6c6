"""How is an adapter read from a folder in PEFT's form?

Refused by name: what PEFT can do beside plain LoRA, keys that fit no layer of the base model, and
shapes that do not fit theirs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxserve.errors import CheckpointError
from jaxserve.models.adapters import Stored, Weights
from jaxserve.models.checkpoint import StoredTensor, open_file, read_json, shortened
from jaxserve.models.stored import ArrayRows

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

_KEY = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<factor>[AB])\.weight")
# What changes the result, and the values that ask for nothing.
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "bias": (None, "none"),
    "use_dora": (None, False),
    "lora_bias": (None, False),
    "fan_in_fan_out": (None, False),
    "modules_to_save": (None, []),
    "alora_invocation_tokens": (None, []),
    "target_parameters": (None, []),
    "layer_replication": (None, []),
    "megatron_config": (None, {}),
    "trainable_token_indices": (None, [], {}),
}


def read_adapter(folder: Path, modules: Stored, *, max_rank: int) -> Weights:
    """The factors of an adapter by our paths, the second ones scaled as the adapter says.

    Raises CheckpointError with every key that is wrong.
    """
    if not (folder / CONFIG).is_file() or not (folder / WEIGHTS).is_file():
        raise CheckpointError(
            f"{folder} is no adapter: one has {CONFIG} and {WEIGHTS} (no pickle is read)"
        )
    config = read_json(folder / CONFIG)
    _refuse_unsupported(config, folder)
    weights: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, (down, up) in _pairs(open_file(folder / WEIGHTS), modules, folder).items():
        rank = down.shape[0]
        if rank > max_rank:
            raise CheckpointError(
                f"{folder}: {name} has rank {rank}, and there is room for {max_rank}; start the "
                f"server with --max-lora-rank {rank}"
            )
        scaled = ArrayRows(up * np.float32(_scale(config, name, rank)))
        for held in modules[name]:
            if held.path in weights:
                raise CheckpointError(f"{folder}: {name} and another key change the same weights")
            weights[held.path] = down, held.piece.read(scaled, (slice(None), slice(None)))
    return weights


def read_rank(folder: Path) -> int:
    """The largest rank that an adapter's config names. Raises CheckpointError."""
    config = read_json(folder / CONFIG)
    ranks = [config.get("r", 8), *(config.get("rank_pattern") or {}).values()]
    if not all(isinstance(rank, int) and rank > 0 for rank in ranks):
        raise CheckpointError(f"{folder / CONFIG}: r and rank_pattern must be positive integers")
    return max(ranks)


def _refuse_unsupported(config: Mapping[str, Any], folder: Path) -> None:
    if config.get("peft_type") != "LORA":
        raise CheckpointError(
            f"{folder / CONFIG}: peft_type is {config.get('peft_type')!r}; only LORA is served"
        )
    for name, neutral in _NEUTRAL.items():
        if config.get(name) not in neutral:
            raise CheckpointError(
                f"{folder / CONFIG}: {name} is {config[name]!r}, which is not served; merge the "
                "adapter into its base model with PEFT's merge_and_unload"
            )


def _pairs(
    stored: Mapping[str, StoredTensor], modules: Stored, folder: Path
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    factors: dict[str, dict[str, np.ndarray]] = {}
    wrong: list[str] = []
    for key, tensor in sorted(stored.items()):
        match = _KEY.fullmatch(key)
        module = match["module"] if match else ""
        if match is None or module not in modules:
            wrong.append(f"{key} fits no layer of the base model that takes adapters")
            continue
        at = 0 if match["factor"] == "B" else 1
        size = modules[module][0].piece.stored_shape[at]
        if len(tensor.shape) != 2 or tensor.shape[at] != size:
            wrong.append(f"{key} has shape {tensor.shape}, and dimension {at} must be {size}")
            continue
        numbers = tensor.read((slice(None), slice(None))).astype(np.float32)
        factors.setdefault(module, {})[match["factor"]] = numbers
    for module, own in factors.items():
        if len(own) == 2 and own["A"].shape[0] != own["B"].shape[1]:
            wrong.append(f"{module}: lora_A has rank {own['A'].shape[0]}, lora_B another")
        if len(own) == 1:
            wrong.append(f"{module} has lora_{next(iter(own))} alone")
    if wrong or not factors:
        raise CheckpointError(f"{folder / WEIGHTS}: {shortened(wrong) or 'holds no factors'}")
    return {module: (own["A"], own["B"]) for module, own in factors.items()}


def _scale(config: Mapping[str, Any], module: str, rank: int) -> float:
    alpha = config.get("lora_alpha", 8)
    for pattern, value in (config.get("alpha_pattern") or {}).items():
        if re.fullmatch(rf"(.*\.)?({pattern})", module):
            alpha = value
    return float(alpha / rank**0.5 if config.get("use_rslora") else alpha / rank)

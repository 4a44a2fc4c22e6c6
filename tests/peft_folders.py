"""Adapters in PEFT's form with random factors, and the weights they make when merged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

TARGETS = ("self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj")


def write_adapter(
    folder: Path,
    base: Path,
    *,
    rank: int = 4,
    alpha: float = 6.0,
    seed: int = 1,
    targets: tuple[str, ...] = TARGETS,
    **config: Any,
) -> Path:
    """An adapter for the model in `base`, of every layer whose name ends as `targets` do."""
    rng = np.random.default_rng(seed)
    factors: dict[str, np.ndarray[Any, Any]] = {}
    for key, weight in safetensors.numpy.load_file(base / "model.safetensors").items():
        module = key.removesuffix(".weight")
        if module.endswith(targets):
            out_size, in_size = weight.shape
            name = f"base_model.model.{module}"
            factors[f"{name}.lora_A.weight"] = _random(rng, (rank, in_size))
            factors[f"{name}.lora_B.weight"] = _random(rng, (out_size, rank))
    folder.mkdir(parents=True)
    safetensors.numpy.save_file(factors, folder / "adapter_model.safetensors")
    told = {"peft_type": "LORA", "r": rank, "lora_alpha": alpha, "bias": "none", **config}
    (folder / "adapter_config.json").write_text(json.dumps(told))
    return folder


def write_merged(folder: Path, base: Path, adapter: Path, *, scale: float) -> Path:
    """The model in `base` with the adapter's products added to its weights."""
    shutil.copytree(base, folder)
    weights = safetensors.numpy.load_file(base / "model.safetensors")
    factors = safetensors.numpy.load_file(adapter / "adapter_model.safetensors")
    for name, up in factors.items():
        if name.endswith(".lora_B.weight"):
            down = factors[name.replace(".lora_B.", ".lora_A.")]
            key = name.removeprefix("base_model.model.").replace(".lora_B.weight", ".weight")
            weights[key] = weights[key] + np.float32(scale) * (up @ down)
    safetensors.numpy.save_file(weights, folder / "model.safetensors")
    return folder


def _random(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    return rng.normal(scale=0.3, size=shape).astype(np.float32)

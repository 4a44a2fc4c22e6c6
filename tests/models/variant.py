"""What is a tiny random checkpoint that a model is compared on?"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers

LLAMA = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}


@dataclass(frozen=True)
class Variant:
    """A random model of `architecture`, and how it is saved."""

    overrides: Mapping[str, Any] = field(default_factory=dict)
    architecture: str = "LlamaForCausalLM"
    base: Mapping[str, Any] = field(default_factory=lambda: LLAMA)
    stored: torch.dtype = torch.float32
    max_shard_size: str = "1GB"
    max_model_len: int | None = None  # as `load_model` takes it

    def save(self, folder: Path) -> None:
        """Write the folder; every parameter is random, biases and norms included."""
        config_class, model_class = classes_of(self.architecture)
        torch.manual_seed(0)
        model = model_class(config_class(**{**self.base, **self.overrides}))
        with torch.no_grad():
            for name, numbers in model.state_dict().items():  # buffers that are saved, too
                is_multiplier = "norm" in name or "scalar" in name
                numbers.normal_(mean=1.0 if is_multiplier else 0.0, std=0.2)
        if self.stored != torch.float32:  # complex buffers of Llama 4's tower cannot be cast
            model.to(self.stored)
        model.save_pretrained(folder, max_shard_size=self.max_shard_size)
        config = json.loads((folder / "config.json").read_text())
        config["architectures"] = [self.architecture]
        (folder / "config.json").write_text(json.dumps(config))


def classes_of(architecture: str) -> tuple[Any, Any]:
    """transformers' classes of config and model; it has no model class of its own for some."""
    if architecture == "InternLM3ForCausalLM":
        return transformers.InternLM3Config, transformers.LlamaForCausalLM
    if architecture == "PhiMoEForCausalLM":  # as released files spell it
        architecture = "PhimoeForCausalLM"
    model_class = getattr(transformers, architecture)
    return model_class.config_class, model_class


YARN = {
    "rope_type": "yarn",
    "factor": 4.0,
    "original_max_position_embeddings": 32,
    "rope_theta": 500.0,
}
PATTERN = {"num_hidden_layers": 4, "sliding_window": 5}
EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 16}


def family(
    architecture: str, variants: Mapping[str, Mapping[str, Any]], **base: Any
) -> dict[str, Variant]:
    """Rows of one architecture; `base` holds what all of them set beside Llama's sizes."""
    sizes = {**LLAMA, "pad_token_id": 0, **base}
    return {name: Variant(more, architecture, sizes) for name, more in variants.items()}

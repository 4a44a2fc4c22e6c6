"""Which tiny checkpoints is the decoder compared on? A family adds rows here."""

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

    def save(self, folder: Path) -> None:
        """Write the folder; every parameter is random, biases and norms included."""
        model_class = getattr(transformers, self.architecture)
        torch.manual_seed(0)
        model = model_class(model_class.config_class(**{**self.base, **self.overrides}))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.normal_(mean=1.0 if "norm" in name else 0.0, std=0.2)
        model.to(self.stored).save_pretrained(folder, max_shard_size=self.max_shard_size)


def _rope(**parameters: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_theta": 500.0, **parameters}}


VARIANTS = {
    "llama": Variant(),
    "llama-tied": Variant({"tie_word_embeddings": True}),
    "llama-multi-head": Variant({"num_key_value_heads": 4}),
    "llama-multi-query": Variant({"num_key_value_heads": 1}),
    "llama-attention-bias": Variant({"attention_bias": True}),
    "llama-mlp-bias": Variant({"mlp_bias": True}),
    "llama-wide-heads": Variant({"head_dim": 16}),
    "llama-gelu": Variant({"hidden_act": "gelu"}),
    "llama-eps": Variant({"rms_norm_eps": 0.01}),
    "llama-rope-theta": Variant(_rope(rope_type="default")),
    "llama-rope-linear": Variant(_rope(rope_type="linear", factor=4.0)),
    "llama-rope-llama3": Variant(
        _rope(
            rope_type="llama3",
            factor=8.0,
            low_freq_factor=1.0,
            high_freq_factor=4.0,
            original_max_position_embeddings=32,
        )
    ),
    "llama-bfloat16-files": Variant(stored=torch.bfloat16),
    "llama-several-files": Variant(max_shard_size="20KB"),
}

"""Model folders small enough to make in a test: random weights, no downloads, no PyTorch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

TINY_LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 8,
    "hidden_act": "silu",
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "mlp_bias": False,
}


def llama_shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """The checkpoint keys of a Llama and their shapes."""
    embed, mlp = config["hidden_size"], config["intermediate_size"]
    queries = config["num_attention_heads"] * config["head_dim"]
    keys = config["num_key_value_heads"] * config["head_dim"]
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (config["vocab_size"], embed)
    }
    for layer in range(config["num_hidden_layers"]):
        of_layer = {
            "self_attn.q_proj": (queries, embed),
            "self_attn.k_proj": (keys, embed),
            "self_attn.v_proj": (keys, embed),
            "self_attn.o_proj": (embed, queries),
            "mlp.gate_proj": (mlp, embed),
            "mlp.up_proj": (mlp, embed),
            "mlp.down_proj": (embed, mlp),
            "input_layernorm": (embed,),
            "post_attention_layernorm": (embed,),
        }
        shapes |= {f"model.layers.{layer}.{k}.weight": v for k, v in of_layer.items()}
    shapes["model.norm.weight"] = (embed,)
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (config["vocab_size"], embed)
    return shapes


def write_tiny_llama(folder: Path, *, seed: int = 0, **changes: Any) -> Path:
    """A Llama folder without a tokenizer; weights large enough that tokens differ."""
    config = {**TINY_LLAMA, **changes}
    rng = np.random.default_rng(seed)
    weights = {
        key: np.ones(shape, np.float32)
        if key.endswith("norm.weight")
        else rng.normal(scale=0.3, size=shape).astype(np.float32)
        for key, shape in llama_shapes(config).items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(weights, folder / "model.safetensors")
    return folder

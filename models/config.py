"""What is a decoder made of?

The declared parts of a model, in our words, whatever its family calls them. Read from a checkpoint
by `families/`; knows nothing of config.json, weights or devices.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearScaling:
    """Positions divided by `factor` (position interpolation, arXiv:2306.15595)."""

    factor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Llama3Scaling:
    """Llama 3.1: long wavelengths divided by `factor`, short ones kept, a ramp in between."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_len: int  # context of the pretraining, in tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class RopeConfig:
    """Rotary position embedding (arXiv:2104.09864) over the whole head."""

    theta: float
    scaling: LinearScaling | Llama3Scaling | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderConfig:
    """The parts of a decoder. Hashable, so that it can be a static part of a module."""

    vocab_size: int  # rows of the embedding; a tokenizer may know fewer
    embed_dim: int
    mlp_dim: int
    num_layers: int
    num_q_heads: int
    num_kv_heads: int
    head_dim: int
    norm_eps: float
    rope: RopeConfig
    activation: str  # a key of layers.ACTIVATIONS
    qkv_bias: bool
    o_bias: bool
    mlp_bias: bool
    tied_embeddings: bool  # the embedding is the output projection too
    max_model_len: int  # most positions the model was made for

    @property
    def attention_scale(self) -> float:
        """What q k^T is multiplied with before the softmax."""
        return float(self.head_dim**-0.5)

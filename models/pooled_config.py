"""What comes after the hidden states of a model that answers with one vector per text?

The declared parts: how hidden states become a vector, what it is multiplied with, and the head of a
classifier. Knows nothing of config.json, weights or devices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jaxserve.models.config import DecoderConfig, NormConfig

Pooling = Literal["cls", "mean", "max", "mean_sqrt_len", "weighted_mean", "last"]
"""Which hidden states of a text make its vector: the first, their mean, their maximum, their sum
over the root of its length, their mean weighted by position (arXiv:2202.08904), or the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseConfig:
    """A linear layer that the vector goes through."""

    in_dim: int
    out_dim: int
    bias: bool
    activation: str  # a key of pooled.ACTIVATIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadConfig:
    """A classifier: what `hidden` makes of the vector, normalised, becomes a logit per label."""

    num_labels: int
    bias: bool = True
    hidden: DenseConfig | None = None
    norm: NormConfig | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PooledConfig:
    """A backbone and what follows it. Hashable, so that it can be a static part of a module.

    A backbone that is no EncoderConfig is a decoder, and sees no token after its own. Several
    `pooling` modes make a vector each, one after another.
    """

    backbone: DecoderConfig
    pooling: tuple[Pooling, ...]
    projections: tuple[DenseConfig, ...] = ()
    normalized: bool = False  # to unit length, last
    head: HeadConfig | None = None  # in place of a vector the logits come out

    @property
    def output_dim(self) -> int:
        """Numbers that come out for a text."""
        if self.head is not None:
            return self.head.num_labels
        if self.projections:
            return self.projections[-1].out_dim
        return self.backbone.embed_dim * len(self.pooling)

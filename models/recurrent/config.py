"""Which layers carry a state instead of attending, and what is it made of?

A state has a fixed size however long its sequence is. Plain declarations, as in `models/config.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jaxserve.sharding.axes import CHANNELS, STATE_HEADS, LogicalAxes


@dataclass(frozen=True, slots=True, kw_only=True)
class StateArray:
    """One array of a layer's state, as a single sequence has it."""

    shape: tuple[int, ...]
    axes: LogicalAxes
    dtype: Literal["float32"] | None = None  # None: that of the weights


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortConvConfig:
    """A gated convolution over the last tokens, each channel by itself (LFM2)."""

    channels: int
    width: int  # tokens that an output depends on, its own included
    bias: bool

    @property
    def state(self) -> tuple[StateArray, ...]:
        """The convolution's last inputs, oldest first."""
        return (StateArray(shape=(self.width - 1, self.channels), axes=(None, CHANNELS)),)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatedDeltaConfig:
    """A gated delta net (arXiv:2412.06464): a matrix per value head, from keys to values."""

    num_key_heads: int
    num_value_heads: int  # a key head serves so many of them, one after another
    key_dim: int
    value_dim: int
    width: int  # of the convolution before it, in tokens

    @property
    def values_per_key(self) -> int:
        return self.num_value_heads // self.num_key_heads

    @property
    def state(self) -> tuple[StateArray, ...]:
        """The convolution's last inputs, oldest first, and the matrices."""
        groups, per_key = self.num_key_heads, self.values_per_key
        inputs = 2 * self.key_dim + per_key * self.value_dim
        return (
            StateArray(shape=(self.width - 1, groups, inputs), axes=(None, STATE_HEADS, None)),
            StateArray(
                shape=(groups, per_key, self.key_dim, self.value_dim),
                axes=(STATE_HEADS, None, None, None),
                dtype="float32",
            ),
        )


RecurrentConfig = ShortConvConfig | GatedDeltaConfig

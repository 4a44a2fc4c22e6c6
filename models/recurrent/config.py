"""Which layers carry a state instead of attending, and what is it made of?

A state has a fixed size however long its sequence is. Plain declarations, as in `models/config.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jaxserve.sharding.axes import CHANNELS, LogicalAxes


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


RecurrentConfig = ShortConvConfig

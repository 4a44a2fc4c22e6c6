"""What does a family say about itself?

How its config.json reads, and which checkpoint key holds which parameter. Both are all there is to
a family: the decoder is common.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from jaxserve.models.config import DecoderConfig
from jaxserve.models.reader import ConfigReader


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A model family. In `keys` and `ignored_keys` `*` stands for a layer's number.

    `keys` maps a checkpoint key to the path of a parameter of `Decoder`; it may name parameters
    that only some configs have, such as biases. `ignored_keys` are keys that released checkpoints
    hold and nothing needs. `ignored` are config attributes without effect here, with the reason,
    beyond those that no family needs.
    """

    read_config: Callable[[ConfigReader], DecoderConfig]
    keys: Mapping[str, str]
    ignored_keys: frozenset[str]
    ignored: Mapping[str, str]

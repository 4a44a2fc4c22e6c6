"""What does a family say about itself?

How its config.json reads, and which module of a checkpoint holds which of ours. Both are all there
is to a family: the decoder is common.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from jaxserve.models.config import DecoderConfig
from jaxserve.models.reader import ConfigReader
from jaxserve.models.stored import Modules


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A model family. In names of modules and keys `*` stands for a layer's number.

    `models` are the releases that store themselves so, for the table of what is supported.
    `defaults` are what transformers takes for attributes that config.json leaves out. `modules`
    maps a module of the checkpoint to the path of one in `Decoder`, or to a layout that holds
    several; its weight and bias follow, where the config makes them. Where two rows lead to the
    same module, the one that is stored counts. `prefix` begins the keys of all modules but the
    output's; a checkpoint may leave it out. `extra_layers` begins the keys of layers whose number
    is past the config's: they only guess tokens ahead, and are not read. `other_parts` begin the
    keys of other models in the same files, which are not read either. `ignored_keys` are keys that
    released checkpoints hold and nothing needs. `ignored` are config attributes without effect
    here, with the reason, beyond those that no family needs.
    """

    read_config: Callable[[ConfigReader], DecoderConfig]
    defaults: Mapping[str, Any]
    modules: Modules
    models: str = ""
    prefix: str = ""
    extra_layers: str = ""
    other_parts: tuple[str, ...] = ()
    ignored_keys: frozenset[str] = frozenset()
    ignored: Mapping[str, str] = field(default_factory=dict)

"""What does a family of encoders say about itself?

How its config.json reads, which module of a checkpoint holds which of ours, and what its classifier
looks like.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from jaxserve.models.encoder_config import EncoderConfig
from jaxserve.models.pooled_config import HeadConfig, Pooling
from jaxserve.models.reader import ConfigReader
from jaxserve.models.stored import Modules

ReadHead = Callable[[ConfigReader, EncoderConfig, int], tuple[HeadConfig, Pooling]]
"""The classifier's parts and what it is fed, from config.json and the number of labels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderFamily:
    """A family of encoders; `Family` says what `defaults`, `modules`, `prefix` and the ignored are.

    `modules` lead into `Encoder`, `head_modules` into `Head`. `head_keys` begin the stored keys of
    heads for other tasks, which are left unread. `models` are releases that store themselves so.
    """

    read_config: Callable[[ConfigReader], EncoderConfig]
    read_head: ReadHead
    defaults: Mapping[str, Any]
    modules: Modules
    head_modules: Modules
    prefix: str
    head_keys: tuple[str, ...]
    models: str
    ignored: Mapping[str, str] = field(default_factory=dict)

"""What is asked of a plan?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp

from jaxserve.models.making import Option


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A model in a folder, of which the config is read, and how it is to be served.

    `context` is the longest sequence in tokens, `concurrency` how many requests run at once, and
    `token_budget` how many tokens a step computes at most.
    """

    folder: Path
    dtype: jnp.dtype
    kv_dtype: jnp.dtype
    context: int | None
    concurrency: int
    token_budget: int
    page_size: int
    quantize: Option | None

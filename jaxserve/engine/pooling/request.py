"""What a text to embed, score or classify is to the engine: token ids in, one vector out.

A request of the engine loop that draws no token. Plain values, and arrays where numbers come back.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from jaxserve.engine.request import Request, SamplingParams, TokenDelta

DRAWS_NOTHING = SamplingParams(max_tokens=0)


@dataclass(slots=True, kw_only=True, eq=False)
class PooledRequest(Request):
    """A text, or a pair of texts as one: `token_types` are 1 in the second, and empty for all 0."""

    params: SamplingParams = DRAWS_NOTHING
    token_types: tuple[int, ...] = ()


@dataclass(slots=True, kw_only=True)
class PooledDelta(TokenDelta):
    """The one delta of a PooledRequest that was not aborted and did not fail."""

    vector: np.ndarray = field(compare=False)  # f32[K]: an embedding, or a logit per label


@dataclass(frozen=True, slots=True)
class PooledResult:
    """What a step computed, a row per row of it."""

    vectors: np.ndarray  # f32[rows, K]

"""The metadata of a step in which rows of some lengths go on from some positions."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from jaxserve.models.attention.interface import AttentionMetadata
from jaxserve.models.recurrent.rows import Rows

NUM_ROWS = 5  # idle ones included


def rows_of(
    counts: Sequence[int], starts: Sequence[int], slots: Sequence[int], *, num_tokens: int
) -> Rows:
    """Row r computes counts[r] tokens from position starts[r] on; the rest of `num_tokens` and of
    NUM_ROWS are idle, and claim slot 0."""
    idle = NUM_ROWS - len(counts)
    bounds = np.cumsum([0, *counts, *[0] * idle])
    positions = np.zeros(num_tokens)
    positions[: bounds[-1]] = np.concatenate(
        [start + np.arange(count) for start, count in zip(starts, counts, strict=True)]
    )
    parts = (positions, np.zeros((NUM_ROWS, 1)), np.zeros(NUM_ROWS), bounds, [len(counts)])
    slots = [*slots, *[0] * idle]
    metadata = AttentionMetadata(*(jnp.asarray(part, jnp.int32) for part in (*parts, slots)))
    return Rows.of(metadata, one_token_each=num_tokens == NUM_ROWS)

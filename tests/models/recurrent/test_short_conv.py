"""A convolution goes on where its row's last step ended, whoever lies beside it."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxserve.models.recurrent.short_conv import convolve
from tests.models.recurrent.step_rows import NUM_ROWS, rows_of

CHANNELS, SLOTS = (2, 3), 6


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("counts", "starts", "num_tokens"),
    [((1, 1, 1), (3, 0, 1), NUM_ROWS), ((1, 7, 2), (5, 0, 1), 16), ((16,), (0,), 16)],
    ids=["decode", "mixed", "full"],
)
def test_it_is_numpys_for_each_row(
    width: int, counts: tuple[int, ...], starts: tuple[int, ...], num_tokens: int
) -> None:
    rng = np.random.default_rng(0)
    slots = (4, 1, 5)[: len(counts)]
    rows = rows_of(counts, starts, slots, num_tokens=num_tokens)
    x = rng.normal(size=(num_tokens, *CHANNELS))
    weight = rng.normal(size=(*CHANNELS, width))
    state = rng.normal(size=(SLOTS, width - 1, *CHANNELS))
    expected_state, bounds = state.copy(), np.cumsum([0, *counts])
    kept = jnp.asarray(state, jnp.float32)
    out, last = convolve(
        jnp.asarray(x, jnp.float32), jnp.asarray(weight, jnp.float32), rows.read(kept), rows
    )
    for row, (slot, start) in enumerate(zip(slots, starts, strict=True)):
        own = x[bounds[row] : bounds[row + 1]]
        before = state[slot] if start else np.zeros_like(state[slot])
        inputs = np.concatenate([before, own])
        expected_state[slot] = inputs[len(own) :]
        for channel in np.ndindex(CHANNELS):
            column = inputs[(slice(None), *channel)]
            wanted = np.convolve(column, weight[channel][::-1], mode="valid")
            ours = out[(slice(bounds[row], bounds[row + 1]), *channel)]
            np.testing.assert_allclose(ours, wanted, atol=1e-5)
    np.testing.assert_allclose(rows.write(kept, last), expected_state, atol=1e-6)

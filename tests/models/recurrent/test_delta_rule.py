"""Matrices and what is read from them are those of the rule applied token by token."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxserve.models.recurrent.delta_rule import Deltas, carry
from tests.models.recurrent.step_rows import NUM_ROWS, rows_of

GROUPS, PER_KEY, KEY, VALUE, SLOTS = 2, 3, 8, 6, 6
Array = np.ndarray


def some_deltas(num_tokens: int, *, alike: float = 0.0) -> list[Array]:
    """Query, key, value, decay and rate; keys share a direction as far as `alike` says."""
    rng = np.random.default_rng(num_tokens)
    query = rng.normal(size=(num_tokens, GROUPS, KEY))
    key = (1 - alike) * rng.normal(size=(num_tokens, GROUPS, KEY)) + alike
    key /= np.linalg.norm(key, axis=-1, keepdims=True)
    value = rng.normal(size=(num_tokens, GROUPS, PER_KEY, VALUE))
    decay = -rng.exponential(0.3, size=(num_tokens, GROUPS, PER_KEY))
    rate = rng.uniform(size=(num_tokens, GROUPS, PER_KEY))
    return [query, key, value, decay, rate]


def token_by_token(deltas: list[Array], matrix: Array) -> tuple[Array, Array]:
    """In float64: what is read after each token, and the matrix after the last."""
    read = np.zeros(deltas[2].shape)
    matrix = matrix.copy()
    for token, (query, key, value, decay, rate) in enumerate(zip(*deltas, strict=True)):
        for group, head in np.ndindex(GROUPS, PER_KEY):
            own = matrix[group, head] * np.exp(decay[group, head])
            change = rate[group, head] * (value[group, head] - key[group] @ own)
            matrix[group, head] = own + np.outer(key[group], change)
            read[token, group, head] = query[group] @ matrix[group, head]
    return read, matrix


@pytest.mark.parametrize(
    ("counts", "starts", "num_tokens"),
    [
        ((1, 1, 1), (3, 0, 9), NUM_ROWS),
        ((1, 7, 12), (3, 0, 9), 24),
        ((1, 130, 64, 3), (0, 0, 65, 2), 224),  # several blocks, whole and cut
    ],
    ids=["decode", "mixed", "blocks"],
)
@pytest.mark.parametrize("alike", [0.0, 0.9])
def test_rows_carry_their_own_slots_on(
    counts: tuple[int, ...], starts: tuple[int, ...], num_tokens: int, alike: float
) -> None:
    slots = (4, 1, 5, 3)[: len(counts)]
    rows = rows_of(counts, starts, slots, num_tokens=num_tokens)
    deltas = some_deltas(num_tokens, alike=alike)
    matrices = np.random.default_rng(1).normal(size=(SLOTS, GROUPS, PER_KEY, KEY, VALUE))
    expected_read, expected = np.zeros(deltas[2].shape), matrices.copy()
    bounds = np.cumsum([0, *counts])
    for row, (slot, start) in enumerate(zip(slots, starts, strict=True)):
        own = slice(bounds[row], bounds[row + 1])
        before = matrices[slot] if start else np.zeros_like(matrices[slot])
        expected_read[own], expected[slot] = token_by_token([d[own] for d in deltas], before)
    ours = Deltas(*(jnp.asarray(part, jnp.float32) for part in deltas))
    read, after = carry(ours, jnp.asarray(matrices, jnp.float32), rows)
    live = bounds[-1]
    np.testing.assert_allclose(read[:live], expected_read[:live], atol=2e-5)
    np.testing.assert_allclose(after, expected, atol=2e-5)


def test_a_neighbour_whose_numbers_are_broken_breaks_nobody_else() -> None:
    rows = rows_of((5, 4), (0, 0), (2, 1), num_tokens=16)
    deltas = some_deltas(16)
    broken = [
        np.where(np.arange(16).reshape(-1, *[1] * (d.ndim - 1)) < 5, d, np.nan) for d in deltas
    ]
    matrices = jnp.full((SLOTS, GROUPS, PER_KEY, KEY, VALUE), jnp.nan)
    read, after = carry(Deltas(*(jnp.asarray(d, jnp.float32) for d in broken)), matrices, rows)
    expected, _ = token_by_token([d[:5] for d in deltas], np.zeros((GROUPS, PER_KEY, KEY, VALUE)))
    np.testing.assert_allclose(read[:5], expected, atol=2e-5)
    assert np.isfinite(after[2]).all()
    assert np.isnan(after[1]).any()

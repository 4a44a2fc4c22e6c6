"""Every row meets the matrix of its own expert, whatever way the products are done."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxserve.models.grouping import block_rows, grouped_product, in_blocks

DRAW = np.random.default_rng(0)
COUNTS = {
    "some idle": [3, 0, 5, 1],
    "one has all": [0, 0, 9, 0],
    "the last is idle": [4, 5, 0, 0],
    "all alike": [3, 3, 3],
}


@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
@pytest.mark.parametrize("size", [None, 1, 2, 4])
def test_rows_meet_their_experts(counts: list[int], size: int | None) -> None:
    rows = DRAW.normal(size=(9, 6)).astype(np.float32)
    weights = DRAW.normal(size=(len(counts), 6, 6)).astype(np.float32)
    experts = np.repeat(np.arange(len(counts)), counts)
    expected = np.einsum("ni,noi->no", rows, weights[experts])
    given, stacked = jnp.asarray(counts), jnp.asarray(weights)
    if size is None:
        ours = grouped_product(jnp.asarray(rows), stacked, given)
    else:
        ours = in_blocks(
            jnp.asarray(rows), given, lambda x, expert: x @ stacked[expert].T, size=size
        )
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_as_many_blocks_are_computed_as_there_are() -> None:
    seen: list[tuple[int, int]] = []

    def apply(rows: jax.Array, expert: jax.Array) -> jax.Array:
        seen.append((len(rows), int(expert)))
        return rows

    with jax.disable_jit():
        in_blocks(jnp.ones((9, 2)), jnp.asarray([3, 0, 5, 1]), apply, size=2)
    assert seen == [(2, 0), (2, 0), (2, 2), (2, 2), (2, 2), (2, 3)]


@pytest.mark.parametrize(
    ("num_rows", "num_experts", "size"), [(2, 8, 1), (32, 8, 4), (33, 8, 8), (9999, 8, 64)]
)
def test_a_block_is_as_large_as_an_experts_share(
    num_rows: int, num_experts: int, size: int
) -> None:
    assert block_rows(num_rows, num_experts) == size

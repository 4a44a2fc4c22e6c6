"""Tokens of rows, cut into blocks for a kernel and put back."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from jaxserve.models.attention.interface import AttentionMetadata
from jaxserve.models.attention.query_blocks import cut, one_query_each, packed, unpacked
from tests.models.attention.conformance import metadata_of

Rows = list[tuple[int, int]]
CASES: dict[str, Rows] = {
    "a short row": [(3, 2)],
    "blocks that are full": [(0, 8), (9, 4)],
    "one token and many": [(7, 1), (0, 11), (40, 1), (2, 5)],
    "nothing": [],
}


def metadata(rows: Rows, num_tokens: int, num_rows: int) -> AttentionMetadata:
    return metadata_of(rows, np.zeros((num_rows, 1), np.int32), num_tokens)


@pytest.mark.parametrize("rows", CASES.values(), ids=CASES)
def test_every_query_is_once_in_a_block_of_its_row_at_its_position(rows: Rows) -> None:
    blocks = cut(metadata(rows, 32, 5), num_tokens=32, queries=4).blocks
    got = [
        (int(row), int(first) + index)
        for row, first, count in zip(*blocks, strict=True)
        for index in range(int(count))
    ]
    assert got == [
        (row, position)
        for row, (before, count) in enumerate(rows)
        for position in range(before, before + count)
    ]


@pytest.mark.parametrize("rows", CASES.values(), ids=CASES)
@pytest.mark.parametrize("queries", [1, 4, 16])
def test_what_is_packed_is_unpacked(rows: Rows, queries: int) -> None:
    live = sum(count for _, count in rows)
    q = jnp.arange(32 * 6 * 2, dtype=jnp.float32).reshape(32, 6, 2)
    how = cut(metadata(rows, 32, 5), num_tokens=32, queries=queries)
    tiles = packed(q, how, num_kv_heads=2)
    assert tiles.shape == (len(how.blocks.row), 2, queries * 3, 2)
    np.testing.assert_array_equal(unpacked(tiles, how, group=3)[:live], q[:live])


def test_a_decode_step_has_a_block_for_each_row_and_idle_ones_have_no_query() -> None:
    blocks = one_query_each(metadata([(5, 1), (0, 1)], 3, 3))
    assert [part.tolist() for part in blocks] == [[0, 1, 2], [5, 0, 0], [1, 1, 0]]

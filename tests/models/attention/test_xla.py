"""XLA attention writes live tokens alone, and reads no more than it needs."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxserve.models.attention import xla
from jaxserve.models.attention.interface import AttentionSpec
from jaxserve.models.attention.xla import XlaAttention
from tests.models.attention.conformance import Case, metadata_of, page_table

HEAD_DIM = 16
NUM_PAGES = 240
_attend = jax.jit(XlaAttention().__call__, static_argnames=("spec", "one_token_per_row"))


def test_idle_tokens_write_nothing() -> None:
    case = Case(rows=((3, 1),), num_tokens=4, num_rows=4, page_size=8)
    table = page_table(case, np.random.default_rng(0))
    metadata = metadata_of(list(case.rows), table, case.num_tokens)
    before = jnp.zeros((NUM_PAGES, 2, 2, case.page_size, HEAD_DIM))
    ones = jnp.ones((4, 2, HEAD_DIM))
    q = jnp.ones((4, 6, HEAD_DIM))
    spec = AttentionSpec(scale=1.0)
    _, after = _attend(q, ones, ones, before, metadata, spec=spec, one_token_per_row=True)
    written = np.argwhere(np.asarray(after).any(axis=(1, 2, 4)))
    assert written.tolist() == [[table[0, 0], 3]]


def chunks_read(row: tuple[int, int], window: int | None) -> int:
    """How many chunks are gathered for one row, counted in the program as it runs."""
    case = Case(rows=(row,), num_tokens=64 if row[1] > 1 else 1, num_rows=1, page_size=8)
    seen: list[int] = []
    read = xla._Chunks.read

    def counted(self: Any, index: jax.Array, kv_lens: jax.Array) -> Any:
        seen.append(int(index))
        return read(self, index, kv_lens)

    table = page_table(case, np.random.default_rng(0))
    metadata = metadata_of(list(case.rows), table, case.num_tokens)
    ones = jnp.ones((case.num_tokens, 1, HEAD_DIM))
    spec = AttentionSpec(scale=1.0, window=window)
    with pytest.MonkeyPatch.context() as patch, jax.disable_jit():
        patch.setattr(xla._Chunks, "read", counted)
        pages = jnp.zeros((NUM_PAGES, 2, 1, case.page_size, HEAD_DIM))
        XlaAttention()(ones, ones, ones, pages, metadata, spec=spec, one_token_per_row=case.decode)
    return len(seen)


@pytest.mark.parametrize("row", [(1000, 1), (960, 40)])
def test_chunks_before_the_window_are_not_read(row: tuple[int, int]) -> None:
    assert chunks_read(row, window=None) == 8
    assert chunks_read(row, window=20) == 1


def test_rows_in_blocks_attend_as_rows_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = ((3, 1), (150, 1), (0, 1), (40, 1), (299, 1), (7, 1))
    case = Case(rows=rows, num_tokens=8, num_rows=8, page_size=8)
    random = np.random.default_rng(0)
    metadata = metadata_of(list(rows), page_table(case, random), 8)
    pages = jnp.asarray(random.normal(size=(NUM_PAGES, 2, 2, 8, HEAD_DIM)), jnp.float32)
    q, k, v = (jnp.asarray(random.normal(size=(8, n, HEAD_DIM)), jnp.float32) for n in (6, 2, 2))

    def attended() -> jax.Array:
        attend = jax.jit(XlaAttention().__call__, static_argnames=("spec", "one_token_per_row"))
        spec = AttentionSpec(scale=0.3)
        return attend(q, k, v, pages, metadata, spec=spec, one_token_per_row=True)[0]

    at_once = attended()
    monkeypatch.setattr(xla, "ROW_BLOCK_BYTES", 1 << 16)
    assert xla._rows_at_once(8, pages) == 2
    np.testing.assert_allclose(attended()[: len(rows)], at_once[: len(rows)], atol=1e-6)

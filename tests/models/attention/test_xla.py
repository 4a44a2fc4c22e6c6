"""XLA attention against a NumPy oracle: decode, prefill, mixed, boundaries, idle rows, NaN."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxserve.models.attention.interface import AttentionMetadata
from jaxserve.models.attention.xla import XlaAttention

HEAD_DIM = 16
NUM_PAGES = 220
Array = np.ndarray[Any, Any]
_attend = jax.jit(XlaAttention().__call__, static_argnames=("scale", "one_token_per_row"))


@dataclass(frozen=True)
class Case:
    """Rows as (tokens cached before, tokens of this step), padded to num_tokens and num_rows."""

    rows: tuple[tuple[int, int], ...]
    num_tokens: int
    num_rows: int
    page_size: int = 8
    num_kv_heads: int = 2
    group: int = 3
    fill: float = 0.0  # what pages hold before anything is written

    @property
    def decode(self) -> bool:
        return self.num_tokens == self.num_rows


CASES = {
    "decode": Case(((5, 1), (300, 1), (0, 1), (129, 1)), 6, 6),
    "decode at page and chunk boundaries": Case(((7, 1), (8, 1), (127, 1), (128, 1)), 4, 4),
    "one row": Case(((64, 1),), 1, 1),
    "mixed": Case(((5, 1), (300, 1), (0, 70), (129, 9)), 96, 6),
    "whole prefill": Case(((0, 200),), 256, 3),
    "chunk after a chunk": Case(((100, 150), (3, 2)), 160, 4),
    "single-token rows in a mixed step": Case(((0, 1), (1, 1), (2, 1)), 32, 8),
    "multi-query": Case(((40, 1), (9, 20)), 32, 4, num_kv_heads=1, group=4),
    "multi-head": Case(((40, 1), (9, 20)), 32, 4, num_kv_heads=4, group=1),
    "one token a page": Case(((30, 1), (9, 20)), 32, 4, page_size=1),
    "pages larger than a chunk": Case(((300, 1), (9, 20)), 32, 4, page_size=256),
    "decode over pages with NaN": Case(((5, 1), (131, 1)), 4, 4, fill=float("nan")),
    "mixed over pages with NaN": Case(((5, 1), (131, 40)), 64, 4, fill=float("nan")),
}


def oracle(q: Array, keys: Array, values: Array, start: int) -> Array:
    group = q.shape[1] // keys.shape[1]
    out = np.empty_like(q)
    for token, head in np.ndindex(q.shape[:2]):
        seen = slice(0, start + token + 1)
        scores = keys[seen, head // group] @ q[token, head] / np.sqrt(HEAD_DIM)
        weights = np.exp(scores - scores.max())
        out[token, head] = weights / weights.sum() @ values[seen, head // group]
    return out


def page_tables(case: Case, rng: np.random.Generator) -> Array:
    pages_per_seq = max(-(-(start + count) // case.page_size) for start, count in case.rows) + 1
    table = np.zeros((case.num_rows, pages_per_seq), np.int32)
    free = list(rng.permutation(NUM_PAGES))
    for row, (start, count) in enumerate(case.rows):
        needed = -(-(start + count) // case.page_size)
        table[row, :needed] = [free.pop() for _ in range(needed)]
    return table


def metadata_of(case: Case, table: Array) -> AttentionMetadata:
    counts = [count for _, count in case.rows] + [0] * (case.num_rows - len(case.rows))
    positions = np.zeros(case.num_tokens, np.int32)
    live = np.concatenate([np.arange(start, start + count) for start, count in case.rows])
    positions[: len(live)] = live
    kv_lens = [sum(row) for row in case.rows] + [0] * (case.num_rows - len(case.rows))
    cu_q_lens = np.concatenate([[0], np.cumsum(counts)])
    parts = (positions, table, kv_lens, cu_q_lens, [len(case.rows)])
    return AttentionMetadata(*(jnp.asarray(part, jnp.int32) for part in parts))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_it_agrees_with_the_oracle(case: Case) -> None:
    rng = np.random.default_rng(3)
    table = page_tables(case, rng)
    metadata = metadata_of(case, table)
    shape = (case.num_tokens, case.num_kv_heads, HEAD_DIM)
    q = rng.normal(size=(case.num_tokens, case.num_kv_heads * case.group, HEAD_DIM))
    k, v = rng.normal(size=shape), rng.normal(size=shape)
    backend = XlaAttention()
    pages = np.array(
        backend.init_pages(
            num_pages=NUM_PAGES,
            page_size=case.page_size,
            num_kv_heads=case.num_kv_heads,
            head_dim=HEAD_DIM,
            dtype=jnp.dtype("float32"),
        )
    )
    pages += case.fill
    expected = np.zeros_like(q)
    at = 0
    for row, (start, count) in enumerate(case.rows):
        own = slice(at, at + count)
        past = rng.normal(size=(2, start, case.num_kv_heads, HEAD_DIM))
        for position in range(start):
            page = table[row, position // case.page_size]
            pages[page, :, :, position % case.page_size] = past[:, position]
        keys, values = np.concatenate([past[0], k[own]]), np.concatenate([past[1], v[own]])
        expected[own] = oracle(q[own], keys, values, start)
        at += count
    inputs = (jnp.asarray(x, jnp.float32) for x in (q, k, v, pages))
    out, _ = _attend(*inputs, metadata, scale=HEAD_DIM**-0.5, one_token_per_row=case.decode)
    np.testing.assert_allclose(out[:at], expected[:at], atol=1e-5)


def test_idle_tokens_write_nothing() -> None:
    case = Case(((3, 1),), 4, 4)
    table = page_tables(case, np.random.default_rng(0))
    before = jnp.zeros((NUM_PAGES, 2, 2, case.page_size, HEAD_DIM))
    ones = jnp.ones((4, 2, HEAD_DIM))
    q = jnp.ones((4, 6, HEAD_DIM))
    _, after = _attend(
        q, ones, ones, before, metadata_of(case, table), scale=1.0, one_token_per_row=True
    )
    written = np.argwhere(np.asarray(after).any(axis=(1, 2, 4)))
    assert written.tolist() == [[table[0, 0], 3]]

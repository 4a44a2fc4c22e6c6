"""XLA attention against a NumPy oracle: decode, prefill, mixed, boundaries, idle rows, NaN."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxserve.models.attention import xla
from jaxserve.models.attention.interface import AttentionMetadata, AttentionSpec
from jaxserve.models.attention.kv_row import KVRow
from jaxserve.models.attention.xla import XlaAttention

HEAD_DIM = 16
NUM_PAGES = 240
Array = np.ndarray[Any, Any]
_attend = jax.jit(XlaAttention().__call__, static_argnames=("spec", "one_token_per_row"))


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
    window: int | None = None
    softcap: float | None = None
    chunk: int | None = None
    sinks: bool = False
    value_dim: int | None = None
    reads_only: bool = False  # what another layer has written

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
    "decode in a window": Case(((5, 1), (300, 1), (0, 1), (129, 1)), 6, 6, window=7),
    "decode in windows over chunks": Case(((700, 1), (127, 1), (128, 1)), 4, 4, window=130),
    "decode with a window of one": Case(((5, 1), (128, 1)), 4, 4, window=1),
    "mixed in a window": Case(((5, 1), (300, 1), (0, 70), (129, 90)), 192, 6, window=9),
    "chunk in windows over chunks": Case(((500, 150), (3, 2)), 160, 4, window=140),
    "decode with a soft cap": Case(((5, 1), (300, 1)), 2, 2, softcap=0.7),
    "mixed with a soft cap in a window": Case(((5, 1), (9, 20)), 32, 4, window=6, softcap=0.7),
    "decode in chunks": Case(((5, 1), (300, 1), (0, 1), (127, 1), (128, 1)), 6, 6, chunk=128),
    "decode in small chunks": Case(((5, 1), (300, 1), (6, 1), (7, 1)), 4, 4, chunk=7),
    "mixed in chunks": Case(((5, 1), (300, 1), (0, 70), (129, 90)), 192, 6, chunk=50),
    "decode with sinks": Case(((5, 1), (300, 1), (0, 1)), 4, 4, sinks=True),
    "mixed with sinks in a window": Case(((5, 1), (0, 70)), 96, 4, window=9, sinks=True),
    "sinks over pages with NaN": Case(((5, 1), (9, 20)), 32, 4, sinks=True, fill=float("nan")),
    "window over pages with NaN": Case(((5, 1), (300, 40)), 64, 4, window=9, fill=float("nan")),
    "decode in a window over NaN": Case(((5, 1), (131, 1)), 4, 4, window=9, fill=float("nan")),
    "decode over pages with NaN": Case(((5, 1), (131, 1)), 4, 4, fill=float("nan")),
    "decode with values in the keys": Case(((5, 1), (300, 1)), 2, 2, value_dim=11),
    "mixed with values in the keys": Case(
        ((5, 1), (300, 1), (0, 70), (129, 9)), 96, 6, num_kv_heads=1, group=4, value_dim=11
    ),
    "values in the keys over NaN": Case(((131, 40),), 64, 2, value_dim=9, fill=float("nan")),
    "decode of another layer's pages": Case(((5, 1), (300, 1)), 2, 2, reads_only=True),
    "mixed of another layer's pages": Case(((0, 70), (129, 9)), 96, 3, reads_only=True),
    "mixed over pages with NaN": Case(((5, 1), (131, 40)), 64, 4, fill=float("nan")),
}


def oracle(q: Array, kv: tuple[Array, Array], start: int, case: Case, sinks: Array | None) -> Array:
    keys, values = kv
    out = np.empty((*q.shape[:2], values.shape[-1]))
    for token, head in np.ndindex(q.shape[:2]):
        end = start + token + 1
        first = max(end - case.window, 0) if case.window else 0
        if case.chunk:
            first = max(first, (end - 1) // case.chunk * case.chunk)
        seen = slice(first, end)
        scores = keys[seen, head // case.group] @ q[token, head] / np.sqrt(HEAD_DIM)
        if case.softcap:
            scores = case.softcap * np.tanh(scores / case.softcap)
        weights = np.exp(scores - scores.max())
        total = weights.sum()
        if sinks is not None:
            total += np.exp(sinks[head] - scores.max())
        out[token, head] = weights / total @ values[seen, head // case.group]
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
    row = KVRow(num_heads=case.num_kv_heads, head_dim=HEAD_DIM, value_dim=case.value_dim)
    q = rng.normal(size=(case.num_tokens, case.num_kv_heads * case.group, HEAD_DIM))
    kv = rng.normal(size=(row.num_parts, case.num_tokens, case.num_kv_heads, HEAD_DIM))
    pages = np.array(
        XlaAttention().init_pages(
            num_pages=NUM_PAGES, page_size=case.page_size, row=row, dtype=jnp.dtype("float32")
        )
    )
    pages += case.fill
    sinks = rng.normal(size=(q.shape[1],)) if case.sinks else None
    expected = np.zeros((*q.shape[:2], case.value_dim or HEAD_DIM))
    at = 0
    for index, (start, count) in enumerate(case.rows):
        own = slice(at, at + count)
        past = rng.normal(size=(row.num_parts, start, case.num_kv_heads, HEAD_DIM))
        known = np.concatenate([past, kv[:, own]], axis=1)
        for position in range(start + count if case.reads_only else start):
            page = table[index, position // case.page_size]
            pages[page, :, :, position % case.page_size] = known[:, position]
        seen = known[0], known[-1, ..., : case.value_dim]
        expected[own] = oracle(q[own], seen, start, case, sinks)
        at += count
    k, v = (None, None) if case.reads_only else (kv[0], None if case.value_dim else kv[1])
    given = [None if x is None else jnp.asarray(x, jnp.float32) for x in (q, k, v, pages, sinks)]
    spec = AttentionSpec(
        scale=HEAD_DIM**-0.5,
        window=case.window,
        softcap=case.softcap,
        value_dim=case.value_dim,
        chunk=case.chunk,
    )
    metadata = metadata_of(case, table)
    out, _ = _attend(*given[:4], metadata, spec=spec, one_token_per_row=case.decode, sinks=given[4])
    np.testing.assert_allclose(out[:at], expected[:at], atol=1e-5)


def test_idle_tokens_write_nothing() -> None:
    case = Case(((3, 1),), 4, 4)
    table = page_tables(case, np.random.default_rng(0))
    before = jnp.zeros((NUM_PAGES, 2, 2, case.page_size, HEAD_DIM))
    ones = jnp.ones((4, 2, HEAD_DIM))
    q = jnp.ones((4, 6, HEAD_DIM))
    spec = AttentionSpec(scale=1.0)
    _, after = _attend(
        q, ones, ones, before, metadata_of(case, table), spec=spec, one_token_per_row=True
    )
    written = np.argwhere(np.asarray(after).any(axis=(1, 2, 4)))
    assert written.tolist() == [[table[0, 0], 3]]


def chunks_read(row: tuple[int, int], window: int | None) -> int:
    """How many chunks are gathered for one row, counted in the program as it runs."""
    case = Case((row,), 64 if row[1] > 1 else 1, 1, num_kv_heads=1, group=1, window=window)
    seen: list[int] = []
    read = xla._Chunks.read

    def counted(self: Any, index: jax.Array, kv_lens: jax.Array) -> Any:
        seen.append(int(index))
        return read(self, index, kv_lens)

    metadata = metadata_of(case, page_tables(case, np.random.default_rng(0)))
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

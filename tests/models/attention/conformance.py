"""The cases that every attention backend is run on, and what NumPy makes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxserve.models.attention import kept
from jaxserve.models.attention.interface import (
    AttentionMetadata,
    AttentionSpec,
    Demands,
    LayerDemand,
    PagedBackend,
)
from jaxserve.models.attention.kv_row import KVRow

Array = np.ndarray[Any, Any]
KV = tuple[jax.Array, jax.Array | None]
Rounding = Callable[[Array, jnp.dtype], Array]


@dataclass(frozen=True, kw_only=True)
class Case:
    """Rows as (tokens cached before, tokens of this step), padded to num_tokens and num_rows.

    `refused_by` has a word of what a backend says it does not do.
    """

    rows: tuple[tuple[int, int], ...]
    num_tokens: int
    num_rows: int
    page_size: int = 64
    num_kv_heads: int = 2
    group: int = 3
    head_dim: int = 64
    kv_dtype: str | None = None  # None: as it is computed
    fill: float = float("nan")  # what pages hold before anything is written
    window: int | None = None
    softcap: float | None = None
    chunk: int | None = None
    sinks: bool = False
    value_dim: int | None = None
    reads_only: bool = False  # what another layer has written
    refused_by: Mapping[str, str] = field(default_factory=dict)

    @property
    def decode(self) -> bool:
        return self.num_tokens == self.num_rows

    @property
    def num_pages(self) -> int:
        return 3 + sum(-(-sum(row) // self.page_size) for row in self.rows)

    @property
    def row(self) -> KVRow:
        return KVRow(num_heads=self.num_kv_heads, head_dim=self.head_dim, value_dim=self.value_dim)

    @property
    def spec(self) -> AttentionSpec:
        return AttentionSpec(
            scale=self.head_dim**-0.5,
            window=self.window,
            softcap=self.softcap,
            value_dim=self.value_dim,
            chunk=self.chunk,
        )

    def kept_as(self, dtype: jnp.dtype) -> jnp.dtype:
        return jnp.dtype(self.kv_dtype) if self.kv_dtype else dtype

    def demands(self, dtype: jnp.dtype, platform: str) -> Demands:
        layer = LayerDemand(
            row=self.row,
            num_q_heads=self.num_kv_heads * self.group,
            spec=self.spec,
            sinks=self.sinks,
        )
        return Demands(
            layers=(layer,),
            dtype=dtype,
            kv_dtype=self.kept_as(dtype),
            page_size=self.page_size,
            platform=platform,
            compute_capability="9.0" if platform == "gpu" else None,
        )


TPU, GPU = "tpu", "gpu"
CASES = {
    "decode": Case(rows=((5, 1), (300, 1), (0, 1), (129, 1)), num_tokens=6, num_rows=6),
    "decode at page ends": Case(
        rows=((63, 1), (64, 1), (127, 1), (128, 1)), num_tokens=4, num_rows=4
    ),
    "nothing but idle rows": Case(rows=(), num_tokens=4, num_rows=4),
    "mixed": Case(rows=((5, 1), (300, 1), (0, 70), (129, 9)), num_tokens=96, num_rows=6),
    "whole prefill": Case(rows=((0, 200),), num_tokens=256, num_rows=3),
    "chunk after a chunk": Case(rows=((100, 150), (3, 2)), num_tokens=160, num_rows=4),
    "chunks at page ends": Case(rows=((64, 64), (192, 16), (63, 2)), num_tokens=96, num_rows=4),
    "one token a row in a mixed step": Case(
        rows=((0, 1), (1, 1), (2, 1)), num_tokens=32, num_rows=8
    ),
    "multi-query": Case(
        rows=((40, 1), (9, 20)), num_tokens=32, num_rows=4, num_kv_heads=1, group=4
    ),
    "multi-query decode": Case(
        rows=((40, 1), (9, 1)), num_tokens=2, num_rows=2, num_kv_heads=1, group=8
    ),
    "multi-head": Case(rows=((40, 1), (9, 20)), num_tokens=32, num_rows=4, num_kv_heads=4, group=1),
    "heads of 96": Case(
        rows=((40, 1), (9, 20)),
        num_tokens=32,
        num_rows=4,
        head_dim=96,
        refused_by={GPU: "heads of 96"},
    ),
    "heads of 128": Case(rows=((40, 1), (9, 20)), num_tokens=32, num_rows=4, head_dim=128),
    "heads of 128 decode": Case(
        rows=((40, 1), (200, 1)), num_tokens=2, num_rows=2, head_dim=128, group=8
    ),
    "heads of 256": Case(
        rows=((40, 1), (9, 20)),
        num_tokens=32,
        num_rows=4,
        head_dim=256,
        refused_by={TPU: "heads of 256"},
    ),
    "heads of 256 decode": Case(
        rows=((40, 1), (90, 1)),
        num_tokens=2,
        num_rows=2,
        head_dim=256,
        refused_by={TPU: "heads of 256"},
    ),
    "pages of 16": Case(
        rows=((40, 1), (9, 20)),
        num_tokens=32,
        num_rows=4,
        page_size=16,
        refused_by={GPU: "pages of 16"},
    ),
    "pages of 128 decode": Case(
        rows=((300, 1), (127, 1), (128, 1)), num_tokens=4, num_rows=4, page_size=128
    ),
    "a long context": Case(
        rows=((32_000, 1),), num_tokens=1, num_rows=1, page_size=512, num_kv_heads=1, group=2
    ),
    "one token a page": Case(
        rows=((30, 1), (9, 20)),
        num_tokens=32,
        num_rows=4,
        page_size=1,
        refused_by={TPU: "pages of 1 ", GPU: "pages of 1 "},
    ),
    "decode in a window": Case(
        rows=((5, 1), (300, 1), (0, 1), (129, 1)), num_tokens=6, num_rows=6, window=7
    ),
    "decode in a long window": Case(
        rows=((400, 1), (127, 1)), num_tokens=4, num_rows=4, window=130
    ),
    "decode in a window of one": Case(rows=((5, 1), (128, 1)), num_tokens=4, num_rows=4, window=1),
    "mixed in a window": Case(
        rows=((5, 1), (300, 1), (0, 70), (129, 90)), num_tokens=192, num_rows=6, window=9
    ),
    "chunk in a long window": Case(
        rows=((300, 150), (3, 2)), num_tokens=160, num_rows=4, window=140
    ),
    "decode with a soft cap": Case(rows=((5, 1), (300, 1)), num_tokens=2, num_rows=2, softcap=0.7),
    "soft cap in a window": Case(
        rows=((5, 1), (9, 20)), num_tokens=32, num_rows=4, window=6, softcap=0.7
    ),
    "decode in chunks": Case(
        rows=((5, 1), (300, 1), (0, 1), (127, 1), (128, 1)),
        num_tokens=6,
        num_rows=6,
        chunk=128,
        refused_by=dict.fromkeys((TPU, GPU), "attention within chunks (128"),
    ),
    "mixed in small chunks": Case(
        rows=((5, 1), (300, 1), (0, 70), (129, 90)),
        num_tokens=192,
        num_rows=6,
        chunk=7,
        refused_by=dict.fromkeys((TPU, GPU), "attention within chunks (7"),
    ),
    "decode with sinks": Case(
        rows=((5, 1), (300, 1), (0, 1)),
        num_tokens=4,
        num_rows=4,
        sinks=True,
        refused_by={TPU: "sinks"},
    ),
    "sinks in a window": Case(
        rows=((5, 1), (0, 70)),
        num_tokens=96,
        num_rows=4,
        window=9,
        sinks=True,
        refused_by={TPU: "sinks"},
    ),
    "decode with values in the keys": Case(
        rows=((5, 1), (300, 1)),
        num_tokens=2,
        num_rows=2,
        value_dim=11,
        refused_by=dict.fromkeys((TPU, GPU), "latent"),
    ),
    "values in the keys": Case(
        rows=((5, 1), (0, 70), (129, 9)),
        num_tokens=96,
        num_rows=6,
        num_kv_heads=1,
        group=4,
        value_dim=11,
        refused_by=dict.fromkeys((TPU, GPU), "latent"),
    ),
    "decode of another layer's pages": Case(
        rows=((5, 1), (300, 1)), num_tokens=2, num_rows=2, reads_only=True
    ),
    "mixed of another layer's pages": Case(
        rows=((0, 70), (129, 9)), num_tokens=96, num_rows=3, reads_only=True
    ),
    "int8 pages": Case(
        rows=((40, 1), (9, 20)),
        num_tokens=32,
        num_rows=4,
        kv_dtype="int8",
        fill=-1,
        refused_by=dict.fromkeys((TPU, GPU), "int8 pages"),
    ),
    "int8 pages decode": Case(
        rows=((40, 1), (99, 1)),
        num_tokens=2,
        num_rows=2,
        kv_dtype="int8",
        fill=-1,
        refused_by=dict.fromkeys((TPU, GPU), "int8 pages"),
    ),
    "fp8 pages": Case(
        rows=((40, 1), (9, 20)),
        num_tokens=32,
        num_rows=4,
        kv_dtype="float8_e4m3fn",
        fill=0,
        refused_by={GPU: "float8_e4m3fn pages"},
    ),
    "fp8 pages decode": Case(
        rows=((40, 1), (99, 1)),
        num_tokens=2,
        num_rows=2,
        kv_dtype="float8_e4m3fn",
        fill=0,
        refused_by={GPU: "float8_e4m3fn pages"},
    ),
}


def rounded_with_scales(vectors: Array, kind: jnp.dtype) -> Array:
    """What comes back of vectors that are kept with a scale each."""
    stored = kept.keep(jnp.asarray(vectors, jnp.float32), kept.stored_as(kind))
    return np.asarray(kept.recall(stored), np.float64)


def attended(backend: PagedBackend, case: Case, dtype: jnp.dtype, rounded: Rounding) -> Any:
    """What `backend` computes, and what it should: live tokens alone, [T, N, H] each."""
    draw = np.random.default_rng(3)
    table = page_table(case, draw)
    counts = [count for _, count in case.rows]

    def vectors(count: int, num_heads: int) -> Array:
        drawn = draw.normal(size=(count, num_heads, case.head_dim))
        return np.asarray(jnp.asarray(drawn, dtype), np.float64)

    q = vectors(case.num_tokens, case.num_kv_heads * case.group)
    sinks = draw.normal(size=q.shape[1]) if case.sinks else None
    known = [  # keys and values of each row, all its tokens
        [vectors(sum(row), case.num_kv_heads) for _ in range(case.row.num_parts)]
        for row in case.rows
    ]
    kind = case.kept_as(dtype)
    seen = [[rounded(part, kind) if case.kv_dtype else part for part in parts] for parts in known]
    expected = [
        oracle(q[at : at + count], parts[0], parts[-1][..., : case.value_dim], case, sinks)
        for at, count, parts in zip(np.cumsum([0, *counts]), counts, seen, strict=False)
    ]
    got = _run(backend, case, dtype, table, q=q, known=known, sinks=sinks)
    live = np.asarray(got, np.float64)[: sum(counts)]
    return live, np.concatenate(expected) if expected else live


def oracle(q: Array, keys: Array, values: Array, case: Case, sinks: Array | None) -> Array:
    """Of one row's last tokens, in float64, head by head."""
    out = np.empty((*q.shape[:2], values.shape[-1]))
    at = len(keys) - len(q) + np.arange(len(q))[:, None]
    position = np.arange(len(keys))[None]
    visible = position <= at
    if case.window:
        visible &= position > at - case.window
    if case.chunk:
        visible &= position >= at // case.chunk * case.chunk
    for head in range(q.shape[1]):
        scores = q[:, head] @ keys[:, head // case.group].T * case.head_dim**-0.5
        if case.softcap:
            scores = case.softcap * np.tanh(scores / case.softcap)
        scores = np.where(visible, scores, -np.inf)
        largest = scores.max(1, keepdims=True)
        weights = np.exp(scores - largest)
        total = weights.sum(1, keepdims=True)
        if sinks is not None:
            total = total + np.exp(sinks[head] - largest)
        out[:, head] = weights / total @ values[:, head // case.group]
    return out


def page_table(case: Case, draw: np.random.Generator) -> Array:
    longest = max((sum(row) for row in case.rows), default=1)
    table = np.zeros((case.num_rows, -(-longest // case.page_size) + 1), np.int32)
    free = list(draw.permutation(case.num_pages))
    for index, row in enumerate(case.rows):
        needed = -(-sum(row) // case.page_size)
        table[index, :needed] = [free.pop() for _ in range(needed)]
    return table


def metadata_of(rows: list[tuple[int, int]], table: Array, num_tokens: int) -> AttentionMetadata:
    idle = len(table) - len(rows)
    counts = [count for _, count in rows]
    positions = np.zeros(num_tokens, np.int32)
    live = [np.arange(before, before + count) for before, count in rows]
    positions[: sum(counts)] = np.concatenate([*live, np.zeros(0, int)])
    kv_lens = [sum(row) for row in rows] + [0] * idle
    bounds = np.cumsum([0, *counts, *[0] * idle])
    parts = (positions, table, kv_lens, bounds, [len(rows)])
    return AttentionMetadata(*(jnp.asarray(part, jnp.int32) for part in parts))


def _run(
    backend: PagedBackend,
    case: Case,
    dtype: jnp.dtype,
    table: Array,
    *,
    q: Array,
    known: list[list[Array]],
    sinks: Array | None,
) -> jax.Array:
    """Writes what was before, then attends to it."""
    before = [(0, sum(row) if case.reads_only else row[0]) for row in case.rows]
    num_before = max(sum(count for _, count in before), 1)
    past = np.zeros((2, num_before, case.num_kv_heads, case.head_dim))
    past = _joined(
        [[part[:n] for part in parts] for parts, (_, n) in zip(known, before, strict=True)], past
    )
    zeros = np.zeros((2, case.num_tokens, case.num_kv_heads, case.head_dim))
    now = _joined(
        [[part[row[0] :] for part in parts] for parts, row in zip(known, case.rows, strict=True)],
        zeros,
    )

    def kv(parts: Array) -> KV:
        keys, values = (jnp.asarray(part, dtype) for part in parts)
        return keys, None if case.value_dim else values

    def attend(
        q: jax.Array,
        past: KV,
        now: tuple[jax.Array | None, jax.Array | None],
        sinks: jax.Array | None,
        metadata: tuple[AttentionMetadata, AttentionMetadata],
    ) -> jax.Array:
        pages = backend.init_pages(
            num_pages=case.num_pages,
            page_size=case.page_size,
            row=case.row,
            dtype=case.kept_as(dtype),
        )
        pages = backend.write(jnp.full_like(pages, case.fill), *past, metadata[0])
        out, _ = backend(
            q,
            *now,
            pages,
            metadata[1],
            spec=case.spec,
            one_token_per_row=case.decode,
            sinks=sinks,
        )
        return out

    metadata = (
        metadata_of(before, table, num_before),
        metadata_of(list(case.rows), table, case.num_tokens),
    )
    at_sinks = None if sinks is None else jnp.asarray(sinks, jnp.float32)
    own = (None, None) if case.reads_only else kv(now)
    return jax.jit(attend)(jnp.asarray(q, dtype), kv(past), own, at_sinks, metadata)


def _joined(rows: list[list[Array]], out: Array) -> Array:
    """The parts of all rows one after another, [2, T, K, H]; a part alone stands for both."""
    at = 0
    for parts in rows:
        out[:, at : at + len(parts[0])] = parts
        at += len(parts[0])
    return out

"""What is kept in a byte or two comes back within half a step, whatever was there before."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxserve.models.attention import kept
from jaxserve.models.attention.interface import AttentionMetadata, AttentionSpec
from jaxserve.models.attention.kv_row import KVRow
from jaxserve.models.attention.xla import XlaAttention
from tests.models.attention.conformance import Case, metadata_of, page_table

KINDS = (kept.INT8, kept.FP8)
DRAW = np.random.default_rng(0)
HEADS, SIZE, PAGE_SIZE = 2, 16, 4


def rounded(vectors: np.ndarray, kind: jnp.dtype) -> np.ndarray:
    """By NumPy: a scale of eight bits of mantissa for each vector, and values of `kind`."""
    largest = 127.0 if kind == kept.INT8 else 448.0
    scales = np.abs(vectors).max(-1, keepdims=True) / np.float32(largest)
    scales = scales.astype(jnp.bfloat16).astype(np.float32)
    scaled = (vectors / scales).clip(-largest, largest)
    values = np.rint(scaled) if kind == kept.INT8 else scaled.astype(kind).astype(np.float32)
    return values * scales


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_come_back_rounded(kind: jnp.dtype) -> None:
    vectors = DRAW.normal(size=(7, HEADS, SIZE)).astype(np.float32)
    stored = kept.keep(jnp.asarray(vectors), kept.stored_as(kind))
    assert stored.shape[-1] == kept.length(SIZE, kind) == SIZE + 2
    assert stored.nbytes == 7 * HEADS * (SIZE + 2)
    assert kept.size(stored.shape[-1], stored.dtype) == SIZE
    np.testing.assert_array_equal(kept.recall(stored), rounded(vectors, kind))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("vector", [np.zeros(SIZE), np.full(SIZE, 1e30), np.full(SIZE, -1e-20)])
def test_any_magnitude_is_kept(vector: np.ndarray, kind: jnp.dtype) -> None:
    stored = kept.keep(jnp.asarray(vector, jnp.float32), kept.stored_as(kind))
    np.testing.assert_allclose(kept.recall(stored), vector, rtol=0.01)


def test_floats_are_kept_as_they_are() -> None:
    vectors = jnp.asarray(DRAW.normal(size=(3, SIZE)), jnp.float32)
    np.testing.assert_array_equal(kept.recall(kept.keep(vectors, vectors.dtype)), vectors)
    assert kept.length(SIZE, vectors.dtype) == SIZE


def attended(
    kind: str, k: np.ndarray, v: np.ndarray | None, q: np.ndarray, *, fill: int = 0
) -> np.ndarray:
    """All tokens of one row in one step, in pages that held `fill`."""
    row = KVRow(num_heads=HEADS, head_dim=SIZE, value_dim=None if v is not None else 5)
    attention = XlaAttention()
    pages = attention.init_pages(num_pages=9, page_size=PAGE_SIZE, row=row, dtype=jnp.dtype(kind))
    if fill:
        pages = jnp.full_like(pages, fill)
    count = len(k)
    parts: tuple[Any, ...] = (np.arange(count), [[7, 2, 5, 1]], [count], [0, count], [1])
    metadata = AttentionMetadata(*(jnp.asarray(part, jnp.int32) for part in parts))
    spec = AttentionSpec(scale=0.25, value_dim=row.value_dim)
    inputs = (None if x is None else jnp.asarray(x) for x in (q, k, v))
    attend = jax.jit(attention.__call__, static_argnames=("spec", "one_token_per_row"))
    out, _ = attend(*inputs, pages, metadata, spec=spec, one_token_per_row=False)
    return np.asarray(out)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("in_keys", [False, True], ids=["values apart", "values in the keys"])
def test_attention_is_that_over_rounded_keys_and_values(kind: jnp.dtype, in_keys: bool) -> None:
    q, k, v = (
        DRAW.normal(size=(13, heads, SIZE)).astype(np.float32)
        for heads in (2 * HEADS, HEADS, HEADS)
    )
    ours = attended(str(kind), k, None if in_keys else v, q)
    expected = attended("float32", rounded(k, kind), None if in_keys else rounded(v, kind), q)
    np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize(("kind", "bytes_of_nan"), [(kept.INT8, -1), (kept.FP8, 255)])
def test_garbage_in_pages_reaches_nothing(kind: jnp.dtype, bytes_of_nan: int) -> None:
    q, k, v = (DRAW.normal(size=(6, HEADS, SIZE)).astype(np.float32) for _ in range(3))
    clean = attended(str(kind), k, v, q)
    np.testing.assert_array_equal(attended(str(kind), k, v, q, fill=bytes_of_nan), clean)


def test_bfloat16_is_kept_as_its_bits() -> None:
    vectors = jnp.asarray([[1.0, -0.3, 1e30], [0.0, jnp.inf, 3.14159]], jnp.float32)
    stored = kept.keep(vectors, kept.stored_as(jnp.dtype("bfloat16")))
    assert stored.dtype == jnp.uint16 and stored.shape == vectors.shape
    np.testing.assert_array_equal(kept.recall(stored), vectors.astype(jnp.bfloat16))


def test_writing_bfloat16_does_not_widen_all_pages() -> None:
    """XLA would on a CPU: a decode step of seconds, where there are many pages."""
    attention, case = XlaAttention(), Case(rows=((3, 1),), num_tokens=2, num_rows=2, page_size=8)
    metadata = metadata_of(list(case.rows), page_table(case, np.random.default_rng(0)), 2)
    row = KVRow(num_heads=2, head_dim=SIZE)
    pages = attention.init_pages(num_pages=240, page_size=8, row=row, dtype=jnp.dtype("bfloat16"))
    new = jnp.ones((2, 2, SIZE), jnp.bfloat16)
    write = jax.jit(attention.write, donate_argnums=0).lower(pages, new, new, metadata).compile()
    analysis = write.memory_analysis()
    assert analysis is not None
    assert analysis.temp_size_in_bytes < pages.nbytes / 4

"""What an attention backend is: it writes new keys and values into pages and attends over them.

A backend owns the layout of its pages; nobody else looks inside them. One layer's pages are one
array. Knows nothing of models and of the scheduler.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from jaxserve.models.attention.kv_row import KVRow


class AttentionMetadata(NamedTuple):
    """Which tokens a step computes and where their KV and state live. Padded ones are idle.

    Tokens of all rows lie one after another; row r owns [cu_q_lens[r], cu_q_lens[r + 1]).
    Rows at or past `num_seqs` are idle: their kv_len is 0 and they own no token. Tokens at or
    past cu_q_lens[num_seqs] are idle: nothing is written for them and their output is garbage.
    """

    positions: jax.Array  # i32[T]; position of each token in its sequence
    page_indices: jax.Array  # i32[R, pages_per_seq]; a row's pages in order
    kv_lens: jax.Array  # i32[R]; valid KV length, this step's tokens included
    cu_q_lens: jax.Array  # i32[R + 1]; running sum of the query lengths
    num_seqs: jax.Array  # i32[1]; live rows
    slots: jax.Array | None = None  # i32[R]; where a row's state is; an idle row's is not its own


def row_of_token(cu_q_lens: jax.Array, num_tokens: int) -> jax.Array:
    """The row that each of the T tokens belongs to, i32[T]; idle tokens give the last row."""
    last = cu_q_lens.shape[0] - 2
    row = jnp.searchsorted(
        cu_q_lens[1:], jnp.arange(num_tokens), side="right", method="compare_all"
    )
    return row.clip(0, last).astype(jnp.int32)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionSpec:
    """What a layer's attention computes; static in a program."""

    scale: float  # what q k^T is multiplied with
    window: int | None = None  # tokens a query sees, itself included; None: all before it
    chunk: int | None = None  # a query sees none before the last multiple of it; None: it may
    softcap: float | None = None  # c: scores become c tanh(score / c)
    value_dim: int | None = None  # values are the first so many numbers of keys; None: apart


class AttentionBackend(Protocol):
    """Write and attend in one call."""

    def init_pages(
        self, *, num_pages: int, page_size: int, row: KVRow, dtype: jnp.dtype
    ) -> jax.Array:
        """Empty pages of `row`s, in this backend's layout (trace it for the shape alone).

        int8 and float8_e4m3fn mean a byte a number, with scales or without as the backend has it.
        """
        ...

    def page_sharding(self, shape: tuple[int, ...], mesh: Mesh) -> NamedSharding:
        """Where one layer's pages of `shape` go: KV heads are split where the mesh divides them."""
        ...

    def __call__(
        self,
        q: jax.Array,  # [T, N, H]
        k: jax.Array | None,  # [T, K, H]
        v: jax.Array | None,  # [T, K, H]
        pages: jax.Array,
        metadata: AttentionMetadata,
        *,
        spec: AttentionSpec,
        one_token_per_row: bool,
        sinks: jax.Array | None = None,  # f32[N]
    ) -> tuple[jax.Array, jax.Array]:
        """Write k and v at the tokens' positions, then attend causally over each row's KV,
        as `spec` says.

        Returns ([T, N, H] in q's dtype, pages). `one_token_per_row` promises T == R and that
        token r is row r's (decode); the caller gives `pages` away. With a `spec.value_dim` v is
        None and H of what is returned is that. Without k nothing is written: the pages are another
        layer's, which has written them in this step. `sinks` are scores of one more token that all
        queries of a head see, whose value is zero (arXiv:2309.17453).
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerDemand:
    """What one layer asks of a backend."""

    row: KVRow
    num_q_heads: int
    spec: AttentionSpec
    sinks: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Demands:
    """What a model asks of a backend, and where it is to run."""

    layers: tuple[LayerDemand, ...]  # each kind once
    dtype: jnp.dtype  # of queries
    kv_dtype: jnp.dtype
    page_size: int
    platform: str
    compute_capability: str | None = None  # of an NVIDIA GPU: 9.0 is Hopper's
    tensor_parallel: int = 1


class PagedBackend(AttentionBackend, Protocol):
    """One that serves: it has a name, and says beforehand what it does not do."""

    @property
    def name(self) -> str: ...

    def refusal(self, demands: Demands) -> str | None:
        """The first thing asked that it does not do, in words; None when it does it all."""
        ...

    def write(
        self, pages: jax.Array, k: jax.Array, v: jax.Array | None, metadata: AttentionMetadata
    ) -> jax.Array:
        """Only the writing."""
        ...

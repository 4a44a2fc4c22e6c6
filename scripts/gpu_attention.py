"""How much of the memory's bandwidth does attention reach, by batch, context and backend?

One layer with the heads of an 8B Llama (32 query heads, 8 KV heads of 128). `gpu` and `xla` read
pages; cuDNN reads keys and values that lie one after another, without pages. Every call reads
other pages than the last, so that no cache helps.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxserve.bench.limits import measure_peaks
from jaxserve.bench.table import table
from jaxserve.models.attention.interface import AttentionMetadata, AttentionSpec
from jaxserve.models.attention.kv_row import KVRow
from jaxserve.models.attention.registry import BACKENDS
from jaxserve.sharding.mesh import make_mesh

HEADS, KV_HEADS, HEAD_DIM, PAGE = 32, 8, 128, 128
TOKEN_BYTES = 2 * KV_HEADS * HEAD_DIM * 2
POOL_BYTES = 24 << 30
SPEC = AttentionSpec(scale=HEAD_DIM**-0.5)
CALLS, ROUNDS = 8, 3

Call = Callable[[int], jax.Array]


def main(*, dry_run: bool) -> None:
    """Prints a table for decode and one for prefill."""
    device = jax.devices()[0]
    peaks = measure_peaks(device, jnp.dtype("bfloat16"))
    print(
        f"{device.device_kind}: {peaks.bytes_per_s / 1e9:.0f} GB/s, "
        f"{peaks.flops / 1e12:.2f} TFLOP/s in bfloat16"
    )
    names = ["xla", *(name for name in ("gpu",) if jax.default_backend() == name)]
    pool_bytes = (64 << 20) if dry_run else POOL_BYTES
    batches, contexts = ((1, 2), (512,)) if dry_run else ((1, 8, 64, 256), (512, 4096, 32768))
    cells = [(b, c) for b in batches for c in contexts if b * c * TOKEN_BYTES <= pool_bytes]
    decode = [(b, c, *_decode(names, b, c, pool_bytes, peaks.bytes_per_s)) for b, c in cells]
    kinds = [*names, "cuDNN, no pages"]
    titles = [f"{kind}, {what}" for kind in kinds for what in ("us", "MBU")]
    print(table(("rows", "context", *titles), decode))
    lengths = (128,) if dry_run else (512, 2048, 8192)
    prefill = [(n, *_prefill(names, n, pool_bytes, peaks.flops)) for n in lengths]
    titles = [f"{kind}, {what}" for kind in kinds for what in ("us", "MFU")]
    print(table(("prompt", *titles), prefill))


def _decode(
    names: list[str], batch: int, context: int, pool_bytes: int, best: float
) -> Iterator[float]:
    pages = -(-context // PAGE)
    num_pages = pool_bytes // (PAGE * TOKEN_BYTES)
    tables = np.random.default_rng(0).permutation(num_pages)
    fitting = num_pages // (batch * pages)
    calls = [
        AttentionMetadata(
            jnp.full(batch, context - 1, jnp.int32),
            jnp.asarray(tables[at : at + batch * pages].reshape(batch, pages), jnp.int32),
            jnp.full(batch, context, jnp.int32),
            jnp.arange(batch + 1, dtype=jnp.int32),
            jnp.asarray([batch], jnp.int32),
        )
        for at in (index % fitting * batch * pages for index in range(CALLS))
    ]
    for name in names:
        s = _paged_s(name, calls, num_pages, one_token_per_row=True)
        yield from (s * 1e6, batch * context * TOKEN_BYTES / s / best)
    s = _cudnn_s(batch, context, num_queries=1, pool_bytes=pool_bytes)
    yield from (s * 1e6, batch * context * TOKEN_BYTES / s / best)


def _prefill(names: list[str], length: int, pool_bytes: int, best: float) -> Iterator[float]:
    pages = -(-length // PAGE)
    num_pages = pages * CALLS
    flops = 4 * HEADS * HEAD_DIM * length * (length + 1) / 2
    calls = [
        AttentionMetadata(
            jnp.arange(length, dtype=jnp.int32),
            jnp.arange(index * pages, (index + 1) * pages, dtype=jnp.int32)[None],
            jnp.asarray([length], jnp.int32),
            jnp.asarray([0, length], jnp.int32),
            jnp.asarray([1], jnp.int32),
        )
        for index in range(CALLS)
    ]
    for name in names:
        s = _paged_s(name, calls, num_pages, one_token_per_row=False)
        yield from (s * 1e6, flops / s / best)
    s = _cudnn_s(1, length, num_queries=length, pool_bytes=pool_bytes)
    yield from (s * 1e6, flops / s / best)


def _paged_s(
    name: str, calls: list[AttentionMetadata], num_pages: int, *, one_token_per_row: bool
) -> float:
    backend = BACKENDS[name](make_mesh(tensor_parallel=1, devices=jax.devices()[:1]))
    row = KVRow(num_heads=KV_HEADS, head_dim=HEAD_DIM, value_dim=None)
    dtype = jnp.dtype("bfloat16")
    shape = jax.eval_shape(
        partial(backend.init_pages, num_pages=num_pages, page_size=PAGE, row=row, dtype=dtype)
    )
    pages = jax.lax.bitcast_convert_type(_random(shape.shape), shape.dtype)
    q = _random((len(calls[0].positions), HEADS, HEAD_DIM))

    @jax.jit
    def attend(q: jax.Array, pages: jax.Array, metadata: AttentionMetadata) -> jax.Array:
        return backend(
            q, None, None, pages, metadata, spec=SPEC, one_token_per_row=one_token_per_row
        )[0]

    return _median_s(lambda index: attend(q, pages, calls[index]))


def _cudnn_s(batch: int, context: int, *, num_queries: int, pool_bytes: int) -> float:
    """NaN where cuDNN is not, or where it refuses."""
    copies = max(1, min(CALLS, pool_bytes // (batch * context * TOKEN_BYTES)))
    q = _random((batch, num_queries, HEADS, HEAD_DIM))
    shape = (copies, batch, context, KV_HEADS, HEAD_DIM)
    try:
        keys, values = _random(shape), _random(shape)
        apart = [(keys[index], values[index]) for index in range(copies)]
        attend = jax.jit(
            partial(jax.nn.dot_product_attention, is_causal=num_queries > 1, implementation="cudnn")
        )
        return _median_s(lambda index: attend(q, *apart[index % copies]))
    except Exception as error:  # whatever a library or a driver has against it
        print(f"cuDNN, {batch} x {context}: {type(error).__name__}: {str(error)[:150]}")
        return float("nan")


def _random(shape: tuple[int, ...]) -> jax.Array:
    """bfloat16, the first dimension a few slices over and over: to make all apart takes minutes."""
    few = min(shape[0], 16)
    slices = jax.random.normal(jax.random.key(0), (few, *shape[1:]), jnp.bfloat16)
    repeats = -(-shape[0] // few)
    return jax.jit(lambda x: jnp.tile(x, (repeats, *[1] * (len(shape) - 1)))[: shape[0]])(slices)


def _median_s(call: Call) -> float:
    """Seconds of a call, of many that wait for nothing but the device."""
    jax.block_until_ready(call(0))
    taken = []
    for _ in range(ROUNDS):
        started_s = time.perf_counter()
        jax.block_until_ready([call(index) for index in range(CALLS)])
        taken.append((time.perf_counter() - started_s) / CALLS)
    return statistics.median(taken)

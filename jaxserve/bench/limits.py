"""What can this machine do at best? Measured, with the arrays and products that a model uses."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxserve.models.layers import dense_product

ROUNDS = 5
AT_ONCE = {"cpu": 1}  # calls that are waited for together; elsewhere 10, where one is short
STREAM_BYTES = {"cpu": 256 << 20}  # far beyond any cache; elsewhere a GiB
FACTOR_SIZE = {"cpu": 1024}  # rows and columns of a product; elsewhere 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Peaks:
    """The best that was seen of one device."""

    read_bytes_per_s: float
    copy_bytes_per_s: float  # read and written, together
    flops: float  # a second, in products of the dtype

    @property
    def bytes_per_s(self) -> float:
        return max(self.read_bytes_per_s, self.copy_bytes_per_s)


def measure_peaks(device: jax.Device, dtype: jnp.dtype) -> Peaks:
    """Stream a large array through the device, and multiply two large matrices of `dtype`."""
    num_bytes = STREAM_BYTES.get(device.platform, 1 << 30)
    at_once = AT_ONCE.get(device.platform, 10)
    with jax.default_device(device):
        return Peaks(
            read_bytes_per_s=num_bytes / _read_s(num_bytes, at_once),
            copy_bytes_per_s=2 * num_bytes / _copy_s(num_bytes, at_once),
            flops=_flops(FACTOR_SIZE.get(device.platform, 8192), dtype, at_once),
        )


def _read_s(num_bytes: int, at_once: int) -> float:
    """A product of one row, which reads its weight once: what decoding is."""
    columns = 4096
    weight = jnp.ones((num_bytes // 4 // columns, columns), jnp.float32)
    return _best_s(dense_product, jnp.ones((1, columns), jnp.float32), weight, at_once=at_once)


def _copy_s(num_bytes: int, at_once: int) -> float:
    return _best_s(lambda x: x + 1.0, jnp.ones(num_bytes // 4, jnp.float32), at_once=at_once)


def _flops(size: int, dtype: jnp.dtype, at_once: int) -> float:
    x, weight = jnp.ones((size, size), dtype), jnp.ones((size, size), dtype)
    return 2 * size**3 / _best_s(dense_product, x, weight, at_once=at_once)


def _best_s(function: Callable[..., jax.Array], *arrays: jax.Array, at_once: int) -> float:
    run = jax.jit(function).lower(*arrays).compile()
    run(*arrays).block_until_ready()
    best_s = float("inf")
    for _ in range(ROUNDS):
        started_s = time.perf_counter()
        for _ in range(at_once):  # of their results the last one alone is kept
            result = run(*arrays)
        result.block_until_ready()
        best_s = min(best_s, (time.perf_counter() - started_s) / at_once)
    return best_s

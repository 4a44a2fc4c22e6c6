"""How do numbers get from a file onto the devices without filling the host's memory?

A device's slice is read and cast a block at a time. On a CPU it is gathered in the very memory that
the array will have. Elsewhere it is gathered on the host and sent; a slice too large for that is
put together on the device. So a host needs `GATHERED_BYTES` and a block beside the arrays, whatever
the size of the model. Knows nothing of keys and checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import NamedSharding, SingleDeviceSharding

BLOCK_BYTES = 8 << 20  # read at a time; small, so that its memory is used again and stays cached
GATHERED_BYTES = 512 << 20

Index = tuple[slice, ...]
Read = Callable[[Index], np.ndarray]
"""Gives the numbers of an array at an index, in any type that casts to the array's."""

_ALIGNMENT = 64  # bytes; XLA takes over memory of a CPU that is aligned so, and copies any other


def place(
    shape: tuple[int, ...],
    dtype: jnp.dtype,
    sharding: NamedSharding,
    read: Read,
    *,
    gathered_bytes: int | None = None,
) -> jax.Array:
    """An array whose devices hold their slices of what `read` gives.

    Numbers that several devices hold are read once, unless they are too many to gather.
    `gathered_bytes` is the most to gather; by default there is no limit for a CPU.
    """
    devices_of: dict[tuple[tuple[int, int], ...], list[jax.Device]] = {}
    for device, index in sharding.addressable_devices_indices_map(shape).items():
        assert index is not None, "an addressable device has an index"
        key = tuple(part.indices(size)[:2] for part, size in zip(index, shape, strict=True))
        devices_of.setdefault(key, []).append(device)
    first: Any = next(iter(sharding.device_set))
    if gathered_bytes is None and first.platform != "cpu":
        gathered_bytes = GATHERED_BYTES
    arrays: list[jax.Array] = []
    for bounds, devices in devices_of.items():
        part = _Slice(bounds, dtype, read)
        if gathered_bytes is None or part.num_bytes <= gathered_bytes:
            arrays += part.sent(devices)
        else:
            arrays += [part.assembled(device, gathered_bytes) for device in devices]
    return jax.make_array_from_single_device_arrays(shape, sharding, arrays)


@dataclass(frozen=True, slots=True)
class _Slice:
    """The numbers of an array within `bounds`, (start, stop) of each dimension."""

    bounds: tuple[tuple[int, int], ...]
    dtype: jnp.dtype
    read: Read

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(stop - start for start, stop in self.bounds)

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def sent(self, devices: Sequence[jax.Device]) -> list[jax.Array]:
        """On every one of `devices`; complete, since copies that queue up are memory."""
        gathered = self._gathered(self.bounds)
        return jax.block_until_ready([_on_device(gathered, device) for device in devices])

    def assembled(self, device: jax.Device, gathered_bytes: int) -> jax.Array:
        """On `device`, gathered and sent by rows of at most `gathered_bytes`, or one."""
        whole = jnp.zeros(self.shape, self.dtype, device=device)
        for start, stop in self._runs(gathered_bytes):
            first = self.bounds[0][0]
            rows = self._gathered(((first + start, first + stop), *self.bounds[1:]))
            whole = jax.block_until_ready(_write_rows(whole, _on_device(rows, device), start))
        return whole

    def _gathered(self, bounds: Sequence[tuple[int, int]]) -> np.ndarray:
        part = _Slice(tuple(bounds), self.dtype, self.read)
        gathered = _aligned(part.shape, self.dtype)
        if not bounds:
            gathered[...] = self.read(())
            return gathered
        (first, _), *rest = bounds
        columns = tuple(slice(*bound) for bound in rest)
        for start, stop in part._runs(BLOCK_BYTES):
            gathered[start:stop] = self.read((slice(first + start, first + stop), *columns))
        return gathered

    def _runs(self, num_bytes: int) -> Iterator[tuple[int, int]]:
        """Rows [start, stop) of this slice, `num_bytes` or one row at a time."""
        num_rows = self.shape[0]
        step = max(1, num_bytes * num_rows // max(1, self.num_bytes))
        for start in range(0, num_rows, step):
            yield start, min(start + step, num_rows)


def _aligned(shape: tuple[int, ...], dtype: jnp.dtype) -> np.ndarray:
    num_bytes = math.prod(shape) * dtype.itemsize
    raw = np.empty(num_bytes + _ALIGNMENT, np.uint8)
    first = -raw.ctypes.data % _ALIGNMENT
    return raw[first : first + num_bytes].view(dtype).reshape(shape)


def _on_device(numbers: np.ndarray, device: jax.Device) -> jax.Array:
    # Unlike device_put, it takes the memory over on a CPU.
    where = SingleDeviceSharding(device)
    return jax.make_array_from_callback(numbers.shape, where, lambda _: numbers)


@partial(jax.jit, donate_argnums=0)
def _write_rows(whole: jax.Array, rows: jax.Array, start: int) -> jax.Array:
    return lax.dynamic_update_slice_in_dim(whole, rows, start, axis=0)

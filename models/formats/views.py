"""How is a tensor that is not stored shown as if it were?

Its numbers are made of stored ones when they are asked for, and only those that are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jaxserve.errors import CheckpointError
from jaxserve.models.checkpoint import FLOAT_TYPES, StoredTensor
from jaxserve.models.quantization import TYPE_NAMES, Quantization, part_key

Index = tuple[slice, ...]
Compute = Callable[[Index], np.ndarray]
"""Gives the numbers at an index that has a slice with bounds for every dimension."""

_SCALES = (*FLOAT_TYPES, "F8_E8M0", "I8")


@dataclass(slots=True)
class Opened:
    """A checkpoint with the weights in it that are quantised.

    `tensors` has a weight that stays quantised by its parts (`part_key`), and any other under its
    key. `quantizations` says how the former are held, by the weight's key.
    """

    tensors: dict[str, StoredTensor]
    quantizations: dict[str, Quantization] = field(default_factory=dict)

    def take(self, module: str, *names: str) -> list[StoredTensor]:
        """The tensors of `module` called so, which are no tensors of the model any more.

        Raises CheckpointError for those that are not there.
        """
        missing = [f"{module}.{name}" for name in names if f"{module}.{name}" not in self.tensors]
        if missing:
            raise CheckpointError(
                f"{missing[0]} is missing, without which {module} cannot be read; download the "
                "model again"
            )
        return [self.tensors.pop(f"{module}.{name}") for name in names]

    def drop(self, module: str, *names: str) -> None:
        """Forget tensors of `module` that nothing needs."""
        for name in names:
            self.tensors.pop(f"{module}.{name}", None)

    def hold(
        self,
        key: str,
        quantization: Quantization,
        *,
        values: StoredTensor,
        scales: StoredTensor,
        zeros: StoredTensor | None = None,
    ) -> None:
        """The weight at `key` stays quantised, in these parts."""
        self.quantizations[key] = quantization
        self.tensors[part_key(key, "values")] = values
        self.tensors[part_key(key, "scales")] = scales
        if zeros is not None:
            self.tensors[part_key(key, "zeros")] = zeros


@dataclass(frozen=True, slots=True)
class _Computed:
    shape: tuple[int, ...]
    compute: Compute

    def __getitem__(self, index: Any) -> np.ndarray:
        given = index if isinstance(index, tuple) else (index,)
        whole = (*given, *(slice(None),) * (len(self.shape) - len(given)))
        bounds = [part.indices(size) for part, size in zip(whole, self.shape, strict=True)]
        numbers = self.compute(tuple(slice(start, stop) for start, stop, _ in bounds))
        return numbers[tuple(slice(None, None, step) for *_, step in bounds)]


def refuse_shape(tensor: StoredTensor, wanted: Sequence[int], what: str) -> None:
    """Raise CheckpointError where `what` is stored in another shape than its weight needs."""
    if tensor.shape != tuple(wanted):
        raise CheckpointError(
            f"{what} in {tensor.file} is stored {list(tensor.shape)}, by its weight and the "
            f"config it should be {list(wanted)}"
        )


def view(
    of: StoredTensor, shape: Sequence[int], compute: Compute, dtype: np.dtype | str = "float32"
) -> StoredTensor:
    """A tensor of `shape` that `compute` makes; `of` says from which file."""
    kind = np.dtype(dtype)
    name = "F32" if kind == np.float32 else TYPE_NAMES[kind]
    return StoredTensor(of.file, tuple(shape), name, _Computed(tuple(shape), compute), of.spans)


def scales_by_row(
    scales: StoredTensor, shape: tuple[int, int], block: tuple[int, int | None], *, key: str
) -> StoredTensor:
    """f32[rows, groups]: scales, or zero points, that are stored one for each `block` of a weight.

    `shape` is the weight's; no columns in a block are all of them. Stored may be one for all, one
    for each row, or one for each block. Raises CheckpointError when it is none of these.
    """
    rows, columns = shape
    if scales.type_name not in _SCALES:
        raise CheckpointError(
            f"{key} in {scales.file} has scales of the type {scales.type_name}; read are "
            f"{', '.join(_SCALES)}"
        )
    stored = (1, 1) if scales.shape in ((), (1,)) else scales.shape
    if len(stored) == 1:
        stored = (*stored, 1)
    groups = -(-columns // (block[1] or columns))
    if stored == (1, 1):
        per_row, per_group = rows, groups
    elif stored == (rows, groups):
        per_row, per_group = 1, 1
    elif stored == (-(-rows // block[0]), groups):
        per_row, per_group = block[0], 1
    else:
        raise CheckpointError(
            f"{key} in {scales.file} has scales of the shape {list(scales.shape)}, which neither "
            f"fit its {rows} rows and {columns} columns nor blocks of {list(block)} of them"
        )
    length = len(scales.shape)

    def compute(index: Index) -> np.ndarray:
        first, last = index[0].start // per_row, -(-index[0].stop // per_row)
        wanted = (slice(first, last), slice(index[1].start // per_group, None))[:length]
        read = scales.read(wanted) if length else scales.read(())
        read = np.asarray(read).astype(np.float32).reshape(last - first, -1)
        read = np.repeat(read, per_row, axis=0)[index[0].start - first * per_row :]
        read = np.repeat(read, per_group, axis=1)
        width = index[1].stop - index[1].start
        return read[: index[0].stop - index[0].start, :width]

    return view(scales, (rows, groups), compute)

"""How are the numbers of a GGUF tensor read, slice by slice, as transformers stores them?

Only the rows and blocks that a slice touches are dequantised, by the gguf library. llama.cpp stores
some tensors in another order, or norms plus one: `Rows` undoes that while reading.
"""

from __future__ import annotations

from functools import cache

import gguf
import ml_dtypes
import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from jaxserve.models.checkpoint import StoredTensor
from jaxserve.models.gguf.file import RawTensor
from jaxserve.models.readahead import Span

_PLAIN = {
    GGMLQuantizationType.F32: ("F32", np.dtype(np.float32)),
    GGMLQuantizationType.F16: ("F16", np.dtype(np.float16)),
    GGMLQuantizationType.BF16: ("BF16", np.dtype(ml_dtypes.bfloat16)),
}


def as_stored(
    tensor: RawTensor, *, order: np.ndarray | None = None, minus: float = 0.0
) -> StoredTensor:
    """`tensor` with row i taken from row `order[i]` of the file, and `minus` subtracted."""
    name, _ = _PLAIN.get(tensor.type, ("F32" if _is_known(tensor.type) else tensor.type.name, None))
    type_name = "F32" if minus else name
    rows = Rows(tensor, order, minus)
    spans = (Span(tensor.file, tensor.start, tensor.rows.nbytes),)
    return StoredTensor(tensor.file, tensor.shape, type_name, rows, spans)


@cache
def _is_known(kind: GGMLQuantizationType) -> bool:
    """Whether the library dequantises `kind`."""
    _, block_bytes = GGML_QUANT_SIZES[kind]
    try:
        gguf.dequantize(np.zeros((1, block_bytes), np.uint8), kind)
    except NotImplementedError:
        return False
    return True


class Rows:
    """The numbers of a tensor, indexed like an array."""

    def __init__(self, tensor: RawTensor, order: np.ndarray | None, minus: float):
        self._tensor = tensor
        self._order = order
        self._minus = minus

    def __getitem__(self, index: tuple[slice, ...] | slice) -> np.ndarray:
        """A copy of the numbers at `index`, of steps of one."""
        parts = index if isinstance(index, tuple) else (index,)
        parts += (slice(None),) * (len(self._tensor.shape) - len(parts))
        *leading, columns = parts
        if self._order is not None and not leading:  # a bias: its numbers are one row
            return self._numbers(self._tensor.rows)[self._order[columns]]
        blocks, within = self._blocks(columns)
        rows = self._tensor.rows
        if self._order is not None:
            rows, leading[0] = rows[self._order[leading[0]]], slice(None)
        numbers = self._numbers(rows[(*leading, blocks)])[..., within]
        return numbers - np.float32(self._minus) if self._minus else numbers

    def _blocks(self, columns: slice) -> tuple[slice, slice]:
        """The bytes of a row that hold `columns`, and where in them `columns` are."""
        block_size, block_bytes = GGML_QUANT_SIZES[self._tensor.type]
        start, stop, _ = columns.indices(self._tensor.shape[-1])
        first, last = start // block_size, -(-stop // block_size)
        within = slice(start - first * block_size, stop - first * block_size)
        return slice(first * block_bytes, last * block_bytes), within

    def _numbers(self, rows: np.ndarray) -> np.ndarray:
        if self._tensor.type in _PLAIN:
            _, dtype = _PLAIN[self._tensor.type]
            return np.ascontiguousarray(rows).view(dtype)
        return gguf.dequantize(np.ascontiguousarray(rows), self._tensor.type)

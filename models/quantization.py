"""In what form may the matrix of a product be stored, other than as floats?

Values of a few bits, and a scale (and a zero point) for every row, or for each run of columns of
every row. A scale per tensor is one that all rows have; a scale for 128 x 128 numbers is one that
128 rows have. Knows neither modules nor checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
import ml_dtypes
import numpy as np

DTYPES = {
    "int8": np.dtype(np.int8),
    "int4": np.dtype(np.uint8),
    "fp8": np.dtype(ml_dtypes.float8_e4m3fn),
}
"""Of the arrays that hold the values: two of int4 are packed into a byte."""
TYPE_NAMES = {
    np.dtype(np.int8): "I8",
    np.dtype(np.uint8): "U8",
    np.dtype(np.int16): "I16",
    DTYPES["fp8"]: "F8_E4M3",
}
"""As safetensors spells them."""
LARGEST = {"int8": 127.0, "int4": 7.0, "fp8": 448.0}
INT4_OFFSET = 8  # a nibble is a value and this

PARTS = ("values", "scales", "zeros")
PART = ":"


def part_key(key: str, part: str) -> str:
    """Under which key one of PARTS of the weight at `key` is found in an opened checkpoint."""
    return f"{key}{PART}{part}"


def pack_int4(values: np.ndarray) -> np.ndarray:
    """u8[..., columns / 2] of whole numbers from -8 to 7."""
    nibbles = (values + INT4_OFFSET).astype(np.uint8)
    return nibbles[..., ::2] | nibbles[..., 1::2] << 4


@dataclass(frozen=True, slots=True)
class Made:
    """A weight is stored as floats of `shape`, and is made so while they are read."""

    quantization: Quantization
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """A weight [out, in] is `(values - zeros) * scales`, with a scale per row and `group_size`
    columns. A leading dimension of experts changes nothing."""

    values: Literal["int8", "int4", "fp8"]
    group_size: int | None = None  # columns that share a scale; None: a whole row
    has_zeros: bool = False
    scale_dtype: Literal["float32", "bfloat16"] = "float32"
    # Rows that go into a product are made int8 too, where values are, with a scale per row.
    int8_inputs: Literal["never", "on_cpu", "always"] = "never"

    @property
    def value_dtype(self) -> jnp.dtype:
        return DTYPES[self.values]

    @property
    def zero_dtype(self) -> jnp.dtype:
        """Of a zero point, which may lie one step beyond the values."""
        return jnp.dtype("int8" if self.values == "int4" else "int16")

    def values_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Of the array that holds the values of a weight of `shape`.

        A byte has the int4 of columns 2 i and 2 i + 1, in this order from its low bits.
        """
        if self.values != "int4":
            return shape
        *rows, columns = shape
        assert columns % 2 == 0, f"{columns} columns of int4 do not fill bytes"
        return (*rows, columns // 2)

    def scales_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Of the scales, and zero points, of a weight of `shape`."""
        *rows, columns = shape
        return (*rows, -(-columns // (self.group_size or columns)))

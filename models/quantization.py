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
    "int4": np.dtype(ml_dtypes.int4),
    "fp8": np.dtype(ml_dtypes.float8_e4m3fn),
    "fp4": np.dtype(ml_dtypes.float4_e2m1fn),
}
TYPE_NAMES = {
    np.dtype(np.int8): "I8",
    np.dtype(np.int16): "I16",
    DTYPES["int4"]: "I4",
    DTYPES["fp8"]: "F8_E4M3",
    DTYPES["fp4"]: "F4",
}
"""How safetensors spells them, or would."""
LARGEST = {"int8": 127.0, "int4": 7.0, "fp8": 448.0, "fp4": 6.0}

PARTS = ("values", "scales", "zeros")
PART = ":"


def part_key(key: str, part: str) -> str:
    """Under which key one of PARTS of the weight at `key` is found in an opened checkpoint."""
    return f"{key}{PART}{part}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """A weight [out, in] is `(values - zeros) * scales`, with a scale per row and `group_size`
    columns. A leading dimension of experts changes nothing."""

    values: Literal["int8", "int4", "fp8", "fp4"]
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

    def scales_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Of the scales, and zero points, of a weight of `shape`."""
        *rows, columns = shape
        return (*rows, -(-columns // (self.group_size or columns)))

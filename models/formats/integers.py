"""How is a weight of packed integers held, whatever order it is stored in?

A format says how to read whole numbers, scales and zero points as if they lay [rows, columns];
this makes the parts of a quantised weight of them, or floats where columns share scales in an order
of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jaxserve.models.checkpoint import StoredTensor
from jaxserve.models.formats.views import Index, Opened, view
from jaxserve.models.quantization import Quantization, pack_int4

Read = Callable[[slice, slice], np.ndarray]
"""Reads numbers at rows and columns (or groups of them) that have bounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Integers:
    """A weight of unsigned whole numbers q, which stands for `(q - zero) * scale`."""

    shape: tuple[int, int]
    num_bits: int  # 4 or 8
    group_size: int  # columns that share a scale
    values: Read
    scales: Read
    zeros: Read | None = None  # None: all are the middle, 2 ** (num_bits - 1)
    group_of_column: np.ndarray | None = None  # None: in order

    @property
    def middle(self) -> int:
        return 2 ** (self.num_bits - 1)

    @property
    def num_groups(self) -> int:
        return -(-self.shape[1] // self.group_size)

    def hold(self, opened: Opened, key: str, of: StoredTensor) -> None:
        """Put the weight into `opened` under `key`; `of` says from which file."""
        if self.group_of_column is not None:
            opened.tensors[key] = view(of, self.shape, self._floats)
            return
        form = Quantization(
            values="int4" if self.num_bits == 4 else "int8",
            group_size=self.group_size if self.num_groups > 1 else None,
            has_zeros=self.zeros is not None,
        )
        beside = form.scales_shape(self.shape)
        values = self._packed if self.num_bits == 4 else self._signed
        zeros = (
            view(of, beside, self._signed_zeros, form.zero_dtype)
            if self.zeros is not None
            else None
        )
        opened.hold(
            key,
            form,
            values=view(of, form.values_shape(self.shape), values, form.value_dtype),
            scales=view(of, beside, lambda index: self.scales(*index).astype(np.float32)),
            zeros=zeros,
        )

    def _signed(self, index: Index) -> np.ndarray:
        return (self.values(*index).astype(np.int16) - self.middle).astype(np.int8)

    def _packed(self, index: Index) -> np.ndarray:
        rows, held = index
        return pack_int4(self._signed((rows, slice(2 * held.start, 2 * held.stop))))

    def _signed_zeros(self, index: Index) -> np.ndarray:
        assert self.zeros is not None, "asked for zero points that there are not"
        return self.zeros(*index).astype(np.int16) - self.middle

    def _floats(self, index: Index) -> np.ndarray:
        rows, columns = index
        assert self.group_of_column is not None, "columns in order stay quantised"
        groups, whole = self.group_of_column[columns], slice(0, self.num_groups)
        scales = self.scales(rows, whole).astype(np.float32)[:, groups]
        numbers = self.values(rows, columns).astype(np.float32)
        if self.zeros is None:
            return (numbers - self.middle) * scales
        return (numbers - self.zeros(rows, whole).astype(np.float32)[:, groups]) * scales


def own_order(groups: np.ndarray, group_size: int) -> np.ndarray | None:
    """The group of each column, or None where they come in order."""
    in_order = np.arange(len(groups)) // group_size
    return None if np.array_equal(groups, in_order) else groups

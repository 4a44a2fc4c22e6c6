"""A slice of a tensor is the slice of all its numbers, whatever its type and order."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from jaxserve.models.gguf.file import RawTensor
from jaxserve.models.gguf.tensors import as_stored

NUMBERS = np.random.default_rng(0).normal(size=(8, 96)).astype(np.float32)
QUANTISED = [gguf.GGMLQuantizationType[name] for name in ("F32", "F16", "BF16", "Q8_0", "Q4_1")]
SLICES = [
    slice(None),
    slice(2, 5),
    (slice(1, 7), slice(None)),
    (slice(0, 8), slice(0, 48)),
    (slice(3, 4), slice(33, 35)),
]


def raw(kind: gguf.GGMLQuantizationType, numbers: np.ndarray) -> RawTensor:
    rows = gguf.quantize(numbers, kind).view(np.uint8)
    return RawTensor(Path("model.gguf"), kind, numbers.shape, rows)


@pytest.mark.parametrize("kind", QUANTISED)
@pytest.mark.parametrize("index", SLICES)
def test_slices_are_slices_of_all(
    kind: gguf.GGMLQuantizationType, index: tuple[slice, ...]
) -> None:
    tensor = raw(kind, NUMBERS)
    whole = gguf.dequantize(tensor.rows, kind)
    order = np.random.default_rng(1).permutation(8)
    np.testing.assert_array_equal(as_stored(tensor).read(index), whole[index])
    np.testing.assert_array_equal(as_stored(tensor, order=order).read(index), whole[order][index])


def test_experts_are_rows_too() -> None:
    stacked = NUMBERS.reshape(2, 4, 96)
    tensor = raw(gguf.GGMLQuantizationType.Q8_0, stacked)
    index = (slice(1, 2), slice(0, 3), slice(32, 64))
    expected = gguf.dequantize(tensor.rows, tensor.type)[index]
    np.testing.assert_array_equal(as_stored(tensor).read(index), expected)


def test_vectors_have_an_order_and_norms_lose_one() -> None:
    vector = np.arange(8, dtype=np.float32)
    tensor = raw(gguf.GGMLQuantizationType.F32, vector)
    order = vector[::-1].astype(int)
    np.testing.assert_array_equal(
        as_stored(tensor, order=order).read(slice(2, 4)), vector[::-1][2:4]
    )
    stored = as_stored(tensor, minus=1.0)
    assert stored.type_name == "F32"
    np.testing.assert_array_equal(stored.read(slice(None)), vector - 1)


def test_types_are_named_as_safetensors_names_them() -> None:
    names = [as_stored(raw(kind, NUMBERS)).type_name for kind in QUANTISED]
    assert names == ["F32", "F16", "BF16", "F32", "F32"]


def test_a_type_that_the_library_cannot_read_keeps_its_name() -> None:
    kind = gguf.GGMLQuantizationType.Q8_K
    tensor = RawTensor(Path("model.gguf"), kind, (1, 256), np.zeros((1, 292), np.uint8))
    assert as_stored(tensor).type_name == "Q8_K"

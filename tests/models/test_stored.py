from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxserve.models.checkpoint import StoredTensor
from jaxserve.models.stored import (
    Layout,
    Stack,
    fused,
    fused_by_group,
    interleaved,
    one,
    piece,
    row,
    transposed,
)

DRAW = np.random.default_rng(0)
Q, K, V = (DRAW.normal(size=(rows, 5)) for rows in (8, 4, 4))  # 4 and 2 heads of 2
WHOLE = (slice(None), slice(None))


def stored(array: np.ndarray) -> StoredTensor:
    return StoredTensor(Path("model.safetensors"), array.shape, "F64", array)


def read(layout: Layout, array: np.ndarray, which: int, index: Any = WHOLE) -> np.ndarray:
    held = (Q, K, V)[: len(layout.paths)]
    where = piece(layout, which, [part.shape for part in held], [4, 2, 2][: len(held)])
    assert where.stored_shape == array.shape
    return where.read(stored(array), index)


def by_group() -> np.ndarray:
    heads = [part.reshape(2, -1, 5) for part in (Q, K, V)]
    return np.concatenate(heads, axis=1).reshape(-1, 5)


CASES = {
    "one": (one("q"), Q),
    "fused": (fused("q", "k", "v"), np.concatenate([Q, K, V])),
    "transposed": (transposed("q", "k", "v"), np.concatenate([Q, K, V]).T),
    "fused_by_group": (fused_by_group("q", "k", "v"), by_group()),
}
INDICES = [
    WHOLE,
    (slice(0, 2), slice(None)),
    (slice(2, 4), slice(1, 3)),
    (slice(1, 4), slice(None)),
]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("index", INDICES)
def test_every_slice_of_every_part_is_found(name: str, index: tuple[slice, slice]) -> None:
    layout, array = CASES[name]
    for which, part in enumerate((Q, K, V)[: len(layout.paths)]):
        np.testing.assert_array_equal(read(layout, array, which, index), part[index])


def test_biases_are_never_transposed() -> None:
    where = piece(transposed("q", "k"), 1, [(8,), (4,)], [4, 2])
    bias = np.arange(12.0)
    np.testing.assert_array_equal(where.read(stored(bias), (slice(1, 3),)), [9.0, 10.0])


@pytest.mark.parametrize("index", [WHOLE, (slice(1, 3), slice(2, 4))])
def test_rows_may_take_turns(index: tuple[slice, slice]) -> None:
    whole = np.stack([K, V], axis=1).reshape(8, 5).T
    for which, part in enumerate((K, V)):
        where = piece(interleaved("k", "v"), which, [(4, 5), (4, 5)], [2, 2])
        assert where.stored_shape == whole.shape
        np.testing.assert_array_equal(where.read(stored(whole), index), part[index])
        bias = piece(interleaved("k", "v"), which, [(4,), (4,)], [4, 4])
        np.testing.assert_array_equal(bias.read(stored(whole[0]), index[:1]), part[index[0], 0])


def test_a_vector_may_be_stored_as_a_row() -> None:
    where = piece(row("q"), 0, [(8,)], [8])
    vector = np.arange(8.0)
    assert where.stored_shape == (1, 8)
    np.testing.assert_array_equal(where.read(stored(vector[None]), (slice(2, 5),)), vector[2:5])


def test_nothing_but_the_slice_is_read() -> None:
    class Recorder:
        def __getitem__(self, index: Any) -> np.ndarray:
            asked.append(index)
            return by_group()[index]

    asked: list[Any] = []
    layout = fused_by_group("q", "k", "v")
    where = piece(layout, 1, [Q.shape, K.shape, V.shape], [4, 2, 2])
    tensor = StoredTensor(Path("f"), by_group().shape, "F64", Recorder())
    where.read(tensor, (slice(2, 4), slice(None)))
    assert asked == [(slice(12, 14), slice(None))]


@pytest.mark.parametrize("in_one", [False, True])
@pytest.mark.parametrize("index", [(*WHOLE, slice(None)), (slice(1, 3), slice(1, 4), slice(2, 5))])
def test_experts_are_stacked_from_where_they_are(in_one: bool, index: Any) -> None:
    experts = [DRAW.normal(size=(8, 5)) for _ in range(3)]
    tails = DRAW.normal(size=(4, 5))
    held = [np.concatenate([expert, tails]).T for expert in experts]
    tensors = [stored(np.stack(held))] if in_one else [stored(one) for one in held]
    stack = Stack(piece(transposed("q", "k"), 0, [(8, 5), (4, 5)], [8, 4]), 3, in_one)
    assert stack.stored_shape == tensors[0].shape
    np.testing.assert_array_equal(stack.read(tensors, index), np.stack(experts)[index])

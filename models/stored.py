"""How is a parameter cut out of a stored tensor that holds it in another layout?

Checkpoints fuse projections and transpose weights in a handful of ways; each has a name here that
a family's table uses. Knows shapes and slices, not what they are for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from jaxserve.models.checkpoint import StoredTensor

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """What a stored module holds: the modules at `paths`, `*` standing for a layer's number."""

    paths: tuple[str, ...]
    by_group: bool = False
    transposed: bool = False
    is_tensor: bool = False
    is_row: bool = False
    interleaved: bool = False


Modules = Mapping[str, str | Layout]
"""Modules of a checkpoint, and the path of ours, or the paths of several, that each holds.

A last `*` that the paths have no number for stands for an expert's: experts stored each by itself
are stacked. Experts stored in one tensor are each laid out as the layout says.
"""


def one(path: str) -> Layout:
    """A module stored as it is."""
    return Layout((path,))


def fused(*paths: str) -> Layout:
    """Rows of one module after those of the other."""
    return Layout(paths)


def fused_by_group(*paths: str) -> Layout:
    """For each KV head the rows of its queries, of its key and of its value, or of some of them."""
    return Layout(paths, by_group=True)


def transposed(*paths: str) -> Layout:
    """As `fused`, with weights stored [in, out]."""
    return Layout(paths, transposed=True)


def interleaved(*paths: str) -> Layout:
    """The first row of each module, then the second of each, and so on; weights are [in, out]."""
    return Layout(paths, transposed=True, interleaved=True)


def tensor(layout: Layout | str) -> Layout:
    """For a stored tensor that has no `.weight` or `.bias` after its name: the layout's paths are
    those of parameters."""
    return replace(one(layout) if isinstance(layout, str) else layout, is_tensor=True)


def row(path: str) -> Layout:
    """A tensor as `tensor` has it: a vector stored as a matrix of one row."""
    return Layout((path,), is_tensor=True, is_row=True)


class Readable(Protocol):
    """What numbers are read from: a stored tensor or a part of one."""

    def read(self, index: tuple[slice, ...]) -> np.ndarray: ...


@dataclass(frozen=True, slots=True)
class ArrayRows:
    """An array to read from."""

    array: np.ndarray

    def read(self, index: tuple[slice, ...]) -> np.ndarray:
        return self.array[index]


@dataclass(frozen=True, slots=True)
class Piece:
    """Where in a stored tensor of `stored_shape` a parameter's rows are: in each of `num_groups`
    runs, `num_rows` of them from `first` on, `step` apart."""

    stored_shape: Shape
    num_groups: int
    first: int
    num_rows: int
    transposed: bool
    is_row: bool = False
    step: int = 1  # from one row to the next

    def read(self, tensor: Readable, index: tuple[slice, ...]) -> np.ndarray:
        """The parameter's numbers at `index`; nothing else is read."""
        if self.is_row:
            return tensor.read((slice(0, 1), *index))[0]
        wanted, *rest = index
        start, stop, _ = wanted.indices(self.num_groups * self.num_rows)
        if self.step > 1:
            between = self._read_rows(tensor, slice(start * self.step, stop * self.step), rest)
            return between[self.first :: self.step]
        runs = [self._read_rows(tensor, run, rest) for run in self._runs(start, stop)]
        return runs[0] if len(runs) == 1 else np.concatenate(runs)

    def _runs(self, start: int, stop: int) -> list[slice]:
        """The stored rows of the parameter's rows [start, stop)."""
        group_size = self.stored_shape[-1 if self.transposed else 0] // self.num_groups
        runs = []
        for group in range(start // self.num_rows, -(-stop // self.num_rows)):
            begin = max(start - group * self.num_rows, 0)
            end = min(stop - group * self.num_rows, self.num_rows)
            offset = group * group_size + self.first
            runs.append(slice(offset + begin, offset + end))
        return runs

    def _read_rows(self, tensor: Readable, rows: slice, rest: Sequence[slice]) -> np.ndarray:
        if self.transposed:
            return tensor.read((*rest, rows)).T
        return tensor.read((rows, *rest))


def piece(layout: Layout, which: int, shapes: Sequence[Shape], groups: Sequence[int]) -> Piece:
    """Where the parameter at `layout.paths[which]` is.

    `shapes` are those of the parameters at all paths, `groups` their rows counted in heads.
    """
    num_groups = min(groups) if layout.by_group else 1
    rows = [shape[0] // num_groups for shape in shapes]
    is_transposed = layout.transposed and len(shapes[which]) > 1
    whole = (num_groups * sum(rows), *shapes[which][1:])
    if layout.is_row:
        whole = (1, *whole)
    return Piece(
        stored_shape=whole[::-1] if is_transposed else whole,
        num_groups=num_groups,
        first=which if layout.interleaved else sum(rows[:which]),
        num_rows=rows[which],
        transposed=is_transposed,
        is_row=layout.is_row,
        step=len(layout.paths) if layout.interleaved else 1,
    )


@dataclass(frozen=True, slots=True)
class Stack:
    """A parameter with a first dimension for experts: where each one's `piece` is, in a tensor of
    its own or in the one tensor of all."""

    piece: Piece
    num_experts: int
    in_one: bool

    @property
    def stored_shape(self) -> Shape:
        """Of each stored tensor."""
        own = self.piece.stored_shape
        return (self.num_experts, *own) if self.in_one else own

    def read(self, tensors: Sequence[StoredTensor], index: tuple[slice, ...]) -> np.ndarray:
        """The parameter's numbers at `index`, one expert read after the other."""
        experts, *rest = index
        parts: Sequence[Readable] = tensors
        if self.in_one:
            parts = [_Slab(tensors[0], number) for number in range(self.num_experts)]
        wanted = [self.piece.read(part, tuple(rest)) for part in parts[experts]]
        return np.stack(wanted)


@dataclass(frozen=True, slots=True)
class _Slab:
    """One expert's part of a tensor with a first dimension for experts."""

    tensor: StoredTensor
    number: int

    def read(self, index: tuple[slice, ...]) -> np.ndarray:
        return self.tensor.read((slice(self.number, self.number + 1), *index))[0]

"""How are quantised values made of floats while they are read?

Round to nearest, with scales from the largest magnitude. Works on rows by themselves, so that a
weight of any size is made a few rows at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np

from jaxserve.models.quantization import DTYPES, LARGEST, Made, Quantization, pack_int4
from jaxserve.models.quantized import Choice

Option = Literal["int8", "int4", "fp8"]
Index = tuple[slice, ...]
BLOCK_FLOATS = 2 << 20  # made at a time; a few times their memory is in use meanwhile
GROUP_SIZES = (32,)
_ENDS = ("embed_tokens.weight", "lm_head.weight")
_LOOKED_UP = ("embed_positions.weight", "layer_inputs.embed_tokens.weight")


def choice(option: Option, *, tied_embeddings: bool) -> Choice:
    """What `--quantize` makes of each weight.

    All matrices of products. Where int4 is asked for, the output gets int8: what is lost there
    goes straight into logits. On a CPU, where widening values takes longer than the product, rows
    that meet int8 values are made int8 too. A table that is only looked up stays, and so does a
    single row.
    """
    by_row = Quantization(values="int8", int8_inputs="on_cpu")
    ends = {"int8": by_row, "int4": by_row, "fp8": Quantization(values="fp8")}[option]
    output = "embed_tokens.weight" if tied_embeddings else "lm_head.weight"

    def choose(path: str, shape: tuple[int, ...]) -> Quantization | None:
        if path == output:
            return ends
        if path in (*_ENDS, *_LOOKED_UP) or shape[-2] == 1:
            return None
        return in_groups(shape[-1]) if option == "int4" else ends

    return choose


def in_groups(num_columns: int) -> Quantization:
    """int4 with a scale for every 32 columns, where they come out even, or else for every row.

    An odd number of columns gets int8.
    """
    if num_columns % 2:
        return Quantization(values="int8", int8_inputs="on_cpu")
    whole = Quantization(values="int4", scale_dtype="bfloat16")
    fitting = [size for size in GROUP_SIZES if num_columns % size == 0]
    return replace(whole, group_size=fitting[0]) if fitting else whole


@dataclass(frozen=True, slots=True)
class Make:
    """Makes a part of a quantised weight of whole rows of its floats."""

    of: Callable[[np.ndarray], np.ndarray]
    shape: tuple[int, ...]  # of the floats


def maker(made: Made, part: str) -> Make:
    """What makes `part` of a weight that is to be stored so."""
    of = {"values": values_of, "scales": scales_of}[part]
    return Make(partial(of, quantization=made.quantization), made.shape)


def made_in_blocks(read: Callable[[Index], np.ndarray], make: Make, index: Index) -> np.ndarray:
    """The part at `index`, made of floats that `read` gives a few rows at a time.

    The part of a long weight is short where it is scales: reading all of it would fill the memory.
    """
    *experts, rows, columns = index
    start, stop, _ = rows.indices(make.shape[-2])
    step = max(1, BLOCK_FLOATS // make.shape[-1])
    blocks = [slice(first, min(first + step, stop)) for first in range(start, stop, step)]

    def made(*leading: slice) -> np.ndarray:
        parts = [make.of(read((*leading, block, slice(None)))) for block in blocks]
        return np.concatenate(parts, axis=-2)[..., columns]

    if not experts:
        return made()
    numbers = range(*experts[0].indices(make.shape[0]))
    return np.concatenate([made(slice(number, number + 1)) for number in numbers])


def scales_of(floats: np.ndarray, quantization: Quantization) -> np.ndarray:
    """Scales [..., rows, groups] for `floats` [..., rows, columns], in the type they are kept in.

    A scale of int4 is such that the number of largest magnitude becomes -8: with either sign, the
    scale takes it, and no value is wasted.
    """
    grouped = _grouped(floats, quantization)
    magnitudes = np.abs(grouped)
    if quantization.values == "int4":
        furthest = magnitudes.argmax(-1)[..., None]
        scales = np.take_along_axis(grouped, furthest, -1)[..., 0] / np.float32(-8)
    else:
        scales = magnitudes.max(-1) / np.float32(LARGEST[quantization.values])
    # A group of zeros is zeros with any scale but zero.
    return np.where(scales == 0, np.float32(1), scales).astype(quantization.scale_dtype)


def values_of(floats: np.ndarray, quantization: Quantization) -> np.ndarray:
    """Values for `floats` [..., rows, columns] with `scales_of` them, as they are kept."""
    scales = scales_of(floats, quantization).astype(np.float32)
    scaled = _grouped(floats, quantization) / scales[..., None]
    largest = LARGEST[quantization.values]
    if quantization.values.startswith("int"):
        scaled = np.rint(scaled)
    least = -8 if quantization.values == "int4" else -largest
    values = scaled.clip(least, largest).reshape(floats.shape)
    packed = pack_int4(values) if quantization.values == "int4" else values
    return packed.astype(DTYPES[quantization.values])


def _grouped(floats: np.ndarray, quantization: Quantization) -> np.ndarray:
    *rows, columns = floats.shape
    size = quantization.group_size or columns
    return floats.astype(np.float32, copy=False).reshape(*rows, columns // size, size)

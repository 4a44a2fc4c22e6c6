"""How does compressed-tensors store weights, as LLM Compressor and Red Hat's checkpoints do?

`weight` in int8 or fp8 beside `weight_scale`, or `weight_packed` i32[out, in * bits / 32], with
zero points where they are not symmetric. What is stored says which, module by module; the config
says what else was done.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxserve.models.checkpoint import StoredTensor
from jaxserve.models.formats.fp8 import opened_fp8, without_cache_scales
from jaxserve.models.formats.integers import Integers, own_order
from jaxserve.models.formats.nibbles import WORD_BITS, unpacked, words_of
from jaxserve.models.formats.views import Opened, refuse_shape, scales_by_row, view
from jaxserve.models.quantization import Quantization
from jaxserve.models.reader import ConfigReader

FORMATS = ("dense", "float-quantized", "int-quantized", "naive-quantized", "pack-quantized")
IGNORED = {
    "global_compression_ratio": "a record of how the file was made",
    "ignore": "what is stored says it",
    "kv_cache_scheme": "the KV cache has scales of its own",
    "quantization_status": "a record of how the file was made",
    "version": "a record of how the file was made",
}
_OF_WEIGHTS = {
    "actorder": "g_idx says it",
    "block_structure": "asked for where blocks are stored",
    "dynamic": "weights are never dynamic",
    "observer": "how it was made",
    "observer_kwargs": "how it was made",
    "scale_dtype": "the scales say it themselves",
    "symmetric": "zero points are there or not",
    "zp_dtype": "the zero points say it themselves",
}


def open_compressed_tensors(config: ConfigReader, stored: Mapping[str, StoredTensor]) -> Opened:
    """Weights stay int8, int4 or fp8; those in activation order become floats."""
    config.choice("format", None, FORMATS)
    _require_nothing(config, "sparsity_config", "format", "dense")
    _require_nothing(config, "transform_config", "config_groups", {})
    group = _read_groups(config)
    config.refuse_rest(IGNORED)
    opened = opened_fp8(stored, group.block)
    for key, tensor in stored.items():
        if key.endswith(".weight_packed"):
            _hold_packed(opened, key.removesuffix(".weight_packed"), tensor, group)
        elif key.endswith(".weight") and tensor.type_name == "I8":
            _hold_int8(opened, key.removesuffix(".weight"), tensor, group)
    return without_cache_scales(opened)


class _Group:
    """What all groups of a config say of their weights."""

    def __init__(self, num_bits: int, block: tuple[int, int | None], *, int8_inputs: bool):
        self.num_bits = num_bits
        self.block = block  # rows and columns that share a scale; None: all columns
        self.int8_inputs = int8_inputs


def _require_nothing(config: ConfigReader, name: str, key: str, nothing: Any) -> None:
    table = config.table(name)
    if table is not None and table.has(key):
        table.require(key, nothing)


def _read_groups(config: ConfigReader) -> _Group:
    groups = config.table("config_groups")
    if groups is None:
        raise config.wrong("config_groups", None, "an object with what was done to which modules")
    read = [_read_group(groups, name) for name in groups.names()]
    if len({(group.num_bits, group.block) for group in read}) != 1:
        raise config.refused(
            "config_groups", list(groups.names()), "groups have to agree in bits and scales"
        )
    return read[0]


def _read_group(groups: ConfigReader, name: str) -> _Group:
    group = groups.table(name)
    weights = group.table("weights") if group is not None else None
    if group is None or weights is None:
        raise groups.refused(name, None, "only groups with quantised weights are handled")
    num_bits = weights.integer("num_bits")
    if num_bits not in (4, 8):
        raise weights.refused("num_bits", num_bits, "handled are 4 and 8")
    kind = weights.choice("type", "int", ("int", "float"))
    if kind == "float" and num_bits != 8:
        raise weights.refused("num_bits", num_bits, "handled are floats of 8 bits")
    block = _read_block(weights)
    weights.refuse_rest(_OF_WEIGHTS)
    inputs = group.table("input_activations")
    dynamic = inputs is not None and kind == "int" and _are_rows_of_int8(inputs)
    return _Group(num_bits, block, int8_inputs=dynamic)


def _read_block(weights: ConfigReader) -> tuple[int, int | None]:
    group_size = weights.whole("group_size", -1)
    handled = ("tensor", "channel", "group", "block")
    match weights.choice("strategy", "group" if group_size > 0 else "tensor", handled):
        case "group":
            return 1, weights.integer("group_size")
        case "block":
            rows, columns = weights.integers("block_structure", length=2)
            return rows, columns
        case _:
            return 1, None


def _are_rows_of_int8(inputs: ConfigReader) -> bool:
    """Whether every row that goes into a product is made int8 by itself."""
    return (
        inputs.whole("num_bits", 8) == 8
        and inputs.choice("strategy", "tensor", ("tensor", "token", "group", "block", "channel"))
        == "token"
    )


def _hold_int8(opened: Opened, module: str, values: StoredTensor, group: _Group) -> None:
    key = f"{module}.weight"
    values, scales = opened.take(module, "weight", "weight_scale")
    rows, columns = values.shape
    has_zeros = f"{module}.weight_zero_point" in opened.tensors
    zeros = opened.take(module, "weight_zero_point")[0] if has_zeros else None
    opened.drop(module, "input_scale", "input_zero_point", "weight_g_idx")
    size = group.block[1]
    by_row = (size is None or size >= columns) and zeros is None
    form = Quantization(
        values="int8",
        group_size=size,
        has_zeros=has_zeros,
        int8_inputs="always" if group.int8_inputs and by_row else "never",
    )
    beside = None
    if zeros is not None:
        spread = scales_by_row(zeros, (rows, columns), group.block, key=key)
        beside = view(
            zeros, spread.shape, lambda index: spread.read(index).astype(np.int16), form.zero_dtype
        )
    opened.hold(
        key,
        form,
        values=values,
        scales=scales_by_row(scales, (rows, columns), group.block, key=key),
        zeros=beside,
    )


def _hold_packed(opened: Opened, module: str, words: StoredTensor, group: _Group) -> None:
    words, shape, scales = opened.take(module, "weight_packed", "weight_shape", "weight_scale")
    rows, columns = (int(size) for size in shape.read((slice(None),)))
    num_bits = group.num_bits
    refuse_shape(words, (rows, -(-columns * num_bits // WORD_BITS)), f"{module}.weight_packed")
    size = group.block[1] or columns
    spread = scales_by_row(scales, (rows, columns), (1, group.block[1]), key=module)

    def values(rows: slice, columns: slice) -> np.ndarray:
        wanted = words_of(columns.start, columns.stop, num_bits)
        first = columns.start - wanted.start * (WORD_BITS // num_bits)
        numbers = unpacked(words.read((rows, wanted)), num_bits)
        return numbers[:, first : first + columns.stop - columns.start]

    Integers(
        shape=(rows, columns),
        num_bits=num_bits,
        group_size=size,
        values=values,
        scales=lambda rows, groups: spread.read((rows, groups)),
        zeros=_packed_zeros(opened, module, num_bits),
        group_of_column=_order(opened, module, size),
    ).hold(opened, f"{module}.weight", words)


def _packed_zeros(opened: Opened, module: str, num_bits: int) -> Any:
    """Reads zero points, which are packed along rows."""
    if f"{module}.weight_zero_point" not in opened.tensors:
        return None
    (words,) = opened.take(module, "weight_zero_point")

    def zeros(rows: slice, groups: slice) -> np.ndarray:
        wanted = words_of(rows.start, rows.stop, num_bits)
        first = rows.start - wanted.start * (WORD_BITS // num_bits)
        numbers = unpacked(words.read((wanted, groups)).T, num_bits).T
        return numbers[first : first + rows.stop - rows.start]

    return zeros


def _order(opened: Opened, module: str, group_size: int) -> np.ndarray | None:
    if f"{module}.weight_g_idx" not in opened.tensors:
        return None
    (groups,) = opened.take(module, "weight_g_idx")
    read = groups.read((slice(None),))
    return None if (read < 0).all() else own_order(read, group_size)

"""How does bitsandbytes store weights (arXiv:2208.07339, arXiv:2305.14314)?

int8 beside `SCB`, 127 times a scale for each row. Or four bits, all of a weight in one run of
bytes, the first of two numbers in the high bits: numbers of a table of 16, times the largest
magnitude of each block, which may be quantised itself. `quant_state` says the sizes in JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxserve.errors import CheckpointError
from jaxserve.models.checkpoint import StoredTensor
from jaxserve.models.formats.views import Index, Opened, refuse_shape, view
from jaxserve.models.quantization import Quantization
from jaxserve.models.reader import ConfigReader

_STATED = "what is stored says it"
_OURS = "how it is computed is our choice"
IGNORED = {
    "_load_in_4bit": _STATED,
    "_load_in_8bit": _STATED,
    "bnb_4bit_compute_dtype": _OURS,
    "bnb_4bit_quant_storage": _STATED,
    "bnb_4bit_quant_type": _STATED,
    "bnb_4bit_use_double_quant": _STATED,
    "llm_int8_enable_fp32_cpu_offload": _OURS,
    "llm_int8_has_fp16_weight": _OURS,
    "llm_int8_skip_modules": _STATED,
    "llm_int8_threshold": "what goes into a product is not quantised",
    "load_in_4bit": _STATED,
    "load_in_8bit": _STATED,
}
_STATES = ("quant_state.bitsandbytes__nf4", "quant_state.bitsandbytes__fp4")
_ROW_MAJOR = 0


def open_bitsandbytes(config: ConfigReader, stored: Mapping[str, StoredTensor]) -> Opened:
    """int8 stays; four bits become floats."""
    config.refuse_rest(IGNORED)
    opened = Opened(dict(stored))
    for key in stored:
        if key.endswith(".SCB"):
            _hold_int8(opened, key.removesuffix(".SCB"))
        for name in _STATES:
            if key.endswith(f".weight.{name}"):
                _show_floats(opened, key.removesuffix(f".{name}"), name)
    return opened


def _hold_int8(opened: Opened, module: str) -> None:
    values, largest = opened.take(module, "weight", "SCB")
    if f"{module}.weight_format" in opened.tensors:
        (layout,) = opened.take(module, "weight_format")
        if int(np.asarray(layout.read(())).reshape(-1)[0]) != _ROW_MAJOR:
            raise CheckpointError(
                f"{module}.weight_format in {layout.file} is a layout for one kind of GPU; save "
                "the model again with bitsandbytes 0.45 or newer"
            )
    rows = values.shape[0]
    refuse_shape(largest, (rows,), f"{module}.SCB")
    opened.hold(
        f"{module}.weight",
        Quantization(values="int8"),
        values=values,
        scales=view(
            largest,
            (rows, 1),
            lambda index: largest.read((index[0],)).astype(np.float32)[:, None] / np.float32(127),
        ),
    )


def _show_floats(opened: Opened, key: str, state_name: str) -> None:
    """`key` is the weight's, and the first part of its companions'."""
    module, _, leaf = key.rpartition(".")
    packed, state = opened.take(module, leaf, f"{leaf}.{state_name}")
    stated = json.loads(state.read((slice(None),)).tobytes())
    absmax, table = opened.take(key, "absmax", "quant_map")
    shape, block = tuple(stated["shape"]), int(stated["blocksize"])
    levels = table.read((slice(None),)).astype(np.float32)
    magnitudes = _magnitudes(opened, key, absmax, stated)
    if packed.type_name != "U8" or len(shape) != 2:
        raise CheckpointError(
            f"{key} in {packed.file} is stored {packed.type_name} {list(shape)}; bytes of a matrix "
            "are read (bnb_4bit_quant_storage uint8)"
        )
    columns = shape[1]

    def compute(index: Index) -> np.ndarray:
        first, last = index[0].start * columns, index[0].stop * columns
        held = packed.read((slice(first // 2, -(-last // 2)), slice(None))).reshape(-1)
        nibbles = np.stack([held >> 4, held & 15], axis=-1).reshape(-1)[first % 2 :]
        nibbles = nibbles[: last - first]
        blocks = slice(first // block, -(-last // block))
        scales = np.repeat(magnitudes(blocks), block)[first - blocks.start * block :]
        floats = levels[nibbles] * scales[: last - first]
        return floats.reshape(-1, columns)[:, index[1]]

    opened.tensors[key] = view(packed, shape, compute)


def _magnitudes(
    opened: Opened, key: str, absmax: StoredTensor, stated: Mapping[str, Any]
) -> Callable[[slice], np.ndarray]:
    """Reads the largest magnitudes of some blocks, f32."""
    if "nested_blocksize" not in stated:
        return lambda blocks: absmax.read((blocks,)).astype(np.float32)
    scales, table = (
        part.read((slice(None),)).astype(np.float32)
        for part in opened.take(key, "nested_absmax", "nested_quant_map")
    )
    size, offset = int(stated["nested_blocksize"]), np.float32(stated["nested_offset"])

    def nested(blocks: slice) -> np.ndarray:
        numbers = np.arange(blocks.start, blocks.stop)
        return table[absmax.read((blocks,))] * scales[numbers // size] + offset

    return nested

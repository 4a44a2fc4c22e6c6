"""How does MXFP4 store experts, as gpt-oss ships them?

`X_blocks` u8[experts, out, groups, 16], 32 floats of four bits (e2m1) with the first of two in the
low bits, and `X_scales` u8[experts, out, groups], powers of two. They stand for X [experts, in,
out], as transformers holds it. Source: OCP Microscaling Formats 1.0.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from jaxserve.models.checkpoint import StoredTensor
from jaxserve.models.formats.views import Index, Opened, refuse_shape, view
from jaxserve.models.reader import ConfigReader

_GROUP = 32
_EXPONENT_BIAS = 127
_HALF = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0], np.float32)
_LEVELS = np.concatenate([_HALF, -_HALF])
IGNORED = {
    "dequantize": "how it is computed is our choice",
    "modules_to_not_convert": "what is stored says it",
}


def open_mxfp4(config: ConfigReader, stored: Mapping[str, StoredTensor]) -> Opened:
    """Experts become floats."""
    config.refuse_rest(IGNORED)
    opened = Opened(dict(stored))
    for key in stored:
        if key.endswith("_blocks"):
            name = key.removesuffix("_blocks")
            module, _, leaf = name.rpartition(".")
            blocks, scales = opened.take(module, f"{leaf}_blocks", f"{leaf}_scales")
            opened.tensors[name] = _floats(blocks, scales, name)
    return opened


def _floats(blocks: StoredTensor, scales: StoredTensor, name: str) -> StoredTensor:
    experts, rows, groups, _ = blocks.shape
    refuse_shape(blocks, (experts, rows, groups, _GROUP // 2), f"{name}_blocks")
    refuse_shape(scales, (experts, rows, groups), f"{name}_scales")

    def compute(index: Index) -> np.ndarray:
        experts, columns, rows = index
        wanted = slice(columns.start // _GROUP, -(-columns.stop // _GROUP))
        held = blocks.read((experts, rows, wanted, slice(None)))
        numbers = _LEVELS[np.stack([held & 15, held >> 4], axis=-1)]
        numbers = numbers.reshape(*held.shape[:3], _GROUP)
        exponents = scales.read((experts, rows, wanted)).astype(np.int32) - _EXPONENT_BIAS
        floats = np.ldexp(numbers, exponents[..., None])
        floats = floats.reshape(*held.shape[:2], -1).swapaxes(1, 2)
        first = columns.start - wanted.start * _GROUP
        return floats[:, first : first + columns.stop - columns.start]

    return view(blocks, (experts, groups * _GROUP, rows), compute)

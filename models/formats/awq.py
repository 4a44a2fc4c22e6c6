"""How does AWQ store weights (arXiv:2306.00978)?

Four bits, transposed: `qweight` i32[in, out / 8] with eight outputs to a word in an order that its
kernels want, `qzeros` i32[in / group, out / 8] likewise, `scales` [in / group, out].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from jaxserve.models.checkpoint import StoredTensor
from jaxserve.models.formats.integers import Integers
from jaxserve.models.formats.nibbles import unpacked, words_of
from jaxserve.models.formats.views import Opened, refuse_shape
from jaxserve.models.reader import ConfigReader

_PLACES = np.array([0, 4, 1, 5, 2, 6, 3, 7])
"""Where in a word each of its eight outputs is."""

IGNORED = {
    "backend": "how it is computed is our choice",
    "do_fuse": "how it is computed is our choice",
    "exllama_config": "how it is computed is our choice",
    "fuse_max_seq_len": "how it is computed is our choice",
    "modules_to_fuse": "how it is computed is our choice",
    "modules_to_not_convert": "what is stored says it",
}


def open_awq(config: ConfigReader, stored: Mapping[str, StoredTensor]) -> Opened:
    """Weights stay int4 with zero points."""
    config.require("bits", 4)
    config.require("zero_point", True)
    config.choice("version", "gemm", ("gemm", "GEMM"))
    group_size = config.integer("group_size")
    config.refuse_rest(IGNORED)
    opened = Opened(dict(stored))
    for key in stored:
        if key.endswith(".qweight"):
            module = key.removesuffix(".qweight")
            words, *beside = opened.take(module, "qweight", "qzeros", "scales")
            _weight(module, words, beside, group_size).hold(opened, f"{module}.weight", words)
    return opened


def _weight(
    module: str, words: StoredTensor, beside: Sequence[StoredTensor], group_size: int
) -> Integers:
    zeros, scales = beside
    columns, rows = words.shape[0], words.shape[1] * 8
    num_groups = -(-columns // group_size)
    refuse_shape(scales, (num_groups, rows), f"{module}.scales")
    refuse_shape(zeros, (num_groups, rows // 8), f"{module}.qzeros")

    def read(of: StoredTensor, rows: slice, columns: slice) -> np.ndarray:
        wanted = words_of(rows.start, rows.stop, 4)
        numbers = unpacked(of.read((columns, wanted)), 4)
        ordered = numbers.reshape(len(numbers), -1, 8)[..., _PLACES].reshape(numbers.shape)
        first = rows.start - wanted.start * 8
        return ordered[:, first : first + rows.stop - rows.start].T

    return Integers(
        shape=(rows, columns),
        num_bits=4,
        group_size=group_size,
        values=lambda rows, columns: read(words, rows, columns),
        scales=lambda rows, groups: scales.read((groups, rows)).T,
        zeros=lambda rows, groups: read(zeros, rows, groups),
    )

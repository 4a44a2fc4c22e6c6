"""How does GPTQ store weights (arXiv:2210.17323)?

Four or eight bits, transposed: `qweight` i32[in * bits / 32, out] with inputs packed into words,
`qzeros` i32[groups, out * bits / 32], `scales` [groups, out], and `g_idx` i32[in], the group of
each input, which is no run of them where activation order decided it. The first version of the
format has zero points less 1.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from jaxserve.models.checkpoint import StoredTensor
from jaxserve.models.formats.integers import Integers, own_order
from jaxserve.models.formats.nibbles import WORD_BITS, unpacked, words_of
from jaxserve.models.formats.views import Opened, refuse_shape
from jaxserve.models.reader import ConfigReader

_MAKING = "how it was made"
IGNORED = {
    "act_group_aware": _MAKING,
    "backend": "how it is computed is our choice",
    "batch_size": _MAKING,
    "block_name_to_quantize": _MAKING,
    "cache_block_outputs": _MAKING,
    "damp_percent": _MAKING,
    "dataset": _MAKING,
    "desc_act": "what is stored says it",
    "exllama_config": "how it is computed is our choice",
    "max_input_length": "how it is computed is our choice",
    "meta": "a record of how the file was made",
    "model_file_base_name": "the folder says it",
    "model_name_or_path": "a record of how the file was made",
    "model_seqlen": _MAKING,
    "module_name_preceding_first_block": _MAKING,
    "modules_in_block_to_quantize": "what is stored says it",
    "offload_to_disk": _MAKING,
    "pad_token_id": _MAKING,
    "quantizer": "a record of how the file was made",
    "static_groups": "what is stored says it",
    "sym": "the zero points say it",
    "tokenizer": _MAKING,
    "true_sequential": _MAKING,
    "use_cuda_fp16": "how it is computed is our choice",
    "use_exllama": "how it is computed is our choice",
}


def open_gptq(config: ConfigReader, stored: Mapping[str, StoredTensor]) -> Opened:
    """Weights stay int4 or int8 with zero points; those in activation order become floats."""
    num_bits = config.integer("bits")
    if num_bits not in (4, 8):
        raise config.refused("bits", num_bits, "handled are 4 and 8")
    config.require("pack_dtype", "int32")
    config.require("is_marlin_format", False)
    config.require("lm_head", False)
    version = config.choice("checkpoint_format", "gptq", ("gptq", "gptq_v2"))
    group_size = config.whole("group_size", -1)
    config.refuse_rest(IGNORED)
    opened = Opened(dict(stored))
    for key in stored:
        if key.endswith(".qweight"):
            module = key.removesuffix(".qweight")
            weight = _weight(
                opened, module, num_bits, group_size, zero_step=1 if version == "gptq" else 0
            )
            weight.hold(opened, f"{module}.weight", stored[key])
    return opened


def _weight(
    opened: Opened, module: str, num_bits: int, group_size: int, *, zero_step: int
) -> Integers:
    words, zeros, scales = opened.take(module, "qweight", "qzeros", "scales")
    per_word = WORD_BITS // num_bits
    columns, rows = words.shape[0] * per_word, words.shape[1]
    size = group_size if group_size > 0 else columns
    num_groups = -(-columns // size)
    refuse_shape(scales, (num_groups, rows), f"{module}.scales")
    refuse_shape(zeros, (num_groups, rows // per_word), f"{module}.qzeros")

    def values(rows: slice, columns: slice) -> np.ndarray:
        wanted = words_of(columns.start, columns.stop, num_bits)
        numbers = unpacked(words.read((wanted, rows)).T, num_bits)
        first = columns.start - wanted.start * per_word
        return numbers[:, first : first + columns.stop - columns.start]

    def zero_points(rows: slice, groups: slice) -> np.ndarray:
        wanted = words_of(rows.start, rows.stop, num_bits)
        numbers = unpacked(zeros.read((groups, wanted)), num_bits).astype(np.int16) + zero_step
        first = rows.start - wanted.start * per_word
        return numbers[:, first : first + rows.stop - rows.start].T

    return Integers(
        shape=(rows, columns),
        num_bits=num_bits,
        group_size=size,
        values=values,
        scales=lambda rows, groups: scales.read((groups, rows)).T,
        zeros=zero_points,
        group_of_column=_order(opened, module, columns, size),
    )


def _order(opened: Opened, module: str, columns: int, group_size: int) -> np.ndarray | None:
    """The group of each column where they do not come in order; small, and read at once."""
    if f"{module}.g_idx" not in opened.tensors:
        return None
    (groups,) = opened.take(module, "g_idx")
    refuse_shape(groups, (columns,), f"{module}.g_idx")
    return own_order(groups.read((slice(None),)), group_size)

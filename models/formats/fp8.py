"""How are fp8 weights stored, as DeepSeek and Qwen ship them?

`weight` in e4m3 beside `weight_scale_inv` (or `weight_scale`), which it is multiplied with: one
number, one for every row, or one for every 128 x 128 block.
"""

from __future__ import annotations

from collections.abc import Mapping

from jaxserve.models.checkpoint import StoredTensor
from jaxserve.models.formats.views import Opened, scales_by_row
from jaxserve.models.quantization import Quantization
from jaxserve.models.reader import ConfigReader

SCALES = ("weight_scale_inv", "weight_scale")
CACHE_SCALES = (".k_scale", ".v_scale", ".q_scale")
"""Of a KV cache, which has scales of its own here."""

IGNORED = {
    "activation_scheme": "what goes into a product is not quantised",
    "dequantize": "how it is computed is our choice",
    "fmt": "the weights say it themselves",
    "ignored_layers": "what is stored says it",
    "kv_cache_scheme": "the KV cache has scales of its own",
    "modules_to_convert": "what is stored says it",
    "modules_to_not_convert": "what is stored says it",
    "scale_fmt": "the scales say it themselves",
}


def open_fp8(config: ConfigReader, stored: Mapping[str, StoredTensor]) -> Opened:
    """Weights stay fp8."""
    config.require("expert_dtype", "fp8")
    block: tuple[int, int | None] = (1, None)
    if config.has("weight_block_size"):
        rows, columns = config.integers("weight_block_size", length=2)
        block = rows, columns
    config.refuse_rest(IGNORED)
    return opened_fp8(stored, block)


def opened_fp8(stored: Mapping[str, StoredTensor], block: tuple[int, int | None]) -> Opened:
    """Every e4m3 weight that has scales, one for each `block` (rows, columns; None is all)."""
    opened = Opened(dict(stored))
    for key, values in stored.items():
        module = key.removesuffix(".weight")
        found = [name for name in SCALES if f"{module}.{name}" in stored]
        if values.type_name != "F8_E4M3" or module == key or not found:
            continue
        values, scales = opened.take(module, "weight", found[0])
        opened.drop(module, "input_scale")
        rows, columns = values.shape
        opened.hold(
            key,
            Quantization(values="fp8", group_size=block[1]),
            values=values,
            scales=scales_by_row(scales, (rows, columns), block, key=key),
        )
    return without_cache_scales(opened)


def without_cache_scales(opened: Opened) -> Opened:
    """`opened` without the scales of a KV cache, which attention modules may hold."""
    for key in [key for key in opened.tensors if key.endswith(CACHE_SCALES)]:
        del opened.tensors[key]
    return opened

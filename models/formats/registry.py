"""By which method was a checkpoint quantised, and how is it read?

`quantization_config` in config.json decides. A method or an option that is not handled is refused
by name: its numbers would be read as something else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jaxserve.errors import UnsupportedModel
from jaxserve.models.checkpoint import StoredTensor
from jaxserve.models.formats.awq import open_awq
from jaxserve.models.formats.bitsandbytes import open_bitsandbytes
from jaxserve.models.formats.compressed_tensors import open_compressed_tensors
from jaxserve.models.formats.fp8 import open_fp8
from jaxserve.models.formats.gptq import open_gptq
from jaxserve.models.formats.mxfp4 import open_mxfp4
from jaxserve.models.formats.views import Opened
from jaxserve.models.reader import ConfigReader

Open = Callable[[ConfigReader, Mapping[str, StoredTensor]], Opened]

METHODS: Mapping[str, Open] = {
    "awq": open_awq,
    "bitsandbytes": open_bitsandbytes,
    "compressed-tensors": open_compressed_tensors,
    "fp8": open_fp8,
    "gptq": open_gptq,
    "mxfp4": open_mxfp4,
}
ATTRIBUTE = "quantization_config"


def open_quantized(
    raw: Mapping[str, Any], stored: Mapping[str, StoredTensor], origin: str
) -> Opened:
    """The tensors of a checkpoint, however it was quantised, if at all.

    `raw` is its config.json and `origin` names that in errors. Raises UnsupportedModel for a method
    or option that is not handled, CheckpointError for tensors that do not fit one another.
    """
    config = ConfigReader(raw, origin).table(ATTRIBUTE)
    if config is None:
        return Opened(dict(stored))
    method = config.choice("quant_method", None, METHODS)
    return METHODS[method](config, stored)


def refuse_quantized(raw: Mapping[str, Any], origin: str) -> None:
    """Raise UnsupportedModel for a model that was quantised, where such are not read."""
    if raw.get(ATTRIBUTE) is not None:
        raise UnsupportedModel(
            f"{origin}: {ATTRIBUTE}: quantised weights are read for models that generate, not for "
            "those that embed or classify; use the unquantised checkpoint"
        )

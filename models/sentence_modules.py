"""What does a sentence-transformers folder do with the hidden states?

Reads `modules.json` and the config of each module that it names. What happens to the text before
(prompts, length) is read by `text/sentence_folder.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jaxserve.errors import CheckpointError, UnsupportedModel
from jaxserve.models.checkpoint import read_json, read_json_list
from jaxserve.models.pooled_config import DenseConfig, Pooling
from jaxserve.models.reader import ConfigReader

MODULES_FILE = "modules.json"

_MODES: Mapping[str, Pooling] = {
    "cls": "cls",
    "max": "max",
    "mean": "mean",
    "mean_sqrt_len_tokens": "mean_sqrt_len",
    "weightedmean": "weighted_mean",
    "lasttoken": "last",
}
_FLAGS: Mapping[str, Pooling] = {  # as releases before 6 say it, in the order of their vectors
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len",
    "pooling_mode_weightedmean_tokens": "weighted_mean",
    "pooling_mode_lasttoken": "last",
}
_ACTIVATIONS = {
    "torch.nn.modules.linear.Identity": "identity",
    "torch.nn.modules.activation.Tanh": "tanh",
    "torch.nn.modules.activation.GELU": "gelu",
    "torch.nn.modules.activation.ReLU": "relu",
    "torch.nn.modules.activation.SiLU": "silu",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SentenceModules:
    """What comes after the transformer; `dense_folders` hold the weights of `projections`."""

    pooling: tuple[Pooling, ...] = ()
    projections: tuple[DenseConfig, ...] = ()
    dense_folders: tuple[Path, ...] = field(default=())
    normalized: bool = False


def has_modules(folder: Path) -> bool:
    return (folder / MODULES_FILE).is_file()


def read_modules(folder: Path) -> SentenceModules:
    """The modules of `folder`, in order.

    Raises UnsupportedModel for a module, an order or an option that is not handled.
    """
    origin = folder / MODULES_FILE
    kinds, found = [], SentenceModules()
    for entry in read_json_list(origin):
        kind = str(entry.get("type", "")).rpartition(".")[2]
        kinds.append(kind)
        found = _with_module(found, kind, str(entry.get("path", "")), folder)
    order = ["Transformer", "Pooling"] + ["Dense"] * len(found.projections)
    if kinds not in (["Transformer"], order, [*order, "Normalize"]):
        raise UnsupportedModel(
            f"{origin}: the modules {', '.join(kinds)} are not supported in this order; handled "
            "are Transformer, Pooling, any number of Dense, and Normalize last"
        )
    return found


def _with_module(before: SentenceModules, kind: str, path: str, folder: Path) -> SentenceModules:
    home = _inside(folder, path)
    match kind:
        case "Transformer" if path in ("", "."):
            return before
        case "Pooling":
            return replace(before, pooling=_read_pooling(home / "config.json"))
        case "Dense":
            return replace(
                before,
                projections=(*before.projections, _read_dense(home / "config.json")),
                dense_folders=(*before.dense_folders, home),
            )
        case "Normalize":
            return replace(before, normalized=True)
    raise UnsupportedModel(
        f"{folder / MODULES_FILE}: the module {kind} in {path or 'the folder itself'} is not "
        "supported; handled are Transformer in the folder itself, Pooling, Dense and Normalize"
    )


def _inside(folder: Path, path: str) -> Path:
    home = (folder / path).resolve()
    if not home.is_relative_to(folder.resolve()):
        raise CheckpointError(
            f"{folder / MODULES_FILE} names a module outside of its folder: {path}"
        )
    return home


def _read_pooling(path: Path) -> tuple[Pooling, ...]:
    raw = ConfigReader(read_json(path), str(path))
    raw.optional_integer("word_embedding_dimension")
    raw.optional_integer("embedding_dimension")
    raw.require("include_prompt", True)
    flags = {name: raw.flag(name, False) for name in _FLAGS}
    modes = _named_modes(raw)
    raw.refuse_rest({})
    return modes or tuple(_FLAGS[name] for name, is_set in flags.items() if is_set) or ("mean",)


def _named_modes(raw: ConfigReader) -> tuple[Pooling, ...]:
    return tuple(_MODES[name] for name in raw.one_or_more("pooling_mode", _MODES))


def _read_dense(path: Path) -> DenseConfig:
    raw = ConfigReader(read_json(path), str(path))
    raw.require("module_input_name", "sentence_embedding")
    raw.require("module_output_name", "sentence_embedding")
    raw.require("use_residual", False)
    given: Any = raw.choice("activation_function", "torch.nn.modules.activation.Tanh", _ACTIVATIONS)
    dense = DenseConfig(
        in_dim=raw.integer("in_features"),
        out_dim=raw.integer("out_features"),
        bias=raw.flag("bias", True),
        activation=_ACTIVATIONS[given],
    )
    raw.refuse_rest({})
    return dense

"""How does a folder become a model that is ready to run?

Joins the config, the family and the weights. What comes back is a tuple of arrays: the step
rebuilds the module inside of its traced function, because handing modules to a program costs
milliseconds a call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from jaxserve.errors import ConfigError
from jaxserve.models.adapters import Stored, stored_modules
from jaxserve.models.checkpoint import StoredTensor
from jaxserve.models.config import DecoderConfig
from jaxserve.models.converted import is_converted, layout, read_params, read_quantizations
from jaxserve.models.decoder import Decoder
from jaxserve.models.dummy import random_params
from jaxserve.models.families.family import Family
from jaxserve.models.families.registry import read_model_config
from jaxserve.models.formats.registry import open_quantized
from jaxserve.models.formats.views import Opened
from jaxserve.models.making import Option, choice
from jaxserve.models.moe import share_experts
from jaxserve.models.quantization import Quantization
from jaxserve.models.quantized import Choice, quantizations, quantize_modules
from jaxserve.models.source import config_origin, open_weights, read_raw_config
from jaxserve.models.weights import (
    Target,
    ignored_keys,
    key_of,
    load_params,
    refuse_misfit,
    refuse_untied,
    targets,
    with_prefix,
    without_extra_layers,
    without_parts,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A decoder, taken apart: its static part and its sharded arrays."""

    config: DecoderConfig
    graphdef: Any
    treedef: jax.tree_util.PyTreeDef
    params: tuple[jax.Array, ...]

    def params_by_path(self) -> dict[str, jax.Array]:
        """`params` by their paths in the decoder."""
        state = nnx.to_flat_state(jax.tree.unflatten(self.treedef, self.params))
        return {".".join(map(str, path)): param.get_value() for path, param in state}

    def quantizations(self) -> dict[str, Quantization]:
        """How those weights are held that are quantised, by their paths."""
        return quantizations(self.merge(self.params))

    def merge(self, params: tuple[jax.Array, ...]) -> Decoder:
        """The decoder around `params`, laid out as `self.params`. For traced functions only."""
        module: Decoder = nnx.merge(self.graphdef, jax.tree.unflatten(self.treedef, params))
        return module


def load_model(
    folder: Path,
    *,
    dtype: jnp.dtype,
    mesh: Mesh,
    progress: bool = False,
    max_model_len: int | None = None,
    quantize: Option | None = None,
) -> LoadedModel:
    """Load a Hugging Face folder, one that was converted, or a GGUF file onto `mesh`.

    Weights are cast to `dtype`.

    `max_model_len` promises that no sequence will be longer, where that is less than the model's
    own: LongRoPE has other frequencies for short contexts. `quantize` makes the weights of products
    so while they are read.

    Raises CheckpointError (UnsupportedModel among them) for a folder that makes no model, and
    ConfigError when the mesh does not divide the model.
    """
    raw, family, config = _read_config(folder, max_model_len)
    opened = None if is_converted(folder) else _open(folder, raw, family, config)
    if opened is None:
        weights = _restored_weights(folder, quantize)
    else:
        weights = _read_weights(folder, opened, family, config, quantize)
    abstract = nnx.eval_shape(lambda: _decoder(config, dtype, weights, mesh))
    graphdef, state = nnx.split(abstract)
    if opened is None:
        params = read_params(folder, layout(state, mesh))
    else:
        wanted = _targets(folder, opened.tensors, family, config, state, mesh=mesh)
        params = load_params(wanted, opened.tensors, progress=progress)
    treedef = jax.tree.structure(state)
    return LoadedModel(config=config, graphdef=graphdef, treedef=treedef, params=params)


def make_model(
    folder: Path,
    *,
    dtype: jnp.dtype,
    mesh: Mesh,
    max_model_len: int | None = None,
    quantize: Option | None = None,
) -> LoadedModel:
    """A model of the config in `folder` with random weights, made on the devices of `mesh`.

    Raises as `describe_model` does.
    """
    model, params = _described(folder, dtype, mesh, max_model_len, quantize)
    return replace(model, params=random_params(params))


def describe_model(
    folder: Path,
    *,
    dtype: jnp.dtype,
    mesh: Mesh,
    max_model_len: int | None = None,
    quantize: Option | None = None,
) -> LoadedModel:
    """As `make_model`, but `params` are only described: their shapes, types and places.

    The devices of `mesh` need not exist. Raises as `load_model` does, and ConfigError for a config
    of weights that are quantised: which ones is told by their checkpoint alone.
    """
    return _described(folder, dtype, mesh, max_model_len, quantize)[0]


def _described(
    folder: Path, dtype: jnp.dtype, mesh: Mesh, max_model_len: int | None, quantize: Option | None
) -> tuple[LoadedModel, dict[str, jax.ShapeDtypeStruct]]:
    raw, _, config = _read_config(folder, max_model_len)
    if raw.get("quantization_config") is not None:
        raise ConfigError(
            f"{config_origin(folder)} has a quantization_config, and random weights cannot follow "
            "it; take it out, and give quantize (int8, int4 or fp8) instead"
        )
    weights = _Weights(_made_choice(quantize, config), are_made=False)
    abstract = nnx.eval_shape(lambda: _decoder(config, dtype, weights, mesh))
    graphdef, state = nnx.split(abstract)
    params, treedef = layout(state, mesh), jax.tree.structure(state)
    described: Any = tuple(params.values())
    model = LoadedModel(config=config, graphdef=graphdef, treedef=treedef, params=described)
    return model, params


def _made_choice(quantize: Option | None, config: DecoderConfig) -> Choice:
    if quantize is None:
        return lambda *_: None
    return choice(quantize, tied_embeddings=config.tied_embeddings)


def _read_config(
    folder: Path, max_model_len: int | None
) -> tuple[dict[str, Any], Family, DecoderConfig]:
    raw = read_raw_config(folder)
    family, config = read_model_config(raw, config_origin(folder))
    if max_model_len is not None:
        config = replace(config, max_model_len=min(max_model_len, config.max_model_len))
    return raw, family, config


def held_as(folder: Path, raw: Mapping[str, Any], family: Family, config: DecoderConfig) -> Choice:
    """How the weights in `folder` will be held, told by headers alone; `raw` is its config.json.

    Raises CheckpointError for weights that are not there or not read.
    """
    if is_converted(folder):
        return _restored_weights(folder, None).choice
    opened = _open(folder, raw, family, config)
    return _read_weights(folder, opened, family, config, None).choice


def adapter_modules(folder: Path, model: LoadedModel) -> Stored:
    """What adapters of the model in `folder` can change."""
    family, _ = read_model_config(read_raw_config(folder), config_origin(folder))
    return stored_modules(model.merge(model.params), family)


def _open(folder: Path, raw: Mapping[str, Any], family: Family, config: DecoderConfig) -> Opened:
    opened = with_prefix(open_weights(folder), family.prefix)
    own = without_parts(opened, family.other_parts)
    stored = without_extra_layers(own, family.extra_layers, num_layers=config.num_layers)
    return open_quantized(raw, stored, config_origin(folder))


def _targets(
    folder: Path,
    stored: Mapping[str, StoredTensor],
    family: Family,
    config: DecoderConfig,
    state: nnx.State,
    *,
    mesh: Mesh,
) -> list[Target]:
    wanted = targets(state, family, mesh, stored=stored.keys())
    ignored = ignored_keys(family, config)
    refuse_misfit(wanted, stored, ignored=ignored, origin=str(folder))
    if config.tied_embeddings:
        refuse_untied(family, stored)
    return wanted


def _decoder(config: DecoderConfig, dtype: jnp.dtype, weights: _Weights, mesh: Mesh) -> Decoder:
    decoder = Decoder(config, dtype=dtype)
    share_experts(decoder, mesh)
    quantize_modules(decoder, weights.choice, is_made=weights.are_made)
    return decoder


@dataclass(frozen=True, slots=True)
class _Weights:
    """How weights are to be held: made so while they are read, or stored so."""

    choice: Choice
    are_made: bool


def _restored_weights(folder: Path, quantize: Option | None) -> _Weights:
    if quantize is not None:
        raise ConfigError(
            f"{folder} is converted, and its weights are read as they are; leave quantize = "
            f"{quantize} out here, and give it to `jaxserve convert`"
        )
    held = read_quantizations(folder)
    return _Weights(lambda path, _: held.get(path), are_made=False)


def _read_weights(
    folder: Path,
    opened: Opened,
    family: Family,
    config: DecoderConfig,
    quantize: Option | None,
) -> _Weights:
    if quantize is None:

        def held(path: str, _: tuple[int, ...]) -> Quantization | None:
            return opened.quantizations.get(key_of(path, family, opened.tensors))

        return _Weights(held, are_made=False)
    if opened.quantizations:
        kinds = sorted({how.values for how in opened.quantizations.values()})
        raise ConfigError(
            f"the weights in {folder} are {' and '.join(kinds)} as they are stored; leave "
            f"quantize = {quantize} out, or use the unquantised checkpoint"
        )
    return _Weights(choice(quantize, tied_embeddings=config.tied_embeddings), are_made=True)

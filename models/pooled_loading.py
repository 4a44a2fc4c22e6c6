"""How does a folder become a model that embeds, scores or classifies?

Joins config.json, the modules of sentence-transformers and the weights. What comes back is a tuple
of arrays, as `loading.py` says.
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

from jaxserve.errors import CheckpointError, UnsupportedModel
from jaxserve.models.checkpoint import StoredTensor, open_checkpoint, read_json
from jaxserve.models.encoders.registry import Backbone, pools, read_backbone
from jaxserve.models.families.family import Family
from jaxserve.models.formats.registry import refuse_quantized
from jaxserve.models.moe import share_experts
from jaxserve.models.pooled import PooledModel
from jaxserve.models.pooled_config import PooledConfig
from jaxserve.models.sentence_modules import SentenceModules, has_modules, read_modules
from jaxserve.models.stored import Layout, Modules
from jaxserve.models.weights import load_params, refuse_misfit, targets, with_prefix

_OLDER_LEAVES = {".gamma": ".weight", ".beta": ".bias"}  # of norms, as TensorFlow calls them


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedPooledModel:
    """A model that pools, taken apart: its static part and its sharded arrays."""

    config: PooledConfig
    graphdef: Any
    treedef: jax.tree_util.PyTreeDef
    params: tuple[jax.Array, ...]

    def merge(self, params: tuple[jax.Array, ...]) -> PooledModel:
        """The model around `params`, laid out as `self.params`. For traced functions only."""
        module: PooledModel = nnx.merge(self.graphdef, jax.tree.unflatten(self.treedef, params))
        return module


def is_pooled(folder: Path) -> bool:
    """Whether the model in `folder` answers with vectors or labels, not with text.

    False for what is no Hugging Face folder: loading it says what is wrong.
    """
    if not (folder / "config.json").is_file():
        return False
    match read_json(folder / "config.json").get("architectures"):
        case [str(architecture)]:
            return pools(architecture, has_modules=has_modules(folder))
    return False


def load_pooled_model(
    folder: Path, *, dtype: jnp.dtype, mesh: Mesh, progress: bool = False
) -> LoadedPooledModel:
    """Load a folder for which `is_pooled` holds onto `mesh`, with weights cast to `dtype`.

    Raises CheckpointError (UnsupportedModel among them) for a folder that makes no model, and
    ConfigError when the mesh does not divide the model.
    """
    backbone, after, config = _read(folder)
    abstract = nnx.eval_shape(lambda: _pooled_model(config, dtype, mesh))
    graphdef, state = nnx.split(abstract)
    stored = _stored(folder, backbone, after)
    wanted = targets(state, _as_family(backbone, config), mesh, stored=stored.keys())
    refuse_misfit(wanted, stored, ignored=backbone.ignored_keys, origin=str(folder))
    return LoadedPooledModel(
        config=config,
        graphdef=graphdef,
        treedef=jax.tree.structure(state),
        params=load_params(wanted, stored, progress=progress),
    )


def read_pooled_config(folder: Path) -> PooledConfig:
    """What a folder for which `is_pooled` holds says of its model; raises CheckpointError."""
    return _read(folder)[2]


def _read(folder: Path) -> tuple[Backbone, SentenceModules | None, PooledConfig]:
    raw = read_json(folder / "config.json")
    refuse_quantized(raw, str(folder / "config.json"))
    backbone = read_backbone(raw, raw["architectures"][0], str(folder / "config.json"))
    after = read_modules(folder) if has_modules(folder) else None
    config = _config(backbone, after, str(folder))
    _refuse_uneven_dense(config, folder)
    return backbone, after, config


def _pooled_model(config: PooledConfig, dtype: jnp.dtype, mesh: Mesh) -> PooledModel:
    model = PooledModel(config, dtype=dtype)
    share_experts(model, mesh)
    return model


def _config(backbone: Backbone, after: SentenceModules | None, origin: str) -> PooledConfig:
    """Without word on it a vector is the mean of the hidden states, as sentence-transformers has
    it."""
    if backbone.pooling is not None:
        if after is not None and after != SentenceModules():
            raise UnsupportedModel(
                f"{origin}: a classifier with modules of sentence-transformers after it is not "
                "supported; remove modules.json to serve the classifier alone"
            )
        return PooledConfig(
            backbone=backbone.config, pooling=(backbone.pooling,), head=backbone.head
        )
    after = after or SentenceModules(pooling=("mean",))
    return PooledConfig(
        backbone=backbone.config,
        pooling=after.pooling,
        projections=after.projections,
        normalized=after.normalized,
    )


def _refuse_uneven_dense(config: PooledConfig, folder: Path) -> None:
    size = config.backbone.embed_dim * len(config.pooling)
    for dense in config.projections:
        if dense.in_dim != size:
            raise CheckpointError(
                f"{folder}: a Dense module takes {dense.in_dim} numbers, and {size} come before it"
            )
        size = dense.out_dim


def _stored(
    folder: Path, backbone: Backbone, after: SentenceModules | None
) -> Mapping[str, StoredTensor]:
    """The tensors of the folder and of its modules, less those of other tasks."""
    opened = {_current(key): tensor for key, tensor in open_checkpoint(folder).items()}
    stored = {
        key: tensor
        for key, tensor in with_prefix(opened, backbone.prefix).items()
        if not key.startswith(backbone.unread_keys)
    }
    for index, home in enumerate(after.dense_folders if after else ()):
        for key, tensor in open_checkpoint(home).items():
            stored[f"projections.{index}.{key}"] = tensor
    return stored


def _current(key: str) -> str:
    for older, newer in _OLDER_LEAVES.items():
        if key.endswith(f"LayerNorm{older}"):
            return key.removesuffix(older) + newer
    return key


def _as_family(backbone: Backbone, config: PooledConfig) -> Family:
    """One table into `PooledModel`."""
    modules = {
        **_under("backbone", backbone.modules),
        **_under("head", backbone.head_modules),
        "projections.*.linear": "projections.*.linear",
    }

    def unread(_: Any) -> Any:
        raise AssertionError("the config was read before")

    return Family(read_config=unread, defaults={}, modules=modules)


def _under(name: str, modules: Modules) -> Modules:
    def moved(held: str | Layout) -> str | Layout:
        if isinstance(held, str):
            return f"{name}.{held}"
        return replace(held, paths=tuple(f"{name}.{path}" for path in held.paths))

    return {stored: moved(held) for stored, held in modules.items()}

"""How does a model become a folder whose weights need no more work at a start?

The weights are loaded as for serving and kept as they then are; everything that describes the
model, its tokenizer among it, is copied along.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TextIO

import jax
import jax.numpy as jnp
import orjson
from jax.sharding import Mesh

from jaxserve.config import ModelSource
from jaxserve.errors import ConfigError
from jaxserve.models.checkpoint import INDEX_FILE, stored_dtype
from jaxserve.models.converted import write_params
from jaxserve.models.hub import SHIPPED, resolve
from jaxserve.models.loading import load_model
from jaxserve.models.source import (
    is_gguf,
    open_weights,
    read_generation_config,
    read_raw_config,
)
from jaxserve.sharding.mesh import make_mesh
from jaxserve.text.gguf_tokenizer import GgufVocabulary

DESCRIPTIONS = ("*.json", "*.jinja", "*.model", "*.txt", "LICENSE*", "README*")


def convert(source: ModelSource, target: Path, *, log: TextIO = sys.stderr) -> None:
    """Write the model of `source` to the new folder `target`.

    dtype auto keeps the precision that is stored. Raises ConfigError and CheckpointError.
    """
    folder = resolve(source.model, revision=source.revision)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(f"{target} exists and is no empty folder; name a new one")
    dtype = stored_dtype(open_weights(folder))
    if source.dtype != "auto":
        dtype = jnp.dtype(source.dtype)
    print(f"converting {folder} to {target} in {dtype}", file=log, flush=True)
    model = load_model(
        folder,
        dtype=dtype,
        mesh=_host_mesh(),
        progress=log.isatty(),
        quantize=source.quantize,
    )
    target.mkdir(parents=True, exist_ok=True)
    _copy_descriptions(folder, target)
    write_params(
        target,
        model.params_by_path(),
        source=source.model or SHIPPED,
        quantizations=model.quantizations(),
    )
    print(f"done; `jaxserve serve {target}` restores it onto any mesh", file=log, flush=True)


def _host_mesh() -> Mesh:
    """Weights need not fit a device to be converted."""
    return make_mesh(tensor_parallel=1, devices=jax.devices("cpu"))


def _copy_descriptions(folder: Path, target: Path) -> None:
    if is_gguf(folder):
        _write_descriptions(folder, target)
        return
    for pattern in DESCRIPTIONS:
        for file in folder.rglob(pattern):
            copy = target / file.relative_to(folder)
            if file.is_file() and file.name != INDEX_FILE:
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)


def _write_descriptions(file: Path, target: Path) -> None:
    """What a GGUF file says of its model, as a folder says it."""
    vocabulary = GgufVocabulary(file)
    vocabulary.tokenizer().save_pretrained(target)
    ends = sorted(vocabulary.eos_ids())
    generation = {**read_generation_config(file), "eos_token_id": ends}
    for name, content in {
        "config.json": read_raw_config(file),
        "generation_config.json": generation,
    }.items():
        (target / name).write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))

"""In which of the forms that are read is a model stored, and where are its parts?

Hugging Face's folder of safetensors, a folder that `jaxserve convert` wrote, or a GGUF file.
Everything that asks for a model's config or weights asks here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jaxserve.errors import CheckpointError
from jaxserve.models import checkpoint, converted
from jaxserve.models.checkpoint import StoredTensor, read_json
from jaxserve.models.gguf import file as gguf_file
from jaxserve.models.gguf import model as gguf_model


def is_gguf(path: Path) -> bool:
    return path.suffix == gguf_file.SUFFIX


def config_origin(folder: Path) -> str:
    """What errors call the model's config."""
    return str(folder if is_gguf(folder) else folder / "config.json")


def read_raw_config(folder: Path) -> dict[str, Any]:
    """The model's config.json, or what it would be. Raises CheckpointError when there is none."""
    if is_gguf(folder):
        return gguf_model.read_config(gguf_file.open_gguf(folder))
    if not folder.is_dir():
        raise CheckpointError(f"there is no folder {folder}; check the path")
    if not (folder / "config.json").is_file():
        raise CheckpointError(
            f"{folder} has no config.json; give a folder in the Hugging Face format, as "
            "save_pretrained writes it, or the path of a GGUF file (those of a hub id are not "
            "downloaded)"
        )
    return read_json(folder / "config.json")


def read_generation_config(folder: Path) -> dict[str, Any]:
    """The model's generation_config.json, or what it would be; empty when there is none."""
    if is_gguf(folder):
        return gguf_model.read_generation_config(gguf_file.open_gguf(folder))
    path = folder / "generation_config.json"
    return read_json(path) if path.is_file() else {}


def open_weights(folder: Path) -> dict[str, StoredTensor]:
    """The tensors of a folder or file by the keys that transformers gives them.

    Raises CheckpointError when there are none, or they are incomplete or converted.
    """
    if is_gguf(folder):
        return gguf_model.stored_tensors(gguf_file.open_gguf(folder))
    if converted.is_converted(folder):
        raise CheckpointError(f"{folder} is converted already; serve it as it is")
    return checkpoint.open_checkpoint(folder)


def weight_files(folder: Path) -> list[Path]:
    """The files that hold numbers."""
    if is_gguf(folder):
        return gguf_file.parts_of(folder)
    if converted.is_converted(folder):
        return converted.weight_files(folder)
    return checkpoint.weight_files(folder)

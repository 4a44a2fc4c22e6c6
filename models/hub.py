"""Where on this machine is the model that the user named?

A folder is taken as it is, a hub id is looked up in the local cache and downloaded when it is not
there. A name that looks like a path is never sent to the hub.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import jaxserve.shipped
from jaxserve.errors import CheckpointError

SHIPPED = "tiny-chat"
GGUF = ".gguf"
WANTED_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")
_LATER_PART = re.compile(r"-(?!00001)\d{5}-of-\d{5}\.gguf$")
UNWANTED_FILES = ("consolidated*", "original/*", "onnx/*")  # the same weights in other formats


def resolve(model: str | None, *, revision: str | None) -> Path:
    """Where `model` is: a folder, a GGUF file, a hub id, or None for the model that ships.

    A folder that holds one model in GGUF and no safetensors stands for that file.

    HF_TOKEN, HF_HUB_OFFLINE and HF_HOME are honoured. Raises CheckpointError naming the way out.
    """
    if model is None:
        return _shipped()
    if not model:
        raise CheckpointError("the model's name is empty; give a folder or a hub id")
    path = Path(model).expanduser()
    if path.is_dir():
        return model_path(path)
    if path.suffix == GGUF and path.is_file():
        return path
    if path.exists():
        raise CheckpointError(f"{model} is a file; give the folder that holds it, or a GGUF file")
    if _looks_like_path(model):
        raise CheckpointError(
            f"there is no folder {model}; give an existing folder, or a hub id such as "
            "HuggingFaceTB/SmolLM2-135M-Instruct"
        )
    return _download(model, revision)


def model_path(folder: Path) -> Path:
    """`folder`, or the one model in GGUF that is all it holds.

    Raises CheckpointError when there are several.
    """
    files = sorted(folder.glob(f"*{GGUF}"))
    if not files or any(folder.glob("*.safetensors")):
        return folder
    firsts = [file for file in files if not _LATER_PART.search(file.name)]
    if len(firsts) != 1:
        raise CheckpointError(
            f"{folder} holds several models; give the path of one: "
            f"{', '.join(file.name for file in firsts)}"
        )
    return firsts[0]


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model that needs no download. `name` and `revision` are what `resolve` takes."""

    name: str
    revision: str
    folder: Path
    disk_bytes: int


def local_models() -> list[LocalModel]:
    """The model that ships, and every snapshot in the local hub cache, by name."""
    folder = _shipped()
    size = sum(file.stat().st_size for file in folder.iterdir())
    return [LocalModel(SHIPPED, "shipped", folder, size), *_cached_models()]


def _cached_models() -> list[LocalModel]:
    import huggingface_hub
    from huggingface_hub import constants

    if not Path(constants.HF_HUB_CACHE).is_dir():
        return []
    models = [
        LocalModel(
            repo.repo_id,
            _shown_revision(revision.refs, revision.commit_hash),
            revision.snapshot_path,
            revision.size_on_disk,
        )
        for repo in huggingface_hub.scan_cache_dir(constants.HF_HUB_CACHE).repos
        if repo.repo_type == "model"
        for revision in repo.revisions
    ]
    return sorted(models, key=lambda model: (model.name.lower(), model.revision))


def _shown_revision(refs: Collection[str], commit: str) -> str:
    return "main" if "main" in refs else min(refs, default=commit)


def _shipped() -> Path:
    folder = Path(jaxserve.shipped.__path__[0]) / SHIPPED
    if not folder.is_dir():
        raise CheckpointError(f"the shipped model is not installed: there is no folder {folder}")
    return folder


def _looks_like_path(model: str) -> bool:
    """Whether `model` is no hub id (`name` or `owner/name`), or its owner is a folder here."""
    if model.startswith((".", "~", os.sep)) or os.sep * 2 in model or model.endswith(os.sep):
        return True
    owner, *names = model.split(os.sep)
    return len(names) > 1 or (len(names) == 1 and Path(owner).is_dir())


def _download(model: str, revision: str | None) -> Path:
    # Imported here: a local folder, the common case, needs none of it.
    import huggingface_hub

    try:
        folder = huggingface_hub.snapshot_download(
            model,
            revision=revision,
            allow_patterns=list(WANTED_FILES),
            ignore_patterns=list(UNWANTED_FILES),
        )
    except Exception as error:  # its own errors, and those of whichever HTTP client it is built on
        raise CheckpointError(_way_out(model, revision, error)) from error
    return model_path(Path(folder))


def _way_out(model: str, revision: str | None, error: Exception) -> str:
    from huggingface_hub import constants, errors

    match error:
        case errors.HFValidationError():
            return f"{model!r} is neither a folder nor a hub id: {error}"
        case errors.LocalEntryNotFoundError() if constants.HF_HUB_OFFLINE:
            return (
                f"{model} is not complete in the local cache {constants.HF_HUB_CACHE}, and "
                "HF_HUB_OFFLINE forbids to download it; unset it, or give a folder"
            )
        case errors.GatedRepoError():
            return (
                f"{model} is gated: ask for access on its page, then set HF_TOKEN to a token of "
                "that account"
            )
        case errors.RevisionNotFoundError():
            return f"{model} has no revision {revision}; give a branch, tag or commit of it"
        case errors.RepositoryNotFoundError():
            return (
                f"the hub knows no model {model}, or it is private; check the spelling, and set "
                "HF_TOKEN if it is private"
            )
    return (
        f"{model} could not be downloaded ({type(error).__name__}: {error}); check the network, "
        "or give a folder"
    )

"""What is told of the model that is served: names, sizes, revision, and what answers depend on."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Literal, Protocol

import jax

from jaxserve.config import ModelSource
from jaxserve.models.content import content_digest
from jaxserve.models.source import is_gguf, read_raw_config, weight_files
from jaxserve.server.models import ModelDetails, ModelInfo
from jaxserve.startup import dtype_of
from jaxserve.text.tokenizer import FolderTokenizer
from jaxserve.version import __version__


class Built(Protocol):
    """What is told of a model, whatever it is for."""

    @property
    def task(self) -> Literal["generate", "embed", "classify"]: ...
    @property
    def tokenizer(self) -> FolderTokenizer: ...
    @property
    def folder(self) -> Path: ...
    @property
    def max_model_len(self) -> int: ...
    @property
    def compiled_for(self) -> object:
        """Whatever answers depend on beside the weights."""
        ...

    @property
    def num_params(self) -> int: ...


def model_info(source: ModelSource, built: Built) -> ModelInfo:
    is_hub_id = source.model is not None and not Path(source.model).expanduser().exists()
    own = source.model if is_hub_id and source.model else _own_name(built.folder)
    names = source.served_model_name or (own,)
    return ModelInfo(
        names=names,
        root=own,
        created=int(time.time()),
        max_model_len=built.max_model_len,
        task=built.task,
        fingerprint=_fingerprint(source, built),
        also=(own, own.rpartition("/")[2]),
        details=_model_details(source, built),
    )


def _own_name(folder: Path) -> str:
    return folder.stem if is_gguf(folder) else folder.resolve().name


def _model_details(source: ModelSource, built: Built) -> ModelDetails:
    device = jax.devices()[0]
    in_hub_cache = built.folder.resolve().parent.name == "snapshots"
    return ModelDetails(
        device=device.platform,
        dtype=str(dtype_of(source, device)),
        family=str(read_raw_config(built.folder).get("model_type", "")),
        num_params=built.num_params,
        size_bytes=sum(file.stat().st_size for file in weight_files(built.folder)),
        revision=built.folder.resolve().name if in_hub_cache else None,
        template=built.tokenizer.chat_template,
    )


def _fingerprint(source: ModelSource, built: Built) -> str:
    """Names what an answer depends on: our version, the weights, the settings and sizes."""
    content = content_digest(weight_files(built.folder))
    device = jax.devices()[0]
    kinds = (source.dtype, source.quantize, source.load_format, device.platform, device.device_kind)
    facts = (__version__, jax.__version__, content, built.compiled_for, kinds)
    return "fp_" + hashlib.sha256(repr(facts).encode()).hexdigest()[:12]

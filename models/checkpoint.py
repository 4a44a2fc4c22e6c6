"""What is stored in a model folder?

Opens the safetensors files of a Hugging Face folder, one or many, and describes the tensors in
them; numbers are read slice by slice, later. Knows no model.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes  # also teaches numpy the name bfloat16, which safetensors asks it for
import numpy as np
from safetensors import SafetensorError, safe_open

from jaxserve.errors import CheckpointError
from jaxserve.models.readahead import Span

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth")
FLOAT_TYPES = ("F64", "F32", "F16", "BF16")
_BYTE_FLOATS = {
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E8M0": np.dtype(ml_dtypes.float8_e8m0fnu),
}


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor in an open file."""

    file: Path
    shape: tuple[int, ...]
    type_name: str  # as safetensors spells it: F32, BF16, ...
    handle: Any  # the open file's slice, indexed like an array
    spans: tuple[Span, ...] = ()  # where its bytes are, as far as is known

    def read(self, index: tuple[slice, ...] | slice) -> np.ndarray:
        """A copy of the numbers at `index`, in the stored type; nothing else is read."""
        return np.asarray(self.handle[index])


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises CheckpointError when it cannot be read or is none."""
    value = _parsed(path)
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds {type(value).__name__}, not a JSON object")
    return value


def read_json_list(path: Path) -> list[dict[str, Any]]:
    """The list of objects in a JSON file. Raises CheckpointError as `read_json` does."""
    value = _parsed(path)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise CheckpointError(f"{path} holds no list of JSON objects")
    return value


def _parsed(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}; download it again") from None


def open_checkpoint(folder: Path) -> dict[str, StoredTensor]:
    """The tensors of `folder` by key.

    `model.safetensors` goes before an index, as in transformers. Raises CheckpointError when there
    is neither, or when a file is missing, cut short or no safetensors file.
    """
    if (folder / SINGLE_FILE).is_file():
        return open_file(folder / SINGLE_FILE)
    if not (folder / INDEX_FILE).is_file():
        raise CheckpointError(_no_weights(folder))
    stored: dict[str, StoredTensor] = {}
    for file in _indexed_files(folder):
        for key, tensor in open_file(file).items():
            if key in stored:
                raise CheckpointError(f"{key} is both in {stored[key].file} and in {file}")
            stored[key] = tensor
    return stored


def weight_files(folder: Path) -> list[Path]:
    """The files of `folder` that hold weights."""
    return sorted(folder.glob("*.safetensors"))


def _indexed_files(folder: Path) -> list[Path]:
    index = folder / INDEX_FILE
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, Mapping) or not weight_map:
        raise CheckpointError(f"{index} has no weight_map from keys to files; download it again")
    names = {str(name) for name in weight_map.values()}
    astray = sorted(name for name in names if Path(name).name != name)
    if astray:
        raise CheckpointError(f"{index} names a file outside of its folder: {astray[0]}")
    missing = sorted(name for name in names if not (folder / name).is_file())
    if missing:
        raise CheckpointError(
            f"{index} names {len(names)} files, of which {len(missing)} are not there: "
            f"{shortened(missing)}; download the model again"
        )
    return [folder / name for name in sorted(names)]


def open_file(path: Path) -> dict[str, StoredTensor]:
    try:
        file: Any = safe_open(path, framework="numpy")
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error}") from None
    except SafetensorError as error:
        raise CheckpointError(
            f"{path} is cut short or is no safetensors file ({error}); download it again"
        ) from None
    slices = {key: file.get_slice(key) for key in file.keys()}
    spans = _spans(path)
    return {
        key: StoredTensor(
            path,
            tuple(part.get_shape()),
            part.get_dtype(),
            _Mapped(spans[key], part) if part.get_dtype() in _BYTE_FLOATS else part,
            (spans[key],),
        )
        for key, part in slices.items()
    }


def _spans(path: Path) -> dict[str, Span]:
    """Where in a safetensors file each tensor is."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    return {
        key: Span(path, 8 + length + start, stop - start)
        for key, entry in header.items()
        for start, stop in [entry["data_offsets"]]
    }


@dataclass(frozen=True, slots=True)
class _Mapped:
    """Floats of eight bits, which safetensors does not hand to NumPy."""

    span: Span
    part: Any  # what safetensors says of it

    def __getitem__(self, index: Any) -> np.ndarray:
        shape, dtype = tuple(self.part.get_shape()), _BYTE_FLOATS[self.part.get_dtype()]
        file, offset = self.span.file, self.span.start
        mapped = np.memmap(file, dtype, mode="r", offset=offset, shape=shape)
        return np.array(mapped[index])


def _no_weights(folder: Path) -> str:
    message = f"{folder} has neither {SINGLE_FILE} nor {INDEX_FILE}"
    pickles = sorted(file.name for pattern in PICKLES for file in folder.glob(pattern))
    if not pickles:
        return f"{message}; download the weights"
    return (
        f"{message}, only {shortened(pickles)}. Pickles can run code and are never read. Convert "
        "them where torch and transformers are installed, if you trust them:\n"
        f"python -c {shlex.quote(_conversion(folder, pickles))}"
    )


def _conversion(folder: Path, pickles: list[str]) -> str:
    """Python that makes safetensors, in the precision that is stored."""
    if any(name.endswith(".bin") for name in pickles):
        return (
            f"from transformers import {_model_class(folder)} as M, AutoTokenizer as T; "
            f"source, target = {str(folder)!r}, {f'{folder}-safetensors'!r}; "
            "M.from_pretrained(source, dtype='auto').save_pretrained(target); "
            "T.from_pretrained(source).save_pretrained(target)"
        )
    return (
        "import torch; from safetensors.torch import save_file; "
        f"state = torch.load({str(folder / pickles[0])!r}, weights_only=True, map_location='cpu'); "
        "save_file({key: tensor.clone().contiguous() for key, tensor in state.items()}, "
        f"{str(folder / SINGLE_FILE)!r})"
    )


def _model_class(folder: Path) -> str:
    """The class that config.json names: another would leave out a head, or make one up."""
    raw = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    match raw.get("architectures"):
        case [str(architecture)] if architecture.isidentifier():
            return architecture
    return "AutoModelForCausalLM"


def stored_dtype(stored: Mapping[str, StoredTensor]) -> np.dtype:
    """The smallest type that holds every float in `stored` exactly; float32 at most."""
    floats = {tensor.type_name for tensor in stored.values()} & set(FLOAT_TYPES)
    exact = {frozenset({"BF16"}): "bfloat16", frozenset({"F16"}): "float16"}
    return np.dtype(exact.get(frozenset(floats), "float32"))


def shortened(names: list[str], limit: int = 8) -> str:
    """The first `limit` of `names`, and how many more there are."""
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" ... and {rest} more" if rest > 0 else "")

"""What is in a GGUF file: which metadata, which tensors, and where?

Reads the header; numbers are read later, slice by slice (`tensors.py`). The format is that of
github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3, little-endian. The gguf
library knows its types and sizes; its reader is not used, as it makes several arrays of every token
and takes ten seconds for the vocabulary of Llama 3. Knows no architecture.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFValueType

from jaxserve.errors import CheckpointError, UnsupportedModel

SUFFIX = ".gguf"
VERSIONS = (2, 3)
_MAGIC = b"GGUF"
_DEFAULT_ALIGNMENT = 32
_PART = re.compile(r"(?P<name>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")

_SCALARS = {
    GGUFValueType.UINT8: "<B",
    GGUFValueType.INT8: "<b",
    GGUFValueType.UINT16: "<H",
    GGUFValueType.INT16: "<h",
    GGUFValueType.UINT32: "<I",
    GGUFValueType.INT32: "<i",
    GGUFValueType.FLOAT32: "<f",
    GGUFValueType.BOOL: "<?",
    GGUFValueType.UINT64: "<Q",
    GGUFValueType.INT64: "<q",
    GGUFValueType.FLOAT64: "<d",
}


@dataclass(frozen=True, slots=True)
class RawTensor:
    """A tensor as it is stored: `rows` are u8[..., bytes of a row], mapped from the file."""

    file: Path
    type: GGMLQuantizationType
    shape: tuple[int, ...]  # numbers, the last dimension being that of a row
    rows: np.ndarray
    start: int = 0  # bytes before it in the file


@dataclass(frozen=True, slots=True)
class GgufFile:
    """The header of a file, and of those that it was split into."""

    path: Path
    metadata: Mapping[str, Any]
    tensors: Mapping[str, RawTensor]


def open_gguf(path: Path) -> GgufFile:
    """The header of `path`, which may be the first of several parts.

    Raises CheckpointError when a file is missing, cut short or no GGUF file.
    """
    first, *others = (_open_one(part) for part in parts_of(path))
    tensors = dict(first.tensors)
    for other in others:
        for name, tensor in other.tensors.items():
            if name in tensors:
                raise CheckpointError(f"{name} is both in {tensors[name].file} and {other.path}")
            tensors[name] = tensor
    return GgufFile(first.path, first.metadata, tensors)


def parts_of(path: Path) -> list[Path]:
    """All files of the model that `path` is the file, or one part, of."""
    match = _PART.fullmatch(path.name)
    if match is None:
        return [path]
    count = match["count"]
    parts = [
        path.with_name(f"{match['name']}-{number:05}-of-{count}{SUFFIX}")
        for number in range(1, int(count) + 1)
    ]
    missing = [part.name for part in parts if not part.is_file()]
    if missing:
        raise CheckpointError(f"{path} is one of {int(count)} files; missing: {', '.join(missing)}")
    return parts


def _open_one(path: Path) -> GgufFile:
    try:
        with path.open("rb") as file:
            buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from None
    except ValueError:  # nothing can be mapped of an empty file
        raise CheckpointError(f"{path} is empty; download it again") from None
    cursor = _Cursor(path, buffer)
    try:
        return _read_header(cursor)
    except (struct.error, IndexError, ValueError) as error:
        raise CheckpointError(
            f"{path} is cut short or broken ({error}); download it again"
        ) from None


def _read_header(cursor: _Cursor) -> GgufFile:
    if cursor.take(4) != _MAGIC:
        raise CheckpointError(f"{cursor.path} is no GGUF file; download it again")
    version = cursor.number("<I")
    if version not in VERSIONS:
        raise UnsupportedModel(
            f"{cursor.path} is GGUF version {version} or big-endian; read are versions "
            f"{' and '.join(map(str, VERSIONS))} in little-endian: convert the model again"
        )
    num_tensors, num_values = cursor.number("<Q"), cursor.number("<Q")
    metadata = {cursor.text(): cursor.value() for _ in range(num_values)}
    entries = [cursor.tensor_entry() for _ in range(num_tensors)]
    alignment = int(metadata.get("general.alignment", _DEFAULT_ALIGNMENT))
    start = -(-cursor.at // alignment) * alignment
    tensors = {name: cursor.tensor(start + at, kind, shape) for name, kind, shape, at in entries}
    return GgufFile(cursor.path, metadata, tensors)


class _Cursor:
    """A place in a mapped file that moves on as values are read."""

    def __init__(self, path: Path, buffer: mmap.mmap):
        self.path = path
        self.at = 0
        self._buffer = buffer

    def take(self, count: int) -> bytes:
        if self.at + count > len(self._buffer):
            raise IndexError(f"{count} bytes at {self.at} of {len(self._buffer)}")
        taken = self._buffer[self.at : self.at + count]
        self.at += count
        return taken

    def number(self, layout: str) -> Any:
        (number,) = struct.unpack_from(layout, self._buffer, self.at)
        self.at += struct.calcsize(layout)
        return number

    def text(self) -> str:
        return self.take(self.number("<Q")).decode()

    def value(self) -> Any:
        """The next metadata value; arrays of numbers are NumPy's, those of strings are lists."""
        return self._of_kind(GGUFValueType(self.number("<I")))

    def _of_kind(self, kind: GGUFValueType) -> Any:
        if kind == GGUFValueType.STRING:
            return self.text()
        if kind == GGUFValueType.FLOAT32:  # the decimal that was meant: 1e-06, not 9.99...e-07
            return float(str(np.float32(self.number(_SCALARS[kind]))))
        if kind != GGUFValueType.ARRAY:
            return self.number(_SCALARS[kind])
        kind, count = GGUFValueType(self.number("<I")), self.number("<Q")
        if kind in _SCALARS:
            dtype = np.dtype(_SCALARS[kind])
            return np.frombuffer(self.take(count * dtype.itemsize), dtype)
        return [self._of_kind(kind) for _ in range(count)]

    def tensor_entry(self) -> tuple[str, GGMLQuantizationType, tuple[int, ...], int]:
        """Name, type, shape with rows last, and offset from where tensors begin."""
        name = self.text()
        shape = tuple(self.number("<Q") for _ in range(self.number("<I")))[::-1]
        return name, GGMLQuantizationType(self.number("<I")), shape, self.number("<Q")

    def tensor(self, start: int, kind: GGMLQuantizationType, shape: tuple[int, ...]) -> RawTensor:
        block_size, block_bytes = GGML_QUANT_SIZES[kind]
        if shape[-1] % block_size:
            raise ValueError(f"rows of {shape[-1]} numbers in blocks of {block_size}")
        row_bytes = shape[-1] // block_size * block_bytes
        stored = (*shape[:-1], row_bytes)
        count = int(np.prod(stored))
        if start + count > len(self._buffer):
            raise IndexError(f"{count} bytes at {start} of {len(self._buffer)}")
        rows = np.frombuffer(self._buffer, np.uint8, count, start).reshape(stored)
        return RawTensor(self.path, kind, shape, rows, start)

"""Do two sets of weights' files hold the same? Names their content without reading all of it.

What stands first in a file says what tensors are in it; samples of the rest differ between any two
trainings, which change nearly every number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

_HEAD_BYTES = 1 << 20  # holds the header of a safetensors or GGUF file, or most of it
_SAMPLE_BYTES = 4096
_NUM_SAMPLES = 512  # of all files together, so that a large model takes as long as a small one


def content_digest(files: Sequence[Path]) -> str:
    """A digest of the files' names, sizes, heads and of samples spread evenly over each."""
    digest = hashlib.sha256()
    per_file = max(_NUM_SAMPLES // max(len(files), 1), 2)
    for path in sorted(files):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            digest.update(file.read(_HEAD_BYTES))
            for place in _places(size, per_file):
                file.seek(place)
                digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()


def _places(size: int, count: int) -> list[int]:
    """Where samples of what comes after the head begin; the last one ends with the file."""
    first, last = _HEAD_BYTES, size - _SAMPLE_BYTES
    if last <= first:
        return [first] if size > first else []
    return [first + (last - first) * index // (count - 1) for index in range(count)]

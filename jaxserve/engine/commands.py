"""What may a runner have its devices do? Few commands of plain arrays, and their form as bytes.

Hosts that run one model together carry out the same commands in the same order: the first host
tells the others every one. Whatever a runner does to the state on the devices after its warm-up is
one of these. Knows no sockets.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.int32]


class RunStep(NamedTuple):
    """Run the program of a bucket, by its place among all, on a packed step."""

    bucket: int
    words: Words


class ScorePrompts(NamedTuple):
    """Score what the step just run handed out, which was of this bucket."""

    bucket: int
    targets: Words


class WriteSlot(NamedTuple):
    """Write what a slot keeps for its request."""

    slot: int
    words: Words  # [4, vocab_size]


class WriteMasks(NamedTuple):
    """Write masks of slots, a row for each and its slot before it."""

    words: Words


class PlaceAdapters(NamedTuple):
    """Replace all adapters by these, by their place: (down, up) of the layers each changes."""

    adapters: Mapping[int, Mapping[str, tuple[np.ndarray, np.ndarray]]]


Command = RunStep | ScorePrompts | WriteSlot | WriteMasks | PlaceAdapters
KINDS: tuple[type[Command], ...] = (RunStep, ScorePrompts, WriteSlot, WriteMasks, PlaceAdapters)

_HEADER = struct.Struct("<II")  # the command's kind and its number; words after it are aligned


def encode(command: Command) -> bytes:
    """A command as bytes."""
    kind = KINDS.index(type(command))
    match command:
        case PlaceAdapters(adapters):
            return _HEADER.pack(kind, 0) + _adapters_as_bytes(adapters)
        case WriteMasks(words):
            return _HEADER.pack(kind, len(words)) + words.tobytes()
        case RunStep(number, words) | ScorePrompts(number, words) | WriteSlot(number, words):
            return _HEADER.pack(kind, number) + words.tobytes()


def decode(message: bytes) -> Command:
    """The command that `encode` made these bytes of."""
    kind, number = _HEADER.unpack_from(message)
    of = KINDS[kind]
    if of is PlaceAdapters:
        return PlaceAdapters(_adapters_from_bytes(message[_HEADER.size :]))
    words = np.frombuffer(message, np.int32, offset=_HEADER.size)
    if of is WriteMasks:
        return WriteMasks(words.reshape(number, -1))
    if of is WriteSlot:
        return WriteSlot(number, words.reshape(4, -1))
    return RunStep(number, words) if of is RunStep else ScorePrompts(number, words)


def _adapters_as_bytes(
    adapters: Mapping[int, Mapping[str, tuple[np.ndarray, np.ndarray]]],
) -> bytes:
    arrays: dict[str, Any] = {f"{place}/empty": np.zeros(0) for place in adapters}
    for place, weights in adapters.items():
        for path, (down, up) in weights.items():
            arrays[f"{place}/down/{path}"], arrays[f"{place}/up/{path}"] = down, up
    packed = io.BytesIO()
    np.savez(packed, allow_pickle=False, **arrays)
    return packed.getvalue()


def _adapters_from_bytes(packed: bytes) -> dict[int, dict[str, tuple[np.ndarray, np.ndarray]]]:
    adapters: dict[int, dict[str, tuple[np.ndarray, np.ndarray]]] = {}
    with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
        for name in arrays.files:
            place, part, *path = name.split("/", 2)
            weights = adapters.setdefault(int(place), {})
            if part == "down":
                weights[path[0]] = arrays[name], arrays[f"{place}/up/{path[0]}"]
    return adapters

"""How do stored tensors become the sharded parameters of a decoder?

A family's table says which stored module holds which of ours. Each device's slice is read and
cast by itself, one parameter at a time (`placing.py`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding
from tqdm import tqdm

from jaxserve.errors import CheckpointError
from jaxserve.models.checkpoint import FLOAT_TYPES, StoredTensor, shortened
from jaxserve.models.config import DecoderConfig
from jaxserve.models.families.family import Family
from jaxserve.models.making import Make, made_in_blocks, maker
from jaxserve.models.placing import place
from jaxserve.models.quantization import PART, PARTS, TYPE_NAMES, part_key
from jaxserve.models.readahead import ReadAhead, Span
from jaxserve.models.stored import Layout, Piece, Stack, one, piece
from jaxserve.sharding.axes import EXPERTS
from jaxserve.sharding.rules import refuse_uneven, sharding

OUTPUT = "lm_head"
EMBEDDING = "embed_tokens"
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")
_ROWS_COMPARED = 1024
_LOADERS = 2  # at once; each may gather `placing.GATHERED_BYTES` on the host
_FLOATS = tuple(map(jnp.dtype, ("float64", "float32", "float16", "bfloat16")))


@dataclass(frozen=True, slots=True)
class Target:
    """A parameter to be made: the keys it is stored under and where in them, and where it goes."""

    keys: tuple[str, ...]  # several where experts are stored each by itself
    piece: Piece | Stack
    shape: tuple[int, ...]
    dtype: jnp.dtype
    sharding: NamedSharding
    make: Make | None = None  # makes it of whole rows of floats, where those are stored

    @property
    def type_names(self) -> Collection[str]:
        """The types that it can be read from."""
        is_float = self.make is not None or self.dtype in _FLOATS
        return FLOAT_TYPES if is_float else (TYPE_NAMES[self.dtype],)

    def read(self, stored: Mapping[str, StoredTensor], index: tuple[slice, ...]) -> np.ndarray:
        """The numbers at `index`, as they are stored or made of what is stored."""
        if self.make is None:
            return self._read(stored, index)
        return made_in_blocks(lambda rows: self._read(stored, rows), self.make, index)

    def _read(self, stored: Mapping[str, StoredTensor], index: tuple[slice, ...]) -> np.ndarray:
        if isinstance(self.piece, Stack):
            return self.piece.read([stored[key] for key in self.keys], index)
        return self.piece.read(stored[self.keys[0]], index)


def targets(
    abstract: nnx.State, family: Family, mesh: Mesh, *, stored: Collection[str]
) -> list[Target]:
    """What to load for an abstract decoder, in the order of its leaves.

    `stored` are the checkpoint's keys. Raises ConfigError when the mesh does not divide the model.
    """
    params = {_name(path): param for path, param in nnx.to_flat_state(abstract)}
    dimensions = (zip(p.axes, p.parts, strict=True) for p in params.values())
    refuse_uneven((pair for pairs in dimensions for pair in pairs), mesh)
    rows = _rows(family)
    return [_target(path, params, _row(_whole(path), rows, stored), mesh) for path in params]


def key_of(path: str, family: Family, stored: Collection[str]) -> str:
    """Where the parameter at `path` is stored, or the first expert's part of it."""
    return _row(path, _rows(family), stored).keys(path, 1)[0]


def _name(path: Sequence[Any]) -> str:
    """`path` with dots; the part of a quantised weight comes after a colon: `weight:scales`."""
    *outer, last = map(str, path)
    return ".".join(outer) + (PART if last in PARTS else ".") + last


def _whole(path: str) -> str:
    return path.partition(PART)[0]


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of a family's table."""

    stored: str
    layout: Layout

    def keys(self, path: str, num_experts: int) -> tuple[str, ...]:
        """Where the parameter at `path` is stored."""
        leaf = path.rpartition(".")[2]
        name = self.stored if self.layout.is_tensor else f"{self.stored}.{leaf}"
        if not self.is_by_expert(path):
            return (_numbered(name, path),)
        return tuple(_numbered(name, path, expert) for expert in range(num_experts))

    def is_by_expert(self, path: str) -> bool:
        """Whether each expert is stored by itself."""
        return self.stored.count("*") > len(_NUMBER.findall(path))

    def paths(self, path: str) -> list[str]:
        """The parameters that are stored together with the one at `path`, itself included."""
        leaf = "" if self.layout.is_tensor else "." + path.rpartition(".")[2]
        return [_numbered(other, path) + leaf for other in self.layout.paths]


def _rows(family: Family) -> dict[str, list[_Row]]:
    """The rows that lead to each of our modules."""
    rows: dict[str, list[_Row]] = {}
    for stored, held in family.modules.items():
        row = _Row(stored, one(held) if isinstance(held, str) else held)
        for path in row.layout.paths:
            rows.setdefault(path, []).append(row)
    return rows


def _row(path: str, rows: Mapping[str, list[_Row]], stored: Collection[str]) -> _Row:
    pattern = _NUMBER.sub("*", path)
    module = pattern.rpartition(".")[0]
    candidates = [*rows.get(pattern, ()), *rows.get(module, ())]
    assert candidates, f"no row in the family's table for {path}"
    return next((row for row in candidates if _is_stored(row, path, stored)), candidates[0])


def _is_stored(row: _Row, path: str, stored: Collection[str]) -> bool:
    key = row.keys(path, 1)[0]
    return key in stored or part_key(key, "values") in stored


def _target(path: str, params: Mapping[str, Any], row: _Row, mesh: Mesh) -> Target:
    own, (whole, _, part) = params[path], path.partition(PART)
    paths = row.paths(whole)
    held = [params[f"{other}{PART}{part}" if part else other] for other in paths]
    is_stacked = own.axes[0] == EXPERTS
    num_experts = own.get_value().shape[0] if is_stacked else 1
    first = 1 if is_stacked else 0
    shapes = [_stored_shape(param)[first:] for param in held]
    where = piece(row.layout, paths.index(whole), shapes, [param.parts[first] for param in held])
    keys = row.keys(whole, num_experts)
    return Target(
        keys=tuple(part_key(key, part) for key in keys) if part and own.made is None else keys,
        piece=Stack(where, num_experts, not row.is_by_expert(whole)) if is_stacked else where,
        shape=own.get_value().shape,
        dtype=own.get_value().dtype,
        sharding=sharding(own.axes, own.parts, mesh),
        make=None if own.made is None else maker(own.made, part),
    )


def _stored_shape(param: Any) -> tuple[int, ...]:
    """Of the numbers that a parameter is read from, laid out as it is."""
    return param.get_value().shape if param.made is None else param.made.shape


def _numbered(pattern: str, path: str, expert: int | None = None) -> str:
    """`pattern` with the numbers of `path` for its stars, and after them the expert's."""
    numbers = iter([*_NUMBER.findall(path), str(expert)])
    return re.sub(r"\*", lambda _: next(numbers), pattern)


def with_prefix(stored: Mapping[str, StoredTensor], prefix: str) -> Mapping[str, StoredTensor]:
    """`stored` with `prefix` before its keys, where a model was saved without its output."""
    if not prefix or any(key.startswith(prefix) for key in stored):
        return stored
    return {f"{prefix}{key}": tensor for key, tensor in stored.items()}


def without_parts(
    stored: Mapping[str, StoredTensor], parts: tuple[str, ...]
) -> Mapping[str, StoredTensor]:
    """`stored` without the keys that begin as one of `parts` does."""
    return {key: tensor for key, tensor in stored.items() if not key.startswith(parts)}


def without_extra_layers(
    stored: Mapping[str, StoredTensor], prefix: str, *, num_layers: int
) -> Mapping[str, StoredTensor]:
    """`stored` without the layers past the last, where `prefix` begins the keys of layers."""
    if not prefix:
        return stored

    def is_extra(key: str) -> bool:
        number = key.removeprefix(prefix).partition(".")[0]
        return key.startswith(prefix) and number.isdecimal() and int(number) >= num_layers

    return {key: tensor for key, tensor in stored.items() if not is_extra(key)}


def refuse_misfit(
    wanted: Iterable[Target],
    stored: Mapping[str, StoredTensor],
    *,
    ignored: Collection[str],
    origin: str,
) -> None:
    """Raise one CheckpointError naming every missing, unused, mis-shaped and unreadable key.

    `ignored` are keys that may be stored for nothing; `origin` names the checkpoint in the error.
    """
    by_key = {key: target for target in wanted for key in target.keys}
    both = [(key, by_key[key].piece, stored[key]) for key in by_key if key in stored]
    complaints = {
        "missing": [key for key in by_key if key not in stored],
        "unused": [
            key for key in stored if key not in by_key and _NUMBER.sub("*", key) not in ignored
        ],
        "of the wrong shape": [
            f"{key} (stored {list(tensor.shape)}, by the config {list(where.stored_shape)})"
            for key, where, tensor in both
            if tensor.shape != where.stored_shape
        ],
        "of a type that is not read": [
            f"{key} ({tensor.type_name})"
            for key, _, tensor in both
            if tensor.type_name not in by_key[key].type_names
        ],
    }
    found = [f"{len(keys)} {what}: {shortened(keys)}" for what, keys in complaints.items() if keys]
    if found:
        lines = "\n  ".join(found)
        raise CheckpointError(
            f"{origin}: the weights do not fit config.json:\n  {lines}\n"
            "Check that both come from the same model and that no file is missing"
        )


def ignored_keys(family: Family, config: DecoderConfig) -> set[str]:
    """Keys that may be stored though nothing is made of them; `*` stands for a number."""
    tied = {_key(family, OUTPUT)} if config.tied_embeddings else set()
    return {*family.ignored_keys, *tied}


def refuse_untied(family: Family, stored: Mapping[str, StoredTensor]) -> None:
    """Raise CheckpointError when a tied output projection is stored with numbers of its own.

    Many tied checkpoints hold a copy of the embedding under the output's key. A copy is not
    needed; anything else contradicts the config, and transformers would use it.
    """
    output, embedding = _key(family, OUTPUT), _key(family, EMBEDDING)
    if output in stored and embedding in stored and not _equal(stored[output], stored[embedding]):
        raise CheckpointError(
            f"config.json says tie_word_embeddings, but {output} is stored in "
            f"{stored[output].file} and differs from {embedding}; set tie_word_embeddings to "
            "false to use it, or remove it"
        )


def _key(family: Family, module: str) -> str:
    return f"{_rows(family)[module][0].stored}.weight"


def _equal(one: StoredTensor, other: StoredTensor) -> bool:
    if (one.shape, one.type_name) != (other.shape, other.type_name):
        return False
    num_rows = one.shape[0]
    starts = range(0, num_rows, _ROWS_COMPARED)
    rows = (slice(start, min(start + _ROWS_COMPARED, num_rows)) for start in starts)
    return all(np.array_equal(one.read(some), other.read(some)) for some in rows)


def load_params(
    wanted: list[Target], stored: Mapping[str, StoredTensor], *, progress: bool
) -> tuple[jax.Array, ...]:
    """Read, cast and place every target; `progress` draws a bar on stderr."""
    sizes = [target.dtype.itemsize * int(np.prod(target.shape)) for target in wanted]
    bar = tqdm(
        total=sum(sizes), desc="loading weights", unit="B", unit_scale=True, disable=not progress
    )
    ahead = ReadAhead([_spans(target, stored) for target in wanted])

    def load(number: int) -> jax.Array:
        ahead.begin(number)
        target = wanted[number]
        read = partial(target.read, stored)
        array = place(target.shape, target.dtype, target.sharding, read)
        bar.update(sizes[number])
        return array

    with bar, ahead, ThreadPoolExecutor(_LOADERS) as loaders:
        return tuple(loaders.map(load, range(len(wanted))))


def _spans(target: Target, stored: Mapping[str, StoredTensor]) -> list[Span]:
    """What to read ahead for a target: nothing where other hosts hold parts of it."""
    if not target.sharding.is_fully_addressable:
        return []
    return [span for key in target.keys for span in stored[key].spans]

"""Over which mesh axis is each logical axis split?

One table answers for weights and for KV pages alike. A dimension is counted in parts that must
stay whole: 32 heads of 128 are 32 parts, not 4096 numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxserve.errors import ConfigError
from jaxserve.sharding import axes as ax


@dataclass(frozen=True, slots=True)
class Rule:
    """Where a logical axis goes, and what happens when the mesh axis does not divide it."""

    mesh_axis: str | None
    uneven: Literal["replicate", "refuse"] = "replicate"


RULES = {
    ax.BATCH: Rule(ax.DATA),
    ax.EMBED: Rule(None),
    ax.Q_HEADS: Rule(ax.TENSOR, uneven="refuse"),
    ax.KV_HEADS: Rule(ax.TENSOR),
    ax.HEAD_DIM: Rule(None),
    ax.LATENT: Rule(None),
    ax.MLP: Rule(ax.TENSOR, uneven="refuse"),
    ax.CHANNELS: Rule(ax.TENSOR, uneven="refuse"),
    ax.STATE_HEADS: Rule(ax.TENSOR, uneven="refuse"),
    ax.VOCAB: Rule(ax.TENSOR),
    ax.EXPERTS: Rule(ax.EXPERT, uneven="refuse"),
    ax.PAGES: Rule(None),
    ax.SLOTS: Rule(None),
    ax.GROUPS: Rule(ax.TENSOR),
}


def spec(axes: ax.LogicalAxes, parts: Sequence[int], mesh: Mesh) -> PartitionSpec:
    """The partition spec of an array whose dimension i is `parts[i]` parts of `axes[i]`.

    For most arrays `parts` is the shape. Raises ConfigError for an axis that has to be split and
    does not divide.
    """
    assert len(axes) == len(parts), f"{axes} does not name the dimensions of {tuple(parts)}"
    refuse_uneven(zip(axes, parts, strict=True), mesh)
    return PartitionSpec(
        *(_mesh_axis(axis, count, mesh) for axis, count in zip(axes, parts, strict=True))
    )


def sharding(axes: ax.LogicalAxes, parts: Sequence[int], mesh: Mesh) -> NamedSharding:
    """`spec` on its mesh."""
    return NamedSharding(mesh, spec(axes, parts, mesh))


def refuse_uneven(dimensions: Iterable[tuple[str | None, int]], mesh: Mesh) -> None:
    """Raise ConfigError when the mesh does not divide one of the (logical axis, parts) given.

    Called with all dimensions of a model it names the sizes of the mesh axis that fit them all.
    """
    strict: dict[str, set[tuple[str, int]]] = {}
    for axis, count in dimensions:
        rule = RULES[axis] if axis else Rule(None)
        if axis and rule.mesh_axis and rule.uneven == "refuse":
            strict.setdefault(rule.mesh_axis, set()).add((axis, count))
    for mesh_axis, counts in strict.items():
        devices = mesh.shape[mesh_axis]
        uneven = [f"{axis} = {count}" for axis, count in sorted(counts) if count % devices]
        if uneven:
            fitting = math.gcd(*(count for _, count in counts))
            raise ConfigError(
                f"{mesh_axis}_parallel = {devices} does not divide {' and '.join(uneven)} of this "
                f"model; it can be {_divisors(fitting)}"
            )


def _mesh_axis(axis: str | None, count: int, mesh: Mesh) -> str | None:
    mesh_axis = RULES[axis].mesh_axis if axis else None
    return mesh_axis if mesh_axis and count % mesh.shape[mesh_axis] == 0 else None


def _divisors(number: int) -> str:
    found = [str(n) for n in range(1, number + 1) if number % n == 0]
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} or {found[-1]}"

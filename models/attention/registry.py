"""Which attention backend serves this model here, and does it compute what it should?

Where one refuses, raises or disagrees with `xla`, `xla` takes its place, and the reason is told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from jax.sharding import Mesh

from jaxserve.errors import ConfigError
from jaxserve.models.attention.interface import Demands, PagedBackend
from jaxserve.models.attention.self_check import fault_of
from jaxserve.models.attention.xla import XlaAttention

Make = Callable[[Mesh], PagedBackend]
Fallback = Literal["none", "unsupported", "faulty"]


def _tpu(mesh: Mesh) -> PagedBackend:
    from jaxserve.models.attention.tpu import TpuAttention  # with it comes Pallas, slow to import

    return TpuAttention(mesh)


def _gpu(mesh: Mesh) -> PagedBackend:
    from jaxserve.models.attention.gpu import GpuAttention

    return GpuAttention(mesh)


BACKENDS: Mapping[str, Make] = {"xla": lambda _: XlaAttention(), "tpu": _tpu, "gpu": _gpu}
_BY_PLATFORM: Mapping[str, str] = {"tpu": "tpu", "gpu": "gpu"}


@dataclass(frozen=True, slots=True)
class Chosen:
    """A backend, and why it is not the one that was wanted, if it is not."""

    backend: PagedBackend
    fallback: Fallback = "none"
    why: str = ""


def choose(
    asked: str,
    demands: Demands,
    mesh: Mesh,
    *,
    backends: Mapping[str, Make] = BACKENDS,
    checks: bool = True,
) -> Chosen:
    """The backend called `asked`, or for `auto` that of the platform, once it is checked.

    Without `checks` it is taken at its word, for devices that are not here.

    Raises ConfigError when `asked` names one that cannot serve this model here.
    """
    name = _BY_PLATFORM.get(demands.platform, "xla") if asked == "auto" else asked
    backend = backends[name](mesh)
    refusal = backend.refusal(demands)
    if refusal is not None and asked != "auto":
        raise ConfigError(
            f"attention_backend = {asked!r} does not do {refusal}; leave it at auto, or take xla"
        )
    if refusal is not None:
        return Chosen(XlaAttention(), "unsupported", f"{name} does not do {refusal}")
    fault = fault_of(backend, demands) if checks and name != "xla" else None
    if fault is not None:
        return Chosen(XlaAttention(), "faulty", f"{name} {fault}")
    return Chosen(backend)

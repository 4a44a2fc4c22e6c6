"""What does a compiled program depend on, beside its own bucket?

Versions, our own source, the compiler's flags and the hardware; the model, its weights' layout and
the sizes. Paths are not among it: a folder of programs can be moved, and so can the installation.
"""

from __future__ import annotations

import hashlib
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import jax
import numpy as np
from jax.sharding import Mesh

from jaxserve.engine.sizes import EngineSizes
from jaxserve.models.attention.interface import AttentionBackend
from jaxserve.version import __version__

_TRACED = ("engine", "models", "sharding")  # the packages that programs are made of
_VARIABLES = ("XLA_FLAGS", "LIBTPU_INIT_ARGS", "PJRT_NPROC")
_OPTIONS = (
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_debug_nans",
    "jax_enable_x64",
    "jax_numpy_dtype_promotion",
    "jax_threefry_partitionable",
)


def process_facts(mesh: Mesh) -> dict[str, str]:
    """The facts that all programs on `mesh` share."""
    device = mesh.devices.flat[0]
    return {
        "jaxserve": __version__,
        "source": _source_digest(),
        "jax": jax.__version__,
        "jaxlib": version("jaxlib"),
        "flax": version("flax"),
        "numpy": np.__version__,
        "backend": f"{device.platform} {device.client.platform_version}",
        "hardware": _cpu() if device.platform == "cpu" else device.device_kind,
        "cores": str(os.cpu_count()),
        "devices": f"{[each.id for each in mesh.devices.flat]} of {jax.device_count()}",
        "mesh": str(dict(mesh.shape)),
        **{name: os.environ.get(name, "") for name in _VARIABLES},
        **{name: str(getattr(jax.config, name)) for name in _OPTIONS},
    }


class Model(Protocol):
    """A model that is loaded, taken apart."""

    @property
    def config(self) -> object: ...
    @property
    def treedef(self) -> jax.tree_util.PyTreeDef: ...
    @property
    def params(self) -> tuple[jax.Array, ...]: ...


def model_facts(model: Model) -> dict[str, str]:
    arrays = [(x.shape, str(x.dtype), str(x.sharding)) for x in model.params]
    return {"model": repr(model.config), "weights": f"{model.treedef} {arrays}"}


def size_facts(sizes: EngineSizes) -> dict[str, str]:
    names = ("page_size", "num_pages", "pages_per_seq", "max_batch_size")
    return {name: str(getattr(sizes, name)) for name in names}


def attention_fact(attention: AttentionBackend) -> str:
    return f"{type(attention).__qualname__} {getattr(attention, '__dict__', {})}"


def _source_digest() -> str:
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for package in _TRACED:
        for path in sorted((root / package).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _cpu() -> str:
    """What code for this CPU may use: machine code of one with more does not run on another."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    told = ("model name", "flags", "Features", "CPU part")
    kept = dict(line.split(":", 1) for line in lines if line.startswith(told) and ":" in line)
    return f"{platform.machine()} {sorted(kept.items())}"

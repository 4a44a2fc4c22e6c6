"""How do a model's folder and a mesh become a runner? The same on every host that has a part of it.

Knows no text, no requests and no HTTP: what becomes of the runner is for `build.py`, for
`follow.py` on hosts that follow, or for those who measure it alone.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jaxserve.config import EngineConfig, MeshConfig, ServeConfig
from jaxserve.engine.request import EngineLimits
from jaxserve.engine.runner import Runner
from jaxserve.engine.sizes import EngineSizes, Surroundings, page_size_of
from jaxserve.memory import free_bytes
from jaxserve.models.adapters import Room
from jaxserve.models.attention.interface import PagedBackend
from jaxserve.models.attention.registry import Chosen, choose
from jaxserve.models.attention_demands import demands_of
from jaxserve.models.cache import state_bytes_per_slot
from jaxserve.models.kv_cache import bytes_per_token
from jaxserve.models.loading import LoadedModel, load_model, make_model
from jaxserve.sharding.axes import TENSOR
from jaxserve.sharding.hosts import devices_of_all
from jaxserve.sharding.mesh import make_mesh
from jaxserve.startup import describe, dtype_of, say
from jaxserve.version import __version__

logger = logging.getLogger(__name__)

KV_DTYPES = {"int8": jnp.dtype("int8"), "fp8": jnp.dtype("float8_e4m3fn")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A model on its mesh, in the types it is computed and its KV kept in."""

    folder: Path
    model: LoadedModel
    mesh: Mesh
    dtype: jnp.dtype
    kv_dtype: jnp.dtype


def mesh_of(config: MeshConfig) -> Mesh:
    """The mesh over as many devices as the config asks for, of all hosts when JAX has several."""
    num_devices = config.tensor_parallel * config.expert_parallel
    return make_mesh(
        tensor_parallel=config.tensor_parallel,
        expert_parallel=config.expert_parallel,
        devices=devices_of_all(num_devices) if jax.process_count() > 1 else None,
    )


def load(config: ServeConfig, folder: Path, mesh: Mesh, log: TextIO) -> Loaded:
    """Load this host's part of the weights. Raises as `load_model` and `make_model` do."""
    dtype = dtype_of(config.source, mesh.devices.flat[0])
    say(log, f"jaxserve {__version__} on {describe(mesh)}, loading {folder}")
    return Loaded(
        folder=folder,
        model=_model(config, folder, mesh=mesh, dtype=dtype, log=log),
        mesh=mesh,
        dtype=dtype,
        kv_dtype=KV_DTYPES.get(config.engine.kv_cache_dtype, dtype),
    )


def choose_attention(config: EngineConfig, loaded: Loaded, log: TextIO) -> Chosen:
    """What is to compute attention; warns when it is xla in place of a faulty backend."""
    device = loaded.mesh.devices.flat[0]
    demands = demands_of(
        loaded.model.config,
        dtype=loaded.dtype,
        kv_dtype=loaded.kv_dtype,
        page_size=page_size_of(config, device.platform),
        device=device,
        tensor_parallel=loaded.mesh.shape[TENSOR],
    )
    chosen = choose(config.attention_backend, demands, loaded.mesh)
    if chosen.fallback == "faulty":
        logger.warning("attention: %s; xla takes its place", chosen.why)
    say(log, f"  attention {chosen.backend.name}{chosen.why and f': {chosen.why}'}")
    return chosen


def surroundings(loaded: Loaded, attention: PagedBackend) -> Surroundings:
    model, mesh = loaded.model.config, loaded.mesh
    return Surroundings(
        platform=mesh.devices.flat[0].platform,
        free_bytes=free_bytes(list(mesh.local_devices)),
        kv_bytes_per_token=bytes_per_token(model, loaded.kv_dtype, attention=attention, mesh=mesh),
        state_bytes_per_slot=state_bytes_per_slot(model, loaded.dtype, mesh=mesh),
        context=model.max_model_len,
    )


def make_runner(
    loaded: Loaded,
    attention: PagedBackend,
    *,
    sizes: EngineSizes,
    limits: EngineLimits,
    room: Room | None,
) -> Runner:
    """A runner that is not warm yet."""
    return Runner(
        loaded.model,
        attention=attention,
        mesh=loaded.mesh,
        sizes=sizes,
        limits=limits,
        dtype=loaded.dtype,
        kv_dtype=loaded.kv_dtype,
        room=room,
    )


def _model(
    config: ServeConfig, folder: Path, *, mesh: Mesh, dtype: jnp.dtype, log: TextIO
) -> LoadedModel:
    source, most = config.source, config.engine.max_model_len
    if source.load_format == "dummy":
        say(log, "  random weights: what it answers is noise")
        return make_model(
            folder, dtype=dtype, mesh=mesh, max_model_len=most, quantize=source.quantize
        )
    return load_model(
        folder,
        dtype=dtype,
        mesh=mesh,
        progress=log.isatty(),
        max_model_len=most,
        quantize=source.quantize,
    )

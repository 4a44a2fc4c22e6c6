"""What happens at every start: precision, caches, warm-up, and what is said of it."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TextIO

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from tqdm import tqdm

from jaxserve.config import EngineConfig, ModelSource
from jaxserve.phases import COMPILE, WARM_UP, Phases


class WarmsUp(Protocol):
    """A runner before it is ready."""

    @property
    def num_programs(self) -> int: ...
    def warm_up(self, *, threads: int, on_compiled: Callable[[str, float], None]) -> None: ...


def warm_up(runner: WarmsUp, log: TextIO, phases: Phases) -> None:
    started = time.perf_counter()
    numbers = itertools.count(1)
    bar = tqdm(  # disable=None: no bar where nobody watches
        total=runner.num_programs, desc="compiling", unit="program", file=log, disable=None
    )

    def on_compiled(name: str, seconds: float) -> None:
        bar.set_postfix_str(name)
        bar.update()
        if next(numbers) == runner.num_programs:
            phases.end(COMPILE)

    with bar:
        runner.warm_up(threads=os.cpu_count() or 1, on_compiled=on_compiled)
    phases.end(WARM_UP)
    say(log, f"  {runner.num_programs} programs in {time.perf_counter() - started:.1f} s")


def dtype_of(source: ModelSource, device: jax.Device) -> jnp.dtype:
    if source.dtype != "auto":
        return jnp.dtype(source.dtype)
    return jnp.dtype("float32" if device.platform == "cpu" else "bfloat16")


def use_compilation_cache(config: EngineConfig) -> None:
    folder = config.compilation_cache or Path("~/.cache/jaxserve/compiled").expanduser()
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def describe(mesh: Mesh) -> str:
    device = mesh.devices.flat[0]
    return f"{mesh.devices.size} x {device.device_kind}"


def say(log: TextIO, line: str) -> None:
    print(line, file=log, flush=True)

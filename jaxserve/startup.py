"""What happens at every start: precision, caches, warm-up, and what is said of it."""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TextIO

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from tqdm import tqdm

from jaxserve.config import EngineConfig, ModelSource
from jaxserve.engine.program_facts import process_facts
from jaxserve.engine.programs import Programs
from jaxserve.phases import COMPILE, WARM_UP, Phases


class WarmsUp(Protocol):
    """A runner before it is ready."""

    @property
    def num_programs(self) -> int: ...
    def warm_up(
        self, *, threads: int, on_compiled: Callable[[str, float], None], programs: Programs
    ) -> None: ...


def kept_programs(config: EngineConfig, mesh: Mesh) -> Programs:
    """Programs for `mesh` that earlier starts kept, and the place for more."""
    alone = jax.process_count() == 1  # hosts that find would else wait for those that compile
    return Programs(
        _cache_folder(config) / "programs" if alone else None,
        devices=list(mesh.devices.flat),
        facts=process_facts(mesh),
        explain=config.explain_cache,
    )


def warm_up(runner: WarmsUp, programs: Programs, log: TextIO, phases: Phases) -> None:
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
        runner.warm_up(threads=os.cpu_count() or 1, on_compiled=on_compiled, programs=programs)
    phases.end(WARM_UP)
    say(
        log,
        f"  {runner.num_programs} programs in {time.perf_counter() - started:.1f} s, "
        f"{sum(origin.found for origin in programs.origins)} of them kept by an earlier start",
    )
    if programs.explain:
        for origin in sorted(programs.origins, key=lambda each: each.name):
            say(log, f"    {origin}")


def leave_torch_out() -> None:
    """Keep this process from loading PyTorch, which transformers does wherever it is installed.

    It takes a second and 200 MB, and nothing that serves uses it.
    """
    sys.modules.setdefault("torch", None)  # type: ignore[arg-type]


def dtype_of(source: ModelSource, device: jax.Device) -> jnp.dtype:
    if source.dtype != "auto":
        return jnp.dtype(source.dtype)
    return jnp.dtype("float32" if device.platform == "cpu" else "bfloat16")


def use_compilation_cache(config: EngineConfig) -> None:
    jax.config.update("jax_compilation_cache_dir", str(_cache_folder(config)))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def _cache_folder(config: EngineConfig) -> Path:
    return config.compilation_cache or Path("~/.cache/jaxserve/compiled").expanduser()


def describe(mesh: Mesh) -> str:
    device = mesh.devices.flat[0]
    return f"{mesh.devices.size} x {device.device_kind}"


def say(log: TextIO, line: str) -> None:
    print(line, file=log, flush=True)

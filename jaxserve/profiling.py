"""What do the devices do while the server serves? Traces of it, taken when somebody asks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import jax

from jaxserve.config import ServerConfig
from jaxserve.errors import InvalidRequest
from jaxserve.trace_regions import name_regions


class JaxProfiler:
    """Writes traces that XProf, TensorBoard and Perfetto read, one at a time.

    Operations are called by their regions in what Perfetto opens, the .trace.json.gz of a trace.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._guard = threading.Lock()
        self._before: set[Path] = set()
        self._is_tracing = False

    def start(self) -> None:
        """Begin a trace. Raises InvalidRequest when there is one."""
        with self._guard:
            if self._is_tracing:
                raise InvalidRequest("a trace is being taken already; stop it first")
            self._before = set(self._runs())
            options = jax.profiler.ProfileOptions()
            options.python_tracer_level = 0  # every call of a function would be an event
            jax.profiler.start_trace(str(self._folder), profiler_options=options)
            self._is_tracing = True

    def stop(self) -> None:
        """End the trace and write it. Raises InvalidRequest when there is none."""
        with self._guard:
            if not self._is_tracing:
                raise InvalidRequest("no trace is being taken; start one first")
            jax.profiler.stop_trace()
            self._is_tracing = False
            for run in set(self._runs()) - self._before:
                name_regions(run)

    def _runs(self) -> Iterator[Path]:
        """The folders of traces."""
        return self._folder.glob("plugins/profile/*")


def profiler(config: ServerConfig) -> JaxProfiler | None:
    return None if config.profile_dir is None else JaxProfiler(config.profile_dir)

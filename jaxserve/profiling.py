"""What do the devices do while the server serves? Traces of it, taken when somebody asks."""

from __future__ import annotations

import threading
from pathlib import Path

import jax

from jaxserve.config import ServerConfig
from jaxserve.errors import InvalidRequest


class JaxProfiler:
    """Writes traces that XProf, TensorBoard and Perfetto read, one at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._guard = threading.Lock()
        self._is_tracing = False

    def start(self) -> None:
        """Begin a trace. Raises InvalidRequest when there is one."""
        with self._guard:
            if self._is_tracing:
                raise InvalidRequest("a trace is being taken already; stop it first")
            jax.profiler.start_trace(str(self._folder))
            self._is_tracing = True

    def stop(self) -> None:
        """End the trace and write it. Raises InvalidRequest when there is none."""
        with self._guard:
            if not self._is_tracing:
                raise InvalidRequest("no trace is being taken; start one first")
            jax.profiler.stop_trace()
            self._is_tracing = False


def profiler(config: ServerConfig) -> JaxProfiler | None:
    return None if config.profile_dir is None else JaxProfiler(config.profile_dir)

"""How many programs were compiled since the engine was ready? Should stay none."""

from __future__ import annotations

import jax

_COMPILE_EVENT = "/jax/core/compile/backend_compile_duration"


class CompilationCounter:
    """Counts compilations by anything in the process, from `start` to `stop`."""

    def __init__(self) -> None:
        self.count = 0
        self._counts = False

    def start(self) -> None:
        jax.monitoring.register_event_duration_secs_listener(self._note)
        self._counts = True

    def stop(self) -> None:
        if self._counts:
            jax.monitoring.unregister_event_duration_listener(self._note)
            self._counts = False

    def _note(self, event: str, duration_secs: float, **_: object) -> None:
        if event == _COMPILE_EVENT:
            self.count += 1

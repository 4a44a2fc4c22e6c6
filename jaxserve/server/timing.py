"""How long did the parts of a request take? A stopwatch for dialects that tell it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class Stopwatch:
    """Starts when it is made. Marks are set once; a part that was not reached took no time."""

    _start_ns: int = field(default_factory=time.perf_counter_ns)
    _submitted_ns: int | None = None
    _first_ns: int | None = None

    def submitted(self) -> None:
        """The request is valid and the engine has it."""
        self._submitted_ns = time.perf_counter_ns()

    def got_output(self) -> None:
        self._first_ns = self._first_ns or time.perf_counter_ns()

    @property
    def validation_ns(self) -> int:
        return (self._submitted_ns or time.perf_counter_ns()) - self._start_ns

    @property
    def prompt_ns(self) -> int:
        """From the engine's taking it to the first output: waiting and prefill."""
        return (self._first_ns or time.perf_counter_ns()) - self._start_ns - self.validation_ns

    @property
    def output_ns(self) -> int:
        """From the first output until now."""
        return time.perf_counter_ns() - (self._first_ns or time.perf_counter_ns())

    @property
    def total_ns(self) -> int:
        return time.perf_counter_ns() - self._start_ns

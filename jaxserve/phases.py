"""How long does each part of a start take? A stopwatch that is handed from part to part.

Knows no JAX and nothing of what the parts do. They follow one another: what runs beside another
part is counted with the one that is waited for.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

IMPORTS = "imports"
"""From the process's start: the interpreter, and every module that serving takes."""
DEVICES = "devices"
"""Finding the model's folder and the devices."""
WEIGHTS = "weights"
"""Reading the weights and, beside them, the tokenizer."""
POOL = "pool"
"""Choosing sizes, and allocating the KV cache."""
COMPILE = "compile"
"""Making every program, or reading it from the compilation cache."""
WARM_UP = "warm_up"
"""Running each program once."""
READY = "ready"
"""Building the app, and listening."""


class Phases:
    """The parts of a start that have ended, in their order. `clock` gives seconds of the epoch."""

    def __init__(
        self, *, began_at: float | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._began_at = clock() if began_at is None else began_at
        self._ended_at: dict[str, float] = {}

    def end(self, name: str) -> None:
        """A part ends now. It began when the one before it ended."""
        self._ended_at[name] = self._clock()

    def merge(self, ended_at: Mapping[str, float]) -> None:
        """Take in parts that another process wrote down, which ended at these seconds."""
        self._ended_at |= ended_at

    @property
    def seconds(self) -> dict[str, float]:
        """The duration of each part."""
        began = [self._began_at, *self._ended_at.values()]
        return {
            name: ended_at - began_at
            for began_at, (name, ended_at) in zip(began, self._ended_at.items(), strict=False)
        }

    @property
    def total_s(self) -> float:
        return sum(self.seconds.values())

    def __str__(self) -> str:
        return ", ".join(f"{name} {seconds:.2f} s" for name, seconds in self.seconds.items())

    def write(self, path: Path) -> None:
        """Write the parts to a file that appears whole; another process may wait for it."""
        report = {
            "seconds": self.seconds,
            "total_s": self.total_s,
            "began_at": self._began_at,
            "ended_at": self._ended_at,
        }
        written = path.with_name(f"{path.name}.{os.getpid()}")
        written.write_text(json.dumps(report, indent=2) + "\n")
        written.replace(path)


def process_phases() -> Phases:
    """Phases that began when this process did, to a hundredth of a second."""
    return Phases(began_at=time.time() - _process_age_s())


def _process_age_s() -> float:
    try:
        # psutil counts from the second in which the machine was started, which is too coarse.
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        ticks_per_s = os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / ticks_per_s
    except (OSError, AttributeError, IndexError):
        return time.time() - psutil.Process().create_time()

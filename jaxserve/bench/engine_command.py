"""What did the user ask `jaxserve bench engine` for? Parses and calls."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from jaxserve.bench.engine import EngineLoad, measure


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchEngine:
    """Measure the engine by itself: decode by rows, prefill by tokens, and what the machine can do.

    `--load-format dummy` measures a shape by its config.json alone; configs/shapes has some.
    """

    load: EngineLoad = field(default_factory=EngineLoad)
    output: Path | None = None
    """File for the results as JSON."""

    def run(self) -> None:
        report = measure(self.load)
        print(report.text())
        if self.output is not None:
            self.output.write_text(json.dumps(report.to_dict(), indent=2) + "\n")

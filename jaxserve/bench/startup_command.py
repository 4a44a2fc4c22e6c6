"""What did the user ask `jaxserve bench startup` for? Parses and calls."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from jaxserve.bench import startup
from jaxserve.bench.flavors import FlavorName
from jaxserve.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchStartup:
    """Measure from a process's start to its first token, part by part, cold and warm.

    What follows `--` goes to `jaxserve serve`: `jaxserve bench startup --repeat 5 -- ./my-model`.
    """

    repeat: int = 3
    """Warm starts, after the cold one."""
    command: str | None = None
    """Start this server instead, with {port} where its port goes; its starts have no parts."""
    flavor: FlavorName = "jaxserve"
    """Kind of server that the command starts."""
    model: str | None = None
    """Name to ask the command's server for. Default: the first model that it lists."""
    timeout_s: float = 600.0
    """Seconds that a start may take."""
    price_per_hour: float | None = None
    """What the machine costs an hour; gives the price of a start."""
    output: Path | None = None
    """File for the results as JSON."""
    serve_arguments: tyro.conf.Suppress[tuple[str, ...]] = ()

    def run(self) -> None:
        if self.repeat < 1:
            raise ConfigError(f"repeat is {self.repeat}; it begins at 1")
        if self.command is not None:
            report = startup.measure_command(
                self.command,
                repeat=self.repeat,
                timeout_s=self.timeout_s,
                flavor=self.flavor,
                model=self.model,
            )
        else:
            report = startup.measure_jaxserve(
                self.serve_arguments, repeat=self.repeat, timeout_s=self.timeout_s
            )
        report = replace(report, price_per_hour=self.price_per_hour)
        print(report.text())
        if self.output is not None:
            self.output.write_text(json.dumps(report.to_dict(), indent=2) + "\n")

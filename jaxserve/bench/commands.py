"""What did the user ask `jaxserve bench` for? Parses and calls; loads no JAX."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import tyro

from jaxserve.bench.flavors import FlavorName
from jaxserve.bench.serve import ServeLoad
from jaxserve.errors import ConfigError


class Command(Protocol):
    """What a subcommand's arguments become."""

    def run(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchServe:
    """Put a load on a server that speaks the OpenAI API, and say how well it answered.

    Exits with 1 when every request failed. A key is read from OPENAI_API_KEY.
    """

    load: ServeLoad = field(default_factory=ServeLoad)
    output: Path | None = None
    """File for the results as JSON, with the keys of `vllm bench serve --save-result`."""
    save_detailed: bool = False
    """Write the times and lengths of each request, too."""
    disable_tqdm: bool = False
    """Show no progress bar."""

    def run(self) -> None:
        from jaxserve.bench.serve import measure
        from jaxserve.bench.serve_table import describe
        from jaxserve.errors import EngineFailed

        report = measure(self.load, progress=not self.disable_tqdm)
        print(describe(report))
        if self.output is not None:
            report.save(self.output, detailed=self.save_detailed)
        if not report.figures["completed"]:
            raise EngineFailed("every request failed; the table above says of what")


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
    timeout_s: float = 600.0
    """Seconds that a start may take."""
    price_per_hour: float | None = None
    """What the machine costs an hour; gives the price of a start."""
    output: Path | None = None
    """File for the results as JSON."""
    serve_arguments: tyro.conf.Suppress[tuple[str, ...]] = ()

    def run(self) -> None:
        from jaxserve.bench.startup import measure_command, measure_jaxserve

        if self.repeat < 1:
            raise ConfigError(f"repeat is {self.repeat}; it begins at 1")
        if self.command is not None:
            report = measure_command(
                self.command, repeat=self.repeat, timeout_s=self.timeout_s, flavor=self.flavor
            )
        else:
            report = measure_jaxserve(
                self.serve_arguments, repeat=self.repeat, timeout_s=self.timeout_s
            )
        report = replace(report, price_per_hour=self.price_per_hour)
        print(report.text())
        if self.output is not None:
            self.output.write_text(json.dumps(report.to_dict(), indent=2) + "\n")


def parse(arguments: list[str]) -> Command:
    """The command that `jaxserve bench ARGUMENTS` asks for."""
    parser = argparse.ArgumentParser(
        prog="jaxserve bench",
        description="Measure a server, the engine without one, or a start.",
        epilog="`jaxserve bench COMMAND --help` lists the options of a command.",
    )
    commands = parser.add_subparsers(title="commands", dest="command", required=True)
    for name, (summary, _) in COMMANDS.items():
        commands.add_parser(name, help=summary, add_help=False)
    ours, for_serve = _split(arguments)
    chosen, rest = parser.parse_known_args(ours)
    command: Any = tyro.cli(
        COMMANDS[chosen.command][1],
        prog=f"jaxserve bench {chosen.command}",
        args=rest,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    if for_serve is None:
        return command
    if not isinstance(command, BenchStartup):
        raise ConfigError(f"bench {chosen.command} takes nothing after --")
    return replace(command, serve_arguments=tuple(for_serve))


def _split(arguments: list[str]) -> tuple[list[str], list[str] | None]:
    """What stands before -- and, where there is one, what stands after it."""
    if "--" not in arguments:
        return arguments, None
    place = arguments.index("--")
    return arguments[:place], arguments[place + 1 :]


COMMANDS: Mapping[str, tuple[str, type[Any]]] = {
    "serve": ("put a load on a server that speaks the OpenAI API", BenchServe),
    "startup": ("from a process's start to its first token", BenchStartup),
}
"""The subcommands: a line of help, and what the arguments become."""

"""What did the user ask `jaxserve bench` for? Parses and calls; loads no JAX."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import tyro

from jaxserve.bench.serve import ServeLoad


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
    chosen, rest = parser.parse_known_args(arguments)
    command: Command = tyro.cli(
        COMMANDS[chosen.command][1],
        prog=f"jaxserve bench {chosen.command}",
        args=rest,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    return command


COMMANDS: Mapping[str, tuple[str, type[Any]]] = {
    "serve": ("put a load on a server that speaks the OpenAI API", BenchServe),
}
"""The subcommands: a line of help, and what the arguments become."""

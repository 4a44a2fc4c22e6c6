"""What did the user ask `jaxserve bench` for? Finds the command, and loads what it needs alone."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, Protocol

import tyro

from jaxserve.errors import ConfigError

COMMANDS: Mapping[str, tuple[str, str]] = {
    "serve": ("put a load on a server that speaks the OpenAI API", "BenchServe"),
    "engine": ("decode and prefill without a server, against the machine's limits", "BenchEngine"),
    "startup": ("from a process's start to its first token", "BenchStartup"),
}
"""The subcommands: a line of help, and what the arguments become, in a module of its own."""


class Command(Protocol):
    """What a subcommand's arguments become."""

    def run(self) -> None: ...


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
    module = importlib.import_module(f"jaxserve.bench.{chosen.command}_command")
    command: Any = tyro.cli(
        getattr(module, COMMANDS[chosen.command][1]),
        prog=f"jaxserve bench {chosen.command}",
        args=rest,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    if for_serve is None:
        return command
    if not any(field.name == "serve_arguments" for field in fields(command)):
        raise ConfigError(f"bench {chosen.command} takes nothing after --")
    return replace(command, serve_arguments=tuple(for_serve))


def _split(arguments: list[str]) -> tuple[list[str], list[str] | None]:
    """What stands before -- and, where there is one, what stands after it."""
    if "--" not in arguments:
        return arguments, None
    place = arguments.index("--")
    return arguments[:place], arguments[place + 1 :]

"""What did the user ask for on the command line? Parses and calls; decides nothing.

Flags, their defaults and their help come from the fields of `config`. JAX is loaded by the command
that needs it, never by `--help`.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Protocol

import tyro

from jaxserve.config import Dtype, ModelSource, Quantize, ServeConfig, check_config, load_config
from jaxserve.errors import ConfigError, JaxserveError
from jaxserve.spellings import respelled
from jaxserve.version import __version__


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Serve:
    """Serve a model over HTTP.

    A flag can also be set as an environment variable (JAXSERVE_PORT for --port) or in the file
    given with --config. A flag wins over the environment, the environment over the file.
    """

    config: Path | None = None
    """TOML file with the tables source, mesh, engine and server; configs/ has examples."""
    settings: ServeConfig

    def run(self) -> None:
        from jaxserve.launch import serve

        serve(check_config(self.settings))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """List the models in the local hub cache, what each needs, and which cannot be served."""

    supported: bool = False
    """Print the families that can be served instead."""

    def run(self) -> None:
        from jaxserve.inventory import print_local, print_supported

        (print_supported if self.supported else print_local)()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Convert:
    """Keep a model's weights as `serve` needs them: what a start converts or quantises, once."""

    model: Annotated[str, tyro.conf.Positional]
    """A folder, a GGUF file or a Hugging Face hub id."""
    out: Annotated[Path, tyro.conf.Positional]
    """A new folder; `jaxserve serve OUT` restores it onto any number of devices."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    dtype: Dtype = "auto"
    """Precision to keep. auto: the one that is stored."""
    quantize: Quantize | None = None
    """Keep the weights made so; docs/quantization.md says what each costs."""

    def run(self) -> None:
        from jaxserve.convert import convert

        source = ModelSource(
            model=self.model, revision=self.revision, dtype=self.dtype, quantize=self.quantize
        )
        convert(source, self.out)


class Command(Protocol):
    """What a subcommand's arguments become."""

    def run(self) -> None: ...


def main(argv: Sequence[str] | None = None) -> None:
    """The `jaxserve` command. Exit code 2 is a bad option, 1 a bad model or a failed engine."""
    parser = argparse.ArgumentParser(
        prog="jaxserve",
        description="Serve open-weights language models behind an OpenAI-compatible API.",
        epilog="`jaxserve COMMAND --help` lists the options of a command.",
    )
    parser.add_argument("--version", action="version", version=f"jaxserve {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", required=True)
    for name, (summary, _) in COMMANDS.items():
        commands.add_parser(name, help=summary, add_help=False)
    chosen, arguments = parser.parse_known_args(argv)
    _, parse = COMMANDS[chosen.command]
    try:
        parse(arguments).run()
    except JaxserveError as error:
        print(f"jaxserve: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    except KeyboardInterrupt:
        sys.exit(130)


def _parse_serve(arguments: list[str]) -> Command:
    arguments = respelled(arguments)
    return tyro.cli(
        Serve,
        prog="jaxserve serve",
        args=arguments,
        default=Serve(settings=load_config(_config_path(arguments))),
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.UseAppendAction),
    )


def _parse_models(arguments: list[str]) -> Command:
    return tyro.cli(
        Models, prog="jaxserve models", args=arguments, config=(tyro.conf.FlagCreatePairsOff,)
    )


def _parse_convert(arguments: list[str]) -> Command:
    return tyro.cli(Convert, prog="jaxserve convert", args=arguments)


def _parse_bench(arguments: list[str]) -> Command:
    from jaxserve.bench.commands import parse

    return parse(arguments)


def _parse_plan(arguments: list[str]) -> Command:
    from jaxserve.plan.command import parse

    return parse(arguments)


COMMANDS: Mapping[str, tuple[str, Callable[[list[str]], Command]]] = {
    "serve": ("serve a model over HTTP", _parse_serve),
    "convert": ("keep weights as serve needs them, quantised ones too", _parse_convert),
    "bench": ("measure a server, the engine or a start", _parse_bench),
    "plan": ("tell what a model needs on hardware that is not here", _parse_plan),
    "models": ("list local models and supported families", _parse_models),
}
"""The subcommands: a line of help, and what makes a command of the arguments."""


def _config_path(arguments: list[str]) -> Path | None:
    """The file is read before the flags are parsed, since it sets their defaults."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", type=Path)
    path: Path | None = parser.parse_known_args(arguments)[0].config
    return path


if __name__ == "__main__":
    main()

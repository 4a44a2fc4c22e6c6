"""How do other servers spell flags of ours? Theirs in, ours out, before anything is parsed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from jaxserve.errors import ConfigError

_METHODS = ("ngram",)
_KEYS = ("num_speculative_tokens", "prompt_lookup_min", "prompt_lookup_max")


def respelled(arguments: Iterable[str]) -> list[str]:
    """The arguments of `jaxserve serve` with ours in the place of what others say.

    Raises ConfigError for a value of theirs that is wrong, or asks for what can't be had here.
    """
    return [ours for given in _with_values(arguments) for ours in _ours(*given)]


def _with_values(arguments: Iterable[str]) -> Iterator[tuple[str, str | None]]:
    """The arguments, those that are respelled with their values."""
    left = iter(arguments)
    for argument in left:
        name, separator, value = argument.partition("=")
        if name not in _SPELLINGS:
            yield argument, None
        elif separator:
            yield name, value
        else:
            yield name, next(left, "")


def _ours(name: str, value: str | None) -> list[str]:
    return [name] if value is None else _SPELLINGS[name](value)


def _speculate(text: str) -> list[str]:
    """TGI's: how many tokens; 0 is none."""
    if not text.isdecimal():
        raise ConfigError(f"speculate = {text!r}: give a number of tokens")
    if int(text) == 0:
        return []
    return ["--speculative", "ngram", "--num-speculative-tokens", text]


def _speculative_config(text: str) -> list[str]:
    """vLLM's: a JSON object."""
    try:
        given = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"speculative-config is not JSON: {error}") from None
    if not isinstance(given, dict):
        raise ConfigError(f"speculative-config = {text}: give a JSON object")
    method = given.pop("method", None)
    if method not in _METHODS:
        raise ConfigError(
            f"speculative-config: the method {method!r} is not offered here; what is: "
            f"{', '.join(_METHODS)}"
        )
    for key in given:
        if key not in _KEYS:
            raise ConfigError(
                f"speculative-config: {key} can't be had here; what can: method, {', '.join(_KEYS)}"
            )
    return ["--speculative", method, *_flags(given)]


def _flags(given: Mapping[str, Any]) -> list[str]:
    return [part for key, v in given.items() for part in ("--" + key.replace("_", "-"), str(v))]


_SPELLINGS: Mapping[str, Callable[[str], list[str]]] = {
    "--speculate": _speculate,
    "--speculative-config": _speculative_config,
    "--speculative_config": _speculative_config,
}

"""How is a server told to go on past the end of a sequence, and to tell usage? Each in its way."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from jaxserve.errors import ConfigError

FlavorName = Literal["jaxserve", "vllm", "llama.cpp", "transformers", "openai"]


@dataclass(frozen=True, slots=True)
class Flavor:
    """What a kind of server wants in a body. `past_eos` makes that for an answer of so many
    tokens; None where there is no way."""

    past_eos: Callable[[int], dict[str, Any]] | None
    always: Mapping[str, Any]
    keeps_connections: bool = True

    def fields(self, max_tokens: int, *, ignore_eos: bool) -> dict[str, Any]:
        beyond = self.past_eos(max_tokens) if ignore_eos and self.past_eos else {}
        return {"max_tokens": max_tokens, **self.always, **beyond}


def flavor_named(name: FlavorName, *, ignore_eos: bool) -> Flavor:
    """Raises ConfigError for one that cannot do what is asked."""
    flavor = FLAVORS[name]
    if ignore_eos and flavor.past_eos is None:
        others = ", ".join(other for other in get_args(FlavorName) if FLAVORS[other].past_eos)
        raise ConfigError(
            f"the API of {name} has no way to go on past the end of a sequence; pass "
            f"--no-ignore-eos, or the server's own flavor ({others})"
        )
    return flavor


def _generation_config(max_tokens: int) -> dict[str, Any]:
    wanted = {"max_new_tokens": max_tokens, "eos_token_id": -1}
    return {"generation_config": json.dumps(wanted)}


_USAGE: Mapping[str, Any] = {"stream_options": {"include_usage": True}}

FLAVORS: Mapping[FlavorName, Flavor] = {
    "jaxserve": Flavor(lambda _: {"ignore_eos": True}, _USAGE),
    "vllm": Flavor(lambda most: {"ignore_eos": True, "min_tokens": most}, _USAGE),
    # llama-server closes kept connections.
    "llama.cpp": Flavor(lambda _: {"ignore_eos": True}, _USAGE, keeps_connections=False),
    # It sends usage by itself, and refuses stream_options.
    "transformers": Flavor(_generation_config, {}),
    "openai": Flavor(None, _USAGE),
}

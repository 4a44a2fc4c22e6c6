"""What does `jaxserve plan` take, and in which order does it answer?"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from jaxserve.config import Dtype, Quantize
from jaxserve.errors import ConfigError

if TYPE_CHECKING:
    from jaxserve.plan.question import Question

DEFAULT_CONCURRENCY = {"cpu": 16, "gpu": 64, "tpu": 64}
_LENGTH = re.compile(r"(\d+)(k?)", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Tell what a model needs on hardware that need not be here, by compiling its programs for it.

    Only config.json is read, no weights. TPUs are compiled for by libtpu (pip install
    'jaxserve[tpu]'), with no TPU.
    """

    model: Annotated[str, tyro.conf.Positional]
    """A folder with a config.json, or a Hugging Face hub id that was downloaded."""
    on: str
    """Machines, with commas: v5e-4, v5p-8, v6e-8, h200, h100-4, cpu."""
    context: str | None = None
    """The longest sequence in tokens, as 8192 or 8k; the model's own without it."""
    concurrency: int | None = None
    """Requests that run at once; 64 without it, 16 on a CPU."""
    token_budget: int | None = None
    """Tokens that a step computes at most; 2048 without it, 512 on a CPU."""
    dtype: Dtype = "bfloat16"
    """Precision of weights and hidden states."""
    quantize: Quantize | None = None
    """Weights made so while they are loaded."""
    kv_cache_dtype: Literal["auto", "int8", "fp8"] = "auto"
    """Precision of the KV cache."""
    price: tuple[str, ...] = ()
    """What an hour costs: v6e-8=12.4; several."""
    json: bool = False
    """Print JSON."""

    def run(self) -> None:
        from jaxserve.plan.answer import answer
        from jaxserve.plan.devices import prepare
        from jaxserve.plan.hardware import machine
        from jaxserve.plan.report import as_json, lines

        prices = _prices(self.price)
        machines = [machine(name, cpu_bytes=_cpu_bytes()) for name in self.on.split(",")]
        prepare(max(found.num_devices for found in machines))
        answers = []
        for found in machines:
            answers.append(answer(self._question(found.device.platform), found))
            if not self.json:
                print("\n".join(lines(answers[-1], prices.get(found.name))), flush=True)
        if self.json:
            json.dump(as_json(answers, prices), sys.stdout, indent=2)
            print()

    def _question(self, platform: str) -> Question:
        import jax.numpy as jnp

        from jaxserve.models.hub import resolve
        from jaxserve.plan.question import Question

        dtype = jnp.dtype("bfloat16" if self.dtype == "auto" else self.dtype)
        kept = {"auto": dtype, "int8": jnp.dtype("int8"), "fp8": jnp.dtype("float8_e4m3fn")}
        return Question(
            folder=resolve(self.model, revision=None),
            dtype=dtype,
            kv_dtype=kept[self.kv_cache_dtype],
            context=None if self.context is None else length(self.context),
            concurrency=self.concurrency or DEFAULT_CONCURRENCY[platform],
            token_budget=self.token_budget or (512 if platform == "cpu" else 2048),
            page_size=16 if platform == "cpu" else 128,
            quantize=self.quantize,
        )


def parse(arguments: list[str]) -> Plan:
    return tyro.cli(Plan, prog="jaxserve plan", args=arguments)


def length(text: str) -> int:
    """Tokens from 8192 or 8k. Raises ConfigError."""
    match = _LENGTH.fullmatch(text)
    if match is None or int(match[1]) < 1:
        raise ConfigError(f"context = {text!r}: a number of tokens is wanted, as 8192 or 8k")
    return int(match[1]) * (1024 if match[2] else 1)


def _prices(given: tuple[str, ...]) -> dict[str, float]:
    prices = {}
    for item in given:
        name, _, price = item.partition("=")
        try:
            prices[name] = float(price)
        except ValueError:
            raise ConfigError(f"price = {item!r}: MACHINE=PRICE is wanted, as v6e-8=12.4") from None
    return prices


def _cpu_bytes() -> int:
    import psutil

    return int(psutil.virtual_memory().available)

"""How fast is the engine by itself, and how much of what the machine can do is that?

Decode by rows and prefill by tokens, without HTTP, text or a tokenizer: a config.json is enough
(`load_format="dummy"`). Needs none of the packages that the server does.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from jaxserve.bench.cost import Paid
from jaxserve.bench.table import table
from jaxserve.config import EngineConfig, MeshConfig, ModelSource, ServeConfig, check_config
from jaxserve.errors import ConfigError

if TYPE_CHECKING:
    from jaxserve.bench.cells import Sample
    from jaxserve.bench.engine_parts import EngineParts
    from jaxserve.bench.work import Work


LEAST_BUDGET = 512  # tokens of a step, where nobody says how many


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLoad:
    """What to measure of which model."""

    source: ModelSource = field(default_factory=ModelSource)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    rows: tuple[int, ...] = (1, 4, 16)
    """Requests that decode together."""
    prefill: tuple[int, ...] = (128, 512)
    """Tokens of a prompt to compute."""
    input_len: int = 128
    """Tokens of the prompts before the measured decode."""
    output_len: int = 32
    """Decode steps of a round."""
    profile: Path | None = None
    """Folder for a trace of one more round, which Perfetto opens."""
    rounds: int = 3
    """Times that everything is measured, in turn; figures are medians."""
    price_per_hour: float | None = None
    """What the machine costs an hour; gives the price of a million tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Of one batch, medians. Times are of a decode step or of a whole prompt; `mbu` and `mfu` are
    model bandwidth and model FLOP utilisation, shares of what the machine was seen to do."""

    name: str
    tokens_per_s: float
    step_ms: float
    host_ms: float
    device_ms: float
    bytes_per_s: float
    flops_per_s: float
    mbu: float
    mfu: float
    cost_per_million_tokens: dict[str, float | None] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineReport:
    """All figures, and what the machine can do at best."""

    model: str
    device: str
    num_params: int
    dtype: str
    bytes_per_s: float  # at best, all devices together
    flops_per_s: float
    figures: tuple[Figures, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def text(self) -> str:
        names = ("what", "tokens/s", "step ms", "host ms", "device ms", "MBU", "MFU")
        rows = [
            (f.name, f.tokens_per_s, f.step_ms, f.host_ms, f.device_ms, f.mbu, f.mfu)
            for f in self.figures
        ]
        parts = [
            f"{self.model}: {self.num_params / 1e6:.1f} M parameters, {self.dtype}, {self.device}; "
            f"at best {self.bytes_per_s / 1e9:.1f} GB/s and {self.flops_per_s / 1e9:.0f} GFLOP/s",
            table(names, rows),
        ]
        costs = [
            (f.name, cost["busy"], cost["idle_inclusive"])
            for f in self.figures
            if (cost := f.cost_per_million_tokens) is not None
        ]
        if costs:
            parts.append(table(("a million tokens", "busy time", "idle time too"), costs))
        return "\n\n".join(parts)


def measure(load: EngineLoad, *, log: TextIO = sys.stderr) -> EngineReport:
    """Build the engine, measure it, and measure the machine in the same run.

    Raises ConfigError and CheckpointError.
    """
    from jaxserve.bench.engine_parts import build  # with JAX, which telling the options needs not

    parts = build(_config(load), log=log)
    try:
        return _measure(load, parts)
    finally:
        parts.runner.close()


def _measure(load: EngineLoad, parts: EngineParts) -> EngineReport:
    from jaxserve.bench.limits import measure_peaks
    from jaxserve.bench.work import Work

    device, num_devices = parts.mesh.devices.flat[0], parts.mesh.devices.size
    cells = _cells(load, parts)
    samples: dict[str, list[Sample]] = {name: [] for name in cells}
    # Before and after, since neighbours come and go: the better one is nearer to the limit.
    peaks = [measure_peaks(device, parts.dtype)]
    for _ in range(load.rounds):
        for name, take in cells.items():
            samples[name].append(take())
    peaks.append(measure_peaks(device, parts.dtype))
    if load.profile is not None:
        _trace(load.profile, cells.values())
    best = Work(
        num_bytes=max(peak.bytes_per_s for peak in peaks) * num_devices,
        flops=max(peak.flops for peak in peaks) * num_devices,
    )
    return EngineReport(
        model=str(load.source.model or "tiny-chat"),
        device=f"{num_devices} x {device.device_kind}",
        num_params=parts.num_params,
        dtype=load.source.quantize or str(parts.dtype),
        bytes_per_s=best.num_bytes,
        flops_per_s=best.flops,
        figures=tuple(
            _figures(name, taken, best=best, price_per_hour=load.price_per_hour)
            for name, taken in samples.items()
        ),
    )


def _trace(folder: Path, cells: Iterable[Callable[[], Sample]]) -> None:
    from jaxserve.profiling import JaxProfiler

    profiler = JaxProfiler(folder)
    profiler.start()
    for take in cells:
        take()
    profiler.stop()


def _cells(load: EngineLoad, parts: EngineParts) -> dict[str, Callable[[], Sample]]:
    """What to measure, by its name."""
    from jaxserve.bench.cells import decode, prefill

    return {
        **{
            f"decode, rows {rows}": partial(
                decode, parts, rows, input_len=load.input_len, output_len=load.output_len
            )
            for rows in load.rows
        },
        **{f"prefill, tokens {tokens}": partial(prefill, parts, tokens) for tokens in load.prefill},
    }


def _figures(
    name: str, samples: Sequence[Sample], *, best: Work, price_per_hour: float | None
) -> Figures:
    num_tokens, work = samples[0].num_tokens, samples[0].work
    step_s = statistics.median(sample.step_s for sample in samples)
    device_s = statistics.median(sample.device_s for sample in samples)
    cost = None
    if price_per_hour is not None:
        busy_s = min(device_s, step_s)
        paid = Paid(price_per_hour=price_per_hour, wall_s=step_s, busy_s=busy_s)
        cost = paid.per_million(num_tokens)
    return Figures(
        name=name,
        tokens_per_s=num_tokens / step_s,
        step_ms=step_s * 1e3,
        host_ms=statistics.median(sample.host_s for sample in samples) * 1e3,
        device_ms=device_s * 1e3,
        bytes_per_s=work.num_bytes / device_s,
        flops_per_s=work.flops / device_s,
        mbu=work.num_bytes / device_s / best.num_bytes,
        mfu=work.flops / device_s / best.flops,
        cost_per_million_tokens=cost,
    )


def _config(load: EngineLoad) -> ServeConfig:
    """The engine that the load needs, where sizes were not given: no larger."""
    for name in ("rows", "prefill"):
        if any(count < 1 for count in getattr(load, name)):
            raise ConfigError(f"{name} are {getattr(load, name)}; they begin at 1")
    if not load.rows and not load.prefill:
        raise ConfigError("there are no rows and no prefill, so there is nothing to measure")
    if min(load.output_len, load.input_len, load.rounds) < 1:
        raise ConfigError("output_len, input_len and rounds begin at 1")
    engine, most_rows = load.engine, max(load.rows, default=1)
    # While the last prompts are computed, the first requests decode already.
    free = max(1, (engine.token_budget or LEAST_BUDGET) - most_rows)
    ahead = -(-most_rows * load.input_len // free) + 2
    decode = load.input_len + ahead + load.output_len if load.rows else 1
    longest = max([decode, *(tokens + 1 for tokens in load.prefill)])
    engine = replace(
        engine,
        max_batch_size=engine.max_batch_size or most_rows,
        max_model_len=engine.max_model_len or longest,
    )
    if (engine.max_batch_size or 0) < most_rows:
        raise ConfigError(f"max_batch_size is {engine.max_batch_size} and rows go to {most_rows}")
    if (engine.max_model_len or 0) < longest:
        raise ConfigError(f"max_model_len is {engine.max_model_len} and {longest} are needed")
    return check_config(ServeConfig(source=load.source, mesh=load.mesh, engine=engine))
